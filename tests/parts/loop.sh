#!/usr/bin/env bash
# The loop through its public interface and through the command, on the built-in model: conversations,
# signals, training, swaps, forgetting; crashes and kills in a minute.
# needs: build
# touches: Cargo kernels models runtime bindings/cli tests/tests tests/src tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

for target in loop crash kill memorization cli; do run_tests tests $target; done
run_tests cli sapwood
