// Says how fast this machine's time stamp counter counts, in kHz. An emulated guest has the same counter, and on
// a busy machine measures it wrong by a factor: its clock then runs that much too fast for all of its life.
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define ROUNDS 5
#define ROUND_NS 10000000

struct point {
    uint64_t ticks, ns, width;
};

// Ticks and time of one moment; width is how far apart they may be.
static struct point now(void) {
    struct timespec at;
    uint64_t before = __rdtsc();
    clock_gettime(CLOCK_MONOTONIC_RAW, &at);
    uint64_t after = __rdtsc();
    return (struct point){before + (after - before) / 2, (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec, after - before};
}

static struct point narrow(void) {
    struct point best = now();
    for (int i = 0; i < 16; i++) {
        struct point next = now();
        if (next.width < best.width) best = next;
    }
    return best;
}

int main(void) {
    uint64_t width = UINT64_MAX, khz = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct point begin = narrow();
        nanosleep(&(struct timespec){.tv_nsec = ROUND_NS}, NULL);
        struct point end = narrow();
        if (begin.width + end.width >= width || end.ns <= begin.ns || end.ticks <= begin.ticks) continue;
        width = begin.width + end.width;
        khz = (uint64_t)((double)(end.ticks - begin.ticks) * 1e6 / (double)(end.ns - begin.ns) + 0.5);
    }
    if (khz == 0) return 1;
    printf("%llu\n", (unsigned long long)khz);
    return 0;
}
