//! Published attacks on readers of models, adapters, vocabularies and templates, made anew as
//! small files.
//!
//! Each case names where the class was published. Sources with an organisation and a number are
//! GitHub's pull requests and issues; `no number` marks readers' holes that were seen in their
//! sources and have no number.

#![allow(dead_code, reason = "each suite that includes this uses a part")]
#![allow(missing_docs, reason = "it is GGUF's fields that have names here")]

pub mod adapters;
mod containers;
pub mod file;
mod models;
pub mod small;
mod tensors;
mod vocabularies;

/// A file that broke a reader.
pub struct Case {
    /// What is wrong with it.
    pub name: &'static str,
    /// Who published it, and where.
    pub source: &'static str,
    /// The file.
    pub file: Vec<u8>,
    /// Our error: its variant, and what its message has to name.
    pub error: (&'static str, &'static str),
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let lists = [
        containers::cases(),
        tensors::cases(),
        models::cases(),
        vocabularies::cases(),
        models::templates(),
        adapters::cases(),
    ];
    lists.into_iter().flatten().collect()
}

fn case(
    name: &'static str,
    source: &'static str,
    file: Vec<u8>,
    error: (&'static str, &'static str),
) -> Case {
    Case { name, source, file, error }
}
