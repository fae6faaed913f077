// Makes a memory file that nobody can write once it is sealed: what clones of a template share. Runs on the
// host, for as long as it takes to fill the memory; Node has no call for either.
//
//   sealed-memory BYTES    prints the file's descriptor, which others open as /proc/<pid>/fd/<n>;
//                          seals it when it reads a line, prints "sealed"; ends with its input
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int fail(const char *what) {
    perror(what);
    return 1;
}

int main(int argc, char **argv) {
    char line[16], *end = NULL;
    long long bytes = argc == 2 ? strtoll(argv[1], &end, 10) : 0;
    if (bytes <= 0 || !end || *end) return fprintf(stderr, "usage: sealed-memory BYTES\n"), 2;
    int fd = memfd_create("berth-template", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return fail("memfd_create");
    if (ftruncate(fd, bytes) < 0) return fail("ftruncate");
    printf("%d\n", fd);
    if (fflush(stdout) != 0) return 1;
    if (!fgets(line, sizeof line, stdin)) return 0;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) return fail("seal");
    puts("sealed");
    if (fflush(stdout) != 0) return 1;
    while (fgets(line, sizeof line, stdin)) continue;
    return 0;
}
