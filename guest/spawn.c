// Making processes: a program of the image with its user, directory, environment and terminal, in the
// application's namespaces where it has some; or a worker, which is the agent's own code in a child.
//
// What goes wrong in the child before the program runs comes back through a pipe that the exec closes.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PIPE_BYTES (256 * 1024)

int open_pipe(int ends[2], bool nonblocking_read, bool nonblocking_write) {
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    if (nonblocking_read) fcntl(ends[0], F_SETFL, O_NONBLOCK);
    if (nonblocking_write) fcntl(ends[1], F_SETFL, O_NONBLOCK);
    return 0;
}

// Like fork. The child starts inside the cgroup: moving it there later would wait for all CPUs.
static pid_t clone_process(uint64_t flags, int cgroup) {
    if (cgroup >= 0) {
        struct clone_args args = {
            .flags = flags | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup,
        };
        pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
        if (pid >= 0 || (errno != ENOSYS && errno != EINVAL && errno != E2BIG)) return pid;
    }
    return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

static void default_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < 65; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void fail(int status_fd, int step, int value) {
    struct spawn_report report = {.step = step, .value = value};
    if (write(status_fd, &report, sizeof report) < 0) _exit(125);
    _exit(125);
}

static const char *env_get(char *const *env, const char *name) {
    size_t length = strlen(name);
    for (; env && *env; env++) if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') return *env + length + 1;
    return NULL;
}

static bool has_variable(char **env, size_t count, const char *variable) {
    size_t length = strcspn(variable, "=") + 1;
    for (size_t i = 0; i < count; i++) if (strncmp(env[i], variable, length) == 0) return true;
    return false;
}

#define MADE_VARIABLES 5
struct environment {
    char **variables, *made[MADE_VARIABLES];  // null-terminated; those of them that are ours to free
    size_t made_count;
};

static void add_variable(struct environment *env, size_t *count, const char *name, const char *value) {
    char *text = malloc(strlen(name) + strlen(value) + 2);
    if (!text) return;
    sprintf(text, "%s=%s", name, value);
    if (has_variable(env->variables, *count, text)) free(text);
    else env->variables[(*count)++] = env->made[env->made_count++] = text;
}

// What was asked for, then what is inherited, then what a program expects to find.
static bool build_env(struct environment *env, const struct exec_spec *spec, const char *home, const char *container) {
    size_t inherited = 0, count = 0;
    while (spec->inherit_env && agent.app_env && agent.app_env[inherited]) inherited++;
    *env = (struct environment){.variables = calloc(spec->envc + inherited + MADE_VARIABLES + 1, sizeof *env->variables)};
    if (!env->variables) return false;
    for (size_t i = 0; i < spec->envc; i++) env->variables[count++] = spec->env[i];
    size_t own = count;
    for (size_t i = 0; i < inherited; i++) {
        if (!has_variable(env->variables, own, agent.app_env[i])) env->variables[count++] = agent.app_env[i];
    }
    char hostname[256] = "";
    gethostname(hostname, sizeof hostname - 1);
    add_variable(env, &count, "PATH", DEFAULT_PATH);
    add_variable(env, &count, "HOME", home);
    add_variable(env, &count, "HOSTNAME", hostname);
    if (spec->tty) add_variable(env, &count, "TERM", "xterm-256color");
    if (container) add_variable(env, &count, "container", container);
    return true;
}

static void free_env(struct environment *env) {
    for (size_t i = 0; i < env->made_count; i++) free(env->made[i]);
    free(env->variables);
}

static bool parse_number(const char *text, unsigned *value) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    unsigned long number = strtoul(text, &end, 10);
    if (*end || number > 0xfffffffe) return false;
    *value = (unsigned)number;
    return true;
}

