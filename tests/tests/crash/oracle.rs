//! The same random calls to our store and to one that keeps everything in a database (redb): both
//! must give the same answers, also after each has been closed and opened again.
//!
//! The other one knows the protocol, and nothing of segments, slots, keys or syncs: each call is a
//! transaction on five tables. So it can only be wrong where the protocol itself is.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use sapwood::disk::sim::SimDisk;
use sapwood::journal::{Consent, Feedback, Journal, Limits, Record, Tombstone};
use sapwood::seal::Seal;
use sapwood::signal::Signal;
use sapwood::store::{Digest, Meta, N_HEALTHY, N_TRIES, Reason, State, Store, Trial, digest_of};
use sapwood_kernels::rng::SplitMix64;

use super::BASE;

/// By the order in which they came: the reply, and the text.
const NOTES: TableDefinition<'_, u64, (u128, &str)> = TableDefinition::new("notes");
const GONE: TableDefinition<'_, u128, ()> = TableDefinition::new("gone");
/// By their number: digest, parent (empty without one), state.
const ADAPTERS: TableDefinition<'_, u64, (&[u8], &[u8], u8)> = TableDefinition::new("adapters");
const REFUSED: TableDefinition<'_, &[u8], ()> = TableDefinition::new("refused");
/// Bytes by digest, and the checkpoint by its name.
const FILES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("files");
/// Consent, tries left, healthy sessions, next number.
const VALUES: TableDefinition<'_, &str, u64> = TableDefinition::new("values");

const CHECKPOINT: &[u8] = b"checkpoint";
const STAGED_KEPT: usize = 4;
/// Adapters without a file that are still known, and so their descendants.
const DEAD_KEPT: usize = 8;
const DEAD: u8 = u8::MAX;

/// All that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Answers {
    notes: Vec<(u128, String)>,
    consent: Option<bool>,
    live: Vec<(Digest, u8, Vec<u8>)>,
    in_force: Option<Digest>,
    refused: BTreeSet<Digest>,
    tries_left: u8,
    healthy: u8,
    checkpoint: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Call {
    Note(u128, String),
    Consent(bool),
    Forget(Vec<u128>),
    Stage(Vec<u8>, Option<Digest>),
    Propose(Digest),
    BeginTrial,
    Healthy,
    EndTrial,
    Confirm,
    Rollback,
    MarkBad(Digest),
    Revoke(Vec<Digest>),
    Save(Vec<u8>),
    Clear,
    Merge,
    Reopen,
}

/// Whether a call was allowed.
type Allowed = bool;

const LIVE: [State; 4] = [State::Staged, State::Probation, State::Active, State::Fallback];

fn code(state: State) -> u8 {
    LIVE.iter().position(|live| *live == state).map_or(DEAD, |at| at as u8)
}

struct Ours {
    disk: SimDisk,
    store: Store,
    journal: Journal,
    now_ms: u64,
}

impl Ours {
    fn open(disk: SimDisk) -> Ours {
        let seal = Arc::new(Seal::new([4; 32]));
        let store = Store::open(Arc::new(disk.clone()), seal.clone(), BASE).unwrap();
        // Segments so short that every limit is met.
        let limits = Limits { segment_bytes: 2048, group_records: 3, ..Limits::default() };
        let journal = Journal::open(Arc::new(disk.clone()), seal, limits).unwrap();
        Ours { disk, store, journal, now_ms: 1 }
    }

    fn append(&mut self, record: Record) -> Allowed {
        self.journal.append(&record, self.now_ms).is_ok()
    }

