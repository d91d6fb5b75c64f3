//! The gradient of every op and of whole blocks against dual numbers, along random directions: one
//! direction checks every parameter at once.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sapwood_kernels::reference::Tensor;
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::*;

/// Checks `program`'s gradient: the reference's to 1e-10, each device's to 1e-5.
fn check(name: &str, mut program: Program, out: Slot, wrt: &[Slot], tokens: usize) {
    let seed = program.input("seed", program.desc(out).cols);
    let grads = program.grad(out, seed, wrt);
    grads.iter().for_each(|&slot| program.output(slot));
    let cursor = Cursor { pos: 0, tokens };
    let operands = operands(&program, tokens, 0, 11, 7);
    let seed = operands.iter().find(|(slot, _)| *slot == seed).unwrap().1.clone();
    let values = reference(&program, &operands, cursor);
    let devices: Vec<Device> = [Device::cpu(Some(2))].into_iter().chain(gpu()).collect();
    let runs = devices.iter().map(|device| run(device, &program, &operands, cursor));
    let runs: Vec<Vec<Vec<f32>>> = runs.collect();
    let mut rng = SplitMix64(99);
    for (direction, got) in
        (0..3).flat_map(|direction| runs.iter().map(move |got| (direction, got)))
    {
        let directions: Operands = wrt
            .iter()
            .map(|&slot| {
                let like = &values[slot];
                (slot, Tensor::make(like.rows, like.cols, |_, _| signed(&mut rng)))
            })
            .collect();
        let expected = dual_derivative(&program, &operands, &directions, out, &seed, cursor);
        let dot = |grad: &[f64], direction: &Tensor<f64>| -> f64 {
            grad.iter().zip(&direction.data).map(|(g, d)| g * d).sum()
        };
        let (mut exact, mut size, mut device) = (0.0, 0.0, 0.0);
        for ((&grad, (_, direction)), slot) in grads.iter().zip(&directions).zip(wrt) {
            assert_eq!(values[grad].data.len(), values[*slot].data.len());
            exact += dot(&values[grad].data, direction);
            let at = program.outputs().iter().position(|output| *output == grad).unwrap();
            let got: Vec<f64> = got[at].iter().map(|&g| f64::from(g)).collect();
            device += dot(&got, direction);
            size += values[grad].data.iter().map(|g| g * g).sum::<f64>();
        }
        // A derivative along a random direction of n unit-ish values has the gradient's size.
        let size = size.sqrt().max(expected.abs());
        let off = |found: f64| (found - expected).abs() / size;
        let (exact, device) = (off(exact), off(device));
        assert!(exact <= tolerance::F64, "{name} {direction}: reference off by {exact:e}");
        assert!(device <= tolerance::F32, "{name} {direction}: device off by {device:e}");
    }
}

#[test]
fn of_linear_with_a_pair() {
    let mut p = Program::new();
    let x = p.input("x", 33);
    let w = p.weight("w", 17, 33, Quant::F32);
    let bias = p.weight("bias", 1, 17, Quant::F32);
    let (a, b) = (p.param("a", 5, 33), p.param("b", 17, 5));
    let y = p.linear(x, w, Some(bias), Some(Lora { a, b, scale: 2.0 }));
    check("linear", p.clone(), y, &[x, a, b], 9);
    check("linear, pair only", p.clone(), y, &[a, b], 9);
    check("linear, input only", p, y, &[x], 1);
}

#[test]
fn of_norms() {
    for group in [36, 12, 1] {
        let mut p = Program::new();
        let x = p.input("x", 36);
        let w = p.weight("norm", 1, group, Quant::F32);
        let y = p.rms_norm(x, w, 1e-3);
        check("rms_norm", p, y, &[x], 7);
    }
}

#[test]
fn of_rope() {
    for style in [RopeStyle::Interleaved, RopeStyle::HalfSplit] {
        for inverse in [false, true] {
            let mut p = Program::new();
            let x = p.input("x", 3 * 14);
            let factors = p.weight("factors", 1, 5, Quant::F32);
            let rope = Rope { heads: 3, dims: 10, base: 500.0, linear_scale: 1.0, style, inverse };
            let y = p.rope(x, Some(factors), rope);
            check("rope", p, y, &[x], 6);
        }
    }
}

