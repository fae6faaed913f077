// libFuzzer target: the agent's frame reader and the decoding of every kind of request. The first byte
// says how the stream is cut, so that every chunking is tried.
#include "frame.h"
#include "message.h"
#include "proto.h"

#include <stdlib.h>
#include <string.h>

static uint8_t buffer[4 * FRAME_MAX];

// Whatever a decoder gave back must be readable to its end.
static void touch(const char *text) {
    if (text && strlen(text) > FRAME_PAYLOAD_MAX) abort();
}

// Said in another way than in the agent, so that both can't be wrong alike.
static bool leaves(const char *path) {
    size_t length = strlen(path);
    return path[0] == '/' || strstr(path, "/../") || strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 ||
           (length >= 3 && strcmp(path + length - 3, "/..") == 0);
}

static void decode(uint8_t type, const uint8_t *body, size_t length) {
    // A body of its own, so that a read past its end is seen.
    uint8_t *copy = malloc(length ? length : 1);
    if (!copy) abort();
    if (length) memcpy(copy, body, length);
    struct exec_spec spec;
    struct guest_config config;
    struct module_request module;
    struct disk_spec disk;
    struct path_request path;
    struct entry entry;
    uint64_t number = 0;
    const char *text = NULL;
    switch (type) {
    case F_EXEC:
    case F_APP_START:
        if (decode_exec(copy, length, &spec)) break;
        for (size_t i = 0; i < spec.argc; i++) touch(spec.argv[i]);
        for (size_t i = 0; i < spec.envc; i++) touch(spec.env[i]);
        if (spec.argv[spec.argc] || (spec.envc && spec.env[spec.envc])) abort();
        touch(spec.cwd), touch(spec.user);
        free_exec(&spec);
        break;
    case F_CONFIGURE:
        if (decode_config(copy, length, &config)) break;
        touch(config.hostname), touch(config.machine_id), touch(config.net.mac), touch(config.root.serial);
        for (size_t i = 0; i < config.dns_count; i++) touch(config.dns[i]);
        for (size_t i = 0; i < config.volume_count; i++) touch(config.volumes[i].path);
        if (config.entropy_length < MIN_ENTROPY) abort();
        break;
    case F_MOUNT:
        if (!decode_disk(copy, length, &disk)) touch(disk.serial), touch(disk.path), touch(disk.overlay);
        break;
    case F_COPY_IN:
    case F_COPY_OUT:
    case F_STAT:
        if (!decode_path(copy, length, &path)) touch(path.path);
        break;
    case F_SET_CLOCK: decode_clock(copy, length, &config); break;
    case F_APP_STOP: decode_number(copy, length, T_GRACE, &number); break;
    case F_LOAD_MODULE:
        if (!decode_module(copy, length, &module)) touch(module.name), touch(module.options);
        break;
    case F_DATA:
        if (decode_entry(copy, length, &entry)) break;
        touch(entry.path), touch(entry.target);
        if (leaves(entry.path)) abort();
        break;
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct frame_reader reader;
    struct frame frame;
    if (size == 0) return 0;
    size_t step = data[0] ? data[0] : size;
    frame_reader_init(&reader, buffer, sizeof buffer);
    for (size_t at = 1; at < size;) {
        uint8_t *where;
        size_t space = frame_space(&reader, &where);
        if (space < FRAME_MAX) abort();
        size_t count = size - at < step ? size - at : step;
        if (count > space) count = space;
        memcpy(where, data + at, count);
        frame_filled(&reader, count);
        at += count;
        for (bool more = true; more;) {
            switch (frame_next(&reader, &frame)) {
            case FRAME_NONE: more = false; break;
            case FRAME_RESET:
            case FRAME_BROKEN: break;
            case FRAME_READY:
                if (frame.length > FRAME_PAYLOAD_MAX) abort();
                decode(frame.type, frame.payload, frame.length);
                break;
            }
        }
    }
    return 0;
}
