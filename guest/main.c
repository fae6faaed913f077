// Berth's agent: process 1 of every microVM. It mounts what a kernel needs, opens its two ports, and does
// what the host asks for. Until CONFIGURE nothing of one instance is in here: templates are taken then.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct agent agent = {.state = STATE_UNCONFIGURED, .app_cgroup = -1, .exec_cgroup = -1, .boot_root = -1};

void say(const char *format, ...) {
    char text[TEXT_MAX];
    int prefix = snprintf(text, sizeof text, "berth-agent: ");
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + prefix, sizeof text - (size_t)prefix - 1, format, args);
    va_end(args);
    size_t end = (size_t)prefix + (length < 0 ? 0 : (size_t)length);
    if (end > sizeof text - 2) end = sizeof text - 2;
    text[end++] = '\n';
    if (write(2, text, end) < 0) return;  // no console: nobody to tell
}

bool write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

ssize_t read_file(const char *path, char *buffer, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    size_t length = 0;
    ssize_t count = 0;
    while (length < size - 1 && (count = read(fd, buffer + length, size - 1 - length)) > 0) length += (size_t)count;
    close(fd);
    buffer[length] = 0;
    return count < 0 && length == 0 ? -1 : (ssize_t)length;
}

void deliver_child(pid_t pid, int status) {
    child_reaped(pid);
    if (!session_child(pid, status) && !ssh_child(pid) && !once_child(pid, status)) app_child(pid, status);
}

void reap_children(void) {
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        deliver_child(pid, status);
    }
}

static void children_changed(struct watch *watch) {
    struct signalfd_siginfo info[8];
    while (read(watch->fd, info, sizeof info) > 0) continue;
    watch->readable = false;
    reap_children();
}

static bool watch_children(void) {
    static struct watch watch;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 && watch_start(&watch, fd, children_changed, NULL);
}

// The agent holds a few files for each command; what it starts gets the customary limits (spawn.c).
static void raise_limits(void) {
    struct rlimit files = {.rlim_cur = 16384, .rlim_max = MAX_FILES};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) say("the limit of open files: %s", strerror(errno));
}

static _Noreturn void give_up(const char *why) {
    say("%s: powering off", why);
    sync();
    reboot(RB_POWER_OFF);
    for (;;) pause();
}

// A guest without swap that is nearly out of memory reads the same pages of its programs from disk again
// and again, for minutes, before the kernel takes that for no progress. With this it kills as soon as what
// was used within the last second doesn't fit any more. Kernels without the file go on as they always did.
static void protect_working_set(void) {
    write_file("/sys/kernel/mm/lru_gen/min_ttl_ms", "1000");
    write_file("/sys/kernel/mm/lru_gen/enabled", "y");
}

int main(void) {
    if (getpid() != 1) {
        fprintf(stderr, "berth-agent %s: this is process 1 of a Berth guest and runs nowhere else\n", AGENT_VERSION);
        return 1;
    }
    umask(022);
    mount_early();
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    if (console < 0) console = open("/dev/null", O_RDWR);
    if (console >= 0) {
        for (int fd = 0; fd < 3; fd++) if (console != fd) dup2(console, fd);
        if (console > 2) close(console);
    }
    // A panic ends the VMM (which runs with -no-reboot) instead of hanging for ever. The agent itself is never the
    // one that the kernel kills for memory: process 1 is exempt, and what it starts is not.
    write_file("/proc/sys/kernel/panic", "-1");
    protect_working_set();
    raise_limits();
    prepare_network();
    load_modules();
    bring_up_loopback();
    bring_up_card();
    find_fixed_disks();
    app_expect();
    loop_init();
    if (!watch_children()) give_up("no signalfd");
    log_open();
    if (!link_open()) give_up("the host's port org.berth.agent is missing");
    say("version %s waits for the host", AGENT_VERSION);
    for (;;) {
        link_pump();
        bool moved = app_pump();
        moved |= once_pump();
        moved |= sessions_pump();
        moved |= log_pump();
        link_pump();
        loop_turn(moved || link_has_input());
    }
}
