#!/usr/bin/env bash
# The loop as its user sees it, through the command of the README alone, with the bars that it must
# reach: one simulated user, five with --soak.
# needs: build release
# touches: Cargo kernels models runtime bindings/cli tests/tests/demo.rs
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

built=$cache/target-release/release
seeds=1
[ "$soak" = 0 ] || seeds="1 2 3 11 12"
SAPWOOD_DEMO_SEEDS=$seeds run_tests tests demo --ignored
