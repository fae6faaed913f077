// Frames out of a byte stream that may start in the middle of one: see PROTOCOL.md.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 12
#define FRAME_PAYLOAD_MAX 65536
#define FRAME_MAX (FRAME_HEADER + FRAME_PAYLOAD_MAX)
#define RESET_MAGIC_LEN 32
#define NONCE_LEN 16

extern const uint8_t RESET_MAGIC_HOST[RESET_MAGIC_LEN];
extern const uint8_t RESET_MAGIC_GUEST[RESET_MAGIC_LEN];

struct frame {
    uint8_t type, flags;
    uint32_t channel, length;
    const uint8_t *payload;  // valid until the next call of frame_space
};

enum frame_event {
    FRAME_NONE,   // more bytes are needed
    FRAME_RESET,  // a handshake arrived; what was before it is gone
    FRAME_READY,  // *out is a frame
    FRAME_BROKEN, // the stream makes no sense; all is dropped until the next handshake
};

enum reader_state { READER_HUNTING, READER_NONCE, READER_FRAMES };

struct frame_reader {
    uint8_t *bytes;
    size_t capacity, start, end;
    enum reader_state state;
    uint8_t tail[RESET_MAGIC_LEN - 1];  // the last bytes seen, for a marker that spans two reads
    size_t tail_length;
    uint8_t nonce[NONCE_LEN];
};

void frame_reader_init(struct frame_reader *reader, uint8_t *bytes, size_t capacity);
// Where the next bytes go, and how many fit. Moves what is unread; capacity must be >= 2 * FRAME_MAX.
size_t frame_space(struct frame_reader *reader, uint8_t **where);
// `count` bytes were put there.
void frame_filled(struct frame_reader *reader, size_t count);
enum frame_event frame_next(struct frame_reader *reader, struct frame *out);

void frame_write_header(uint8_t *at, uint8_t type, uint8_t flags, uint32_t channel, uint32_t length);

static inline uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint16_t load16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline void store32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16), p[3] = (uint8_t)(v >> 24);
}
