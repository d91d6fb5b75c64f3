#!/usr/bin/env bash
# The library for phones, which can be built here but not run; what the shared library exports; and
# how large it is. Without the built-in model, which adds four megabytes and no code; with it, and
# linked as iOS has it, with --soak.
# needs: debian
# touches: Cargo kernels models runtime bindings/ffi tests/cross tests/size tests/parts
. "$(dirname "$0")/common.sh"

# Darwin's headers, as the Zig compiler brings them: what Debian has none of.
darwin_headers() {
  local folder=$1 version=0.16.0 work=$cache/ziglang
  [ ! -e "$folder/TargetConditionals.h" ] || return 0
  rm -rf "$work" "$folder"
  python3 -m pip download -q --no-deps -d "$work" "ziglang==$version" >"$log" 2>&1 || return
  python3 - "$work" "$folder" <<'END' >"$log" 2>&1 || return
import pathlib, sys, zipfile
work, folder = map(pathlib.Path, sys.argv[1:])
prefix = "ziglang/lib/libc/include/any-darwin-any/"
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    for name in wheel.namelist():
        if name.startswith(prefix) and not name.endswith("/"):
            file = folder / name.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(wheel.read(name))
END
  rm -rf "$work"
}

target=$cache/mobile-target
mkdir -p "$target"
enter=(tests/cross/chroot enter "$cache/debian" "$target")
if ! "${enter[@]}" true; then
  missing "there is no Debian with compilers for phones: making it needs root and mmdebstrap"
  exit 1
fi
# android MODEL LIMIT_BYTES FEATURES…: builds, looks at the exports, and measures.
android() {
  local model=$1 limit=$2 library=aarch64-linux-android/mobile/libsapwood.so size
  shift 2
  build "Android, $model" "${enter[@]}" tests/cross/mobile android "$@" || return 1
  check "its exports, its name and pages of 16 KiB" "${enter[@]}" \
    env NM=llvm-nm-22 READELF=llvm-readelf-22 tests/cross/library "/target/$library" 16384
  "${enter[@]}" llvm-strip-22 --strip-unneeded -o /target/stripped "/target/$library"
  size=$(stat -c %s "$target/stripped")
  echo "    MEASURED: stripped for aarch64-linux-android, $model: $((size / 1000)) kB"
  check "at most $((limit / 1000)) kB" [ "$size" -le "$limit" ]
}

[ "$soak" = 0 ] || android "with the built-in model" 8200000
android "without the built-in model" 4000000 --no-default-features || exit 1
check "at most 150 kB of them storage and cryptography" "${enter[@]}" \
  env NM=llvm-nm-22 tests/size /target/aarch64-linux-android/mobile/libsapwood.so 150000
if ! darwin_headers "$target/iPhoneOS.sdk/usr/include"; then
  tail -5 "$log"
  missing "iOS needs Darwin's headers from PyPI's ziglang, which could not be had"
  exit 1
fi
profile=plain
[ "$soak" = 0 ] || profile=mobile
build "iOS, static library" "${enter[@]}" tests/cross/mobile ios $profile || exit 1
check "it has the C interface" "${enter[@]}" bash -euc "
  llvm-nm-22 --defined-only /target/aarch64-apple-ios/$profile/libsapwood.a 2>/dev/null >/target/names
  grep -q ' T _sapwood_abi_version$' /target/names"
