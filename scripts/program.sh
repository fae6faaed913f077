# Berth's own sources and libraries in few files (.berth/program), which start in half the time: made once, and again
# when a source or a library has changed. Sourced after toolchain.sh.
# Invariant: a pack that is older than anything it was made of is never run; then the sources are.

PROGRAM_DIR=$BERTH_TOOLS/program

# program_is_fresh: some milliseconds. A file that went away made its directory younger.
program_is_fresh() {
  [ -f "$PROGRAM_DIR/key" ] &&
    [ -z "$(cd "$BERTH_ROOT" && find src package-lock.json scripts/pack-program.ts -path src/web -prune -o -newer "$PROGRAM_DIR/key" -print -quit)" ]
}

# bring_program: the sources run without it, so one that can't be made only warns.
bring_program() {
  [ -d "$BERTH_ROOT/node_modules/rolldown" ] && [ -w "$BERTH_ROOT" ] || return 0
  program_is_fresh && return 0
  mkdir -p "$BERTH_TOOLS"
  (
    flock 9
    program_is_fresh || "$NODE_BIN" --disable-warning=ExperimentalWarning "$BERTH_ROOT/scripts/pack-program.ts" >&2
  ) 9>"$BERTH_TOOLS/program.lock" ||
    printf '%s\n' "${_red}!${_off} The program could not be packed (see above); it runs from its sources, which start more slowly." >&2
}

# program_main NAME: the file to run, `cli` or `server`.
program_main() {
  if program_is_fresh; then printf '%s\n' "$PROGRAM_DIR/$1.mjs"; else printf '%s\n' "$BERTH_ROOT/src/$1/main.ts"; fi
}
