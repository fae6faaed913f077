// Runs a program that gets memory in small pages only: an emulator's buffers are large and mostly empty, and the
// kernel would fill them two megabytes at a time. Runs on the host.
//
//   small-pages PROGRAM [ARGUMENT…]
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: small-pages PROGRAM [ARGUMENT...]\n"), 2;
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0) perror("small-pages");  // a kernel without large pages: as well
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
