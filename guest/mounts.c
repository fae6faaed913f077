// Mounts: the kernel's own file systems at boot, the image's root and the volumes once configured.
//
// The root is an overlay of the image (erofs, read-only) and the instance's own ext4 disk. Afterwards it is
// `/` for the agent and everything it starts; the initramfs stays underneath, reachable by boot_root only.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define DISK_WAIT_MS 10000
#define MAX_MOUNTS 1024
#define EROFS_SUPER 1024  // where its superblock begins; 36 bytes into that, how many blocks it has
#define READ_AHEAD (128 * 1024)
#define CGROUP_ROOT "/sys/fs/cgroup"

static bool mount_or_say(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
    mkdir(target, 0755);
    if (mount(source, target, type, flags, data) == 0) return true;
    say("mount %s on %s: %s", type, target, strerror(errno));
    return false;
}

static int make_cgroup(const char *name) {
    char path[128];
    snprintf(path, sizeof path, CGROUP_ROOT "/%s", name);
    mkdir(path, 0755);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void mount_early(void) {
    mount_or_say("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_say("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_say("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    mount_or_say("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
    mount_or_say("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    mkdir(CONFINED_DIR, 0711);
    ssh_mount();
    unlink("/dev/ptmx");
    if (symlink("pts/ptmx", "/dev/ptmx") < 0) say("/dev/ptmx: %s", strerror(errno));
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST) say("%s: %s", links[i][1], strerror(errno));
    }
    if (!mount_or_say("cgroup2", CGROUP_ROOT, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "memory_recursiveprot") &&
        !mount_or_say("cgroup2", CGROUP_ROOT, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) return;
    static const char *const controllers[] = {"+cpu", "+memory", "+io", "+pids", "+cpuset"};
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++) {
        write_file(CGROUP_ROOT "/cgroup.subtree_control", controllers[i]);  // what isn't there isn't needed
    }
    agent.app_cgroup = make_cgroup("app");
    agent.exec_cgroup = make_cgroup("exec");
}

void freeze(bool frozen) {
    static const char *const groups[] = {"app", "exec"};
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, CGROUP_ROOT "/%s/cgroup.freeze", groups[i]);
        write_file(path, frozen ? "1" : "0");
    }
    for (size_t i = 0; frozen && i < 2; i++) {
        char path[128], text[128];
        snprintf(path, sizeof path, CGROUP_ROOT "/%s/cgroup.events", groups[i]);
        // A process in the kernel freezes when it comes out; most do within a millisecond.
        for (int tries = 0; tries < 20; tries++) {
            if (read_file(path, text, sizeof text) < 0 || strstr(text, "frozen 1")) break;
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
}

bool make_directories(const char *path, mode_t mode) {
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return errno = ENAMETOOLONG, false;
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != 0) continue;
        char kept = *at;
        *at = 0;
        struct stat info;
        if (mkdir(part, mode) < 0 && errno != EEXIST) return false;
        if (stat(part, &info) < 0) return false;
        if (!S_ISDIR(info.st_mode)) return errno = ENOTDIR, false;
        *at = kept;
        if (kept == 0) return true;
    }
}

// A real directory at `path`, whatever the image has there.
static bool force_directory(const char *path, mode_t mode) {
    struct stat info;
    if (lstat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) return true;
        unlink(path);
    }
    return mkdir(path, mode) == 0 && chmod(path, mode) == 0;
}

static bool mount_disk(const char *serial, const char *target, const char *type, unsigned long flags, const char *data,
                       char *wrong, size_t size, enum error_code *code) {
    char device[160];
    if (!find_disk(serial, DISK_WAIT_MS, device, sizeof device)) {
        if (code) *code = E_NO_DEVICE;
        snprintf(wrong, size, "no disk has the serial %s", serial);
        return false;
    }
    if (mount(device, target, type, flags, data) == 0) return true;
    snprintf(wrong, size, "disk %s (%s) can't be mounted as %s: %s", serial, device, type, strerror(errno));
    return false;
}

