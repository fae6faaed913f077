// Decoding of requests: pure, so that it can be fuzzed.
#include "message.h"
#include "proto.h"

#include <stdlib.h>
#include <string.h>

#define BROKEN "the message is malformed"

static bool append(char ***list, size_t *count, const char *text) {
    // Room is doubled at each power of two; one slot always stays for the null at the end.
    if ((*count & (*count + 1)) == 0) {
        char **grown = realloc(*list, (2 * *count + 2) * sizeof **list);
        if (!grown) return false;
        *list = grown;
    }
    (*list)[(*count)++] = (char *)text;
    (*list)[*count] = NULL;
    return true;
}

const char *decode_exec(const void *body, size_t length, struct exec_spec *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    bool room = true;
    memset(out, 0, sizeof *out);
    while (room && tlv_next(&reader, &field)) {
        switch (field.tag) {
        case T_ARG: room = out->argc < MAX_ARGS && append(&out->argv, &out->argc, tlv_text(&reader, &field)); break;
        case T_ENV: room = out->envc < MAX_ARGS && append(&out->env, &out->envc, tlv_text(&reader, &field)); break;
        case T_CWD: out->cwd = tlv_text(&reader, &field); break;
        case T_USER: out->user = tlv_text(&reader, &field); break;
        case T_TTY: {
            uint32_t size = (uint32_t)tlv_number(&reader, &field, UINT32_MAX);
            out->tty = true, out->rows = (uint16_t)(size >> 16), out->cols = (uint16_t)size;
            break;
        }
        case T_TIMEOUT: out->timeout_ms = tlv_number(&reader, &field, (uint64_t)1 << 40); break;
        case T_STOP_SIGNAL: out->stop_signal = (uint32_t)tlv_number(&reader, &field, 64); break;
        case T_WINDOW: out->window = (uint32_t)tlv_number(&reader, &field, 1u << 30); break;
        case T_FIRST_SCRIPT: out->first_script = tlv_text(&reader, &field); break;
        case T_INHERIT: out->inherit_env = tlv_number(&reader, &field, 1) == 1; break;
        }
    }
    const char *wrong = NULL;
    if (reader.broken) wrong = BROKEN;
    else if (!room) wrong = "too many arguments or variables";
    else if (out->argc == 0 || out->argv[0][0] == 0) wrong = "the command is empty";
    for (size_t i = 0; !wrong && i < out->envc; i++) {
        if (out->env[i][0] == '=' || !strchr(out->env[i], '=')) wrong = "a variable has no name";
    }
    if (wrong) free_exec(out);
    return wrong;
}

void free_exec(struct exec_spec *spec) {
    free(spec->argv);
    free(spec->env);
    spec->argv = spec->env = NULL;
    spec->argc = spec->envc = 0;
}

const char *decode_disk(const void *body, size_t length, struct disk_spec *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    memset(out, 0, sizeof *out);
    while (tlv_next(&reader, &field)) {
        switch (field.tag) {
        case T_DISK: out->serial = tlv_text(&reader, &field); break;
        case T_DISK_OVERLAY: out->overlay = tlv_text(&reader, &field); break;
        case T_DISK_PATH: out->path = tlv_text(&reader, &field); break;
        case T_DISK_MODE: out->mode = (int)tlv_number(&reader, &field, DISK_NFS); break;
        case T_DISK_OPTIONS: out->options = tlv_text(&reader, &field); break;
        }
    }
    if (reader.broken) return BROKEN;
    if (!out->serial || !out->serial[0]) return "a disk has no serial";
    if (out->path && out->path[0] != '/') return "a mount point is not an absolute path";
    return NULL;
}

static const char *decode_net(const void *body, size_t length, struct net_spec *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    memset(out, 0, sizeof *out);
    out->present = true;
    while (tlv_next(&reader, &field)) {
        switch (field.tag) {
        case T_NET_MAC: out->mac = tlv_text(&reader, &field); break;
        case T_NET_ADDRESS: out->address = tlv_text(&reader, &field); break;
        case T_NET_PREFIX: out->prefix = (uint32_t)tlv_number(&reader, &field, 32); break;
        case T_NET_GATEWAY: out->gateway = tlv_text(&reader, &field); break;
        case T_NET_MTU: out->mtu = (uint32_t)tlv_number(&reader, &field, 65535); break;
        }
    }
    if (reader.broken) return BROKEN;
    if (!out->mac || !out->address) return "the network has no MAC or no address";
    return NULL;
}

static void decode_clock_field(struct tlv_reader *reader, const struct tlv *field, struct guest_config *out) {
    if (field->tag == T_ENTROPY) out->entropy = field->value, out->entropy_length = field->length;
    if (field->tag == T_CLOCK) out->clock_ns = tlv_number(reader, field, INT64_MAX);
}

