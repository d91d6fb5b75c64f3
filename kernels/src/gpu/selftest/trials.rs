//! What is computed to try a kernel: the smallest program that calls it.

use crate::gpu::shader::Kernel;
use crate::op::{Activation, Attention, Lora, Rope, RopeStyle};
use crate::program::Program;
use crate::quant::Quant;
use crate::types::{Cursor, Slot};

/// Kernels that are tried together, through one program.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Group {
    One(Kernel),
    /// Thin products and their sums.
    Pair,
    /// Without a cache.
    AttentionGrad,
    /// Over a head of this type.
    Head(Quant),
    /// Rounded activations, and weights of this type.
    Bytes(Quant),
}

impl Group {
    pub fn of(kernel: Kernel, needed: &[Kernel]) -> Group {
        match kernel {
            Kernel::Thin | Kernel::Sum => Group::Pair,
            Kernel::AttentionDelta | Kernel::AttentionGradQ | Kernel::AttentionGradKv => {
                Group::AttentionGrad
            }
            Kernel::HeadShard | Kernel::HeadLogp | Kernel::HeadSlopes => {
                // A type whose kernels the program needs anyway.
                let known = needed.iter().find_map(|kernel| match kernel {
                    Kernel::LinearGrad(quant) => Some(*quant),
                    _ => None,
                });
                let other = needed.iter().find_map(|kernel| match kernel {
                    Kernel::LinearFew(quant) => Some(*quant),
                    _ => None,
                });
                Group::Head(known.or(other).unwrap_or(Quant::F32))
            }
            Kernel::LinearInt8(quant) => Group::Bytes(quant),
            Kernel::Round => needed
                .iter()
                .map(|&other| Group::of(other, &[]))
                .find(|group| matches!(group, Group::Bytes(_)))
                .unwrap_or(Group::Bytes(Quant::Q8_0)),
            _ => Group::One(kernel),
        }
    }
}

/// Rows of a table of tokens that is tried, or of a head.
pub(super) const WORDS: usize = 41;

/// What is computed to try a group. Sizes are odd, so that every tile has an edge.
pub(super) fn program(group: Group) -> (Program, Cursor) {
    let mut p = Program::new();
    let mut cursor = Cursor { pos: 0, tokens: 7 };
    match group {
        Group::One(kernel) => cursor = one(&mut p, kernel),
        Group::Pair => {
            let (x, dy) = (p.input("x", 70), p.input("dy", 37));
            let w = p.weight("w", 37, 70, Quant::F32);
            let (a, b) = (p.param("a", 5, 70), p.param("b", 37, 5));
            let y = p.linear(x, w, None, Some(Lora { a, b, scale: 0.5 }));
            outputs_of_grad(&mut p, y, dy, &[a, b]);
        }
        Group::AttentionGrad => {
            let [q, k, v] = qkv(&mut p);
            let dy = p.input("dy", 2 * WIDTH);
            let y = p.attention([q, k, v], None, ATTENTION);
            outputs_of_grad(&mut p, y, dy, &[q, k, v]);
            cursor.tokens = 19;
        }
        Group::Head(quant) => {
            let cols = columns(quant);
            let (x, dlogp) = (p.input("x", cols), p.input("dlogp", 1));
            let w = p.weight("w", WORDS, cols, quant);
            let targets = p.ids("targets");
            let logp = p.head_logp(x, w, targets);
            p.output(logp);
            outputs_of_grad(&mut p, logp, dlogp, &[x]);
        }
        Group::Bytes(quant) => with_bias(&mut p, quant),
    }
    (p, cursor)
}