    fn call(&mut self, call: &Call) -> Allowed {
        self.now_ms += 10_000;
        let time_ms = self.now_ms;
        let store = &mut self.store;
        match call.clone() {
            Call::Note(reply_id, text) => {
                let signal = Signal::Edited { text };
                self.append(Record::Feedback(Feedback {
                    reply_id,
                    order: time_ms,
                    time_ms,
                    signal,
                }))
            }
            Call::Consent(granted) => self.append(Record::Consent(Consent { granted, time_ms })),
            Call::Forget(reply_ids) => {
                self.append(Record::Tombstone(Tombstone { reply_ids, time_ms }))
            }
            Call::Stage(bytes, parent) => {
                store.stage(&bytes, Meta { parent, ..Meta::default() }).is_ok()
            }
            Call::Propose(digest) => store.propose(&digest).is_ok(),
            Call::BeginTrial => matches!(store.begin_trial(), Ok(Trial::Begun { .. })),
            Call::Healthy => store.healthy().is_ok(),
            Call::EndTrial => store.end_trial().is_ok(),
            Call::Confirm => store.confirm(1).is_ok(),
            Call::Rollback => store.rollback(Reason::Host).is_ok(),
            Call::MarkBad(digest) => store.mark_bad(&digest).is_ok(),
            Call::Revoke(digests) => store.revoke(&digests).is_ok(),
            Call::Save(bytes) => store.save_checkpoint(&bytes).is_ok(),
            Call::Clear => store.clear_checkpoint().is_ok(),
            Call::Merge => {
                self.journal.close(self.now_ms).unwrap();
                self.journal.merge(self.now_ms).is_ok()
            }
            Call::Reopen => {
                let disk = self.disk.clone();
                let now_ms = self.now_ms;
                *self = Ours { now_ms, ..Ours::open(disk) };
                true
            }
        }
    }

    fn answers(&self, ever: &[Digest]) -> Answers {
        let scan = self.journal.scan().unwrap();
        let notes = scan.entries.iter().filter_map(|entry| match &entry.record {
            Record::Feedback(Feedback { reply_id, signal: Signal::Edited { text }, .. }) => {
                Some((*reply_id, text.clone()))
            }
            _ => None,
        });
        let store = &self.store;
        let live = store.generations().iter().filter(|known| LIVE.contains(&known.state));
        Answers {
            notes: notes.collect(),
            consent: scan.consent.map(|said| said.granted),
            live: live
                .map(|known| {
                    let bytes = store.adapter_bytes(&known.digest).unwrap();
                    (known.digest, code(known.state), bytes)
                })
                .collect(),
            in_force: store.in_force().map(|known| known.digest),
            refused: ever.iter().copied().filter(|digest| store.is_refused(digest)).collect(),
            tries_left: store.tries_left(),
            healthy: store.healthy_sessions(),
            checkpoint: store.load_checkpoint().unwrap(),
        }
    }
}

struct Other {
    database: Database,
    trial: bool,
}

/// One change, thrown away if it is not allowed.
struct Change<'a>(&'a WriteTransaction);

