//! What is on disk, and views of it in memory.

use crate::consent::Consent;
use crate::digest::Digest;
use crate::error::LearnerError;
use crate::journal::{self, Journal, Record};
use crate::learn::watch::Watch;
use crate::ledger::Ledger;
use crate::memory::Memory;
use crate::scope::Scope;
use crate::store::Store;
use crate::vault::{Vault, VaultError};

/// What is on disk, and views of it in memory.
pub(crate) struct Kept {
    pub vault: Vault,
    pub journal: Journal,
    pub store: Store,
    /// Whether the epoch holds something that was forgotten.
    pub to_shred: bool,
    /// What was forgotten since this process began: conversations that were under way may quote it.
    pub silenced: Vec<Scope>,
    pub ledger: Ledger,
    /// The last word on consent.
    pub said: Option<journal::Consent>,
    /// It is a refusal for which there was no room yet: written as soon as there is some.
    pub unwritten: bool,
    /// Another process forgot something that this one still has in memory.
    pub outdated: bool,
    pub retrieval_enabled: bool,
    /// What can be retrieved; `None` before anybody asked.
    pub memory: Option<Memory>,
    /// Examples came or went since it was built.
    pub memory_outdated: bool,
    /// Over the adapter in force, since its swap.
    pub watch: Watch,
}

impl Kept {
    /// Takes in what other processes recorded since the last look.
    ///
    /// # Errors
    /// [`VaultError::ChangedElsewhere`] if one of them forgot something: what is in memory here is
    /// to be thrown away.
    pub fn catch_up(&mut self) -> Result<(), LearnerError> {
        self.vault.check()?;
        let Kept { journal, ledger, said, unwritten, memory_outdated, outdated, .. } = self;
        let heard = journal.news(&mut |record| match record {
            Record::Consent(word) => {
                if word.counts_after(*said) {
                    (*said, *unwritten) = (Some(word), false);
                }
            }
            Record::Tombstone(tombstone) => {
                *outdated |= !tombstone.reply_ids.iter().all(|id| ledger.is_forgotten(*id));
            }
            record => {
                ledger.apply(&record);
                *memory_outdated = true;
            }
        });
        // The folder may be gone because the epoch was left.
        self.vault.check()?;
        heard?;
        self.store.catch_up()?;
        if self.outdated { Err(VaultError::ChangedElsewhere.into()) } else { Ok(()) }
    }

    /// Whether what the user does may be kept, and used.
    pub fn consent(&self) -> Consent {
        Consent::of(self.said)
    }

    /// What replies are to be made with: what the store says, but for a refusal.
    pub fn wanted(&self) -> Option<Digest> {
        let refused = self.consent() == Consent::Refused;
        self.store.in_force().filter(|_| !refused).map(|g| g.digest)
    }

    /// Ends the trial under way, if the candidate has done well in it.
    pub fn end_trial(&mut self) {
        if self.store.in_trial()
            && self.watch.has_seen_good()
            && let Err(error) = self.store.end_trial()
        {
            log::warn!("a session that ended in good order counts as a try all the same: {error}");
        }
    }

    /// What was built from examples is built anew without those that went.
    pub fn forget_examples(&mut self) {
        self.memory = None;
    }
}
