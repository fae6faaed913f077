#!/bin/sh
# Becomes the NFS server of one file system; runs in a mount namespace of its own.
# Usage: server.sh DIR EPOCH
#   DIR has data.ext4 and ganesha.conf, and gets data/ (where the file system is mounted) and state/; EPOCH is a
#   number that no other server uses.
#
# The mount is in this namespace alone, and the loop device lets go with the last of it: both end with the server,
# however it ends. Of root's rights the server keeps those over files and owners.
set -eu
dir=$1
mkdir -p "$dir/data" "$dir/state"
mount -o loop,noatime,nosuid,nodev,noexec "$dir/data.ext4" "$dir/data"
# A fresh file system belongs to whoever comes first; what mke2fs left in it is nobody's business.
if [ -d "$dir/data/lost+found" ]; then rmdir "$dir/data/lost+found" && chmod 1777 "$dir/data"; fi
caps=+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+mknod,+setuid,+setgid,+setfcap,+sys_resource,+lease
exec setpriv --no-new-privs --inh-caps=-all --bounding-set="-all,$caps" -- \
  ganesha.nfsd -F -N NIV_WARN -f "$dir/ganesha.conf" -L STDOUT -p "$dir/state/pid" -E "$2"
