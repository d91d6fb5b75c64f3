#!/usr/bin/env bash
# Makes what the Swift package needs of the library in Rust.
#
#   ios/build.sh                  SapwoodFFI.xcframework for iPhone and simulator, and its archive;
#                                 needs macOS with Xcode
#   ios/build.sh host [FOLDER]    a library for this machine, Linux or macOS, in the package; with
#                                 FOLDER in a copy of the package, which is made there
#
# SAPWOOD_BUILT names a folder with a library and a generator for this machine that were built
# before; then `host` builds nothing. SAPWOOD_PROFILE is cargo's profile (mobile for phones, release for a host), SAPWOOD_FEATURES
# names features of bindings/ffi, IPHONEOS_DEPLOYMENT_TARGET the oldest iOS (15.0).
set -euo pipefail
package=$(cd "$(dirname "$0")" && pwd)
root=$package/..
features=(--features "${SAPWOOD_FEATURES:-embedded}")
target=${CARGO_TARGET_DIR:-$root/target}
# Where cargo puts a profile's output.
folder_of() { if [ "$1" = dev ]; then echo debug; else echo "$1"; fi; }

# The interface, from a library for this machine, which must not be stripped: it carries the
# description of the interface. generate LIBRARY PACKAGE
generate() {
  local made=$2/Sources/SapwoodFFI/made
  mkdir -p "$2/Sources/Sapwood/Generated"
  rm -rf "$2/Sources/SapwoodFFI"
  local generator=(cargo run --quiet --manifest-path "$root/Cargo.toml" -p sapwood-bindgen --)
  [ -z "${SAPWOOD_BUILT:-}" ] || generator=("$SAPWOOD_BUILT/sapwood-bindgen")
  "${generator[@]}" swift "$1" "$made"
  mv "$made/Sapwood.swift" "$2/Sources/Sapwood/Generated/"
  mv "$made/SapwoodFFI.h" "$2/Sources/SapwoodFFI/"
  mv "$made/SapwoodFFI.modulemap" "$2/Sources/SapwoodFFI/module.modulemap"
  rmdir "$made"
}

build() { cargo build --quiet --manifest-path "$root/Cargo.toml" -p sapwood-ffi "${features[@]}" "$@"; }

host() {
  local profile=${SAPWOOD_PROFILE:-release} into=${1:-$package} library=libsapwood.so
  [ "$(uname)" != Darwin ] || library=libsapwood.dylib
  if [ "$into" != "$package" ]; then
    mkdir -p "$into"
    cp -R "$package/." "$into"
  fi
  [ -n "${SAPWOOD_BUILT:-}" ] || build --profile "$profile"
  library=${SAPWOOD_BUILT:-$target/$(folder_of "$profile")}/$library
  generate "$library" "$into"
  mkdir -p "$into/lib"
  cp "$library" "$into/lib/"
  # Package.swift takes the framework where there is one.
  rm -rf "$into/SapwoodFFI.xcframework"
}

# A dynamic framework around one library: framework LIBRARY PLATFORM FOLDER
framework() {
  local made=$3/SapwoodFFI.framework
  mkdir -p "$made/Headers" "$made/Modules"
  cp "$1" "$made/SapwoodFFI"
  install_name_tool -id @rpath/SapwoodFFI.framework/SapwoodFFI "$made/SapwoodFFI"
  xcrun strip -x "$made/SapwoodFFI"
  cp "$package/Sources/SapwoodFFI/SapwoodFFI.h" "$made/Headers/"
  cp "$package/Sources/Sapwood/PrivacyInfo.xcprivacy" "$made/"
  cat >"$made/Modules/module.modulemap" <<MAP
framework module SapwoodFFI {
    header "SapwoodFFI.h"
    export *
}
MAP
  cat >"$made/Info.plist" <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>CFBundleExecutable</key><string>SapwoodFFI</string>
	<key>CFBundleIdentifier</key><string>sapwood.SapwoodFFI</string>
	<key>CFBundleInfoDictionaryVersion</key><string>6.0</string>
	<key>CFBundleName</key><string>SapwoodFFI</string>
	<key>CFBundlePackageType</key><string>FMWK</string>
	<key>CFBundleShortVersionString</key><string>$version</string>
	<key>CFBundleVersion</key><string>$version</string>
	<key>CFBundleSupportedPlatforms</key><array><string>$2</string></array>
	<key>MinimumOSVersion</key><string>$IPHONEOS_DEPLOYMENT_TARGET</string>
</dict>
</plist>
PLIST
}

phones() {
  local profile=${SAPWOOD_PROFILE:-mobile} work=$target/xcframework folder library version
  local targets=(aarch64-apple-ios aarch64-apple-ios-sim x86_64-apple-ios)
  export IPHONEOS_DEPLOYMENT_TARGET=${IPHONEOS_DEPLOYMENT_TARGET:-15.0}
  # Usable in app extensions; no path of this machine in what is shipped.
  export RUSTFLAGS="${RUSTFLAGS:-} -Clink-arg=-Wl,-application_extension --remap-path-prefix=$HOME=~"
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
  folder=$(folder_of "$profile")
  rustup target add "${targets[@]}"
  for library in "${targets[@]}"; do build --profile "$profile" --target "$library"; done
  RUSTFLAGS='' build --profile dev
  generate "$target/debug/libsapwood.dylib" "$package"

  rm -rf "$work" "$package/SapwoodFFI.xcframework" "$package/SapwoodFFI.xcframework.zip"
  mkdir -p "$work/phone" "$work/simulator"
  lipo -create "$target"/{aarch64-apple-ios-sim,x86_64-apple-ios}/"$folder"/libsapwood.dylib \
    -output "$work/libsapwood.dylib"
  framework "$target/aarch64-apple-ios/$folder/libsapwood.dylib" iPhoneOS "$work/phone"
  framework "$work/libsapwood.dylib" iPhoneSimulator "$work/simulator"
  xcodebuild -create-xcframework \
    -framework "$work/phone/SapwoodFFI.framework" \
    -framework "$work/simulator/SapwoodFFI.framework" \
    -output "$package/SapwoodFFI.xcframework"
  (cd "$package" && zip -qry SapwoodFFI.xcframework.zip SapwoodFFI.xcframework)
  echo "checksum: $(swift package compute-checksum "$package/SapwoodFFI.xcframework.zip")"
}

case ${1:-phones} in
  phones) phones ;;
  host) host "${2:-}" ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
