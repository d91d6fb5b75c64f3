#!/usr/bin/env bash
# A Debian of its own for what this machine has no tools for: Swift, Linux on Arm, phones. Made once.
# needs: packages
# touches: tests/cross tests/parts/debian.sh
# cores: 0
. "$(dirname "$0")/common.sh"

if [ "$(id -u)" != 0 ] || ! install mmdebstrap; then
  missing "compilers for other systems live in a chroot, which needs root and mmdebstrap"
elif ! { tests/cross/chroot make "$cache/debian" && tests/cross/chroot fetch "$cache/debian"; } \
  >"$log" 2>&1; then
  tail -5 "$log"
  missing "the chroot for other systems, or the crates to build in it, could not be had"
fi
