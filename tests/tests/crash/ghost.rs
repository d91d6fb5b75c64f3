//! What the library has promised, and when: the memory that no crash can touch.
//!
//! Times are counts of disk operations. A promise made by time `a` binds every crash at `a` or
//! later; an effect that began by time `s` may be found by every crash at `s` or later.

use std::collections::{BTreeMap, BTreeSet};

use sapwood::journal::{Journal, Record};
use sapwood::store::{Digest, N_TRIES, State, Store};

/// What the manifest says, as far as anybody outside can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    generations: Vec<(u64, Digest, State)>,
    tries_left: u8,
    healthy: u8,
}

impl Summary {
    pub fn of(store: &Store) -> Summary {
        let all = store.generations().iter();
        Summary {
            generations: all.map(|known| (known.number, known.digest, known.state)).collect(),
            tries_left: store.tries_left(),
            healthy: store.healthy_sessions(),
        }
    }
}

/// A commit, by its sequence.
#[derive(Debug, Clone)]
struct Commit {
    sequence: u64,
    summary: Summary,
    started: u64,
    acked: u64,
}

/// A session that ran on an unconfirmed candidate.
#[derive(Debug, Clone)]
struct Use {
    at: u64,
    digest: Digest,
    /// Commit that reported it healthy.
    reported: Option<u64>,
}

#[derive(Debug, Clone)]
struct Appended {
    number: u64,
    started: u64,
    acked: u64,
    durable: u64,
}

#[derive(Debug, Clone)]
struct Checkpoint {
    bytes: Option<Vec<u8>>,
    started: u64,
    acked: u64,
}

/// Everything promised so far.
#[derive(Debug, Clone, Default)]
pub struct Ghost {
    commits: Vec<Commit>,
    uses: Vec<Use>,
    records: Vec<Appended>,
    checkpoints: Vec<Checkpoint>,
    /// Digests refused for good, with the time of the promise.
    refused: BTreeMap<Digest, u64>,
    /// Bytes of every adapter ever staged.
    pub contents: BTreeMap<Digest, Vec<u8>>,
}

/// When and how the world ended.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    /// Operations finished before.
    pub at: u64,
    /// Whether what was not synced may be gone.
    pub power: bool,
}

const NEVER: u64 = u64::MAX;

impl Ghost {
    /// Notes the state after a call of the store that ran from `started` until `acked`.
    pub fn committed(&mut self, store: &Store, started: u64, acked: u64) {
        let sequence = store.sequence();
        if self.commits.last().is_some_and(|last| last.sequence == sequence) {
            return;
        }
        let summary = Summary::of(store);
        for (_, digest, state) in &summary.generations {
            if matches!(state, State::Bad | State::Revoked) {
                self.refused.entry(*digest).or_insert(acked);
            }
        }
        self.commits.push(Commit { sequence, summary, started, acked });
    }

    pub fn used(&mut self, digest: Digest, at: u64) {
        self.uses.push(Use { at, digest, reported: None });
    }

    pub fn reported(&mut self, digest: Digest, sequence: u64) {
        let last = self.uses.iter_mut().rev().find(|used| used.digest == digest);
        last.expect("a report follows a use").reported = Some(sequence);
    }

    pub fn appended(&mut self, number: u64, started: u64, acked: u64) {
        self.records.push(Appended { number, started, acked, durable: NEVER });
    }

    pub fn flushed(&mut self, at: u64) {
        for record in self.records.iter_mut().filter(|record| record.durable == NEVER) {
            record.durable = at;
        }
    }

    pub fn checkpointed(&mut self, bytes: Option<Vec<u8>>, started: u64, acked: u64) {
        self.checkpoints.push(Checkpoint { bytes, started, acked });
    }

    /// Whether the store had been handed to anybody by then.
    pub fn existed(&self, crash: Crash) -> bool {
        self.commits.first().is_some_and(|first| first.acked <= crash.at)
    }

    /// Compares a store that was opened after `crash` with the promises. `after` tells what a
    /// recovery in between had already committed or shown.
    pub fn check_store(
        &self,
        store: &Store,
        crash: Crash,
        after: Option<&Recovery>,
        second: Crash,
    ) -> Result<(), String> {
        let (sequence, summary) = (store.sequence(), Summary::of(store));
        let shown = after.filter(|recovery| recovery.opened <= second.at);
        let expected = match (after, shown) {
            (Some(recovery), _) if recovery.allows(sequence, second) => Some(&recovery.summary),
            (_, Some(_)) => None,
            _ => self.allowed(sequence, crash),
        };
        match expected {
            None => return Err(format!("I2 commit {sequence} cannot be what is found")),
            Some(expected) if *expected != summary => {
                return Err(format!("I2 commit {sequence} says something else than it did"));
            }
            Some(_) => {}
        }
        self.check_files(store)?;
        self.check_references(store, crash)?;
        self.check_tries(store, crash)
    }

    fn allowed(&self, sequence: u64, crash: Crash) -> Option<&Summary> {
        if !self.existed(crash) {
            return (sequence <= 2).then(|| &self.commits[0].summary);
        }
        let promised = self.commits.iter().rfind(|commit| commit.acked <= crash.at);
        let floor = promised.map_or(0, |commit| commit.sequence);
        let begun = self.commits.iter().filter(|commit| commit.started <= crash.at);
        let mut known = begun.filter(|commit| commit.sequence >= floor);
        known.find(|commit| commit.sequence == sequence).map(|commit| &commit.summary)
    }

