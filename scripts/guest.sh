# The guest that VMs boot, built anew after an update of its sources. Sourced after toolchain.sh.
# Invariants: a machine that was never set up is left alone (a server says what it wants); a kernel of one's own
# is never replaced by the distribution's. A fresh guest costs a hash of its sources (some 10 ms).

. "$BERTH_ROOT/guest/sources.sh"

# bring_guest: a server compares for itself and refuses a guest of other sources, so a build that fails only warns.
bring_guest() {
  local built=$BERTH_TOOLS/guest
  [ -z "${BERTH_GUEST_DIR:-}" ] && [ -f "$built/version" ] && [ -w "$built" ] || return 0
  ! grep -qx "sources=$(guest_sources_key "$BERTH_ROOT/guest")" "$built/version" || return 0
  case "${BERTH_KERNEL:-}$(cat "$built/kernel/key" 2>/dev/null)" in own\ *) return 0 ;; esac
  say "Building the guest anew: its sources have changed"
  "$BERTH_ROOT/guest/build.sh" "$built" >&2 ||
    printf '%s\n' "${_red}!${_off} The guest could not be built anew (see above)." >&2
}
