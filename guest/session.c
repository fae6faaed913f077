// Channels with a process behind them: commands and file operations.
//
//   opening ──program runs──▶ open ──process ended──▶ draining ──pipes at their end──▶ EXIT, free
//      └──it can't──▶ ERROR, free                         └── or 5 s of grace over
//
// Output is read from its pipe only while the host has given credit and the link has room; input is kept
// up to the window that the host was given. So a stalled host holds the process, and no memory grows.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MAX_SESSIONS 256
#define MANY_SESSIONS 16
#define WINDOW_FEW (1024 * 1024)
#define WINDOW_MANY (64 * 1024)
#define DRAIN_GRACE_MS 5000
#define STALL_RETRY_MS 500

struct session {
    uint32_t channel;  // 0: free
    pid_t pid;
    bool worker, tty, opened, exited, timed_out, drained;
    int status;
    struct watch in, out, err, report;
    char *program, *user, *cwd;  // for the sentence when it can't start
    uint8_t *queue;              // input that the process hasn't taken
    size_t queue_start, queue_end, queue_size;
    bool in_ended;
    uint32_t window, taken;  // input: what the host may send in all; what it may send anew
    int64_t credit;          // output that the host takes
    int64_t owed;            // output that was in the pipes when the process ended
    struct timer timeout, grace;
};

static struct session sessions[MAX_SESSIONS];
static int session_count;  // slots in use are below this

static struct session *find(uint32_t channel) {
    for (int i = 0; i < session_count; i++) if (sessions[i].channel == channel) return &sessions[i];
    return NULL;
}

static struct session *make(uint32_t channel) {
    int used = 0, free_slot = -1;
    if (channel == 0 || find(channel)) {
        link_fatal("a channel is used twice");
        return NULL;
    }
    // Slots that were never in use cost a page for each few of them when they are looked at.
    if (session_count < MAX_SESSIONS) free_slot = session_count;
    for (int i = session_count - 1; i >= 0; i--) {
        if (sessions[i].channel) used++;
        else free_slot = i;
    }
    if (free_slot < 0) {
        link_error(channel, E_LIMIT, "%d commands and transfers run in this guest already", MAX_SESSIONS);
        return NULL;
    }
    struct session *s = &sessions[free_slot];
    memset(s, 0, sizeof *s);
    s->channel = channel;
    s->in.fd = s->out.fd = s->err.fd = s->report.fd = -1;
    s->window = used < MANY_SESSIONS ? WINDOW_FEW : WINDOW_MANY;
    if (free_slot >= session_count) session_count = free_slot + 1;
    return s;
}

static void release(struct session *s) {
    watch_close(&s->in);
    watch_close(&s->out);
    watch_close(&s->err);
    watch_close(&s->report);
    timer_clear(&s->timeout);
    timer_clear(&s->grace);
    free(s->queue);
    free(s->program);
    free(s->user);
    free(s->cwd);
    s->queue = NULL;
    s->program = s->user = s->cwd = NULL;
    s->channel = 0;
    while (session_count > 0 && sessions[session_count - 1].channel == 0) session_count--;
}

static void kill_group(struct session *s, int number) {
    // A worker ends by itself, and cleans up, once its pipes are closed.
    if (s->exited || s->pid <= 0 || s->worker) return;
    kill(-s->pid, number);
    // Also where it has not made its group yet.
    if (number == SIGKILL) kill(s->pid, number);
}

static void send_opened(struct session *s) {
    s->opened = true;
    link_send_u32(F_OPENED, s->channel, s->window);
}

// Whether the session is still there afterwards.
static bool read_report(struct session *s) {
    struct spawn_report report;
    while (s->report.fd >= 0) {
        int got = spawn_report_read(s->report.fd, &report);
        if (got < 0) {
            s->report.readable = false;
            return true;
        }
        if (got == 0) {
            watch_close(&s->report);
            send_opened(s);
        } else if (report.step == STEP_PID) {
            s->pid = report.value;
        } else {
            enum error_code code;
            char text[TEXT_MAX];
            spawn_failure(&report, s->program, s->user, s->cwd, &code, text, sizeof text);
            link_error(s->channel, code, "%s", text);
            release(s);
            return false;
        }
    }
    return true;
}

