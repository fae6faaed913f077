// CONFIGURE: a blank guest becomes one instance. Entropy and clock come first, the image's root last but
// its small files; no program of the image has run before this is done.
// RENEW: a copy of a running instance becomes another one; its programs are frozen until this is done.
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNER PRIVATE_DIR "/owner"  // the machine-id of whose disk it is
#define PLACE "\n"                  // what is in a file of names before there are any

// Replaces a file of the image's, also where it is a link to somewhere else. One that is no longer than the text is
// written over as it is: to cut it first would take an emulated CPU as long as all the rest.
static void put_file(const char *path, const char *text) {
    struct stat info;
    size_t length = strlen(text);
    bool there = lstat(path, &info) == 0;
    if (there && !S_ISREG(info.st_mode)) unlink(path), there = false;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (there && (size_t)info.st_size <= length ? 0 : O_TRUNC), 0644);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length) say("%s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
}

static bool there_is(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

static void make_etc(void) {
    struct stat info;
    if (stat("/etc", &info) == 0 && S_ISDIR(info.st_mode)) return;
    unlink("/etc");
    mkdir("/etc", 0755);
}

// Only where something would read it: an image without systemd stays as it is.
static bool wants_machine_id(void) {
    return there_is("/etc/machine-id") || there_is("/usr/lib/systemd/systemd") || there_is("/lib/systemd/systemd");
}

// The files of names, before there are any: whoever the guest becomes only has to write over them.
void keep_places(const struct guest_config *config) {
    make_etc();
    put_file("/etc/hostname", PLACE);
    put_file("/etc/hosts", PLACE);
    if (config->net.present) put_file("/etc/resolv.conf", PLACE);
    if (wants_machine_id()) put_file("/etc/machine-id", PLACE);
    put_file(OWNER, PLACE);
}

void write_names(const struct guest_config *config) {
    char text[4096];
    make_etc();
    const char *hostname = config->hostname ? config->hostname : "localhost";
    snprintf(text, sizeof text, "%s\n", hostname);
    put_file("/etc/hostname", text);
    size_t used = (size_t)snprintf(text, sizeof text,
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    if (strcmp(hostname, "localhost") != 0) {
        const char *address = config->net.present ? config->net.address : "127.0.1.1";
        snprintf(text + used, sizeof text - used, "%s %s\n", address, hostname);
    }
    put_file("/etc/hosts", text);
    if (config->dns_count > 0) {
        used = 0;
        for (size_t i = 0; i < config->dns_count && used < sizeof text; i++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "nameserver %.64s\n", config->dns[i]);
        }
        put_file("/etc/resolv.conf", text);
    }
    if (config->machine_id && wants_machine_id()) {
        snprintf(text, sizeof text, "%s\n", config->machine_id);
        put_file("/etc/machine-id", text);
    }
}

// A disk that was another instance's (a fork's) brings secrets by which that one is known: they are made anew.
void own_disk(const struct guest_config *config) {
    static const char *const secrets[] = {PRIVATE_DIR "/ssh-ed25519", PRIVATE_DIR "/ssh-ecdsa"};
    char owner[128];
    if (!config->machine_id) return;
    bool is_new = read_file(OWNER, owner, sizeof owner) < 0 || strcmp(owner, PLACE) == 0;
    if (!is_new && strcmp(owner, config->machine_id) == 0) return;
    for (size_t i = 0; !is_new && i < sizeof secrets / sizeof *secrets; i++) unlink(secrets[i]);
    put_file(OWNER, config->machine_id);
}

// Entropy and clock first, as above. The disks are those that it has.
bool renew(const struct guest_config *config, char *wrong, size_t size) {
    add_entropy(config->entropy, config->entropy_length);
    set_clock(config->clock_ns);
    if (config->hostname && sethostname(config->hostname, strlen(config->hostname)) < 0) {
        snprintf(wrong, size, "the host name: %s", strerror(errno));
        return false;
    }
    if (config->net.present && !bring_up_network(&config->net, wrong, size)) return false;
    own_disk(config);
    write_names(config);
    return true;
}

bool configure(const struct guest_config *config, char *wrong, size_t size) {
    add_entropy(config->entropy, config->entropy_length);
    set_clock(config->clock_ns);
    if (config->hostname && sethostname(config->hostname, strlen(config->hostname)) < 0) {
        snprintf(wrong, size, "the host name: %s", strerror(errno));
        return false;
    }
    if (config->net.present && !bring_up_network(&config->net, wrong, size)) return false;
    if (!agent.root_mounted && !mount_root(&config->root, wrong, size)) return false;
    own_disk(config);
    write_names(config);
    ssh_configure(config);
    for (size_t i = 0; i < config->volume_count; i++) {
        enum error_code code;
        if (!mount_volume(&config->volumes[i], wrong, size, &code)) return false;
    }
    return true;
}
