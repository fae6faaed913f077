// Requests: put together from their frames, decoded, and handed to who does them.
#include "agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define REQUEST_MAX (4 * 1024 * 1024)

// The request that is arriving; its frames are not mixed with another's.
static struct {
    bool open;
    uint8_t type;
    uint32_t channel;
    uint8_t *bytes;
    size_t length, capacity;
} pending;

static void drop_pending(void) {
    free(pending.bytes);
    memset(&pending, 0, sizeof pending);
}

void requests_reset(void) { drop_pending(); }

static void put_exit(struct tlv_writer *writer) {
    tlv_put_number(writer, T_EXIT_CODE, (uint64_t)agent.exit.code);
    tlv_put_number(writer, T_EXIT_SIGNAL, (uint64_t)agent.exit.signal);
    tlv_put_text(writer, T_EXIT_REASON, agent.exit.reason ? agent.exit.reason : "exited");
}

size_t describe_exit(void *bytes, size_t capacity) {
    struct tlv_writer writer = tlv_writer(bytes, capacity);
    put_exit(&writer);
    return writer.length;
}

size_t describe_state(void *bytes, size_t capacity) {
    struct utsname system;
    struct tlv_writer writer = tlv_writer(bytes, capacity);
    tlv_put_number(&writer, T_PROTOCOL, PROTOCOL_VERSION);
    tlv_put_text(&writer, T_AGENT_VERSION, AGENT_VERSION);
    tlv_put_number(&writer, T_STATE, agent.state);
    if (uname(&system) == 0) tlv_put_text(&writer, T_KERNEL, system.release);
    if (agent.state == STATE_APP_EXITED) put_exit(&writer);
    return writer.length;
}

static void reply(uint32_t channel) { link_send(F_REPLY, channel, NULL, 0); }

static void do_configure(uint32_t channel, const void *body, size_t length) {
    struct guest_config config;
    char text[TEXT_MAX] = "";
    const char *wrong = decode_config(body, length, &config);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (agent.state != STATE_UNCONFIGURED) return link_error(channel, E_BAD_STATE, "the guest is configured already");
    if (!configure(&config, text, sizeof text)) return link_error(channel, E_IO, "%s", text);
    agent.state = STATE_CONFIGURED;
    reply(channel);
}

// A copy of another instance's running guest becomes one of its own, before its programs run on.
static void do_renew(uint32_t channel, const void *body, size_t length) {
    struct guest_config config;
    char text[TEXT_MAX] = "";
    const char *wrong = decode_config(body, length, &config);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (!renew(&config, text, sizeof text)) return link_error(channel, E_IO, "%s", text);
    reply(channel);
}

static int work_sync(const void *body, size_t length) {
    (void)body, (void)length;
    sync();
    return 0;
}

static void do_rehearse(uint32_t channel, const void *body, size_t length) {
    struct guest_config config;
    char text[TEXT_MAX] = "";
    const char *wrong = decode_config(body, length, &config);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (agent.state != STATE_UNCONFIGURED) return link_error(channel, E_BAD_STATE, "the guest is configured already");
    if (!rehearse(&config, text, sizeof text)) return link_error(channel, E_IO, "%s", text);
    reply(channel);
}

// The image's root, while the guest is nobody yet: what a template of an image has behind it.
static void do_mount_root(uint32_t channel, const void *body, size_t length) {
    struct guest_config config;
    char text[TEXT_MAX] = "";
    const char *wrong = decode_config(body, length, &config);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (agent.state != STATE_UNCONFIGURED || agent.root_mounted) return link_error(channel, E_BAD_STATE, "the guest has a root already");
    if (!mount_root(&config.root, text, sizeof text)) return link_error(channel, E_IO, "%s", text);
    agent.root_mounted = true;
    keep_places(&config);
    spawn_learn_users();
    app_hold();
    sync();
    reply(channel);
}

static void do_app_start(uint32_t channel, const void *body, size_t length) {
    struct exec_spec spec;
    const char *wrong = decode_exec(body, length, &spec);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (agent.state != STATE_CONFIGURED) link_error(channel, E_BAD_STATE, "the application was started already");
    else app_start(channel, &spec);
    free_exec(&spec);
}

static void do_exec(uint32_t channel, const void *body, size_t length) {
    struct exec_spec spec;
    const char *wrong = decode_exec(body, length, &spec);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    session_exec(channel, &spec);
    free_exec(&spec);
}

static void do_path(uint8_t type, uint32_t channel, const void *body, size_t length) {
    struct path_request request;
    const char *wrong = decode_path(body, length, &request);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    int (*work)(const void *, size_t) = type == F_COPY_IN ? work_copy_in : type == F_COPY_OUT ? work_copy_out
                                      : type == F_STAT ? work_stat : work_unmount;
    session_work(channel, request.window, type == F_COPY_IN, work, body, length);
}

