//! llama.cpp beside Sapwood: as oracle for its numbers, as peer for its speed.
//!
//! The tests of this crate run both engines in one process on the same files and compare logits,
//! greedy texts, perplexities and adapters. The binary `llama-oracle` gives the same answers as
//! JSON, for scripts and for looking at a difference by hand.
//!
//! As oracle, llama.cpp is set to its most exact mode (keys and values kept in f32, no flash
//! attention); as peer, to its defaults.

pub mod compare;
pub mod data;
pub mod llama;
pub mod quantize;

pub use sapwood_tests::random;

/// Why an oracle could not answer.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of asking an oracle.
pub type Result<T> = std::result::Result<T, Error>;
