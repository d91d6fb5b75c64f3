//! Every op on every instruction set and number of threads against the reference.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sapwood_kernels::cpu::Isa;
use sapwood_kernels::*;

/// Sizes around the vectors' and tiles' lengths.
const SIZES: [usize; 8] = [1, 3, 7, 8, 15, 16, 17, 65];

/// `tests/run --only arm` looks at the line.
#[test]
fn of_instruction_sets_the_best_is_the_last() {
    let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
    println!("MEASURED: instruction sets: {}", names.join(" "));
    assert_eq!(names.last(), Some(&Isa::best().name()));
    assert_eq!(names[0], "portable");
}

fn check(name: &str, program: &Program, tokens: usize) {
    let cursor = Cursor { pos: 0, tokens };
    assert_parity(name, program, &operands(program, tokens, 0, 13, 5), cursor, tolerance::F32);
}

#[test]
fn of_elementwise_ops_and_norms() {
    for cols in SIZES {
        for act in [Activation::Silu, Activation::GeluTanh] {
            let mut p = Program::new();
            let [a, b, dy] = ["a", "b", "dy"].map(|name| p.input(name, cols));
            let w = p.weight("norm", 1, cols, Quant::F32);
            let glu = p.glu(a, b, act);
            let sum = p.add(glu, b);
            // A large eps: the norm of one column is its sign otherwise, without gradient.
            let normed = p.rms_norm(sum, w, 0.5);
            let grads = p.grad(normed, dy, &[a, b]);
            outputs(&mut p, &[glu, sum, normed, grads[0], grads[1]]);
            for tokens in [1, 2, 9] {
                check("elementwise", &p, tokens);
            }
        }
    }
}

#[test]
fn of_embed() {
    for quant in [Quant::F32, Quant::F16, Quant::Q8_0] {
        let mut p = Program::new();
        let ids = p.ids("ids");
        let table = p.weight("table", 13, 64, quant);
        let y = p.embed(ids, table, 1.5);
        p.output(y);
        check("embed", &p, 5);
    }
}

#[test]
fn of_linear_and_its_gradients() {
    for (cols, rows) in SIZES.into_iter().zip(SIZES.into_iter().rev()).chain([(100, 130)]) {
        let mut p = Program::new();
        let (x, dy) = (p.input("x", cols), p.input("dy", rows));
        let w = p.weight("w", rows, cols, Quant::F32);
        let bias = p.weight("bias", 1, rows, Quant::F32);
        let (a, b) = (p.param("a", 8, cols), p.param("b", rows, 8));
        let y = p.linear(x, w, Some(bias), Some(Lora { a, b, scale: 0.5 }));
        let grads = p.grad(y, dy, &[x, a, b]);
        outputs(&mut p, &[y, grads[0], grads[1], grads[2]]);
        for tokens in [1, 4, 17, 70] {
            check("linear", &p, tokens);
        }
    }
}

#[test]
fn of_rope() {
    for style in [RopeStyle::Interleaved, RopeStyle::HalfSplit] {
        for (dims, width) in [(2, 2), (16, 16), (34, 40), (64, 64)] {
            let mut p = Program::new();
            let x = p.input("x", 2 * width);
            let factors = p.weight("factors", 1, dims / 2, Quant::F32);
            let rope = Rope { heads: 2, dims, base: 1e4, linear_scale: 1.0, style, inverse: false };
            let turned = p.rope(x, Some(factors), rope);
            let back = p.rope(turned, Some(factors), Rope { inverse: true, ..rope });
            let plain = p.rope(x, None, rope);
            outputs(&mut p, &[turned, back, plain]);
            for pos in [0, 1000] {
                let operands = operands(&p, 5, 0, 1, 3);
                assert_parity("rope", &p, &operands, Cursor { pos, tokens: 5 }, tolerance::F32);
            }
        }
    }
}

