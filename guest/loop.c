// The poll loop. Watches are edge-triggered: a file that can't be served now (no credit, no room) costs
// nothing until it can, and a hung-up port can't spin.
#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 64

static int poller = -1;
static struct timer *timers;
static struct epoll_event events[MAX_EVENTS];
static int event_count;

void loop_init(void) { poller = epoll_create1(EPOLL_CLOEXEC); }

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool watch_start(struct watch *watch, int fd, void (*changed)(struct watch *), void *owner) {
    *watch = (struct watch){.fd = fd, .changed = changed, .owner = owner};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = watch};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    // A plain file can't be polled: it is always ready.
    if (errno == EPERM) return watch->readable = watch->writable = true;
    watch->fd = -1;
    return false;
}

void watch_close(struct watch *watch) {
    if (watch->fd < 0) return;
    epoll_ctl(poller, EPOLL_CTL_DEL, watch->fd, NULL);
    close(watch->fd);
    watch->fd = -1;
    watch->readable = watch->writable = false;
    // An edge of this turn may still name it.
    for (int i = 0; i < event_count; i++) if (events[i].data.ptr == watch) events[i].data.ptr = NULL;
}

void timer_clear(struct timer *timer) {
    for (struct timer **at = &timers; *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            break;
        }
    }
    timer->due_ms = 0;
}

void timer_set(struct timer *timer, int64_t delay_ms, void (*fire)(struct timer *), void *owner) {
    timer_clear(timer);
    *timer = (struct timer){.due_ms = now_ms() + delay_ms, .fire = fire, .owner = owner, .next = timers};
    timers = timer;
}

static int next_timeout(void) {
    int64_t now = now_ms(), least = -1;
    for (struct timer *timer = timers; timer; timer = timer->next) {
        int64_t left = timer->due_ms > now ? timer->due_ms - now : 0;
        if (least < 0 || left < least) least = left;
    }
    return least > 3600000 ? 3600000 : (int)least;
}

static struct timer *take_due(int64_t now) {
    for (struct timer *timer = timers; timer; timer = timer->next) {
        if (timer->due_ms > now) continue;
        timer_clear(timer);
        return timer;
    }
    return NULL;
}

void loop_turn(bool at_once) {
    int count = epoll_wait(poller, events, MAX_EVENTS, at_once ? 0 : next_timeout());
    event_count = count > 0 ? count : 0;
    for (int i = 0; i < event_count; i++) {
        struct watch *watch = events[i].data.ptr;
        if (!watch) continue;
        uint32_t what = events[i].events;
        if (what & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR)) watch->readable = true;
        if (what & (EPOLLOUT | EPOLLHUP | EPOLLERR)) watch->writable = true;
        if (watch->changed) watch->changed(watch);
    }
    event_count = 0;
    int64_t now = now_ms();
    for (struct timer *timer = take_due(now); timer; timer = take_due(now)) timer->fire(timer);
}
