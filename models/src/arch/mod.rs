//! Architectures: from metadata and tensor names to validated hyper-parameters.
//!
//! An architecture is one small file that fills the features of [`Arch`]; the one block of this
//! crate is built from these features. Names and defaults of the keys are those of llama.cpp's
//! converters and loader. Legend: C model width, D head width, F width of the feed-forward, V
//! vocabulary.

mod error;
mod gemma3;
mod keys;
mod llama;
mod qwen2;
mod qwen3;
mod tensor;

#[cfg(test)]
pub(crate) mod tests;

use sapwood_kernels::{Activation, RopeStyle};

use crate::gguf::Gguf;
use keys::Keys;

pub use error::ArchError;
pub use tensor::LayerTensor;

type Fill = fn(&Keys, &mut Arch) -> Result<(), ArchError>;

/// `general.architecture`, and what it adds to the common features.
const SUPPORTED: [(&str, Fill); 4] = [
    ("llama", llama::fill),
    ("qwen2", qwen2::fill),
    ("qwen3", qwen3::fill),
    ("gemma3", gemma3::fill),
];

/// Validated hyper-parameters of a transformer. Every tensor that they imply is in the file, in
/// exactly the implied shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    /// `general.architecture` of the file.
    pub name: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Model width C.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Head width D, even.
    pub head_dim: usize,
    /// Width F of the feed-forward.
    pub ff: usize,
    /// Vocabulary V.
    pub vocab: usize,
    /// Tokens that the model was trained to see: a hint, not a limit.
    pub context: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Rotary position embedding.
    pub rope: RopeParams,
    /// Activation of the feed-forward.
    pub activation: Activation,
    /// Q, K and V have biases.
    pub qkv_bias: bool,
    /// Every head of Q and K is normalized before it turns.
    pub qk_norm: bool,
    /// The outputs of attention and feed-forward are normalized before they are added.
    pub post_norms: bool,
    /// Factor on the token embeddings.
    pub embed_scale: f32,
    /// Sliding-window attention on some layers.
    pub sliding: Option<Sliding>,
    /// The head is the embedding table.
    pub tied_head: bool,
    /// Factor on the products of queries and keys.
    pub attention_scale: f32,
    /// Tensors in the file that no part of the model uses.
    pub unused_tensors: usize,
}

/// Rotary position embedding (RoFormer, arXiv 2104.09864).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeParams {
    /// Base of the geometric row of frequencies (on global layers).
    pub base: f32,
    /// Base on sliding layers, where it differs; these are never stretched by `linear_scale`.
    pub local_base: Option<f32>,
    /// Leading columns of a head that turn: even, at most D.
    pub dims: usize,
    /// Which columns form a pair.
    pub style: RopeStyle,
    /// The file has `rope_freqs.weight` (1, dims/2): each frequency is divided by its factor.
    pub factors: bool,
    /// Positions are divided by this: linear extension of the context.
    pub linear_scale: f32,
}

/// Sliding-window attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Positions that a token sees, itself included.
    pub window: usize,
    /// Layers `period - 1`, `2 period - 1`, … see everything; the others slide.
    pub period: usize,
}

impl Arch {
    /// Read and validate the hyper-parameters and the set of tensors.
    ///
    /// # Errors
    /// See [`ArchError`]: an architecture or feature that we do not run, a number out of range,
    /// a tensor that is missing, misshapen, or would have to be left out.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ArchError> {
        if let Some(found) = gguf.opt_str("general.type")?.filter(|&found| found != "model") {
            return Err(ArchError::NotAModel { found: found.to_owned() });
        }
        let found = gguf.str("general.architecture")?;
        let (architecture, fill) =
            SUPPORTED.into_iter().find(|(name, _)| *name == found).ok_or_else(|| {
                let supported = SUPPORTED.map(|(name, _)| name).join(" ");
                ArchError::UnknownArchitecture { found: found.to_owned(), supported }
            })?;
        let keys = Keys { gguf, architecture };
        let mut arch = common(&keys)?;
        fill(&keys, &mut arch)?;
        arch.unused_tensors = check_tensors(gguf, &arch)?;
        Ok(arch)
    }

    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads (and of all value heads) together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether attention in that layer sees only the window.
    pub fn is_sliding(&self, layer: usize) -> bool {
        self.sliding.is_some_and(|sliding| !(layer + 1).is_multiple_of(sliding.period))
    }

    /// The tensors that every layer has, in the order in which it uses them.
    pub fn layer_tensors(&self) -> impl Iterator<Item = LayerTensor> + use<> {
        let has = LayerTensor::ALL.map(|tensor| tensor.is_in(self));
        LayerTensor::ALL.into_iter().zip(has).filter_map(|(tensor, has)| has.then_some(tensor))
    }

    /// Name and (rows, columns) of every tensor of the model.
    pub fn tensors(&self) -> impl Iterator<Item = (String, (usize, usize))> {
        let table = (self.vocab, self.width);
        let mut outer = vec![
            ("token_embd.weight".to_owned(), table),
            ("output_norm.weight".to_owned(), (1, self.width)),
        ];
        if !self.tied_head {
            outer.push(("output.weight".to_owned(), table));
        }
        if self.rope.factors {
            outer.push(("rope_freqs.weight".to_owned(), (1, self.rope.dims / 2)));
        }
        let layers = (0..self.layers).flat_map(move |layer| {
            self.layer_tensors().map(move |tensor| (tensor.full_name(layer), tensor.shape(self)))
        });
        outer.into_iter().chain(layers)
    }
}

