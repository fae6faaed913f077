// Loaded into the SSH server and its sftp-server, so that they meet images as they are: a user whose shell is
// not there gets ours, root is known without an /etc/passwd, and as ubuntu where the image has no such user, a
// shell needs no line in /etc/shells, the subsystem `sftp` is our own program, run without any shell, and its log
// is the console.
//
// Compiled against musl's headers and without any library: what isn't here is taken from the server's own libc.
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DIR "/dev/.berth/ssh"
#define CLOUD_USER "ubuntu"
#define SUBSYSTEM "/usr/lib/sftp-server"  // what Debian's dropbear asks a shell to run

static char buffer[16384];
static struct passwd entry;
static const char *shell;
static int told;

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static struct passwd *usable(struct passwd *found) {
    told = 0;
    shell = NULL;
    if (!found->pw_shell || !*found->pw_shell) found->pw_shell = "/bin/sh";
    // Whoever is not to log in stays out, whether the program that would say so is there or not.
    if (ends_with(found->pw_shell, "/nologin") || ends_with(found->pw_shell, "/false")) return found;
    if (access(found->pw_shell, X_OK) != 0) found->pw_shell = access("/bin/sh", X_OK) == 0 ? "/bin/sh" : DIR "/sh";
    shell = found->pw_shell;
    return found;
}

static struct passwd *root(void) {
    static char name[] = "root", password[] = "*", home[] = "/root", none[] = "";
    entry = (struct passwd){.pw_name = name, .pw_passwd = password, .pw_gecos = none, .pw_dir = home, .pw_shell = none};
    return usable(&entry);
}

struct passwd *getpwnam(const char *name) {
    struct passwd *found = NULL;
    getpwnam_r(name, &entry, buffer, sizeof buffer, &found);
    if (found) return usable(found);
    // Clients of machine clouds come as ubuntu, whatever runs there: where nobody is called that, they are root.
    if (strcmp(name, CLOUD_USER) == 0) return getpwuid(0);
    return strcmp(name, "root") == 0 ? root() : NULL;
}

struct passwd *getpwuid(uid_t uid) {
    struct passwd *found = NULL;
    getpwuid_r(uid, &entry, buffer, sizeof buffer, &found);
    if (found) return usable(found);
    return uid == 0 ? root() : NULL;
}

void setusershell(void) { told = 0; }
void endusershell(void) {}
char *getusershell(void) { return told++ ? NULL : (char *)shell; }

// What the server has to say goes to the guest's console: an image seldom has a syslog.
void syslog(int priority, const char *format, ...) {
    va_list args;
    (void)priority;
    va_start(args, format);
    dprintf(2, "ssh: ");
    vdprintf(2, format, args);
    dprintf(2, "\n");
    va_end(args);
}

int execv(const char *path, char *const argv[]) {
    extern char **environ;
    char *const sftp[] = {
        DIR "/ld.so", "--library-path", DIR "/lib", "--inhibit-cache", "--preload", DIR "/accounts.so", DIR "/sftp-server", NULL,
    };
    if (argv[0] && argv[1] && argv[2] && strcmp(argv[1], "-c") == 0 && strcmp(argv[2], SUBSYSTEM) == 0) return execve(sftp[0], sftp, environ);
    return execve(path, argv, environ);
}
