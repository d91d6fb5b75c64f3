//! SHA-256 digests: the names of adapters, base models and settings.

use std::fmt::Write;

use ring::digest::{SHA256, digest};

/// SHA-256 of an adapter's bytes, or of a base model.
pub type Digest = [u8; 32];

/// SHA-256.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// The lower-case hexadecimal form of a digest.
pub fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String does not fail
        text
    })
}
