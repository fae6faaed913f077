#!/bin/sh
# Becomes the NFS server of one file system; runs in a mount namespace of its own.
# Usage: server.sh DIR EPOCH
#   DIR has data.ext4 and ganesha.conf; EPOCH is a number that no other server uses.
#
# The server sees a root in memory that holds its own program and libraries (some 10 MB), the file system at /data, and
# nothing of the host: not even a file that is open. So a handle, whoever made it up, leads to nothing else. All of it
# is in this namespace alone, and the loop device lets go with the last of it: it ends with the server, however that
# ends. Of root's rights the server keeps those over files and owners.
set -eu
dir=$1
epoch=$2
root=$dir/root
plugins=''
for place in /usr/lib/x86_64-linux-gnu/ganesha /usr/lib/aarch64-linux-gnu/ganesha /usr/lib64/ganesha /usr/lib/ganesha; do
  if [ -e "$place/libfsalvfs.so" ]; then plugins=$place/libfsalvfs.so; fi
done
[ -n "$plugins" ] || { echo 'libfsalvfs.so is missing: install the package nfs-ganesha-vfs' >&2; exit 1; }
# Loaded by name while it runs.
mappers=$(find /usr/lib/*/libnfsidmap /usr/lib*/libnfsidmap -name '*.so' 2>/dev/null | sort -u || true)
ganesha=$(command -v ganesha.nfsd)
setpriv=$(command -v setpriv)

mkdir -p "$root"
mount -t tmpfs -o size=64m,mode=755,nosuid,nodev none "$root"
mkdir -p "$root/data" "$root/etc" "$root/run/state" "$root/tmp" "$root/host"
libraries=$(ldd "$ganesha" "$setpriv" "$plugins" $mappers | grep -o '/[^ ]*' | grep -v ':$' | sort -u)
for file in "$ganesha" "$setpriv" "$plugins" $mappers $libraries /etc/netconfig /etc/ld.so.cache; do
  mkdir -p "$root${file%/*}"
  cp -L "$file" "$root$file"
done
cp "$(command -v busybox)" "$root/busybox"
cp "$dir/ganesha.conf" "$root/etc/ganesha.conf"
printf 'root:x:0:0::/:/none\nnobody:x:65534:65534::/:/none\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
: > "$root/run/empty"
exec <"$root/run/empty"
mount -o loop,noatime,nosuid,nodev,noexec "$dir/data.ext4" "$root/data"
# A fresh file system belongs to whoever comes first; what mke2fs left in it is nobody's business.
if [ -d "$root/data/lost+found" ]; then rmdir "$root/data/lost+found" && chmod 1777 "$root/data"; fi

# There is no /proc in there that would tell it.
grep " $root/data " /proc/self/mounts | sed "s| $root/data | /data |" > "$root/etc/mtab"

cd "$root"
pivot_root . host
caps=+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+mknod,+setuid,+setgid,+setfcap,+sys_resource,+lease
exec /busybox sh -c '
  /busybox umount -l /host || exit 1
  exec >/run/output 2>&1 10>&-
  exec "$1" --no-new-privs --inh-caps=-all --bounding-set="-all,$2" -- \
    "$3" -F -N NIV_WARN -f /etc/ganesha.conf -L /run/log -p /run/pid -E "$4"
' sh "$setpriv" "$caps" "$ganesha" "$epoch"
