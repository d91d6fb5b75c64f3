#!/usr/bin/env bash
# What could lose a record, at the length that the quick run can't afford: every crash image of the
# simulated disk, rows of failures, two thousand kills (ten thousand with --soak).
# needs: build
# touches: Cargo kernels models runtime tests/tests tests/src tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

for target in crash kill; do run_tests tests $target --ignored --skip child; done
