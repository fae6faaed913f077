// A command's process between its clone and its program, in the agent's own memory: nothing is copied for it and no
// page is missed, which under emulation is half of what a small command takes.
//
// The agent runs on meanwhile, so that a directory that hangs holds this process alone. Therefore:
// - it has a stack and a block of its own, which stay until it was reaped;
// - it makes plain system calls and calls nothing of libc, whose errno, heap and buffers are the agent's;
// - whom it becomes and its environment were found before, in files of the image that can't hang.
// What needs more (an init, its namespaces, odd files in /etc) goes by spawn.c's copy of the agent instead.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES (32 * 1024)
#define PATH_BYTES 4096

struct child {
    struct child *next;
    pid_t pid;
    const struct identity *who;
    char **argv, **env;
    const char *cwd, *directories;
    int in, out, err, status_fd;
    int go;  // what it waits for a word from, or -1
    bool terminal;
    char path[PATH_BYTES];
    uint8_t stack[STACK_BYTES] __attribute__((aligned(16)));
};

static struct child *children;
// One that has ended: a command that runs alone makes no memory and gives none back.
static struct child *spare;
// One that waits, and how it is told to go.
static struct child *held;
static int held_go = -1;

static long call(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
#define CALL(number, a, b, c, d) call(number, (long)(a), (long)(b), (long)(c), (long)(d))

static _Noreturn void stop(const struct child *me, int step, long failure) {
    struct spawn_report report = {.step = step, .value = (int32_t)-failure};
    CALL(SYS_write, me->status_fd, &report, sizeof report, 0);
    for (;;) CALL(SYS_exit_group, 125, 0, 0, 0);
}

static void check(const struct child *me, int step, long result) {
    if (result < 0) stop(me, step, result);
}

// As find_program of spawn.c, with the same answers.
static long find(struct child *me) {
    const char *name = me->argv[0];
    size_t name_length = 0;
    bool has_slash = false;
    for (; name[name_length]; name_length++) has_slash |= name[name_length] == '/';
    long missing = -ENOENT;
    for (const char *at = has_slash ? "" : me->directories; has_slash || *at;) {
        size_t length = 0, used = 0;
        while (at[length] && at[length] != ':') length++;
        if (length + name_length + 2 <= PATH_BYTES) {
            for (size_t i = 0; i < length; i++) me->path[used++] = at[i];
            if (!has_slash) me->path[used++] = '/';
            for (size_t i = 0; i <= name_length; i++) me->path[used++] = name[i];
            if (has_slash) return 0;
            struct stat info;
            if (CALL(SYS_stat, me->path, &info, 0, 0) == 0 && S_ISREG(info.st_mode)) {
                if (CALL(SYS_access, me->path, X_OK, 0, 0) == 0) return 0;
                missing = -EACCES;
            }
        } else if (has_slash) {
            return -ENAMETOOLONG;
        }
        at += length + (at[length] == ':');
    }
    return missing;
}

static _Noreturn void run(void *argument) {
    struct child *me = argument;
    uint64_t no_signals = 0;
    char word;
    if (me->go >= 0 && CALL(SYS_read, me->go, &word, 1, 0) != 1) for (;;) CALL(SYS_exit_group, 125, 0, 0, 0);
    // What the kernel calls a sigaction: handler, flags, restorer, mask. The agent ignores no other signal.
    const uint64_t by_default[4] = {0};
    CALL(SYS_rt_sigaction, SIGPIPE, by_default, 0, sizeof no_signals);
    CALL(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, 0, sizeof no_signals);
    const struct rlimit files = {.rlim_cur = 1024, .rlim_max = MAX_FILES};
    CALL(SYS_setrlimit, RLIMIT_NOFILE, &files, 0, 0);
    check(me, STEP_SETUP, CALL(SYS_setsid, 0, 0, 0, 0));
    if (me->terminal) check(me, STEP_SETUP, CALL(SYS_ioctl, me->in, TIOCSCTTY, 0, 0));
    check(me, STEP_SETUP, CALL(SYS_dup2, me->in, 0, 0, 0));
    check(me, STEP_SETUP, CALL(SYS_dup2, me->out, 1, 0, 0));
    check(me, STEP_SETUP, CALL(SYS_dup2, me->err, 2, 0, 0));
    check(me, STEP_CWD, CALL(SYS_chdir, me->cwd, 0, 0, 0));
    if (me->terminal) {
        long owned = CALL(SYS_fchown, 0, me->who->uid, -1, 0);
        if (owned != -EROFS) check(me, STEP_SETUP, owned);
    }
    check(me, STEP_USER, CALL(SYS_setgroups, me->who->group_count, me->who->groups, 0, 0));
    check(me, STEP_USER, CALL(SYS_setgid, me->who->gid, 0, 0, 0));
    check(me, STEP_USER, CALL(SYS_setuid, me->who->uid, 0, 0, 0));
    check(me, STEP_PROGRAM, find(me));
    long failure = CALL(SYS_execve, me->path, me->argv, me->env, 0);
    struct stat info;
    bool is_there = failure == -ENOENT && CALL(SYS_stat, me->path, &info, 0, 0) == 0;
    stop(me, is_there ? STEP_INTERPRETER : STEP_PROGRAM, failure);
}

// clone3 with a stack: the child goes on in `run` and never returns.
static long clone_onto(struct clone_args *args, struct child *me) {
    long result;
    __asm__ volatile(
        "syscall\n\t"
        "test %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xor %%ebp, %%ebp\n\t"
        "mov %[me], %%rdi\n\t"
        "call *%[run]\n\t"
        "ud2\n"
        "1:"
        : "=a"(result)
        : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), [me] "r"(me), [run] "r"(run)
        : "rcx", "r11", "memory");
    return result;
}

