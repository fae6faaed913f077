// A program that runs once in an instance's life, beside the application: what its user data says. Its output
// goes line by line into the log, and into the file where people look for it.
//
// That it began is on the disk before it begins: after a crash it is not run a second time.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_FILE "/var/log/cloud-init-output.log"
#define CHUNK 16384

static struct {
    pid_t pid;
    bool exited, told;
    int status, file;
    struct watch out, err, report;
    struct log_stream out_log, err_log;
    char *program;
} once = {.out.fd = -1, .err.fd = -1, .report.fd = -1, .file = -1};

static int open_output(void) {
    if (!make_directories("/var/log", 0755)) return -1;
    return open(OUTPUT_FILE, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
}

void once_start(const char *program) {
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    if (!first_time("user-data")) return;
    once.program = strdup(program);
    once.out_log = (struct log_stream){.name = "stdout", .line = malloc(LOG_LINE_MAX)};
    once.err_log = (struct log_stream){.name = "stderr", .line = malloc(LOG_LINE_MAX)};
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char *argv[] = {once.program, NULL};
    struct exec_spec spec = {.argv = argv, .argc = 1};
    bool ready = in >= 0 && once.program && once.out_log.line && once.err_log.line && open_pipe(out, true, false) == 0 &&
                 open_pipe(err, true, false) == 0;
    struct spawn request = {.spec = &spec, .in = in, .out = out[1], .err = err[1], .cgroup = agent.exec_cgroup};
    if (ready) once.pid = spawn(&request);
    int failure = errno;
    if (in >= 0) close(in);
    if (out[1] >= 0) close(out[1]);
    if (err[1] >= 0) close(err[1]);
    if (once.pid <= 0) {
        log_line("stderr", "berth: the user data can't be run: %s", strerror(failure));
        return;
    }
    once.file = open_output();
    watch_start(&once.out, out[0], NULL, NULL);
    watch_start(&once.err, err[0], NULL, NULL);
    watch_start(&once.report, request.status_fd, NULL, NULL);
    once.report.readable = true;
}

static void read_report(void) {
    struct spawn_report report;
    char text[TEXT_MAX];
    enum error_code code;
    while (once.report.fd >= 0 && once.report.readable) {
        int got = spawn_report_read(once.report.fd, &report);
        if (got < 0) {
            once.report.readable = false;
        } else if (got == 0) {
            watch_close(&once.report);
        } else if (report.step == STEP_PID) {
            once.pid = report.value;
        } else {
            spawn_failure(&report, once.program, "0", "/", &code, text, sizeof text);
            log_line("stderr", "berth: the user data can't be run: %s", text);
            once.told = true;
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
        if (once.file >= 0 && write(once.file, bytes, (size_t)count) < 0) close(once.file), once.file = -1;
        return true;
    }
    if (count < 0 && errno == EINTR) return true;
    if (count < 0 && errno == EAGAIN) {
        from->readable = false;
        return false;
    }
    watch_close(from);
    log_finish(log);
    return true;
}

bool once_child(pid_t pid, int status) {
    if (once.pid <= 0 || once.exited) return false;
    // A report of a process's number comes before its end.
    once.report.readable = true;
    read_report();
    if (pid != once.pid) return false;
    once.exited = true;
    once.status = status;
    once.out.readable = once.out.fd >= 0;
    once.err.readable = once.err.fd >= 0;
    return true;
}

static void tell_end(void) {
    int status = once.status;
    once.told = true;
    if (WIFSIGNALED(status)) log_line("stderr", "berth: the user data was ended by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0) log_line("stderr", "berth: the user data ended with exit code %d", WEXITSTATUS(status));
    else log_line("stdout", "berth: the user data has been run");
}

bool once_pump(void) {
    if (once.pid <= 0) return false;
    read_report();
    bool moved = pump_stream(&once.out, &once.out_log);
    moved |= pump_stream(&once.err, &once.err_log);
    if (!once.exited || once.out.readable || once.err.readable) return moved;
    if (!once.told) tell_end();
    // What it left behind may hold the pipes: its output goes on into the log.
    if (once.out.fd >= 0 || once.err.fd >= 0) return moved;
    if (once.file >= 0) close(once.file);
    free(once.out_log.line);
    free(once.err_log.line);
    free(once.program);
    once.pid = 0;
    return moved;
}
