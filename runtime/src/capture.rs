//! Capture: recording without a model, for processes that only watch the user.
//!
//! A keyboard or share extension has neither the memory nor the time to load a model, but it may be
//! where the user edits a reply. It appends to the same journal as the app, in segments of its own
//! and without a lock; a [`Learner`] of the app takes that in before its next reply, signal or
//! slice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use sapwood_models::Message;

use crate::config::{Clock, Config};
use crate::consent::Consent;
use crate::disk::{Disk, RealDisk};
use crate::error::LearnerError;
use crate::journal::{self, Feedback, Interaction, Journal, Limits, Record, StopReason, Turn};
use crate::learner::Learner;
use crate::seal::random;
use crate::signal::Signal;
use crate::store::Digest;
use crate::vault::{KeyProvider, Vault, VaultError};

/// A reply that was shown in a process without a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Part of the app, as for [`Learner::chat`].
    pub surface: String,
    /// Names the conversation; any number that no other conversation has.
    pub conversation: u128,
    /// The app's standing instructions.
    pub instructions: Option<String>,
    /// The conversation; the last turn is the user's request.
    pub turns: Vec<Message>,
    /// The reply.
    pub reply: String,
    /// The adapter that made it, as its [`Reply`](crate::Reply) named it; `None` is the base model.
    pub adapter: Option<Digest>,
}

/// Records what the user does, without a model.
pub struct Capture {
    disk: Arc<dyn Disk>,
    keys: Arc<dyn KeyProvider>,
    clock: Clock,
    kept: Mutex<Kept>,
}

struct Kept {
    vault: Vault,
    journal: Journal,
    /// The last word on consent.
    said: Option<journal::Consent>,
    /// Replies that a signal may refer to.
    replies: HashSet<u128>,
    /// Conversations recorded here since something was last forgotten.
    conversations: HashSet<u128>,
    /// Conversations that may quote what was forgotten meanwhile.
    silenced: HashSet<u128>,
}

impl Learner {
    /// Opens the store of `config` for recording alone: no model, no adapter, no lock. Any number
    /// of processes may do so beside one that has a learner.
    ///
    /// # Errors
    /// A folder that can't be used, or keys that can't be had.
    pub fn open_capture(config: &Config) -> Result<Capture, LearnerError> {
        let dir = config.dir.clone();
        let disk = RealDisk::open(&dir).map_err(|source| LearnerError::Folder { dir, source })?;
        Learner::open_capture_on(Arc::new(disk), config)
    }

    /// As [`Learner::open_capture`], on any disk.
    ///
    /// # Errors
    /// As [`Learner::open_capture`].
    pub fn open_capture_on(disk: Arc<dyn Disk>, config: &Config) -> Result<Capture, LearnerError> {
        let (keys, clock) = (config.keys.clone(), config.clock.clone());
        let kept = Mutex::new(Kept::open(&disk, &keys)?);
        Ok(Capture { disk, keys, clock, kept })
    }
}

impl Capture {
    /// Whether anything may be kept, as the user last said in any process.
    ///
    /// # Errors
    /// A failing disk, or keys that can't be had.
    pub fn consent(&self) -> Result<Consent, LearnerError> {
        Ok(self.caught_up()?.consent())
    }

    /// Records a reply that was shown here and returns its id, to which signals refer. `None`
    /// without consent, and for a conversation of which something was forgotten: nothing is stored
    /// then.
    ///
    /// # Errors
    /// A full or failing disk, or keys that can't be had.
    pub fn reply(&self, shown: Shown) -> Result<Option<u128>, LearnerError> {
        let reply_id = u128::from_le_bytes(random()?);
        let time_ms = (self.clock)();
        let mut kept = self.caught_up()?;
        let silenced = kept.silenced.contains(&shown.conversation);
        if kept.consent() != Consent::Granted || silenced {
            return Ok(None);
        }
        let conversation = shown.conversation;
        kept.append(Record::Interaction(shown.interaction(reply_id, time_ms)), time_ms)?;
        kept.replies.insert(reply_id);
        kept.conversations.insert(conversation);
        Ok(Some(reply_id))
    }

