// The application: the one process that the instance is for. Its output becomes the log, its end the
// instance's end: everything else is killed, the exit is written down and told, and the guest powers off.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define DRAIN_MS 2000
#define FLUSH_MS 1000
#define CHUNK 16384
#define SYSTEMD_HALT 37  // SIGRTMIN+3 as glibc and systemd count

static struct {
    pid_t pid;
    bool exited, killed_by_us, init, draining_over;
    int status, stop_signal;
    uint64_t oom_kills;
    struct watch out, err, report;
    struct log_stream out_log, err_log;
    char *program, *user, *cwd;
    struct timer grace, drain;
} app = {.out.fd = -1, .err.fd = -1, .report.fd = -1};
static char lines[2][LOG_LINE_MAX];

// The streams of a process that waits to become the application.
static struct {
    bool is_there;
    int ours[2], theirs[3];
} held;

static uint64_t counter_in(const char *path, const char *name) {
    static char text[32768];
    if (read_file(path, text, sizeof text) < 0) return UINT64_MAX;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t length = strlen(name);
        if (strncmp(line, name, length) == 0 && line[length] == ' ') return strtoull(line + length, NULL, 10);
    }
    return UINT64_MAX;
}

static uint64_t oom_kills(void) {
    uint64_t count = counter_in("/sys/fs/cgroup/app/memory.events", "oom_kill");
    if (count == UINT64_MAX) count = counter_in("/proc/vmstat", "oom_kill");
    return count == UINT64_MAX ? 0 : count;
}

void app_expect(void) { app.oom_kills = oom_kills(); }

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// An init wants to be process 1; *stop is the signal by which this kind powers off, or 0.
static bool is_init(const struct exec_spec *spec, int *stop) {
    static const char *const names[] = {"init", "systemd", "openrc-init", "runit-init", "s6-svscan"};
    char path[4096], target[4096];
    bool found = false;
    const char *name = base_name(spec->argv[0]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) found |= strcmp(name, names[i]) == 0;
    if (!found || !find_program(spec->argv[0], spec->env, path, sizeof path)) return false;
    const char *real = base_name(realpath(path, target) ? target : path);
    *stop = strcmp(real, "systemd") == 0 ? SYSTEMD_HALT : strncmp(real, "busybox", 7) == 0 ? SIGUSR2 : 0;
    return true;
}

static bool open_console(int *master, int *slave) {
    int unlock = 0;
    struct termios mode;
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (*master < 0 || ioctl(*master, TIOCSPTLCK, &unlock) < 0) return false;
    *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*slave < 0) return false;
    if (tcgetattr(*slave, &mode) == 0) {
        mode.c_oflag &= ~(tcflag_t)(OPOST | ONLCR);
        mode.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(*slave, TCSANOW, &mode);
    }
    return true;
}

static bool open_streams(int ours[2], int theirs[3]) {
    int ends[2];
    if (app.init) {
        if (!open_console(&ours[0], &theirs[0])) return false;
        theirs[1] = theirs[2] = theirs[0];
        ours[1] = -1;
        return true;
    }
    theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        if (open_pipe(ends, true, false) < 0) return false;
        ours[i] = ends[0], theirs[1 + i] = ends[1];
    }
    return theirs[0] >= 0;
}

static void close_all(const int *files, int count) {
    for (int i = 0; i < count; i++) if (files[i] >= 0) close(files[i]);
}

void app_hold(void) {
    for (int i = 0; i < 3; i++) held.theirs[i] = held.ours[i % 2] = -1;
    struct spawn request = {.cgroup = agent.app_cgroup};
    if (open_streams(held.ours, held.theirs)) {
        request.in = held.theirs[0], request.out = held.theirs[1], request.err = held.theirs[2];
        held.is_there = spawn_hold(&request);
    }
    if (held.is_there) return;
    // Then a process is made when there is an application.
    close_all(held.ours, 2);
    close_all(held.theirs, 3);
}

// Those streams are the application's; an init has a console instead, and namespaces that no process has yet.
static bool take_held(int ours[2], int theirs[3]) {
    if (!held.is_there) return false;
    held.is_there = false;
    if (app.init) {
        spawn_let_go();
        close_all(held.ours, 2);
        close_all(held.theirs, 3);
        return false;
    }
    memcpy(ours, held.ours, sizeof held.ours);
    memcpy(theirs, held.theirs, sizeof held.theirs);
    return true;
}

static void keep_env(const struct exec_spec *spec) {
    agent.app_env = calloc(spec->envc + 1, sizeof *agent.app_env);
    for (size_t i = 0, kept = 0; agent.app_env && i < spec->envc; i++) {
        char *copy = strdup(spec->env[i]);
        if (copy) agent.app_env[kept++] = copy;
    }
}

void app_start(uint32_t channel, struct exec_spec *spec) {
    int ours[2] = {-1, -1}, theirs[3] = {-1, -1, -1}, stop = 0;
    app.init = is_init(spec, &stop);
    app.stop_signal = spec->stop_signal ? (int)spec->stop_signal : stop ? stop : SIGTERM;
    app.out_log = (struct log_stream){.name = "stdout", .line = lines[0]};
    app.err_log = (struct log_stream){.name = "stderr", .line = lines[1]};
    app.program = strdup(spec->argv[0]);
    app.user = strdup(spec->user ? spec->user : "0");
    app.cwd = strdup(spec->cwd ? spec->cwd : "/");
    keep_env(spec);
    bool is_held = take_held(ours, theirs);
    bool ready = app.program && app.user && app.cwd && (is_held || open_streams(ours, theirs));
    struct spawn request = {
        .spec = spec, .in = theirs[0], .out = theirs[1], .err = theirs[2], .terminal = app.init, .make_cwd = true,
        .own_init = app.init, .cgroup = agent.app_cgroup, .held = is_held,
    };
    if (ready) app.pid = spawn(&request);
    int failure = errno;
    for (int i = 0; i < (app.init ? 1 : 3); i++) if (theirs[i] >= 0) close(theirs[i]);
    if (!ready || app.pid <= 0) return link_error(channel, E_IO, "the application can't be started: %s", strerror(failure));
    watch_start(&app.out, ours[0], NULL, NULL);
    if (ours[1] >= 0) watch_start(&app.err, ours[1], NULL, NULL);
    watch_start(&app.report, request.status_fd, NULL, NULL);
    app.report.readable = true;
    if (app.init) agent.init_pid = app.pid;
    agent.state = STATE_APP_RUNNING;
    link_send(F_REPLY, channel, NULL, 0);
    ssh_start(spec, app.init);
    if (spec->first_script) once_start(spec->first_script);
}

