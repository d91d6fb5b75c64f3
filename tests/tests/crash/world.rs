//! A device with one app on it, and the things that the app does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sapwood::disk::sim::SimDisk;
use sapwood::disk::{Disk, Lock};
use sapwood::journal::{Feedback, Journal, Limits, Record};
use sapwood::seal::Seal;
use sapwood::signal::Signal;
use sapwood::store::{
    Digest, Meta, Mutant, N_HEALTHY, Reason, State, Store, StoreError, Trial, digest_of,
};

use super::ghost::Ghost;

pub const BASE: Digest = [3; 32];

/// One thing that the app does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stage, propose, three healthy trials, confirm.
    Promote,
    /// Take back what is in force.
    Rollback,
    /// One record in the page cache, one made durable, one more in the page cache.
    Append,
    /// Revoke the active generation and its descendants.
    Revoke,
    /// Save a checkpoint; every third time, clear it.
    Checkpoint,
    /// Put a candidate on probation and die in its first session: no report.
    BadTrial,
}

/// A step that is left out, to see that the checks notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    NoAdapterSync,
    NoFolderSync,
    NoManifestSync,
    NoRecoverySync,
    NoJournalSync,
    NoCheckpointSync,
    /// A new file of the keyring is not synced.
    NoKeyringSync,
    /// Its name is not.
    NoKeyringFolderSync,
    /// What is copied into the next epoch is not synced.
    NoCopySync,
    /// The old folder goes before the keyring is written.
    FolderGoesFirst,
    /// The old key goes before the keyring is written.
    KeyGoesFirst,
    /// The old key stays.
    KeyStays,
    /// What another process wrote while the epoch was being left is not fetched.
    LateStays,
    /// Segments go before the one that takes their place is durable.
    NoMergeSync,
    Planted(Mutant),
}

/// A simulated disk that does not do all that it is asked.
pub struct Faulty {
    pub disk: SimDisk,
    pub fault: Fault,
    pub opening: AtomicBool,
    /// Whether the opening under way has written something: then its syncs are no mere recovery.
    wrote: AtomicBool,
    /// Epochs entered, as the writes of the keyring tell.
    rings: AtomicU64,
}

/// The name below the folder of an epoch, and the epoch.
fn below(name: &str) -> (&str, Option<u64>) {
    let split = name.strip_prefix('e').and_then(|rest| rest.split_once('/'));
    match split.and_then(|(epoch, rest)| Some((rest, epoch.parse().ok()?))) {
        Some((rest, epoch)) => (rest, Some(epoch)),
        None => (name, None),
    }
}

impl Faulty {
    pub fn new(disk: SimDisk, fault: Fault) -> Faulty {
        Faulty {
            disk,
            fault,
            opening: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            rings: AtomicU64::new(0),
        }
    }

    fn skips_sync(&self, path: &str) -> bool {
        let (name, epoch) = below(path);
        match self.fault {
            Fault::NoAdapterSync => name.starts_with("a/"),
            Fault::NoManifestSync => name.starts_with('M'),
            Fault::NoJournalSync => name.starts_with("j/"),
            Fault::NoCheckpointSync => name.starts_with("c/"),
            Fault::NoRecoverySync => {
                self.opening.load(Ordering::Relaxed) && !self.wrote.load(Ordering::Relaxed)
            }
            Fault::NoKeyringSync => name.starts_with("k/"),
            Fault::NoCopySync => epoch.is_some_and(|epoch| epoch > 1),
            Fault::NoMergeSync => name.starts_with("j/") && self.is_crowded(path),
            _ => false,
        }
    }

    /// Whether there are segments enough to be joined, and one more.
    fn is_crowded(&self, path: &str) -> bool {
        let names = self.disk.list(path.rsplit_once('/').map_or("", |(dir, _)| dir));
        names.is_ok_and(|names| names.len() > 8)
    }

    /// Removes the folders of all epochs, durably.
    fn wipe(&self) {
        for dir in ["e1/a", "e1/c", "e1/j", "e1"] {
            for name in self.disk.list(dir).unwrap_or_default() {
                let _ = self.disk.unlink(&format!("{dir}/{name}"));
            }
            let _ = self.disk.sync_dir(dir);
        }
    }
}

impl Disk for Faulty {
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.make_dir(dir)
    }
    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        if self.fault == Fault::LateStays {
            self.wipe();
        }
        self.disk.remove_dir(dir)
    }
    fn create(&self, name: &str) -> io::Result<()> {
        self.wrote.store(true, Ordering::Relaxed);
        // The making of the store writes the first keyring; `prepare`, `enter`, `clean` the next.
        let enters = name == "k/new.tmp" && self.rings.fetch_add(1, Ordering::Relaxed) == 2;
        if self.fault == Fault::FolderGoesFirst && enters {
            self.wipe();
        }
        self.disk.create(name)
    }
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(name, bytes)
    }
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, bytes)
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        if self.skips_sync(name) { Ok(()) } else { self.disk.sync(name) }
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let left = self.fault == Fault::LateStays && dir == "e1/j";
        if left && self.rings.load(Ordering::Relaxed) > 2 {
            return Ok(Vec::new());
        }
        self.disk.list(dir)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let skips = match self.fault {
            Fault::NoFolderSync => true,
            Fault::NoKeyringFolderSync => dir == "k",
            _ => false,
        };
        if skips { Ok(()) } else { self.disk.sync_dir(dir) }
    }
    fn lock(&self, name: &str) -> io::Result<Lock> {
        self.disk.lock(name)
    }
}

