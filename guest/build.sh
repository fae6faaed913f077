#!/usr/bin/env bash
# Builds what every microVM boots: the kernel, the agent (process 1) and the initramfs around it.
#
#   guest/build.sh [OUTDIR]          default: .berth/guest beside this folder
#
# OUTDIR gets:  vmlinuz  initramfs.gz  agent  version
#
# Only what changed is made again (each step is keyed by a hash of what goes into it), every file arrives
# by rename, and two builds at once wait for each other.
#
#   BERTH_KERNEL=FILE            a bzImage of one's own instead of the distribution's cloud kernel
#   BERTH_KERNEL_MODULES=DIR     the directory with its .ko files (none needed if all is built in)
#   BERTH_KERNEL_UPDATE=1        look for a newer kernel package even if one is there
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/sources.sh"
out=${1:-$here/../.berth/guest}
mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9
# Before anything is read: what changes meanwhile is not in this build.
made_of=$(guest_sources_key "$here")

say() { printf 'guest: %s\n' "$*"; }
die() { printf 'guest: %s\n' "$*" >&2; exit 1; }
hash_of() { sha256sum "$@" | sha256sum | cut -c1-24; }
need() { command -v "$1" >/dev/null || die "$1 is missing: install the package $2"; }

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# --- the kernel -----------------------------------------------------------------------------------------

# Where a module's file is in a tree, whatever its compression; empty if there is none.
module_file() { find "$1" -name "$2.ko" -o -name "$2.ko.xz" -o -name "$2.ko.zst" -o -name "$2.ko.gz" 2>/dev/null | head -n 1; }

unpack_module() {
  case $1 in
    *.xz) need xz xz-utils; xz -dc "$1" ;;
    *.zst) need zstd zstd; zstd -dqc "$1" ;;
    *.gz) gzip -dc "$1" ;;
    *) cat "$1" ;;
  esac
}

# take_module TREE NAME DEST [PACKED]: copies a module and what it depends on, dependencies first, into DEST/order;
# not what is in PACKED already.
take_module() {
  local tree=$1 name=$2 dest=$3 packed=${4:-$3} file depends dep
  if [ -e "$dest/$name.ko" ] || [ -e "$packed/$name.ko" ]; then return 0; fi
  # File names may spell _ as -.
  file=$(module_file "$tree" "$name")
  [ -n "$file" ] || file=$(module_file "$tree" "${name//_/-}")
  [ -n "$file" ] || return 0
  unpack_module "$file" > "$dest/$name.ko"
  depends=$(grep -az '^depends=' "$dest/$name.ko" | tr -d '\0' | sed 's/^depends=//')
  for dep in ${depends//,/ }; do take_module "$tree" "$dep" "$dest" "$packed"; done
  echo "$name" >> "$dest/order"
}

collect_modules() {
  local tree=$1 dest=$2 sent=$3 line name
  mkdir -p "$dest" "$sent"
  : > "$dest/order"
  : > "$sent/order"
  while read -r line; do
    case $line in
      ''|'#'*) continue ;;
      'sent '*) take_module "$tree" "${line#sent }" "$sent" "$dest"; continue ;;
    esac
    name=${line#late }
    take_module "$tree" "$name" "$dest"
    if [ "$name" != "$line" ]; then sed -i "/^$name\$/d" "$dest/order"; fi
  done < "$here/MODULES"
}

publish_kernel() {
  local image=$1 tree=$2 label=$3 key=$4
  mkdir -p "$work/kernel/modules"
  cp "$image" "$work/kernel/vmlinuz"
  collect_modules "$tree" "$work/kernel/modules" "$work/kernel/sent"
  printf '%s\n' "$label" > "$work/kernel/version"
  printf '%s\n' "$key" > "$work/kernel/key"
  rm -rf "$out/.kernel.old"
  if [ -e "$out/kernel" ]; then mv "$out/kernel" "$out/.kernel.old"; fi
  mv "$work/kernel" "$out/kernel"
  rm -rf "$out/.kernel.old"
  say "kernel: $label, $(wc -l < "$out/kernel/modules/order") modules"
}

newest_package() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: *\(linux-image-[0-9][^ ]*-cloud-amd64\)$/\1/p' | sort -V | tail -n 1
}

modules_key=$(hash_of "$here/MODULES" "$here/build.sh")
if [ -n "${BERTH_KERNEL:-}" ]; then
  [ -r "$BERTH_KERNEL" ] || die "BERTH_KERNEL=$BERTH_KERNEL can't be read"
  tree=${BERTH_KERNEL_MODULES:-$work/none}
  mkdir -p "$work/none"
  [ -d "$tree" ] || die "BERTH_KERNEL_MODULES=$tree is not a directory"
  key="own $(sha256sum < "$BERTH_KERNEL" | cut -c1-24) $tree $(stat -c %Y "$tree") $modules_key"
  if [ "$(cat "$out/kernel/key" 2>/dev/null)" = "$key" ]; then
    say "kernel: $(cat "$out/kernel/version") is up to date"
  else
    publish_kernel "$BERTH_KERNEL" "$tree" "$(basename "$BERTH_KERNEL")" "$key"
  fi
