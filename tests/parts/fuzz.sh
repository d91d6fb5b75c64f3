#!/usr/bin/env bash
# With --soak alone: hostile files and callers, ten minutes for each target, with AddressSanitizer.
# What it finds lies in tests/fuzz/artifacts. What was found before, part edges runs every time.
# needs: build
. "$(dirname "$0")/common.sh"

# One target, from the corpus that is checked in and whatever earlier runs on this machine added.
fuzz() {
  local target=$1 grown=$cache/corpus/$1 dictionary=()
  mkdir -p "$grown"
  [ ! -e "tests/fuzz/dictionaries/$target.dict" ] ||
    dictionary=(-dict="dictionaries/$target.dict")
  # Sanitizers need a compiler that takes unstable options; the stable one does when told so. What
  # AddressSanitizer holds back to catch late uses counts as memory, so that is kept small.
  (cd tests/fuzz && RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$cache/target-fuzz \
    ASAN_OPTIONS=quarantine_size_mb=32 \
    cargo fuzz run --fuzz-dir . --debug-assertions --features libfuzzer --strip-dead-code=true \
    "$target" "$grown" "corpus/$target" -- "${dictionary[@]}" \
    -max_total_time="${SAPWOOD_FUZZ_SECONDS:-600}" \
    -rss_limit_mb=512 -malloc_limit_mb=128 -timeout=5 -max_len=16384) >"$log" 2>&1
  local status=$?
  grep -E '^stat::number_of_executed_units|^#[0-9]+.DONE|SUMMARY|panicked' "$log" | sed 's/^/    /'
  return "$status"
}

[ "$soak" = 1 ] || exit 0
if ! command -v cargo-fuzz >/dev/null && ! cargo install cargo-fuzz --locked >"$log" 2>&1; then
  missing "cargo-fuzz could not be installed"
  exit 1
fi
for target in tests/fuzz/targets/*.rs; do
  target=$(basename "$target" .rs)
  check "fuzzing $target for ${SAPWOOD_FUZZ_SECONDS:-600} seconds" fuzz "$target"
done
