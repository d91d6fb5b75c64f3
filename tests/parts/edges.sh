#!/usr/bin/env bash
# What others meet: the interface that other languages see, hostile files and callers that the fuzzer
# keeps or has found; and every interleaving of the swap.
# needs: build
# touches: Cargo kernels models runtime bindings tests/fuzz tests/loom tests/hostile tests/golden tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

run_tests tests api
run_tests ffi sapwood
run_tests fuzz replay
run_tests loom sapwood_loom
