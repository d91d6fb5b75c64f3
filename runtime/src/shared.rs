//! What conversations and training share: the model, the adapter in force, and what is kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sapwood_models::{Adapter, AdapterFile, Message, Model, Role, Special, Work};

use crate::config::Config;
use crate::consent::Consent;
use crate::device_state::DeviceState;
use crate::disk::{Disk, DiskError, Reserve};
use crate::error::LearnerError;
use crate::foreground::Foreground;
use crate::journal::{self, Feedback, Interaction, Journal, Limits, Record};
use crate::learn::example::{Example, Judged, Reliabilities, Rules, calibrate, examples, judged};
use crate::learn::watch::{Action, Event, Watch};
use crate::ledger::Ledger;
use crate::lineage;
use crate::measured::Progress;
use crate::memory::{Entry, Memory, Query};
use crate::prompt::Shot;
use crate::rng::Rng;
use crate::scope::Scope;
use crate::seal::random;
use crate::shred;
use crate::signal::Signal;
use crate::store::{Digest, Meta, N_HEALTHY, Reason, Store, StoreError, Trial, digest_of};
use crate::swap::InForce;
use crate::transcript::Transcript;
use crate::vault::{Vault, VaultError};

/// The adapter that replies are made with.
pub(crate) struct AdapterSet {
    /// `None` is the bare base model.
    pub adapter: Option<Adapter>,
    /// SHA-256 of the adapter's file, which names its generation.
    pub digest: Option<Digest>,
}