impl Change<'_> {
    fn value(&self, name: &str) -> u64 {
        let table = self.0.open_table(VALUES).unwrap();
        table.get(name).unwrap().map_or(0, |value| value.value())
    }

    fn set(&self, name: &str, value: u64) {
        self.0.open_table(VALUES).unwrap().insert(name, value).unwrap();
    }

    fn adapters(&self) -> Vec<(u64, Digest, Vec<u8>, u8)> {
        let table = self.0.open_table(ADAPTERS).unwrap();
        let rows = table.iter().unwrap().map(|row| {
            let (number, value) = row.unwrap();
            let (digest, parent, state) = value.value();
            (number.value(), digest.try_into().unwrap(), parent.to_vec(), state)
        });
        rows.collect()
    }

    fn live(&self) -> Vec<(u64, Digest, Vec<u8>, u8)> {
        self.adapters().into_iter().filter(|known| known.3 != DEAD).collect()
    }

    fn in_state(&self, state: State) -> Option<Digest> {
        let found = self.adapters().into_iter().find(|known| known.3 == code(state));
        found.map(|known| known.1)
    }

    /// Moves an adapter to another state, or takes its file away.
    fn put(&self, digest: &Digest, state: Option<State>) {
        let Some(known) = self.live().into_iter().find(|known| known.1 == *digest) else {
            return;
        };
        let mut table = self.0.open_table(ADAPTERS).unwrap();
        let row = (&digest[..], &known.2[..], state.map_or(DEAD, code));
        table.insert(known.0, row).unwrap();
        if state.is_none() {
            self.0.open_table(FILES).unwrap().remove(&digest[..]).unwrap();
        }
    }

    fn is_refused(&self, digest: &Digest) -> bool {
        self.0.open_table(REFUSED).unwrap().get(&digest[..]).unwrap().is_some()
    }

    fn prune(&self) {
        let mut dead = self.adapters();
        dead.retain(|known| known.3 == DEAD);
        let mut table = self.0.open_table(ADAPTERS).unwrap();
        for known in &dead[..dead.len().saturating_sub(DEAD_KEPT)] {
            table.remove(known.0).unwrap();
        }
    }

    fn refuse(&self, digest: &Digest) {
        let was = self.live().into_iter().find(|known| known.1 == *digest).map(|k| k.3);
        self.put(digest, None);
        self.0.open_table(REFUSED).unwrap().insert(&digest[..], ()).unwrap();
        if was == Some(code(State::Active))
            && let Some(fallback) = self.in_state(State::Fallback)
        {
            self.put(&fallback, Some(State::Active));
        }
        if was == Some(code(State::Probation)) {
            self.set("tries", 0);
            self.set("healthy", 0);
        }
    }

    fn stage(&self, bytes: &[u8], parent: Option<Digest>) -> Allowed {
        let digest = digest_of(bytes);
        if self.is_refused(&digest) {
            return false;
        }
        let known = self.live();
        if known.iter().any(|known| known.1 == digest) {
            return true;
        }
        let staged: Vec<_> = known.iter().filter(|k| k.3 == code(State::Staged)).collect();
        if staged.len() == STAGED_KEPT {
            self.put(&staged[0].1, None);
        }
        let number = self.value("next");
        self.set("next", number + 1);
        let parent = parent.map_or_else(Vec::new, |parent| parent.to_vec());
        let row = (&digest[..], &parent[..], code(State::Staged));
        self.0.open_table(ADAPTERS).unwrap().insert(number, row).unwrap();
        self.0.open_table(FILES).unwrap().insert(&digest[..], bytes).unwrap();
        true
    }

    fn propose(&self, digest: &Digest) -> Allowed {
        let known = self.live().into_iter().find(|known| known.1 == *digest);
        let staged = known.is_some_and(|known| known.3 == code(State::Staged));
        if !staged || self.in_state(State::Probation).is_some() {
            return false;
        }
        self.put(digest, Some(State::Probation));
        self.set("tries", N_TRIES.into());
        self.set("healthy", 0);
        true
    }

    fn confirm(&self) -> Allowed {
        let Some(candidate) = self.in_state(State::Probation) else { return false };
        if self.value("healthy") < u64::from(N_HEALTHY) {
            return false;
        }
        if let Some(fallback) = self.in_state(State::Fallback) {
            self.put(&fallback, None);
        }
        if let Some(active) = self.in_state(State::Active) {
            self.put(&active, Some(State::Fallback));
        }
        self.put(&candidate, Some(State::Active));
        self.set("tries", 0);
        self.set("healthy", 0);
        true
    }

    fn revoke(&self, digests: &[Digest]) {
        let mut gone = digests.to_vec();
        for (_, digest, parent, _) in self.adapters() {
            if gone.iter().any(|gone| gone[..] == parent[..]) && !gone.contains(&digest) {
                gone.push(digest);
            }
        }
        let fallback = self.in_state(State::Fallback);
        gone.sort_by_key(|digest| Some(*digest) != fallback);
        gone.iter().for_each(|digest| self.refuse(digest));
    }

    fn give_try_back(&self) {
        self.set("tries", (self.value("tries") + 1).min(N_TRIES.into()));
    }
}

impl Other {
    fn open(path: &Path) -> Other {
        let database = Database::create(path).unwrap();
        let change = database.begin_write().unwrap();
        change.open_table(NOTES).unwrap();
        change.open_table(GONE).unwrap();
        change.open_table(ADAPTERS).unwrap();
        change.open_table(REFUSED).unwrap();
        change.open_table(FILES).unwrap();
        change.open_table(VALUES).unwrap();
        change.commit().unwrap();
        Other { database, trial: false }
    }

