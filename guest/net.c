// The guest's network, by plain ioctl: no `ip` program, whatever the image holds.
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INTERFACE_WAIT_MS 5000
#define MAX_INTERFACES 16

// What is at hand before a template is made of the guest: a socket to ask by, and the number of its only card.
static int asking = -1, only_card;

static bool set_flags(int fd, const char *name, short flags) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return false;
    if ((request.ifr_flags & flags) == flags) return true;
    request.ifr_flags |= flags;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

// What interfaces that come shall be like. The host hears no IPv6 of a guest, and answering for it costs every guest.
void prepare_network(void) {
    write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    write_file("/proc/sys/net/ipv4/conf/default/arp_notify", "1");
}

bool bring_up_loopback(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd >= 0 && set_flags(fd, "lo", IFF_UP | IFF_RUNNING);
    if (fd >= 0) close(fd);
    return done;
}

static bool parse_mac(const char *text, unsigned char *mac) {
    return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6;
}

// The interface with this MAC; or else the only one there is. By number, since a walk through sysfs is long.
static bool find_interface(int fd, const char *mac, char *name) {
    unsigned char wanted[6];
    int count = 0, last = 0;
    struct ifreq known = {.ifr_ifindex = only_card};
    if (only_card > 0 && ioctl(fd, SIOCGIFNAME, &known) == 0) {
        memcpy(name, known.ifr_name, IFNAMSIZ);
        return true;
    }
    if (!parse_mac(mac, wanted)) memset(wanted, 0, sizeof wanted);
    for (int index = 1; index <= MAX_INTERFACES; index++) {
        struct ifreq request = {.ifr_ifindex = index};
        if (ioctl(fd, SIOCGIFNAME, &request) < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0) continue;
        if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) continue;
        bool found = memcmp(request.ifr_hwaddr.sa_data, wanted, sizeof wanted) == 0;
        if (found || count == 0) memcpy(name, request.ifr_name, IFNAMSIZ);
        if (found) return true;
        last = index;
        count++;
    }
    if (count == 1) only_card = last;
    return count == 1;
}

// Up, and silent as long as it has no address: a template's clones have that behind them.
void bring_up_card(void) {
    char name[IFNAMSIZ] = "";
    asking = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    // Where none is there yet, or more than one, CONFIGURE says which it is.
    if (asking >= 0 && find_interface(asking, "", name)) set_flags(asking, name, IFF_UP | IFF_RUNNING);
}

static void put_address(struct sockaddr *at, in_addr_t address) {
    struct sockaddr_in value = {.sin_family = AF_INET, .sin_addr.s_addr = address};
    memcpy(at, &value, sizeof value);
}

static bool set_mac(int fd, struct ifreq *request, const char *mac) {
    request->ifr_hwaddr.sa_family = ARPHRD_ETHER;
    if (!parse_mac(mac, (unsigned char *)request->ifr_hwaddr.sa_data)) return errno = EINVAL, false;
    return ioctl(fd, SIOCSIFHWADDR, request) == 0;
}

// The MAC behind the address: that it changes (or is set again) tells the network where the address lives now.
static bool apply(int fd, const char *name, const struct net_spec *net, const char **step) {
    struct ifreq request = {0};
    struct in_addr address, gateway;
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
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
    *step = "the MAC";
    if (!set_mac(fd, &request, net->mac)) return false;
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

// Undoes it but for the MAC, which the next one changes; the interface stays up.
void take_down_network(const struct net_spec *net) {
    struct ifreq request = {0};
    if (asking < 0 || !find_interface(asking, net->mac, request.ifr_name)) return;
    put_address(&request.ifr_addr, 0);
    ioctl(asking, SIOCSIFADDR, &request);
}

bool bring_up_network(const struct net_spec *net, char *wrong, size_t size) {
    char name[IFNAMSIZ] = "";
    const char *step = "a socket";
    int64_t until = now_ms() + INTERFACE_WAIT_MS;
    while (asking >= 0 && !find_interface(asking, net->mac, name)) {
        if (now_ms() > until) {
            snprintf(wrong, size, "no network interface has the MAC %s", net->mac);
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    bool done = asking >= 0 && apply(asking, name, net, &step);
    if (!done) snprintf(wrong, size, "network interface %s: %s: %s", name, step, strerror(errno));
    return done;
}
