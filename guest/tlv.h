// Message bodies: a sequence of  u16 tag | u32 length | value.  Numbers are little-endian; a text's value
// ends with a zero byte that its length counts, so that it can be used in place.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLV_HEADER 6

struct tlv_reader {
    const uint8_t *at, *end;
    bool broken;
};

struct tlv {
    uint16_t tag;
    uint32_t length;
    const uint8_t *value;
};

struct tlv_reader tlv_reader(const void *bytes, size_t length);
// The next field; false at the end, and on a field that leaves its message (then `broken` is set).
bool tlv_next(struct tlv_reader *reader, struct tlv *out);
// Each of these sets reader->broken if the value is not of the kind, and then returns 0, "" or null.
uint64_t tlv_number(struct tlv_reader *reader, const struct tlv *field, uint64_t max);
const char *tlv_text(struct tlv_reader *reader, const struct tlv *field);

struct tlv_writer {
    uint8_t *bytes;
    size_t capacity, length;
    bool full;
};

struct tlv_writer tlv_writer(void *bytes, size_t capacity);
void tlv_put(struct tlv_writer *writer, uint16_t tag, const void *value, size_t length);
void tlv_put_number(struct tlv_writer *writer, uint16_t tag, uint64_t value);
void tlv_put_text(struct tlv_writer *writer, uint16_t tag, const char *text);
