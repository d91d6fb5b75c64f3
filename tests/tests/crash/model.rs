//! What may be found, kept in memory: the specification that the storage is compared with.
//!
//! A call that has begun and not returned, or that failed, leaves a choice: what was before, or
//! what it would have made. So the model holds all states of the store that may be found, and for
//! each record how sure it is.

use std::collections::{BTreeMap, BTreeSet};

use sapwood::store::{Digest, N_HEALTHY, N_TRIES, State, Store};

/// How sure a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Under way, or its call failed.
    Maybe,
    /// Acknowledged, or seen: survives the death of the process.
    Cached,
    /// Survives a power loss.
    Durable,
}

/// How sure it is that a tombstone took a record back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    No,
    Maybe,
    Sure,
}

/// What a record says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Note,
    Consent(bool),
    /// The adapter learned from these notes.
    Used(Digest, Vec<u64>),
}

#[derive(Debug, Clone)]
pub struct Kept {
    pub number: u64,
    pub what: What,
    pub time_ms: u64,
    pub level: Level,
    pub gone: Gone,
    /// The session of the process that holds it until it is durable.
    pub session: u64,
    /// Whether it may be dropped for its age.
    pub old: bool,
}

/// The adapters, as far as they have files, and what is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    pub live: Vec<(Digest, State)>,
    pub tries_left: u8,
    pub healthy: u8,
    pub refused: BTreeSet<Digest>,
    /// Places of the newest promotions, and candidates that the gate turned down since.
    pub promotions: Vec<u64>,
    pub turned_down: u32,
}

/// Why the protocol says no. Which error it is, unit tests check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct No;

const KEPT_STAGED: usize = 4;

impl Slots {
    /// What a store says, of those refused that are of interest.
    pub fn of(store: &Store, refused: &BTreeSet<Digest>) -> Slots {
        let live = store.generations().iter().map(|known| (known.digest, known.state));
        let dead = [State::Retired, State::Bad, State::Revoked];
        Slots {
            live: live.filter(|(_, state)| !dead.contains(state)).collect(),
            tries_left: store.tries_left(),
            healthy: store.healthy_sessions(),
            refused: refused.iter().copied().filter(|digest| store.is_refused(digest)).collect(),
            promotions: store.course().promotions.clone(),
            turned_down: store.course().turned_down,
        }
    }

    pub fn in_state(&self, state: State) -> Option<Digest> {
        self.live.iter().find(|(_, is)| *is == state).map(|(digest, _)| *digest)
    }

    fn shift(&mut self, from: State, to: Option<State>) {
        match to {
            Some(to) => {
                self.live.iter_mut().filter(|known| known.1 == from).for_each(|k| k.1 = to);
            }
            None => self.live.retain(|known| known.1 != from),
        }
    }

    pub fn stage(&mut self, digest: Digest) {
        let staged = self.live.iter().filter(|known| known.1 == State::Staged).count();
        if staged == KEPT_STAGED
            && let Some(oldest) = self.in_state(State::Staged)
        {
            self.live.retain(|known| known.0 != oldest);
        }
        self.live.push((digest, State::Staged));
    }

    pub fn propose(&mut self) -> Result<Digest, No> {
        let digest = self.in_state(State::Staged).ok_or(No)?;
        if self.in_state(State::Probation).is_some() {
            return Err(No);
        }
        let known = self.live.iter_mut().find(|known| known.0 == digest).ok_or(No)?;
        known.1 = State::Probation;
        (self.tries_left, self.healthy) = (N_TRIES, 0);
        Ok(digest)
    }

    /// The candidate is used by a session that has not begun a trial.
    pub fn begin_trial(&mut self) -> Result<(), No> {
        let candidate = self.in_state(State::Probation).ok_or(No)?;
        match self.tries_left {
            0 => self.refuse(candidate),
            _ => self.tries_left -= 1,
        }
        Ok(())
    }

    /// A trial of this session went well.
    pub fn report(&mut self) {
        self.tries_left = (self.tries_left + 1).min(N_TRIES);
        self.healthy = (self.healthy + 1).min(N_HEALTHY);
    }

    /// The gate says no to what was staged first.
    pub fn turn_down(&mut self) -> Result<(), No> {
        let digest = self.in_state(State::Staged).ok_or(No)?;
        self.refuse(digest);
        self.turned_down += 1;
        Ok(())
    }

