#!/usr/bin/env bash
# The GPU device, on a GPU if there is one, else on Mesa's software Vulkan: models, faults, fused
# decoding, products; then the kernels as other devices compute them.
# needs: build packages
# touches: Cargo kernels models runtime tests/tests/gpu tests/src tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

install libvulkan1 mesa-vulkan-drivers libegl1 libgl1-mesa-dri ||
  missing "software Vulkan and OpenGL could not be installed"
# `rust` has run the rest of the kernels' programs, on this GPU too.
for target in buffers gpu decode products faults; do run_tests kernels $target; done
run_tests tests gpu