static void end_session(struct session *s) {
    uint8_t body[128];
    struct tlv_writer writer = tlv_writer(body, sizeof body);
    bool signaled = WIFSIGNALED(s->status);
    int number = signaled ? WTERMSIG(s->status) : 0;
    tlv_put_number(&writer, T_EXIT_CODE, (uint64_t)(signaled ? 128 + number : WEXITSTATUS(s->status)));
    tlv_put_number(&writer, T_EXIT_SIGNAL, (uint64_t)number);
    tlv_put_number(&writer, T_TIMED_OUT, s->timed_out);
    link_send(F_EXIT, s->channel, body, writer.length);
    release(s);
}

static void on_timeout(struct timer *timer) {
    struct session *s = timer->owner;
    if (!read_report(s)) return;
    s->timed_out = true;
    kill_group(s, SIGKILL);
}

// Background children hold the pipes: give them up, but never what the host hasn't had credit for.
static void on_grace(struct timer *timer) {
    struct session *s = timer->owner;
    if (s->credit <= FRAME_COST) timer_set(timer, STALL_RETRY_MS, on_grace, s);
    else s->drained = true;
}

static bool open_terminal(int *master, int *slave, uint16_t rows, uint16_t cols) {
    int unlock = 0;
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (*master < 0) return false;
    *slave = -1;
    if (ioctl(*master, TIOCSPTLCK, &unlock) == 0) *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*slave < 0) {
        close(*master);
        return false;
    }
    struct winsize size = {.ws_row = rows ? rows : 24, .ws_col = cols ? cols : 80};
    ioctl(*master, TIOCSWINSZ, &size);
    return true;
}

static bool copy_names(struct session *s, const struct exec_spec *spec) {
    s->program = strdup(spec->argv[0]);
    s->user = strdup(spec->user ? spec->user : "0");
    s->cwd = strdup(spec->cwd ? spec->cwd : "/");
    return s->program && s->user && s->cwd;
}

// The agent's ends: [0] input, [1] output, [2] errors. The child's likewise.
static bool open_streams(const struct exec_spec *spec, int ours[3], int theirs[3]) {
    int ends[2];
    for (int i = 0; i < 3; i++) ours[i] = theirs[i] = -1;
    if (spec->tty) {
        if (!open_terminal(&ours[1], &theirs[0], spec->rows, spec->cols)) return false;
        ours[0] = fcntl(ours[1], F_DUPFD_CLOEXEC, 3);
        theirs[1] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
        theirs[2] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
        return ours[0] >= 0 && theirs[1] >= 0 && theirs[2] >= 0;
    }
    if (open_pipe(ends, false, true) < 0) return false;
    theirs[0] = ends[0], ours[0] = ends[1];
    for (int i = 1; i < 3; i++) {
        if (open_pipe(ends, true, false) < 0) return false;
        ours[i] = ends[0], theirs[i] = ends[1];
    }
    return true;
}

static void close_all(int fds[3]) {
    for (int i = 0; i < 3; i++) if (fds[i] >= 0) close(fds[i]);
}

void session_exec(uint32_t channel, struct exec_spec *spec) {
    struct session *s = make(channel);
    if (!s) return;
    int ours[3], theirs[3];
    struct spawn request = {.spec = spec, .terminal = spec->tty, .cgroup = agent.exec_cgroup};
    bool made = open_streams(spec, ours, theirs) && copy_names(s, spec);
    if (made) {
        request.in = theirs[0], request.out = theirs[1], request.err = theirs[2];
        s->pid = spawn(&request);
        made = s->pid > 0;
    }
    int failure = errno;
    close_all(theirs);
    if (!made) {
        close_all(ours);
        link_error(channel, E_IO, "the process can't be made: %s", strerror(failure));
        return release(s);
    }
    s->tty = spec->tty;
    s->credit = spec->window;
    watch_start(&s->in, ours[0], NULL, s);
    watch_start(&s->out, ours[1], NULL, s);
    if (ours[2] >= 0) watch_start(&s->err, ours[2], NULL, s);
    watch_start(&s->report, request.status_fd, NULL, s);
    s->report.readable = true;
    if (spec->timeout_ms > 0) timer_set(&s->timeout, (int64_t)spec->timeout_ms, on_timeout, s);
}

