// Reading and writing message bodies.
#include "tlv.h"

#include <string.h>

struct tlv_reader tlv_reader(const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    return (struct tlv_reader){.at = at, .end = at + length, .broken = false};
}

bool tlv_next(struct tlv_reader *reader, struct tlv *out) {
    size_t left = (size_t)(reader->end - reader->at);
    if (reader->broken || left == 0) return false;
    if (left < TLV_HEADER) return reader->broken = true, false;
    const uint8_t *p = reader->at;
    out->tag = (uint16_t)(p[0] | p[1] << 8);
    out->length = (uint32_t)p[2] | (uint32_t)p[3] << 8 | (uint32_t)p[4] << 16 | (uint32_t)p[5] << 24;
    if (out->length > left - TLV_HEADER) return reader->broken = true, false;
    out->value = p + TLV_HEADER;
    reader->at = p + TLV_HEADER + out->length;
    return true;
}

uint64_t tlv_number(struct tlv_reader *reader, const struct tlv *field, uint64_t max) {
    uint64_t value = 0;
    if (field->length != 8) return reader->broken = true, 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | field->value[i];
    if (value > max) return reader->broken = true, 0;
    return value;
}

const char *tlv_text(struct tlv_reader *reader, const struct tlv *field) {
    if (field->length == 0 || memchr(field->value, 0, field->length) != field->value + field->length - 1) {
        reader->broken = true;
        return "";
    }
    return (const char *)field->value;
}

struct tlv_writer tlv_writer(void *bytes, size_t capacity) {
    return (struct tlv_writer){.bytes = bytes, .capacity = capacity, .length = 0, .full = false};
}

void tlv_put(struct tlv_writer *writer, uint16_t tag, const void *value, size_t length) {
    if (writer->full || length > writer->capacity || writer->capacity - writer->length < TLV_HEADER + length) {
        writer->full = true;
        return;
    }
    uint8_t *p = writer->bytes + writer->length;
    p[0] = (uint8_t)tag, p[1] = (uint8_t)(tag >> 8);
    for (int i = 0; i < 4; i++) p[2 + i] = (uint8_t)(length >> (8 * i));
    memcpy(p + TLV_HEADER, value, length);
    writer->length += TLV_HEADER + length;
}

void tlv_put_number(struct tlv_writer *writer, uint16_t tag, uint64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    tlv_put(writer, tag, bytes, sizeof bytes);
}

void tlv_put_text(struct tlv_writer *writer, uint16_t tag, const char *text) {
    tlv_put(writer, tag, text, strlen(text) + 1);
}
