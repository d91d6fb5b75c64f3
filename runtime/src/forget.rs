//! Forgetting: what the user wants gone, and everything that was learned from it.
//!
//! A tombstone in the journal is the decision. It is durable before anything else happens, and what
//! follows from it follows again at every opening: the replies are no longer there, adapters that
//! learned from one of them are revoked with their descendants, the run under way is dropped. So a
//! crash at any instant leaves, of each thousand replies, all or none; asking again ends what was begun.
//!
//! A conversation quotes its earlier turns in each later one, so later turns go with what they
//! quote, and conversations that are under way are not recorded any more.
//!
//! Then the bytes go, too: see [`crate::shred`].
//!
//! What was dropped for its age can't be told apart any more: adapters that learned from it go with
//! [`Scope::Everything`] alone.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::error::LearnerError;
use crate::journal::{Record, Tombstone};
use crate::kept::Kept;
use crate::lineage;
use crate::measured::Progress;
use crate::scope::Scope;
use crate::shared::Shared;
use crate::shred::{self, Erasure};

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionReceipt {
    /// Replies that are gone, with their requests and signals.
    pub replies: Vec<u128>,
    /// Adapters that learned from them, or from an adapter that did: gone, and refused for good.
    pub adapters: Vec<Digest>,
    /// Whether a training run was dropped.
    pub run_dropped: bool,
    /// What new replies are made with now; `None` is the base model.
    pub in_force: Option<Digest>,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// How far their bytes are gone.
    pub erasure: Erasure,
}

/// Ids in one tombstone: a record has a limit.
const IDS: usize = 1000;

/// See [`Learner::forget`](crate::Learner::forget).
pub(crate) fn forget(shared: &Shared, scope: &Scope) -> Result<DeletionReceipt, LearnerError> {
    // The slice ends at its next program and can't save what is to be forgotten behind our back.
    let _ending = shared.forgetting.enter();
    let mut progress = shared.training.lock().expect("nothing panics under this lock");
    *progress = Progress::default();
    let time_ms = shared.now_ms();
    let mut kept = shared.kept();
    kept.catch_up()?;
    let turns = scope.turns(kept.ledger.turns());
    let replies: Vec<u128> = turns.iter().map(|turn| turn.reply_id).collect();
    let sessions: HashSet<u128> = turns.iter().map(|turn| turn.session).collect();
    let mut gone = replies.clone();
    if *scope == Scope::Everything {
        // Adapters may know replies that were dropped for their age.
        gone.extend(lineage::learned(&shared.model, &kept.store, &kept.ledger));
    }
    kept.silenced.push(scope.clone());
    kept.silenced.extend(sessions.into_iter().map(Scope::Conversation));
    kept.to_shred |= !gone.is_empty();
    for ids in gone.chunks(IDS) {
        let tombstone = Record::Tombstone(Tombstone { reply_ids: ids.to_vec(), time_ms });
        shared.with_reserve(|| shared.record(&mut kept, tombstone.clone()))?;
    }
    kept.forget_examples();
    let Kept { store, ledger, .. } = &mut *kept;
    let (adapters, run_dropped) = lineage::finish(&shared.model, store, ledger)?;
    shared.put_in_force(&mut kept)?;
    let erasure = erase(shared, &mut kept);
    shared.refill_reserve();
    drop(kept);
    let in_force = shared.in_force().digest;
    Ok(DeletionReceipt { replies, adapters, run_dropped, in_force, time_ms, erasure })
}

/// Leaves the epoch, if something in it is forgotten, and ends what is left of doing so. Says how
/// that ended; what stands in the way is logged, because nobody is the worse for it but the
/// forgotten bytes.
pub(crate) fn erase(shared: &Shared, kept: &mut Kept) -> Erasure {
    if let Err(error) = shared.with_reserve(|| erase_if_due(shared, kept)) {
        log::warn!("what was forgotten can't be shredded yet: {error}");
        return Erasure::Pending;
    }
    if kept.vault.shreds() { Erasure::Shredded } else { Erasure::Deleted }
}

fn erase_if_due(shared: &Shared, kept: &mut Kept) -> Result<(), LearnerError> {
    if !kept.to_shred && kept.vault.is_settled() {
        return Ok(());
    }
    let _lock = kept.vault.lock()?;
    shred::settle(&mut kept.vault, &kept.journal)?;
    if kept.to_shred { leave_epoch(shared, kept) } else { Ok(()) }
}

/// Under the vault's lock.
fn leave_epoch(shared: &Shared, kept: &mut Kept) -> Result<(), LearnerError> {
    // The tombstones don't come along: all that follows from them has to be done.
    lineage::finish(&shared.model, &mut kept.store, &kept.ledger)?;
    shared.put_in_force(kept)?;
    kept.journal.flush(shared.now_ms())?;
    let before = kept.vault.epoch();
    let Kept { vault, journal, store, ledger, .. } = kept;
    let left = shred::leave(vault, journal, store, ledger.forgotten());
    kept.to_shred = kept.vault.epoch() == before;
    left
}