#[test]
fn of_attention_and_its_gradient() {
    for (heads, kv_heads, width) in [(1, 1, 1), (2, 1, 8), (3, 3, 17), (6, 2, 64)] {
        for (tokens, window) in [(1, None), (2, None), (17, Some(3)), (65, None), (130, Some(64))] {
            let mut p = Program::new();
            let cols = [heads, kv_heads, kv_heads].map(|heads| heads * width);
            let [q, k, v] = cols.map(|cols| p.input("qkv", cols));
            let dy = p.input("dy", heads * width);
            let attributes = Attention { heads, kv_heads, scale: 0.3, window };
            let y = p.attention([q, k, v], None, attributes);
            let grads = p.grad(y, dy, &[q, k, v]);
            outputs(&mut p, &[y, grads[0], grads[1], grads[2]]);
            check("attention", &p, tokens);
        }
    }
}

/// A single key has all the weight whatever its score: the scores' gradient is zero, and not a
/// rounding error that the size of queries and keys makes large.
#[test]
fn of_a_single_token_whose_score_has_no_gradient() {
    for (heads, kv_heads, width) in [(1, 1, 1), (2, 1, 8), (3, 3, 17), (6, 2, 64)] {
        let mut p = Program::new();
        let cols = [heads, kv_heads, kv_heads].map(|heads| heads * width);
        let [q, k, v] = cols.map(|cols| p.input("qkv", cols));
        let dy = p.input("dy", heads * width);
        let attributes = Attention { heads, kv_heads, scale: 0.3, window: None };
        let y = p.attention([q, k, v], None, attributes);
        let grads = p.grad(y, dy, &[q, k]);
        outputs(&mut p, &grads);
        let cursor = Cursor { pos: 0, tokens: 1 };
        let operands = operands(&p, 1, 0, 1, 5);
        for isa in Isa::available() {
            for grad in run(&Device::cpu_with(Some(1), isa), &p, &operands, cursor) {
                assert!(grad.iter().all(|&value| value == 0.0), "{}: {grad:?}", isa.name());
            }
        }
    }
}

#[test]
fn of_the_head() {
    // More rows than a shard has, and fewer.
    for (rows, cols) in [(1, 1), (13, 16), (1024, 33), (2500, 40)] {
        let mut p = Program::new();
        let (x, dlogp) = (p.input("x", cols), p.input("dlogp", 1));
        let w = p.weight("w", rows, cols, Quant::F32);
        let targets = p.ids("targets");
        let logp = p.head_logp(x, w, targets);
        let dx = p.grad(logp, dlogp, &[x])[0];
        outputs(&mut p, &[logp, dx]);
        for tokens in [1, 2, 35] {
            let cursor = Cursor { pos: 0, tokens };
            let operands = operands(&p, tokens, 0, rows, 5);
            assert_parity("head", &p, &operands, cursor, tolerance::F32);
        }
    }
}

#[test]
fn of_a_head_without_targets() {
    let mut p = Program::new();
    let (x, dlogp) = (p.input("x", 8), p.input("dlogp", 1));
    let w = p.weight("w", 10, 8, Quant::F32);
    let targets = p.ids("targets");
    let logp = p.head_logp(x, w, targets);
    let dx = p.grad(logp, dlogp, &[x])[0];
    outputs(&mut p, &[logp, dx]);
    let mut operands = operands(&p, 4, 0, 10, 5);
    let ids = operands.iter_mut().find(|(slot, _)| *slot == targets).unwrap();
    ids.1.data.fill(f64::from(NO_TARGET));
    for output in run(&Device::cpu(Some(2)), &p, &operands, Cursor { pos: 0, tokens: 4 }) {
        assert!(output.iter().all(|&value| value == 0.0));
    }
}

#[test]
fn of_whole_blocks_and_their_gradients() {
    for (name, kind) in kinds() {
        let Block { program: mut p, x, y, params } = block(kind, Quant::F32, [4, 2, 16], 88);
        let seed = p.input("seed", 64);
        let wrt: Vec<Slot> = params.into_iter().chain([x]).collect();
        for grad in p.grad(y, seed, &wrt) {
            p.output(grad);
        }
        for tokens in [1, 6, 19] {
            check(name, &p, tokens);
        }
    }
}
