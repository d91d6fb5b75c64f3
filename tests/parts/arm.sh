#!/usr/bin/env bash
# Linux on Arm, emulated: the kernels on a processor with NEON alone and on one with everything. On
# the latter also what stands on the kernels: models, runtime, training beside PyTorch, conversations
# with the built-in model. The gate's statistics, a long prompt and whole training runs are left to
# the host: they take minutes here. With --soak also a processor with the int8 dot product alone.
# needs: debian
# touches: Cargo kernels models runtime tests/tests tests/src tests/golden tests/cross tests/parts
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/programs.sh"

target=$cache/arm-target programs=$cache/arm-programs
mkdir -p "$target"
enter=(tests/cross/chroot enter "$cache/debian" "$target")
if ! "${enter[@]}" true; then
  missing "there is no Debian with compilers for Arm: making it needs root and mmdebstrap"
  exit 1
fi

kernels=(buffers cache gradient memory parity)
compile() {
  local words=(--lib --test generation --test gradient_peft --test loop) name
  for name in "${kernels[@]}"; do words+=(--test "$name"); done
  for name in -kernels -models "" -tests; do words+=(-p "sapwood$name"); done
  rm -f "$programs"
  "${enter[@]}" cargo test --no-run --locked --quiet --target aarch64-unknown-linux-gnu "${words[@]}" \
    --message-format=json-render-diagnostics >"$log" || return 1
  list_programs <"$log" >"$programs"
  [ -s "$programs" ]
}
# on CPU: whatever runs next runs there.
on() {
  echo "on $1:"
  # shellcheck disable=SC2016 # expanded inside
  runner=("${enter[@]}" bash -c 'exec env -C "$2" qemu-aarch64-static -cpu "$1" "${@:3}"' on "$1")
}

build "all for Arm builds" compile || exit 1
cpus="cortex-a53 max"
[ "$soak" = 0 ] || cpus="cortex-a53 cortex-a76 max"
for cpu in $cpus; do
  on "$cpu"
  for name in sapwood_kernels "${kernels[@]}"; do run_tests kernels "$name"; done
  sets="portable neon neon-dotprod"
  [ "$cpu" != cortex-a53 ] || sets="portable neon"
  check "$cpu runs the kernels of: $sets" grep -q "^MEASURED: instruction sets: $sets\$" "$log"
done
run_tests models sapwood_models
run_tests runtime sapwood --skip learn::gate
for name in generation gradient_peft; do run_tests tests $name; done
run_tests tests loop conversation:: --skip while_its_prompt_is_read