    fn call(&mut self, call: &Call) -> Allowed {
        let transaction = self.database.begin_write().unwrap();
        let allowed = Other::change(&Change(&transaction), &mut self.trial, call);
        Change(&transaction).prune();
        transaction.commit().unwrap();
        allowed
    }

    fn change(change: &Change<'_>, trial: &mut bool, call: &Call) -> Allowed {
        let candidate = change.in_state(State::Probation);
        match call {
            Call::Note(reply, text) => {
                let mut notes = change.0.open_table(NOTES).unwrap();
                let number = notes.last().unwrap().map_or(0, |(number, _)| number.value() + 1);
                notes.insert(number, (*reply, &text[..])).unwrap();
            }
            Call::Consent(granted) => change.set("consent", 1 + u64::from(*granted)),
            Call::Forget(replies) => {
                let mut gone = change.0.open_table(GONE).unwrap();
                replies.iter().for_each(|reply| drop(gone.insert(*reply, ()).unwrap()));
            }
            Call::Stage(bytes, parent) => return change.stage(bytes, *parent),
            Call::Propose(digest) => {
                if !change.propose(digest) {
                    return false;
                }
            }
            Call::BeginTrial => {
                let Some(candidate) = candidate else { return false };
                if *trial {
                    return true;
                }
                match change.value("tries") {
                    0 => {
                        change.refuse(&candidate);
                        return false;
                    }
                    left => change.set("tries", left - 1),
                }
                *trial = true;
            }
            Call::Healthy | Call::EndTrial if !*trial => return false,
            Call::Healthy | Call::EndTrial => {
                change.give_try_back();
                if matches!(call, Call::Healthy) {
                    let healthy = (change.value("healthy") + 1).min(N_HEALTHY.into());
                    change.set("healthy", healthy);
                }
                *trial = false;
            }
            Call::Confirm => {
                let confirmed = change.confirm();
                *trial &= !confirmed;
                return confirmed;
            }
            Call::Rollback => {
                let Some(taken) = candidate.or(change.in_state(State::Active)) else {
                    return false;
                };
                change.refuse(&taken);
            }
            Call::MarkBad(digest) => change.refuse(digest),
            Call::Revoke(digests) => change.revoke(digests),
            Call::Save(bytes) => {
                let mut files = change.0.open_table(FILES).unwrap();
                files.insert(CHECKPOINT, &bytes[..]).unwrap();
            }
            Call::Clear => drop(change.0.open_table(FILES).unwrap().remove(CHECKPOINT).unwrap()),
            Call::Merge => {}
            Call::Reopen => *trial = false,
        }
        // Without a candidate there is no trial.
        *trial &= change.in_state(State::Probation).is_some();
        true
    }

    fn answers(&self) -> Answers {
        let read = self.database.begin_read().unwrap();
        let values = read.open_table(VALUES).unwrap();
        let value = |name| values.get(name).unwrap().map_or(0, |value| value.value());
        let gone = read.open_table(GONE).unwrap();
        let notes = read.open_table(NOTES).unwrap();
        let notes = notes.iter().unwrap().map(|row| {
            let row = row.unwrap().1;
            let (reply, text) = row.value();
            (reply, text.to_owned())
        });
        let files = read.open_table(FILES).unwrap();
        let file = |name: &[u8]| files.get(name).unwrap().map(|bytes| bytes.value().to_vec());
        let adapters = read.open_table(ADAPTERS).unwrap();
        let live: Vec<(Digest, u8, Vec<u8>)> = adapters
            .iter()
            .unwrap()
            .map(|row| {
                let row = row.unwrap().1;
                let (digest, _, state) = row.value();
                (digest.try_into().unwrap(), state, file(digest).unwrap_or_default())
            })
            .filter(|known| known.1 != DEAD)
            .collect();
        let in_state =
            |state| live.iter().find(|known| known.1 == code(state)).map(|known| known.0);
        let usable = self.trial || value("tries") > 0;
        let refused = read.open_table(REFUSED).unwrap();
        let refused = refused.iter().unwrap().map(|row| row.unwrap().0.value().try_into().unwrap());
        Answers {
            notes: notes.filter(|note| gone.get(note.0).unwrap().is_none()).collect(),
            consent: [None, Some(false), Some(true)][value("consent") as usize],
            in_force: in_state(State::Probation).filter(|_| usable).or(in_state(State::Active)),
            refused: refused.collect(),
            tries_left: value("tries") as u8,
            healthy: value("healthy") as u8,
            checkpoint: file(CHECKPOINT),
            live,
        }
    }
}

