#!/usr/bin/env bash
# The loop through its public interface, on the built-in model: conversations, signals, training,
# swaps, forgetting; crashes and kills in a minute.
# needs: build
# touches: Cargo kernels models runtime tests/tests tests/src tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

for target in loop crash kill memorization; do run_tests tests $target; done
