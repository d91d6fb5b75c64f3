//! Shredding: what was forgotten loses the key that it was sealed under.
//!
//! Everything that stays is sealed anew in another epoch of the [`Vault`](crate::vault), then the
//! key of the old one is destroyed. The tombstones in the journal say that this is due; they don't
//! come along, so whoever finds none has nothing to do.

use std::collections::HashSet;

use crate::disk::Lock;
use crate::error::LearnerError;
use crate::journal::Journal;
use crate::store::Store;
use crate::vault::{Epoch, Vault, VaultError};

/// How far the bytes of what was forgotten are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// They are still there, sealed: the key store, the disk or another process stood in the way.
    /// The next training slice or request to forget tries again.
    Pending,
    /// They were deleted, and the key under which they were sealed was not kept. All epochs of this
    /// store hang on one key of the host, though: with that and old copies of the folder they
    /// could be read.
    Deleted,
    /// Their key was destroyed. Whoever has copies of them has noise.
    Shredded,
}

/// Leaves the epoch, under the vault's lock: journal and store are in the next one when this
/// returns `Ok`. All that is acknowledged is durable, and nothing is to follow any more from the
/// tombstones of what was `forgotten`. After an error they are where the vault is.
pub fn leave(
    vault: &mut Vault,
    journal: &mut Journal,
    store: &mut Store,
    forgotten: &HashSet<u128>,
) -> Result<(), LearnerError> {
    let next = vault.prepare()?;
    let moved = match Moved::to(&next, journal, store, forgotten) {
        Ok(moved) => moved,
        Err(error) => {
            // Gives the room back.
            if let Err(left) = vault.clean() {
                log::warn!("an epoch that was not entered can't be cleaned up yet: {left}");
            }
            return Err(error);
        }
    };
    vault.enter(next)?;
    // From here on the old ones must not be written to.
    *store = moved.store;
    let old = std::mem::replace(journal, moved.journal);
    old.copy_late(vault.here(), moved.seen)?;
    Ok(vault.clean()?)
}

/// Everything that stays, in the folder of another epoch.
struct Moved {
    journal: Journal,
    store: Store,
    /// The ids of all records that were looked at.
    seen: HashSet<u128>,
    /// Nobody changes the old store as long as this one may take its place.
    _others_wait: Lock,
}

impl Moved {
    fn to(
        next: &Epoch,
        journal: &Journal,
        store: &mut Store,
        forgotten: &HashSet<u128>,
    ) -> Result<Moved, LearnerError> {
        let seen = journal.copy_to(next, forgotten)?;
        let others_wait = store.copy_to(next)?;
        let (journal, store) = (journal.reopen(next)?, store.reopen(next)?);
        Ok(Moved { journal, store, seen, _others_wait: others_wait })
    }
}

/// Ends what a crash has left of leaving an epoch, under the vault's lock: fetches what other
/// processes wrote into the old one at the last moment, then cleans up.
pub fn settle(vault: &mut Vault, journal: &Journal) -> Result<(), LearnerError> {
    if let Some(left) = vault.left()? {
        let seen: HashSet<u128> = journal.ids()?;
        journal.reopen(&left)?.copy_late(vault.here(), seen)?;
    }
    Ok(vault.clean()?)
}

/// [`settle`], as far as nobody else is at it.
///
/// # Errors
/// [`VaultError::Busy`] while another process fetches what came late into the epoch that it has
/// left: a word on consent may be among it.
pub fn settle_at_opening(vault: &mut Vault, journal: &Journal) -> Result<(), LearnerError> {
    let lock = match vault.lock() {
        Err(VaultError::Busy) if !vault.awaits_late_records() => return Ok(()),
        lock => lock?,
    };
    if let Err(error) = settle(vault, journal) {
        log::warn!("an epoch that was left can't be cleaned up yet: {error}");
    }
    drop(lock);
    Ok(())
}