    /// Says what the user did with a reply, recorded here or elsewhere. Without consent this does
    /// nothing.
    ///
    /// # Errors
    /// [`LearnerError::UnknownReply`]; a full or failing disk, or keys that can't be had.
    pub fn signal(&self, reply: u128, signal: Signal) -> Result<(), LearnerError> {
        let time_ms = (self.clock)();
        let mut kept = self.caught_up()?;
        if kept.consent() != Consent::Granted {
            return Ok(());
        }
        if !kept.replies.contains(&reply) {
            return Err(LearnerError::UnknownReply { reply });
        }
        kept.append(Record::Feedback(Feedback { reply_id: reply, time_ms, signal }), time_ms)
    }

    /// Makes everything durable: call it before the process may be suspended.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn flush(&self) -> Result<(), LearnerError> {
        let now_ms = (self.clock)();
        Ok(self.kept().journal.flush(now_ms)?)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics under this lock")
    }

    /// What other processes did until now, taken in; the store of the epoch in force.
    fn caught_up(&self) -> Result<MutexGuard<'_, Kept>, LearnerError> {
        let mut kept = self.kept();
        match kept.vault.check() {
            // Another process forgot something and left the epoch. Nothing acknowledged here is
            // lost: it took that along.
            Err(VaultError::ChangedElsewhere) => {
                let mut fresh = Kept::open(&self.disk, &self.keys)?;
                fresh.silenced = std::mem::take(&mut kept.silenced);
                fresh.silenced.extend(kept.conversations.drain());
                *kept = fresh;
            }
            checked => checked?,
        }
        kept.catch_up()?;
        Ok(kept)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let now_ms = (self.clock)();
        if let Ok(kept) = self.kept.get_mut()
            && let Err(error) = kept.journal.close(now_ms)
        {
            log::warn!("the journal was not closed: {error}");
        }
    }
}

impl Kept {
    fn open(disk: &Arc<dyn Disk>, keys: &Arc<dyn KeyProvider>) -> Result<Kept, LearnerError> {
        let vault = Vault::open(disk.clone(), keys.clone())?;
        let here = vault.here().clone();
        let journal = Journal::open(here.disk, here.seal, Limits::default())?;
        let mut kept = Kept {
            vault,
            journal,
            said: None,
            replies: HashSet::new(),
            conversations: HashSet::new(),
            silenced: HashSet::new(),
        };
        kept.catch_up()?;
        Ok(kept)
    }

    fn consent(&self) -> Consent {
        Consent::of(self.said)
    }

    fn catch_up(&mut self) -> Result<(), LearnerError> {
        let Kept { journal, said, replies, conversations, silenced, .. } = self;
        let mut gone = HashSet::new();
        journal.news(&mut |record| match record {
            Record::Interaction(made) => {
                replies.insert(made.reply_id);
            }
            Record::Tombstone(tombstone) => gone.extend(tombstone.reply_ids),
            Record::Consent(word) if word.counts_after(*said) => *said = Some(word),
            Record::Consent(_) | Record::Feedback(_) | Record::UsedByGeneration(_) => {}
        })?;
        if !gone.is_empty() {
            replies.retain(|reply| !gone.contains(reply));
            silenced.extend(conversations.drain());
        }
        Ok(())
    }

    /// Writes something down, without the secrets in it.
    fn append(&mut self, record: Record, now_ms: u64) -> Result<(), LearnerError> {
        // What a reply answers is not at hand here.
        let appended = self.journal.append(&record.without_secrets(|_| ""), now_ms);
        // Looked at after the write: who leaves the epoch later than this takes the record along.
        self.vault.check()?;
        Ok(appended?)
    }
}

impl Shown {
    fn interaction(self, reply_id: u128, time_ms: u64) -> Interaction {
        let turn = |message: Message| Turn {
            role: message.role.as_str().to_owned(),
            text: message.content,
        };
        Interaction {
            reply_id,
            session: self.conversation,
            surface: self.surface,
            time_ms,
            system: self.instructions,
            turns: self.turns.into_iter().map(turn).collect(),
            reply: self.reply,
            adapter_digest: self.adapter,
            seed: 0,
            shots: 0,
            tokens: 0,
            stop: StopReason::End,
            mean_nll: None,
        }
    }
}
