#!/usr/bin/env bash
# The loop in Kotlin, on a real JVM: the generated interface, the façade and the tests of
# android/core, compiled together.
# needs: build packages
# touches: Cargo kernels models runtime bindings/ffi bindings/bindgen android docs/start-kotlin.md
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/languages.sh"

# The program of the getting-started page: its first block, with the others put in where they say.
kotlin_page() {
  awk '/^```kotlin$/ { block++; inside = 1; next }
    /^```$/ { inside = 0 }
    inside { text[block] = text[block] $0 "\n" }
    END { at = index(text[1], "    learner.close()")
      printf "%s%s%s", substr(text[1], 1, at - 1), text[2] text[3], substr(text[1], at) }' \
    docs/start-kotlin.md
}

kotlin_page_runs() {
  local answer
  answer=$(cd "$work" &&
    java -Djna.library.path="$built" -cp "core.jar:$classes" AppKt 2>&1)
  if ! grep -q '^[0-9a-f]\{32\} base model$' <<<"$answer" ||
    ! grep -q ' after 1 shown correction' <<<"$answer"; then
    echo "$answer"
    return 1
  fi
}

work=$cache/kotlin/work
if ! kotlin; then
  missing "there is no Java, JNA or JUnit, or npm's kotlin-compiler could not be had"
  exit 1
fi
check "an adapter to load" adapter || exit 1
rm -rf "$work"
mkdir -p "$work"
check "the interface is generated" "$built/sapwood-bindgen" \
  kotlin "$built/libsapwood.so" "$work/generated" || exit 1
classes=$(kotlin_classes)
kotlin_page >"$work/App.kt"
build "Kotlin compiles" kotlinc -cp "$classes" "$work/generated" android/core/src "$work/App.kt" \
  -d "$work/core.jar" || exit 1
check "the getting-started page does what it says" kotlin_page_runs
java=(java)
junit "the loop in Kotlin" "$work/core.jar:$classes" \
  sapwood.ReplyTest sapwood.ErrorTest sapwood.KeyTest sapwood.LoopTest sapwood.CaptureTest
# In a process that did nothing else, with a fixed heap: only leaks can make it grow.
java=(java -Xms64m -Xmx64m -XX:+AlwaysPreTouch)
junit "ten thousand replies" "$work/core.jar:$classes" sapwood.LeakTest
