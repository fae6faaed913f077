#!/usr/bin/env bash
# Runs a program over the dashboard of the present sources, so that nothing is measured or pictured of an older build.
# Usage: scripts/built.sh FILE [OPTION…]     (npm run bench, npm run pictures)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
cd "$BERTH_ROOT"
bring_toolchain
. scripts/web.sh
bring_web
exec "$NODE_BIN" "$@"
