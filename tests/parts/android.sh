#!/usr/bin/env bash
# What Android adds: worker, device monitor, key store and the sample, with the interface generated
# for Android, against stand-ins for Android's classes (tests/android). Those of the platform are
# made from its published signatures. Then what they do, with the real library, on a phone that the
# tests play. Manifests and resources go through aapt2.
# needs: build packages
# touches: Cargo kernels models runtime bindings/ffi bindings/bindgen android tests/android
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/languages.sh"

work=$cache/android/work
# Stand-ins for the classes that a list names, for apps that run on Android 8 too.
standins() {
  python3 tests/android/standins.py "tests/android/$1" \
    "$android_api/package/lib/android/android-platform-21-37-merged.d.ts" 26 "$work/platform"
}

# A module's manifest, with the package that Gradle takes from the module's namespace, and its
# resources.
android_resources() {
  local module=$1 package=$2 source=android/$1/src/main out=$work/$1 resources=()
  mkdir -p "$out"
  if [ -d "$source/res" ]; then
    aapt2 compile --dir "$source/res" -o "$out/resources.zip" || return 1
    resources=("$out/resources.zip")
  fi
  sed "s/<manifest /&package=\"$package\" /" "$source/AndroidManifest.xml" >"$out/AndroidManifest.xml"
  aapt2 link -I /usr/share/android-framework-res/framework-res.apk \
    --manifest "$out/AndroidManifest.xml" --min-sdk-version 26 --target-sdk-version 29 \
    --java "$work/$module-r" -o "$out/linked.apk" "${resources[@]}"
}

if ! kotlin || ! install aapt android-framework-res ||
  ! { command -v javac >/dev/null || install openjdk-17-jdk-headless; } ||
  ! android_types; then
  missing "there is no JDK, JNA, JUnit or aapt2, or a package of npm's could not be had"
  exit 1
fi
rm -rf "$work"
mkdir -p "$work/stand-ins"
check "the interface is generated" "$built/sapwood-bindgen" \
  android "$built/libsapwood.so" "$work/generated" || exit 1
check "the library's manifest (aapt2)" android_resources library sapwood.android || exit 1
check "the sample's manifest and resources (aapt2)" android_resources sample sapwood.sample || exit 1
check "stand-ins for the platform" standins api.txt || exit 1
check "what the platform does not have is refused" test "$(standins wrong.txt 2>&1 | wc -l)" = 7
mapfile -t platform < <(find "$work/platform" "$work/sample-r" -name '*.java')
check "stand-ins compile" javac -d "$work/stand-ins" \
  tests/android/{androidx,platform}/*.java "${platform[@]}" || exit 1
classes=$work/stand-ins:$(kotlin_classes)
build "library and sample compile" kotlinc -cp "$classes" "$work/generated" tests/android \
  android/core/src android/library/src android/sample/src -d "$work/android.jar" || exit 1
java=(java)
junit "library and sample" "$work/android.jar:$classes" sapwood.android.MonitorTest \
  sapwood.android.KeysTest sapwood.android.StoreTest sapwood.android.WorkerTest \
  sapwood.sample.MailTest
