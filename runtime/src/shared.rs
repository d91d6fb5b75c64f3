//! What conversations and training share: the model, the adapter in force, and what is kept.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sapwood_models::{Message, Model, Role, Work};

use crate::adapter_set::{AdapterSet, load_in_force};
use crate::config::Config;
use crate::consent::Consent;
use crate::device_state::DeviceState;
use crate::digest::Digest;
use crate::disk::{Disk, DiskError, Reserve, patiently};
use crate::error::LearnerError;
use crate::foreground::Foreground;
use crate::journal::{self, Feedback, Interaction, Journal, Limits, Record};
use crate::kept::Kept;
use crate::learn::example::{Judged, judged};
use crate::learn::watch::{Event, Watch};
use crate::ledger::Ledger;
use crate::lineage;
use crate::measured::Progress;
use crate::rng::Rng;
use crate::seal::random;
use crate::shred;
use crate::signal::Signal;
use crate::store::{Store, StoreError};
use crate::swap::InForce;
use crate::transcript::Transcript;
use crate::vault::{Vault, VaultError};

/// One per learner.
pub(crate) struct Shared {
    pub model: Model,
    pub config: Config,
    pub force: InForce<AdapterSet>,
    kept: Mutex<Kept>,
    pub disk: Arc<dyn Disk>,
    /// What is kept back of it.
    reserve: Reserve,
    device: Mutex<DeviceState>,
    /// Replies, which training makes way for.
    pub foreground: Foreground,
    /// Requests to forget, which end a slice.
    pub forgetting: Foreground,
    /// The user refused: a slice under way ends.
    pub refused: AtomicBool,
    /// Held by the slice that is training: slices take turns.
    pub training: Mutex<Progress>,
    /// Ids drawn, where they are reproducible.
    ids: AtomicU64,
}

/// How a reply went, apart from what it says.
pub(crate) struct Went {
    /// The conversation up to the request, behind the app's instructions.
    pub asked: Transcript,
    /// Its tokens end in a loop.
    pub looping: bool,
    /// Its shortest decoding step.
    pub fastest: Option<Duration>,
    /// What had been forgotten when its conversation began.
    pub silenced: usize,
    /// It took the place of this reply to the same request.
    pub replaces: Option<u128>,
    /// There was consent when it was asked for.
    pub allowed: bool,
    /// The newest reply of the conversation that was made without consent, and the number of
    /// messages up to it: none of those is kept.
    pub unheard: Option<(u128, usize)>,
    /// Its conversation has a turn that is off the record: its prompt quotes it.
    pub private: bool,
}

impl Shared {
    pub fn open(disk: Arc<dyn Disk>, model: Model, config: Config) -> Result<Shared, LearnerError> {
        let busy = |error: &VaultError| matches!(error, VaultError::Busy);
        let vault = patiently(busy, || Vault::open(disk.clone(), config.keys.clone()))?;
        let keyring = vault.watch();
        let opened = Shared::open_epoch(disk, model, config, vault);
        // The folder may be gone because another process has left the epoch meanwhile.
        match &opened {
            Ok(shared) => shared.kept().vault.check()?,
            Err(_) => keyring.check()?,
        }
        opened
    }

