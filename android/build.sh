#!/usr/bin/env bash
# Builds what Gradle can't: the native library and the Kotlin that is generated from it.
#
#   android/build.sh                all ABIs, for :library and :sample
#   android/build.sh arm64-v8a      one ABI, while you work
#   android/build.sh --no-model     without the built-in model, 4 MB less; more words are ABIs
#   android/build.sh jvm            for the tests of :core on this machine, with planted faults
#
# Android needs Rust's Android targets (rustup target add aarch64-linux-android
# x86_64-linux-android armv7-linux-androideabi), cargo-ndk 4 and the NDK, r28 or later, in
# ANDROID_NDK_HOME. Everything goes to library/generated or core/generated, which git ignores.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
workspace=(--manifest-path ../Cargo.toml)

# The interface of LANGUAGE (kotlin or android) into FOLDER. It is read from symbols that only an
# unstripped library has, so it comes from one that is built for this machine. More words go to cargo.
generate() {
  local built=$CARGO_TARGET_DIR/release
  cargo build "${workspace[@]}" --release -p sapwood-ffi "${@:3}"
  for library in "$built/libsapwood.so" "$built/libsapwood.dylib"; do
    [ -e "$library" ] && break
  done
  rm -rf "$2"
  mkdir -p "$2"
  cargo run "${workspace[@]}" --quiet -p sapwood-bindgen -- "$1" "$library" "$2/kotlin"
}

# Devices with pages of 16 KiB refuse to load what is laid out for smaller ones. bindings/ffi/build.rs
# asks the linker for it; this looks.
check_pages() {
  if "$1" --program-headers --wide "$2" | awk '$1 == "LOAD" && $NF != "0x4000" { exit 1 }'; then
    echo "$2: $(wc -c <"$2") bytes"
  else
    echo "$2: a segment is not aligned to 16 KiB" >&2
    exit 1
  fi
}

if [ "${1:-}" = jvm ]; then
  generate kotlin core/generated --features faults
  cp "$library" core/generated
  exit
fi

features=()
if [ "${1:-}" = --no-model ]; then
  features=(--no-default-features)
  shift
fi
abis=("$@")
[ ${#abis[@]} -gt 0 ] || abis=(arm64-v8a x86_64 armeabi-v7a)
: "${ANDROID_NDK_HOME:?has to name the folder of the NDK}"
tools=$(echo "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin)
generate android library/generated

targets=()
for abi in "${abis[@]}"; do targets+=(--target "$abi"); done
cargo ndk "${targets[@]}" --platform 26 --output-dir "$PWD/library/generated/jniLibs" \
  build "${workspace[@]}" -p sapwood-ffi --profile mobile ${features[@]+"${features[@]}"}
for abi in "${abis[@]}"; do
  library=library/generated/jniLibs/$abi/libsapwood.so
  "$tools/llvm-strip" --strip-unneeded "$library"
  check_pages "$tools/llvm-readelf" "$library"
done