#[test]
fn of_attention() {
    for (tokens, window) in [(1, None), (9, None), (33, Some(4)), (70, None), (67, Some(64))] {
        let mut p = Program::new();
        let [q, k, v] = [4, 2, 2].map(|heads| p.input("qkv", heads * 10));
        let attributes = Attention { heads: 4, kv_heads: 2, scale: 0.7, window };
        let y = p.attention([q, k, v], None, attributes);
        check(&format!("attention {tokens} {window:?}"), p, y, &[q, k, v], tokens);
    }
}

#[test]
fn of_glu_and_add() {
    for act in [Activation::Silu, Activation::GeluTanh] {
        let mut p = Program::new();
        let (gate, up) = (p.input("gate", 37), p.input("up", 37));
        let y = p.glu(gate, up, act);
        let z = p.add(y, gate);
        check("glu", p, z, &[gate, up], 5);
    }
}

#[test]
fn of_the_head() {
    let mut p = Program::new();
    let x = p.input("x", 19);
    let w = p.weight("w", 11, 19, Quant::F32);
    let targets = p.ids("targets");
    let y = p.head_logp(x, w, targets);
    check("head_logp", p, y, &[x], 8);
}

#[test]
fn of_whole_blocks() {
    for (name, kind) in kinds() {
        let Block { program, x, y, params } = block(kind, Quant::F32, [4, 2, 8], 40);
        let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
        check(name, program, y, &wrt, 13);
    }
}

/// How far the CPU's gradient of a block over four tokens is from the reference's, relative to its
/// largest value.
fn off_over_four_tokens(exact: bool) -> f64 {
    let kind = BlockKind { lora: true, ..BlockKind::default() };
    let Block { mut program, x, y, params } = block(kind, Quant::Q4_0, [4, 2, 16], 96);
    let seed = program.input("seed", program.desc(y).cols);
    let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
    let grads = program.grad(y, seed, &wrt);
    grads.iter().for_each(|&slot| program.output(slot));
    if exact {
        program.exact();
    }
    let cursor = Cursor { pos: 0, tokens: 4 };
    let operands = operands(&program, 4, 0, 11, 7);
    let values = reference(&program, &operands, cursor);
    let got = run(&Device::cpu(Some(2)), &program, &operands, cursor);
    let of = |slot: &Slot| program.outputs().iter().position(|output| output == slot).unwrap();
    grads.iter().map(|slot| error(&got[of(slot)], &values[*slot], 0.0)).fold(0.0, f64::max)
}

#[test]
fn of_a_few_tokens_is_exact_where_the_program_says_so() {
    let (exact, rounded) = (off_over_four_tokens(true), off_over_four_tokens(false));
    println!("MEASURED: four tokens, Q4_0: off by {exact:.1e}; decoding's way {rounded:.1e}");
    assert!(exact <= tolerance::F32, "off by {exact:e}");
    assert!(rounded > 10.0 * tolerance::F32, "nothing was rounded, so nothing is shown");
}

#[test]
fn skips_what_does_not_lead_to_the_parameters() {
    let Block { mut program, y, params, .. } =
        block(BlockKind { lora: true, ..BlockKind::default() }, Quant::F32, [2, 1, 8], 24);
    let seed = program.input("seed", 16);
    let before = program.steps().len();
    // The last pair's gradient needs neither attention nor norms.
    program.grad(y, seed, &params[params.len() - 2..]);
    assert_eq!(program.steps().len() - before, 1);
}

#[test]
#[should_panic(expected = "frozen")]
fn is_refused_for_frozen_weights() {
    let mut p = Program::new();
    let x = p.input("x", 4);
    let w = p.weight("w", 4, 4, Quant::F32);
    let y = p.linear(x, w, None, None);
    let seed = p.input("seed", 4);
    p.grad(y, seed, &[w]);
}
