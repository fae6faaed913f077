// What requests say, decoded. Texts point into the body, which must outlive them.
#pragma once
#include "tlv.h"
#include <sys/types.h>

#define MAX_DNS 8
#define MAX_VOLUMES 32
#define MAX_ARGS 65536
#define MIN_ENTROPY 32
#define MAX_SSH_KEYS 64

struct exec_spec {
    char **argv;   // null-terminated
    char **env;    // null-terminated
    size_t argc, envc;
    const char *cwd;   // null is the default
    const char *user;  // null is root
    bool tty, inherit_env;
    uint16_t rows, cols;
    uint64_t timeout_ms;  // 0 is none
    uint32_t stop_signal;  // 0 is the default
    uint32_t window;       // credit for output
    const char *first_script;  // null is none
};

struct disk_spec {
    const char *serial, *overlay, *path;  // overlay is null where there is none; the serial of NFS is server:/path
    const char *options;                  // of NFS
    int mode;
};

struct net_spec {
    bool present;
    const char *mac, *address, *gateway;
    uint32_t prefix, mtu;
};

struct guest_config {
    const uint8_t *entropy;
    size_t entropy_length;
    uint64_t clock_ns;
    const char *hostname, *machine_id;
    struct net_spec net;
    const char *dns[MAX_DNS];
    size_t dns_count;
    struct disk_spec root;
    struct disk_spec volumes[MAX_VOLUMES];
    size_t volume_count;
    const char *ssh_keys[MAX_SSH_KEYS];
    size_t ssh_key_count;
};

struct module_request {
    const char *name, *options;
    const uint8_t *image;  // null: the file of the initramfs
    size_t image_length;
};

struct path_request {
    const char *path;
    bool follow;
    bool shallow;  // of a directory only what stands in it, without bytes
    uint32_t window;
};

struct entry {
    const char *path, *target;
    int kind;
    uint32_t mode, uid, gid;  // UINT32_MAX: not given
    uint64_t size;
    int64_t mtime;
    bool exists;
};

// Each returns null, or what is wrong with the message.
const char *decode_exec(const void *body, size_t length, struct exec_spec *out);
void free_exec(struct exec_spec *spec);
const char *decode_config(const void *body, size_t length, struct guest_config *out);
const char *decode_disk(const void *body, size_t length, struct disk_spec *out);
const char *decode_path(const void *body, size_t length, struct path_request *out);
const char *decode_module(const void *body, size_t length, struct module_request *out);
const char *decode_entry(const void *body, size_t length, struct entry *out);
// A single number under `tag`; absent leaves *out as it is.
const char *decode_number(const void *body, size_t length, uint16_t tag, uint64_t *out);
// The clock and the entropy of a SET_CLOCK, into the same fields of a config.
const char *decode_clock(const void *body, size_t length, struct guest_config *out);
