// Records: the framing of a file operation's byte stream, inside a worker.
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool write_all(const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    while (length > 0) {
        ssize_t count = write(1, at, length);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        at += count, length -= (size_t)count;
    }
    return true;
}

bool record_write(int kind, const void *payload, size_t length) {
    uint8_t header[RECORD_HEADER] = {(uint8_t)kind};
    store32(header + 4, (uint32_t)length);
    return write_all(header, sizeof header) && write_all(payload, length);
}

int record_fail(enum error_code code, const char *path, const char *format, ...) {
    char text[TEXT_MAX];
    uint8_t body[TEXT_MAX + 4096 + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct tlv_writer writer = tlv_writer(body, sizeof body);
    tlv_put_number(&writer, T_ERROR_CODE, code);
    tlv_put_text(&writer, T_MESSAGE, text);
    tlv_put_text(&writer, T_PATH, path);
    record_write(R_ERROR, body, writer.length);
    return 1;
}

static int read_all(void *bytes, size_t length) {
    uint8_t *at = bytes;
    size_t done = 0;
    while (done < length) {
        ssize_t count = read(0, at + done, length - done);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return -1;
        if (count == 0) return done == 0 ? 0 : -1;
        done += (size_t)count;
    }
    return 1;
}

int record_read(uint8_t *kind, uint8_t *payload, uint32_t *length) {
    uint8_t header[RECORD_HEADER];
    int got = read_all(header, sizeof header);
    if (got <= 0) return got;
    *kind = header[0];
    *length = load32(header + 4);
    if (*length > RECORD_DATA_MAX) return -1;
    return *length == 0 || read_all(payload, *length) == 1 ? 1 : -1;
}
