//! The whole state of the store as one value: which generations there are and what each is.
//!
//! A generation's state is kept once, in the generation. "The active one" is the one whose state
//! is [`State::Active`]; none means the bare base model. At most one is active, one the fallback,
//! one on probation: [`Manifest::is_sound`] says so, and nothing unsound is ever written.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use std::collections::HashSet;

use rkyv::{Archive, Deserialize, Serialize};

use super::course::{Course, Probation};
use crate::digest::Digest;
use crate::time::BelievedTime;

/// Where a generation stands.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Stored and verified, not in use.
    Staged,
    /// The candidate: in use on trial.
    Probation,
    /// In force.
    Active,
    /// What was in force before: the way back.
    Fallback,
    /// Given up for a better one. Its file is gone.
    Retired,
    /// Rolled back. Its digest is refused from then on, its file is gone.
    Bad,
    /// It learned from data that the user wants forgotten. As `Bad`.
    Revoked,
    /// It belongs to another base model, and comes back with it.
    Dormant,
}

/// A figure that the trainer or the gate gave a generation.
#[derive(Archive, Serialize, Deserialize, Debug, Clone)]
pub struct Metric {
    /// What it is, in the program's words.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// By the bits of the value: a manifest with a figure that is not a number is the same when it is
/// read again, and needs no new commit.
impl PartialEq for Metric {
    fn eq(&self, other: &Metric) -> bool {
        (&self.name, self.value.to_bits()) == (&other.name, other.value.to_bits())
    }
}

/// What is known of an adapter when it is staged.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub struct Meta {
    /// Digest of the adapter that training started from; `None`: from the base model.
    pub parent: Option<[u8; 32]>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Examples that it was trained on.
    pub examples: u32,
    /// Figures of trainer and gate.
    pub metrics: Vec<Metric>,
}

/// One adapter, with its place in the protocol.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Generation {
    /// Counted from 1; 0 would be the bare base model.
    pub number: u64,
    /// SHA-256 of the adapter's bytes.
    pub digest: [u8; 32],
    /// Fingerprint of the base model that it was made for.
    pub base: [u8; 32],
    /// Where it stands.
    pub state: State,
    /// While it is dormant: the state that it returns to.
    pub returns_to: Option<State>,
    /// What was known when it was staged.
    pub meta: Meta,
}

/// Why a generation was taken back.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was put into use as often as allowed without a healthy report.
    TriesExhausted,
    /// The watch found it worse, looping, slow or not finite.
    Unhealthy,
    /// The gate turned it down at confirmation.
    Gate,
    /// The host or the user asked for it.
    Host,
    /// Its file is damaged or gone.
    Damaged,
}

/// What happened to a generation.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Put on probation.
    Proposed,
    /// Became active.
    Confirmed,
    /// Taken back.
    RolledBack(Reason),
    /// Taken back because its data is to be forgotten.
    Revoked,
    /// Laid to rest or woken by a change of the base model.
    BaseChanged,
}

/// An entry of the log for the report.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since 1970, as far as the host told the time.
    pub time_ms: u64,
    /// The adapter.
    pub digest: [u8; 32],
    /// What happened.
    pub change: Change,
}

/// The whole state. See the module's text.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
pub(super) struct Manifest {
    pub sequence: u64,
    pub store_id: [u8; 16],
    pub next_number: u64,
    pub generations: Vec<Generation>,
    pub bad: Vec<[u8; 32]>,
    pub revoked: Vec<[u8; 32]>,
    /// One for each base model that was in use, the one in use last.
    pub courses: Vec<Course>,
    pub time: BelievedTime,
    /// Everything is being copied into another folder, and nobody commits here any more.
    pub left: bool,
    pub events: Vec<Event>,
}

/// Entries kept of what only the report needs.
const KEPT_EVENTS: usize = 32;
const KEPT_DEAD: usize = 8;
/// Base models whose courses are kept, besides those that have adapters.
const KEPT_COURSES: usize = 8;
/// Refused digests of each kind beyond which the older half moves to a file of its own.
const REFUSED_HERE: usize = 64;

impl State {
    /// Whether the generation's file must exist.
    pub(crate) fn has_file(self) -> bool {
        !matches!(self, State::Retired | State::Bad | State::Revoked)
    }
}

