#!/usr/bin/env bash
# Fuzzes the agent's frame reader and message decoding with libFuzzer, from the seeds in fuzz/seeds and with
# a fixed random seed. Usage: fuzz/agent-frames.sh [SECONDS]      (60; 77 is the status of a skip)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
if ! command -v clang >/dev/null; then
  echo 'fuzz: skipped: clang is not installed (apt-get install clang)'
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clang -g -O1 -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
  -Iguest -o "$work/agent-frames" fuzz/agent-frames.c guest/frame.c guest/tlv.c guest/message.c
mkdir "$work/corpus"
cp fuzz/seeds/* "$work/corpus/"
cd "$work"
./agent-frames -seed=1 -max_total_time="$seconds" -max_len=8192 -print_final_stats=1 -verbosity=0 corpus
echo "fuzz: the agent's frames held for $seconds s"
