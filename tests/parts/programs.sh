# shellcheck shell=bash disable=SC2034,SC2154 # it is sourced
# Test programs, run one by one as cargo would run them; sourced after common.sh.
#
# They were built together, by the part `build`: with one set of features, so that nothing is
# compiled twice. $programs lists them: package, target, kind, folder, path. A part that builds its
# own, for another system, names another list, and in `runner` what starts them there.
programs=$cache/programs runner=(env -C)

# Writes that list from what `cargo build --message-format=json` says.
list_programs() {
  sed -nE 's|.*"manifest_path":"([^"]*/)?([^"/]+)/Cargo\.toml","target":\{"kind":\["([^"]*)".*"name":"([^"]*)","src_path".*"profile":\{[^}]*"test":true\}.*"executable":"([^"]*)".*|\2 \4 \3 \1\2 \5|p' | sort
}

# Adds what a libtest runner wrote to $log to the sums. Output of passing tests is shown only as far
# as it says SKIPPED or MEASURED: a test that prints the former counts as skipped, because nothing was
# shown by it; under CI, where data may be missing as little as tools, as failed, unless it is for
# what this user may do. A run that selects no test has failed, too.
count_tests() {
  local name=$1 status=$2 p f s g
  read -r p f s g < <(awk '
    /^---- .* stdout ----$/ { name = $2 }
    /^SKIPPED:/ && !(name in seen) { seen[name] = 1; s++ }
    /^(successes|failures):$/ || /^test result:/ { name = "" }
    /^test result:/ { for (i = 1; i < NF; i++) {
        if ($(i + 1) ~ /^passed/) p += $i
        if ($(i + 1) ~ /^failed/) f += $i
        if ($(i + 1) ~ /^ignored/) g += $i } }
    END { print p + 0, f + 0, s + 0, g + 0 }' "$log")
  if [ "$status" -eq 0 ] && [ $((p + f)) = 0 ]; then
    echo "FAILED: no test was selected"
    f=1
  elif [ "$status" -ne 0 ]; then
    # Everything but the output of tests that passed.
    awk '/^successes:$/ { hide = 1 } /^(failures:|test result:)/ { hide = 0 } !hide' "$log"
    # Not started, killed or timed out: no runner counted that.
    [ "$f" -gt 0 ] || f=1
  elif [ "${CI:-}" = true ] && grep '^SKIPPED:' "$log" | grep -v 'this user may'; then
    echo "FAILED: skipped, and nobody would know"
    f=$((f + 1))
  else
    grep -E '^(SKIPPED|MEASURED):' "$log" | sort | uniq -c |
      sed 's/^ *1 /    /; s/^ *\([0-9][0-9]*\) \(.*\)/    \2 (x\1)/'
  fi
  echo "$name: $((p - s)) passed, $f failed, $s skipped (and $g for other parts)"
  passed=$((passed + p - s)) failed=$((failed + f)) skipped=$((skipped + s))
  sed -nE "s|^test (.*) \.\.\. .*<([0-9.]+)s>\$|\2 $part: \1|p" "$log" >>"$results/times"
}

# run_tests PACKAGE-FOLDER TARGET [WORDS FOR THE RUNNER…]: one program, by the last folder of its
# package and its name. Times of single tests are an unstable option of the runner's, not of what
# is tested.
run_tests() {
  local folder=$1 target=$2 home program status found=0
  shift 2
  while read -r _ _ _ home program; do
    found=1 status=0
    RUSTC_BOOTSTRAP=1 SAPWOOD_BUILT=$built timeout "${SAPWOOD_TEST_TIMEOUT:-1500}" \
      "${runner[@]}" "$home" "$program" --show-output -Zunstable-options --report-time "$@" \
      >"$log" 2>&1 </dev/null || status=$?
    count_tests "$folder $target $*" "$status"
  done < <(awk -v f="$folder" -v t="$target" '$1 == f && $2 == t' "$programs")
  [ "$found" = 1 ] || check "$folder has a test program called $target" false
}

# cargo_tests NAME ARGUMENTS…: for what cargo has to run itself. Counts building apart.
cargo_tests() {
  local name=$1 start status=0
  shift
  start=$(now_ms)
  if ! "${with[@]}" cargo test --locked "$@" --no-run >"$log" 2>&1; then
    tail -60 "$log"
    check "$name: tests build" false
    return
  fi
  build_ms=$((build_ms + $(now_ms) - start))
  "${with[@]}" timeout "${SAPWOOD_TEST_TIMEOUT:-3000}" cargo test --locked --no-fail-fast "$@" -- \
    --show-output "${words[@]}" >"$log" 2>&1 || status=$?
  count_tests "$name" "$status"
}