static void do_mount(uint32_t channel, const void *body, size_t length) {
    struct disk_spec volume;
    const char *wrong = decode_disk(body, length, &volume);
    if (!wrong && !volume.path) wrong = "the volume has no mount point";
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    session_work(channel, 0, false, work_mount, body, length);
}

static void do_set_clock(uint32_t channel, const void *body, size_t length) {
    struct guest_config config;
    const char *wrong = decode_clock(body, length, &config);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (config.entropy_length > 0) add_entropy(config.entropy, config.entropy_length);
    if (config.clock_ns > 0) set_clock(config.clock_ns);
    reply(channel);
}

static void do_app_stop(uint32_t channel, const void *body, size_t length) {
    uint64_t grace_ms = 0;
    const char *wrong = decode_number(body, length, T_GRACE, &grace_ms);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (agent.state != STATE_APP_RUNNING) return link_error(channel, E_BAD_STATE, "the application does not run");
    reply(channel);
    app_stop(grace_ms);
}

static void do_memory(uint32_t channel) {
    uint8_t body[64];
    uint64_t total = 0, available = 0;
    if (!memory_info(&total, &available)) return link_error(channel, E_IO, "/proc/meminfo can't be read");
    struct tlv_writer writer = tlv_writer(body, sizeof body);
    tlv_put_number(&writer, T_MEM_TOTAL, total);
    tlv_put_number(&writer, T_MEM_AVAILABLE, available);
    link_send(F_REPLY, channel, body, writer.length);
}

static void do_load_module(uint32_t channel, const void *body, size_t length) {
    char text[TEXT_MAX];
    struct module_request request;
    const char *wrong = decode_module(body, length, &request);
    if (wrong) return link_error(channel, E_BAD_REQUEST, "%s", wrong);
    if (!load_late_module(&request, text, sizeof text)) return link_error(channel, E_UNSUPPORTED, "%s", text);
    reply(channel);
}

static bool needs_root(uint8_t type) {
    return type == F_APP_START || type == F_EXEC || type == F_COPY_IN || type == F_COPY_OUT || type == F_STAT ||
           type == F_MOUNT || type == F_UNMOUNT || type == F_RENEW || type == F_SYNC;
}

static void handle_request(uint8_t type, uint32_t channel, const void *body, size_t length) {
    if (agent.ending) return link_error(channel, E_BAD_STATE, "the guest is powering off");
    if (needs_root(type) && agent.state == STATE_UNCONFIGURED) {
        return link_error(channel, E_BAD_STATE, "the guest is not configured");
    }
    switch (type) {
    case F_CONFIGURE: return do_configure(channel, body, length);
    case F_APP_START: return do_app_start(channel, body, length);
    case F_APP_STOP: return do_app_stop(channel, body, length);
    case F_EXEC: return do_exec(channel, body, length);
    case F_COPY_IN:
    case F_COPY_OUT:
    case F_STAT:
    case F_UNMOUNT: return do_path(type, channel, body, length);
    case F_MOUNT: return do_mount(channel, body, length);
    case F_SET_CLOCK: return do_set_clock(channel, body, length);
    case F_MEMINFO: return do_memory(channel);
    case F_LOAD_MODULE: return do_load_module(channel, body, length);
    case F_FREEZE: freeze(true); return reply(channel);
    case F_THAW: freeze(false); return reply(channel);
    case F_REHEARSE: return do_rehearse(channel, body, length);
    case F_MOUNT_ROOT: return do_mount_root(channel, body, length);
    case F_PING: return reply(channel);
    case F_RENEW: return do_renew(channel, body, length);
    case F_SYNC: return session_work(channel, 0, false, work_sync, NULL, 0);
    case F_POWER_OFF: reply(channel); return app_power_off();
    default: return link_error(channel, E_UNSUPPORTED, "this guest's agent doesn't know request %u", type);
    }
}

static bool is_session_frame(uint8_t type) { return type >= F_DATA && type <= F_CLOSE; }

void handle_frame(const struct frame *frame) {
    if (is_session_frame(frame->type)) return session_frame(frame);
    bool more = frame->flags & FLAG_MORE;
    if (!pending.open && !more) return handle_request(frame->type, frame->channel, frame->payload, frame->length);

    if (pending.open && (pending.type != frame->type || pending.channel != frame->channel)) {
        return link_fatal("a request was cut off by another");
    }
    size_t length = pending.length + frame->length;
    if (length > REQUEST_MAX) return link_fatal("a request is too long");
    if (length > pending.capacity) {
        size_t capacity = length > pending.capacity * 2 ? length : pending.capacity * 2;
        uint8_t *grown = realloc(pending.bytes, capacity);
        if (!grown) return link_fatal("no memory for a request");
        pending.bytes = grown;
        pending.capacity = capacity;
    }
    pending.open = true;
    pending.type = frame->type;
    pending.channel = frame->channel;
    if (frame->length) memcpy(pending.bytes + pending.length, frame->payload, frame->length);
    pending.length = length;
    if (more) return;
    handle_request(pending.type, pending.channel, pending.bytes, pending.length);
    drop_pending();
}
