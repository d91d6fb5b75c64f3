//! The transformer block: one function builds it for every architecture.
//!
//! A block is written forward only; its gradient comes from the op table of `sapwood-kernels`.
//! What differs between architectures (biases, q/k norms, post-norms, sliding windows) are fields
//! of [`Arch`], so a new architecture is metadata and tensor names, not another block.
//!
//! Legend: T tokens, C model width, F feed-forward width, H heads, G key/value heads, D head
//! width, R LoRA rank.

use sapwood_kernels::{Attention, Lora, Program, Quant, Rope, Slot};

use crate::arch::{Arch, LayerTensor};

/// A linear of the block that a LoRA pair can sit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Query projection, `attn_q`.
    Q,
    /// Key projection, `attn_k`.
    K,
    /// Value projection, `attn_v`.
    V,
    /// Attention output projection, `attn_output`.
    O,
    /// Gate of the feed-forward, `ffn_gate`.
    Gate,
    /// Up projection of the feed-forward, `ffn_up`.
    Up,
    /// Down projection of the feed-forward, `ffn_down`.
    Down,
}

impl Target {
    /// All seven, in the order in which parameters are laid out.
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];

    /// The name of the tensor within `blk.N.*.weight`, which also names the target in files.
    pub fn name(self) -> &'static str {
        match self {
            Target::Q => "attn_q",
            Target::K => "attn_k",
            Target::V => "attn_v",
            Target::O => "attn_output",
            Target::Gate => "ffn_gate",
            Target::Up => "ffn_up",
            Target::Down => "ffn_down",
        }
    }

    /// The weight that this target adds to.
    pub(crate) fn tensor(self) -> LayerTensor {
        match self {
            Target::Q => LayerTensor::Q,
            Target::K => LayerTensor::K,
            Target::V => LayerTensor::V,
            Target::O => LayerTensor::O,
            Target::Gate => LayerTensor::Gate,
            Target::Up => LayerTensor::Up,
            Target::Down => LayerTensor::Down,
        }
    }

    fn bias(self) -> Option<LayerTensor> {
        match self {
            Target::Q => Some(LayerTensor::QBias),
            Target::K => Some(LayerTensor::KBias),
            Target::V => Some(LayerTensor::VBias),
            _ => None,
        }
    }

    /// (output width, input width) of the linear.
    pub fn shape(self, arch: &Arch) -> (usize, usize) {
        let (c, f) = (arch.width, arch.ff);
        let (q, kv) = (arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim);
        match self {
            Target::Q => (q, c),
            Target::K | Target::V => (kv, c),
            Target::O => (c, q),
            Target::Gate | Target::Up => (f, c),
            Target::Down => (c, f),
        }
    }
}

/// Rank and scale of a LoRA pair; the scale is compiled into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PairKind {
    pub rank: usize,
    /// Bits of the `f32` factor alpha / rank, so that kinds can be compared and hashed.
    pub scale_bits: u32,
}

/// All that tells one compiled block of a model from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockKind {
    /// Block types of the seven linears, by [`Target::ALL`].
    pub quants: [Quant; 7],
    /// Whether this layer attends through the sliding window.
    pub sliding: bool,
    pub pairs: [Option<PairKind>; 7],
}

/// What the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// x → out, appending to the KV cache.
    Infer,
    /// x → out over a whole sequence, without a cache.
    Forward,
    /// (x, gradient of out) → (gradient of x, gradients of the pairs); recomputes the block.
    Backward,
}

/// A built program and the names of its slots.
pub(crate) struct Block {
    pub program: Program,
    /// (T, C)
    pub x: Slot,
    /// (T, C): the block's result; in [`Mode::Backward`] the gradient of `x`.
    pub out: Slot,
    pub weights: Vec<(LayerTensor, Slot)>,
    pub rope_factors: Option<Slot>,
    /// (A (R, I), B (O, R)) by [`Target::ALL`].
    pub pairs: [Option<(Slot, Slot)>; 7],
    /// K and V, (capacity, G·D); in [`Mode::Infer`].
    pub states: Option<(Slot, Slot)>,
    /// Gradient of the result (T, C); in [`Mode::Backward`].
    pub seed: Option<Slot>,
    /// Gradients of A and B; in [`Mode::Backward`].
    pub pair_grads: [Option<(Slot, Slot)>; 7],
}

struct Builder<'a> {
    arch: &'a Arch,
    kind: &'a BlockKind,
    p: Program,
    weights: Vec<(LayerTensor, Slot)>,
    rope_factors: Option<Slot>,
    pairs: [Option<(Slot, Slot)>; 7],
}

