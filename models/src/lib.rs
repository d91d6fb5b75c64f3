//! GGUF language models: logits, log-probabilities and LoRA gradients.
//!
//! A [`Model`] is a checked, mapped GGUF file on its [`Devices`]. It offers
//! two things: [`Model::step`] generates through a KV [`Cache`], and [`Model::trace`] with
//! [`Model::backward`] trains an [`Adapter`] through the frozen quantized weights. This crate
//! touches no file but model files, and knows neither users nor stores.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapter;
mod adapter_file;
pub mod arch;
mod block;
mod cache;
mod devices;
mod error;
pub mod gguf;
mod grads;
mod head;
pub mod import;
mod infer;
mod likeliest;
mod measure;
mod mmap;
mod model;
mod placed;
mod plan;
mod stop;
pub mod template;
pub mod tokenizer;
mod trace;
mod weights;

pub use adapter::{Adapter, Digest, Layout, LoraConfig, PairSpec};
pub use adapter_file::{AdapterError, AdapterFile, Pair, Provenance};
pub use arch::{Arch, ArchError, LayerTensor};
pub use block::Target;
pub use cache::Cache;
pub use devices::{Devices, Place, Work};
pub use error::ModelError;
pub use gguf::{Gguf, GgufError, GgufWriter};
pub use likeliest::Likeliest;
pub use mmap::{MapError, Mapped};
pub use model::Model;
pub use plan::MemoryPlan;
pub use stop::Stop;
pub use template::{Message, Role, Template, TemplateError};
pub use tokenizer::{Special, TokenType, Tokenizer, TokenizerError, Utf8Stream};
pub use trace::{Sequence, Trace};

/// The embedded default model, a GGUF file: see `assets/README.md`.
#[cfg(feature = "embedded")]
pub static EMBEDDED: &[u8] = include_bytes!("../assets/sapwood-assistant-q8_0.gguf");
