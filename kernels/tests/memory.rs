//! Fusion, memory planning and determinism: private affairs of the device that must not show.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::*;

/// A random program over a few slots, with random outputs: every lifetime that one can have.
fn random_program(seed: u64) -> Program {
    let mut rng = SplitMix64(seed);
    let mut p = Program::new();
    let cols = [16, 24];
    let mut slots: [Vec<Slot>; 2] = [0, 1].map(|i| vec![p.input("x", cols[i])]);
    for _ in 0..12 {
        let i = rng.below(2);
        let pick = |rng: &mut SplitMix64| slots[i][rng.below(slots[i].len())];
        let (a, b) = (pick(&mut rng), pick(&mut rng));
        let (made, to) = match rng.below(5) {
            0 => (p.add(a, b), i),
            1 => (p.glu(a, b, Activation::Silu), i),
            2 => {
                let w = p.weight("norm", 1, cols[i] / 2, Quant::F32);
                (p.rms_norm(a, w, 0.1), i)
            }
            3 => {
                let style = RopeStyle::HalfSplit;
                let (base, linear_scale) = (100.0, 1.0);
                let rope = Rope { heads: 2, dims: 8, base, linear_scale, style, inverse: false };
                (p.rope(a, None, rope), i)
            }
            _ => {
                let w = p.weight("w", cols[1 - i], cols[i], Quant::F32);
                (p.linear(a, w, None, None), 1 - i)
            }
        };
        slots[to].push(made);
    }
    let made: Vec<Slot> = slots.concat();
    let outputs = made.iter().filter(|&&slot| p.desc(slot).role == Role::Scratch);
    let outputs: Vec<Slot> = outputs.copied().filter(|_| rng.below(3) == 0).collect();
    outputs.iter().for_each(|&slot| p.output(slot));
    // A gradient, where there is one: derivative ops reuse memory in their own ways.
    if let Some(&out) = outputs.last() {
        let seed = p.input("seed", p.desc(out).cols);
        let into = (0..2).filter(|&i| reaches(&p, slots[i][0], out));
        let wrt: Vec<Slot> = into.map(|i| slots[i][0]).collect();
        if !wrt.is_empty() {
            p.grad(out, seed, &wrt).into_iter().for_each(|slot| {
                if p.desc(slot).role == Role::Scratch {
                    p.output(slot);
                }
            });
        }
    }
    p
}

fn reaches(p: &Program, from: Slot, to: Slot) -> bool {
    let mut reached = vec![from];
    for step in p.steps() {
        if step.inputs.iter().any(|slot| reached.contains(slot)) {
            reached.extend(&step.outputs);
        }
    }
    reached.contains(&to)
}

#[test]
fn random_programs_keep_their_values_apart() {
    for seed in 0..150 {
        let program = random_program(seed);
        if program.outputs().is_empty() {
            continue;
        }
        for tokens in [1, 5] {
            let operands = operands(&program, tokens, 0, 1, seed);
            let cursor = Cursor { pos: 0, tokens };
            let expected = reference(&program, &operands, cursor);
            for device in [Device::cpu(Some(2))].into_iter().chain(gpu()) {
                // Compiled for more tokens than are run: values lie as planned for the most.
                let exec = device.compile(&program, 8);
                let got = run_exec(&device, &exec, &program, &operands, cursor);
                for (&slot, got) in program.outputs().iter().zip(&got) {
                    let error = error(got, &expected[slot], 1e-2);
                    assert!(error <= 1e-4, "program {seed}, {tokens} tokens: {error:e}");
                }
            }
        }
    }
}

#[test]
fn fused_and_unfused_are_the_same_bits() {
    for (name, kind) in kinds() {
        for (quant, cache) in [(Quant::F32, None), (Quant::Q8_0, Some(Quant::F16))] {
            let Block { program, .. } = block(BlockKind { cache, ..kind }, quant, [4, 2, 16], 96);
            for tokens in [1, 7, 33] {
                let operands = operands(&program, tokens, 40, 1, 4);
                let cursor = Cursor { pos: 0, tokens };
                let device = Device::cpu(Some(2));
                let [fused, unfused] =
                    [device.compile(&program, tokens), device.compile_unfused(&program, tokens)]
                        .map(|exec| run_exec(&device, &exec, &program, &operands, cursor));
                assert_eq!(fused, unfused, "{name} {quant:?} {tokens}");
            }
        }
    }
}

#[test]
fn gradients_do_not_depend_on_the_number_of_threads() {
    for (name, kind) in kinds() {
        let Block { mut program, x, y, params } = block(kind, Quant::Q8_0, [4, 2, 16], 96);
        let seed = program.input("seed", 64);
        let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
        program.grad(y, seed, &wrt).into_iter().for_each(|slot| program.output(slot));
        for tokens in [3, 150] {
            let operands = operands(&program, tokens, 0, 1, 4);
            let cursor = Cursor { pos: 0, tokens };
            let [one, two, three] = [1, 2, 3]
                .map(|threads| run(&Device::cpu(Some(threads)), &program, &operands, cursor));
            assert!(one == two && two == three, "{name}, {tokens} tokens");
        }
    }
}

/// Qwen2.5-0.5B's block with pairs of rank 8 on all seven linears, forward again and backward, and
/// its head: what training keeps in scratch at 512 tokens.
#[test]
fn training_a_half_billion_parameters_needs_little_scratch() {
    let device = Device::cpu(Some(2));
    let kind = BlockKind { bias: true, lora: true, ..BlockKind::default() };
    let Block { mut program, x, y, params } = block(kind, Quant::Q4_0, [14, 2, 64], 4864);
    let seed = program.input("seed", 896);
    let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
    program.grad(y, seed, &wrt).into_iter().for_each(|slot| program.output(slot));
    let block_bytes = device.compile(&program, 512).peak_bytes();

    let mut p = Program::new();
    let (x, dlogp) = (p.input("x", 896), p.input("dlogp", 1));
    let w = p.weight("w", 151_936, 896, Quant::Q8_0);
    let targets = p.ids("targets");
    let logp = p.head_logp(x, w, targets);
    let dx = p.grad(logp, dlogp, &[x])[0];
    outputs(&mut p, &[logp, dx]);
    let head_bytes = device.compile(&p, 512).peak_bytes();
    println!("block {} MB, head {} MB", block_bytes >> 20, head_bytes >> 20);
    assert!(block_bytes <= 64 << 20, "block {block_bytes}");
    assert!(head_bytes <= 16 << 20, "head {head_bytes}");
}
