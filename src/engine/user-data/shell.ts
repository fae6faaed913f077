/** Text for a POSIX shell, and what the script of a first boot says in it. Nothing here needs more than `sh`. */

/** One word, whatever it holds. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

export function line(...words: readonly string[]): string {
  return words.map(word => quoted(word)).join(' ')
}

/**
 * What the lines of the script call. `step` goes on after a failure and remembers it; the others make up for what
 * images lack: users are made by useradd, or by busybox's adduser, or else as lines of /etc/passwd and /etc/group.
 */
export const PRELUDE = `#!/bin/sh
# Made by Berth from the instance's user data; it runs once, at the first start.
export HOME=/root LC_ALL=C
cd /
failed=0
tell() { printf 'berth: user data: %s\\n' "$*" >&2; }
step() {
  "$@" && return 0
  code=$?
  failed=$code
  tell "$1 ended with exit code $code"
}
has() { command -v "$1" >/dev/null 2>&1; }
# field USER NUMBER: a field of the user's line in /etc/passwd
field() {
  while IFS=: read -r name _ uid gid _ home _; do
    if [ "$name" = "$1" ]; then
      case $2 in 3) echo "$uid" ;; 4) echo "$gid" ;; 6) echo "$home" ;; esac
      return 0
    fi
  done </etc/passwd
  return 1
}
# write_owner FILE OWNER, once users are there
write_owner() { chown "$2" "$1"; }
append_file() { mkdir -p "\${2%/*}/" && cat "$1" >>"$2" && chmod "$3" "$2"; }
install_file() { mkdir -p "\${2%/*}/" && mv -f "$1" "$2"; }
set_hostname() { echo "$1" >/etc/hostname && echo "$1" >/proc/sys/kernel/hostname; }
add_group() {
  while IFS=: read -r name _; do [ "$name" != "$1" ] || return 0; done </etc/group
  if has groupadd; then groupadd "$1"; elif has addgroup; then addgroup "$1"; else echo "$1:x:$(free_id /etc/group):" >>/etc/group; fi
}
# free_id FILE: the next number for a user or group
free_id() {
  next=1000
  while IFS=: read -r _ _ id _; do if [ "$id" -ge "$next" ] && [ "$id" -lt 60000 ]; then next=$((id + 1)); fi; done <"$1"
  echo "$next"
}
join_group() {
  add_group "$2" || return 1
  if has usermod; then usermod -aG "$2" "$1"; return; fi
  if has addgroup; then addgroup "$1" "$2"; return; fi
  while IFS=: read -r name password id members; do
    if [ "$name" = "$2" ]; then members="\${members:+$members,}$1"; fi
    echo "$name:$password:$id:$members"
  done </etc/group >/etc/group.new && mv /etc/group.new /etc/group
}
# add_user NAME UID GECOS HOME SHELL GROUP SYSTEM MAKE_HOME; empty is the default
add_user() {
  field "$1" 3 >/dev/null && return 0
  user=$1 uid=$2 gecos=$3 home=$4 shell=$5 group=$6 system=$7 make_home=$8
  if [ -z "$shell" ]; then if [ -x /bin/bash ]; then shell=/bin/bash; else shell=/bin/sh; fi; fi
  [ -z "$group" ] || add_group "$group" || return 1
  if has useradd; then
    set -- -s "$shell"
    [ -z "$uid" ] || set -- "$@" -u "$uid"
    [ -z "$gecos" ] || set -- "$@" -c "$gecos"
    [ -z "$home" ] || set -- "$@" -d "$home"
    [ -z "$group" ] || set -- "$@" -g "$group"
    [ -z "$system" ] || set -- "$@" -r
    if [ -n "$make_home" ]; then set -- "$@" -m; else set -- "$@" -M; fi
    useradd "$@" "$user"
  elif has adduser; then
    set -- -D -s "$shell"
    [ -z "$uid" ] || set -- "$@" -u "$uid"
    [ -z "$gecos" ] || set -- "$@" -g "$gecos"
    [ -z "$home" ] || set -- "$@" -h "$home"
    [ -z "$group" ] || set -- "$@" -G "$group"
    [ -z "$system" ] || set -- "$@" -S
    [ -n "$make_home" ] || set -- "$@" -H
    adduser "$@" "$user"
  else
    [ -n "$group" ] || { group=$user; add_group "$user"; }
    while IFS=: read -r name _ id _; do [ "$name" != "$group" ] || gid=$id; done </etc/group
    : "\${uid:=$(free_id /etc/passwd)}" "\${home:=/home/$user}"
    echo "$user:x:$uid:$gid:$gecos:$home:$shell" >>/etc/passwd
    [ ! -e /etc/shadow ] || echo "$user:*:::::::" >>/etc/shadow
    [ -z "$make_home" ] || { mkdir -p "$home" && chown "$uid:$gid" "$home"; }
  fi
}
set_password() {
  if has usermod; then usermod -p "$2" "$1"; else printf '%s:%s\\n' "$1" "$2" | chpasswd -e; fi
}
allow_sudo() { mkdir -p /etc/sudoers.d && echo "$1 $2" >>/etc/sudoers.d/90-cloud-init-users && chmod 0440 /etc/sudoers.d/90-cloud-init-users; }
# allow_key USER KEY; without a user: ubuntu, or root where there is none
allow_key() {
  user=$1
  [ -n "$user" ] || { user=root; if field ubuntu 3 >/dev/null; then user=ubuntu; fi; }
  home=$(field "$user" 6) || { [ "$user" = root ] || return 1; home=/root; }
  mkdir -p "$home/.ssh" && printf '%s\\n' "$2" >>"$home/.ssh/authorized_keys" || return 1
  chmod 700 "$home/.ssh" && chmod 600 "$home/.ssh/authorized_keys" || return 1
  chown "$(field "$user" 3 || echo 0):$(field "$user" 4 || echo 0)" "$home/.ssh" "$home/.ssh/authorized_keys"
}
`

export const EPILOGUE = 'exit "$failed"\n'