// `from` ends with null. The texts go behind the pointers, all in one piece of memory.
static char **copy_texts(char *const *from) {
    size_t count = 0, bytes = 0;
    for (; from[count]; count++) bytes += strlen(from[count]) + 1;
    char **to = malloc((count + 1) * sizeof *to + bytes);
    if (!to) return NULL;
    char *text = (char *)(to + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(from[i]) + 1;
        to[i] = memcpy(text, from[i], length);
        text += length;
    }
    to[count] = NULL;
    return to;
}

static void release(struct child *me) {
    free((void *)me->who);
    free(me->argv);
    free(me->env);
    free((char *)me->cwd);
    if (spare) free(me);
    else spare = me;
}

static struct child *make(const struct spawn *request, int status_fd) {
    // Path and stack are not cleared: what is never touched costs no page.
    struct child *me = spare ? spare : malloc(sizeof *me);
    spare = NULL;
    if (!me) return NULL;
    memset(me, 0, offsetof(struct child, path));
    me->in = request->in, me->out = request->out, me->err = request->err, me->status_fd = status_fd;
    me->go = -1;
    return me;
}

// What it will run, and as whom.
static bool fill(struct child *me, const struct spawn *request, const struct identity *who, char *const *env, const char *directories) {
    const struct exec_spec *spec = request->spec;
    struct identity *own = malloc(sizeof *own);
    if (own) *own = *who;
    me->who = own, me->argv = copy_texts(spec->argv), me->env = copy_texts(env);
    me->cwd = strdup(spec->cwd && *spec->cwd ? spec->cwd : "/");
    me->terminal = request->terminal;
    if (!me->who || !me->argv || !me->env || !me->cwd) return false;
    me->directories = directories;
    for (char *const *variable = me->env; *variable; variable++) {
        if (strncmp(*variable, "PATH=", 5) == 0) {
            me->directories = *variable + 5;
            break;
        }
    }
    return true;
}

static pid_t begin(struct child *me, int cgroup) {
    struct clone_args args = {
        .flags = CLONE_VM | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0), .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)me->stack, .stack_size = STACK_BYTES, .cgroup = (uint64_t)(cgroup >= 0 ? cgroup : 0),
    };
    long pid = clone_onto(&args, me);
    if (pid < 0) {
        release(me);
        errno = (int)-pid;
        return -1;
    }
    me->pid = (pid_t)pid;
    me->next = children;
    children = me;
    return me->pid;
}

pid_t child_start(const struct spawn *request, const struct identity *who, char *const *env, const char *directories, int status_fd) {
    struct child *me = make(request, status_fd);
    if (!me) return -1;
    if (fill(me, request, who, env, directories)) return begin(me, request->cgroup);
    release(me);
    return -1;
}

pid_t child_hold(const struct spawn *request, int status_fd) {
    int go[2];
    struct child *me = held ? NULL : make(request, status_fd);
    if (!me || pipe2(go, O_CLOEXEC) < 0) {
        if (me) release(me);
        return -1;
    }
    me->go = go[0];
    pid_t pid = begin(me, request->cgroup);
    close(go[0]);
    if (pid < 0) close(go[1]);
    else held = me, held_go = go[1];
    return pid;
}

pid_t child_go(const struct spawn *request, const struct identity *who, char *const *env, const char *directories) {
    // One that is only half filled is let go of, and so never looks at that.
    if (!held || !fill(held, request, who, env, directories) || write(held_go, "", 1) != 1) return -1;
    pid_t pid = held->pid;
    close(held_go);
    held = NULL, held_go = -1;
    return pid;
}

void child_let_go(void) {
    if (!held) return;
    kill(held->pid, SIGKILL);
    close(held_go);
    held = NULL, held_go = -1;
}

void child_reaped(pid_t pid) {
    for (struct child **at = &children; *at; at = &(*at)->next) {
        if ((*at)->pid != pid) continue;
        struct child *gone = *at;
        *at = gone->next;
        if (gone == held) close(held_go), held = NULL, held_go = -1;
        release(gone);
        return;
    }
}
