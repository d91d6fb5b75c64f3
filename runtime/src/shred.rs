//! Shredding: what was forgotten loses the key that it was sealed under.
//!
//! Everything that stays is sealed anew in another epoch of the [`Vault`](crate::vault), then the
//! key of the old one is destroyed. The tombstones in the journal say that this is due; they don't
//! come along, so whoever finds none has nothing to do.

use std::collections::HashSet;

use crate::error::LearnerError;
use crate::forget;
use crate::journal::Journal;
use crate::shared::{Kept, Shared};
use crate::vault::{Vault, VaultError};

/// How far the bytes of what was forgotten are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// They are still there, sealed: the key store, the disk or another process stood in the way.
    /// The next training slice, opening or request to forget tries again.
    Pending,
    /// They were deleted, and the key under which they were sealed was not kept. All epochs of this
    /// store hang on one key of the host, though: with that and old copies of the folder they
    /// could be read.
    Deleted,
    /// Their key was destroyed. Whoever has copies of them has noise.
    Shredded,
}

impl Shared {
    /// Leaves the epoch, if something in it is forgotten. Says how that ended; what stands in the
    /// way is logged, because nobody is the worse for it but the forgotten bytes.
    pub fn shred(&self, kept: &mut Kept) -> Erasure {
        if kept.to_shred
            && let Err(error) = self.leave_epoch(kept)
        {
            log::warn!("what was forgotten can't be shredded yet: {error}");
            return Erasure::Pending;
        }
        if kept.vault.shreds() { Erasure::Shredded } else { Erasure::Deleted }
    }

    /// [`Shared::shred`], if something that was forgotten still waits for it.
    pub fn shred_if_due(&self) {
        let mut kept = self.kept();
        if kept.to_shred {
            self.shred(&mut kept);
        }
    }

    fn leave_epoch(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let now_ms = self.now_ms();
        // The tombstones don't come along: all that follows from them has to be done.
        forget::finish(&self.model, &mut kept.store, &kept.ledger)?;
        self.put_in_force(kept)?;
        let Kept { vault, journal, store, to_shred, .. } = kept;
        let _lock = vault.lock()?;
        settle(vault, journal)?;
        journal.flush(now_ms)?;
        let next = vault.prepare()?;
        let seen = journal.copy_to(&next)?;
        let _others_wait = store.copy_to(&next)?;
        let new_store = store.reopen(&next)?;
        let new_journal = journal.reopen(&next)?;
        vault.enter(next)?;
        // From here on the old ones must not be written to.
        *store = new_store;
        let old = std::mem::replace(journal, new_journal);
        *to_shred = false;
        old.copy_late(vault.here(), seen)?;
        vault.clean()?;
        Ok(())
    }
}

/// Ends what a crash has left of leaving an epoch, under the vault's lock: fetches what other
/// processes wrote into the old one at the last moment, then cleans up.
pub(crate) fn settle(vault: &mut Vault, journal: &Journal) -> Result<(), LearnerError> {
    if let Some(left) = vault.left()? {
        let seen: HashSet<u128> = journal.ids()?;
        journal.reopen(&left)?.copy_late(vault.here(), seen)?;
    }
    Ok(vault.clean()?)
}

/// [`settle`], as far as nobody else is at it.
pub(crate) fn settle_at_opening(vault: &mut Vault, journal: &Journal) -> Result<(), LearnerError> {
    let lock = match vault.lock() {
        Err(VaultError::Busy) => return Ok(()),
        lock => lock?,
    };
    if let Err(error) = settle(vault, journal) {
        log::warn!("an epoch that was left can't be cleaned up yet: {error}");
    }
    drop(lock);
    Ok(())
}
