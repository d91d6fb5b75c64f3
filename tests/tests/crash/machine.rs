//! The app, its model beside it, and what happens to both: one call at a time, any of which may
//! fail, be cut short, or find that another process was faster.

use std::collections::BTreeSet;
use std::sync::Arc;

use sapwood::LearnerError;
use sapwood::disk::Disk;
use sapwood::disk::sim::{Image, Moment, SimDisk};
use sapwood::journal::{Consent, Record, UsedByGeneration};
use sapwood::store::{Meta, Reason, State, Store, StoreError, Trial};

use super::app::{self, App, Elsewhere, LIMITS, note};
use super::keys::{Held, Keys};
use super::model::{ELSEWHERE, Gone, Kept, Level, Model, No, Slots, What};
use super::world::{Fault, Faulty};

/// One call of the app's, or of the second process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A record in the page cache.
    Append,
    Flush,
    /// The segment under way gets its footer.
    Close,
    Consent,
    /// Takes back the oldest note.
    Tombstone,
    /// Does what follows from tombstones.
    Finish,
    /// Leaves the epoch, where nothing is left to follow from a tombstone.
    Leave,
    /// The last three in one.
    Forget,
    Merge,
    /// Some hours later: drops what is too old.
    Expire,
    Stage,
    Propose,
    /// Begins a trial.
    Use,
    Healthy,
    /// Ends a trial that was too short.
    Pause,
    Confirm,
    Rollback,
    /// The gate is done with what was staged first: no.
    TurnDown,
    /// The gate is done with it: yes.
    PutForward,
    Save,
    Clear,
    /// The app ends and begins again.
    Reopen,
    /// The second process appends.
    OtherAppends,
    OtherFlushes,
    /// Another process opens the store and takes back what is in force.
    OtherRollsBack,
    /// Another process forgets the oldest note, and leaves the epoch.
    OtherForgets,
    /// Another process looks at the store with another base model.
    OtherBase,
}

impl Op {
    pub const ALL: [Op; 27] = [
        Op::Append,
        Op::Flush,
        Op::Close,
        Op::Consent,
        Op::Tombstone,
        Op::Finish,
        Op::Leave,
        Op::Forget,
        Op::Merge,
        Op::Expire,
        Op::Stage,
        Op::Propose,
        Op::Use,
        Op::Healthy,
        Op::Pause,
        Op::Confirm,
        Op::Rollback,
        Op::TurnDown,
        Op::PutForward,
        Op::Save,
        Op::Clear,
        Op::Reopen,
        Op::OtherAppends,
        Op::OtherFlushes,
        Op::OtherRollsBack,
        Op::OtherForgets,
        Op::OtherBase,
    ];
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// It would have no meaning now, or the protocol forbids it.
    Refused,
}

pub struct Machine {
    pub disk: Arc<Faulty>,
    pub keys: Keys,
    pub model: Model,
    /// The model while the last call was under way: nothing of it had been promised.
    pub under_way: Model,
    pub app: App,
    other: Option<Elsewhere>,
    pub now_ms: u64,
    count: u64,
    /// Sessions of the app and of the second process.
    sessions: (u64, u64),
    /// Whether the app has a failure to expect.
    pub faulty: bool,
    /// Whether another process has changed the store since the app opened it.
    stale: bool,
    /// What may be found while the last opening was under way.
    pub recovery: Model,
}

/// What is left when the power or the process goes.
#[derive(Debug, Clone)]
pub struct Wreck {
    pub image: Image,
    pub held: Held,
    pub power: bool,
}

fn refused(error: &StoreError) -> bool {
    use StoreError::{
        CandidateExists, NoCandidate, NoTrial, NotHealthy, NothingToRollBack, Unknown,
    };
    matches!(
        error,
        CandidateExists
            | NoCandidate
            | NoTrial
            | NotHealthy { .. }
            | NothingToRollBack
            | Unknown { .. }
    )
}

impl Machine {
    /// A new device. If `record`, every moment from the first on is kept.
    pub fn new(fault: Fault, record: bool) -> Machine {
        let sim = SimDisk::new();
        if record {
            sim.record();
        }
        let keys = Keys::on(&sim, Held::new(), fault);
        let disk = Arc::new(Faulty::new(sim, fault));
        let app = App::open(&disk, &keys).expect("the disk works");
        let model = Model::default();
        Machine::around(disk, keys, model, app)
    }