// lower (already mounted) + an ext4 disk (or memory) = an overlay at `target`.
static bool mount_overlay(const char *lower, const char *disk, const char *scratch, const char *target, char *wrong,
                          size_t size, enum error_code *code) {
    char upper[128], work[128], options[512];
    if (disk) {
        if (!mount_disk(disk, scratch, "ext4", MS_NOATIME, NULL, wrong, size, code)) return false;
    } else if (mount("tmpfs", scratch, "tmpfs", 0, "mode=0755") < 0) {
        snprintf(wrong, size, "no memory for the writable layer: %s", strerror(errno));
        return false;
    }
    snprintf(upper, sizeof upper, "%s/upper", scratch);
    snprintf(work, sizeof work, "%s/work", scratch);
    // The host's empty disks have both already: then nothing is written here.
    mkdir(upper, 0755);
    mkdir(work, 0755);
    // The root of the overlay shows the upper directory's mode and owner: they are the base's.
    struct stat base, shown;
    bool known = stat(lower, &base) == 0 && stat(upper, &shown) == 0;
    if (known && (shown.st_uid != base.st_uid || shown.st_gid != base.st_gid || (shown.st_mode ^ base.st_mode) & 07777) &&
        (chown(upper, base.st_uid, base.st_gid) < 0 || chmod(upper, base.st_mode & 07777) < 0)) {
        say("%s: %s", upper, strerror(errno));
    }
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
    if (mount("overlay", target, "overlay", 0, options) == 0) return true;
    snprintf(wrong, size, "the overlay on %s can't be mounted: %s", target, strerror(errno));
    return false;
}

bool first_time(const char *what) {
    char path[128];
    snprintf(path, sizeof path, PRIVATE_DIR "/%s.done", what);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return errno != EEXIST;
    fsync(fd);
    close(fd);
    return true;
}

// Asks for the last of the image's blocks, where directories and inodes are, in one request instead of one for each.
// Open until it is mounted: what was read is forgotten when nobody has the disk open.
static int read_ahead(const char *serial) {
    char device[160];
    uint8_t block[4096];
    uint32_t magic, blocks;
    int fd = find_disk(serial, DISK_WAIT_MS, device, sizeof device) ? open(device, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || pread(fd, block, sizeof block, 0) != sizeof block) return fd;
    memcpy(&magic, block + EROFS_SUPER, sizeof magic);
    memcpy(&blocks, block + EROFS_SUPER + 36, sizeof blocks);
    uint64_t end = (uint64_t)blocks * sizeof block;
    if (magic == EROFS_SUPER_MAGIC_V1) readahead(fd, end > READ_AHEAD ? (off_t)(end - READ_AHEAD) : 0, READ_AHEAD);
    return fd;
}

bool mount_root(const struct disk_spec *root, char *wrong, size_t size) {
    mkdir("/lower", 0755);
    mkdir("/writable", 0755);
    mkdir("/newroot", 0755);
    int image = read_ahead(root->serial);
    bool mounted = mount_disk(root->serial, "/lower", "erofs", MS_RDONLY, NULL, wrong, size, NULL);
    if (image >= 0) close(image);
    if (!mounted) return false;
    if (!mount_overlay("/lower", root->overlay, "/writable", "/newroot", wrong, size, NULL)) return false;
    mkdir("/writable/private", 0700);
    mkdir(PRIVATE_DIR, 0700);
    if (mount("/writable/private", PRIVATE_DIR, NULL, MS_BIND, NULL) < 0) say("%s: %s", PRIVATE_DIR, strerror(errno));
    static const char *const moved[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        char target[64];
        snprintf(target, sizeof target, "/newroot%s", moved[i]);
        if (!force_directory(target, 0755) || mount(moved[i], target, NULL, MS_MOVE, NULL) < 0) {
            snprintf(wrong, size, "%s can't be moved into the image's root: %s", moved[i], strerror(errno));
            return false;
        }
    }
    if (chdir("/newroot") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) {
        snprintf(wrong, size, "the image's root can't become the root: %s", strerror(errno));
        return false;
    }
    // What is mounted later appears in the namespace of an application that is an init, too.
    mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL);
    struct stat info;
    if (stat("/tmp", &info) < 0 && mkdir("/tmp", 0755) == 0) chmod("/tmp", 01777);
    if (stat("/run", &info) < 0) mkdir("/run", 0755);
    return true;
}

