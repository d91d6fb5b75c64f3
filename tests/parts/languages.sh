# shellcheck shell=bash disable=SC2034,SC2154 # it is sourced
# What the languages' parts share; sourced after common.sh. The library, the generator and the command
# are those that the part `build` made: SAPWOOD_BUILT tells the packages' scripts so.
export SAPWOOD_BUILT=$built
kotlin_version=2.4.20 android_types_version=9.1.1

# An adapter for the built-in model, for the languages' tests: made by the command in a moment. Parts
# make it side by side, so it gets its name when it is whole.
adapter() {
  local folder=$cache/adapter n own
  own=$folder/$part
  mkdir -p "$own"
  for n in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\": \"Triage: parcel $n is late\", \"completion\": \"logistics\"}"
  done >"$own/examples.jsonl"
  "$built/sapwood" train --data "$own/examples.jsonl" --lora "$own/adapter.gguf" --iters 4 --rank 2 \
    >"$log" 2>&1 || { cat "$log"; return 1; }
  export ADAPTER=$own/adapter.gguf
}

# Kotlin's compiler, with the coroutines and the test library that come in its package, and the jars
# of Debian that its programs need.
kotlin() {
  command -v java >/dev/null || install openjdk-17-jre-headless || return 1
  command -v npm >/dev/null || install npm || return 1
  install libjna-java junit4 || return 1
  npm_package kotlin-compiler $kotlin_version "$cache/kotlin/$kotlin_version"
}

# The signatures of Android's platform, in $android_api.
android_api=$cache/android/api-$android_types_version
android_types() { npm_package @nativescript/types-android $android_types_version "$android_api"; }

# What Kotlin is compiled and run with.
kotlin_classes() {
  local jars=/usr/share/java lib=$cache/kotlin/$kotlin_version/package/lib joined
  joined=$(printf '%s:' "$jars"/{jna,junit4,hamcrest}.jar \
    "$lib"/{kotlin-stdlib,kotlinx-coroutines-core-jvm,kotlin-test,kotlin-test-junit}.jar)
  echo "${joined%:}"
}

kotlinc() {
  bash "$cache/kotlin/$kotlin_version/package/bin/kotlinc" -nowarn -jvm-target 17 "$@"
}

# Runs test classes (with the command `java`, which the caller may set), against the library that was
# built, and adds the results to the sums.
junit() {
  local name=$1 classes=$2
  shift 2
  "${java[@]}" -Djna.library.path="$built" -cp "$classes" org.junit.runner.JUnitCore "$@" >"$log" 2>&1
  local ran wrong
  read -r ran wrong < <(awk '
    /^OK \(/ { gsub(/[^0-9]/, ""); print $0, 0; found = 1 }
    /^Tests run:/ { gsub(/[^0-9 ]/, ""); print $1, $2; found = 1 }
    END { if (!found) print 0, 1 }' "$log")
  [ "$wrong" = 0 ] || grep -v -E '^[[:space:]]+at (org.junit|java.base|jdk|kotlinx)' "$log"
  grep -o -E '(MEASURED|Time): .*' "$log" | sed 's/^/    /'
  echo "$name: $((ran > wrong ? ran - wrong : 0)) passed, $wrong failed"
  passed=$((passed + (ran > wrong ? ran - wrong : 0))) failed=$((failed + wrong))
}
