//! From a program's steps to what one kernel does at once, in runs of one token.
//!
//! Fusion is private to the device: a [`Piece`] is defined by the steps in it, and is tested
//! against running them one by one, which is also what happens where its buffers do not lie
//! together.

use crate::grad::LinearOperands;
use crate::op::{Activation, Attention, Lora, Op, Rope, Step};
use crate::program::Program;
use crate::quant::Quant;
use crate::types::{Element, Rows, Slot};

/// Steps that follow one another, and what they are together.
pub(super) struct Piece {
    pub steps: Vec<Step>,
    pub task: Task,
    pub next: Next,
}

/// LoRA down-projections of the next kernel's input, computed in this kernel's epilogue: `a` of up
/// to two pairs, and the weight of the norm in front of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Next {
    pub norm: Option<Slot>,
    pub pairs: [Option<Lora>; 2],
}

/// What a kernel for one token does at once.
pub(super) enum Task {
    /// Nothing: the steps one by one.
    Steps,
    /// Norm, the three linears, norms of heads, rope, the new row of the cache.
    Project(Project),
    /// Attention over a cache.
    Attend(Attention),
    /// A linear with its pair, added to the stream.
    Output(Output),
    /// Norm, gate and up, the activation.
    Gated(Gated),
    /// A norm behind a linear, and the stream.
    NormAdd(NormAdd),
}

/// The norm in front of a linear.
#[derive(Clone, Copy)]
pub(super) struct Norm {
    pub w: Slot,
    pub eps: f32,
}

/// See [`Task::Project`]; arrays are queries, keys, values.
pub(super) struct Project {
    pub x: Slot,
    pub norm: Norm,
    pub linears: [LinearOperands; 3],
    /// Of queries and of keys.
    pub head_norms: Option<[Norm; 2]>,
    pub rope: Rope,
    pub factors: Option<Slot>,
    /// What attention reads.
    pub q: Slot,
    /// Keys, values.
    pub caches: [Slot; 2],
    pub attention: Attention,
}

/// See [`Task::Output`].
pub(super) struct Output {
    pub linear: LinearOperands,
    pub residual: Option<Slot>,
    pub y: Slot,
}

/// See [`Task::Gated`]; gate, then up.
pub(super) struct Gated {
    pub x: Slot,
    pub norm: Norm,
    pub linears: [LinearOperands; 2],
    pub activation: Activation,
    pub y: Slot,
}

/// See [`Task::NormAdd`].
pub(super) struct NormAdd {
    pub x: Slot,
    pub norm: Norm,
    pub residual: Slot,
    pub y: Slot,
}

/// What the kernels have workgroup memory for: columns of a head, ranks of a pair.
pub(super) const WIDTH_MAX: usize = 256;
pub(super) const RANK_MAX: usize = 64;

/// Every step by itself.
pub(super) fn unfused(steps: Vec<Step>) -> Vec<Piece> {
    steps.into_iter().map(|step| Piece::new(vec![step], Task::Steps)).collect()
}

impl Piece {
    fn new(steps: Vec<Step>, task: Task) -> Piece {
        Piece { steps, task, next: Next::default() }
    }

    /// What it makes, if its kernel can leave something beside it.
    fn makes(&self) -> Option<Slot> {
        match &self.task {
            Task::Attend(_) => Some(self.steps[0].outputs[0]),
            Task::Output(output) => Some(output.y),
            Task::Gated(gated) => Some(gated.y),
            Task::NormAdd(sum) => Some(sum.y),
            Task::Project(_) | Task::Steps => None,
        }
    }

    /// What it reads, and what has to be left beside that.
    fn needs(&self) -> Option<(Slot, Next)> {
        let (x, next) = match &self.task {
            Task::Output(Output { linear, .. }) => {
                (linear.x, Next { norm: None, pairs: [linear.lora, None] })
            }
            Task::Gated(Gated { x, norm, linears, .. }) => {
                (*x, Next { norm: Some(norm.w), pairs: linears.map(|linear| linear.lora) })
            }
            _ => return None,
        };
        next.pairs.iter().any(Option::is_some).then_some((x, next))
    }
}