const char *decode_config(const void *body, size_t length, struct guest_config *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    const char *wrong = NULL;
    memset(out, 0, sizeof *out);
    while (!wrong && tlv_next(&reader, &field)) {
        switch (field.tag) {
        case T_ENTROPY:
        case T_CLOCK: decode_clock_field(&reader, &field, out); break;
        case T_HOSTNAME: out->hostname = tlv_text(&reader, &field); break;
        case T_MACHINE_ID: out->machine_id = tlv_text(&reader, &field); break;
        case T_NET: wrong = decode_net(field.value, field.length, &out->net); break;
        case T_DNS:
            if (out->dns_count == MAX_DNS) wrong = "too many name servers";
            else out->dns[out->dns_count++] = tlv_text(&reader, &field);
            break;
        case T_ROOT: wrong = decode_disk(field.value, field.length, &out->root); break;
        case T_VOLUME:
            if (out->volume_count == MAX_VOLUMES) wrong = "too many volumes";
            else wrong = decode_disk(field.value, field.length, &out->volumes[out->volume_count]);
            if (!wrong && !out->volumes[out->volume_count++].path) wrong = "a volume has no mount point";
            break;
        case T_SSH_KEY:
            if (out->ssh_key_count == MAX_SSH_KEYS) wrong = "too many SSH keys";
            else out->ssh_keys[out->ssh_key_count++] = tlv_text(&reader, &field);
            break;
        }
    }
    if (wrong) return wrong;
    if (reader.broken) return BROKEN;
    if (out->entropy_length < MIN_ENTROPY) return "fewer than 32 bytes of entropy";
    if (out->clock_ns == 0) return "no clock";
    if (!out->root.serial) return "no root disk";
    return NULL;
}

const char *decode_clock(const void *body, size_t length, struct guest_config *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    memset(out, 0, sizeof *out);
    while (tlv_next(&reader, &field)) decode_clock_field(&reader, &field, out);
    return reader.broken ? BROKEN : NULL;
}

const char *decode_path(const void *body, size_t length, struct path_request *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    memset(out, 0, sizeof *out);
    while (tlv_next(&reader, &field)) {
        if (field.tag == T_PATH) out->path = tlv_text(&reader, &field);
        if (field.tag == T_FOLLOW) out->follow = tlv_number(&reader, &field, 1) == 1;
        if (field.tag == T_SHALLOW) out->shallow = tlv_number(&reader, &field, 1) == 1;
        if (field.tag == T_WINDOW) out->window = (uint32_t)tlv_number(&reader, &field, 1u << 30);
    }
    if (reader.broken) return BROKEN;
    if (!out->path || out->path[0] != '/') return "the path is not absolute";
    return NULL;
}

const char *decode_module(const void *body, size_t length, struct module_request *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    memset(out, 0, sizeof *out);
    out->options = "";
    while (tlv_next(&reader, &field)) {
        if (field.tag == T_NAME) out->name = tlv_text(&reader, &field);
        if (field.tag == T_MODULE_OPTIONS) out->options = tlv_text(&reader, &field);
        if (field.tag == T_MODULE) out->image = field.value, out->image_length = field.length;
    }
    if (reader.broken) return BROKEN;
    return out->name ? NULL : "no module is named";
}

// Relative, and no part of it is `..`.
static bool is_inner_path(const char *path) {
    if (path[0] == '/') return false;
    for (const char *part = path; part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        if (strcmp(part, "..") == 0 || strncmp(part, "../", 3) == 0) return false;
    }
    return true;
}

const char *decode_entry(const void *body, size_t length, struct entry *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    memset(out, 0, sizeof *out);
    out->uid = out->gid = out->mode = UINT32_MAX;
    while (tlv_next(&reader, &field)) {
        switch (field.tag) {
        case T_PATH: out->path = tlv_text(&reader, &field); break;
        case T_TARGET: out->target = tlv_text(&reader, &field); break;
        case T_KIND: out->kind = (int)tlv_number(&reader, &field, KIND_SYMLINK); break;
        case T_MODE: out->mode = (uint32_t)tlv_number(&reader, &field, 07777); break;
        case T_UID: out->uid = (uint32_t)tlv_number(&reader, &field, UINT32_MAX - 1); break;
        case T_GID: out->gid = (uint32_t)tlv_number(&reader, &field, UINT32_MAX - 1); break;
        case T_SIZE: out->size = tlv_number(&reader, &field, INT64_MAX); break;
        case T_MTIME: out->mtime = (int64_t)tlv_number(&reader, &field, INT64_MAX); break;
        }
    }
    if (reader.broken || !out->path) return BROKEN;
    if (!is_inner_path(out->path)) return "an entry's path leaves the directory it is copied to";
    if (out->kind == KIND_SYMLINK && (!out->target || !out->target[0])) return "a symbolic link has no target";
    return NULL;
}

const char *decode_number(const void *body, size_t length, uint16_t tag, uint64_t *out) {
    struct tlv_reader reader = tlv_reader(body, length);
    struct tlv field;
    while (tlv_next(&reader, &field)) if (field.tag == tag) *out = tlv_number(&reader, &field, UINT64_MAX);
    return reader.broken ? BROKEN : NULL;
}