fn draw(rng: &mut SplitMix64, count: u64, answers: &Answers, ever: &[Digest]) -> Call {
    let one = |rng: &mut SplitMix64, state: State| {
        let all: Vec<_> = answers.live.iter().filter(|known| known.1 == code(state)).collect();
        (!all.is_empty()).then(|| all[rng.below(all.len())].0)
    };
    match rng.below(40) {
        0..8 => Call::Note(rng.below(60) as u128, format!("note {count} ").repeat(rng.below(40))),
        8 => Call::Consent(rng.below(2) == 0),
        9 => Call::Forget((0..3).map(|_| rng.below(60) as u128).collect()),
        10..14 => {
            let parent = answers.in_force.filter(|_| rng.below(2) == 0);
            Call::Stage(format!("adapter {count}").repeat(40).into_bytes(), parent)
        }
        14 => match answers.live.first() {
            Some(known) => Call::Stage(known.2.clone(), None),
            None => Call::Clear,
        },
        15..18 => Call::Propose(one(rng, State::Staged).unwrap_or([1; 32])),
        18 if !ever.is_empty() => Call::Propose(ever[rng.below(ever.len())]),
        19..25 => Call::BeginTrial,
        25..29 => Call::Healthy,
        29 => Call::EndTrial,
        30..33 => Call::Confirm,
        33 => Call::Rollback,
        34 if !ever.is_empty() => Call::MarkBad(ever[rng.below(ever.len())]),
        35 => Call::Revoke(one(rng, State::Active).into_iter().collect()),
        36 => Call::Save(format!("state {count}").repeat(200).into_bytes()),
        37 if rng.below(3) == 0 => Call::Clear,
        38 => Call::Merge,
        _ => Call::Reopen,
    }
}

/// So many calls to both. Returns how many were allowed.
fn compare(seed: u64, calls: u64, path: &Path) -> u64 {
    let (mut ours, mut other) = (Ours::open(SimDisk::new()), Other::open(path));
    let (mut rng, mut ever, mut allowed) = (SplitMix64(seed), Vec::new(), 0);
    let mut before = Answers::default();
    for count in 0..calls {
        let call = draw(&mut rng, count, &before, &ever);
        if let Call::Stage(bytes, _) = &call {
            ever.push(digest_of(bytes));
        }
        let both = (ours.call(&call), other.call(&call));
        assert_eq!(both.0, both.1, "seed {seed}, call {count}: {call:?}");
        if matches!(call, Call::Reopen) {
            drop(other);
            other = Other::open(path);
        }
        let (answers, others) = (ours.answers(&ever), other.answers());
        let told = || format!("seed {seed}, after call {count}: {call:?}");
        assert_eq!(answers.live, others.live, "{}", told());
        assert_eq!(answers.refused, others.refused, "{}", told());
        assert_eq!(answers, others, "{}", told());
        allowed += u64::from(both.0);
        before = others;
    }
    allowed
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn a_database_gives_the_same_answers() {
    let memory = Path::new("/dev/shm");
    let around = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(around).unwrap();
    let (mut calls, mut allowed) = (0, 0);
    for seed in 0..20 {
        allowed += compare(seed, 400, &folder.path().join(seed.to_string()));
        calls += 400;
    }
    println!("MEASURED: {calls} calls to two stores, {allowed} allowed, the same answers");
    assert!(allowed > calls / 3 && allowed < calls);
}