/// The pieces that `steps` are made of, in their order.
pub(super) fn fuse(program: &Program, steps: Vec<Step>) -> Vec<Piece> {
    let finder = Finder { program, steps: &steps };
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < steps.len() {
        let found = finder.project(at).map(|(count, piece)| (count, Task::Project(piece)));
        let found = found.or_else(|| finder.gated(at).map(|piece| (4, Task::Gated(piece))));
        let found = found.or_else(|| finder.norm_add(at).map(|piece| (2, Task::NormAdd(piece))));
        let found = found.or_else(|| finder.output(at).map(|(n, piece)| (n, Task::Output(piece))));
        let found = found.or_else(|| finder.attend(at).map(|piece| (1, Task::Attend(piece))));
        let (count, task) = found.unwrap_or((1, Task::Steps));
        pieces.push(Piece::new(steps[at..at + count].to_vec(), task));
        at += count;
    }
    for i in 1..pieces.len() {
        if let Some((x, next)) = pieces[i].needs()
            && pieces[i - 1].makes() == Some(x)
        {
            pieces[i - 1].next = next;
        }
    }
    pieces
}

struct Finder<'a> {
    program: &'a Program,
    steps: &'a [Step],
}

impl Finder<'_> {
    /// How often a slot is read; an output once more.
    fn reads(&self, slot: Slot) -> usize {
        let inputs = self.steps.iter().flat_map(|step| &step.inputs);
        let handed_out = self.program.outputs().contains(&slot);
        inputs.filter(|&&input| input == slot).count() + usize::from(handed_out)
    }

    /// A norm over whole rows of one token, its result and how often that is read.
    fn norm(&self, at: usize) -> Option<(Slot, Norm, Slot, usize)> {
        let step = self.steps.get(at)?;
        let Op::RmsNorm { eps } = step.op else { return None };
        let [x, w] = step.inputs[..] else { return None };
        let whole = self.program.cols(x) == self.program.cols(w);
        let h = step.outputs[0];
        (whole && self.program.rows(x) == Rows::Tokens).then(|| {
            let norm = Norm { w, eps };
            (x, norm, h, self.reads(h))
        })
    }

    fn linear(&self, step: &Step) -> Option<LinearOperands> {
        let Op::Linear { .. } = step.op else { return None };
        let linear = LinearOperands::of(step);
        let fits = linear.lora.is_none_or(|Lora { b, .. }| self.program.cols(b) <= RANK_MAX);
        (fits && self.program.rows(linear.x) == Rows::Tokens).then_some(linear)
    }

    fn quant(&self, slot: Slot) -> Quant {
        match self.program.desc(slot).element {
            Element::Value(quant) => quant,
            Element::Id => unreachable!("a weight"),
        }
    }

    /// The step of a window that makes a slot, if nothing else reads that slot.
    fn only_maker<'a>(&self, window: &'a [Step], slot: Slot) -> Option<&'a Step> {
        let maker = window.iter().find(|step| step.outputs.contains(&slot))?;
        (self.reads(slot) == 1).then_some(maker)
    }

    fn project(&self, at: usize) -> Option<(usize, Project)> {
        let (x, norm, h, reads) = self.norm(at)?;
        let is_attention = |step: &Step| matches!(step.op, Op::Attention(_));
        let count = self.steps[at..].iter().position(is_attention)?;
        let window = &self.steps[at..at + count];
        let step = &self.steps[at + count];
        let Op::Attention(attention) = step.op else { return None };
        let [q, k, v, keys, values] = step.inputs[..] else { return None };
        let mut of_heads = Vec::new();
        let mut branch = |slot: Slot| {
            let mut maker = self.only_maker(window, slot)?;
            let Op::Rope(rope) = maker.op else { return None };
            let factors = maker.inputs.get(1).copied();
            maker = self.only_maker(window, maker.inputs[0])?;
            if let Op::RmsNorm { eps } = maker.op {
                of_heads.push(Norm { w: maker.inputs[1], eps });
                maker = self.only_maker(window, maker.inputs[0])?;
            }
            Some((rope, factors, self.linear(maker)?))
        };
        let (rope, factors, q_linear) = branch(q)?;
        let (k_rope, k_factors, k_linear) = branch(k)?;
        let linears = [q_linear, k_linear, self.linear(self.only_maker(window, v)?)?];
        let head_norms = match of_heads[..] {
            [] => None,
            [q, k] if q.eps == k.eps => Some([q, k]),
            _ => return None,
        };
        let all = 6 + if head_norms.is_some() { 2 } else { 0 };
        let width = self.program.cols(q) / attention.heads;
        let normed_by_head =
            head_norms.is_none_or(|norms| norms.iter().all(|n| self.program.cols(n.w) == width));
        let fits = count == all
            && reads == 3
            && linears.iter().all(|linear| linear.x == h)
            && normed_by_head
            && (rope.heads, k_rope.heads) == (attention.heads, attention.kv_heads)
            && (Rope { heads: rope.heads, ..k_rope }, k_factors) == (rope, factors)
            && !rope.inverse
            && self.attend(at + count).is_some()
            && self.types_fit(&linears)
            && self.heads_fit(width, keys);
        let caches = [keys, values];
        let piece = Project { x, norm, linears, head_norms, rope, factors, q, caches, attention };
        fits.then_some((count, piece))
    }

    /// At most two block types.
    fn types_fit(&self, linears: &[LinearOperands; 3]) -> bool {
        let [q, k, v] = linears.map(|linear| self.quant(linear.w));
        q == k || k == v || q == v
    }

    /// Two halves of a word are of one head.
    fn heads_fit(&self, width: usize, keys: Slot) -> bool {
        let whole_words = self.quant(keys) == Quant::F32 || width.is_multiple_of(2);
        width <= WIDTH_MAX && whole_words
    }

    fn attend(&self, at: usize) -> Option<Attention> {
        let step = &self.steps[at];
        let Op::Attention(attention) = step.op else { return None };
        let cached = step.inputs.len() == 5;
        let width = self.program.cols(step.inputs[0]) / attention.heads;
        let fits = cached && width <= WIDTH_MAX && self.reads(step.outputs[1]) == 0;
        fits.then_some(attention)
    }

    fn output(&self, at: usize) -> Option<(usize, Output)> {
        let step = &self.steps[at];
        let linear = self.linear(step)?;
        let made = step.outputs[0];
        if let Some((residual, y)) = self.added(at + 1, made) {
            return Some((2, Output { linear, residual: Some(residual), y }));
        }
        linear.lora.map(|_| (1, Output { linear, residual: None, y: made }))
    }

    fn norm_add(&self, at: usize) -> Option<NormAdd> {
        let (x, norm, h, _) = self.norm(at)?;
        let (residual, y) = self.added(at + 1, h)?;
        Some(NormAdd { x, norm, residual, y })
    }

    /// What the step adds to a slot that nothing else reads, and the sum.
    fn added(&self, at: usize, slot: Slot) -> Option<(Slot, Slot)> {
        let step = self.steps.get(at).filter(|step| step.op == Op::Add)?;
        let [a, b] = step.inputs[..] else { return None };
        let other = if a == slot { b } else { a };
        (step.inputs.contains(&slot) && self.reads(slot) == 1).then(|| (other, step.outputs[0]))
    }

    fn gated(&self, at: usize) -> Option<Gated> {
        let (x, norm, h, reads) = self.norm(at)?;
        let [gate, up, glu] = self.steps.get(at + 1..at + 4)? else { return None };
        let Op::Glu(activation) = glu.op else { return None };
        let linears = [self.linear(gate)?, self.linear(up)?];
        let fits = reads == 2
            && linears.iter().all(|linear| linear.x == h && linear.bias.is_none())
            && glu.inputs == [gate.outputs[0], up.outputs[0]]
            && glu.inputs.iter().all(|&slot| self.reads(slot) == 1);
        let y = glu.outputs[0];
        fits.then_some(Gated { x, norm, linears, activation, y })
    }
}
