// What stands between the agent and the SSH server, one static program under two names:
//
//   serve   sees to the instance's host keys, then becomes the server for the connection on standard input
//   sh      the shell of a user whose image has none: runs one program with its words, and says that it is all
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIR "/dev/.berth/ssh"
#define KEYS "/dev/.berth/private"
#define LOADER DIR "/ld.so", "--library-path", DIR "/lib", "--inhibit-cache"
#define MAX_WORDS 256

static int run(char *const argv[]) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++) dup2(null, fd);
        execv(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Made at the first connection, under a name of its own, and put in its place by a link: of two at once, one wins.
static int ensure_key(const char *type, const char *path) {
    struct stat info;
    char draft[128];
    if (stat(path, &info) == 0 && info.st_size > 0) return 0;
    snprintf(draft, sizeof draft, "%s.%d", path, getpid());
    unlink(draft);
    char *const argv[] = {LOADER, DIR "/dropbearkey", "-t", (char *)type, "-f", draft, NULL};
    if (run(argv) != 0) return -1;
    int fd = open(draft, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) return -1;
    close(fd);
    int linked = link(draft, path) == 0 || errno == EEXIST ? 0 : -1;
    unlink(draft);
    return linked;
}

static int serve(void) {
    if (ensure_key("ed25519", KEYS "/ssh-ed25519") < 0 || ensure_key("ecdsa", KEYS "/ssh-ecdsa") < 0) {
        fprintf(stderr, "ssh: no host keys: %s\n", strerror(errno));
        return 1;
    }
    char *const argv[] = {
        LOADER, "--preload", DIR "/accounts.so", DIR "/dropbear", "-i", "-s", "-m", "-W", "1048576",
        "-r", KEYS "/ssh-ed25519", "-r", KEYS "/ssh-ecdsa", NULL,
    };
    execv(argv[0], argv);
    fprintf(stderr, "ssh: %s: %s\n", argv[0], strerror(errno));
    return 1;
}

static int no_shell(const char *line) {
    static char words_text[65536];
    char *words[MAX_WORDS + 1];
    int count = 0;
    if (!line) {
        fputs("This image has no shell: use scp, sftp, port forwarding, or ssh HOST PROGRAM WORD...\n", stderr);
        return 127;
    }
    if (strpbrk(line, "|&;<>()$`\\\"'*?[]#~{}!\n") || strlen(line) >= sizeof words_text) {
        fputs("This image has no shell: only a program with plain words can be run.\n", stderr);
        return 127;
    }
    strcpy(words_text, line);
    for (char *word = strtok(words_text, " \t"); word && count < MAX_WORDS; word = strtok(NULL, " \t")) words[count++] = word;
    words[count] = NULL;
    if (count == 0) return 0;
    execvp(words[0], words);
    fprintf(stderr, "%s: %s\n", words[0], errno == ENOENT ? "there is no such program in this image" : strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (strcmp(name, "serve") == 0) return serve();
    return no_shell(argc > 2 && strcmp(argv[1], "-c") == 0 ? argv[2] : NULL);
}
