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
    /// For one token: norm, queries, keys and values with bias, pair, norms and rope, and the
    /// cache's new row.
    Project {
        /// The one or two types of the three weights.
        quants: [Quant; 2],
        /// F32 or F16.
        cache: Quant,
    },
    /// For one token: attention over a cache.
    Attend(Quant),
    /// For one token: a linear with its pair, added to the stream.
    Output(Quant),
    /// For one token: norm, gate and up with their pairs, the activation.
    Gated([Quant; 2]),
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

/// Bytes of immediates that every pipeline has room for. Vulkan promises as many, wgpu gives as many
/// on Direct3D 12 and more elsewhere.
pub const IMMEDIATE_BYTES: u32 = 128;

/// The most storage buffers that a kernel binds; every adapter has as many.
pub const BINDINGS_MAX: usize = 8;

macro_rules! wgsl {
    ($name:literal) => {
        include_str!(concat!("wgsl/", $name, ".wgsl"))
    };
}

const FLOATS: [Quant; 2] = [Quant::F32, Quant::F16];

impl Kernel {
    /// Every kernel with every block type; of the pairs of types, each type first and second.
    pub fn all() -> Vec<Kernel> {
        use Kernel::*;
        let mut all = vec![Thin, Sum, RmsNorm, RmsNormGrad, Rope, AttentionDelta, AttentionGradQ];
        all.extend([AttentionGradKv, Glu, GluGrad, Add, HeadShard, HeadLogp, HeadSlopes]);
        for quant in Quant::ALL {
            all.extend([Embed(quant), Linear(quant), LinearFew(quant), LinearGrad(quant)]);
        }
        for cache in FLOATS {
            all.extend([Append(cache), Attention(cache), Attend(cache)]);
        }
        let others = Quant::ALL.into_iter().cycle().skip(1);
        for (quant, other) in Quant::ALL.into_iter().zip(others) {
            all.push(Output(quant));
            for quants in [[quant, quant], [quant, other]] {
                all.push(Gated(quants));
                all.extend(FLOATS.map(|cache| Project { quants, cache }));
            }
        }
        all
    }

    /// For labels and messages.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// How many storage buffers are read only (the first ones), and how many there are.
    pub fn bindings(self) -> (u32, u32) {
        // Weights of F32 lie among values that may be written.
        let page = u32::from(self.weight().is_some_and(|quant| quant != Quant::F32));
        match self {
            Kernel::Embed(_) => (page, 3),
            Kernel::Linear(_) | Kernel::LinearFew(_) => (page, 6),
            Kernel::LinearGrad(_) => (page, 5),
            Kernel::Thin | Kernel::RmsNorm | Kernel::Glu | Kernel::Add => (0, 3),
            Kernel::AttentionDelta => (0, 3),
            Kernel::Sum => (0, 2),
            Kernel::RmsNormGrad | Kernel::Append(_) => (0, 4),
            Kernel::Rope => (1, 3),
            Kernel::Attention(_) | Kernel::GluGrad => (0, 5),
            Kernel::AttentionGradQ => (0, 7),
            Kernel::AttentionGradKv => (0, 8),
            Kernel::HeadShard | Kernel::HeadLogp => (0, 3),
            Kernel::HeadSlopes | Kernel::Attend(_) => (0, 4),
            Kernel::Project { .. } => (1, 8),
            Kernel::Output(_) => (1, 6),
            Kernel::Gated(_) => (1, 5),
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
                parts.extend([kv(quant), wgsl!("attention_tile"), wgsl!("attention")]);
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
            Kernel::Project { quants, cache } => {
                parts.extend(one_token(quants));
                parts.extend([wgsl!("decode/normed"), wgsl!("decode/project")]);
                parts.push(match cache {
                    Quant::F16 => wgsl!("decode/cache_f16"),
                    _ => wgsl!("decode/cache_f32"),
                });
            }
            Kernel::Attend(quant) => parts.extend([kv(quant), wgsl!("decode/attend")]),
            Kernel::Output(quant) => {
                parts.extend(one_token([quant, quant]));
                parts.extend([wgsl!("decode/plain"), wgsl!("decode/output")]);
            }
            Kernel::Gated(quants) => {
                parts.extend(one_token(quants));
                parts.extend([wgsl!("decode/normed"), wgsl!("activation"), wgsl!("decode/gated")]);
            }
        }
        // In WGSL the order of declarations does not matter.
        parts.join("\n") + &self.readers()
    }