    fn open_epoch(
        disk: Arc<dyn Disk>,
        model: Model,
        config: Config,
        mut vault: Vault,
    ) -> Result<Shared, LearnerError> {
        let reserve = Reserve::new(disk.clone());
        let here = vault.here().clone();
        let base = model.fingerprint();
        let open = || Store::open(here.disk.clone(), here.seal.clone(), base);
        let mut store = patiently(|error| matches!(error, StoreError::Busy), open)?;
        let limits = Limits {
            total_bytes: config.retention.max_bytes,
            total_age_ms: config.retention.max_age_ms,
            ..Limits::default()
        };
        let mut journal = Journal::open(here.disk.clone(), here.seal.clone(), limits)?;
        let busy = |error: &LearnerError| matches!(error, LearnerError::Vault(VaultError::Busy));
        patiently(busy, || shred::settle_at_opening(&mut vault, &journal))?;
        if store.time().is_unknown() {
            // An older version's store: what it holds was told before now, however long ago.
            store.believe(journal.newest_told_ms()?);
        }
        store.set_time((config.clock)());
        keep_time(&mut store);
        expire(&mut journal, &store);
        let scan = journal.scan()?;
        journal.follow(&scan);
        let ledger = Ledger::of(&scan);
        let said = scan.consent;
        // Before anything is loaded: the last process may have died while it was forgetting.
        lineage::finish(&model, &mut store, &ledger)?;
        let set = load_in_force(&model, &mut store, Consent::of(said))?;
        reserve.fill();
        let kept = Kept {
            vault,
            journal,
            store,
            to_shred: !ledger.forgotten().is_empty(),
            silenced: Vec::new(),
            ledger,
            said,
            unwritten: false,
            outdated: false,
            retrieval_enabled: config.retrieval.enabled,
            memory: None,
            memory_outdated: false,
            watch: Watch::new(config.learning.watch, None),
        };
        Ok(Shared {
            model,
            config,
            force: InForce::new(set),
            kept: Mutex::new(kept),
            disk,
            reserve,
            device: Mutex::default(),
            foreground: Foreground::default(),
            forgetting: Foreground::default(),
            refused: AtomicBool::new(Consent::of(said) == Consent::Refused),
            training: Mutex::default(),
            ids: AtomicU64::new(0),
        })
    }

    pub fn now_ms(&self) -> u64 {
        (self.config.clock)()
    }

    pub fn new_id(&self) -> Result<u128, LearnerError> {
        if self.config.reproducible {
            let count = self.ids.fetch_add(1, Ordering::Relaxed);
            let mut rng = Rng::at(self.config.seed, &[self.now_ms(), count]);
            return Ok(u128::from(rng.bits()) << 64 | u128::from(rng.bits()));
        }
        Ok(u128::from_le_bytes(random()?))
    }