    fn around(disk: Arc<Faulty>, keys: Keys, model: Model, app: App) -> Machine {
        let (count, now_ms) = (model.count + 1_000, model.now_ms);
        let (under_way, recovery) = (model.clone(), model.clone());
        let (other, sessions, faulty, stale) = (None, (count, ELSEWHERE + count), false, false);
        Machine {
            disk,
            keys,
            model,
            under_way,
            app,
            other,
            now_ms,
            count,
            sessions,
            faulty,
            stale,
            recovery,
        }
    }

    pub fn sim(&self) -> &SimDisk {
        &self.disk.disk
    }

    /// Whether the process is dead: nothing that it does has an effect.
    pub fn dead(&self) -> bool {
        self.sim().is_dead()
    }

    /// What a crash leaves at a moment of this machine.
    pub fn wreck(&self, moment: &Moment, image: Image, power: bool) -> Wreck {
        Wreck { image, held: self.keys.held_at(moment.operations), power }
    }

    /// Does one thing.
    ///
    /// # Errors
    /// What was promised and is not so.
    pub fn act(&mut self, op: Op) -> Result<(), String> {
        self.count += 1;
        self.now_ms += 10;
        (self.model.count, self.model.now_ms) = (self.count, self.now_ms);
        self.under_way = self.model.clone();
        let outcome = match op {
            Op::Append => self.append(What::Note),
            Op::Consent => self.append(What::Consent(self.count.is_multiple_of(2))),
            Op::Flush | Op::Close => self.flush(op),
            Op::Tombstone => self.bury(),
            Op::Finish => self.finish(),
            Op::Leave => self.leave(),
            Op::Forget => self.forget(),
            Op::Merge => self.tidy(|app, now_ms, _| app.journal.merge(now_ms).map(drop)),
            Op::Expire => self.expire(),
            Op::Stage => self.stage(),
            Op::Save | Op::Clear => self.checkpoint(op == Op::Save),
            Op::Reopen => return self.reopen(),
            Op::OtherAppends | Op::OtherFlushes => return self.elsewhere(op),
            Op::OtherRollsBack => return self.other_rolls_back(),
            Op::OtherForgets => return self.other_forgets(),
            Op::OtherBase => return self.other_base(),
            _ => self.transition(op),
        };
        self.judge(op, outcome)
    }

    /// A call may fail if the disk does, or if another process was faster: then the app opens anew.
    fn judge(&mut self, op: Op, outcome: Result<Outcome, LearnerError>) -> Result<(), String> {
        match outcome {
            Ok(Outcome::Done | Outcome::Refused) => Ok(()),
            Err(_) if self.stale => self.reopen(),
            Err(error) if app::is_elsewhere(&error) => self.reopen(),
            Err(_) if self.faulty && self.sim().struck() => Ok(()),
            Err(error) => Err(format!("{op:?} failed on a disk that works: {error}")),
        }
    }

    fn note_record(&mut self, number: u64, what: What, session: u64) {
        let (level, gone, old) = (Level::Maybe, Gone::No, false);
        let time_ms = self.now_ms;
        let kept = Kept { number, what, time_ms, level, gone, session, old };
        self.model.records.push(kept.clone());
        self.under_way.records.push(kept);
    }

    fn acknowledge(&mut self, number: u64, level: Level) {
        for kept in self.model.records.iter_mut().filter(|kept| kept.number == number) {
            kept.level = kept.level.max(level);
        }
    }

    fn record(&self, number: u64, what: &What) -> Record {
        match what {
            What::Note => note(number),
            What::Consent(granted) => {
                Record::Consent(Consent { granted: *granted, time_ms: number })
            }
            What::Used(digest, notes) => Record::UsedByGeneration(UsedByGeneration {
                digest: *digest,
                reply_ids: notes.iter().map(|n| u128::from(*n)).collect(),
                time_ms: number,
            }),
        }
    }

    fn append(&mut self, what: What) -> Result<Outcome, LearnerError> {
        let number = self.count;
        let record = self.record(number, &what);
        let durable = matches!(what, What::Consent(_));
        self.note_record(number, what, self.sessions.0);
        self.app.append(&record, self.now_ms)?;
        self.acknowledge(number, Level::Cached);
        if durable {
            self.model.flushed(self.sessions.0);
        }
        Ok(Outcome::Done)
    }

    fn flush(&mut self, op: Op) -> Result<Outcome, LearnerError> {
        let journal = &mut self.app.journal;
        let done = match op {
            Op::Flush => journal.flush(self.now_ms),
            _ => journal.close(self.now_ms),
        };
        self.app.vault.check()?;
        done?;
        self.model.flushed(self.sessions.0);
        Ok(Outcome::Done)
    }