void session_work(uint32_t channel, uint32_t window, bool has_input, int (*work)(const void *body, size_t length),
                  const void *body, size_t length) {
    struct session *s = make(channel);
    if (!s) return;
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    bool made = open_pipe(in, false, true) == 0 && open_pipe(out, true, false) == 0;
    if (made) {
        bool in_app = work != work_mount && work != work_unmount;
        s->pid = spawn_worker(in[0], out[1], work, body, length, in_app);
        made = s->pid > 0;
    }
    int failure = errno;
    if (in[0] >= 0) close(in[0]);
    if (out[1] >= 0) close(out[1]);
    if (!made) {
        if (in[1] >= 0) close(in[1]);
        if (out[0] >= 0) close(out[0]);
        link_error(channel, E_IO, "the process can't be made: %s", strerror(failure));
        return release(s);
    }
    s->worker = true;
    s->credit = window ? window : WINDOW_MANY;
    watch_start(&s->in, in[1], NULL, s);
    watch_start(&s->out, out[0], NULL, s);
    if (!has_input) watch_close(&s->in);
    send_opened(s);
}

static void grant(struct session *s, size_t count) {
    s->taken += (uint32_t)count;
    if (s->taken < s->window / 4) return;
    link_send_u32(F_GRANT, s->channel, s->taken);
    s->taken = 0;
}

// Writes to the process what it takes; returns how much that was (all of it once nobody reads).
static size_t write_input(struct session *s, const uint8_t *bytes, size_t length) {
    size_t done = 0;
    while (done < length) {
        if (s->in.fd < 0) return length;
        if (!s->in.writable) break;
        ssize_t count = write(s->in.fd, bytes + done, length - done);
        if (count > 0) done += (size_t)count;
        else if (count < 0 && errno == EINTR) continue;
        else if (count < 0 && errno == EAGAIN) s->in.writable = false;
        else watch_close(&s->in);
    }
    return done;
}

static void take_input(struct session *s, const uint8_t *bytes, size_t length) {
    size_t waiting = s->queue_end - s->queue_start;
    if (waiting + length > s->window) return link_fatal("the host sent more than its credit");
    size_t done = waiting == 0 && s->opened ? write_input(s, bytes, length) : 0;
    if (done > 0) grant(s, done);
    if (done == length) return;
    if (s->queue_start > 0) {
        memmove(s->queue, s->queue + s->queue_start, waiting);
        s->queue_start = 0, s->queue_end = waiting;
    }
    size_t needed = waiting + length - done;
    if (needed > s->queue_size) {
        size_t size = needed > s->queue_size * 2 ? needed : s->queue_size * 2;
        uint8_t *grown = realloc(s->queue, size);
        if (!grown) return link_fatal("no memory for a channel's input");
        s->queue = grown;
        s->queue_size = size;
    }
    memcpy(s->queue + s->queue_end, bytes + done, length - done);
    s->queue_end += length - done;
}

static bool pump_input(struct session *s) {
    size_t waiting = s->queue_end - s->queue_start;
    if (waiting > 0) {
        size_t done = write_input(s, s->queue + s->queue_start, waiting);
        if (done == 0) return false;
        s->queue_start += done;
        grant(s, done);
        if (s->queue_start == s->queue_end) {
            free(s->queue);
            s->queue = NULL;
            s->queue_start = s->queue_end = s->queue_size = 0;
        }
        return true;
    }
    if (!s->in_ended || s->in.fd < 0) return false;
    // A terminal has no end: its key for that does it.
    if (s->tty && write_input(s, (const uint8_t *)"\4", 1) == 0) return false;
    watch_close(&s->in);
    return true;
}

