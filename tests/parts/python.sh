#!/usr/bin/env bash
# The wheel, installed where nothing of the checkout can be seen, and the loop in it.
# needs: build packages
# touches: Cargo kernels models runtime bindings/ffi bindings/bindgen bindings/python tests/python
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/languages.sh"

work=$cache/python
install python3-venv || true
rm -rf "$work"
if ! python3 -m venv "$work" || ! "$work/bin/pip" install -q 'setuptools>=70.1' >"$log" 2>&1; then
  missing "there is no Python with venv, or setuptools could not be installed"
  exit 1
fi
check "an adapter to load" adapter || exit 1
build "the wheel builds" \
  "$work/bin/pip" wheel -q --no-build-isolation --no-deps -w "$work" ./bindings/python || exit 1
check "the wheel installs" "$work/bin/pip" install -q --no-index "$work"/sapwood-*.whl || exit 1
check "the loop in Python" env -C "$work" "$work/bin/python" -B "$PWD/tests/python/test_loop.py"
