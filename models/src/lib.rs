//! GGUF language models: logits, log-probabilities and LoRA gradients.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arch;
pub mod gguf;
mod mmap;

pub use arch::{Arch, ArchError, LayerTensor};
pub use gguf::{Gguf, GgufError, GgufWriter};
pub use mmap::{MapError, Mapped};
