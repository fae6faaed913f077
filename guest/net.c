// The guest's network, by plain ioctl: no `ip` program, whatever the image holds.
#include "agent.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INTERFACE_WAIT_MS 5000

static bool set_flags(int fd, const char *name, short flags) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return false;
    request.ifr_flags |= flags;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

bool bring_up_loopback(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd >= 0 && set_flags(fd, "lo", IFF_UP | IFF_RUNNING);
    if (fd >= 0) close(fd);
    return done;
}

// The interface with this MAC; or else the only one there is (then *other is set).
static bool find_interface(const char *mac, char *name, bool *other) {
    DIR *dir = opendir("/sys/class/net");
    if (!dir) return false;
    int count = 0;
    bool found = false;
    for (struct dirent *entry = readdir(dir); entry && !found; entry = readdir(dir)) {
        char path[TEXT_MAX], text[64];
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lo") == 0 || strlen(entry->d_name) >= IFNAMSIZ) continue;
        snprintf(path, sizeof path, "/sys/class/net/%s/address", entry->d_name);
        if (read_file(path, text, sizeof text) < 0) continue;
        text[strcspn(text, "\n")] = 0;
        found = strcasecmp(text, mac) == 0;
        if (found || count == 0) memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
        count++;
    }
    closedir(dir);
    *other = !found;
    return found || count == 1;
}

static bool parse_mac(const char *text, unsigned char *mac) {
    return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6;
}

static void put_address(struct sockaddr *at, in_addr_t address) {
    struct sockaddr_in value = {.sin_family = AF_INET, .sin_addr.s_addr = address};
    memcpy(at, &value, sizeof value);
}

static bool apply(int fd, const char *name, const struct net_spec *net, bool change_mac, const char **step) {
    struct ifreq request = {0};
    struct in_addr address, gateway;
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    *step = "the MAC";
    if (change_mac) {
        request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
        if (!parse_mac(net->mac, (unsigned char *)request.ifr_hwaddr.sa_data)) return errno = EINVAL, false;
        if (ioctl(fd, SIOCSIFHWADDR, &request) < 0) return false;
    }
    *step = "the MTU";
    if (net->mtu) {
        request.ifr_mtu = (int)net->mtu;
        if (ioctl(fd, SIOCSIFMTU, &request) < 0) return false;
    }
    *step = "the address";
    if (inet_aton(net->address, &address) == 0) return errno = EINVAL, false;
    put_address(&request.ifr_addr, address.s_addr);
    if (ioctl(fd, SIOCSIFADDR, &request) < 0) return false;
    *step = "the netmask";
    put_address(&request.ifr_netmask, net->prefix == 0 ? 0 : htonl(0xffffffffu << (32 - net->prefix)));
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0) return false;
    *step = "bringing it up";
    if (!set_flags(fd, name, IFF_UP | IFF_RUNNING)) return false;
    *step = "the gateway";
    if (!net->gateway) return true;
    if (inet_aton(net->gateway, &gateway) == 0) return errno = EINVAL, false;
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = (char *)name};
    put_address(&route.rt_dst, 0);
    put_address(&route.rt_genmask, 0);
    put_address(&route.rt_gateway, gateway.s_addr);
    return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST;
}

// Undoes it but for the MAC, which the next one changes.
void take_down_network(const struct net_spec *net) {
    struct ifreq request = {0};
    bool other = false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !find_interface(net->mac, request.ifr_name, &other)) return;
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags &= (short)~(IFF_UP | IFF_RUNNING);
        ioctl(fd, SIOCSIFFLAGS, &request);
    }
    put_address(&request.ifr_addr, 0);
    ioctl(fd, SIOCSIFADDR, &request);
    close(fd);
}

bool bring_up_network(const struct net_spec *net, char *wrong, size_t size) {
    char name[IFNAMSIZ] = "", path[TEXT_MAX];
    bool other = false;
    int64_t until = now_ms() + INTERFACE_WAIT_MS;
    while (!find_interface(net->mac, name, &other)) {
        if (now_ms() > until) {
            snprintf(wrong, size, "no network interface has the MAC %s", net->mac);
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    // The bridge learns at once where this address lives now.
    snprintf(path, sizeof path, "/proc/sys/net/ipv4/conf/%s/arp_notify", name);
    write_file(path, "1");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const char *step = "a socket";
    bool done = fd >= 0 && apply(fd, name, net, other, &step);
    if (!done) snprintf(wrong, size, "network interface %s: %s: %s", name, step, strerror(errno));
    if (fd >= 0) close(fd);
    return done;
}
