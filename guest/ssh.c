// SSH: the keys of the instance in the homes of those who may come in, and a listener on port 22.
//
//   CONFIGURE ─▶ keys (once in an instance's life) ─▶ APP_START ─▶ listen ─▶ a connection ─▶ SSH_DIR/serve
//
// Nothing runs until somebody comes: each connection gets a server of its own, with the connection as its
// standard input (as from inetd). Its program and libraries are ours, in SSH_DIR, so that the image needs
// none; host keys are made at the first connection, on the instance's own disk. An image that has a server
// of its own, and starts it, keeps port 22.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SSH_DIR CONFINED_DIR "/ssh"
#define SSH_PORT 22
#define MAX_CONNECTIONS 128
#define BACKLOG 64
#define KEYS_MAX (512 * 1024)

static bool wanted;
static struct watch listener = {.fd = -1};
static struct connection {
    pid_t pid;  // 0: free
    struct watch report;
} connections[MAX_CONNECTIONS];

void ssh_mount(void) {
    struct stat info;
    if (stat("/ssh/serve", &info) < 0) return;  // this initramfs was made without
    mkdir(SSH_DIR, 0755);
    if (mount("/ssh", SSH_DIR, NULL, MS_BIND, NULL) < 0 || mount(NULL, SSH_DIR, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0) {
        say("%s: %s", SSH_DIR, strerror(errno));
    }
}

// --- keys -----------------------------------------------------------------------------------------------

static bool has_line(const char *text, const char *line) {
    size_t length = strlen(line);
    for (const char *at = strstr(text, line); at; at = strstr(at + 1, line)) {
        if ((at == text || at[-1] == '\n') && (at[length] == '\n' || at[length] == 0)) return true;
    }
    return false;
}

// A directory or file of the user's, made if it isn't there; never through a link that the image planted.
static int open_own(int parent, const char *name, bool directory, uid_t uid, gid_t gid) {
    if (directory && mkdirat(parent, name, 0700) == 0 && fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0) return -1;
    int flags = directory ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_APPEND;
    int fd = openat(parent, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && !directory && fchown(fd, uid, gid) < 0) say("%s: %s", name, strerror(errno));
    return fd;
}

static bool add_keys(const struct guest_config *config, const char *home, uid_t uid, gid_t gid) {
    static char text[KEYS_MAX];
    if (!make_directories(home, 0755)) return false;
    int home_fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int dir = home_fd < 0 ? -1 : open_own(home_fd, ".ssh", true, uid, gid);
    int fd = dir < 0 ? -1 : open_own(dir, "authorized_keys", false, uid, gid);
    int failure = errno;
    if (home_fd >= 0) close(home_fd);
    if (dir >= 0) close(dir);
    if (fd < 0) return errno = failure, false;
    ssize_t length = read(fd, text, sizeof text - 1);
    text[length > 0 ? length : 0] = 0;
    bool done = length >= 0 && (length == 0 || text[length - 1] == '\n' || write(fd, "\n", 1) == 1);
    for (size_t i = 0; done && i < config->ssh_key_count; i++) {
        const char *key = config->ssh_keys[i];
        if (has_line(text, key)) continue;
        done = write(fd, key, strlen(key)) == (ssize_t)strlen(key) && write(fd, "\n", 1) == 1;
    }
    failure = errno;
    close(fd);
    return errno = failure, done;
}

// ubuntu is who clouds let people in as; root is there in every image, also in one without /etc/passwd.
void ssh_configure(const struct guest_config *config) {
    static const char *const names[] = {"ubuntu", "root"};
    wanted = config->ssh_key_count > 0;
    if (!wanted || !first_time("ssh-keys")) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct passwd *user = getpwnam(names[i]);
        bool is_root = strcmp(names[i], "root") == 0;
        if (!user && !is_root) continue;
        const char *home = user && user->pw_dir && user->pw_dir[0] == '/' ? user->pw_dir : "/root";
        if (!add_keys(config, home, user ? user->pw_uid : 0, user ? user->pw_gid : 0)) {
            say("the SSH keys of %s: %s", names[i], strerror(errno));
        }
    }
}

// --- connections ----------------------------------------------------------------------------------------

// Whether the image will run a server of its own on port 22.
static bool has_own_server(const struct exec_spec *app, bool init) {
    static const char *const enabled[] = {
        "/etc/systemd/system/*.wants/ssh.service", "/etc/systemd/system/*.wants/sshd.service",
        "/etc/systemd/system/*.wants/ssh.socket", "/etc/systemd/system/*.wants/sshd.socket",
        "/etc/systemd/system/*.wants/dropbear.service", "/etc/runlevels/*/sshd", "/etc/runlevels/*/dropbear",
    };
    for (size_t i = 0; i < app->argc; i++) if (strstr(app->argv[i], "sshd") || strstr(app->argv[i], "dropbear")) return true;
    for (size_t i = 0; init && i < sizeof enabled / sizeof *enabled; i++) {
        glob_t found;
        bool any = glob(enabled[i], GLOB_NOSORT, NULL, &found) == 0 && found.gl_pathc > 0;
        globfree(&found);
        if (any) return true;
    }
    return false;
}

static struct connection *free_connection(void) {
    for (int i = 0; i < MAX_CONNECTIONS; i++) if (connections[i].pid == 0) return &connections[i];
    return NULL;
}

static void read_report(struct connection *connection) {
    struct spawn_report report;
    while (connection->report.fd >= 0) {
        int got = spawn_report_read(connection->report.fd, &report);
        if (got < 0) break;
        if (got == 0) watch_close(&connection->report);
        else if (report.step == STEP_PID) connection->pid = report.value;
        else say("ssh: step %d: %s", report.step, strerror(report.value));
    }
    connection->report.readable = false;
}

static void report_changed(struct watch *watch) { read_report(watch->owner); }

static void serve(int socket) {
    struct connection *connection = free_connection();
    char *argv[] = {SSH_DIR "/serve", NULL};
    struct exec_spec spec = {.argv = argv, .argc = 1};
    struct spawn request = {.spec = &spec, .in = socket, .out = socket, .err = 2, .cgroup = agent.exec_cgroup};
    if (connection && (connection->pid = spawn(&request)) > 0) {
        watch_start(&connection->report, request.status_fd, report_changed, connection);
    } else {
        say("ssh: %s", connection ? strerror(errno) : "too many connections");
        if (connection) connection->pid = 0;
    }
    close(socket);
}

static void listener_changed(struct watch *watch) {
    for (;;) {
        int socket = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
        if (socket >= 0) serve(socket);
        else if (errno != EINTR && errno != ECONNABORTED) break;
    }
    watch->readable = false;
}

void ssh_start(const struct exec_spec *app, bool init) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SSH_PORT)};
    struct stat info;
    int yes = 1;
    if (!wanted || stat(SSH_DIR "/serve", &info) < 0 || has_own_server(app, init)) return;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool done = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                bind(fd, (struct sockaddr *)&any, sizeof any) == 0 && listen(fd, BACKLOG) == 0 &&
                watch_start(&listener, fd, listener_changed, NULL);
    if (done) return;
    say("ssh: port %d: %s", SSH_PORT, strerror(errno));
    if (fd >= 0) close(fd);
}

bool ssh_child(pid_t pid) {
    // A report of a process's number comes before its end.
    for (int i = 0; i < MAX_CONNECTIONS; i++) if (connections[i].pid > 0 && connections[i].report.fd >= 0) read_report(&connections[i]);
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
        if (connections[i].pid != pid) continue;
        watch_close(&connections[i].report);
        connections[i].pid = 0;
        return true;
    }
    return false;
}