    /// Never held while the model computes.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().expect("nothing panics under this lock");
        kept.store.set_time((self.config.clock)());
        if kept.unwritten
            && let Err(error) = self.write_refusal(&mut kept)
        {
            log::warn!("a refusal that holds is still not written: {error}");
        }
        kept
    }

    /// Drops what may no longer be kept.
    pub fn expire(&self) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        self.reserve.fill();
        let Kept { journal, store, .. } = &mut *kept;
        keep_time(store);
        if expire(journal, store) {
            let scan = kept.journal.scan()?;
            kept.journal.follow(&scan);
            kept.ledger = Ledger::of(&scan);
            kept.memory = None;
        }
        Ok(())
    }

    /// Joins small files of the journal, for which nobody waits.
    pub fn join_segments(&self) {
        if let Err(error) = self.kept().journal.merge(self.now_ms()) {
            log::warn!("small journal segments were not joined: {error}");
        }
    }

    /// How the device is.
    pub fn device(&self) -> DeviceState {
        *self.device.lock().expect("nothing panics under this lock")
    }

    /// What trains now: all processors give the same bits.
    pub fn training_device(&self) -> String {
        let device = self.model.device(Work::Training);
        if device.is_gpu() { device.describe() } else { "the processor".to_owned() }
    }

    /// The device has changed.
    pub fn set_device(&self, state: DeviceState) {
        self.model.allow_gpu(state.gpu_allowed);
        *self.device.lock().expect("nothing panics under this lock") = state;
    }

    /// Makes everything durable. A session that goes to the background may end there, and that is
    /// no fault of the candidate's: its try is given back, if it has done well so far and no reply
    /// is under way.
    pub fn flush(&self) -> Result<(), LearnerError> {
        let now_ms = self.now_ms();
        let mut kept = self.kept();
        let flushed = kept.journal.flush(now_ms);
        kept.vault.check()?;
        flushed?;
        // Replies pin what they are made with; one is the slot's, one is this.
        if Arc::strong_count(&self.in_force()) == 2 {
            kept.end_trial();
        }
        Ok(())
    }

    /// A reply ended: records it, and counts it for or against the adapter that made it. Returns
    /// whether it was recorded: where the disk is full or fails, it is not.
    pub fn replied(&self, made: Interaction, used: &AdapterSet, went: Went) -> bool {
        let mut kept = self.kept();
        // A device that slows down by itself says nothing about an adapter, nor one without its GPU.
        let state = self.device();
        let same = state.gpu_allowed && self.model.gpu_fault().is_none();
        let usual = state.is_at_full_speed() && same;
        let fastest = went.fastest.filter(|_| usual);
        let fastest_us = fastest.map(|time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        let reply = Event::Reply { tokens: made.tokens, fastest_us, degenerate: went.looping };
        let recorded = self.record_reply(&mut kept, made, went).unwrap_or_else(|error| {
            log::warn!("a reply was not kept: {error}");
            false
        });
        if let Err(error) = self.observe(&mut kept, used.digest, reply) {
            log::warn!("what a reply says about its adapter was not kept: {error}");
        }
        recorded
    }

    fn record_reply(
        &self,
        kept: &mut Kept,
        mut made: Interaction,
        went: Went,
    ) -> Result<bool, LearnerError> {
        kept.catch_up()?;
        let mut forgotten = kept.silenced[went.silenced..].iter();
        let quotes = went.private || forgotten.any(|scope| scope.covers(&made));
        if kept.consent() != Consent::Granted || !went.allowed || quotes {
            return Ok(false);
        }
        let reply = made.reply_id;
        let (mut follows, mut new) = kept.ledger.new_in(&went.asked);
        if let Some((unheard, len)) = went.unheard
            && went.asked.len() - new.len() < len
        {
            // It goes on from what nobody may know: a turn without its beginning.
            (follows, new) = (Some(unheard), went.asked.after(len));
        }
        if new.is_empty() {
            return Ok(false);
        }
        made.follows = follows;
        for message in new {
            match message.role {
                Role::System => made.system = Some(message.content.clone()),
                role => made.turns.push(journal::Turn::new(role, &message.content)),
            }
        }
        let answered = went.asked.with(Message::new(Role::Assistant, &made.reply));
        self.record(kept, Record::Interaction(made))?;
        kept.ledger.remember(&answered, reply);
        let feedback = match went.replaces {
            Some(replaced) if kept.ledger.turn(replaced).is_some() => {
                self.signal_kept(kept, replaced, Signal::Regenerated { new_reply: reply })
            }
            Some(_) => Ok(()),
            None => self.notice_rephrase(kept, reply),
        };
        if let Err(error) = feedback {
            log::warn!("what a reply says about the one before it was not kept: {error}");
        }
        Ok(true)
    }

    /// Refuses a conversation of which more is new than a record may hold.
    pub fn check_new_bytes(&self, asked: &Transcript, limit: usize) -> Result<(), LearnerError> {
        let kept = self.kept();
        if kept.consent() != Consent::Granted {
            return Ok(());
        }
        let (_, new) = kept.ledger.new_in(asked);
        let bytes = new.iter().map(|message| message.content.len()).sum();
        if bytes > limit { Err(LearnerError::TurnTooLong { bytes, limit }) } else { Ok(()) }
    }

    pub fn signal(&self, reply: u128, signal: Signal) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        kept.catch_up()?;
        if kept.consent() != Consent::Granted {
            return Ok(());
        }
        if kept.ledger.turn(reply).is_none() {
            return Err(LearnerError::UnknownReply { reply });
        }
        self.signal_kept(&mut kept, reply, signal)
    }

    /// Records a signal on a reply that is kept, and tells the watch what it changes.
    pub fn signal_kept(
        &self,
        kept: &mut Kept,
        reply: u128,
        signal: Signal,
    ) -> Result<(), LearnerError> {
        let (time_ms, order) = (self.now_ms(), 0);
        let feedback = Feedback { reply_id: reply, order, time_ms, signal };
        self.record(kept, Record::Feedback(feedback))?;
        // Now, and not when the next reply waits for it.
        kept.memory_outdated = true;
        if kept.memory.is_some() {
            self.remembered(kept);
        }
        let used = kept.ledger.turn(reply).and_then(|turn| turn.adapter);
        let judged = judged(kept.ledger.turns(), &self.rules(kept));
        let badness = judged.iter().find(|j| j.reply_id == reply).map_or(0.0, Judged::badness);
        let bad_percent = (badness * 100.0).round() as u8;
        self.observe(kept, used, Event::Judged { reply, bad_percent })
    }

    /// Writes something down, without the secrets in it: the one way to the journal and to all that
    /// learns from it.
    pub fn record(&self, kept: &mut Kept, record: Record) -> Result<(), LearnerError> {
        let now_ms = self.now_ms();
        let turn = |reply| kept.ledger.turn(reply);
        let asked = |reply| turn(reply).map_or("", |turn| turn.request());
        let answered = |reply| turn(reply).map_or("", |turn| turn.reply.as_str());
        let record = record.without_secrets(asked, answered);
        let record = record.placed(kept.journal.next_place(now_ms));
        let appended = kept.journal.append(&record, now_ms);
        // Looked at after the write: who leaves the epoch later than this takes the record along.
        kept.vault.check()?;
        appended?;
        kept.ledger.apply(&record);
        Ok(())
    }

    /// Says a word on consent, after all that was said before. A refusal holds at once, whatever the
    /// disk does; when this returns an error it is not written yet, and will be when there is room.
    pub fn set_consent(&self, consent: Consent) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        let heard = kept.catch_up();
        let granted = consent == Consent::Granted;
        let word = journal::Consent::said(granted, kept.said, self.now_ms());
        if !granted && kept.consent() == Consent::Refused && !kept.unwritten {
            return heard;
        }
        let written = if granted {
            heard?;
            // A yes that could not be taken back is none.
            self.reserve.ensure()?;
            let written = self.record(&mut kept, Record::Consent(word));
            if written.is_ok() {
                (kept.said, kept.unwritten) = (Some(word), false);
            }
            written
        } else {
            (kept.said, kept.unwritten) = (Some(word), true);
            // That it ends here is no fault of a candidate's.
            if kept.store.in_trial()
                && let Err(error) = kept.store.end_trial()
            {
                log::warn!("a session that a refusal ended counts as a try: {error}");
            }
            heard.and_then(|()| self.write_refusal(&mut kept))
        };
        self.put_in_force(&mut kept)?;
        written
    }

    fn write_refusal(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        if let Some(word) = kept.said {
            self.with_reserve(|| self.record(kept, Record::Consent(word)))?;
        }
        kept.unwritten = false;
        Ok(())
    }

    /// Does what a full disk must not stop: with the room that was kept back for it, if there is
    /// none else. What is deleted makes the room that is kept back again.
    pub fn with_reserve<T>(
        &self,
        mut work: impl FnMut() -> Result<T, LearnerError>,
    ) -> Result<T, LearnerError> {
        let done = work();
        let full = |error: &LearnerError| error.disk().is_some_and(DiskError::is_full);
        if done.as_ref().err().is_some_and(full) && self.reserve.release() {
            return work();
        }
        done
    }

    /// An error of the disk, or that another process has left the folder: then what was looked for is
    /// not there any more.
    pub fn or_changed<T>(&self, done: Result<T, LearnerError>) -> Result<T, LearnerError> {
        let gone = |error: &LearnerError| {
            let damaged = matches!(error, LearnerError::Store(StoreError::Damaged { .. }));
            damaged || error.disk().is_some()
        };
        if done.as_ref().is_err_and(gone) {
            self.kept().vault.check()?;
        }
        done
    }

    /// Keeps room back again.
    pub fn refill_reserve(&self) {
        self.reserve.fill();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let now_ms = self.now_ms();
        let Ok(kept) = self.kept.get_mut() else { return };
        if let Err(error) = kept.journal.close(now_ms) {
            log::warn!("the journal was not closed: {error}");
        }
        kept.end_trial();
    }
}

/// Drops what the journal may no longer keep; whether anything went. Nobody waits for it: a disk
/// that fails here fails loudly elsewhere.
fn expire(journal: &mut Journal, store: &Store) -> bool {
    let Some(now_ms) = store.time().ages_from_ms() else { return false };
    let in_use = |digest: &Digest| {
        store.generations().iter().any(|known| known.digest == *digest && known.state.has_file())
    };
    journal.expire(&in_use, now_ms).unwrap_or_else(|error| {
        log::warn!("what is too old could not be dropped: {error}");
        false
    })
}

/// Writes down what the clock says, so that a leap of it is seen by the next process, too.
fn keep_time(store: &mut Store) {
    if let Err(error) = store.keep_time() {
        log::warn!("what the clock says was not written down: {error}");
    }
}