impl Builder<'_> {
    fn vector(&mut self, tensor: LayerTensor, cols: usize) -> Slot {
        let slot = self.p.weight(tensor.name(), 1, cols, Quant::F32);
        self.weights.push((tensor, slot));
        slot
    }

    fn norm(&mut self, x: Slot, tensor: LayerTensor, group: usize) -> Slot {
        let w = self.vector(tensor, group);
        self.p.rms_norm(x, w, self.arch.norm_eps)
    }

    fn linear(&mut self, x: Slot, target: Target) -> Slot {
        let (rows, cols) = target.shape(self.arch);
        let index = target as usize;
        let w = self.p.weight(target.name(), rows, cols, self.kind.quants[index]);
        self.weights.push((target.tensor(), w));
        let bias = target.bias().filter(|_| self.arch.qkv_bias).map(|b| self.vector(b, rows));
        let lora = self.kind.pairs[index].map(|pair| {
            let a = self.p.param("lora_a", pair.rank, cols);
            let b = self.p.param("lora_b", rows, pair.rank);
            self.pairs[index] = Some((a, b));
            Lora { a, b, scale: f32::from_bits(pair.scale_bits) }
        });
        self.p.linear(x, w, bias, lora)
    }

    fn rope(&mut self, x: Slot, heads: usize) -> Slot {
        let rope = &self.arch.rope;
        let local = rope.local_base.filter(|_| self.kind.sliding);
        let factors = match (rope.factors, self.rope_factors) {
            (false, _) => None,
            (true, Some(slot)) => Some(slot),
            (true, None) => Some(self.p.weight("rope_freqs", 1, rope.dims / 2, Quant::F32)),
        };
        self.rope_factors = factors;
        let spec = Rope {
            heads,
            dims: rope.dims,
            base: local.unwrap_or(rope.base),
            // A local base belongs to layers that were never stretched.
            linear_scale: if local.is_some() { 1.0 } else { rope.linear_scale },
            style: rope.style,
            inverse: false,
        };
        self.p.rope(x, factors, spec)
    }

    fn forward(&mut self, x: Slot, states: Option<(Slot, Slot)>) -> Slot {
        let arch = self.arch;
        let h = self.norm(x, LayerTensor::AttnNorm, arch.width);
        let mut q = self.linear(h, Target::Q);
        let mut k = self.linear(h, Target::K);
        let v = self.linear(h, Target::V);
        if arch.qk_norm {
            q = self.norm(q, LayerTensor::QNorm, arch.head_dim);
            k = self.norm(k, LayerTensor::KNorm, arch.head_dim);
        }
        q = self.rope(q, arch.heads);
        k = self.rope(k, arch.kv_heads);
        let window = arch.sliding.filter(|_| self.kind.sliding).map(|s| s.window);
        let attention = Attention {
            heads: arch.heads,
            kv_heads: arch.kv_heads,
            scale: arch.attention_scale,
            window,
        };
        let attended = self.p.attention([q, k, v], states, attention);
        let mut y = self.linear(attended, Target::O);
        if arch.post_norms {
            y = self.norm(y, LayerTensor::PostAttnNorm, arch.width);
        }
        let x = self.p.add(x, y);
        let h = self.norm(x, LayerTensor::FfnNorm, arch.width);
        let gate = self.linear(h, Target::Gate);
        let up = self.linear(h, Target::Up);
        let inner = self.p.glu(gate, up, arch.activation);
        let mut y = self.linear(inner, Target::Down);
        if arch.post_norms {
            y = self.norm(y, LayerTensor::PostFfnNorm, arch.width);
        }
        self.p.add(x, y)
    }
}

/// Builds the block of `kind` for `mode`.
pub(crate) fn block(arch: &Arch, kind: &BlockKind, mode: Mode) -> Block {
    let mut b = Builder {
        arch,
        kind,
        p: Program::new(),
        weights: Vec::new(),
        rope_factors: None,
        pairs: [None; 7],
    };
    let x = b.p.input("x", arch.width);
    let kv_width = arch.kv_heads * arch.head_dim;
    let states = (mode == Mode::Infer)
        .then(|| (b.p.state("k", kv_width, Quant::F16), b.p.state("v", kv_width, Quant::F16)));
    let out = b.forward(x, states);
    let (out, seed, pair_grads) = if mode == Mode::Backward {
        let seed = b.p.input("gradient", arch.width);
        let (dx, grads) = backward(&mut b.p, x, out, seed, &b.pairs);
        (dx, Some(seed), grads)
    } else {
        (out, None, [None; 7])
    };
    b.p.output(out);
    if mode != Mode::Infer {
        b.p.exact();
    }
    Block {
        program: b.p,
        x,
        out,
        weights: b.weights,
        rope_factors: b.rope_factors,
        pairs: b.pairs,
        states,
        seed,
        pair_grads,
    }
}

type PairSlots = [Option<(Slot, Slot)>; 7];

/// Appends the gradient of the block and marks the gradients of the pairs as outputs.
fn backward(
    p: &mut Program,
    x: Slot,
    out: Slot,
    seed: Slot,
    pairs: &PairSlots,
) -> (Slot, PairSlots) {
    let mut wrt = vec![x];
    wrt.extend(pairs.iter().flatten().flat_map(|&(a, b)| [a, b]));
    let grads = p.grad(out, seed, &wrt);
    let mut rest = grads[1..].chunks_exact(2);
    let pair_grads = pairs.map(|pair| {
        pair.map(|_| {
            let pair = rest.next().expect("one gradient per parameter");
            p.output(pair[0]);
            p.output(pair[1]);
            (pair[0], pair[1])
        })
    });
    (grads[0], pair_grads)
}
