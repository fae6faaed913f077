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

// Replaces a file of the image's, also where it is a link to somewhere else.
static void put_file(const char *path, const char *text) {
    struct stat info;
    if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode)) unlink(path);
    if (!write_file(path, text)) say("%s: %s", path, strerror(errno));
}

static bool there_is(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

void write_names(const struct guest_config *config) {
    char text[4096];
    struct stat info;
    if (stat("/etc", &info) < 0 || !S_ISDIR(info.st_mode)) {
        unlink("/etc");
        mkdir("/etc", 0755);
    }
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
    // Only where something would read it: an image without systemd stays as it is.
    bool wanted = there_is("/etc/machine-id") || there_is("/usr/lib/systemd/systemd") || there_is("/lib/systemd/systemd");
    if (config->machine_id && wanted) {
        snprintf(text, sizeof text, "%s\n", config->machine_id);
        put_file("/etc/machine-id", text);
    }
}

// A disk that was another instance's (a fork's) brings secrets by which that one is known: they are made anew.
void own_disk(const struct guest_config *config) {
    static const char *const secrets[] = {PRIVATE_DIR "/ssh-ed25519", PRIVATE_DIR "/ssh-ecdsa"};
    char owner[128];
    if (!config->machine_id) return;
    ssize_t length = read_file(PRIVATE_DIR "/owner", owner, sizeof owner);
    if (length >= 0 && strcmp(owner, config->machine_id) == 0) return;
    for (size_t i = 0; length >= 0 && i < sizeof secrets / sizeof *secrets; i++) unlink(secrets[i]);
    if (!write_file(PRIVATE_DIR "/owner", config->machine_id)) say("the owner of the disk can't be written: %s", strerror(errno));
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