else
  have=$(cat "$out/kernel/key" 2>/dev/null || true)
  if [ "${have##* }" = "$modules_key" ] && [ "${have%% *}" = package ] && [ -z "${BERTH_KERNEL_UPDATE:-}" ]; then
    say "kernel: $(cat "$out/kernel/version") is up to date"
  else
    need apt-cache apt
    need dpkg-deb dpkg
    package=$(newest_package)
    if [ -z "$package" ] && [ "$(id -u)" = 0 ]; then
      say 'kernel: asking the package index'
      apt-get update -qq
      package=$(newest_package)
    fi
    [ -n "$package" ] || die 'no linux-image-cloud-amd64 in the package index: run apt-get update, or set BERTH_KERNEL'
    say "kernel: downloading $package"
    mkdir -p "$work/deb"
    chmod 755 "$work" "$work/deb"
    (cd "$work/deb" && apt-get download -qq "$package" 2>"$work/apt.log") ||
      die "the kernel package could not be downloaded: $(tail -n 1 "$work/apt.log")"
    dpkg-deb -x "$work"/deb/*.deb "$work/tree"
    image=$(find "$work/tree/boot" -name 'vmlinuz-*' | head -n 1)
    tree=$(find "$work/tree" -type d -path '*/lib/modules/*' -prune | head -n 1)
    version=$(basename "$work"/deb/*.deb .deb)
    publish_kernel "$image" "$tree" "${version#linux-image-}" "package $version $modules_key"
  fi
fi

# --- the agent ------------------------------------------------------------------------------------------

flags=(-std=gnu11 -Os -static -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -ffunction-sections
  -fdata-sections -fstack-protector-strong -D_GNU_SOURCE -Wl,--gc-sections -Wl,-z,noexecstack -s)
need musl-gcc musl-tools
sources_key=$(cd "$here" && { sha256sum ./*.c ./*.h; echo "${flags[*]}"; musl-gcc -dumpfullversion; } | sha256sum | cut -c1-24)
if [ "$(cat "$out/.agent.key" 2>/dev/null)" = "$sources_key" ] && [ -x "$out/agent" ]; then
  say 'agent: up to date'
else
  # musl's include path has no kernel headers; the distribution's go behind it, and only those.
  mkdir -p "$work/include"
  for name in linux asm-generic; do ln -s "/usr/include/$name" "$work/include/$name"; done
  for path in /usr/include/"$(gcc -dumpmachine)"/asm /usr/include/asm; do
    if [ -d "$path" ]; then ln -s "$path" "$work/include/asm"; break; fi
  done
  [ -e "$work/include/linux/random.h" ] || die 'the kernel headers are missing: install the package linux-libc-dev'
  musl-gcc "${flags[@]}" -DAGENT_VERSION="\"$sources_key\"" -idirafter "$work/include" -o "$work/agent" "$here"/*.c
  mv "$work/agent" "$out/agent"
  printf '%s\n' "$sources_key" > "$out/.agent.key"
  say "agent: built, $(stat -c %s "$out/agent") bytes"
fi

# --- the host's tools -----------------------------------------------------------------------------------

for tool in sealed-memory small-pages tsc-rate; do
  tool_key=$(cd "$here" && { sha256sum "host/$tool.c"; echo "${flags[*]}"; musl-gcc -dumpfullversion; } | sha256sum | cut -c1-24)
  if [ "$(cat "$out/.$tool.key" 2>/dev/null)" = "$tool_key" ] && [ -x "$out/$tool" ]; then
    say "$tool: up to date"
  else
    musl-gcc "${flags[@]}" -o "$work/$tool" "$here/host/$tool.c"
    mv "$work/$tool" "$out/$tool"
    printf '%s\n' "$tool_key" > "$out/.$tool.key"
    say "$tool: built"
  fi
done

# --- the SSH server -------------------------------------------------------------------------------------

# The distribution's dropbear and sftp-server with every library they need, downloaded and unpacked, not
# installed; they run by their own loader, whatever libc an image has. BERTH_SSH_UPDATE=1 looks for newer ones.
server_packages() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    dropbear-bin openssh-sftp-server 2>/dev/null | grep -E '^(dropbear-bin|openssh-sftp-server|lib[a-z0-9.+-]+|zlib1g[a-z0-9.+-]*)$' |
    grep -vE '^lib(gcc|debconf)' | LC_ALL=C sort -u
}

# take_program FILE NAME: a program and the libraries it needs.
take_program() {
  cp "$1" "$work/ssh/$2"
  take_libraries "$1"
}

take_libraries() {
  local name file
  for name in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'); do
    case $name in ld-linux*) continue ;; esac
    [ ! -e "$work/ssh/lib/$name" ] || continue
    file=$(find "$work/server" -name "$name" | head -n 1)
    [ -n "$file" ] || die "the SSH server needs $name, which is in none of its packages"
    cp -L "$file" "$work/ssh/lib/$name"
    take_libraries "$work/ssh/lib/$name"
  done
}

ssh_key=$(cd "$here" && { sha256sum ssh/*.c; echo "${flags[*]}"; musl-gcc -dumpfullversion; } | sha256sum | cut -c1-24)
if [ "$(cat "$out/.ssh.key" 2>/dev/null)" = "$ssh_key" ] && [ -x "$out/ssh/serve" ] && [ -z "${BERTH_SSH_UPDATE:-}" ]; then
  say "ssh: $(cat "$out/ssh.version") is up to date"
else
  need readelf binutils
  need apt-cache apt
  packages=$(server_packages)
  if ! grep -q '^dropbear-bin$' <<<"$packages" && [ "$(id -u)" = 0 ]; then
    say 'ssh: asking the package index'
    apt-get update -qq
    packages=$(server_packages)
  fi
  grep -q '^dropbear-bin$' <<<"$packages" || die 'no dropbear-bin in the package index: run apt-get update (on Ubuntu it is in universe)'
  say 'ssh: downloading dropbear-bin, openssh-sftp-server and their libraries'
  mkdir -p "$work/server-deb" "$work/server" "$work/ssh/lib"
  chmod 755 "$work" "$work/server-deb"
  # shellcheck disable=SC2086
  (cd "$work/server-deb" && apt-get download -qq $packages 2>"$work/apt.log") ||
    die "the packages of the SSH server could not be downloaded: $(tail -n 1 "$work/apt.log")"
  for file in "$work"/server-deb/*.deb; do dpkg-deb -x "$file" "$work/server"; done
  take_program "$work/server/usr/sbin/dropbear" dropbear
  take_program "$work/server/usr/bin/dropbearkey" dropbearkey
  take_program "$work/server/usr/lib/openssh/sftp-server" sftp-server
  cp -L "$(find "$work/server" -name 'ld-linux-x86-64.so.2' | head -n 1)" "$work/ssh/ld.so"
  musl-gcc "${flags[@]}" -o "$work/ssh/serve" "$here/ssh/serve.c"
  ln "$work/ssh/serve" "$work/ssh/sh"
  # No library and no start files: what it calls is the server's own libc's.
  musl-gcc -std=gnu11 -Os -Wall -Wextra -Werror -D_GNU_SOURCE -fPIC -fno-stack-protector -shared -nostdlib -Wl,-z,noexecstack -s \
    -o "$work/ssh/accounts.so" "$here/ssh/accounts.c"
  find "$work/ssh" -type d -exec chmod 755 {} +
  find "$work/ssh" -type f -exec chmod 755 {} +
  rm -rf "$out/ssh"
  mv "$work/ssh" "$out/ssh"
  basename "$(find "$work/server-deb" -name 'dropbear-bin_*')" .deb > "$out/ssh.version"
  printf '%s\n' "$ssh_key" > "$out/.ssh.key"
  say "ssh: $(cat "$out/ssh.version"), $(du -sk "$out/ssh" | cut -f1) KB"
fi

# --- the initramfs --------------------------------------------------------------------------------------

image_key=$(hash_of "$out/agent" "$out"/kernel/modules/* "$out"/ssh/lib/* $(find "$out/ssh" -maxdepth 1 -type f))
if [ "$(cat "$out/.initramfs.key" 2>/dev/null)" = "$image_key" ] && [ -s "$out/initramfs.gz" ]; then
  say 'initramfs: up to date'
else
  if command -v cpio >/dev/null; then pack=(cpio --quiet --reproducible -o -H newc -R 0:0)
  else need busybox busybox-static; pack=(busybox cpio -o -H newc -R 0:0); fi
  root=$work/root
  mkdir -p "$root"/{proc,sys,dev,modules,newroot}
  cp "$out/agent" "$root/init"
  cp "$out"/kernel/modules/* "$root/modules/"
  cp -a "$out/ssh" "$root/ssh"
  find "$root" -exec touch -h -d @0 {} +
  (cd "$root" && find . | LC_ALL=C sort | "${pack[@]}" 2>/dev/null) | gzip -9n > "$work/initramfs.gz"
  mv "$work/initramfs.gz" "$out/initramfs.gz"
  printf '%s\n' "$image_key" > "$out/.initramfs.key"
  say "initramfs: built, $(stat -c %s "$out/initramfs.gz") bytes"
fi

ln -sf kernel/vmlinuz "$out/vmlinuz"
printf 'kernel=%s\nagent=%s\nssh=%s\nsources=%s\n' "$(cat "$out/kernel/version")" "$sources_key" "$(cat "$out/ssh.version") $ssh_key" "$made_of" > "$work/version"
if ! cmp -s "$work/version" "$out/version"; then mv "$work/version" "$out/version"; fi
rm -rf "$work"