// `name|uid[:group|gid]`, by the guest's own /etc/passwd and /etc/group.
static bool resolve_user(const char *text, struct identity *who) {
    char name[256];
    *who = (struct identity){.home = "/"};
    if (!text || !*text) text = "0";
    if (snprintf(name, sizeof name, "%s", text) >= (int)sizeof name) return false;
    char *group = strchr(name, ':');
    if (group) *group++ = 0;
    unsigned number;
    bool numeric = parse_number(name, &number);
    struct passwd *entry = numeric ? getpwuid(number) : getpwnam(name);
    // root needs no /etc/passwd to be known.
    bool is_root = strcmp(name, "root") == 0;
    if (!entry && !numeric && *name && !is_root) return false;
    if (entry) {
        who->uid = entry->pw_uid;
        who->gid = entry->pw_gid;
        snprintf(who->home, sizeof who->home, "%s", entry->pw_dir && *entry->pw_dir ? entry->pw_dir : "/");
    } else {
        who->uid = numeric ? number : 0;
        if (who->uid == 0) strcpy(who->home, "/root");
    }
    if (group && *group) {
        if (parse_number(group, &number)) {
            who->gid = number;
        } else {
            struct group *found = getgrnam(group);
            if (!found) return false;
            who->gid = found->gr_gid;
        }
        return true;  // an explicit group stands alone, as in other runtimes
    }
    who->group_count = MAX_GROUPS;
    if (!entry || getgrouplist(entry->pw_name, who->gid, who->groups, &who->group_count) < 0) who->group_count = 0;
    return true;
}

bool find_program(const char *name, char *const *env, char *path, size_t size) {
    if (strchr(name, '/')) return snprintf(path, size, "%s", name) < (int)size;
    const char *directories = env_get(env, "PATH");
    if (!directories) directories = DEFAULT_PATH;
    bool denied = false;
    while (*directories) {
        size_t length = strcspn(directories, ":");
        struct stat info;
        if (snprintf(path, size, "%.*s/%s", (int)length, directories, name) < (int)size && stat(path, &info) == 0 &&
            S_ISREG(info.st_mode)) {
            if (access(path, X_OK) == 0) return true;
            denied = true;
        }
        directories += length + (directories[length] == ':');
    }
    errno = denied ? EACCES : ENOENT;
    return false;
}

// Joins the namespaces of an application that is an init. Returns in a process that is the agent's child
// and lives in them; the one that came in reports its number and ends.
static void enter_namespaces(int status_fd) {
    static const struct { const char *name; int type; } spaces[] = {{"cgroup", CLONE_NEWCGROUP}, {"pid", CLONE_NEWPID}, {"mnt", CLONE_NEWNS}};
    int files[3], go[2];
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/%s", agent.init_pid, spaces[i].name);
        files[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (files[i] < 0) fail(status_fd, STEP_SETUP, errno);
    }
    for (int i = 0; i < 3; i++) if (setns(files[i], spaces[i].type) < 0) fail(status_fd, STEP_SETUP, errno);
    if (pipe2(go, O_CLOEXEC) < 0) fail(status_fd, STEP_SETUP, errno);
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) fail(status_fd, STEP_SETUP, errno);
    if (pid == 0) {
        char byte;
        close(go[1]);
        // Not before the agent can know about it; not at all if it was killed on the way.
        if (read(go[0], &byte, 1) != 1) _exit(125);
        close(go[0]);
        return;
    }
    struct spawn_report report = {.step = STEP_PID, .value = pid};
    if (write(status_fd, &report, sizeof report) == sizeof report && write(go[1], "", 1) == 1) _exit(0);
    _exit(125);
}

// The world of an init: its own process numbers, mounts and cgroup root, and a console.
static void become_init(const struct spawn *request, int status_fd) {
    if (unshare(CLONE_NEWCGROUP) < 0) fail(status_fd, STEP_SETUP, errno);
    if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0) fail(status_fd, STEP_SETUP, errno);
    umount2("/proc", MNT_DETACH);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) fail(status_fd, STEP_SETUP, errno);
    umount2("/sys/fs/cgroup", MNT_DETACH);
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) say("cgroup2: %s", strerror(errno));
    // Read-only sysfs tells an init that hardware is somebody else's business.
    mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
    char slave[64], link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", request->in);
    ssize_t length = readlink(link, slave, sizeof slave - 1);
    if (length > 0) {
        slave[length] = 0;
        if (mount(slave, "/dev/console", NULL, MS_BIND, NULL) < 0) say("/dev/console: %s", strerror(errno));
    }
}

