/*
 * Stands in for QEMU in tests of the network: opens a tap as an unprivileged user, and joins it to an
 * interface inside a network namespace, which then is the guest.
 *
 *   bridge ── TAP ══ this program ══ eth0 in NAMESPACE
 *
 * Usage: network-cable TAP UID NAMESPACE-FILE INTERFACE MAC     says "ready", then runs until stdin ends
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void fail(const char *what) {
  fprintf(stderr, "network-cable: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int open_tap(const char *name) {
  struct ifreq request = {0};
  int fd = open("/dev/net/tun", O_RDWR);
  if (fd < 0) fail("/dev/net/tun");
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(fd, TUNSETIFF, &request) < 0) fail(name);
  return fd;
}

static void set_mac(int tap, const char *mac) {
  struct ifreq request = {0};
  unsigned byte[6];
  if (sscanf(mac, "%x:%x:%x:%x:%x:%x", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4], &byte[5]) != 6) fail("MAC");
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  for (int i = 0; i < 6; i++) request.ifr_hwaddr.sa_data[i] = (char)byte[i];
  if (ioctl(tap, SIOCSIFHWADDR, &request) < 0) fail("set MAC");
}

static void carry(int from, int to) {
  static char frame[65536 + 64];
  ssize_t length = read(from, frame, sizeof frame);
  /* A full queue or an interface that is down loses frames, as a wire would. */
  if (length > 0 && write(to, frame, (size_t)length) < 0 && errno != EIO && errno != ENOBUFS && errno != EINVAL) fail("write");
  if (length < 0 && errno != EIO && errno != EAGAIN && errno != EBADFD) fail("read");
}

int main(int argc, char **argv) {
  if (argc != 6) return fprintf(stderr, "usage: network-cable TAP UID NAMESPACE-FILE INTERFACE MAC\n"), 2;
  if (seteuid((uid_t)atoi(argv[2])) < 0) fail("seteuid");
  int host = open_tap(argv[1]);
  if (seteuid(0) < 0) fail("seteuid back");

  int space = open(argv[3], O_RDONLY);
  if (space < 0) fail(argv[3]);
  if (setns(space, CLONE_NEWNET) < 0) fail("setns");
  int guest = open_tap(argv[4]);
  set_mac(guest, argv[5]);
  puts("ready");
  fflush(stdout);

  struct pollfd ends[3] = {{host, POLLIN, 0}, {guest, POLLIN, 0}, {0, POLLIN, 0}};
  for (;;) {
    if (poll(ends, 3, -1) < 0) fail("poll");
    if (ends[0].revents & POLLIN) carry(host, guest);
    else if (ends[0].revents) return 0; /* the tap was removed */
    if (ends[1].revents & POLLIN) carry(guest, host);
    if (ends[2].revents) return 0;
  }
}