impl Manifest {
    pub(super) fn in_state(&self, state: State) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.state == state)
    }

    /// The generations that have a file.
    pub(super) fn live_generations(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter().filter(|known| known.state.has_file())
    }

    /// The generation of this digest that still has a file.
    pub(super) fn live(&self, digest: &Digest) -> Option<&Generation> {
        self.live_generations().find(|generation| generation.digest == *digest)
    }

    pub(super) fn refused(&self, digest: &Digest) -> bool {
        self.bad.contains(digest) || self.revoked.contains(digest)
    }

    /// Moves every generation from one state to another.
    pub(super) fn shift(&mut self, from: State, to: State) {
        for generation in self.generations.iter_mut().filter(|known| known.state == from) {
            generation.state = to;
        }
    }

    pub(super) fn move_to(&mut self, digest: &Digest, to: State) {
        let live = self.generations.iter_mut().filter(|known| known.state.has_file());
        for generation in live.filter(|known| known.digest == *digest) {
            generation.state = to;
        }
    }

    pub(super) fn log(&mut self, time_ms: u64, digest: Digest, change: Change) {
        self.events.push(Event { time_ms, digest, change });
    }

    /// The course of the base model in use.
    pub(super) fn course(&self) -> &Course {
        self.courses.last().expect("a base model was adopted when the store was opened")
    }

    pub(super) fn course_mut(&mut self) -> &mut Course {
        self.courses.last_mut().expect("a base model was adopted when the store was opened")
    }

    /// Takes a generation out of force for good. The fallback of an active one becomes active.
    pub(super) fn refuse(&mut self, digest: &Digest, to: State) {
        let was = self.live(digest).map(|generation| generation.state);
        self.move_to(digest, to);
        let list = if to == State::Revoked { &mut self.revoked } else { &mut self.bad };
        if !list.contains(digest) {
            list.push(*digest);
        }
        match was {
            Some(State::Active) => self.shift(State::Fallback, State::Active),
            Some(State::Probation) => self.course_mut().probation = Probation::default(),
            _ => {}
        }
    }

    /// The refused digests that are to move to the file, oldest first, and the manifest without.
    pub(super) fn without_old_refusals(&self) -> Option<(Vec<Digest>, Manifest)> {
        let mut rest = self.clone();
        let mut old = Vec::new();
        for list in [&mut rest.bad, &mut rest.revoked] {
            if list.len() > REFUSED_HERE {
                old.extend(list.drain(..REFUSED_HERE / 2));
            }
        }
        (!old.is_empty()).then_some((old, rest))
    }

    /// Bounds what only the report needs. The newest entries stay.
    pub(super) fn prune(&mut self) {
        fn newest<T>(list: &mut Vec<T>, kept: usize) {
            list.drain(..list.len().saturating_sub(kept));
        }
        newest(&mut self.events, KEPT_EVENTS);
        let live: HashSet<Digest> = self.live_generations().map(|known| known.base).collect();
        let mut surplus = self.courses.len().saturating_sub(KEPT_COURSES);
        self.courses.retain(|course| {
            let goes = surplus > 0 && !live.contains(&course.base);
            surplus -= usize::from(goes);
            !goes
        });
        let dead = self.generations.iter().filter(|known| !known.state.has_file()).count();
        let mut surplus = dead.saturating_sub(KEPT_DEAD);
        self.generations.retain(|generation| {
            let goes = !generation.state.has_file() && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Whether a manifest that was read can have been written: no base model has two generations in
    /// one role, awake or dormant, and none that is refused has one. Whatever base model comes, the
    /// invariants hold then.
    pub(super) fn can_be_ours(&self) -> bool {
        let mut taken = HashSet::new();
        let mut bases = HashSet::new();
        self.courses.iter().all(|course| bases.insert(course.base) && course.can_be_ours())
            && self.live_generations().all(|known| {
                let role = match known.state {
                    State::Dormant => known.returns_to.unwrap_or(State::Staged),
                    state => state,
                };
                match role {
                    State::Active | State::Fallback | State::Probation => {
                        !self.refused(&known.digest) && taken.insert((known.base, role))
                    }
                    role => role == State::Staged,
                }
            })
    }

    /// Whether the invariants on references hold: I5, I6, I7 and the uniqueness of each role.
    pub(super) fn is_sound(&self, base: &Digest) -> bool {
        let roles = [State::Active, State::Fallback, State::Probation];
        let unique = roles
            .iter()
            .all(|role| self.generations.iter().filter(|known| known.state == *role).count() <= 1);
        let mut used = self.generations.iter().filter(|known| roles.contains(&known.state));
        let clean = used.all(|known| known.base == *base && !self.refused(&known.digest));
        let mut courses = self.courses.iter();
        let here = courses.next_back().is_some_and(|course| course.base == *base);
        unique && clean && here && self.courses.iter().all(Course::can_be_ours)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::seal::Seal;
    use crate::store::{N_TRIES, Store, StoreError};

    const BASE: Digest = [1; 32];

    fn in_state(digest: u8, base: Digest, state: State) -> Generation {
        let (digest, meta) = ([digest; 32], Meta::default());
        Generation { number: u64::from(digest[0]), digest, base, state, returns_to: None, meta }
    }

    #[test]
    fn what_no_transition_writes_is_not_read() {
        let of = |generations| Manifest { generations, ..Manifest::default() };
        let active = |digest| in_state(digest, BASE, State::Active);
        let asleep = |digest| Generation {
            returns_to: Some(State::Active),
            ..in_state(digest, BASE, State::Dormant)
        };
        assert!(of(vec![active(1), in_state(2, [2; 32], State::Active)]).can_be_ours());
        assert!(of(vec![active(1), in_state(2, BASE, State::Bad)]).can_be_ours());
        assert!(!of(vec![active(1), active(2)]).can_be_ours());
        assert!(!of(vec![active(1), asleep(2)]).can_be_ours(), "it would wake as a second one");
        let returns_to = Some(State::Bad);
        assert!(!of(vec![Generation { returns_to, ..asleep(1) }]).can_be_ours());
        assert!(!Manifest { bad: vec![[1; 32]], ..of(vec![active(1)]) }.can_be_ours());
        let on_trial = |tries_left| {
            let probation = Probation { tries_left, ..Probation::default() };
            Manifest { courses: vec![Course { probation, ..Course::of(BASE) }], ..of(Vec::new()) }
        };
        assert!(on_trial(N_TRIES).can_be_ours() && !on_trial(N_TRIES + 1).can_be_ours());
        let twice = vec![Course::of(BASE), Course::of(BASE)];
        assert!(!Manifest { courses: twice, ..of(Vec::new()) }.can_be_ours());
    }

    #[test]
    fn a_figure_that_is_no_number_does_not_make_a_start_write() -> Result<(), StoreError> {
        let disk = SimDisk::new();
        let open = || Store::open(Arc::new(disk.clone()), Arc::new(Seal::new([7; 32])), BASE);
        let metrics = vec![Metric { name: "nll".to_owned(), value: f64::NAN }];
        open()?.stage(b"one", Meta { metrics, ..Meta::default() })?;
        let sequence = open()?.sequence();
        assert_eq!(open()?.sequence(), sequence);
        Ok(())
    }
}
