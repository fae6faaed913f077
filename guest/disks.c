// Finding what the host plugged in: virtio-blk disks by their serial, virtio-serial ports by their name.
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 5
// A program is read in a few requests: under emulation each takes a millisecond, however much it brings.
#define READ_AHEAD_KB "512"

static void nap(int64_t ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

// Looks in `directory` for an entry whose file `attribute` says `wanted`.
static bool find_by_attribute(const char *directory, const char *attribute, const char *wanted, char *name, size_t size) {
    DIR *dir = opendir(directory);
    if (!dir) return false;
    bool found = false;
    for (struct dirent *entry = readdir(dir); entry && !found; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        char path[TEXT_MAX], text[128];
        snprintf(path, sizeof path, "%s/%s/%s", directory, entry->d_name, attribute);
        if (read_file(path, text, sizeof text) < 0) continue;
        text[strcspn(text, "\n")] = 0;
        if (strcmp(text, wanted) != 0) continue;
        found = snprintf(name, size, "%s", entry->d_name) < (int)size;
    }
    closedir(dir);
    return found;
}

// The device's node: the kernel's own in devtmpfs.
static bool node_is_there(const char *name, char *device, size_t size) {
    struct stat info;
    snprintf(device, size, "/dev/%s", name);
    return stat(device, &info) == 0;
}

// The disks that every guest has sit in fixed slots: they are looked for once, before a template is made of it.
static const char *const fixed[] = {"root", "overlay"};
static char fixed_device[2][32];

// The file behind it may have been swapped since the kernel first looked (templates).
static bool forget_content(const char *device) {
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ioctl(fd, BLKFLSBUF);
    close(fd);
    return true;
}

void find_fixed_disks(void) {
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        char device[160];
        if (!find_disk(fixed[i], 0, device, sizeof device)) continue;
        char setting[TEXT_MAX];
        snprintf(setting, sizeof setting, "/sys/block/%s/queue/read_ahead_kb", device + strlen("/dev/"));
        if (!write_file(setting, READ_AHEAD_KB)) say("%s: %s", setting, strerror(errno));
        if (snprintf(fixed_device[i], sizeof *fixed_device, "%s", device) >= (int)sizeof *fixed_device) *fixed_device[i] = 0;
    }
}

bool find_disk(const char *serial, int64_t wait_ms, char *device, size_t size) {
    char name[128];
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (strcmp(serial, fixed[i]) != 0 || !*fixed_device[i]) continue;
        snprintf(device, size, "%s", fixed_device[i]);
        return true;
    }
    int64_t until = now_ms() + wait_ms;
    do {
        if (find_by_attribute("/sys/block", "serial", serial, name, sizeof name) && node_is_there(name, device, size) &&
            forget_content(device)) return true;
        if (now_ms() >= until) return false;
        nap(POLL_MS);
    } while (true);
}

int open_port(const char *name, int64_t wait_ms) {
    char entry[128], device[160];
    int64_t until = now_ms() + wait_ms;
    do {
        if (find_by_attribute("/sys/class/virtio-ports", "name", name, entry, sizeof entry) &&
            node_is_there(entry, device, sizeof device)) {
            int fd = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC);
            if (fd >= 0) return fd;
        }
        if (now_ms() >= until) return -1;
        nap(POLL_MS);
    } while (true);
}