/// What all architectures have in common, with the features that none shares switched off.
fn common(keys: &Keys) -> Result<Arch, ArchError> {
    let layers = keys.count("block_count", 1..=512)?;
    let width = keys.count("embedding_length", 1..=65_536)?;
    let heads = keys.count("attention.head_count", 1..=1024)?;
    let kv_heads = keys.opt_count("attention.head_count_kv", 1..=heads as u64)?.unwrap_or(heads);
    multiple("query heads of key heads", heads, kv_heads)?;
    let head_dim = head_dim(keys, width, heads)?;
    if keys.opt_count("expert_count", 0..=u64::from(u32::MAX))?.unwrap_or(0) > 0 {
        return Err(keys.unsupported("expert_count", "a mixture of experts"));
    }
    Ok(Arch {
        name: keys.architecture,
        layers,
        width,
        heads,
        kv_heads,
        head_dim,
        ff: keys.count("feed_forward_length", 1..=1 << 20)?,
        vocab: vocabulary(keys.gguf)?,
        context: keys.count("context_length", 1..=1 << 31)?,
        norm_eps: keys.fraction("attention.layer_norm_rms_epsilon", 0.1)?,
        rope: rope(keys, head_dim)?,
        activation: Activation::Silu,
        qkv_bias: false,
        qk_norm: false,
        post_norms: false,
        embed_scale: 1.0,
        sliding: None,
        tied_head: keys.gguf.tensor("output.weight").is_none(),
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        unused_tensors: 0,
    })
}

fn multiple(what: &'static str, whole: usize, part: usize) -> Result<(), ArchError> {
    if whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(ArchError::NotAMultiple { what, whole: whole as u64, part: part as u64 })
}

fn head_dim(keys: &Keys, width: usize, heads: usize) -> Result<usize, ArchError> {
    let head_dim = match keys.opt_count("attention.key_length", 1..=1024)? {
        Some(head_dim) => head_dim,
        None => {
            multiple("model width of query heads", width, heads)?;
            width / heads
        }
    };
    multiple("head width of two", head_dim, 2)?;
    if head_dim > 1024 {
        let (found, key) = (head_dim as u64, format!("{}.embedding_length", keys.architecture));
        return Err(ArchError::OutOfRange { key, found, min: 1, max: 1024 * heads as u64 });
    }
    match keys.opt_count("attention.value_length", 1..=1024)? {
        Some(value) if value != head_dim => {
            Err(keys.unsupported("attention.value_length", "values of another width than keys"))
        }
        _ => Ok(head_dim),
    }
}

fn rope(keys: &Keys, head_dim: usize) -> Result<RopeParams, ArchError> {
    let dims = keys.opt_count("rope.dimension_count", 2..=head_dim as u64)?.unwrap_or(head_dim);
    multiple("turning columns of two", dims, 2)?;
    let linear_scale = match keys.opt_str("rope.scaling.type")? {
        Some("none") => 1.0,
        // Linear is also what a factor without a type means.
        None | Some("linear") => {
            let factor = keys.opt_positive("rope.scaling.factor")?;
            factor.or(keys.opt_positive("rope.scale_linear")?).unwrap_or(1.0)
        }
        Some(other) => {
            let feature = format!("{other} scaling of positions");
            return Err(keys.unsupported("rope.scaling.type", feature));
        }
    };
    Ok(RopeParams {
        base: keys.opt_positive("rope.freq_base")?.unwrap_or(10_000.0),
        local_base: None,
        dims,
        style: RopeStyle::HalfSplit,
        factors: false,
        linear_scale,
    })
}

/// Rows of the embedding table, which have to be as many as the tokenizer has tokens.
fn vocabulary(gguf: &Gguf) -> Result<usize, ArchError> {
    let tensor = "token_embd.weight";
    let table = gguf
        .tensor(tensor)
        .ok_or_else(|| ArchError::MissingTensor { tensor: tensor.to_owned() })?;
    let (rows, max) = (table.rows, 1 << 20);
    if rows > max {
        let key = "rows of token_embd.weight".to_owned();
        return Err(ArchError::OutOfRange { key, found: rows as u64, min: 1, max: max as u64 });
    }
    match gguf.opt_strings("tokenizer.ggml.tokens")? {
        Some(tokens) if tokens.len() != rows => {
            Err(ArchError::Vocabulary { tokens: tokens.len(), rows })
        }
        _ => Ok(rows),
    }
}

/// Every tensor is there in its shape, and none is left out that belongs to a layer or to the
/// head. Returns how many others there are.
fn check_tensors(gguf: &Gguf, arch: &Arch) -> Result<usize, ArchError> {
    let mut needed = 0;
    for (name, (rows, cols)) in arch.tensors() {
        let Some(info) = gguf.tensor(&name) else {
            return Err(ArchError::MissingTensor { tensor: name });
        };
        let wanted = [cols, rows];
        if without_ones(&info.dims) != without_ones(&wanted) {
            let (found, wanted) = (info.dims.clone(), wanted.to_vec());
            return Err(ArchError::TensorShape { tensor: name, found, wanted });
        }
        needed += 1;
    }
    let known = |name: &str| match LayerTensor::parse(name) {
        Some((layer, tensor)) => layer < arch.layers && tensor.is_in(arch),
        None => false,
    };
    let left_out = gguf
        .tensors()
        .iter()
        .map(|info| info.name.as_str())
        .find(|name| (name.starts_with("blk.") && !known(name)) || *name == "output.bias");
    match left_out {
        Some(name) => {
            Err(ArchError::UnsupportedTensor { tensor: name.to_owned(), architecture: arch.name })
        }
        None => Ok(gguf.tensors().len() - needed),
    }
}

/// A vector may be written as one row, or not: dimensions of one at the end say nothing.
fn without_ones(dims: &[usize]) -> &[usize] {
    let len = dims.iter().rposition(|&dim| dim != 1).map_or(1, |last| last + 1);
    &dims[..len]
}
