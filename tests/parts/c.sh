#!/usr/bin/env bash
# The loop in C: with both compilers, and with gcc's sanitizers for address, leaks and undefined
# behaviour on the static library; then the example, built as its Makefile says.
# needs: build packages
# touches: Cargo kernels models runtime bindings/ffi bindings/c tests/c
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/languages.sh"

gateway() {
  local answer id
  answer=$(echo 'ask Triage: I want my money back' |
    "$cache/c/build/gateway" "$cache/c/gateway" "$cache/c/key")
  id=$(sed -n 's/^= \([0-9a-f]*\) base$/\1/p' <<<"$answer")
  [ -n "$id" ] || { echo "$answer"; return 1; }
  answer=$(printf 'edit %s refunds\ntrain 1\nrollback\nadapters\nquit\n' "$id" |
    "$cache/c/build/gateway-static" "$cache/c/gateway" "$cache/c/key")
  grep -q '^= wait: ' <<<"$answer" && grep -q '^! rollback: no adapter' <<<"$answer"
}

work=$cache/c
flags=(-std=c11 -g -Wall -Wextra -Werror -Ibindings/c/include tests/c/*.c)
install gcc clang libclang-rt-14-dev make pkg-config || true
check "an adapter to load" adapter || exit 1
rm -rf "$work"
mkdir -p "$work"
for cc in gcc clang; do
  if ! command -v $cc >/dev/null; then
    missing "there is no $cc"
    continue
  fi
  check "C compiles ($cc, shared library)" \
    $cc "${flags[@]}" -L"$built" -lsapwood -Wl,-rpath,"$built" -o "$work/loop-$cc"
  check "the loop in C ($cc)" "$work/loop-$cc" "$work/store-$cc" "$ADAPTER"
done
check "C compiles (gcc, static library, sanitizers)" gcc "${flags[@]}" \
  -fsanitize=address,undefined "$built/libsapwood.a" -lm -lpthread -ldl -o "$work/loop-asan"
# Without Vulkan: Mesa's layers leave 128 bytes behind each time that they are loaded.
check "the loop in C (address and leak sanitizer)" env VK_ICD_FILENAMES=/none VK_DRIVER_FILES=/none \
  "$work/loop-asan" "$work/store-asan" "$ADAPTER"
check "the header is C++ too" g++ -fsyntax-only -Wall -Wextra -Werror -x c++ bindings/c/include/sapwood.h
check "the gateway builds and installs" make -s -C bindings/c install BUILD="$work/build" \
  PREFIX="$work/prefix"
head -c 32 /dev/urandom >"$work/key"
check "the gateway answers and learns" gateway
