#!/usr/bin/env bash
# The command, built as the README says.
# touches: Cargo kernels models runtime bindings/cli
. "$(dirname "$0")/common.sh"

build "cargo build --release" env CARGO_TARGET_DIR="$cache/target-release" \
  cargo build --manifest-path "$checkout/Cargo.toml" --release --locked --quiet -p sapwood-cli