    /// The gate says yes: a candidate makes room.
    pub fn put_forward(&mut self) -> Result<(), No> {
        self.in_state(State::Staged).ok_or(No)?;
        if let Some(before) = self.in_state(State::Probation) {
            self.refuse(before);
        }
        self.propose().map(drop)
    }

    pub fn confirm(&mut self, order: u64) -> Result<(), No> {
        self.in_state(State::Probation).ok_or(No)?;
        if self.healthy < N_HEALTHY {
            return Err(No);
        }
        self.shift(State::Fallback, None);
        self.shift(State::Active, Some(State::Fallback));
        self.shift(State::Probation, Some(State::Active));
        (self.tries_left, self.healthy) = (0, 0);
        self.promotions.push(order);
        let surplus = self.promotions.len().saturating_sub(5);
        self.promotions.drain(..surplus);
        self.turned_down = 0;
        Ok(())
    }

    pub fn rollback(&mut self) -> Result<(), No> {
        let taken = self.in_state(State::Probation).or(self.in_state(State::Active)).ok_or(No)?;
        self.refuse(taken);
        Ok(())
    }

    /// A generation goes for good; who stood behind it steps forward.
    pub fn refuse(&mut self, digest: Digest) {
        let was = self.live.iter().find(|known| known.0 == digest).map(|known| known.1);
        self.live.retain(|known| known.0 != digest);
        self.refused.insert(digest);
        match was {
            Some(State::Active) => self.shift(State::Fallback, Some(State::Active)),
            Some(State::Probation) => (self.tries_left, self.healthy) = (0, 0),
            _ => {}
        }
    }

    /// All of these go, and all that were trained from them.
    pub fn revoke(&mut self, digests: &[Digest], parents: &BTreeMap<Digest, Digest>) {
        let mut gone = digests.to_vec();
        for (digest, _) in &self.live {
            if parents.get(digest).is_some_and(|parent| gone.contains(parent)) {
                gone.push(*digest);
            }
        }
        let fallback = self.in_state(State::Fallback);
        gone.sort_by_key(|digest| Some(*digest) != fallback);
        gone.into_iter().for_each(|digest| self.refuse(digest));
    }
}

/// Everything that may be found.
#[derive(Debug, Clone)]
pub struct Model {
    pub records: Vec<Kept>,
    /// States of the store that may be found; the last one that was seen is the first.
    pub slots: Vec<Slots>,
    /// The same of the trainer's checkpoint.
    pub checkpoints: Vec<Option<Vec<u8>>>,
    /// Every adapter ever made.
    pub adapters: BTreeMap<Digest, Vec<u8>>,
    pub parents: BTreeMap<Digest, Digest>,
    /// Calls so far: no number is given twice, whatever becomes of what it named.
    pub count: u64,
    pub now_ms: u64,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            records: Vec::new(),
            slots: vec![Slots::default()],
            checkpoints: vec![None],
            adapters: BTreeMap::new(),
            parents: BTreeMap::new(),
            count: 0,
            now_ms: 1_000,
        }
    }
}

/// What a reader finds, tombstones aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub records: Vec<(u64, What)>,
    pub consent: Option<bool>,
    pub tombstones: BTreeSet<u64>,
}

/// Records of the second process are counted from here.
pub const ELSEWHERE: u64 = 1_000_000;

impl Model {
    /// What the process sees while it lives.
    pub fn now(&self) -> &Slots {
        &self.slots[0]
    }

    /// Notes that are surely there, oldest first.
    pub fn notes(&self) -> Vec<u64> {
        let there = self.records.iter().filter(|kept| {
            kept.what == What::Note && kept.level >= Level::Cached && kept.gone == Gone::No
        });
        there.filter(|kept| !kept.old).map(|kept| kept.number).collect()
    }

    /// Live adapters that learned from one of these notes.
    pub fn knowing(&self, gone: &BTreeSet<u64>) -> Vec<Digest> {
        let used = self.records.iter().filter_map(|kept| match &kept.what {
            What::Used(digest, from) if from.iter().any(|n| gone.contains(n)) => Some(*digest),
            _ => None,
        });
        let live = |digest: &Digest| self.now().live.iter().any(|known| known.0 == *digest);
        let mut known: Vec<Digest> = used.filter(live).collect();
        known.dedup();
        known
    }

