//! What the fuzzer runs: one function per kind of file or caller, from bytes to nothing.
//!
//! Each takes any bytes and returns. A panic, an overflow, memory beyond the limit, five seconds
//! without an end, or whatever AddressSanitizer sees is a finding. Beyond that each function
//! asserts what has to hold of whatever was accepted.
//!
//! Most begin with the same choice: the first byte says whether the rest is the file itself, or
//! the description of one, which is then written so that only what was changed on purpose is
//! wrong. Bytes alone hardly ever get past a magic number, a checksum or a seal.

mod adapter;
mod ffi;
mod gguf;
#[path = "../../hostile/mod.rs"]
mod hostile;
mod journal;
mod model;
mod mutate;
mod seed;
mod store;
mod template;
mod tokenizer;

pub use adapter::adapter;
pub use ffi::ffi;
pub use gguf::gguf;
pub use journal::segment;
pub use model::gguf_model;
pub use seed::seeds;
pub use store::{checkpoint, manifest};
pub use template::template;
pub use tokenizer::tokenizer;

/// A fuzz target: any bytes in, and it returns.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("gguf", gguf),
    ("gguf_model", gguf_model),
    ("adapter", adapter),
    ("tokenizer", tokenizer),
    ("template", template),
    ("segment", segment),
    ("manifest", manifest),
    ("checkpoint", checkpoint),
    ("ffi", ffi),
];
