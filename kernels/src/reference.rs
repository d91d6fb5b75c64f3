//! The executable definition of every op, over any [`Real`]: the oracle of all devices.
//!
//! Written to be read beside [`Op`], not to be fast. Run over `f64` it says what a device should
//! compute; run over [`Dual`](crate::dual::Dual) it yields the exact derivative along one
//! direction, which [`Program::grad`] is tested against.

use std::ops::{Index, IndexMut};

use crate::dual::Real;
use crate::grad::LinearOperands;
use crate::op::{Activation, Attention, NO_TARGET, Op, Rope, RopeStyle, Step};
use crate::program::Program;
use crate::quant::Quant;
use crate::types::{Cursor, Element, Role, Rows, Slot};

/// A row-major matrix; ids are held as values. Indexed by `[(row, column)]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<R> {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Row after row.
    pub data: Vec<R>,
}

impl<R: Real> Tensor<R> {
    /// The tensor whose elements `element(row, column)` gives.
    pub fn make(rows: usize, cols: usize, mut element: impl FnMut(usize, usize) -> R) -> Self {
        let data = (0..rows * cols).map(|i| element(i / cols, i % cols)).collect();
        Tensor { rows, cols, data }
    }

    /// `self · other`.
    fn matmul(&self, other: &Tensor<R>) -> Tensor<R> {
        assert_eq!(self.cols, other.rows);
        Tensor::make(self.rows, other.cols, |i, j| {
            sum((0..self.cols).map(|k| self[(i, k)] * other[(k, j)]))
        })
    }

    fn transposed(&self) -> Tensor<R> {
        Tensor::make(self.cols, self.rows, |i, j| self[(j, i)])
    }

    fn plus(&self, other: &Tensor<R>, scale: f64) -> Tensor<R> {
        Tensor::make(self.rows, self.cols, |i, j| self[(i, j)] + other[(i, j)] * R::of(scale))
    }

    fn scaled(&self, scale: f64) -> Tensor<R> {
        Tensor::make(self.rows, self.cols, |i, j| self[(i, j)] * R::of(scale))
    }

    fn id(&self, row: usize) -> u32 {
        self[(row, 0)].value() as u32
    }
}

impl<R> Index<(usize, usize)> for Tensor<R> {
    type Output = R;
    fn index(&self, (row, col): (usize, usize)) -> &R {
        assert!(row < self.rows && col < self.cols);
        &self.data[row * self.cols + col]
    }
}

impl<R> IndexMut<(usize, usize)> for Tensor<R> {
    fn index_mut(&mut self, (row, col): (usize, usize)) -> &mut R {
        assert!(row < self.rows && col < self.cols);
        &mut self.data[row * self.cols + col]
    }
}

fn sum<R: Real>(terms: impl Iterator<Item = R>) -> R {
    terms.fold(R::of(0.0), |sum, term| sum + term)
}

/// The tensors of a program's slots.
#[derive(Clone, Debug)]
pub struct Tensors<R>(Vec<Option<Tensor<R>>>);

impl<R: Real> Tensors<R> {
    /// None set yet.
    pub fn new(program: &Program) -> Tensors<R> {
        Tensors(program.slots().map(|_| None).collect())
    }

    /// Binds a slot.
    pub fn set(&mut self, slot: Slot, tensor: Tensor<R>) {
        self.0[slot.index()] = Some(tensor);
    }
}

impl<R> Index<Slot> for Tensors<R> {
    type Output = Tensor<R>;
    fn index(&self, slot: Slot) -> &Tensor<R> {
        self.0[slot.index()].as_ref().expect("every input is bound before a run")
    }
}

/// Runs every step: afterwards `tensors` holds every slot, states updated.
pub fn run<R: Real>(program: &Program, tensors: &mut Tensors<R>, cursor: Cursor) {
    for slot in program.slots().filter(|&slot| program.desc(slot).role != Role::Scratch) {
        let (desc, tensor) = (program.desc(slot), &tensors[slot]);
        let rows = match desc.rows {
            Rows::Tokens => cursor.tokens,
            Rows::Fixed(rows) => rows,
            Rows::Bound => tensor.rows,
        };
        assert_eq!((tensor.rows, tensor.cols), (rows, desc.cols), "{}", desc.name);
    }
    for step in program.steps() {
        if let (Op::Attention(_), [_, k, v, keys, values]) = (step.op, &step.inputs[..]) {
            let half = program.desc(*keys).element == Element::Value(Quant::F16);
            for (state, rows) in [(*keys, *k), (*values, *v)] {
                let written = append(&tensors[state], &tensors[rows], cursor.pos, half);
                tensors.set(state, written);
            }
        }
        let outputs = eval(step, tensors, cursor);
        assert_eq!(outputs.len(), step.outputs.len());
        for (&slot, tensor) in step.outputs.iter().zip(outputs) {
            tensors.set(slot, tensor);
        }
    }
}