static void on_grace(struct timer *timer) {
    timer_clear(timer);
    if (!app.exited) kill(app.pid, SIGKILL);
}

void app_stop(uint64_t grace_ms) {
    if (app.exited) return;
    freeze(false);
    if (grace_ms == 0) {
        kill(app.pid, SIGKILL);
        return;
    }
    kill(app.pid, app.stop_signal);
    timer_set(&app.grace, grace_ms > INT32_MAX ? INT32_MAX : (int64_t)grace_ms, on_grace, NULL);
}

static void on_drained(struct timer *timer) {
    timer_clear(timer);
    app.draining_over = true;
}

bool app_child(pid_t pid, int status) {
    if (app.pid <= 0 || pid != app.pid || app.exited) return false;
    app.exited = true;
    app.status = status;
    timer_clear(&app.grace);
    timer_set(&app.drain, DRAIN_MS, on_drained, NULL);
    // Nothing outlives the application; its pipes then come to their end.
    app.out.readable = true;
    freeze(false);
    kill(-1, SIGKILL);
    return true;
}

static void read_report(void) {
    struct spawn_report report;
    char text[TEXT_MAX];
    enum error_code code;
    while (app.report.fd >= 0 && app.report.readable) {
        int got = spawn_report_read(app.report.fd, &report);
        if (got < 0) {
            app.report.readable = false;
        } else if (got == 0) {
            watch_close(&app.report);
        } else {
            spawn_failure(&report, app.program, app.user, app.cwd, &code, text, sizeof text);
            log_line("stderr", "berth: %s", text);
            bool found = code != E_NOT_FOUND;
            agent.exit = (struct app_exit){.code = found ? 126 : 127, .reason = found ? "not-executable" : "not-found"};
        }
    }
}

static bool pump_stream(struct watch *from, struct log_stream *log) {
    char bytes[CHUNK];
    if (from->fd < 0 || !from->readable) return false;
    size_t room = log_room();
    if (room == 0) return false;
    ssize_t count = read(from->fd, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (count > 0) {
        log_bytes(log, bytes, (size_t)count);
        return true;
    }
    if (count < 0 && errno == EINTR) return true;
    // A console that nobody has open now reads as an error, and comes back: an init closes and hangs it up.
    bool comes_back = app.init && !app.exited && errno == EIO;
    if (count < 0 && (errno == EAGAIN || comes_back)) from->readable = false;
    else watch_close(from);
    return false;
}

static void describe_end(void) {
    if (agent.exit.reason) return;  // it never ran
    if (WIFEXITED(app.status)) {
        agent.exit = (struct app_exit){.code = WEXITSTATUS(app.status), .reason = "exited"};
    } else {
        int number = WTERMSIG(app.status);
        agent.exit = (struct app_exit){.code = 128 + number, .signal = number, .reason = "killed"};
        // reboot(2) inside the namespace of an init ends it by one of these.
        if (app.init && (number == SIGINT || number == SIGHUP)) agent.exit = (struct app_exit){.reason = "powered-off"};
    }
    bool killed = agent.exit.code == 128 + SIGKILL;
    if (killed && oom_kills() > app.oom_kills) agent.exit.reason = "out-of-memory";
}

static _Noreturn void power_off(void) {
    agent.ending = true;
    int64_t until = now_ms() + FLUSH_MS;
    while (now_ms() < until && !(link_idle() && log_idle() && !sessions_busy())) {
        static struct timer wake;
        sessions_pump();
        log_pump();
        link_pump();
        if (wake.due_ms == 0) timer_set(&wake, 20, timer_clear, NULL);
        loop_turn(false);
    }
    // Closing a port waits until the VMM has taken what was written to it.
    log_close();
    link_close();
    unmount_everything();
    reboot(RB_POWER_OFF);
    for (;;) pause();
}

static _Noreturn void finish(void) {
    describe_end();
    log_finish(&app.out_log);
    log_finish(&app.err_log);
    log_line("berth", "exit code=%d signal=%d reason=%s", agent.exit.code, agent.exit.signal, agent.exit.reason);
    agent.state = STATE_APP_EXITED;
    uint8_t body[256];
    link_send(F_APP_EXIT, 0, body, describe_exit(body, sizeof body));
    power_off();
}

bool app_pump(void) {
    if (app.pid <= 0) return false;
    read_report();
    bool moved = pump_stream(&app.out, &app.out_log);
    moved |= pump_stream(&app.err, &app.err_log);
    if (app.exited && ((app.out.fd < 0 && app.err.fd < 0) || app.draining_over)) finish();
    return moved;
}

void app_power_off(void) {
    freeze(false);
    kill(-1, SIGKILL);
    link_pump();
    if (agent.state == STATE_APP_RUNNING) return;  // its end does the rest
    power_off();
}
