//! GGUF language models: logits, log-probabilities and LoRA gradients.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod gguf;
mod mmap;

pub use gguf::{Gguf, GgufError, GgufWriter};
pub use mmap::{MapError, Mapped};
