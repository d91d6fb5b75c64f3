//! The product's own files around the swap, built on loom's locks instead of the system's:
//!
//! ```text
//! cargo test -p sapwood-loom
//! ```
//!
//! Nothing is copied here: `swap.rs` and `held.rs` are the files that the product is built from,
//! so a change of either is explored.

#![cfg(test)]
#![allow(dead_code, reason = "the files are included whole")]

#[path = "../../../runtime/src/swap.rs"]
mod swap;

#[path = "../../../models/src/cache/held.rs"]
mod held;

/// What `held.rs` calls an adapter's digest.
mod adapter {
    /// SHA-256.
    pub type Digest = [u8; 32];
}

mod tests;
