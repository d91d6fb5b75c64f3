#!/usr/bin/env bash
# Every kernel again, as other devices compute it: subgroups smaller and larger, none, and OpenGL.
# needs: build packages
# touches: Cargo kernels tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

install libvulkan1 mesa-vulkan-drivers libegl1 libgl1-mesa-dri ||
  missing "software Vulkan and OpenGL could not be installed"
# Mesa keeps compiled shaders, but not for which width: each width has a folder of its own.
for variant in "128 vulkan" "512 vulkan" "256 vulkan memory" "256 gl"; do
  width=${variant%% *} only=${variant#* }
  export LP_NATIVE_VECTOR_WIDTH=$width SAPWOOD_TEST_GPU=$only
  export MESA_SHADER_CACHE_DIR=$cache/mesa-$width
  echo "subgroups of $((width / 32)), $only:"
  for target in parity gradient gpu products decode; do
    run_tests kernels $target --skip computes_wrongly
  done
  # Buffers and faults are the back end's, not the subgroups'.
  [ "$only" != gl ] || for target in buffers faults; do run_tests kernels $target; done
done
