//! The closed set of coarse ops that a [`Program`](crate::Program) is made of.
//!
//! Attributes are plain data; operands are slots. `reference.rs` is the executable definition of
//! every op, `grad.rs` its derivative, `cpu/` one fast way to compute it.
//!
//! Legend: T tokens, C model width, I/O in and out width of a linear, H heads, G key-value heads,
//! D head width, V vocabulary, R LoRA rank. Everything is two-dimensional and row-major.

use crate::types::Slot;

/// Target of a row that carries no loss: [`Op::HeadLogp`] yields 0 for it and does no work.
pub const NO_TARGET: u32 = u32::MAX;

/// One op. The operands in brackets are optional.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// `(ids (T,1), table (V,C)) -> (T,C)`: rows of the table, times `scale`.
    Embed {
        /// Factor on every value (Gemma multiplies by sqrt(C)).
        scale: f32,
    },
    /// `(x (T,N), w (1,group)) -> (T,N)`: `w * x / rms(x)` over every run of `group` columns.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// `(x (T,I), W (O,I), [bias (1,O)], [a (R,I), b (O,R)]) -> (T,O)`:
    /// `x Wᵀ + bias + lora (x aᵀ) bᵀ`.
    Linear {
        /// Whether a bias operand follows the weight.
        bias: bool,
        /// Scale of the LoRA pair, when there is one.
        lora: Option<f32>,
    },
    /// `(x (T,H*D), [factors (1,dims/2)]) -> (T,H*D)`: rotary position embedding.
    Rope(Rope),
    /// `(q (T,H*D), k (T,G*D), v (T,G*D), [keys, values (capacity,G*D)]) -> o (T,H*D), lse (T,H)`:
    /// causal attention. With a cache, rows `pos..pos+T` of it are written first and token t sees
    /// rows `0..=pos+t`; without, the program's own T rows. `lse` is the logarithm of the sum of
    /// exponentials that the gradient needs.
    Attention(Attention),
    /// `(gate (T,F), up (T,F)) -> (T,F)`: `act(gate) * up`.
    Glu(Activation),
    /// `(a (T,N), b (T,N)) -> (T,N)`.
    Add,
    /// `(x (T,C), W (V,C), targets (T,1)) -> (T,1)`: `log softmax(x Wᵀ)[target]`, 0 where the
    /// target is [`NO_TARGET`].
    HeadLogp,

    /// `(dy (T,O), W (O,I), [a, b]) -> dx (T,I)`: `dy W + lora (dy b) a`.
    LinearGrad {
        /// Scale of the LoRA pair, when there is one.
        lora: Option<f32>,
    },
    /// `(x (T,I), dy (T,O), a (R,I), b (O,R)) -> da (R,I), db (O,R)`:
    /// `da = scale (dy b)ᵀ x`, `db = scale dyᵀ (x aᵀ)`.
    LoraGrad {
        /// Scale of the LoRA pair.
        scale: f32,
    },
    /// `(x (T,N), w (1,group), dy (T,N)) -> dx (T,N)`.
    RmsNormGrad {
        /// Added to the mean square.
        eps: f32,
    },
    /// `(q, k, v, o, lse, do) -> dq, dk, dv`: of [`Op::Attention`] without a cache.
    AttentionGrad(Attention),
    /// `(gate, up, dy) -> dgate, dup`.
    GluGrad(Activation),
    /// `(x (T,C), W (V,C), targets (T,1), dlogp (T,1)) -> dx (T,C)`:
    /// row t is `dlogp[t] (W[target] - softmax(x Wᵀ) W)`.
    HeadLogpGrad,
}

/// Attributes of the rotary position embedding (RoFormer, arXiv 2104.09864). Token t of a run
/// has position `cursor.pos + t`; pair i turns by `position / linear_scale * base^(-2i/dims)`,
/// divided by `factors[i]` where factors are given (Llama 3.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// H: the columns of `x` are H heads of D.
    pub heads: usize,
    /// Leading columns of a head that turn; even, at most D.
    pub dims: usize,
    /// Base of the geometric row of frequencies.
    pub base: f32,
    /// Positions are divided by this (linear context extension); usually 1.
    pub linear_scale: f32,
    /// Which columns form a pair.
    pub style: RopeStyle,
    /// Turn backwards: the transpose, hence the gradient.
    pub inverse: bool,
}

/// Which two columns of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Columns `2i` and `2i+1` (GGUF's llama).
    Interleaved,
    /// Columns `i` and `i + dims/2` (NeoX: qwen2, qwen3, gemma3).
    HalfSplit,
}

/// Attributes of causal attention with grouped keys (GQA, arXiv 2305.13245).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// H query heads.
    pub heads: usize,
    /// G key-value heads; H is a multiple of G.
    pub kv_heads: usize,
    /// Factor on the dot products, usually `1/sqrt(D)`.
    pub scale: f32,
    /// Token t sees only the last `window` positions, itself included; `None` sees all.
    pub window: Option<usize>,
}

impl Rope {
    /// Angle of pair `pair` at `position`, before frequency factors.
    pub(crate) fn angle(&self, position: usize, pair: usize) -> f64 {
        let exponent = -2.0 * pair as f64 / self.dims as f64;
        position as f64 / f64::from(self.linear_scale) * f64::from(self.base).powf(exponent)
    }
}

impl Attention {
    /// The key-value head that query head `head` reads.
    pub(crate) fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }

    /// The first position that a token at `position` sees.
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Activation of a gated linear unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// The tanh approximation of GELU (Gemma).
    GeluTanh,
}

/// One op applied to slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is computed.
    pub op: Op,
    /// Operands, in the order that [`Op`] lists.
    pub inputs: Vec<Slot>,
    /// Results, in the order that [`Op`] lists; each slot is written by one step only.
    pub outputs: Vec<Slot>,
}

/// The low-rank pair beside a weight (LoRA, arXiv 2106.09685): adds `scale (x aᵀ) bᵀ`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lora {
    /// Down projection (R,I).
    pub a: Slot,
    /// Up projection (O,R).
    pub b: Slot,
    /// `alpha / R`, times the user's strength.
    pub scale: f32,
}
