// The application's log: lines in CRI format to a port that QEMU writes straight to a file.
//
//   2026-01-01T00:00:00.123456789Z stdout F text
//
// `F` is a whole line, `P` a piece of one longer than LOG_LINE_MAX. While the host doesn't take the log,
// the application's pipes are not read: it waits, nothing grows.
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PORT_NAME "org.berth.log"
#define PORT_WAIT_MS 200
#define OUT_SIZE (1024 * 1024)
#define PREFIX_MAX 64
// One byte of output can become a record of PREFIX_MAX bytes more (an empty line).
#define RESERVE 8192

static struct watch port = {.fd = -1};
static char out_bytes[OUT_SIZE];
static size_t out_start, out_end;

void log_open(void) {
    int fd = open_port(PORT_NAME, PORT_WAIT_MS);
    if (fd < 0) say("no port %s: the application's output is dropped", PORT_NAME);
    else watch_start(&port, fd, NULL, NULL);
}

bool log_idle(void) { return port.fd < 0 || out_start == out_end; }

bool log_pump(void) {
    size_t before = out_start;
    while (port.fd >= 0 && port.writable && out_start < out_end) {
        ssize_t count = write(port.fd, out_bytes + out_start, out_end - out_start);
        if (count > 0) out_start += (size_t)count;
        else if (count < 0 && errno == EINTR) continue;
        else port.writable = false;
    }
    bool moved = out_start != before;
    if (port.fd < 0 || out_start == out_end) out_start = out_end = 0;
    return moved;
}

void log_close(void) { watch_close(&port); }

static void append(const char *bytes, size_t length) {
    if (port.fd < 0 || length > OUT_SIZE - out_end) return;
    memcpy(out_bytes + out_end, bytes, length);
    out_end += length;
}

size_t log_room(void) {
    if (out_start > 0) {
        memmove(out_bytes, out_bytes + out_start, out_end - out_start);
        out_end -= out_start;
        out_start = 0;
    }
    size_t room = OUT_SIZE - out_end;
    return room <= RESERVE + LOG_LINE_MAX ? 0 : (room - RESERVE - LOG_LINE_MAX) / (PREFIX_MAX + 1);
}

static void write_record(const char *stream, char mark, const char *text, size_t length) {
    static time_t known = -1;
    static char second[32];
    char prefix[PREFIX_MAX];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != known) {
        struct tm parts;
        gmtime_r(&now.tv_sec, &parts);
        strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &parts);
        known = now.tv_sec;
    }
    int size = snprintf(prefix, sizeof prefix, "%s.%09ldZ %s %c ", second, now.tv_nsec, stream, mark);
    append(prefix, (size_t)size);
    append(text, length);
    append("\n", 1);
}

void log_bytes(struct log_stream *stream, const char *bytes, size_t length) {
    while (length > 0) {
        const char *newline = memchr(bytes, '\n', length);
        size_t piece = newline ? (size_t)(newline - bytes) : length;
        size_t room = LOG_LINE_MAX - stream->length;
        if (piece > room) {
            memcpy(stream->line + stream->length, bytes, room);
            write_record(stream->name, 'P', stream->line, LOG_LINE_MAX);
            stream->length = 0;
            bytes += room, length -= room;
            continue;
        }
        if (newline && stream->length == 0) {
            write_record(stream->name, 'F', bytes, piece);
        } else {
            memcpy(stream->line + stream->length, bytes, piece);
            stream->length += piece;
            if (newline) {
                write_record(stream->name, 'F', stream->line, stream->length);
                stream->length = 0;
            }
        }
        size_t used = piece + (newline ? 1 : 0);
        bytes += used, length -= used;
    }
}

void log_finish(struct log_stream *stream) {
    if (stream->length > 0) write_record(stream->name, 'F', stream->line, stream->length);
    stream->length = 0;
}

void log_line(const char *stream, const char *format, ...) {
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length > (int)sizeof text - 1) length = sizeof text - 1;
    for (int i = 0; i < length; i++) if (text[i] == '\n') text[i] = ' ';
    write_record(stream, 'F', text, length < 0 ? 0 : (size_t)length);
}
