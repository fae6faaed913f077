# Which sources a guest is built from, as one key. Sourced by build.sh and the launcher.
# src/host/qemu/guest-build.ts makes the same key of the same files, and a server compares it with its guest's.

# guest_sources_key DIR: of every file in guest/ that a build depends on.
guest_sources_key() {
  (cd "$1" && LC_ALL=C && export LC_ALL && printf '%s\n' MODULES build.sh sources.sh *.[ch] host/*.c ssh/*.c | sort | xargs sha256sum | sha256sum | cut -c1-24)
}