/// The cache with `rows` written at `pos..`.
fn append<R: Real>(cache: &Tensor<R>, rows: &Tensor<R>, pos: usize, half: bool) -> Tensor<R> {
    Tensor::make(cache.rows, cache.cols, |i, j| match i.checked_sub(pos) {
        Some(t) if t < rows.rows && half => rows[(t, j)].halved(),
        Some(t) if t < rows.rows => rows[(t, j)],
        _ => cache[(i, j)],
    })
}

fn eval<R: Real>(step: &Step, tensors: &Tensors<R>, cursor: Cursor) -> Vec<Tensor<R>> {
    let operand = |i: usize| &tensors[step.inputs[i]];
    let one = match step.op {
        Op::Embed { scale } => {
            let (ids, table) = (operand(0), operand(1));
            let row = |t: usize| ids.id(t) as usize;
            Tensor::make(ids.rows, table.cols, |t, c| table[(row(t), c)] * R::of(scale.into()))
        }
        Op::RmsNorm { eps } => rms_norm(operand(0), operand(1), eps.into()),
        Op::Linear { .. } => linear(step, tensors),
        Op::Rope(rope) => {
            turn(operand(0), step.inputs.get(1).map(|&slot| &tensors[slot]), &rope, cursor.pos)
        }
        Op::Attention(attention) => {
            let (kv, pos) = if step.inputs.len() == 5 { (3, cursor.pos) } else { (1, 0) };
            let (o, lse) = attend(operand(0), operand(kv), operand(kv + 1), &attention, pos);
            return vec![o, lse];
        }
        Op::Glu(act) => {
            let (gate, up) = (operand(0), operand(1));
            Tensor::make(gate.rows, gate.cols, |i, j| activate(act, gate[(i, j)]) * up[(i, j)])
        }
        Op::Add => operand(0).plus(operand(1), 1.0),
        Op::HeadLogp => head_logp(operand(0), operand(1), operand(2)),
        Op::LinearGrad { lora } => {
            let dx = operand(0).matmul(operand(1));
            let through = |scale| operand(0).matmul(operand(3)).matmul(operand(2)).scaled(scale);
            lora.map_or(dx.clone(), |scale| dx.plus(&through(scale.into()), 1.0))
        }
        Op::LoraGrad { scale } => {
            let [x, dy, a, b] = [0, 1, 2, 3].map(operand);
            let da = dy.matmul(b).transposed().matmul(x).scaled(scale.into());
            let db = dy.transposed().matmul(&x.matmul(&a.transposed())).scaled(scale.into());
            return vec![da, db];
        }
        Op::RmsNormGrad { eps } => rms_norm_grad(operand(0), operand(1), operand(2), eps.into()),
        Op::AttentionGrad(attention) => {
            return attend_grad(&[0, 1, 2, 3, 4, 5].map(operand), &attention);
        }
        Op::GluGrad(act) => {
            let [gate, up, dy] = [0, 1, 2].map(operand);
            let (rows, cols) = (gate.rows, gate.cols);
            let dgate = |i, j| dy[(i, j)] * up[(i, j)] * activate_grad(act, gate[(i, j)]);
            let dup = |i, j| dy[(i, j)] * activate(act, gate[(i, j)]);
            return vec![Tensor::make(rows, cols, dgate), Tensor::make(rows, cols, dup)];
        }
        Op::HeadLogpGrad => head_logp_grad(&[0, 1, 2, 3].map(operand)),
    };
    vec![one]
}

/// Reciprocal of the root mean square of one group of columns.
fn inverse_rms<R: Real>(x: &Tensor<R>, row: usize, first: usize, group: usize, eps: f64) -> R {
    let squares = sum((first..first + group).map(|j| x[(row, j)] * x[(row, j)]));
    R::of(1.0) / (squares / R::of(group as f64) + R::of(eps)).sqrt()
}

fn rms_norm<R: Real>(x: &Tensor<R>, w: &Tensor<R>, eps: f64) -> Tensor<R> {
    let group = w.cols;
    Tensor::make(x.rows, x.cols, |i, j| {
        let inverse = inverse_rms(x, i, j / group * group, group, eps);
        x[(i, j)] * inverse * w[(0, j % group)]
    })
}

