// A rehearsal: what a launch will do, done once for nobody on disks that stand in, so that an emulated CPU has
// translated it by the time it counts. A blank guest stays blank: the mounts end with the child that made them,
// and the interface is without an address again.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "/bin/rehearsal"
#define ROUNDS 2

// Starts the stand-in program as a command is started, and reads what it says to its end.
static bool run_once(int cgroup) {
    char *argv[] = {PROGRAM, NULL}, *env[] = {"PATH=/bin", NULL}, bytes[512];
    struct exec_spec spec = {.argv = argv, .env = env, .argc = 1, .envc = 1, .cwd = "/", .user = "root"};
    int in[2], out[2];
    if (open_pipe(in, false, true) < 0 || open_pipe(out, true, false) < 0) return false;
    struct spawn request = {.spec = &spec, .in = in[0], .out = out[1], .err = out[1], .make_cwd = true, .cgroup = cgroup};
    pid_t pid = spawn(&request);
    close(in[0]);
    close(out[1]);
    struct pollfd ready = {.fd = out[0], .events = POLLIN};
    while (pid > 0 && poll(&ready, 1, -1) > 0 && read(out[0], bytes, sizeof bytes) > 0) continue;
    int status = 0;
    bool ran = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status);
    struct spawn_report report;
    ran = ran && spawn_report_read(request.status_fd, &report) == 0;  // a report would say why it didn't run
    close(in[1]);
    close(out[0]);
    if (pid > 0) close(request.status_fd);
    return ran;
}

static int in_child(const struct guest_config *config) {
    char text[TEXT_MAX] = "";
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 && errno != EINVAL) say("rehearsal: %s", strerror(errno));
    if (config->hostname && sethostname(config->hostname, strlen(config->hostname)) < 0) return 1;
    if (!mount_root(&config->root, text, sizeof text)) {
        say("rehearsal: %s", text);
        return 1;
    }
    own_disk(config);
    write_names(config);
    const int groups[ROUNDS] = {agent.app_cgroup, agent.exec_cgroup};
    for (int round = 0; round < ROUNDS; round++) if (!run_once(groups[round])) return 1;
    return 0;
}

bool rehearse(const struct guest_config *config, char *wrong, size_t size) {
    // Not what the one that it becomes will have: that gets its own, first.
    add_entropy(config->entropy, config->entropy_length);
    set_clock(config->clock_ns);
    if (config->net.present) {
        if (!bring_up_network(&config->net, wrong, size)) return false;
        take_down_network(&config->net);
    }
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        _exit(in_child(config));
    }
    int status = 0;
    // The agent has nothing else to do; a host that has waited long enough ends the guest.
    bool done = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!done) snprintf(wrong, size, "the rehearsal failed (%d)", pid < 0 ? errno : status);
    return done;
}
