//! The kernels: which sources each is put together from, and what it binds.
//!
//! A source is plain WGSL. A kernel is the prelude, what it shares with its relatives, the block
//! type that it reads, and its own file, one after another; there is no preprocessor.

use crate::Quant;

/// A kernel; those that read weights come once per block type, those that read a cache once per
/// kind of cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Rows of a table.
    Embed(Quant),
    /// `x Wᵀ` for many tokens.
    Linear(Quant),
    /// `x Wᵀ` for up to [`FEW`] tokens.
    LinearFew(Quant),
    /// `dy W`.
    LinearGrad(Quant),
    /// A product with few columns, in parts.
    Thin,
    /// Adds up the parts.
    Sum,
    /// `w x / rms(x)`.
    RmsNorm,
    /// Its gradient.
    RmsNormGrad,
    /// Rotary position embedding, either way.
    Rope,
    /// New keys and values into a cache of F32 or F16.
    Append(Quant),
    /// Causal attention over keys and values in F32 or F16.
    Attention(Quant),
    /// Dot products of outputs and their gradients.
    AttentionDelta,
    /// Gradient of the queries.
    AttentionGradQ,
    /// Gradients of keys and values.
    AttentionGradKv,
    /// `act(gate) up`.
    Glu,
    /// Its gradients.
    GluGrad,
    /// `a + b`.
    Add,
    /// A shard of logits into the running statistics.
    HeadShard,
    /// Log-probabilities from the statistics.
    HeadLogp,
    /// A shard of logits into its gradient.
    HeadSlopes,
}

/// How the invocations of a workgroup add up what each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Through workgroup memory: every GPU can.
    Memory,
    /// With subgroup operations.
    Subgroups,
}

/// The most tokens that [`Kernel::LinearFew`] takes.
pub const FEW: usize = 4;

/// Bytes of immediates that every pipeline has room for.
pub const IMMEDIATE_BYTES: u32 = 64;

/// The most storage buffers that a kernel binds; every adapter has as many.
pub const BINDINGS_MAX: usize = 8;

macro_rules! wgsl {
    ($name:literal) => {
        include_str!(concat!("wgsl/", $name, ".wgsl"))
    };
}

const FLOATS: [Quant; 2] = [Quant::F32, Quant::F16];

impl Kernel {
    /// Every kernel with every block type.
    pub fn all() -> Vec<Kernel> {
        use Kernel::*;
        let mut all = vec![Thin, Sum, RmsNorm, RmsNormGrad, Rope, AttentionDelta, AttentionGradQ];
        all.extend([AttentionGradKv, Glu, GluGrad, Add, HeadShard, HeadLogp, HeadSlopes]);
        for quant in Quant::ALL {
            all.extend([Embed(quant), Linear(quant), LinearFew(quant), LinearGrad(quant)]);
        }
        for quant in FLOATS {
            all.extend([Append(quant), Attention(quant)]);
        }
        all
    }

    /// For labels and messages.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// How many storage buffers are read only (the first ones), and how many there are.
    pub fn bindings(self) -> (u32, u32) {
        match self {
            Kernel::Embed(_) => (2, 3),
            Kernel::Linear(_) | Kernel::LinearFew(_) => (1, 6),
            Kernel::LinearGrad(_) => (1, 5),
            Kernel::Thin | Kernel::RmsNorm | Kernel::Glu | Kernel::Add => (0, 3),
            Kernel::AttentionDelta => (0, 3),
            Kernel::Sum => (0, 2),
            Kernel::RmsNormGrad | Kernel::Append(_) => (0, 4),
            Kernel::Rope => (1, 3),
            Kernel::Attention(_) | Kernel::GluGrad => (0, 5),
            Kernel::AttentionGradQ => (0, 7),
            Kernel::AttentionGradKv => (0, 8),
            Kernel::HeadShard | Kernel::HeadLogp => (1, 3),
            Kernel::HeadSlopes => (1, 4),
        }
    }