    /// The lines that differ from block type to block type.
    fn readers(self) -> String {
        match self {
            Kernel::Output(quant) => reader("first_eight", quant),
            Kernel::Project { quants, .. } | Kernel::Gated(quants) => {
                reader("first_eight", quants[0]) + &reader("second_eight", quants[1])
            }
            _ => self.weight().map_or(String::new(), eight),
        }
    }

    /// The block type of the one weight that it reads.
    fn weight(self) -> Option<Quant> {
        match self {
            Kernel::Embed(quant)
            | Kernel::Linear(quant)
            | Kernel::LinearFew(quant)
            | Kernel::LinearGrad(quant) => Some(quant),
            _ => None,
        }
    }
}

/// How the weights of a kernel of one block type are read; [`eight`] completes it.
fn weights(quant: Quant) -> Vec<&'static str> {
    let page = if quant == Quant::F32 { wgsl!("page_f32") } else { wgsl!("page") };
    [vec![page, wgsl!("weights"), wgsl!("whole")], block(quant)].concat()
}

/// How a block type is read from a panel: `eight_q4_0(panel, row, unit, part)` and so on.
fn block(quant: Quant) -> Vec<&'static str> {
    match quant {
        Quant::F32 => vec![wgsl!("block/f32")],
        Quant::F16 => vec![wgsl!("packed"), wgsl!("block/f16")],
        Quant::BF16 => vec![wgsl!("packed"), wgsl!("block/bf16")],
        Quant::Q4_0 => vec![wgsl!("packed"), wgsl!("block/q4_0")],
        Quant::Q4_1 => vec![wgsl!("packed"), wgsl!("block/q4_1")],
        Quant::Q5_0 => vec![wgsl!("packed"), wgsl!("block/q5_0")],
        Quant::Q5_1 => vec![wgsl!("packed"), wgsl!("block/q5_1")],
        Quant::Q8_0 => vec![wgsl!("packed"), wgsl!("block/q8_0")],
        Quant::Q4_K => vec![wgsl!("packed"), wgsl!("k"), wgsl!("block/q4_k")],
        Quant::Q5_K => vec![wgsl!("packed"), wgsl!("k"), wgsl!("block/q5_k")],
        Quant::Q6_K => vec![wgsl!("packed"), wgsl!("block/q6_k")],
    }
}

/// `eight` of a kernel that reads one panel.
fn eight(quant: Quant) -> String {
    let arguments = "row: u32, unit: u32, part: u32";
    let whole = format!(
        "fn eight({arguments}) -> Eight {{ return any_eight(whole(), row, unit, part); }}\n"
    );
    whole + &reader("any_eight", quant)
}

/// Eight weights of a panel of this type.
fn reader(name: &str, quant: Quant) -> String {
    let of = format!("{quant:?}").to_lowercase();
    let arguments = "p: Panel, row: u32, unit: u32, part: u32";
    format!("fn {name}({arguments}) -> Eight {{ return eight_{of}(p, row, unit, part); }}\n")
}

/// What kernels for one token share, with the block types of their weights.
fn one_token([first, second]: [Quant; 2]) -> Vec<&'static str> {
    let mut parts = vec![wgsl!("page"), wgsl!("weights"), wgsl!("decode/rows")];
    for part in [block(first), block(second)].concat() {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// Keys and values in a cache of this type, or in f32.
fn kv(quant: Quant) -> &'static str {
    match quant {
        Quant::F16 => wgsl!("kv_f16"),
        _ => wgsl!("kv_f32"),
    }
}