    fn bury(&mut self) -> Result<Outcome, LearnerError> {
        let notes = self.model.notes();
        let Some(&oldest) = notes.first() else { return Ok(Outcome::Refused) };
        mark_gone(&mut self.model, oldest, Gone::Maybe);
        mark_gone(&mut self.under_way, oldest, Gone::Maybe);
        self.app.append(&app::tombstone(&[oldest], self.count), self.now_ms)?;
        mark_gone(&mut self.model, oldest, Gone::Sure);
        self.model.flushed(self.sessions.0);
        Ok(Outcome::Done)
    }

    fn finish(&mut self) -> Result<Outcome, LearnerError> {
        let found = self.app.found()?;
        let knowing = self.model.knowing(&found.tombstones);
        if knowing.is_empty() {
            return Ok(Outcome::Refused);
        }
        let mut after = self.model.now().clone();
        after.revoke(&knowing, &self.model.parents);
        self.commit(after, |store| store.revoke(&knowing).map(drop))
    }

    fn leave(&mut self) -> Result<Outcome, LearnerError> {
        // The tombstones don't come along.
        self.finish()?;
        self.app.leave(self.now_ms)?;
        self.sessions.0 += 1;
        let found = self.app.found()?;
        let there = |kept: &Kept| found.records.iter().any(|r| r.0 == kept.number);
        // What was not copied is gone for good; but what a late process wrote, and was not told
        // that it counts, may still be fetched.
        let late = |kept: &Kept| kept.level == Level::Maybe && kept.gone == Gone::No;
        self.model.records.retain(|kept| there(kept) || late(kept));
        for kept in self.model.records.iter_mut().filter(|kept| there(kept)) {
            kept.level = Level::Durable;
        }
        Ok(Outcome::Done)
    }

    fn forget(&mut self) -> Result<Outcome, LearnerError> {
        if self.bury()? == Outcome::Refused {
            return Ok(Outcome::Refused);
        }
        self.leave()
    }

    fn tidy(
        &mut self,
        job: impl FnOnce(&mut App, u64, &Slots) -> Result<(), sapwood::journal::JournalError>,
    ) -> Result<Outcome, LearnerError> {
        job(&mut self.app, self.now_ms, self.model.now())?;
        Ok(Outcome::Done)
    }

    fn expire(&mut self) -> Result<Outcome, LearnerError> {
        self.now_ms += LIMITS.total_age_ms / 2;
        (self.model.now_ms, self.under_way.now_ms) = (self.now_ms, self.now_ms);
        let (now_ms, limits) = (self.now_ms, LIMITS);
        // A segment is as old as its first record, a merged one as its first part.
        let least_ms = limits.total_age_ms * 15 / 16 - limits.segment_age_ms;
        let live: BTreeSet<_> = self.model.now().live.iter().map(|known| known.0).collect();
        for kept in self.model.records.iter_mut().chain(&mut self.under_way.records) {
            let stays = matches!(kept.what, What::Used(digest, _) if live.contains(&digest));
            kept.old |= !stays && now_ms.saturating_sub(kept.time_ms) > least_ms;
        }
        let done = self.tidy(|app, now_ms, slots| {
            let in_use = |digest: &[u8; 32]| slots.live.iter().any(|known| known.0 == *digest);
            app.journal.expire(&in_use, now_ms).map(drop)
        })?;
        let found = self.app.found()?;
        let there = |kept: &Kept| found.records.iter().any(|r| r.0 == kept.number);
        // What another process has not made durable it may write once more.
        let pending = |kept: &Kept| kept.level < Level::Durable || kept.gone != Gone::No;
        self.model.records.retain(|kept| !kept.old || pending(kept) || there(kept));
        Ok(done)
    }

    /// One commit of the store, from what it is to `after`.
    fn commit<E: Into<LearnerError>>(
        &mut self,
        after: Slots,
        call: impl FnOnce(&mut Store) -> Result<(), E>,
    ) -> Result<Outcome, LearnerError> {
        self.model.slots.push(after.clone());
        self.under_way.slots.push(after.clone());
        call(&mut self.app.store).map_err(Into::into)?;
        self.model.slots = vec![after];
        Ok(Outcome::Done)
    }

    fn stage(&mut self) -> Result<Outcome, LearnerError> {
        let (digest, bytes) = app::adapter(self.count);
        let parent = self.model.now().in_state(State::Active);
        for model in [&mut self.model, &mut self.under_way] {
            model.adapters.insert(digest, bytes.clone());
            model.parents.extend(parent.map(|parent| (digest, parent)));
        }
        let notes = self.model.notes();
        let mut after = self.model.now().clone();
        after.stage(digest);
        let meta = Meta { parent, ..Meta::default() };
        self.commit(after, |store| store.stage(&bytes, meta).map(drop))?;
        // Its lineage, durable before it is used.
        self.append(What::Used(digest, notes))?;
        self.flush(Op::Flush)
    }