static bool mount_volume_overlay(const struct disk_spec *volume, char *wrong, size_t size, enum error_code *code) {
    char base[64], scratch[64];
    snprintf(base, sizeof base, CONFINED_DIR "/base-%d", getpid());
    snprintf(scratch, sizeof scratch, CONFINED_DIR "/upper-%d", getpid());
    mkdir(base, 0700);
    mkdir(scratch, 0700);
    bool done = mount_disk(volume->serial, base, "ext4", MS_RDONLY | MS_NOATIME, "noload", wrong, size, code);
    done = done && mount_overlay(base, volume->overlay, scratch, volume->path, wrong, size, code);
    // The overlay holds on to both; nobody else has to see them.
    umount2(scratch, MNT_DETACH);
    umount2(base, MNT_DETACH);
    rmdir(scratch);
    rmdir(base);
    return done;
}

// Whether the volume is at its place already: asking twice is no error.
static bool is_mounted(const struct disk_spec *volume) {
    char device[160], parent[4096];
    struct stat here, above, disk;
    struct statfs kind;
    if (snprintf(parent, sizeof parent, "%s/..", volume->path) >= (int)sizeof parent) return false;
    if (stat(volume->path, &here) < 0 || stat(parent, &above) < 0 || here.st_dev == above.st_dev) return false;
    if (volume->mode == DISK_NFS) return statfs(volume->path, &kind) == 0 && kind.f_type == NFS_SUPER_MAGIC;
    if (volume->mode == DISK_OVERLAY) return statfs(volume->path, &kind) == 0 && kind.f_type == OVERLAYFS_SUPER_MAGIC;
    return find_disk(volume->serial, 0, device, sizeof device) && stat(device, &disk) == 0 && disk.st_rdev == here.st_dev;
}

// A file system that the host serves; its modules have been loaded.
static bool mount_nfs(const struct disk_spec *volume, char *wrong, size_t size) {
    if (mount(volume->serial, volume->path, "nfs4", MS_NOATIME, volume->options ? volume->options : "") == 0) return true;
    snprintf(wrong, size, "the file system %s can't be mounted at %s: %s", volume->serial, volume->path, strerror(errno));
    return false;
}

bool mount_volume(const struct disk_spec *volume, char *wrong, size_t size, enum error_code *code) {
    *code = E_PATH;
    if (!make_directories(volume->path, 0755)) {
        snprintf(wrong, size, "the mount point %s can't be made: %s", volume->path, strerror(errno));
        return false;
    }
    if (is_mounted(volume)) return true;
    *code = E_IO;
    switch (volume->mode) {
    case DISK_RO: return mount_disk(volume->serial, volume->path, "ext4", MS_RDONLY | MS_NOATIME, "noload", wrong, size, code);
    case DISK_OVERLAY: return mount_volume_overlay(volume, wrong, size, code);
    case DISK_NFS: return mount_nfs(volume, wrong, size);
    default: return mount_disk(volume->serial, volume->path, "ext4", MS_NOATIME, NULL, wrong, size, code);
    }
}

int unmount_path(const char *path) {
    // Shared mounts: an application in its own namespace loses it as well, or holds it (EBUSY).
    return umount2(path, UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
}

// For power-off: all processes are dead. Volumes first, then the root read-only, so that no journal is left.
void unmount_everything(void) {
    static char text[256 * 1024];
    char *targets[MAX_MOUNTS];
    int count = 0;
    sync();
    if (read_file("/proc/self/mounts", text, sizeof text) > 0) {
        for (char *line = strtok(text, "\n"); line && count < MAX_MOUNTS; line = strtok(NULL, "\n")) {
            char *target = strchr(line, ' ');
            if (!target) continue;
            *strchrnul(++target, ' ') = 0;
            targets[count++] = target;
        }
    }
    while (count-- > 0) {
        const char *target = targets[count];
        if (strcmp(target, "/") == 0 || strncmp(target, "/proc", 5) == 0 || strncmp(target, "/sys", 4) == 0 ||
            strncmp(target, "/dev", 4) == 0) continue;
        if (umount2(target, UMOUNT_NOFOLLOW) < 0) mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    }
    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    // The ext4 disk below the overlay is out of sight: the kernel's emergency remount reaches it.
    write_file("/proc/sysrq-trigger", "s");
    write_file("/proc/sysrq-trigger", "u");
    sync();
}
