//! Gated linear units, their gradient, and sums: the element-wise ops.

use super::cx::Cx;
use super::lanes::{get, put};
use super::pool::{Part, Split};
use super::simd::math::{sigmoid, tanh};
use super::simd::{Kernel, Simd};
use crate::op::Activation;

/// `y = act(gate) up`; without `gate`, `y` holds it.
pub(super) fn glu(cx: &Cx<'_>, act: Activation, gate: Option<&[f32]>, up: &[f32], y: &mut [f32]) {
    let cols = y.len() / cx.tokens();
    cx.rows(y, cols, |y| {
        let range = flat(y, cols);
        copy(y, gate, cols);
        for (t, up) in y.rows().zip(up[range].chunks_exact(cols)) {
            cx.engine.isa.dispatch(Gate { act, gate: y.row(t), up });
        }
    });
}

/// `y = a + b`; without `a`, `y` holds it.
pub(super) fn add(cx: &Cx<'_>, a: Option<&[f32]>, b: &[f32], y: &mut [f32]) {
    let cols = y.len() / cx.tokens();
    cx.rows(y, cols, |y| {
        let range = flat(y, cols);
        copy(y, a, cols);
        for (t, b) in y.rows().zip(b[range].chunks_exact(cols)) {
            cx.engine.isa.dispatch(Sum { a: y.row(t), b });
        }
    });
}

/// `dgate` and `dup` from gate, up and `dy`; without `gate` or `up`, the results hold them.
pub(super) fn glu_grad(
    cx: &Cx<'_>,
    act: Activation,
    [gate, up]: [Option<&[f32]>; 2],
    dy: &[f32],
    [dgate, dup]: [&mut [f32]; 2],
) {
    let cols = dgate.len() / cx.tokens();
    let parts = cx.parts(dgate.len(), cx.tokens());
    let (dgate, dup) = (Split::rows(dgate, cols, parts), Split::rows(dup, cols, parts));
    cx.each_part(parts, |i| {
        let (mut dgate, mut dup) = (dgate.part(i), dup.part(i));
        copy(&mut dgate, gate, cols);
        copy(&mut dup, up, cols);
        for t in dgate.rows() {
            let dy = &dy[t * cols..(t + 1) * cols];
            cx.engine.isa.dispatch(GateGrad { act, gate: dgate.row(t), up: dup.row(t), dy });
        }
    });
}

fn flat(part: &Part<'_, f32>, cols: usize) -> std::ops::Range<usize> {
    part.rows().start * cols..part.rows().end * cols
}

fn copy(to: &mut Part<'_, f32>, from: Option<&[f32]>, cols: usize) {
    let Some(from) = from else { return };
    for t in to.rows() {
        to.row(t).copy_from_slice(&from[t * cols..(t + 1) * cols]);
    }
}

/// `gate = act(gate) up`.
pub(super) struct Gate<'a> {
    pub act: Activation,
    pub gate: &'a mut [f32],
    pub up: &'a [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.gate.len()).step_by(S::LANES) {
            let (value, _) = activate(s, self.act, get(s, self.gate, i));
            put(s, s.mul(value, get(s, self.up, i)), self.gate, i);
        }
    }
}

struct Sum<'a> {
    a: &'a mut [f32],
    b: &'a [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.a.len()).step_by(S::LANES) {
            put(s, s.add(get(s, self.a, i), get(s, self.b, i)), self.a, i);
        }
    }
}

/// `gate, up = dy up act'(gate), dy act(gate)`.
struct GateGrad<'a> {
    act: Activation,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
}

impl Kernel for GateGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.gate.len()).step_by(S::LANES) {
            let (value, slope) = activate(s, self.act, get(s, self.gate, i));
            let dy = get(s, self.dy, i);
            let dgate = s.mul(s.mul(dy, get(s, self.up, i)), slope);
            put(s, dgate, self.gate, i);
            put(s, s.mul(dy, value), self.up, i);
        }
    }
}

/// The activation and its derivative.
#[inline(always)]
fn activate<S: Simd>(s: S, act: Activation, x: S::F32) -> (S::F32, S::F32) {
    let one = s.splat(1.0);
    match act {
        Activation::Silu => {
            let sigmoid = sigmoid(s, x);
            let slope = s.mul(sigmoid, s.fma(x, s.sub(one, sigmoid), one));
            (s.mul(x, sigmoid), slope)
        }
        Activation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            let square = s.mul(x, x);
            let inner = s.mul(s.mul(x, s.splat(root)), s.fma(square, s.splat(0.044715), one));
            let tanh = tanh(s, inner);
            let half = s.mul(s.splat(0.5), s.add(one, tanh));
            let inner_slope = s.fma(square, s.splat(3.0 * 0.044715 * root), s.splat(root));
            let bend = s.mul(s.fma(s.sub(s.zero(), tanh), tanh, one), inner_slope);
            (s.mul(x, half), s.fma(s.mul(s.splat(0.5), x), bend, half))
        }
    }
}
