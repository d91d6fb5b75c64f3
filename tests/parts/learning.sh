#!/usr/bin/env bash
# Learning at the length that the quick run can't afford: runs and verdicts cut at every look, swaps
# under way, and what an adapter remembers of a secret.
# needs: build
# touches: Cargo kernels models runtime tests/tests tests/src tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

for target in loop memorization; do run_tests tests $target --ignored; done
