//! Why a well-formed GGUF file is not a model that we run.

use crate::gguf::GgufError;

/// A GGUF file whose hyper-parameters or tensors do not make a model that we run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchError {
    /// A key is missing or has the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The architecture is not one of ours.
    #[error("architecture {found} is not supported: use a model of one of {supported}")]
    UnknownArchitecture {
        /// `general.architecture` of the file.
        found: String,
        /// Names of those that we run.
        supported: String,
    },
    /// The file is an adapter, a projector, a vocabulary, …
    #[error("the file is of type {found}, not a model: name the base model here")]
    NotAModel {
        /// `general.type` of the file.
        found: String,
    },
    /// A number outside of what we accept.
    #[error("{key} is {found}, not {min} to {max}: convert the model again")]
    OutOfRange {
        /// The key.
        key: String,
        /// The number found.
        found: u64,
        /// Least accepted.
        min: u64,
        /// Most accepted.
        max: u64,
    },
    /// A float outside of what we accept.
    #[error("{key} is {found}, but has to be {wanted}: convert the model again")]
    BadFloat {
        /// The key.
        key: String,
        /// The number found.
        found: f32,
        /// What it has to be.
        wanted: &'static str,
    },
    /// Head counts that do not divide.
    #[error("{whole} is not a multiple of {part} ({what}): convert the model again")]
    NotAMultiple {
        /// Which two numbers.
        what: &'static str,
        /// The larger one.
        whole: u64,
        /// The one that has to divide it.
        part: u64,
    },
    /// A feature of the architecture that we do not compute.
    #[error("{key} asks for {feature}, which is not supported: use another model")]
    UnsupportedFeature {
        /// The key.
        key: String,
        /// What it asks for.
        feature: String,
    },
    /// A tensor that the architecture needs is not there.
    #[error("tensor {tensor} is missing: convert the model again")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor whose shape is not what the hyper-parameters say.
    #[error("tensor {tensor} is {found:?}, not {wanted:?} (width first): convert the model again")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// Dimensions in the file, contiguous first.
        found: Vec<usize>,
        /// Dimensions needed, contiguous first.
        wanted: Vec<usize>,
    },
    /// A tensor inside a layer (or a bias of the head) that we would have to leave out.
    #[error("tensor {tensor} is not part of a {architecture} model that we run: use another model")]
    UnsupportedTensor {
        /// The tensor.
        tensor: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// Vocabulary and embedding table differ.
    #[error("{tokens} tokens, but {rows} rows of token_embd.weight: convert the model again")]
    Vocabulary {
        /// Length of `tokenizer.ggml.tokens`.
        tokens: usize,
        /// Rows of the embedding table.
        rows: usize,
    },
}
