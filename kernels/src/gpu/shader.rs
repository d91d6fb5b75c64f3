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
    /// `x Wᵀ` for many tokens, see [`Products::F32`].
    Linear(Quant),
    /// See [`Products::F16`].
    LinearF16(Quant),
    /// See [`Products::Int8`].
    LinearInt8(Quant),
    /// Rows rounded to bytes, for [`Kernel::LinearInt8`].
    Round,
    /// `x Wᵀ` for up to [`FEW`] tokens.
    LinearFew(Quant),
    /// `dy W`, see [`Products::F32`].
    LinearGrad(Quant),
    /// See [`Products::F16`].
    LinearGradF16(Quant),
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
    /// For one token: a norm behind a linear, added to the stream.
    NormAdd,
    /// The largest logits of every shard of a row.
    Top,
    /// The id of a row's largest logit.
    Argmax,
}

/// How a linear over many tokens is computed. Sums are f32 always; programs that are
/// [`exact`](crate::Program::exact) take the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// Weights as f32.
    F32,
    /// Weights as f16: a tile holds twice as many.
    F16,
    /// Quantized weights as they are, activations rounded to a byte with a scale per 32 columns, in
    /// packed products of four. Gradients and other weights as [`Products::F32`].
    Int8,
}

/// How the invocations of a workgroup share what they read, and add up what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Through workgroup memory: every GPU can.
    Memory,
    /// Sums with subgroup operations, tiles through workgroup memory.
    Subgroups,
    /// Both with subgroup operations, tiles in registers: for what has ordinary memory in the place
    /// of workgroup memory.
    Registers,
}

/// The most tokens that [`Kernel::LinearFew`] takes.
pub const FEW: usize = 4;