/// Opens the store as an app does when it starts.
pub fn open_store(disk: &Arc<Faulty>, seal: &Arc<Seal>) -> Result<Store, StoreError> {
    disk.wrote.store(false, Ordering::Relaxed);
    disk.opening.store(true, Ordering::Relaxed);
    let store = Store::open(Arc::clone(disk) as Arc<dyn Disk>, Arc::clone(seal), BASE);
    disk.opening.store(false, Ordering::Relaxed);
    let mut store = store?;
    if let Fault::Planted(mutant) = disk.fault {
        store.plant(mutant);
    }
    Ok(store)
}

/// Opens the journal as an app does when it starts.
pub fn open_journal(disk: &Arc<Faulty>, seal: &Arc<Seal>) -> Journal {
    let disk = Arc::clone(disk) as Arc<dyn Disk>;
    Journal::open(disk, Arc::clone(seal), Limits::default()).expect("the disk works")
}

fn note(number: u64) -> Record {
    let text = format!("edit number {number}");
    let signal = Signal::Edited { text };
    Record::Feedback(Feedback { reply_id: number.into(), order: number, time_ms: number, signal })
}

pub struct World {
    pub disk: Arc<Faulty>,
    pub seal: Arc<Seal>,
    pub store: Store,
    pub journal: Journal,
    pub ghost: Ghost,
    count: u64,
}

impl World {
    /// A new device. With `record`, the making of the store is recorded too.
    pub fn new(fault: Fault, record: bool) -> World {
        let disk = Arc::new(Faulty::new(SimDisk::new(), fault));
        let seal = Arc::new(Seal::new([9; 32]));
        if record {
            disk.disk.record();
        }
        let store = open_store(&disk, &seal).expect("the disk works");
        let mut ghost = Ghost::default();
        ghost.committed(&store, 0, disk.disk.operations());
        let journal = open_journal(&disk, &seal);
        World { disk, seal, store, journal, ghost, count: 0 }
    }

    fn now(&self) -> u64 {
        self.disk.disk.operations()
    }

    /// One call of the store, noted with its commit.
    fn step<T>(&mut self, call: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> T {
        let started = self.now();
        let out = call(&mut self.store).expect("the disk works");
        self.ghost.committed(&self.store, started, self.now());
        out
    }

    pub fn act(&mut self, action: Action) {
        self.count += 1;
        match action {
            Action::Promote => self.promote(),
            Action::Rollback => {
                if self.store.in_force().is_some() {
                    self.step(|store| store.rollback(Reason::Host));
                }
            }
            Action::Append => {
                self.append();
                self.append();
                self.journal.flush(self.count).expect("the disk works");
                let now = self.now();
                self.ghost.flushed(now);
                self.append();
            }
            Action::Revoke => {
                if let Some(active) = self.store.active().map(|active| active.digest) {
                    self.step(|store| store.revoke(&[active]));
                }
            }
            Action::Checkpoint => self.checkpoint(),
            Action::BadTrial => self.bad_trial(),
        }
    }

    fn propose(&mut self) -> Digest {
        // Longer than a sector, so that it can be torn.
        let bytes = format!("adapter {} ", self.count).repeat(60).into_bytes();
        self.ghost.contents.insert(digest_of(&bytes), bytes.clone());
        let parent = self.store.active().map(|active| active.digest);
        let digest = self.step(|store| store.stage(&bytes, Meta { parent, ..Meta::default() }));
        self.step(|store| store.propose(&digest));
        digest
    }

    fn promote(&mut self) {
        if self.store.candidate().is_some() {
            self.step(|store| store.rollback(Reason::Gate));
        }
        let digest = self.propose();
        for _ in 0..N_HEALTHY {
            self.use_candidate(digest);
            self.step(Store::healthy);
            self.ghost.reported(digest, self.store.sequence());
        }
        self.step(|store| store.confirm(1));
    }

    fn use_candidate(&mut self, digest: Digest) {
        let trial = self.step(Store::begin_trial);
        assert!(matches!(trial, Trial::Begun { .. }));
        let now = self.now();
        self.ghost.used(digest, now);
    }

    fn bad_trial(&mut self) {
        let candidate = self.store.candidate().map(|candidate| candidate.digest);
        let digest = candidate.unwrap_or_else(|| self.propose());
        if self.store.tries_left() == 0 {
            let trial = self.step(Store::begin_trial);
            assert_eq!(trial, Trial::Exhausted { digest });
            return;
        }
        self.use_candidate(digest);
        self.store = open_store(&self.disk, &self.seal).expect("the disk works");
    }

    fn append(&mut self) {
        self.count += 1;
        let (number, started) = (self.count, self.now());
        self.journal.append(&note(number), number).expect("the disk works");
        self.ghost.appended(number, started, self.now());
    }

    fn checkpoint(&mut self) {
        let started = self.now();
        let before = self.store.load_checkpoint().expect("the disk works");
        let clear = before.as_ref().is_some_and(|bytes| bytes.len() > 1800);
        let bytes = (!clear).then(|| {
            let mut bytes = before.unwrap_or_default();
            bytes.extend_from_slice(&[self.count as u8; 700]);
            bytes
        });
        match &bytes {
            Some(bytes) => self.store.save_checkpoint(bytes).expect("the disk works"),
            None => self.store.clear_checkpoint().expect("the disk works"),
        }
        self.ghost.checkpointed(bytes, started, self.now());
    }

    /// What must never be true, whatever happened.
    pub fn assert_sane(&self) {
        let active = self.store.generations().iter();
        assert!(active.filter(|known| known.state == State::Active).count() <= 1);
    }
}
