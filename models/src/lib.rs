//! GGUF language models: logits, log-probabilities and LoRA gradients.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapter_file;
pub mod arch;
pub mod gguf;
mod mmap;
pub mod tokenizer;

pub use adapter_file::{AdapterError, AdapterFile, Pair, Provenance};
pub use arch::{Arch, ArchError, LayerTensor};
pub use gguf::{Gguf, GgufError, GgufWriter};
pub use mmap::{MapError, Mapped};
pub use tokenizer::{Special, Tokenizer, TokenizerError};