/// Logits that a workgroup of [`Kernel::Top`] looks at.
pub const SHARD: usize = 8192;

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
        all.extend([AttentionGradKv, Glu, GluGrad, Add, HeadShard, HeadLogp, HeadSlopes, Round]);
        all.extend([Top, Argmax, NormAdd]);
        for quant in Quant::ALL {
            all.extend([Embed(quant), Linear(quant), LinearFew(quant), LinearGrad(quant)]);
            all.extend([LinearF16(quant), LinearGradF16(quant)]);
            if quant.block_len() > 1 {
                all.push(LinearInt8(quant));
            }
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

    /// Whether the GPU has to compute with f16.
    pub fn needs_f16(self) -> bool {
        matches!(self, Kernel::LinearF16(_) | Kernel::LinearGradF16(_))
    }

    /// How many storage buffers are read only (the first ones), and how many there are.
    pub fn bindings(self) -> (u32, u32) {
        // Weights of F32 lie among values that may be written.
        let page = u32::from(self.weight().is_some_and(|quant| quant != Quant::F32));
        match self {
            Kernel::Embed(_) => (page, 3),
            Kernel::Linear(_) | Kernel::LinearF16(_) | Kernel::LinearInt8(_) => (page, 6),
            Kernel::LinearFew(_) => (page, 6),
            Kernel::LinearGrad(_) | Kernel::LinearGradF16(_) => (page, 5),
            Kernel::Thin | Kernel::RmsNorm | Kernel::Glu | Kernel::Add => (0, 3),
            Kernel::AttentionDelta => (0, 3),
            Kernel::Sum | Kernel::Round | Kernel::Top | Kernel::Argmax => (0, 2),
            Kernel::RmsNormGrad | Kernel::Append(_) => (0, 4),
            Kernel::Rope => (1, 3),
            Kernel::Attention(_) | Kernel::GluGrad => (0, 5),
            Kernel::AttentionGradQ => (0, 7),
            Kernel::AttentionGradKv => (0, 8),
            Kernel::HeadShard | Kernel::HeadLogp => (0, 3),
            Kernel::HeadSlopes => (0, 4),
            Kernel::Attend(_) => (0, 7),
            Kernel::Project { .. } | Kernel::Output(_) => (1, 8),
            Kernel::Gated(_) => (1, 7),
            Kernel::NormAdd => (0, 6),
        }
    }

    /// Rows and columns of the result that a workgroup of a product or of attention makes.
    pub fn tile(self, sharing: Sharing) -> [usize; 2] {
        use Kernel::*;
        match (self, sharing) {
            (Linear(_) | LinearGrad(_), Sharing::Registers) => [32, 16],
            (LinearFew(_), Sharing::Registers) => [FEW, 64],
            (LinearFew(_), _) => [FEW, 4],
            (Thin, Sharing::Registers) => [32, 8],
            (Thin, _) => [64, 16],
            (Attention(_) | AttentionGradQ | AttentionGradKv, Sharing::Registers) => [32, 32],
            (Attention(_) | AttentionGradQ | AttentionGradKv, _) => [16, 128],
            _ => [64, 64],
        }
    }

    /// The whole text. Kernels that share nothing are the same either way.
    pub fn source(self, sharing: Sharing) -> String {
        let tiled = |in_memory: &[&'static str], in_registers: &[&'static str]| match sharing {
            Sharing::Registers => [&[wgsl!("registers/blocks")], in_registers].concat(),
            _ => in_memory.to_vec(),
        };
        let (reduce, reduce_rows, team) = match sharing {
            Sharing::Memory => (wgsl!("reduce"), wgsl!("reduce_rows"), wgsl!("decode/team")),
            Sharing::Subgroups | Sharing::Registers => (
                wgsl!("reduce_subgroups"),
                wgsl!("reduce_rows_subgroups"),
                wgsl!("decode/team_subgroups"),
            ),
        };
        let mut parts = vec![wgsl!("prelude")];
        if self.needs_f16() {
            // Such a line comes before all others.
            parts.insert(0, "enable f16;");
        }
        match self {
            Kernel::Embed(quant) => {
                parts.extend(weights(quant).into_iter().chain([wgsl!("embed")]))
            }
            Kernel::Linear(quant) => {
                let tile = [TILE_F32, &[wgsl!("linear")]].concat();
                let tile = tiled(&tile, &[wgsl!("registers/linear_x"), wgsl!("registers/linear")]);
                parts.extend(linear(quant, &[FORWARD, &tile].concat()));
            }
            Kernel::LinearF16(quant) => {
                parts.extend(linear(quant, &[FORWARD, TILE_F16, &[wgsl!("linear")]].concat()));
            }
            Kernel::LinearInt8(quant) => {
                let bytes = [wgsl!("bytes"), bytes(quant), wgsl!("linear_epilogue")];
                let all = [&bytes[..], &[wgsl!("tile_finish"), wgsl!("linear_int8")]].concat();
                parts.extend(linear(quant, &all));
            }
            Kernel::LinearFew(quant) => {
                let few = tiled(
                    &[reduce_rows, wgsl!("linear_few")],
                    &[wgsl!("registers/linear_x"), wgsl!("registers/linear_few")],
                );
                parts.extend(linear(quant, &[FORWARD, &few].concat()));
            }
            Kernel::LinearGrad(quant) => {
                let tile = [TILE_F32, &[wgsl!("linear_grad")]].concat();
                let tile = tiled(&tile, &[wgsl!("registers/linear_grad")]);
                parts.extend(linear(quant, &[BACK, &tile].concat()));
            }
            Kernel::LinearGradF16(quant) => {
                parts.extend(linear(quant, &[BACK, TILE_F16, &[wgsl!("linear_grad")]].concat()));
            }
            Kernel::Round => parts.push(wgsl!("round")),
            Kernel::Thin => {
                parts.push(wgsl!("thin_sizes"));
                parts.extend(tiled(&[wgsl!("thin")], &[wgsl!("registers/thin")]));
            }
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
                parts.extend([kv(quant), wgsl!("attention_sizes"), wgsl!("attention_operands")]);
                parts.extend(tiled(
                    &[wgsl!("attention_tile"), wgsl!("attention")],
                    &[wgsl!("registers/attention_tile"), wgsl!("registers/attention")],
                ));
            }
            Kernel::AttentionDelta => parts.push(wgsl!("attention_delta")),
            Kernel::AttentionGradQ => {
                parts.extend([wgsl!("attention_sizes"), wgsl!("attention_grad")]);
                parts.push(wgsl!("attention_grad_q_operands"));
                parts.extend(tiled(
                    &[wgsl!("attention_tile"), wgsl!("attention_grad_q")],
                    &[wgsl!("registers/attention_tile"), wgsl!("registers/attention_grad_q")],
                ));
            }
            Kernel::AttentionGradKv => {
                parts.extend([wgsl!("attention_sizes"), wgsl!("attention_grad")]);
                parts.push(wgsl!("attention_grad_kv_operands"));
                parts.extend(tiled(
                    &[wgsl!("attention_tile"), wgsl!("attention_grad_kv")],
                    &[wgsl!("registers/attention_tile"), wgsl!("registers/attention_grad_kv")],
                ));
            }
            Kernel::Glu => parts.extend([wgsl!("activation"), wgsl!("glu")]),
            Kernel::GluGrad => parts.extend([wgsl!("activation"), wgsl!("glu_grad")]),
            Kernel::Add => parts.push(wgsl!("add")),
            Kernel::HeadShard => parts.extend([reduce, wgsl!("head_shard")]),
            Kernel::HeadLogp => parts.push(wgsl!("head_logp")),
            Kernel::HeadSlopes => parts.push(wgsl!("head_slopes")),
            Kernel::Top => parts.extend([wgsl!("order"), wgsl!("top")]),
            Kernel::Argmax => parts.extend([wgsl!("order"), wgsl!("argmax")]),
            Kernel::Project { quants, cache } => {
                parts.extend(one_token(quants));
                parts.extend([wgsl!("decode/normed"), wgsl!("decode/project")]);
                parts.push(match cache {
                    Quant::F16 => wgsl!("decode/cache_f16"),
                    _ => wgsl!("decode/cache_f32"),
                });
            }
            Kernel::NormAdd => {
                parts.extend([wgsl!("weights"), wgsl!("decode/rows"), wgsl!("decode/norm_add")]);
            }
            Kernel::Attend(quant) => {
                parts.extend([kv(quant), wgsl!("decode/left"), wgsl!("decode/attend")])
            }
            Kernel::Output(quant) => {
                parts.extend(one_token([quant, quant]));
                parts.extend([wgsl!("decode/plain"), wgsl!("decode/given")]);
                parts.extend([wgsl!("decode/left"), wgsl!("decode/output")]);
            }
            Kernel::Gated(quants) => {
                parts.extend(one_token(quants));
                parts.extend([wgsl!("decode/normed"), wgsl!("activation"), wgsl!("decode/given")]);
                parts.extend([wgsl!("decode/left"), wgsl!("decode/gated")]);
            }
        }
        if parts.contains(&wgsl!("decode/rows")) {
            parts.push(team);
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
            | Kernel::LinearF16(quant)
            | Kernel::LinearInt8(quant)
            | Kernel::LinearFew(quant)
            | Kernel::LinearGrad(quant)
            | Kernel::LinearGradF16(quant) => Some(quant),
            _ => None,
        }
    }
}

