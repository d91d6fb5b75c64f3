//! What can go wrong between a model file and its logits.

use sapwood_kernels::DeviceError;
use thiserror::Error;

use crate::arch::ArchError;
use crate::gguf::GgufError;
use crate::mmap::MapError;
use crate::tokenizer::TokenizerError;

/// Why a model can't be opened or a step can't be made. Nothing here ever holds user text.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file can't be read.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The file is not a sound GGUF file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The model's architecture or shapes are not supported.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// The tokenizer in the file is not supported or inconsistent.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model has no chat template.
    #[error("the model has no chat template: use it for plain completion, or take a chat model")]
    NoTemplate,
    /// There is no GPU, or it failed in the middle of a gradient, or may not be used any more.
    #[error(transparent)]
    Gpu(#[from] DeviceError),
    /// The model gives no numbers.
    #[error("the logit of token {id} is not finite: the adapter or the model is damaged")]
    NotFinite {
        /// The token with the largest logit, which is the one that is not finite.
        id: u32,
    },
    /// The work was asked to stop.
    #[error("stopped as requested")]
    Stopped,
    /// Nothing to compute.
    #[error("no tokens were given: pass at least one (two to score a sequence)")]
    NoTokens,
    /// A token id that the vocabulary doesn't have.
    #[error("token id {id} is not in the vocabulary of {vocab}: it was made by another tokenizer")]
    UnknownToken {
        /// The offending id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// The cache is too small.
    #[error(
        "{needed} tokens don't fit the context of {capacity}: shorten the prompt or open a larger cache"
    )]
    ContextFull {
        /// Tokens that the step needed to hold.
        needed: usize,
        /// Tokens that the cache can hold.
        capacity: usize,
    },
    /// The cached tokens were computed under another adapter.
    #[error(
        "the cache was filled under another adapter: call `Cache::reuse` with the new one first"
    )]
    StaleCache,
}
