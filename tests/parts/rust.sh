#!/usr/bin/env bash
# The Rust tests of kernels, models and runtime, and the rules of the tree.
# needs: build packages
# touches: Cargo kernels models runtime bindings tests android ios README CONTRIBUTING ARCHITECTURE SECURITY docs
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

for target in sapwood_tests tidy graph generation gradient_peft hostile; do run_tests tests $target; done
for target in sapwood_models import memory; do run_tests models $target; done
run_tests runtime sapwood
for target in sapwood_kernels cache gradient memory parity shaders; do run_tests kernels $target; done
