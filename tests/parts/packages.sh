#!/usr/bin/env bash
# What others wrote and the parts need: Debian's packages, crates, npm's and PyPI's. Fetched beside
# the first build, because it mostly waits. A part that misses something says so itself.
# cores: 0
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/languages.sh"

wants() { [[ " ${SAPWOOD_PARTS:-all} " == *" all "* || " ${SAPWOOD_PARTS:-all} " == *" $1 "* ]]; }
packages=()
wants lint && packages+=(shellcheck)
wants gpu && packages+=(libvulkan1 mesa-vulkan-drivers libegl1 libgl1-mesa-dri)
wants peers && packages+=(cmake clang libclang-dev)
wants c && packages+=(gcc clang libclang-rt-14-dev make pkg-config)
wants python && packages+=(python3-venv)
if wants kotlin || wants android; then
  packages+=(libjna-java junit4 aapt android-framework-res)
  command -v javac >/dev/null || packages+=(openjdk-17-jdk-headless)
  command -v npm >/dev/null || packages+=(npm)
fi
if wants debian; then packages+=(mmdebstrap); fi
install "${packages[@]}" || echo "Debian's packages could not be installed: the parts say what they miss"

for manifest in Cargo.toml tests/peers/Cargo.toml; do
  cargo fetch --quiet --locked --manifest-path "$manifest" || true
done
if wants kotlin || wants android; then
  npm_package kotlin-compiler $kotlin_version "$cache/kotlin/$kotlin_version" || true
fi
if wants android; then android_types || true; fi
