// What a clone must get anew: entropy and the wall clock. And what the kernel says about memory.
#include "agent.h"

#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define MAX_ENTROPY 512

void add_entropy(const uint8_t *bytes, size_t length) {
    struct {
        struct rand_pool_info info;
        uint8_t bytes[MAX_ENTROPY];
    } pool;
    if (length > MAX_ENTROPY) length = MAX_ENTROPY;
    pool.info.entropy_count = (int)length * 8;
    pool.info.buf_size = (int)length;
    memcpy(pool.info.buf, bytes, length);
    // Open for good: a template's clones need not look for it.
    static int fd = -1;
    if (fd < 0) fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0) say("entropy could not be added");
    // Without this a clone goes on with its template's key until the pool says it is time.
    else if (ioctl(fd, RNDRESEEDCRNG) < 0) say("the random generator could not be reseeded");
    explicit_bzero(&pool, sizeof pool);
}

void set_clock(uint64_t unix_ns) {
    struct timespec time = {.tv_sec = (time_t)(unix_ns / 1000000000), .tv_nsec = (long)(unix_ns % 1000000000)};
    if (clock_settime(CLOCK_REALTIME, &time) < 0) say("the clock could not be set");
}

static bool kilobytes_of(const char *text, const char *name, uint64_t *bytes) {
    const char *at = strstr(text, name);
    if (!at) return false;
    *bytes = strtoull(at + strlen(name), NULL, 10) * 1024;
    return true;
}

bool memory_info(uint64_t *total, uint64_t *available) {
    char text[4096];
    if (read_file("/proc/meminfo", text, sizeof text) < 0) return false;
    return kilobytes_of(text, "MemTotal:", total) && kilobytes_of(text, "MemAvailable:", available);
}