    fn transition(&mut self, op: Op) -> Result<Outcome, LearnerError> {
        let mut after = self.model.now().clone();
        let in_trial = self.app.store.in_trial();
        let staged = after.in_state(State::Staged);
        let order = self.count;
        let expected = match op {
            Op::Propose => after.propose().map(drop),
            Op::Use if in_trial => Ok(()),
            Op::Use => after.begin_trial(),
            Op::Healthy | Op::Pause if !in_trial => Err(No),
            Op::Pause => {
                after.tries_left += 1;
                Ok(())
            }
            Op::Healthy => {
                after.report();
                Ok(())
            }
            Op::Confirm => after.confirm(order),
            Op::Rollback => after.rollback(),
            Op::PutForward => after.put_forward(),
            _ => after.turn_down(),
        };
        let call = |store: &mut Store| match op {
            Op::Propose => store.propose(&staged.unwrap_or([0xEE; 32])),
            Op::Use => store.begin_trial().map(|trial| match trial {
                Trial::Begun { digest, .. } => assert_eq!(Some(digest), candidate(store)),
                Trial::Exhausted { .. } => {}
            }),
            Op::Healthy => store.healthy(),
            Op::Pause => store.end_trial(),
            Op::Confirm => store.confirm(order),
            Op::Rollback => store.rollback(Reason::Host).map(drop),
            _ => {
                let over = store.in_force().map(|known| known.digest);
                store.carry_out(&staged.unwrap_or([0xEE; 32]), over, op == Op::PutForward)
            }
        };
        if expected == Err(No) {
            return match call(&mut self.app.store) {
                Ok(()) => panic!("{op:?} is not allowed in {:?}", self.model.now()),
                Err(error) if refused(&error) => Ok(Outcome::Refused),
                Err(error) => Err(error.into()),
            };
        }
        let done = self.commit(after, call)?;
        assert!(op != Op::PutForward || !self.app.store.in_trial(), "a try that nobody paid for");
        Ok(done)
    }

    fn checkpoint(&mut self, save: bool) -> Result<Outcome, LearnerError> {
        let bytes = save.then(|| vec![self.count as u8; 700 + self.count as usize % 3 * 400]);
        self.model.checkpoints.push(bytes.clone());
        self.under_way.checkpoints.push(bytes.clone());
        match &bytes {
            Some(bytes) => self.app.store.save_checkpoint(bytes)?,
            None => self.app.store.clear_checkpoint()?,
        }
        self.model.checkpoints = vec![bytes];
        Ok(Outcome::Done)
    }

    /// The app ends, without a farewell, and begins again on the same page cache.
    fn reopen(&mut self) -> Result<(), String> {
        match App::open(&self.disk, &self.keys) {
            Ok(app) => self.app = app,
            Err(_) if self.faulty && self.sim().struck() => return Ok(()),
            Err(error) => return Err(format!("I1 cannot open: {error}")),
        }
        self.stale = false;
        self.settle(false)
    }

    /// Compares what was just opened with the model, which then says what was found.
    fn settle(&mut self, power: bool) -> Result<(), String> {
        self.sessions.0 += 1;
        let settled = self.compare(power);
        // If the disk can't be read now, whoever opens it next looks.
        if self.faulty && self.sim().struck() { Ok(()) } else { settled }
    }

    fn compare(&mut self, power: bool) -> Result<(), String> {
        let found = self.app.found().map_err(|error| format!("journal: {error}"))?;
        self.model.check_records(&found, power)?;
        self.model.check_slots(&self.app.store)?;
        self.app.check_keys()?;
        self.model.settle(&found, &self.app.store, power);
        Ok(())
    }

    /// What another process finds on the page cache as it is, with this one dead.
    pub fn look(&self) -> Result<(), String> {
        let wreck = Wreck { image: self.sim().image(), held: self.keys.held(), power: false };
        Machine::recover(&self.model, &wreck, self.disk.fault, false).map(drop)
    }

    fn elsewhere(&mut self, op: Op) -> Result<(), String> {
        let disk = Arc::new(self.sim().clone()) as Arc<dyn Disk>;
        if self.other.is_none() {
            let opened = Elsewhere::open(disk, &self.keys);
            let Some(opened) = self.tolerate("open elsewhere", opened)? else { return Ok(()) };
            self.other = Some(opened);
            self.sessions.1 += 1;
        }
        let (number, session) = (ELSEWHERE + self.count, self.sessions.1);
        if op == Op::OtherAppends {
            self.note_record(number, What::Note, session);
        }
        let Some(other) = &mut self.other else { return Ok(()) };
        let done = match op {
            Op::OtherAppends => other.append(number, self.now_ms),
            _ => other.flush(self.now_ms),
        };
        match self.tolerate("elsewhere", done)? {
            None => self.other = None,
            Some(()) if op == Op::OtherAppends => self.acknowledge(number, Level::Cached),
            Some(()) => self.model.flushed(session),
        }
        Ok(())
    }

