#!/usr/bin/env bash
# Formatting, clippy's remarks, shell scripts.
# needs: build packages
# touches: Cargo kernels models runtime bindings tests ios android .ci
. "$(dirname "$0")/common.sh"

check "formatted (cargo fmt --check)" cargo fmt --all --check
for workspace in peers beside; do
  check "$workspace formatted" cargo fmt --manifest-path "tests/$workspace/Cargo.toml" --check
done
build "no warnings (cargo clippy)" cargo clippy --quiet --workspace --locked \
  --manifest-path "$checkout/Cargo.toml" --all-targets --features sapwood-kernels/gpu,sapwood-tests/gpu,sapwood-ffi/faults -- -D warnings
if install shellcheck; then
  check "shell scripts (shellcheck)" shellcheck -x -P tests/parts tests/run tests/coverage .ci/run \
    ios/build.sh android/build.sh tests/cross/{chroot,library,link-android,mobile} tests/size \
    tests/peers/vulkan-sdk tests/parts/*.sh
else
  missing "shellcheck could not be installed"
fi
# Whoever does not ask for the GPU gets no code of it, and none of its size.
without_wgpu() {
  local tree
  tree=$(cargo tree --locked -p sapwood-ffi -e normal) && ! grep -q wgpu <<<"$tree"
}
check "without the feature there is no wgpu" without_wgpu
