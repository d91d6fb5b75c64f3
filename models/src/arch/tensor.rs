//! The tensors of a layer: what each is for, its name in the file, its shape.

use super::Arch;

/// The part that a tensor plays in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are those of the parts.
pub enum LayerTensor {
    AttnNorm,
    Q,
    K,
    V,
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
    O,
    PostAttnNorm,
    FfnNorm,
    Gate,
    Up,
    Down,
    PostFfnNorm,
}

impl LayerTensor {
    /// All, in the order in which a layer uses them.
    pub const ALL: [Self; 16] = [
        Self::AttnNorm,
        Self::Q,
        Self::K,
        Self::V,
        Self::QBias,
        Self::KBias,
        Self::VBias,
        Self::QNorm,
        Self::KNorm,
        Self::O,
        Self::PostAttnNorm,
        Self::FfnNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::PostFfnNorm,
    ];

    /// Name in GGUF, without the layer: `attn_q.weight`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttnNorm => "attn_norm.weight",
            Self::Q => "attn_q.weight",
            Self::K => "attn_k.weight",
            Self::V => "attn_v.weight",
            Self::QBias => "attn_q.bias",
            Self::KBias => "attn_k.bias",
            Self::VBias => "attn_v.bias",
            Self::QNorm => "attn_q_norm.weight",
            Self::KNorm => "attn_k_norm.weight",
            Self::O => "attn_output.weight",
            Self::PostAttnNorm => "post_attention_norm.weight",
            Self::FfnNorm => "ffn_norm.weight",
            Self::Gate => "ffn_gate.weight",
            Self::Up => "ffn_up.weight",
            Self::Down => "ffn_down.weight",
            Self::PostFfnNorm => "post_ffw_norm.weight",
        }
    }

    /// Name in GGUF: `blk.3.attn_q.weight`.
    pub fn full_name(self, layer: usize) -> String {
        format!("blk.{layer}.{}", self.name())
    }

    /// Layer and part of a name such as `blk.3.attn_q.weight`.
    pub fn parse(name: &str) -> Option<(usize, Self)> {
        let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let tensor = Self::ALL.into_iter().find(|tensor| tensor.name() == part)?;
        let number = layer.parse().ok()?;
        // "+3" and "03" are numbers too, but not names of layers.
        (tensor.full_name(number) == name).then_some((number, tensor))
    }

    /// Whether it is one of the seven linears, the only ones that adapters may touch.
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Q | Self::K | Self::V | Self::O | Self::Gate | Self::Up | Self::Down)
    }

    /// (rows, columns) in a model of `arch`: (output, input) of a linear, (1, n) of a vector.
    pub fn shape(self, arch: &Arch) -> (usize, usize) {
        let (width, q, kv) = (arch.width, arch.q_width(), arch.kv_width());
        match self {
            Self::AttnNorm | Self::PostAttnNorm | Self::FfnNorm | Self::PostFfnNorm => (1, width),
            Self::Q => (q, width),
            Self::K | Self::V => (kv, width),
            Self::QBias => (1, q),
            Self::KBias | Self::VBias => (1, kv),
            Self::QNorm | Self::KNorm => (1, arch.head_dim),
            Self::O => (width, q),
            Self::Gate | Self::Up => (arch.ff, width),
            Self::Down => (width, arch.ff),
        }
    }

    /// Whether layers of `arch` have it.
    pub(super) fn is_in(self, arch: &Arch) -> bool {
        match self {
            Self::QBias | Self::KBias | Self::VBias => arch.qkv_bias,
            Self::QNorm | Self::KNorm => arch.qk_norm,
            Self::PostAttnNorm | Self::PostFfnNorm => arch.post_norms,
            _ => true,
        }
    }
}
