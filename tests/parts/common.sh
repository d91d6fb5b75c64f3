# shellcheck shell=bash disable=SC2034,SC2154 # it is sourced
# What every part of tests/run uses; sourced, never run. A part is a script of its own:
#
#   tests/parts/NAME.sh     what it checks, in the comment at its head, with
#     # needs: PARTS        those that have to be over before it starts
#     # touches: PATHS      what a change has to lie under to make this part run with --since
#     # cores: N            1 (the default) of its own, or 0: whatever is free
#
# tests/run starts it with CARGO_TARGET_DIR, and with `cache` and `results`, folders outside the
# checkout; what it finds goes to $results/NAME, where the driver reads it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
part=$(basename "$0" .sh)
cache=${SAPWOOD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sapwood}
results=${SAPWOOD_RESULTS:-$(mktemp -d)}
mkdir -p "$cache" "$results"
# The checkout by the name that cargo shall know it by: see tests/checkout.
checkout=$cache/checkout
[ "$checkout" -ef . ] || tests/checkout "$cache" || exit 2
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target} CARGO_TERM_COLOR=never
built=$CARGO_TARGET_DIR/debug
# Mesa complains where there is no display.
export NODEVICE_SELECT=1
# Nothing is debugged here, and what is never edited again needs no database of its pieces.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
soak=${SAPWOOD_SOAK:+1} soak=${soak:-0}
log=$(mktemp)
passed=0 failed=0 skipped=0 build_ms=0

finish() {
  rm -f "$log"
  echo "$passed $failed $skipped $((build_ms / 1000))" >"$results/$part"
  [ "$failed" = 0 ] || exit 1
}
trap finish EXIT

now_ms() { date +%s%3N; }

# One check that is not a test runner: passes or fails as its command does.
check() {
  local name=$1
  shift
  if "$@"; then
    echo "ok: $name"
    passed=$((passed + 1))
  else
    echo "FAILED: $name"
    failed=$((failed + 1))
    return 1
  fi
}

# A check whose time is counted as building.
build() {
  local start status=0
  start=$(now_ms)
  check "$@" || status=$?
  build_ms=$((build_ms + $(now_ms) - start))
  return "$status"
}

# A tool could not be had. Under CI that is a failure: there it must not go unnoticed.
missing() {
  if [ "${CI:-}" = true ]; then
    echo "FAILED: $*"
    failed=$((failed + 1))
  else
    echo "SKIPPED: $*"
    skipped=$((skipped + 1))
  fi
}

# Installs Debian packages that are not there yet. Fails if that is not allowed or not possible.
install() {
  local want=() as_root=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || want+=("$package")
  done
  [ ${#want[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  export DEBIAN_FRONTEND=noninteractive
  # One at a time: parts install side by side.
  flock "$cache/apt.lock" "${as_root[@]}" bash -c '
    apt-get install -y --no-install-recommends "$@" ||
      { apt-get update && apt-get install -y --no-install-recommends "$@"; }' \
    install "${want[@]}" >"$log" 2>&1 || { tail -5 "$log"; return 1; }
}

# An npm package's files, without what it depends on.
npm_package() {
  local name=$1 version=$2 folder=$3
  [ ! -e "$folder/package" ] || return 0
  rm -rf "$folder"
  mkdir -p "$folder/new"
  (cd "$folder/new" && npm pack --silent "$name@$version" && tar -xzf ./*.tgz &&
    mv package ..) >"$log" 2>&1
}
