// The frame reader. It finds the reset marker wherever it is, even inside a half-received frame, by a
// Horspool search that looks at about one byte in thirty-two.
#include "frame.h"

#include <string.h>

// All different, none zero: no frame header can be part of a match (a header starts and ends with zero).
const uint8_t RESET_MAGIC_HOST[RESET_MAGIC_LEN] = {
    0x42, 0x72, 0x74, 0x68, 0xf1, 0xca, 0xc2, 0xb1, 0xa5, 0xdc, 0x9b, 0xdb, 0x91, 0xb5, 0x8d, 0xb6,
    0xf7, 0xee, 0x90, 0xa7, 0xf9, 0xbb, 0xaf, 0xaa, 0x94, 0xfe, 0xd4, 0xc6, 0xa6, 0x8b, 0xe7, 0x86,
};
const uint8_t RESET_MAGIC_GUEST[RESET_MAGIC_LEN] = {
    0x68, 0x74, 0x72, 0x42, 0x9d, 0xdb, 0xac, 0xc9, 0xf4, 0xe4, 0xb3, 0xaf, 0xa8, 0xb0, 0xd8, 0xae,
    0xf8, 0x81, 0xe3, 0xc6, 0xcb, 0x9e, 0xad, 0xff, 0xb7, 0xbf, 0x86, 0xdd, 0xb5, 0xf3, 0x85, 0xce,
};

static uint8_t skip[256];

void frame_reader_init(struct frame_reader *reader, uint8_t *bytes, size_t capacity) {
    memset(reader, 0, sizeof *reader);
    reader->bytes = bytes;
    reader->capacity = capacity;
    reader->state = READER_HUNTING;
    memset(skip, RESET_MAGIC_LEN, sizeof skip);
    for (size_t i = 0; i < RESET_MAGIC_LEN - 1; i++) skip[RESET_MAGIC_HOST[i]] = (uint8_t)(RESET_MAGIC_LEN - 1 - i);
}

size_t frame_space(struct frame_reader *reader, uint8_t **where) {
    if (reader->start == reader->end) reader->start = reader->end = 0;
    if (reader->start > 0 && reader->capacity - reader->end < FRAME_MAX) {
        memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    *where = reader->bytes + reader->end;
    return reader->capacity - reader->end;
}

// Offset just behind the last marker in `bytes`, or 0.
static size_t last_marker(const uint8_t *bytes, size_t length) {
    size_t found = 0, at = 0;
    while (length - at >= RESET_MAGIC_LEN) {
        uint8_t last = bytes[at + RESET_MAGIC_LEN - 1];
        if (last == RESET_MAGIC_HOST[RESET_MAGIC_LEN - 1] && memcmp(bytes + at, RESET_MAGIC_HOST, RESET_MAGIC_LEN) == 0) {
            at += RESET_MAGIC_LEN;
            found = at;
        } else {
            at += skip[last];
        }
        if (at > length) break;
    }
    return found;
}

static void reset_at(struct frame_reader *reader, size_t offset) {
    reader->start = offset;
    reader->state = READER_NONCE;
}

void frame_filled(struct frame_reader *reader, size_t count) {
    const uint8_t *fresh = reader->bytes + reader->end;
    size_t fresh_at = reader->end;
    reader->end += count;

    // A marker that began in an earlier read ends within the first 31 fresh bytes.
    uint8_t bridge[2 * (RESET_MAGIC_LEN - 1)];
    size_t head = count < RESET_MAGIC_LEN - 1 ? count : RESET_MAGIC_LEN - 1;
    memcpy(bridge, reader->tail, reader->tail_length);
    memcpy(bridge + reader->tail_length, fresh, head);
    size_t found = last_marker(bridge, reader->tail_length + head);
    if (found > reader->tail_length) reset_at(reader, fresh_at + found - reader->tail_length);
    found = last_marker(fresh, count);
    if (found > 0) reset_at(reader, fresh_at + found);

    if (count >= sizeof reader->tail) {
        memcpy(reader->tail, fresh + count - sizeof reader->tail, sizeof reader->tail);
        reader->tail_length = sizeof reader->tail;
    } else {
        size_t all = reader->tail_length + count;  // head == count here, so the bridge holds all of it
        size_t keep = all < sizeof reader->tail ? all : sizeof reader->tail;
        memcpy(reader->tail, bridge + all - keep, keep);
        reader->tail_length = keep;
    }
}

enum frame_event frame_next(struct frame_reader *reader, struct frame *out) {
    size_t available = reader->end - reader->start;
    const uint8_t *at = reader->bytes + reader->start;
    switch (reader->state) {
    case READER_HUNTING:
        reader->start = reader->end;
        return FRAME_NONE;
    case READER_NONCE:
        if (available < NONCE_LEN) return FRAME_NONE;
        memcpy(reader->nonce, at, NONCE_LEN);
        reader->start += NONCE_LEN;
        reader->state = READER_FRAMES;
        return FRAME_RESET;
    case READER_FRAMES:
        break;
    }
    if (available < FRAME_HEADER) return FRAME_NONE;
    uint32_t length = load32(at + 8);
    if (at[0] != 0 || at[3] != 0 || length > FRAME_PAYLOAD_MAX) {
        reader->state = READER_HUNTING;
        return FRAME_BROKEN;
    }
    if (available < FRAME_HEADER + (size_t)length) return FRAME_NONE;
    out->type = at[1];
    out->flags = at[2];
    out->channel = load32(at + 4);
    out->length = length;
    out->payload = at + FRAME_HEADER;
    reader->start += FRAME_HEADER + (size_t)length;
    return FRAME_READY;
}

void frame_write_header(uint8_t *at, uint8_t type, uint8_t flags, uint32_t channel, uint32_t length) {
    at[0] = 0, at[1] = type, at[2] = flags, at[3] = 0;
    store32(at + 4, channel);
    store32(at + 8, length);
}
