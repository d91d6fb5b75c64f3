//! Doors for the fuzzer, to what lies behind a seal: only the feature `fuzzing` builds this.
//!
//! A fuzzer can't guess a tag. Here it has its plain text sealed, and what comes out goes into a
//! file and through the ordinary readers.

use crate::crc::crc32c;
use crate::journal::{self, Record};
use crate::seal::sealed_file::{self, Purpose};
use crate::seal::{Seal, SealError};
use crate::{slice, store};

/// A segment with these frames: kind, schema, archive.
pub fn segment(
    seal: &Seal,
    frames: &[(u8, u16, Vec<u8>)],
    footer: bool,
) -> Result<Vec<u8>, SealError> {
    journal::fuzz::segment(seal, frames, footer)
}

/// Kind, schema and archive of a record.
pub fn archive(record: &Record) -> (u8, u16, Vec<u8>) {
    journal::fuzz::archive(record)
}

/// A slot of the manifest whose sealed text is `archive`.
pub fn slot(seal: &Seal, sequence: u64, archive: &[u8]) -> Result<Vec<u8>, SealError> {
    store::fuzz::slot(seal, sequence, archive)
}

/// The archive of a manifest of these generations.
pub fn manifest(sequence: u64, tries_left: u8, generations: Vec<store::Generation>) -> Vec<u8> {
    store::fuzz::manifest(sequence, tries_left, generations)
}

/// A sealed file: 1 an adapter, 2 a checkpoint, 3 the refused digests.
pub fn sealed_file(
    seal: &Seal,
    purpose: u8,
    sequence: u64,
    text: &[u8],
) -> Result<Vec<u8>, SealError> {
    let purpose = match purpose {
        1 => Purpose::Adapter,
        2 => Purpose::Checkpoint,
        _ => Purpose::Refused,
    };
    sealed_file::seal(seal, purpose, sequence, text)
}

/// Reads the text of a checkpoint as training does. Gives the bytes of what was understood.
pub fn checkpoint(text: &[u8]) -> Option<Vec<u8>> {
    slice::fuzz::checkpoint(text)
}

/// The text of a small checkpoint.
pub fn small_checkpoint() -> Vec<u8> {
    slice::fuzz::small_checkpoint()
}

/// Puts the checksum of a segment's header (at 60) or of a keyring (at 36) right.
pub fn mend(bytes: &mut [u8], at: usize) {
    let whole = at == 36;
    let Some(field) = bytes.get_mut(at..at + 4) else { return };
    field.fill(0);
    let sum = if whole { crc32c(bytes) } else { crc32c(&bytes[..at]) };
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}