    fn check_files(&self, store: &Store) -> Result<(), String> {
        for known in store.generations() {
            let gone = matches!(known.state, State::Retired | State::Bad | State::Revoked);
            if gone {
                continue;
            }
            let bytes = store.adapter_bytes(&known.digest);
            if bytes.ok().as_ref() != self.contents.get(&known.digest) {
                return Err(format!("I3 the file of a {:?} generation is damaged", known.state));
            }
        }
        Ok(())
    }

    fn check_references(&self, store: &Store, crash: Crash) -> Result<(), String> {
        let used = [store.active(), store.fallback(), store.candidate()];
        for known in used.into_iter().flatten() {
            let refused = self.refused.get(&known.digest).is_some_and(|acked| *acked <= crash.at);
            if refused || store.is_refused(&known.digest) {
                return Err("I5/I6 a refused generation is in force".into());
            }
            if known.base != super::BASE {
                return Err("I7 a generation of another base model is in force".into());
            }
        }
        let forgotten = self.refused.iter().filter(|(_, acked)| **acked <= crash.at);
        for (digest, _) in forgotten {
            if !store.is_refused(digest) {
                return Err("I5/I6 a refusal was forgotten".into());
            }
        }
        let session = store.in_force().map(|known| known.digest);
        let trial = store.candidate().filter(|_| store.tries_left() > 0);
        if session != trial.or(store.active()).map(|known| known.digest) {
            return Err("I8 the adapter in force is not the one that the manifest names".into());
        }
        Ok(())
    }

    fn check_tries(&self, store: &Store, crash: Crash) -> Result<(), String> {
        let unreported = |digest: &Digest| {
            let mine = self.uses.iter().filter(|used| used.digest == *digest);
            let begun = mine.filter(|used| used.at <= crash.at);
            begun.filter(|used| used.reported.is_none_or(|at| at > store.sequence())).count()
        };
        if let Some(candidate) = store.candidate() {
            let spent = unreported(&candidate.digest) + usize::from(store.tries_left());
            if spent > usize::from(N_TRIES) {
                return Err(format!("I4 a candidate can be used {spent} times without a report"));
            }
        }
        Ok(())
    }

    /// Compares the journal with the promises.
    pub fn check_journal(&self, journal: &Journal, crash: Crash) -> Result<(), String> {
        let scan = journal.scan().map_err(|error| format!("journal: {error}"))?;
        let mut found = Vec::new();
        for entry in scan.entries {
            match entry.record {
                Record::Feedback(feedback) => found.push(feedback.time_ms),
                _ => return Err("journal: a record that nobody wrote".into()),
            }
        }
        let present: BTreeSet<u64> = found.iter().copied().collect();
        if !found.is_sorted_by(|a, b| a < b) {
            return Err("journal: records twice or out of order".into());
        }
        for record in &self.records {
            let promised = if crash.power { record.durable } else { record.acked } <= crash.at;
            if promised && !present.contains(&record.number) {
                return Err("journal: an acknowledged record is gone".into());
            }
            if record.started > crash.at && present.contains(&record.number) {
                return Err("journal: a record from the future".into());
            }
        }
        let known = |number: &u64| self.records.iter().any(|record| record.number == *number);
        if present.iter().all(known) { Ok(()) } else { Err("journal: an invented record".into()) }
    }

    /// Compares the trainer's checkpoint with the promises.
    pub fn check_checkpoint(&self, store: &Store, crash: Crash) -> Result<(), String> {
        let found = store.load_checkpoint().map_err(|error| format!("checkpoint: {error}"))?;
        let promised = self.checkpoints.iter().rposition(|saved| saved.acked <= crash.at);
        let candidates = &self.checkpoints[promised.unwrap_or(0)..];
        let begun = candidates.iter().filter(|saved| saved.started <= crash.at);
        let nothing = promised.is_none() && found.is_none();
        let clearing = self.checkpoints.iter().any(|saved| {
            saved.bytes.is_none() && saved.started <= crash.at && saved.acked > crash.at
        });
        // A clear that is under way removes the older slot first, then the newer one.
        if nothing
            || begun.clone().any(|saved| saved.bytes == found)
            || (clearing && found.is_none())
        {
            return Ok(());
        }
        Err("checkpoint: not one of those that it can be".into())
    }
}

/// What a recovery between two crashes did and showed.
pub struct Recovery {
    /// State that opening found.
    pub summary: Summary,
    /// Its sequence.
    pub sequence: u64,
    /// Operation by which opening had returned.
    pub opened: u64,
    /// Operation by which one more commit, of the same summary, had returned.
    pub committed: u64,
    /// The sequence of that commit.
    pub next: u64,
}

impl Recovery {
    fn allows(&self, sequence: u64, second: Crash) -> bool {
        if second.at >= self.committed {
            sequence == self.next
        } else if second.at >= self.opened {
            sequence == self.sequence || sequence == self.next
        } else {
            false
        }
    }
}