    /// The whole text. Kernels that add nothing up are the same either way.
    pub fn source(self, reduce: Reduce) -> String {
        let (reduce, reduce_rows) = match reduce {
            Reduce::Memory => (wgsl!("reduce"), wgsl!("reduce_rows")),
            Reduce::Subgroups => (wgsl!("reduce_subgroups"), wgsl!("reduce_rows_subgroups")),
        };
        let mut parts = vec![wgsl!("prelude")];
        match self {
            Kernel::Embed(quant) => {
                parts.extend(weights(quant).into_iter().chain([wgsl!("embed")]))
            }
            Kernel::Linear(quant) => {
                parts.push(wgsl!("linear_sizes"));
                parts.extend(weights(quant));
                parts.extend([wgsl!("tile"), wgsl!("linear_epilogue"), wgsl!("linear")]);
            }
            Kernel::LinearFew(quant) => {
                parts.push(wgsl!("linear_sizes"));
                parts.extend(weights(quant));
                parts.extend([wgsl!("linear_epilogue"), reduce_rows, wgsl!("linear_few")]);
            }
            Kernel::LinearGrad(quant) => {
                parts.push(wgsl!("linear_sizes"));
                parts.extend(weights(quant));
                parts.extend([wgsl!("tile"), wgsl!("linear_grad")]);
            }
            Kernel::Thin => parts.push(wgsl!("thin")),
            Kernel::Sum => parts.push(wgsl!("sum")),
            Kernel::RmsNorm => parts.extend([reduce, wgsl!("rms_norm")]),
            Kernel::RmsNormGrad => parts.extend([reduce, wgsl!("rms_norm_grad")]),
            Kernel::Rope => parts.push(wgsl!("rope")),
            Kernel::Append(quant) => {
                let cache = match quant {
                    Quant::F16 => wgsl!("append_f16"),
                    _ => wgsl!("append_f32"),
                };
                parts.extend([cache, wgsl!("append")]);
            }
            Kernel::Attention(quant) => {
                let kv = match quant {
                    Quant::F16 => wgsl!("kv_f16"),
                    _ => wgsl!("kv_f32"),
                };
                parts.extend([kv, wgsl!("attention_tile"), wgsl!("attention")]);
            }
            Kernel::AttentionDelta => parts.push(wgsl!("attention_delta")),
            Kernel::AttentionGradQ => {
                parts.extend([wgsl!("attention_tile"), wgsl!("attention_grad_tile")]);
                parts.push(wgsl!("attention_grad_q"));
            }
            Kernel::AttentionGradKv => {
                parts.extend([wgsl!("attention_tile"), wgsl!("attention_grad_tile")]);
                parts.push(wgsl!("attention_grad_kv"));
            }
            Kernel::Glu => parts.extend([wgsl!("activation"), wgsl!("glu")]),
            Kernel::GluGrad => parts.extend([wgsl!("activation"), wgsl!("glu_grad")]),
            Kernel::Add => parts.push(wgsl!("add")),
            Kernel::HeadShard => parts.extend([reduce, wgsl!("head_shard")]),
            Kernel::HeadLogp => parts.push(wgsl!("head_logp")),
            Kernel::HeadSlopes => parts.push(wgsl!("head_slopes")),
        }
        parts.join("\n")
    }
}

/// How weights of a block type are read.
fn weights(quant: Quant) -> Vec<&'static str> {
    let packed = [wgsl!("weights"), wgsl!("packed")];
    let of = |rest: &[&'static str]| packed.iter().chain(rest).copied().collect();
    match quant {
        Quant::F32 => vec![wgsl!("weights"), wgsl!("block/f32")],
        Quant::F16 => of(&[wgsl!("block/f16")]),
        Quant::BF16 => of(&[wgsl!("block/bf16")]),
        Quant::Q4_0 => of(&[wgsl!("block/q4_0")]),
        Quant::Q4_1 => of(&[wgsl!("block/q4_1")]),
        Quant::Q5_0 => of(&[wgsl!("block/q5_0")]),
        Quant::Q5_1 => of(&[wgsl!("block/q5_1")]),
        Quant::Q8_0 => of(&[wgsl!("block/q8_0")]),
        Quant::Q4_K => of(&[wgsl!("k"), wgsl!("block/q4_k")]),
        Quant::Q5_K => of(&[wgsl!("k"), wgsl!("block/q5_k")]),
        Quant::Q6_K => of(&[wgsl!("block/q6_k")]),
    }
}
