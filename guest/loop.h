// The one poll loop: edge-triggered watches and timers. Everything in the agent's own process runs from here.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct watch {
    int fd;  // -1: not watched
    bool readable, writable;  // set by an edge; whoever meets EAGAIN clears it
    void (*changed)(struct watch *watch);  // may be null
    void *owner;
};

struct timer {
    int64_t due_ms;  // 0: not set
    void (*fire)(struct timer *timer);
    void *owner;
    struct timer *next;
};

void loop_init(void);
// Watches both directions from now on. The struct must not move.
bool watch_start(struct watch *watch, int fd, void (*changed)(struct watch *), void *owner);
// Stops watching and closes the file.
void watch_close(struct watch *watch);
void timer_set(struct timer *timer, int64_t delay_ms, void (*fire)(struct timer *), void *owner);
void timer_clear(struct timer *timer);
int64_t now_ms(void);
// Waits for edges and due timers, and tells their owners; `at_once` only looks.
void loop_turn(bool at_once);