    /// `None` for errors that another process has to expect.
    fn tolerate<T>(&self, what: &str, done: Result<T, LearnerError>) -> Result<Option<T>, String> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if app::is_elsewhere(&error) => Ok(None),
            Err(_) if self.faulty && self.sim().struck() => Ok(None),
            Err(error) => Err(format!("{what}: {error}")),
        }
    }

    fn other_rolls_back(&mut self) -> Result<(), String> {
        let mut after = self.model.now().clone();
        if after.rollback().is_err() {
            return Ok(());
        }
        let opened = App::open(&self.disk, &self.keys);
        let Some(mut other) = self.tolerate("another app opens", opened)? else { return Ok(()) };
        self.model.slots.push(after.clone());
        self.under_way.slots.push(after.clone());
        self.stale = true;
        let done = other.store.rollback(Reason::Host).map_err(LearnerError::from);
        if self.tolerate("another app rolls back", done)?.is_some() {
            self.model.slots = vec![after];
        }
        Ok(())
    }

    /// Another app does it; this one has no idea, and its next call has to tell it.
    fn other_forgets(&mut self) -> Result<(), String> {
        let opened = App::open(&self.disk, &self.keys);
        let Some(other) = self.tolerate("another app opens", opened)? else { return Ok(()) };
        let mine = std::mem::replace(&mut self.app, other);
        let session = std::mem::replace(&mut self.sessions.0, ELSEWHERE / 2 + self.count);
        let done = self.forget();
        self.app = mine;
        self.sessions.0 = session;
        self.stale = true;
        match done {
            Err(_) if self.faulty && self.sim().struck() => Ok(()),
            Err(error) if app::is_elsewhere(&error) => Ok(()),
            Err(error) => Err(format!("another app forgets: {error}")),
            Ok(_) => Ok(()),
        }
    }

    /// Nothing is different when this one's base model is in use again.
    fn other_base(&mut self) -> Result<(), String> {
        let opened = App::open_for(&self.disk, &self.keys, [0xB2; 32]);
        self.stale = true;
        let Some(other) = self.tolerate("another base", opened)? else { return Ok(()) };
        if let Some(known) = other.store.in_force() {
            return Err(format!("I7 {:?} is in force for another base model", known.state));
        }
        Ok(())
    }

    /// Opens what a crash has left, and does what follows from tombstones. The moments of that are
    /// kept if `record`.
    pub fn recover(before: &Model, wreck: &Wreck, fault: Fault, record: bool) -> Recovered {
        let sim = SimDisk::from_image(wreck.image.clone());
        if record {
            sim.record();
        }
        let keys = Keys::on(&sim, wreck.held.clone(), fault);
        let disk = Arc::new(Faulty::new(sim, fault));
        Machine::recover_on(before, disk, keys, wreck.power, false)
    }

    /// The same on a disk that may fail. If it can't be opened for that, it is `Ok(None)`.
    pub fn recover_on(
        before: &Model,
        disk: Arc<Faulty>,
        keys: Keys,
        power: bool,
        faulty: bool,
    ) -> Recovered {
        let app = match App::open(&disk, &keys) {
            Ok(app) => app,
            Err(_) if faulty && disk.disk.struck() => return Ok(None),
            Err(error) => return Err(format!("I1 cannot open: {error}")),
        };
        let mut machine = Machine::around(disk, keys, before.clone(), app);
        machine.faulty = faulty;
        machine.recovery = before.after_crash(power);
        machine.settle(power)?;
        let finished = machine.finish();
        machine.recovery.slots.extend(machine.under_way.slots.iter().cloned());
        match finished {
            Err(error) if !(faulty && machine.sim().struck()) => Err(format!("stuck: {error}")),
            _ => Ok(Some(machine)),
        }
    }
}

/// A machine, or nothing if its disk failed before it was open.
pub type Recovered = Result<Option<Machine>, String>;

fn mark_gone(model: &mut Model, number: u64, gone: Gone) {
    for kept in model.records.iter_mut().filter(|kept| kept.number == number) {
        kept.gone = gone;
    }
}

fn candidate(store: &Store) -> Option<[u8; 32]> {
    store.candidate().map(|known| known.digest)
}