static bool pump_output(struct session *s, struct watch *from, uint8_t type) {
    if (from->fd < 0 || !from->readable || s->credit <= FRAME_COST) return false;
    size_t room = link_room();
    if (room == 0) return false;
    if ((int64_t)room > s->credit - FRAME_COST) room = (size_t)(s->credit - FRAME_COST);
    ssize_t count = read(from->fd, link_reserve(), room);
    if (count > 0) {
        link_commit(type, s->channel, (size_t)count);
        s->credit -= count + FRAME_COST;
        s->owed -= count;
        return true;
    }
    if (count < 0 && errno == EINTR) return true;
    if (count < 0 && errno == EAGAIN) from->readable = false;
    else watch_close(from);
    return count == 0;
}

static bool pump(struct session *s) {
    bool moved = false;
    if (!s->opened) {
        if (!s->report.readable || !read_report(s) || !s->opened) return false;
        moved = true;
    }
    moved |= pump_input(s);
    moved |= pump_output(s, &s->out, F_OUT);
    moved |= pump_output(s, &s->err, F_ERR);
    if (!s->exited) return moved;
    if ((s->out.fd < 0 && s->err.fd < 0) || s->drained) {
        end_session(s);
        return true;
    }
    if (s->owed <= 0 && s->grace.due_ms == 0) timer_set(&s->grace, DRAIN_GRACE_MS, on_grace, s);
    return moved;
}

bool sessions_pump(void) {
    bool moved = false;
    for (int i = 0; i < session_count; i++) if (sessions[i].channel) moved |= pump(&sessions[i]);
    return moved;
}

bool sessions_busy(void) { return session_count > 0; }

static int64_t unread_bytes(const struct watch *watch) {
    int count = 0;
    return watch->fd >= 0 && ioctl(watch->fd, FIONREAD, &count) == 0 ? count : 0;
}

bool session_child(pid_t pid, int status) {
    // A report of a process's number comes before its end.
    for (int i = 0; i < session_count; i++) if (sessions[i].channel && sessions[i].report.fd >= 0) read_report(&sessions[i]);
    for (int i = 0; i < session_count; i++) {
        struct session *s = &sessions[i];
        if (!s->channel || s->exited || s->pid != pid) continue;
        s->exited = true;
        s->status = status;
        s->owed = unread_bytes(&s->out) + unread_bytes(&s->err);
        timer_clear(&s->timeout);
        return true;
    }
    return false;
}

void session_frame(const struct frame *frame) {
    struct session *s = find(frame->channel);
    // It may have ended while the host wrote.
    if (!s || frame->channel == 0) return;
    switch (frame->type) {
    case F_DATA: return take_input(s, frame->payload, frame->length);
    case F_EOF: s->in_ended = true; return;
    case F_CREDIT:
        if (frame->length == 4) s->credit += load32(frame->payload);
        return;
    case F_RESIZE:
        if (frame->length == 4 && s->tty && s->out.fd >= 0) {
            struct winsize size = {.ws_row = load16(frame->payload), .ws_col = load16(frame->payload + 2)};
            ioctl(s->out.fd, TIOCSWINSZ, &size);
        }
        return;
    case F_SIGNAL:
        if (frame->length == 4 && read_report(s) && load32(frame->payload) <= 64) kill_group(s, (int)load32(frame->payload));
        return;
    case F_CLOSE:
        if (!read_report(s)) return;
        kill_group(s, SIGKILL);
        release(s);
        return;
    }
}

void sessions_kill_all(void) {
    for (int i = 0; i < session_count; i++) {
        struct session *s = &sessions[i];
        if (!s->channel) continue;
        if (!s->opened && !read_report(s)) continue;
        kill_group(s, SIGKILL);
        release(s);
    }
}
