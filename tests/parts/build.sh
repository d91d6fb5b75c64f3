#!/usr/bin/env bash
# All that is tested on this machine, built once, with one set of features: libraries, commands, test
# programs. No other part compiles them again.
# touches: Cargo kernels models runtime bindings tests
# cores: 0
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

features=sapwood-kernels/gpu,sapwood-tests/gpu,sapwood-ffi/faults
compile() {
  rm -f "$programs"
  cargo build --manifest-path "$checkout/Cargo.toml" --workspace --locked --quiet --timings \
    --lib --bins --tests --features "$features" --message-format=json-render-diagnostics \
    >"$log" || return 1
  list_programs <"$log" >"$programs"
  [ -s "$programs" ]
}
build "everything builds" compile
