#!/usr/bin/env bash
# The Rust tests of each crate, of the command and of the tree's rules; what the fuzzer found before.
# needs: build packages
# touches: Cargo kernels models runtime bindings tests README CONTRIBUTING ARCHITECTURE docs
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

run_tests tests tidy
for target in sapwood_models import memory; do run_tests models $target; done
run_tests runtime sapwood
for target in sapwood_kernels cache gradient memory parity shaders; do run_tests kernels $target; done
for target in sapwood_tests api cli generation gradient_peft hostile; do run_tests tests $target; done
run_tests cli sapwood
run_tests ffi sapwood
run_tests loom sapwood_loom
run_tests fuzz replay
