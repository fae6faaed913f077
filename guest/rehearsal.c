// A rehearsal: what a launch will do, done once for nobody on disks that stand in, so that an emulated CPU has
// translated it by the time it counts. A blank guest stays blank: the mounts end with the child that made them,
// and the interface is without an address again.
//
// Where an image is mounted already, a program of that image runs too: as nobody, in a root of its own whose
// writable layer is thrown away afterwards, with nothing else to be seen or to be reached. What it leaves is the
// image's pages in the guest's memory, which whoever the guest becomes would read as well.
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "/bin/rehearsal"
#define ROUNDS 2
#define NOBODY "65534:65534"
#define PROGRAM_MS 10000  // a shell that does nothing takes milliseconds, and a second on a very busy host
#define POLL_MS 2
#define STAGE "/rehearsal"             // where the root of the rehearsal is, in the initramfs
#define LAYER "/writable/rehearsal"    // what is written in it

// Waits until it has ended; one that takes too long is ended.
static bool ended_well(pid_t pid, int64_t until) {
    int status = 0;
    for (pid_t got; (got = waitpid(pid, &status, WNOHANG)) != pid;) {
        if (got < 0) return false;
        if (now_ms() >= until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    return WIFEXITED(status);
}

// Starts a program as a command is started, and reads what it says to its end.
static bool run_once(int cgroup, char **argv, const char *user) {
    char *env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL}, bytes[512];
    size_t argc = 0;
    while (argv[argc]) argc++;
    struct exec_spec spec = {.argv = argv, .env = env, .argc = argc, .envc = 1, .cwd = "/", .user = (char *)user};
    int in[2], out[2];
    if (open_pipe(in, false, true) < 0 || open_pipe(out, true, false) < 0) return false;
    struct spawn request = {.spec = &spec, .in = in[0], .out = out[1], .err = out[1], .make_cwd = true, .cgroup = cgroup};
    int64_t until = now_ms() + PROGRAM_MS;
    pid_t pid = spawn(&request);
    close(in[0]);
    close(out[1]);
    struct pollfd ready = {.fd = out[0], .events = POLLIN};
    for (int64_t left; pid > 0 && (left = until - now_ms()) > 0 && poll(&ready, 1, (int)left) > 0 && read(out[0], bytes, sizeof bytes) > 0;) continue;
    bool ran = pid > 0 && ended_well(pid, until);
    struct spawn_report report;
    ran = ran && spawn_report_read(request.status_fd, &report) == 0;  // a report would say why it didn't run
    close(in[1]);
    close(out[0]);
    if (pid > 0) close(request.status_fd);
    return ran;
}

static int on_stand_ins(const struct guest_config *config) {
    char text[TEXT_MAX] = "", *program[] = {PROGRAM, NULL};
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0) return 1;
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 && errno != EINVAL) say("rehearsal: %s", strerror(errno));
    if (config->hostname && sethostname(config->hostname, strlen(config->hostname)) < 0) return 1;
    if (!mount_root(&config->root, text, sizeof text)) {
        say("rehearsal: %s", text);
        return 1;
    }
    own_disk(config);
    write_names(config);
    const int groups[ROUNDS] = {agent.app_cgroup, agent.exec_cgroup};
    for (int round = 0; round < ROUNDS; round++) if (!run_once(groups[round], program, "root")) return 1;
    return 0;
}

static bool remove_tree(int parent, const char *name) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return true;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) close(fd);
        return false;
    }
    bool gone = true;
    for (struct dirent *entry = readdir(dir); entry && gone; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        gone = remove_tree(fd, entry->d_name);
    }
    closedir(dir);
    return gone && unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

// What most images have: their C library and their shell, which an application or a command needs first.
static void run_of_image(void) {
    char *shell[] = {"/bin/sh", "-c", ":", NULL}, *nothing[] = {"/bin/true", NULL};
    const int groups[ROUNDS] = {agent.app_cgroup, agent.exec_cgroup};
    for (int round = 0; round < ROUNDS; round++) {
        // An image may have neither, or one that doesn't work: then this much is not translated.
        if (!run_once(groups[round], shell, NOBODY) && !run_once(groups[round], nothing, NOBODY)) return;
    }
}

static bool set_stage(void) {
    mkdir(STAGE, 0755);
    if (!remove_tree(AT_FDCWD, LAYER) || mkdir(LAYER, 0700) < 0 || mkdir(LAYER "/upper", 0755) < 0 || mkdir(LAYER "/work", 0755) < 0) return false;
    return mount("overlay", STAGE, "overlay", 0, "lowerdir=/lower,upperdir=" LAYER "/upper,workdir=" LAYER "/work") == 0;
}

static bool strike_stage(void) {
    // All that still runs in the namespace of this process, which is its init.
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) continue;
    return umount2(STAGE, 0) == 0 && remove_tree(AT_FDCWD, LAYER);
}

static int on_image(const struct guest_config *config) {
    // From the initramfs, in which image and writable layer are mounted; the namespace is copied with this as its root.
    if (fchdir(agent.boot_root) < 0 || chroot(".") < 0 || unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0) return 1;
    int below = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (below < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 || !set_stage()) {
        say("rehearsal: no root of its own: %s", strerror(errno));
        return 1;
    }
    if (config->hostname && sethostname(config->hostname, strlen(config->hostname)) < 0) return 1;
    if (chroot(STAGE) < 0 || chdir("/") < 0) return 1;
    if (make_directories(PRIVATE_DIR, 0700)) {
        keep_places(config);
        own_disk(config);
    }
    write_names(config);
    run_of_image();
    if (fchdir(below) == 0 && chroot(".") == 0 && strike_stage()) return 0;
    say("rehearsal: something is left of it: %s", strerror(errno));
    return 1;
}

bool rehearse(const struct guest_config *config, char *wrong, size_t size) {
    // Not what the one that it becomes will have: that gets its own, first.
    add_entropy(config->entropy, config->entropy_length);
    set_clock(config->clock_ns);
    if (config->net.present) {
        if (!bring_up_network(&config->net, wrong, size)) return false;
        take_down_network(&config->net);
    }
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        _exit(agent.root_mounted ? on_image(config) : on_stand_ins(config));
    }
    int status = 0;
    // The agent has nothing else to do; a host that has waited long enough ends the guest.
    bool done = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!done) snprintf(wrong, size, "the rehearsal failed (%d)", pid < 0 ? errno : status);
    // Nothing is left to be written when the guest stands still.
    if (agent.root_mounted) sync();
    return done;
}