const TILE_F32: &[&str] = &[wgsl!("weight_f32"), wgsl!("tile"), wgsl!("tile_finish")];
const TILE_F16: &[&str] = &[wgsl!("weight_f16"), wgsl!("tile"), wgsl!("tile_finish")];
const FORWARD: &[&str] = &[wgsl!("linear_x"), wgsl!("linear_epilogue")];
const BACK: &[&str] = &[wgsl!("linear_grad_epilogue")];

/// A kernel of a linear.
fn linear(quant: Quant, rest: &[&'static str]) -> Vec<&'static str> {
    let sizes = [wgsl!("linear_sizes")].into_iter();
    sizes.chain(weights(quant)).chain(rest.iter().copied()).collect()
}

/// How quantized weights are read as whole numbers.
fn bytes(quant: Quant) -> &'static str {
    match quant {
        Quant::Q4_0 => wgsl!("block/q4_0_bytes"),
        Quant::Q4_1 => wgsl!("block/q4_1_bytes"),
        Quant::Q5_0 => wgsl!("block/q5_0_bytes"),
        Quant::Q5_1 => wgsl!("block/q5_1_bytes"),
        Quant::Q8_0 => wgsl!("block/q8_0_bytes"),
        Quant::Q4_K => wgsl!("block/q4_k_bytes"),
        Quant::Q5_K => wgsl!("block/q5_k_bytes"),
        Quant::Q6_K => wgsl!("block/q6_k_bytes"),
        Quant::F32 | Quant::F16 | Quant::BF16 => unreachable!("a type of whole numbers"),
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