/// What is computed to try a kernel by itself.
fn one(p: &mut Program, kernel: Kernel) -> Cursor {
    let mut cursor = Cursor { pos: 0, tokens: 7 };
    if matches!(kernel, Kernel::Linear(_) | Kernel::LinearGrad(_)) {
        p.exact();
    }
    match kernel {
        Kernel::Embed(quant) => {
            let (ids, table) = (p.ids("ids"), p.weight("table", WORDS, columns(quant), quant));
            let y = p.embed(ids, table, 1.5);
            p.output(y);
        }
        Kernel::Linear(quant) | Kernel::LinearF16(quant) => with_bias(p, quant),
        Kernel::LinearFew(quant) => {
            with_bias(p, quant);
            cursor.tokens = 3;
        }
        Kernel::LinearGrad(quant) | Kernel::LinearGradF16(quant) => {
            let (x, dy) = (p.input("x", columns(quant)), p.input("dy", 67));
            let w = p.weight("w", 67, columns(quant), quant);
            let y = p.linear(x, w, None, None);
            outputs_of_grad(p, y, dy, &[x]);
        }
        Kernel::RmsNorm | Kernel::RmsNormGrad => {
            let (x, dy) = (p.input("x", 134), p.input("dy", 134));
            let w = p.weight("norm", 1, 67, Quant::F32);
            let y = p.rms_norm(x, w, 1e-3);
            match kernel {
                Kernel::RmsNorm => p.output(y),
                _ => outputs_of_grad(p, y, dy, &[x]),
            }
        }
        Kernel::Rope => {
            let x = p.input("x", 3 * 14);
            let (base, linear_scale, inverse) = (500.0, 1.0, false);
            for style in [RopeStyle::Interleaved, RopeStyle::HalfSplit] {
                let rope = Rope { heads: 3, dims: 10, base, linear_scale, style, inverse };
                let y = p.rope(x, None, rope);
                p.output(y);
            }
        }
        // Only what is in the cache then.
        Kernel::Append(quant) => cursor = attention(p, Some(quant)).1,
        Kernel::Attention(quant) => {
            let y;
            (y, cursor) = attention(p, Some(quant).filter(|&quant| quant == Quant::F16));
            p.output(y);
        }
        Kernel::Glu | Kernel::GluGrad => {
            let [gate, up, dy] = ["gate", "up", "dy"].map(|name| p.input(name, 67));
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let y = p.glu(gate, up, activation);
                match kernel {
                    Kernel::Glu => p.output(y),
                    _ => outputs_of_grad(p, y, dy, &[gate, up]),
                }
            }
        }
        Kernel::Add => {
            let [a, b] = ["a", "b"].map(|name| p.input(name, 67));
            let y = p.add(a, b);
            p.output(y);
        }
        Kernel::Project { quants: [first, second], cache } => {
            project(p, [first, first, second], cache);
            cursor = Cursor { pos: 5, tokens: 1 };
        }
        Kernel::NormAdd => {
            let [x, stream] = ["x", "stream"].map(|name| p.input(name, 300));
            let w = p.weight("norm", 1, 300, Quant::F32);
            let h = p.rms_norm(x, w, 1e-3);
            let y = p.add(h, stream);
            p.output(y);
            cursor.tokens = 1;
        }
        Kernel::Attend(quant) => {
            let (y, _) = attention(p, Some(quant));
            p.output(y);
            cursor = Cursor { pos: 5, tokens: 1 };
        }
        Kernel::Output(quant) => {
            // Twice: what the first leaves for the second is tried, too.
            let [x, stream] = ["x", "stream"].map(|name| p.input(name, columns(quant)));
            let y = linear(p, x, columns(quant), quant);
            let y = p.add(stream, y);
            let z = linear(p, y, 67, quant);
            p.output(y);
            p.output(z);
            cursor.tokens = 1;
        }
        Kernel::Gated([first, second]) => {
            let x = p.input("x", columns(first).max(columns(second)));
            let w = p.weight("norm", 1, p.desc(x).cols, Quant::F32);
            let h = p.rms_norm(x, w, 1e-3);
            let [gate, up] = [first, second].map(|quant| linear(p, h, 67, quant));
            let y = p.glu(gate, up, Activation::GeluTanh);
            p.output(y);
            cursor.tokens = 1;
        }
        Kernel::LinearInt8(_)
        | Kernel::Round
        | Kernel::Thin
        | Kernel::Sum
        | Kernel::AttentionDelta
        | Kernel::AttentionGradQ
        | Kernel::AttentionGradKv
        | Kernel::HeadShard
        | Kernel::HeadLogp
        | Kernel::HeadSlopes => unreachable!("tried in a group"),
        Kernel::Top | Kernel::Argmax => unreachable!("no program calls them"),
    }
    cursor
}

/// A linear by itself.
fn with_bias(p: &mut Program, quant: Quant) {
    let x = p.input("x", columns(quant));
    let w = p.weight("w", 67, columns(quant), quant);
    let bias = p.weight("bias", 1, 67, Quant::F32);
    let y = p.linear(x, w, Some(bias), None);
    p.output(y);
}

/// Width of a head that is tried.
const WIDTH: usize = 17;

const ATTENTION: Attention = Attention { heads: 2, kv_heads: 1, scale: 0.3, window: Some(11) };

fn qkv(p: &mut Program) -> [Slot; 3] {
    [2, 1, 1].map(|heads| p.input("qkv", heads * WIDTH))
}

/// In the middle of a cache, or without one.
fn attention(p: &mut Program, cache: Option<Quant>) -> (Slot, Cursor) {
    let qkv = qkv(p);
    let cache = cache.map(|quant| (p.state("keys", WIDTH, quant), p.state("values", WIDTH, quant)));
    let y = p.attention(qkv, cache, ATTENTION);
    let (pos, tokens) = if cache.is_some() { (2, 5) } else { (0, 19) };
    (y, Cursor { pos, tokens })
}

/// A linear with its pair.
fn linear(p: &mut Program, x: Slot, rows: usize, quant: Quant) -> Slot {
    let cols = p.desc(x).cols;
    let w = p.weight("w", rows, cols, quant);
    let (a, b) = (p.param("a", 5, cols), p.param("b", rows, 5));
    p.linear(x, w, None, Some(Lora { a, b, scale: 0.1 }))
}

/// The first half of a block, with everything that it may have.
fn project(p: &mut Program, quants: [Quant; 3], cache: Quant) {
    const WIDTH: usize = 12;
    let x = p.input("x", quants.map(columns).into_iter().fold(0, usize::max));
    let w = p.weight("norm", 1, p.desc(x).cols, Quant::F32);
    let h = p.rms_norm(x, w, 1e-3);
    let mut qkv = [0, 1, 2].map(|i| linear(p, h, [2, 1, 1][i] * WIDTH, quants[i]));
    for (x, heads) in qkv.iter_mut().zip([2, 1]) {
        let w = p.weight("norm", 1, WIDTH, Quant::F32);
        *x = p.rms_norm(*x, w, 1e-3);
        let (base, linear_scale, inverse) = (500.0, 1.0, false);
        let style = RopeStyle::HalfSplit;
        *x = p.rope(*x, None, Rope { heads, dims: 8, base, linear_scale, style, inverse });
    }
    let cache = ["keys", "values"].map(|name| p.state(name, WIDTH, cache));
    let y = p.attention(qkv, Some((cache[0], cache[1])), ATTENTION);
    p.output(y);
}

fn outputs_of_grad(p: &mut Program, y: Slot, dy: Slot, wrt: &[Slot]) {
    p.grad(y, dy, wrt).into_iter().for_each(|slot| p.output(slot));
}

/// Columns of a weight: a few blocks, and an edge where the type allows one.
fn columns(quant: Quant) -> usize {
    match quant.block_len() {
        1 => 77,
        32 => 96,
        len => len,
    }
}
