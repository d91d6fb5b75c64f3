#!/usr/bin/env bash
# The loop in Swift, with the real compiler: the package of ios/ as it stands, then all of it beside
# stand-ins for Apple's interfaces, with its tests; and the code of the page for beginners.
# needs: build debian
# touches: Cargo kernels models runtime bindings/ffi bindings/bindgen ios tests/swift docs/start-swift.md
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/languages.sh"

work=$cache/swift
in_swift() { tests/cross/chroot work "$cache/debian" "$work" "$@"; }

swift_compiles() {
  if ! in_swift swift build --package-path /mnt/ios >"$log" 2>&1 || grep -q 'warning:' "$log"; then
    grep -E -A4 '(error|warning):' "$log"
    return 1
  fi
}

# The page's code, as a reader would put it together.
swift_page() {
  local try=$work/try
  mkdir -p "$try/Sources/Try"
  awk -v folder="$try" '
    /^```$/ { inside = 0 }
    inside { print > (folder "/" (block == 1 ? "Package.swift" : "Sources/Try/main.swift")) }
    /^```swift$/ { inside = 1; block++ }' docs/start-swift.md
  ln -s . "$work/sapwood"
  in_swift env -C /mnt/try swift run >"$log" 2>&1
  if ! grep -q '^returns$' "$log" || ! grep -q 'after [1-9].* shown correction' "$log"; then
    cat "$log"
    return 1
  fi
}

# Adds what XCTest wrote to the sums.
xctest_results() {
  local p f s
  p=$(grep -c '^Test Case .* passed (' "$log")
  f=$(grep -c '^Test Case .* failed (' "$log")
  s=$(grep -c '^Test Case .* skipped (' "$log")
  # Not compiled, or ended by a signal: no test was counted for that.
  [ "$f" -gt 0 ] || grep -q "^Test Suite 'All tests' passed" "$log" || f=1
  [ "$f" = 0 ] || grep -v -E '^(Test (Case|Suite) .*(started|passed)|\[[0-9]+/[0-9]+\])' "$log"
  grep '^MEASURED:' "$log" | sed 's/^/    /'
  echo "$1: $p passed, $f failed, $s skipped"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

mkdir -p "$work"
if ! in_swift swiftc --version >"$log" 2>&1; then
  tail -5 "$log"
  missing "there is no Debian with Swift: making it needs root and mmdebstrap"
  exit 1
fi
check "an adapter to load" adapter || exit 1
find "$work" -mindepth 1 -delete
cp -R tests/swift/. "$ADAPTER" "$work"
check "the package for this machine" ios/build.sh host "$work/ios" || exit 1
check "the privacy manifest and Info.plist are property lists" python3 -c \
  'import plistlib, sys; [plistlib.load(open(f, "rb")) for f in sys.argv[1:]]' \
  ios/Sources/Sapwood/PrivacyInfo.xcprivacy ios/Sample.swiftpm/Info.plist
check "the sample's views are Swift" in_swift bash -c \
  'swiftc -frontend -parse /mnt/ios/Sample.swiftpm/*.swift'
build "the package compiles, without a warning" swift_compiles || exit 1
check "docs/start-swift.md does what it says" swift_page
in_swift env ADAPTER=/mnt/adapter.gguf timeout "${SAPWOOD_TEST_TIMEOUT:-3000}" \
  swift test --package-path /mnt -Xswiftc -DFAULTS >"$log" 2>&1
xctest_results "the loop in Swift"