/// `dx = r (w dy) - x r³ mean(x w dy)`, r the reciprocal root mean square.
fn rms_norm_grad<R: Real>(x: &Tensor<R>, w: &Tensor<R>, dy: &Tensor<R>, eps: f64) -> Tensor<R> {
    let group = w.cols;
    Tensor::make(x.rows, x.cols, |i, j| {
        let first = j / group * group;
        let r = inverse_rms(x, i, first, group, eps);
        let scaled = |j: usize| w[(0, j % group)] * dy[(i, j)];
        let mean = sum((first..first + group).map(|j| x[(i, j)] * scaled(j)));
        let mean = mean / R::of(group as f64);
        r * scaled(j) - x[(i, j)] * r * r * r * mean
    })
}

fn linear<R: Real>(step: &Step, tensors: &Tensors<R>) -> Tensor<R> {
    let LinearOperands { x, w, bias, lora } = LinearOperands::of(step);
    let x = &tensors[x];
    let mut y = x.matmul(&tensors[w].transposed());
    if let Some(bias) = bias {
        y = Tensor::make(y.rows, y.cols, |i, j| y[(i, j)] + tensors[bias][(0, j)]);
    }
    if let Some(lora) = lora {
        let down = x.matmul(&tensors[lora.a].transposed());
        y = y.plus(&down.matmul(&tensors[lora.b].transposed()), lora.scale.into());
    }
    y
}

fn turn<R: Real>(x: &Tensor<R>, factors: Option<&Tensor<R>>, rope: &Rope, pos: usize) -> Tensor<R> {
    let width = x.cols / rope.heads;
    let half = rope.dims / 2;
    let mut y = x.clone();
    for (t, head, i) in (0..x.rows)
        .flat_map(|t| (0..rope.heads).flat_map(move |head| (0..half).map(move |i| (t, head, i))))
    {
        let (first, second) = match rope.style {
            RopeStyle::Interleaved => (head * width + 2 * i, head * width + 2 * i + 1),
            RopeStyle::HalfSplit => (head * width + i, head * width + i + half),
        };
        let factor = factors.map_or(1.0, |factors| factors[(0, i)].value());
        let angle = rope.angle(pos + t, i) / factor;
        let (sin, cos) = if rope.inverse { (-angle).sin_cos() } else { angle.sin_cos() };
        let (a, b) = (x[(t, first)], x[(t, second)]);
        y[(t, first)] = a * R::of(cos) - b * R::of(sin);
        y[(t, second)] = a * R::of(sin) + b * R::of(cos);
    }
    y
}

/// Output and log-sum-exp. `k` and `v` hold the rows from position 0 on; token t is at `pos + t`.
fn attend<R: Real>(
    q: &Tensor<R>,
    k: &Tensor<R>,
    v: &Tensor<R>,
    attention: &Attention,
    pos: usize,
) -> (Tensor<R>, Tensor<R>) {
    let width = q.cols / attention.heads;
    let mut o = Tensor::make(q.rows, q.cols, |_, _| R::of(0.0));
    let mut lse = Tensor::make(q.rows, attention.heads, |_, _| R::of(0.0));
    for (t, head) in (0..q.rows).flat_map(|t| (0..attention.heads).map(move |head| (t, head))) {
        let scores = scores(q, k, attention, (t, head), pos);
        let most = scores.iter().map(|(_, s)| s.value()).fold(f64::NEG_INFINITY, f64::max);
        let total = sum(scores.iter().map(|&(_, s)| (s - R::of(most)).exp()));
        lse[(t, head)] = total.ln() + R::of(most);
        for (j, score) in scores {
            let weight = (score - lse[(t, head)]).exp();
            let first = attention.kv_head(head) * width;
            for d in 0..width {
                let at = (t, head * width + d);
                o[at] = o[at] + weight * v[(j, first + d)];
            }
        }
    }
    (o, lse)
}

/// The scaled dot products of one query with every position it sees.
fn scores<R: Real>(
    q: &Tensor<R>,
    k: &Tensor<R>,
    attention: &Attention,
    (t, head): (usize, usize),
    pos: usize,
) -> Vec<(usize, R)> {
    let width = q.cols / attention.heads;
    let (own, other) = (head * width, attention.kv_head(head) * width);
    (attention.first_seen(pos + t)..=pos + t)
        .map(|j| {
            let dot = sum((0..width).map(|d| q[(t, own + d)] * k[(j, other + d)]));
            (j, dot * R::of(attention.scale.into()))
        })
        .collect()
}

