//! Capture: recording without a model, for processes that only watch the user.
//!
//! A keyboard or share extension has neither the memory nor the time to load a model, but it may be
//! where the user edits a reply. It appends to the same journal as the app, in segments of its own
//! and without a lock; a [`Learner`](crate::Learner) of the app takes that in before its next reply, signal or
//! slice.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use sapwood_models::{Message, Role};

use crate::chat::MAX_NEW_BYTES;
use crate::config::{Clock, Config};
use crate::consent::Consent;
use crate::disk::{Disk, patiently};
use crate::error::LearnerError;
use crate::journal::{self, Feedback, Interaction, Journal, Limits, Record, Turn};
use crate::seal::random;
use crate::shred;
use crate::signal::Signal;
use crate::store::Digest;
use crate::transcript::Transcript;
use crate::vault::{KeyProvider, Vault, VaultError};

/// A reply that was shown in a process without a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Part of the app, as for [`Learner::chat`](crate::Learner::chat).
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
    /// The newest reply of each conversation recorded here, and the conversation up to it.
    answered: HashMap<u128, (u128, Transcript)>,
}

impl Capture {
    pub(crate) fn open(disk: Arc<dyn Disk>, config: &Config) -> Result<Capture, LearnerError> {
        let (keys, clock) = (config.keys.clone(), config.clock.clone());
        let kept = Mutex::new(Kept::open(&disk, &keys)?);
        Ok(Capture { disk, keys, clock, kept })
    }

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
        let asked = shown.asked();
        let answered = asked.with(Message::new(Role::Assistant, &shown.reply));
        let (follows, new) = kept.new_in(conversation, &asked);
        let bytes = new.iter().map(|message| message.content.len()).sum::<usize>();
        if bytes + shown.reply.len() > MAX_NEW_BYTES {
            let bytes = bytes + shown.reply.len();
            return Err(LearnerError::TurnTooLong { bytes, limit: MAX_NEW_BYTES });
        }
        let made = shown.interaction(reply_id, time_ms, follows, &new);
        kept.append(Record::Interaction(made), time_ms)?;
        kept.replies.insert(reply_id);
        kept.conversations.insert(conversation);
        kept.answered.insert(conversation, (reply_id, answered));
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
        let feedback = Feedback { reply_id: reply, order: 0, time_ms, signal };
        kept.append(Record::Feedback(feedback), time_ms)
    }

    /// Makes everything durable: call it before the process may be suspended.
    ///
    /// # Errors
    /// A full or failing disk.
    pub fn flush(&self) -> Result<(), LearnerError> {
        let now_ms = (self.clock)();
        let mut kept = self.kept();
        let flushed = kept.journal.flush(now_ms);
        kept.vault.check()?;
        Ok(flushed?)
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
        let busy = |error: &VaultError| matches!(error, VaultError::Busy);
        let mut vault = patiently(busy, || Vault::open(disk.clone(), keys.clone()))?;
        let here = vault.here().clone();
        let journal = Journal::open(here.disk, here.seal, Limits::default());
        // The folder may be gone because the epoch was left.
        vault.check()?;
        let journal = journal?;
        if vault.awaits_late_records() {
            let busy =
                |error: &LearnerError| matches!(error, LearnerError::Vault(VaultError::Busy));
            patiently(busy, || shred::settle_at_opening(&mut vault, &journal))?;
        }
        let mut kept = Kept {
            vault,
            journal,
            said: None,
            replies: HashSet::new(),
            conversations: HashSet::new(),
            silenced: HashSet::new(),
            answered: HashMap::new(),
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
        let heard = journal.news(&mut |record| match record {
            Record::Interaction(made) => {
                replies.insert(made.reply_id);
            }
            Record::Tombstone(tombstone) => gone.extend(tombstone.reply_ids),
            Record::Consent(word) if word.counts_after(*said) => *said = Some(word),
            Record::Consent(_) | Record::Feedback(_) | Record::UsedByGeneration(_) => {}
        });
        self.vault.check()?;
        heard?;
        if !gone.is_empty() {
            replies.retain(|reply| !gone.contains(reply));
            silenced.extend(conversations.drain());
            self.answered.clear();
        }
        Ok(())
    }

    /// The reply that a conversation goes on from, as it was recorded here, and what is new in it.
    fn new_in<'a>(
        &self,
        conversation: u128,
        asked: &'a Transcript,
    ) -> (Option<u128>, Vec<&'a Message>) {
        if let Some((reply, answered)) = self.answered.get(&conversation) {
            let mut beginning = asked.clone();
            while beginning.len() > answered.len() {
                beginning = beginning.without_last();
            }
            if beginning == *answered && asked.len() > answered.len() {
                return (Some(*reply), asked.after(answered.len()));
            }
        }
        (None, asked.after(0))
    }

    /// Writes something down, without the secrets in it.
    fn append(&mut self, record: Record, now_ms: u64) -> Result<(), LearnerError> {
        // What a reply answers is not at hand here, but for the conversations recorded here.
        let said = |reply| {
            let mut known = self.answered.values().filter(|(known, _)| *known == reply);
            known.next().and_then(|(_, said)| said.last()).map_or("", |said| &*said.content)
        };
        let record = record.without_secrets(|_| "", said);
        let record = record.placed(self.journal.next_place(now_ms));
        let appended = self.journal.append(&record, now_ms);
        // Looked at after the write: who leaves the epoch later than this takes the record along.
        self.vault.check()?;
        Ok(appended?)
    }
}

impl Shown {
    fn asked(&self) -> Transcript {
        let system = self.instructions.iter().map(|text| Message::new(Role::System, text));
        system.chain(self.turns.iter().cloned()).collect()
    }

    fn interaction(
        self,
        reply_id: u128,
        time_ms: u64,
        follows: Option<u128>,
        new: &[&Message],
    ) -> Interaction {
        let system = new.iter().find(|message| message.role == Role::System);
        let turns = new.iter().filter(|message| message.role != Role::System);
        Interaction {
            reply_id,
            session: self.conversation,
            surface: self.surface,
            time_ms,
            follows,
            system: system.map(|message| message.content.clone()),
            turns: turns.map(|message| Turn::new(message.role, &message.content)).collect(),
            reply: self.reply,
            adapter_digest: self.adapter,
            ..Interaction::default()
        }
    }
}