static bool is_interpreter_missing(const char *path) {
    struct stat info;
    return errno == ENOENT && stat(path, &info) == 0;
}

static _Noreturn void run_program(const struct spawn *request, int status_fd) {
    const struct exec_spec *spec = request->spec;
    default_signals();
    umask(022);
    struct rlimit files = {.rlim_cur = 1024, .rlim_max = MAX_FILES};
    setrlimit(RLIMIT_NOFILE, &files);
    if (request->own_init) become_init(request, status_fd);
    else if (agent.init_pid > 0) enter_namespaces(status_fd);
    if (setsid() < 0) fail(status_fd, STEP_SETUP, errno);
    if (request->terminal && ioctl(request->in, TIOCSCTTY, 0) < 0 && !request->own_init) fail(status_fd, STEP_SETUP, errno);
    if (dup2(request->in, 0) < 0 || dup2(request->out, 1) < 0 || dup2(request->err, 2) < 0) fail(status_fd, STEP_SETUP, errno);

    static struct identity who;
    if (!resolve_user(spec->user, &who)) fail(status_fd, STEP_USER, ENOENT);
    struct environment env;
    if (!build_env(&env, spec, who.home, request->own_init ? "berth" : NULL)) fail(status_fd, STEP_SETUP, ENOMEM);
    const char *cwd = spec->cwd && *spec->cwd ? spec->cwd : "/";
    if (request->make_cwd) make_directories(cwd, 0755);
    if (chdir(cwd) < 0) fail(status_fd, STEP_CWD, errno);
    if (request->terminal && fchown(0, who.uid, (gid_t)-1) < 0 && errno != EROFS) fail(status_fd, STEP_SETUP, errno);
    if (setgroups((size_t)who.group_count, who.groups) < 0 || setgid(who.gid) < 0 || setuid(who.uid) < 0) {
        fail(status_fd, STEP_USER, errno);
    }
    char path[4096];
    if (!find_program(spec->argv[0], env.variables, path, sizeof path)) fail(status_fd, STEP_PROGRAM, errno);
    execve(path, spec->argv, env.variables);
    fail(status_fd, is_interpreter_missing(path) ? STEP_INTERPRETER : STEP_PROGRAM, errno);
}

// A file of the image that can be read without waiting for anybody; that there is none is fine, too.
static bool is_plain(const char *path, struct stat *info) {
    if (stat(path, info) == 0) return S_ISREG(info->st_mode);
    memset(info, 0, sizeof *info);
    return errno == ENOENT || errno == ENOTDIR;
}

static bool is_same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

// Whom the user is, remembered while the files that say so stay as they are; null where only a copy of the agent may
// look, since a pipe, or a name service, can hang.
static const struct identity *known_identity(const char *user) {
    static struct {
        char user[256];
        struct stat passwd, group;
        struct identity who;
    } known;
    struct stat passwd, group, service;
    if (!user || !*user) user = "0";
    if (!is_plain("/etc/passwd", &passwd) || !is_plain("/etc/group", &group) || stat("/var/run/nscd/socket", &service) == 0) return NULL;
    if (strcmp(known.user, user) == 0 && is_same_file(&passwd, &known.passwd) && is_same_file(&group, &known.group)) return &known.who;
    known.user[0] = 0;
    if (strlen(user) >= sizeof known.user || !resolve_user(user, &known.who)) return NULL;
    // A file that was written a moment ago may be written again without looking different.
    time_t recent = time(NULL) - 2;
    if (passwd.st_ctim.tv_sec < recent && group.st_ctim.tv_sec < recent) {
        strcpy(known.user, user);
        known.passwd = passwd;
        known.group = group;
    }
    return &known.who;
}

// Root, whom most images run as, is known before a template is made of the guest.
void spawn_learn_users(void) { known_identity(NULL); }

static int held_status = -1;  // where the process that waits will report

bool spawn_hold(struct spawn *request) {
    int status[2];
    if (pipe2(status, O_CLOEXEC) < 0) return false;
    pid_t pid = child_hold(request, status[1]);
    close(status[1]);
    if (pid < 0) close(status[0]);
    else held_status = status[0];
    return pid > 0;
}

