// The port to the host: frames in, frames out, and the reset handshake.
//
// Output frames are read from their pipe straight into the write buffer. Above DATA_LIMIT no new output
// is taken, so that replies, exits and credit always find room.
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT_NAME "org.berth.agent"
#define IN_SIZE (4 * FRAME_MAX)
#define OUT_SIZE (16 * FRAME_MAX)
#define DATA_LIMIT (12 * FRAME_MAX)
#define PORT_WAIT_MS 20000
#define READS_A_TURN 256

static struct watch port = {.fd = -1};
static struct frame_reader reader;
static uint8_t in_bytes[IN_SIZE];
static uint8_t out_bytes[OUT_SIZE];
static size_t out_start, out_end;

bool link_open(void) {
    frame_reader_init(&reader, in_bytes, sizeof in_bytes);
    int fd = open_port(PORT_NAME, PORT_WAIT_MS);
    return fd >= 0 && watch_start(&port, fd, NULL, NULL);
}

void link_close(void) { watch_close(&port); }

bool link_idle(void) { return out_start == out_end; }

// Moves what waits to the front once it is small, so that room comes back without waiting for empty.
static void compact(void) {
    if (out_start == 0) return;
    if (out_start < out_end && out_end - out_start > FRAME_MAX) return;
    memmove(out_bytes, out_bytes + out_start, out_end - out_start);
    out_end -= out_start;
    out_start = 0;
}

size_t link_room(void) {
    if (out_end + FRAME_MAX > DATA_LIMIT) compact();
    return out_end + FRAME_MAX <= DATA_LIMIT ? FRAME_PAYLOAD_MAX : 0;
}

uint8_t *link_reserve(void) { return out_bytes + out_end + FRAME_HEADER; }

void link_commit(uint8_t type, uint32_t channel, size_t length) {
    frame_write_header(out_bytes + out_end, type, 0, channel, (uint32_t)length);
    out_end += FRAME_HEADER + length;
}

static void drop_output(void) { out_start = out_end = 0; }

void link_send(uint8_t type, uint32_t channel, const void *payload, size_t length) {
    if (out_end + FRAME_HEADER + length > OUT_SIZE) {
        // The host asked for more answers than it reads.
        memmove(out_bytes, out_bytes + out_start, out_end - out_start);
        out_end -= out_start;
        out_start = 0;
        if (out_end + FRAME_HEADER + length > OUT_SIZE) {
            say("the host doesn't read its answers: dropping the link");
            sessions_kill_all();
            drop_output();
            reader.state = READER_HUNTING;
            return;
        }
    }
    if (length) memcpy(out_bytes + out_end + FRAME_HEADER, payload, length);
    link_commit(type, channel, length);
}

void link_send_u32(uint8_t type, uint32_t channel, uint32_t value) {
    uint8_t bytes[4];
    store32(bytes, value);
    link_send(type, channel, bytes, sizeof bytes);
}

void link_error(uint32_t channel, enum error_code code, const char *format, ...) {
    char text[TEXT_MAX];
    uint8_t body[TEXT_MAX + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct tlv_writer writer = tlv_writer(body, sizeof body);
    tlv_put_number(&writer, T_ERROR_CODE, code);
    tlv_put_text(&writer, T_MESSAGE, text);
    link_send(F_ERROR, channel, body, writer.length);
}

// Tells the host that the stream is lost, and waits for its next handshake.
void link_fatal(const char *text) {
    uint8_t body[TEXT_MAX];
    struct tlv_writer writer = tlv_writer(body, sizeof body);
    tlv_put_text(&writer, T_MESSAGE, text);
    say("the link is broken: %s", text);
    sessions_kill_all();
    link_send(F_FATAL, 0, body, writer.length);
    reader.state = READER_HUNTING;
}

// A new host, or the old one anew: nothing of the time before belongs to it.
static void answer_reset(void) {
    uint8_t body[TEXT_MAX];
    sessions_kill_all();
    requests_reset();
    drop_output();
    memcpy(out_bytes, RESET_MAGIC_GUEST, RESET_MAGIC_LEN);
    memcpy(out_bytes + RESET_MAGIC_LEN, reader.nonce, NONCE_LEN);
    out_end = RESET_MAGIC_LEN + NONCE_LEN;
    link_send(F_HELLO, 0, body, describe_state(body, sizeof body));
}

static void read_frames(void) {
    struct frame frame;
    for (;;) {
        switch (frame_next(&reader, &frame)) {
        case FRAME_NONE: return;
        case FRAME_RESET: answer_reset(); break;
        case FRAME_READY: handle_frame(&frame); break;
        case FRAME_BROKEN: link_fatal("a frame's header makes no sense"); break;
        }
    }
}

static void read_port(void) {
    for (int i = 0; port.readable && i < READS_A_TURN; i++) {
        uint8_t *where;
        size_t space = frame_space(&reader, &where);
        ssize_t count = read(port.fd, where, space);
        if (count > 0) {
            frame_filled(&reader, (size_t)count);
            if (reader.end - reader.start >= 2 * FRAME_MAX) read_frames();
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else {
            // Nothing now, or (0) no host: the next edge tells.
            port.readable = false;
        }
    }
    read_frames();
}

static void write_port(void) {
    while (port.writable && out_start < out_end) {
        ssize_t count = write(port.fd, out_bytes + out_start, out_end - out_start);
        if (count > 0) out_start += (size_t)count;
        else if (count < 0 && errno == EINTR) continue;
        else port.writable = false;
    }
    if (out_start == out_end) drop_output();
}

void link_pump(void) {
    if (port.fd < 0) return;
    read_port();
    write_port();
}

bool link_has_input(void) { return port.fd >= 0 && port.readable; }
