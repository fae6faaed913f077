#!/usr/bin/env bash
# `npm test`: set-up from a bare clone, then types, lint with the import rules, and every test.
# Usage: npm test [-- FILE…]   With files, only those run (types and lint are skipped).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/toolchain.sh"
cd "$BERTH_ROOT"
bring_toolchain
scripts/setup.sh --tests
. scripts/web.sh
bring_web

files=("$@")
if [ ${#files[@]} = 0 ]; then
  say "Types"
  node_modules/.bin/tsc -p .
  node_modules/.bin/tsc -p src/web
  say "Lint and import rules"
  node_modules/.bin/oxlint --type-aware --quiet
  mapfile -t files < <(git ls-files 'src/**/*.test.ts' 'test/**/*.test.ts' 'test/*.test.ts' 'guest/**/*.test.ts' | sort -u)
fi
say "${#files[@]} test files"
# Two at a time: most of a test on a real VM is waiting for an emulated CPU, and two is what a small machine has.
exec "$NODE_BIN" --test --test-reporter=spec --test-concurrency="${BERTH_TEST_CONCURRENCY:-2}" --test-timeout=600000 "${files[@]}"