void spawn_let_go(void) {
    child_let_go();
    if (held_status >= 0) close(held_status);
    held_status = -1;
}

// In the agent's own memory where that will do; -1 where it won't.
static pid_t spawn_light(const struct spawn *request, int status_fd) {
    const struct exec_spec *spec = request->spec;
    if (request->own_init || agent.init_pid > 0) return -1;
    if (request->make_cwd && spec->cwd && *spec->cwd && strcmp(spec->cwd, "/") != 0) return -1;
    const struct identity *who = known_identity(spec->user);
    struct environment env;
    if (!who || !build_env(&env, spec, who->home, NULL)) return -1;
    pid_t pid = request->held ? child_go(request, who, env.variables, DEFAULT_PATH) : child_start(request, who, env.variables, DEFAULT_PATH, status_fd);
    free_env(&env);
    return pid;
}

pid_t spawn(struct spawn *request) {
    int status[2];
    if (request->held) {
        pid_t pid = spawn_light(request, -1);
        if (pid > 0) {
            fcntl(held_status, F_SETFL, O_NONBLOCK);
            request->status_fd = held_status;
            held_status = -1;
            return pid;
        }
        // It can't be that process: another is made for the same streams.
        spawn_let_go();
        request->held = false;
    }
    if (pipe2(status, O_CLOEXEC) < 0) return -1;
    pid_t pid = spawn_light(request, status[1]);
    if (pid < 0) pid = clone_process(request->own_init ? CLONE_NEWPID | CLONE_NEWNS : 0, request->cgroup);
    if (pid == 0) {
        close(status[0]);
        run_program(request, status[1]);
    }
    close(status[1]);
    if (pid < 0) {
        close(status[0]);
        return -1;
    }
    fcntl(status[0], F_SETFL, O_NONBLOCK);
    request->status_fd = status[0];
    return pid;
}

pid_t spawn_worker(int in, int out, int (*work)(const void *, size_t), const void *body, size_t length, bool in_app) {
    pid_t pid = clone_process(0, -1);
    if (pid != 0) return pid;
    default_signals();
    signal(SIGPIPE, SIG_IGN);
    write_file("/proc/self/oom_score_adj", "-1000");
    if (in_app && agent.init_pid > 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/mnt", agent.init_pid);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || setns(file, CLONE_NEWNS) < 0) _exit(125);
    }
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0) _exit(125);
    // The agent's other files are not the worker's: a pipe that it held open would never end.
    if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0) for (int fd = 3; fd < 4096; fd++) close(fd);
    chdir("/") == 0 ? _exit(work(body, length)) : _exit(125);
}

int spawn_report_read(int fd, struct spawn_report *report) {
    ssize_t count = read(fd, report, sizeof *report);
    if (count == (ssize_t)sizeof *report) return 1;
    return count == 0 ? 0 : -1;
}

void spawn_failure(const struct spawn_report *report, const char *program, const char *user, const char *cwd,
                   enum error_code *code, char *text, size_t size) {
    const char *why = strerror(report->value);
    switch (report->step) {
    case STEP_USER:
        *code = E_USER;
        snprintf(text, size, "the guest's /etc/passwd and /etc/group don't know the user %.200s", user);
        return;
    case STEP_CWD:
        *code = E_PATH;
        snprintf(text, size, "the working directory %.400s: %s", cwd, why);
        return;
    case STEP_INTERPRETER:
        *code = E_NOT_FOUND;
        snprintf(text, size, "%.400s is there, but the interpreter or loader that it needs is not", program);
        return;
    case STEP_PROGRAM:
        *code = report->value == ENOENT || report->value == ENOTDIR ? E_NOT_FOUND : E_NOT_EXECUTABLE;
        if (*code == E_NOT_FOUND) snprintf(text, size, "command not found: %.400s", program);
        else snprintf(text, size, "%.400s can't be executed: %s", program, why);
        return;
    default:
        *code = E_IO;
        snprintf(text, size, "the process can't be made: %s", why);
    }
}
