#!/usr/bin/env bash
# Brings what running microVMs needs on a Debian or Ubuntu machine: the distribution's packages, the
# guest kernel (downloaded and unpacked, not installed), the guest's agent and its initramfs.
# Usage: scripts/setup.sh [--tests]     --tests: also what only the tests use.
# Does nothing that is already done. Each failure is one sentence that says what to do.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"

# command:package
NEEDED="qemu-system-x86_64:qemu-system-x86 skopeo:skopeo umoci:umoci mkfs.erofs:erofs-utils mke2fs:e2fsprogs
nft:nftables ip:iproute2 tc:iproute2 gcc:gcc readelf:binutils musl-gcc:musl-tools busybox:busybox-static dpkg-deb:dpkg flock:util-linux tar:tar
ganesha.nfsd:nfs-ganesha ganesha.nfsd:nfs-ganesha-vfs mount:mount"
# What these packages bring besides, and what would serve the whole network from the next start of the machine on.
UNWANTED_SERVICES="nfs-ganesha.service nfs-ganesha-lock.service rpcbind.service rpcbind.socket nfs-client.target"
FOR_TESTS="docker-registry:docker-registry openssl:openssl python3:python3 git:git script:bsdutils ssh:openssh-client chromium:chromium"

missing_packages() {
  local pair
  for pair in $*; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s\n' "${pair##*:}"
  done
  # A dynamic busybox would not run in a guest.
  if command -v busybox >/dev/null 2>&1 && ! dpkg-query -W -f='${Status}' busybox-static 2>/dev/null | grep -q 'ok installed'; then
    printf 'busybox-static\n'
  fi
}

install_packages() {
  local wanted
  wanted=$(missing_packages "$NEEDED" "${1:-}" | sort -u | tr '\n' ' ')
  if [ -z "${wanted// /}" ]; then
    done_ "System packages"
    return
  fi
  command -v apt-get >/dev/null 2>&1 ||
    die "These packages are missing and this machine has no apt-get: install their like with your package manager: $wanted"
  say "Installing with apt-get: $wanted"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 ||
    die "apt-get update failed: check the machine's package sources, then run this again."
  # A package's own service would take a port or a name that is not ours to take.
  hold_services "$wanted"
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $wanted >&2 ||
    die "apt-get could not install: $wanted; read its message above, mend that, then run this again."
  release_services
  done_ "System packages ($wanted)"
}

# Keeps what is being installed from being started, now and later; what was there before is left as it is.
HELD=''
hold_services() {
  local unit
  case " $1 " in *' nfs-ganesha '*) ;; *) return 0 ;; esac
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  command -v systemctl >/dev/null 2>&1 || return 0
  for unit in $UNWANTED_SERVICES; do
    if [ ! -e "/lib/systemd/system/$unit" ]; then HELD="$HELD $unit"; fi
  done
}

release_services() {
  # shellcheck disable=SC2086
  if [ -n "$HELD" ]; then as_root systemctl disable -q $HELD 2>/dev/null || true; fi
}

main() {
  case "$(uname -m)" in
    x86_64) ;;
    *) die "Berth runs on x86_64 machines; this one is $(uname -m)." ;;
  esac
  local extra=''
  [ "${1:-}" = --tests ] && extra=$FOR_TESTS
  install_packages "$extra"
  "$BERTH_ROOT/guest/build.sh" "$BERTH_TOOLS/guest"
  done_ "Guest kernel, agent and initramfs"
}

main "$@"