/// One per learner.
pub(crate) struct Shared {
    pub model: Model,
    pub config: Config,
    force: InForce<AdapterSet>,
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
    said: Option<journal::Consent>,
    /// It is a refusal for which there was no room yet: written as soon as there is some.
    unwritten: bool,
    /// Another process forgot something that this one still has in memory.
    outdated: bool,
    pub retrieval_enabled: bool,
    /// What can be retrieved; `None` before anybody asked.
    memory: Option<Memory>,
    /// Examples came or went since it was built.
    memory_outdated: bool,
    /// Over the adapter in force, since its swap.
    watch: Watch,
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
    /// Its conversation has a turn that is off the record: its prompt quotes it.
    pub private: bool,
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
        journal.news(&mut |record| match record {
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
        })?;
        if self.outdated { Err(VaultError::ChangedElsewhere.into()) } else { Ok(()) }
    }

    /// Whether what the user does may be kept, and used.
    pub fn consent(&self) -> Consent {
        Consent::of(self.said)
    }

    /// What replies are to be made with: what the store says, but for a refusal.
    fn wanted(&self) -> Option<Digest> {
        let refused = self.consent() == Consent::Refused;
        self.store.in_force().filter(|_| !refused).map(|g| g.digest)
    }

    /// Ends the trial under way, if the candidate has done well in it.
    fn end_trial(&mut self) {
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

impl Shared {
    pub fn open(disk: Arc<dyn Disk>, model: Model, config: Config) -> Result<Shared, LearnerError> {
        let reserve = Reserve::new(disk.clone());
        let mut vault = Vault::open(disk.clone(), config.keys.clone())?;
        let here = vault.here().clone();
        let mut store = Store::open(here.disk.clone(), here.seal.clone(), model.fingerprint())?;
        store.set_time((config.clock)());
        let limits = Limits {
            total_bytes: config.retention.max_bytes,
            total_age_ms: config.retention.max_age_ms,
            ..Limits::default()
        };
        let mut journal = Journal::open(here.disk.clone(), here.seal.clone(), limits)?;
        shred::settle_at_opening(&mut vault, &journal)?;
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

    /// What new replies are made with.
    pub fn in_force(&self) -> Arc<AdapterSet> {
        self.force.pin()
    }

    /// Pins the adapter in force for one reply. A candidate's try is paid for, durably, before it
    /// is used; one that has used up its tries is taken back here.
    pub fn begin_use(&self) -> Result<Arc<AdapterSet>, LearnerError> {
        let mut kept = self.kept();
        if let Err(error) = kept.catch_up() {
            if matches!(error, LearnerError::Vault(VaultError::ChangedElsewhere)) {
                return Err(error);
            }
            // A disk that fails is no reason not to answer.
            log::warn!("what other processes did can't be read: {error}");
        }
        // Another process may have refused, or granted again.
        if self.in_force().digest != kept.wanted() {
            self.put_in_force(&mut kept)?;
        }
        if kept.consent() == Consent::Refused {
            return Ok(self.in_force());
        }
        self.take_back_exhausted(&mut kept)?;
        let candidate = kept.store.candidate().map(|g| g.digest);
        if candidate.is_some()
            && candidate == self.in_force().digest
            && let Err(error) = kept.store.begin_trial()
        {
            let error = LearnerError::from(error);
            if error.disk().is_none() {
                return Err(error);
            }
            // Without a try that is paid for, a candidate is not used.
            log::warn!("this reply is made without the candidate: {error}");
            return Ok(Arc::new(load_confirmed(&self.model, &kept.store)?));
        }
        Ok(self.in_force())
    }

    /// Takes a candidate back that has used up its tries. Not as soon as it is opened: until it
    /// goes on, the app may say that the last process ended for another reason.
    fn take_back_exhausted(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let store = &mut kept.store;
        if store.candidate().is_some() && !store.in_trial() && store.tries_left() == 0 {
            let trial = store.begin_trial()?;
            debug_assert!(matches!(trial, Trial::Exhausted { .. }), "it has no try left");
            self.put_in_force(kept)?;
        }
        Ok(())
    }

    /// Gives an interrupted trial's try back.
    pub fn forgive_trial(&self) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        if kept.store.trial_interrupted() {
            kept.store.forgive_trial()?;
            // The last try had put it out of force.
            self.put_in_force(&mut kept)?;
        }
        Ok(())
    }

    /// Makes everything durable. A session that goes to the background may end there, and that is
    /// no fault of the candidate's: its try is given back, if it has done well so far and no reply
    /// is under way.
    pub fn flush(&self) -> Result<(), LearnerError> {
        let now_ms = self.now_ms();
        let mut kept = self.kept();
        kept.journal.flush(now_ms)?;
        // Replies pin what they are made with; one is the slot's, one is this.
        if Arc::strong_count(&self.in_force()) == 2 {
            kept.end_trial();
        }
        Ok(())
    }

    /// Loads what the store says is in force, or after a refusal nothing, and swaps it in for all
    /// later replies.
    pub fn put_in_force(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let consent = kept.consent();
        self.refused.store(consent == Consent::Refused, Ordering::Relaxed);
        let set = load_in_force(&self.model, &mut kept.store, consent)?;
        if set.digest != self.in_force().digest {
            self.force.swap(set);
            kept.watch = Watch::new(self.config.learning.watch, kept.watch.p95_us());
        }
        Ok(())
    }

    /// The adapter in the bytes of a file.
    pub fn load(&self, bytes: &[u8]) -> Result<Adapter, LearnerError> {
        load(&self.model, bytes)
    }

    /// Keeps an adapter's bytes after the checks that every adapter has to pass.
    pub fn stage(&self, bytes: &[u8], meta: Option<Meta>) -> Result<Digest, LearnerError> {
        let file = AdapterFile::parse(bytes, self.model.arch())?;
        probe(&self.model, &self.model.load_adapter(&file)?)?;
        let meta = meta.unwrap_or(Meta { created_ms: self.now_ms(), ..Meta::default() });
        let mut kept = self.kept();
        if lineage::lineage(&file).any(|reply| kept.ledger.is_forgotten(reply)) {
            return Err(StoreError::Refused { digest: digest_of(bytes) }.into());
        }
        Ok(kept.store.stage(bytes, meta)?)
    }

    pub fn activate(&self, digest: &Digest) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        self.take_back_exhausted(&mut kept)?;
        kept.store.propose(digest)?;
        self.put_in_force(&mut kept)
    }

    pub fn rollback(&self) -> Result<Digest, LearnerError> {
        let mut kept = self.kept();
        let taken = kept.store.rollback(Reason::Host)?;
        self.put_in_force(&mut kept)?;
        Ok(taken)
    }

    pub fn refuse(&self, digest: &Digest) -> Result<(), LearnerError> {
        let mut kept = self.kept();
        kept.store.mark_bad(digest)?;
        self.put_in_force(&mut kept)
    }

    /// The adapter made logits that are not finite: it goes at once.
    pub fn damaged(&self, used: &AdapterSet) {
        let mut kept = self.kept();
        if let Err(error) = self.observe(&mut kept, used.digest, Event::NonFinite) {
            log::error!("an adapter with damaged logits could not be taken back: {error}");
        }
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
        if kept.consent() != Consent::Granted || quotes {
            return Ok(false);
        }
        let reply = made.reply_id;
        let (follows, new) = kept.ledger.new_in(&went.asked);
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

    /// A healthy session of what is in force; enough of them confirm the candidate.
    fn count_health(&self, kept: &mut Kept) -> Result<(), LearnerError> {
        let candidate = kept.store.candidate().map(|g| g.digest);
        // Another reply of this session may have closed the trial; the next one opens its own.
        if candidate.is_none() || candidate != self.in_force().digest || !kept.store.in_trial() {
            return Ok(());
        }
        kept.store.healthy()?;
        if kept.store.healthy_sessions() >= N_HEALTHY {
            let place = kept.journal.newest_place();
            kept.store.confirm(place)?;
        }
        Ok(())
    }

    /// Tells the watch, and does what it says. The base model can't be taken back.
    fn observe(
        &self,
        kept: &mut Kept,
        used: Option<Digest>,
        event: Event,
    ) -> Result<(), LearnerError> {
        if used != self.in_force().digest {
            return Ok(());
        }
        match kept.watch.observe(event) {
            Action::Healthy => self.count_health(kept),
            Action::Rollback(why) if used.is_some() => {
                log::warn!("the adapter in force is taken back: {why}");
                kept.store.rollback(Reason::Unhealthy)?;
                self.put_in_force(kept)
            }
            _ => Ok(()),
        }
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
        let written = if granted {
            heard?;
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

    /// Keeps room back again.
    pub fn refill_reserve(&self) {
        self.reserve.fill();
    }

    /// Everything worth learning, by the rules of now and reliabilities calibrated on this user.
    pub fn examples(&self, kept: &Kept) -> Vec<Example> {
        examples(kept.ledger.turns(), &self.rules(kept))
    }

    /// The rules of now.
    pub fn rules(&self, kept: &Kept) -> Rules {
        let rules = Rules::at(kept.store.time().now_ms);
        let reliabilities: Reliabilities = calibrate(kept.ledger.turns(), &rules);
        Rules { reliabilities, ..rules }
    }

    /// Past exchanges to show with the first request of a conversation, the most similar one last.
    /// Later requests have the conversation itself to go by.
    pub fn retrieve(&self, surface: &str, said: &Transcript) -> Vec<Shot> {
        let Some(request) = only_request(said) else { return Vec::new() };
        let mut kept = self.kept();
        if !kept.retrieval_enabled || kept.consent() == Consent::Refused {
            return Vec::new();
        }
        self.shots(self.remembered(&mut kept), surface, request, &[])
    }

    /// All that can be retrieved now.
    pub fn remembered<'a>(&self, kept: &'a mut Kept) -> &'a Memory {
        if kept.memory.is_none() || std::mem::take(&mut kept.memory_outdated) {
            let mut memory = kept.memory.take().unwrap_or_else(|| self.empty_memory());
            let entries = self.entries(kept, &HashSet::new(), memory.entries());
            memory.update(entries, &mut self.embed());
            kept.memory = Some(memory);
        }
        kept.memory.as_ref().expect("just built")
    }

    /// What a memory recalls for a request, without what comes from the `excluded` replies. Nothing
    /// if the model came to all of that by itself: it needs no examples there, and would only be
    /// led astray.
    pub fn shots(
        &self,
        memory: &Memory,
        surface: &str,
        request: &str,
        excluded: &[u128],
    ) -> Vec<Shot> {
        let ids = self.request_ids(request);
        let retrieval = &self.config.retrieval;
        let query = Query {
            ids: &ids,
            surface,
            excluded,
            k: retrieval.examples,
            budget_tokens: retrieval.token_budget,
            least: retrieval.min_similarity,
        };
        let shown = memory.nearest(&query, &mut self.embed());
        let shown: Vec<&Entry> = shown.into_iter().map(|recalled| recalled.entry).collect();
        if !shown.iter().any(|entry| entry.taught) {
            return Vec::new();
        }
        let shot = |e: &Entry| Shot { prompt: e.request.clone(), answer: e.answer.clone() };
        shown.into_iter().map(shot).collect()
    }

    /// As [`Shared::shots`] for a conversation: nothing where it is more than its request.
    pub fn shots_for(
        &self,
        memory: &Memory,
        surface: &str,
        said: &Transcript,
        excluded: &[u128],
    ) -> Vec<Shot> {
        let request = only_request(said);
        request.map_or_else(Vec::new, |request| self.shots(memory, surface, request, excluded))
    }

    /// All that can be retrieved, without what comes from the `excluded` replies. What an adapter
    /// has learned stays: the two together do better than either.
    pub fn memory(&self, kept: &Kept, excluded: &HashSet<u128>) -> Memory {
        let mut memory = self.empty_memory();
        memory.update(self.entries(kept, excluded, &[]), &mut self.embed());
        memory
    }

    fn empty_memory(&self) -> Memory {
        Memory::new(Vec::new(), self.model.arch().width, &mut self.embed())
    }

    fn embed(&self) -> impl FnMut(u32, &mut [f32]) {
        |id, row: &mut [f32]| self.model.token_embedding(id, row)
    }

    /// The examples that can be shown: `known` ones are not cut into tokens again.
    fn entries(&self, kept: &Kept, excluded: &HashSet<u128>, known: &[Entry]) -> Vec<Entry> {
        let known: HashMap<u128, &Entry> = known.iter().map(|e| (e.lineage[0], e)).collect();
        let open = |e: &Example| !e.lineage.iter().any(|id| excluded.contains(id));
        let entry = |e: Example| {
            // A request that builds on earlier turns means nothing without them.
            let request = only_request(&e.prompt)?;
            let like = known.get(&e.lineage[0]).filter(|k| k.request == request);
            let same = like.filter(|k| k.answer == e.target);
            let ids = like.map_or_else(|| self.request_ids(request), |k| k.ids.clone());
            let cost = || ids.len() + self.request_ids(&e.target).len() + TURN_TOKENS;
            Some(Entry {
                cost_tokens: same.map_or_else(cost, |k| k.cost_tokens),
                request: request.to_owned(),
                ids,
                answer: e.target,
                lineage: e.lineage,
                surface: e.surface,
                order: e.order,
                taught: e.taught,
            })
        };
        self.examples(kept).into_iter().filter(open).filter_map(entry).collect()
    }

    pub fn request_ids(&self, text: &str) -> Vec<u32> {
        self.model.tokenizer().encode(text, Special::default())
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

/// What a template puts around two turns, about.
const TURN_TOKENS: usize = 12;

/// The request of a conversation that is nothing but that. Later ones mean little without what came
/// before them, and have it to go by.
pub(crate) fn only_request(said: &Transcript) -> Option<&str> {
    let turns = said.len() - usize::from(said.system().is_some());
    (turns == 1).then(|| said.last().map_or("", |message| &message.content))
}

fn load(model: &Model, bytes: &[u8]) -> Result<Adapter, LearnerError> {
    Ok(model.load_adapter(&AdapterFile::parse(bytes, model.arch())?)?)
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

/// An adapter that is loaded is applied: its logits on a fixed probe are finite and differ from
/// the base model's.
fn probe(model: &Model, adapter: &Adapter) -> Result<(), LearnerError> {
    let vocab = model.arch().vocab as u32;
    let ids = [1 % vocab, 7 % vocab, 11 % vocab, 13 % vocab];
    let logits = |adapter| model.step(&mut model.cache(ids.len()), adapter, &ids);
    let (with, without) = (logits(Some(adapter))?, logits(None)?);
    if with.iter().any(|l| !l.is_finite()) {
        return Err(LearnerError::AdapterNotFinite);
    }
    if with == without {
        return Err(LearnerError::AdapterChangesNothing);
    }
    Ok(())
}

/// The adapter that was confirmed, or the base model.
fn load_confirmed(model: &Model, store: &Store) -> Result<AdapterSet, LearnerError> {
    let digest = store.active().map(|active| active.digest);
    let bytes = digest.map(|digest| store.adapter_bytes(&digest)).transpose()?;
    let adapter = bytes.map(|bytes| load(model, &bytes)).transpose()?;
    Ok(AdapterSet { adapter, digest })
}

/// The adapter that the store names. One that can't be loaded is taken back, and the next best is
/// tried: a broken adapter must not keep the app from its base model. Who refuses to be learned from
/// gets the base model.
fn load_in_force(
    model: &Model,
    store: &mut Store,
    consent: Consent,
) -> Result<AdapterSet, LearnerError> {
    let named = |store: &Store| store.in_force().map(|g| g.digest);
    while let Some(digest) = named(store).filter(|_| consent != Consent::Refused) {
        let loaded = store.adapter_bytes(&digest).map_err(LearnerError::from);
        match loaded.and_then(|bytes| load(model, &bytes)) {
            Ok(adapter) => {
                return Ok(AdapterSet { adapter: Some(adapter), digest: Some(digest) });
            }
            Err(error) => {
                log::error!("an adapter is taken back because it can't be loaded: {error}");
                store.rollback(Reason::Damaged)?;
            }
        }
    }
    Ok(AdapterSet { adapter: None, digest: None })
}