/// With P the attention weights: `dV = Pᵀ dO`, `dS = P (dO Vᵀ - rowsum(dO O))`, `dQ = scale dS K`,
/// `dK = scale dSᵀ Q` (FlashAttention-2, arXiv 2307.08691).
fn attend_grad<R: Real>(
    &[q, k, v, o, lse, dy]: &[&Tensor<R>; 6],
    attention: &Attention,
) -> Vec<Tensor<R>> {
    let width = q.cols / attention.heads;
    let zero = |like: &Tensor<R>| Tensor::make(like.rows, like.cols, |_, _| R::of(0.0));
    let (mut dq, mut dk, mut dv) = (zero(q), zero(k), zero(v));
    for (t, head) in (0..q.rows).flat_map(|t| (0..attention.heads).map(move |head| (t, head))) {
        let (own, other) = (head * width, attention.kv_head(head) * width);
        let delta = sum((own..own + width).map(|c| dy[(t, c)] * o[(t, c)]));
        for (j, score) in scores(q, k, attention, (t, head), 0) {
            let p = (score - lse[(t, head)]).exp();
            let dp = sum((0..width).map(|d| dy[(t, own + d)] * v[(j, other + d)]));
            let ds = p * (dp - delta) * R::of(attention.scale.into());
            for d in 0..width {
                let (mine, theirs) = ((t, own + d), (j, other + d));
                dv[theirs] = dv[theirs] + p * dy[mine];
                dq[mine] = dq[mine] + ds * k[theirs];
                dk[theirs] = dk[theirs] + ds * q[mine];
            }
        }
    }
    vec![dq, dk, dv]
}

fn activate<R: Real>(activation: Activation, x: R) -> R {
    match activation {
        Activation::Silu => x / (R::of(1.0) + (-x).exp()),
        Activation::GeluTanh => R::of(0.5) * x * (R::of(1.0) + gelu_inner(x).tanh()),
    }
}

fn gelu_inner<R: Real>(x: R) -> R {
    R::of((2.0 / std::f64::consts::PI).sqrt()) * (x + R::of(0.044715) * x * x * x)
}

fn activate_grad<R: Real>(activation: Activation, x: R) -> R {
    let one = R::of(1.0);
    match activation {
        Activation::Silu => {
            let sigmoid = one / (one + (-x).exp());
            sigmoid * (one + x * (one - sigmoid))
        }
        Activation::GeluTanh => {
            let tanh = gelu_inner(x).tanh();
            let slope =
                R::of((2.0 / std::f64::consts::PI).sqrt()) * (one + R::of(3.0 * 0.044715) * x * x);
            R::of(0.5) * (one + tanh) + R::of(0.5) * x * (one - tanh * tanh) * slope
        }
    }
}

/// Logits of one row and the logarithm of the sum of their exponentials.
fn logits<R: Real>(x: &Tensor<R>, w: &Tensor<R>, t: usize) -> (Vec<R>, R) {
    let logits: Vec<R> =
        (0..w.rows).map(|v| sum((0..x.cols).map(|c| x[(t, c)] * w[(v, c)]))).collect();
    let most = logits.iter().map(|l| l.value()).fold(f64::NEG_INFINITY, f64::max);
    let total = sum(logits.iter().map(|&l| (l - R::of(most)).exp()));
    (logits, total.ln() + R::of(most))
}

fn head_logp<R: Real>(x: &Tensor<R>, w: &Tensor<R>, targets: &Tensor<R>) -> Tensor<R> {
    Tensor::make(x.rows, 1, |t, _| match targets.id(t) {
        NO_TARGET => R::of(0.0),
        target => {
            let (logits, lse) = logits(x, w, t);
            logits[target as usize] - lse
        }
    })
}

fn head_logp_grad<R: Real>(&[x, w, targets, dlogp]: &[&Tensor<R>; 4]) -> Tensor<R> {
    let mut dx = Tensor::make(x.rows, x.cols, |_, _| R::of(0.0));
    for t in (0..x.rows).filter(|&t| targets.id(t) != NO_TARGET) {
        let (logits, lse) = logits(x, w, t);
        for (v, logit) in logits.into_iter().enumerate() {
            let hit = if v == targets.id(t) as usize { 1.0 } else { 0.0 };
            let dlogit = dlogp[(t, 0)] * (R::of(hit) - (logit - lse).exp());
            for c in 0..x.cols {
                dx[(t, c)] = dx[(t, c)] + dlogit * w[(v, c)];
            }
        }
    }
    dx
}
