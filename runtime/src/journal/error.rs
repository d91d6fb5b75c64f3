//! What can go wrong with the journal.

use crate::disk::DiskError;
use crate::seal::SealError;

/// Why a record was not stored or the journal could not be read. Everything acknowledged before
/// is still there.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed, is full, or refuses access.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No randomness for a key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A record is longer than a frame can be. Store less context with it.
    #[error("the record has {bytes} bytes and the journal takes {limit}; store fewer turns")]
    RecordTooLarge {
        /// Bytes of its archive.
        bytes: usize,
        /// The most that fits.
        limit: usize,
    },
}
