//! The store: adapter generations, which of them is in force, and how that changes safely.
//!
//! ```text
//! stage ─► Staged ─propose─► Probation ─confirm─► Active ─► Fallback ─► Retired
//!                               │  begin_trial, healthy          │ rollback
//!                               └──────────rollback──────────────┴─► Bad (refused for good)
//! ```
//!
//! Every transition is one commit of the whole manifest (see `slots`), under a short advisory
//! lock. What holds at any instant, whatever dies (`docs/storage.md` argues each of I1 to I9, and
//! `tests/tests/crash` looks for a counterexample):
//!
//! * a valid manifest exists, and an acknowledged transition is never lost (I1, I2);
//! * a generation that the manifest names has its complete, durable file (I3);
//! * a candidate is put into use at most [`N_TRIES`] times without a healthy report: the try is
//!   paid for before the adapter is used (I4);
//! * what was rolled back or forgotten never comes back (the last 4096 of them), and an adapter only ever meets the base
//!   model that it was made for (I5–I7);
//! * opening writes nothing before the state that it found is durable (I9).
//!
//! What learning rests on (promotions, tries, the last run) is state of its own, one [`Course`] for
//! each base model, and not the log of events, which the report shows and which is pruned.
//!
//! The store owns no clock: the host tells the time ([`BelievedTime`]).

mod course;
#[cfg(test)]
mod edge_tests;
mod error;
mod files;
mod format1;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod manifest;
mod probation;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use crate::digest::{Digest, digest_of, hex};
pub use course::{Course, N_HEALTHY, N_TRIES, Probation};
pub use error::StoreError;
pub use manifest::{Change, Event, Generation, Meta, Metric, Reason, State};
pub use probation::Trial;

use crate::disk::{Disk, Lock, at};
use crate::seal::Seal;
use crate::time::BelievedTime;
use crate::vault::Epoch;
use manifest::Manifest;
use slots::Slots;

const MAX_METRICS: usize = 8;
const MAX_METRIC_NAME: usize = 32;
/// Staged generations kept; beyond, the oldest retires.
const KEPT_STAGED: usize = 4;
const LOCK: &str = "lock";

/// Planted faults of the protocol, to see that the tests find them. Never in a normal build.
#[cfg(any(test, feature = "faults"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Files go before the commit that replaces, takes back or revokes their generations.
    CollectBeforeCommit,
    /// The try is paid for after the adapter was used.
    DecrementAfterUse,
    /// The candidate is named by the manifest before its file is written.
    ProposeBeforeStage,
    /// What learning rests on is forgotten with the next commit.
    LoseCourse,
    /// A candidate that the gate turns down is not counted.
    CountNoRefusal,
}

/// The adapters of one base model on one disk.
pub struct Store {
    disk: Arc<dyn Disk>,
    seal: Arc<Seal>,
    slots: Slots,
    manifest: Manifest,
    base: Digest,
    now_ms: u64,
    time: BelievedTime,
    /// Refused digests that the manifest has no room for, oldest first.
    refused_before: Vec<Digest>,
    /// Whether this session has begun a trial that has not been reported healthy.
    trial: bool,
    #[cfg(any(test, feature = "faults"))]
    mutant: Option<Mutant>,
}

impl Store {
    /// Opens the store of `disk`, making an empty one if there was never one, and recovers from
    /// whatever happened to the last process.
    ///
    /// `base` is the fingerprint of the base model in use. Adapters of another base model are
    /// laid to rest and wake up when that base model returns.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] for a wrong root key; nothing is changed then.
    pub fn open(disk: Arc<dyn Disk>, seal: Arc<Seal>, base: Digest) -> Result<Store, StoreError> {
        let lock = at(LOCK, LOCK, disk.lock(LOCK))?;
        let (slots, manifest) = Slots::open(Arc::clone(&disk), Arc::clone(&seal), base)?;
        let refused_before = Store::read_refused(&*disk, &seal)?;
        let mut store = Store {
            disk,
            seal,
            slots,
            time: manifest.time,
            manifest,
            base,
            now_ms: 0,
            refused_before,
            trial: false,
            #[cfg(any(test, feature = "faults"))]
            mutant: None,
        };
        for folder in [files::ADAPTERS, files::CHECKPOINTS] {
            // The slots' recovery has made the names of those that are there durable.
            if store.disk.list(folder).is_err() {
                at("make folder", folder, store.disk.make_dir(folder))?;
            }
        }
        let mut next = store.manifest.clone();
        next.left = false;
        next.adopt_base(&store.base);
        store.drop_missing(&mut next)?;
        if next != store.manifest {
            match store.commit(next.clone()) {
                // Nobody else will read it: it is only looked at.
                Err(StoreError::Disk(error)) if error.is_read_only() => store.manifest = next,
                done => done?,
            }
        }
        store.sweep();
        drop(lock);
        Ok(store)
    }

    /// The same store in the folder of another epoch, where [`Store::copy_to`] has put everything: a
    /// trial under way goes on.
    pub(crate) fn reopen(&self, there: &Epoch) -> Result<Store, StoreError> {
        let (disk, seal) = (Arc::clone(&there.disk), Arc::clone(&there.seal));
        let mut store = Store::open(disk, seal, self.base)?;
        (store.now_ms, store.trial) = (self.now_ms, self.trial);
        Ok(store)
    }

    /// Plants a fault. Test builds only.
    #[cfg(any(test, feature = "faults"))]
    pub fn plant(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }

    /// Tells the time, in milliseconds since 1970.
    pub fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.time.hear(now_ms);
    }

    /// Believes a time that was told earlier, before any other is.
    pub fn believe(&mut self, told_ms: u64) {
        self.time.hear(told_ms);
    }

    /// What is believed of the host's clock.
    pub fn time(&self) -> BelievedTime {
        self.time
    }

    /// Writes the time down, if it is worth it: the next process has to know when the clock leaps.
    pub fn keep_time(&mut self) -> Result<(), StoreError> {
        if self.time.is_worth_writing(&self.manifest.time) {
            self.change(|_, _| Ok(()))?;
        }
        Ok(())
    }

    /// How far learning has come on the base model in use.
    pub fn course(&self) -> &Course {
        self.manifest.course()
    }

    /// The generation that was confirmed; `None`: the bare base model.
    pub fn active(&self) -> Option<&Generation> {
        self.manifest.in_state(State::Active)
    }

    /// What a rollback of the active generation returns to.
    pub fn fallback(&self) -> Option<&Generation> {
        self.manifest.in_state(State::Fallback)
    }

    /// The generation on probation.
    pub fn candidate(&self) -> Option<&Generation> {
        self.manifest.in_state(State::Probation)
    }

    /// What new sessions should use: the candidate while it has tries left or is on trial in this
    /// session, otherwise the active generation. Use a candidate only after
    /// [`Store::begin_trial`].
    pub fn in_force(&self) -> Option<&Generation> {
        let may_try = self.trial || self.tries_left() > 0;
        self.candidate().filter(|_| may_try).or_else(|| self.active())
    }

    /// All generations known, oldest first, with those whose files are gone.
    pub fn generations(&self) -> &[Generation] {
        &self.manifest.generations
    }

    /// Promotions and rollbacks, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.manifest.events
    }

    /// Whether a digest was rolled back or forgotten and may not come back. The last 4096 refusals
    /// are remembered.
    pub fn is_refused(&self, digest: &Digest) -> bool {
        self.manifest.refused(digest) || self.refused_before.contains(digest)
    }

    /// Counts commits. It only ever grows.
    pub fn sequence(&self) -> u64 {
        self.manifest.sequence
    }

    /// Takes in what other processes have changed: adapters that they put in force or took back.
    ///
    /// # Errors
    /// [`StoreError::ChangedElsewhere`] if another one uses the store with another base model, or
    /// has left this folder.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        match self.slots.check_unchanged() {
            Err(StoreError::ChangedElsewhere) => {}
            unchanged => return unchanged,
        }
        // Without the lock: a commit under way is whole, and then it is made durable here, or it is
        // no valid slot yet. Who waited for it would go on with what was just taken back.
        let manifest = self.slots.reload()?;
        let here = manifest.courses.last().is_some_and(|course| course.base == self.base);
        if manifest.left || !here {
            return Err(StoreError::ChangedElsewhere);
        }
        let candidate = self.candidate().map(|known| known.digest);
        self.manifest = manifest;
        self.trial &= candidate == self.candidate().map(|known| known.digest);
        self.refused_before = Store::read_refused(&*self.disk, &self.seal)?;
        Ok(())
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        let lock = at(LOCK, LOCK, self.disk.lock(LOCK))?;
        self.slots.check_unchanged()?;
        Ok(lock)
    }

    /// One transition: edits a copy of the manifest and commits it.
    fn change<T>(
        &mut self,
        edit: impl FnOnce(&mut Manifest, u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _lock = self.lock()?;
        let mut next = self.manifest.clone();
        let out = edit(&mut next, self.now_ms)?;
        if self.planted_early_collection() {
            self.sweep_as(&next);
        }
        self.commit(next)?;
        Ok(out)
    }

    fn commit(&mut self, next: Manifest) -> Result<(), StoreError> {
        self.write(Manifest { left: false, ..next })
    }

    fn write(&mut self, mut next: Manifest) -> Result<(), StoreError> {
        next.time = self.time;
        self.planted_faults(&mut next);
        next.prune();
        self.make_room_for_refusals(&mut next);
        assert!(next.is_sound(&self.base), "a transition broke the manifest's invariants");
        self.slots.write(&mut next)?;
        self.manifest = next;
        Ok(())
    }

    /// Takes generations out of force whose files are not there at all.
    fn drop_missing(&self, next: &mut Manifest) -> Result<(), StoreError> {
        let names = at("list", files::ADAPTERS, self.disk.list(files::ADAPTERS))?;
        let missing: Vec<Digest> = next
            .generations
            .iter()
            .filter(|known| known.state.has_file() && !names.contains(&hex(&known.digest)))
            .map(|known| known.digest)
            .collect();
        for digest in missing {
            log::warn!("the file of adapter {} is gone; it is taken back", hex(&digest));
            next.refuse(&digest, State::Bad);
            next.log(self.now_ms, digest, Change::RolledBack(Reason::Damaged));
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "faults"))]
impl Store {
    fn planted_early_collection(&self) -> bool {
        self.planted(Mutant::CollectBeforeCommit)
    }

    fn planted_faults(&self, next: &mut Manifest) {
        if self.planted(Mutant::LoseCourse) {
            next.course_mut().promotions.clear();
        }
        if self.planted(Mutant::CountNoRefusal) {
            next.course_mut().turned_down = 0;
        }
    }

    fn planted(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn sweep_as(&mut self, next: &Manifest) {
        let now = std::mem::replace(&mut self.manifest, next.clone());
        self.sweep();
        self.manifest = now;
    }
}

#[cfg(not(any(test, feature = "faults")))]
impl Store {
    fn planted_early_collection(&self) -> bool {
        false
    }

    fn sweep_as(&mut self, _: &Manifest) {}

    fn planted_faults(&self, _: &mut Manifest) {}
}
