# The dashboard's files: built once into .berth/web, and again only when what they are made of has changed.
# Sourced after toolchain.sh. Invariant: a second start costs a hash of the sources (some 10 ms) and nothing else.

# web_key: what the build is made of.
web_key() {
  (cd "$BERTH_ROOT" && find src/web scripts/build-web.ts package-lock.json -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
}

# bring_web: a server without the dashboard serves all the rest, so a build that fails only warns.
bring_web() {
  local key stamp=$BERTH_TOOLS/web.key begun
  [ -x "$BERTH_ROOT/node_modules/.bin/vite" ] || return 0
  key=$(web_key)
  [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && [ -f "$BERTH_TOOLS/web/index.html" ] && return 0
  mkdir -p "$BERTH_TOOLS"
  (
    flock 9
    [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && [ -f "$BERTH_TOOLS/web/index.html" ] && exit 0
    say "Building the dashboard (once; a few seconds)"
    begun=$(date +%s%N)
    "$NODE_BIN" --disable-warning=ExperimentalWarning "$BERTH_ROOT/scripts/build-web.ts" >&2 || exit 1
    printf '%s\n' "$key" >"$stamp"
    done_ "Dashboard ($((($(date +%s%N) - begun) / 1000000)) ms)"
  ) 9>"$BERTH_TOOLS/web.lock" ||
    printf '%s\n' "${_red}!${_off} The dashboard could not be built (see above); everything else works without it." >&2
}