    /// All that a session holds is durable.
    pub fn flushed(&mut self, session: u64) {
        for kept in self.records.iter_mut().filter(|kept| kept.session == session) {
            if kept.level == Level::Cached {
                kept.level = Level::Durable;
            }
        }
    }

    pub fn check_records(&self, found: &Found, power: bool) -> Result<(), String> {
        let needed = if power { Level::Durable } else { Level::Cached };
        for kept in &self.records {
            let there = found.records.iter().any(|record| record.0 == kept.number);
            if kept.gone == Gone::Sure && there {
                return Err(format!("forgotten record {} is there", kept.number));
            }
            if kept.level >= needed && kept.gone == Gone::No && !kept.old && !there {
                return Err(format!("record {} of level {:?} is gone", kept.number, kept.level));
            }
        }
        for (number, what) in &found.records {
            let known = self.records.iter().find(|kept| kept.number == *number);
            if known.is_none_or(|kept| kept.what != *what) {
                return Err(format!("record {number} is not what was written"));
            }
        }
        let notes = |mine: fn(u64) -> bool| {
            let notes = found.records.iter().filter(|record| record.1 == What::Note);
            notes.map(|record| record.0).filter(|n| mine(*n)).collect::<Vec<_>>()
        };
        for notes in [notes(|n| n < ELSEWHERE), notes(|n| n >= ELSEWHERE)] {
            if !notes.is_sorted_by(|a, b| a < b) {
                return Err(format!("records twice or out of order: {notes:?}"));
            }
        }
        self.check_consent(found, needed)
    }

    /// The newest consent counts; one that is not sure may, too.
    fn check_consent(&self, found: &Found, needed: Level) -> Result<(), String> {
        let mut allowed = vec![None];
        for kept in &self.records {
            if let What::Consent(granted) = kept.what {
                if kept.level >= needed {
                    allowed.clear();
                }
                allowed.push(Some(granted));
            }
        }
        let right = allowed.contains(&found.consent);
        if right { Ok(()) } else { Err(format!("consent is {:?} of {allowed:?}", found.consent)) }
    }

    pub fn check_slots(&self, store: &Store) -> Result<(), String> {
        let every: BTreeSet<Digest> = self.adapters.keys().copied().collect();
        let slots = Slots::of(store, &every);
        if !self.slots.contains(&slots) {
            return Err(format!("I2 the store is {slots:?}, none of {:?}", self.slots));
        }
        for (digest, state) in &slots.live {
            if store.adapter_bytes(digest).ok().as_ref() != self.adapters.get(digest) {
                return Err(format!("I3 the file of a {state:?} generation is damaged"));
            }
            if slots.refused.contains(digest) {
                return Err("I5/I6 a refused generation is kept".into());
            }
        }
        let trial = slots.in_state(State::Probation);
        let trial = trial.filter(|_| store.in_trial() || slots.tries_left > 0);
        if store.in_force().map(|known| known.digest) != trial.or(slots.in_state(State::Active)) {
            return Err("I8 the adapter in force is not the one that the manifest names".into());
        }
        if store.generations().iter().any(|known| known.base != super::BASE) {
            return Err("I7 a generation of another base model".into());
        }
        let found = store.load_checkpoint().map_err(|error| format!("checkpoint: {error}"))?;
        let allowed = self.checkpoints.contains(&found);
        if allowed { Ok(()) } else { Err("the checkpoint is none that it can be".into()) }
    }

    /// What may be found by the next one while a recovery from a crash is under way, which has
    /// shown nothing yet.
    pub fn after_crash(&self, power: bool) -> Model {
        let mut model = self.clone();
        if power {
            for kept in model.records.iter_mut().filter(|kept| kept.level == Level::Cached) {
                kept.level = Level::Maybe;
            }
        }
        model
    }

    /// What was found after a crash is what there is from now on.
    pub fn settle(&mut self, found: &Found, store: &Store, power: bool) {
        let every: BTreeSet<Digest> = self.adapters.keys().copied().collect();
        self.slots = vec![Slots::of(store, &every)];
        let there = |number: u64| found.records.iter().any(|record| record.0 == number);
        if power {
            // What is there is durable, and what is not never comes back; not even after the
            // tombstone that hides it, which is as durable.
            self.records.retain(|kept| there(kept.number));
            self.records.iter_mut().for_each(|kept| kept.level = Level::Durable);
        }
        for kept in self.records.iter_mut().filter(|kept| there(kept.number)) {
            kept.level = kept.level.max(Level::Cached);
        }
    }
}
