#!/usr/bin/env bash
# llama.cpp beside us: logits, tokens, texts, perplexities, adapters, files. Correctness alone, so it
# is built for any processor of this kind; tests/peers/bench builds it for this very one.
# needs: packages
# touches: Cargo kernels models runtime tests/peers tests/src tests/hostile tests/fuzz/corpus
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

if ! install cmake clang libclang-dev; then
  missing "peers need cmake, clang and libclang-dev, which could not be installed"
  exit 1
fi
# What is asked of llama.cpp here is small: its C++ needs no more than the first optimisations.
with=(env CARGO_TARGET_DIR="$cache/target-peers" CC=clang CXX=clang++ LLAMA_LIB_PROFILE=Release
  CMAKE_PROJECT_INCLUDE="$checkout/tests/peers/llama.cmake" CMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG")
words=()
cargo_tests "llama.cpp beside us" --manifest-path "$checkout/tests/peers/Cargo.toml"
