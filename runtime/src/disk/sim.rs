//! A disk in memory that forgets what was not synced and fails on demand: for tests.
//!
//! [`SimDisk`] runs the operations of [`Disk`] over an [`Image`]. With [`SimDisk::record`] it
//! keeps the image before every change (and after half of every write), so a test runs a workload
//! once and then looks at each point where the process could have died. [`Image::after_power`]
//! lists what a power loss at that point may leave: each unsynced sector and each unsynced name
//! persists or not, independently. Death of the process alone leaves the image as it is, page
//! cache included, and a later power loss still finds it unsynced.
//!
//! Everything is deterministic: the same operations and seeds give the same images.

mod image;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use image::{Image, Power};

use super::{Disk, Lock};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No room: `create` fails, a growing write stops halfway. Everything else works.
    StorageFull,
    /// The device fails any operation. A write stops halfway. A failed sync of a file drops what
    /// was not durable for good, and readers go on seeing it.
    Io,
    /// The system refuses every operation.
    Denied,
    /// The process dies: nothing has any effect any more, but that a write is cut in the middle
    /// if `halfway`.
    Death {
        /// Whether the write at which it strikes is half done.
        halfway: bool,
    },
}

/// A failure at a given operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Operation at which it strikes, counted from 0 over all operations of the disk.
    pub at: u64,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Once, or from then on.
    pub forever: bool,
}

/// The disk as it was when a change was about to happen or had half happened.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Operations finished before this moment.
    pub operations: u64,
    /// The disk.
    pub image: Image,
    /// What was under way, for messages: operation and file.
    pub under_way: String,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    operations: u64,
    fault: Option<Fault>,
    recording: bool,
    moments: Vec<Moment>,
    locks: BTreeSet<String>,
    /// Bytes that fit, in blocks.
    capacity: Option<u64>,
}

/// What a file takes is a multiple of this.
const BLOCK: usize = 4096;

/// A simulated disk. Clones share the same files, as two processes would.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// A disk that holds `image`, as a machine finds it after a restart.
    pub fn from_image(image: Image) -> SimDisk {
        let state = State { image, ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations so far, reads included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk as it is now.
    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// Keeps a [`Moment`] at each change from now on.
    pub fn record(&self) {
        self.state().recording = true;
    }

    /// Keeps a [`Moment`] of the disk as it is, without doing anything to it.
    pub fn mark(&self) {
        self.state().note("nothing", "");
    }

    /// Takes the moments recorded so far; recording stops.
    pub fn take_moments(&self) -> Vec<Moment> {
        let mut state = self.state();
        state.recording = false;
        std::mem::take(&mut state.moments)
    }

    /// Sets or clears the failure to come.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// From now on no more than this fits, counted in blocks of 4 KiB: what grows beyond it finds the
    /// disk full, and what is removed makes room.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes in use, counted in blocks of 4 KiB.
    pub fn used(&self) -> u64 {
        self.state().image.used(BLOCK)
    }

    /// Whether the failure that was set has struck.
    pub fn struck(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|fault| fault.at < state.operations)
    }

    /// Whether the process has died ([`FaultKind::Death`]).
    pub fn is_dead(&self) -> bool {
        let fault = self.state().fault;
        self.struck() && fault.is_some_and(|f| matches!(f.kind, FaultKind::Death { .. }))
    }

    /// Changes one byte of a file behind the back of everybody, durably.
    pub fn corrupt(&self, name: &str, offset: usize, xor: u8) -> io::Result<()> {
        self.state().image.corrupt(name, offset, xor)
    }

    /// Cuts a file behind the back of everybody, durably.
    pub fn truncate(&self, name: &str, bytes: usize) -> io::Result<()> {
        self.state().image.truncate(name, bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_only<T>(&self, job: impl FnOnce(&Image) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        if let Some(kind) = state.begin()
            && kind != FaultKind::StorageFull
        {
            return Err(error_of(kind));
        }
        job(&state.image)
    }

    fn change(
        &self,
        what: &str,
        name: &str,
        needs_room: bool,
        job: impl FnOnce(&mut Image) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state();
        state.note(what, name);
        let full = state.capacity.is_some_and(|most| state.image.used(BLOCK) >= most);
        match state.begin().or(full.then_some(FaultKind::StorageFull)) {
            Some(FaultKind::StorageFull) if !needs_room => {}
            Some(kind) => return Err(error_of(kind)),
            None => {}
        }
        job(&mut state.image)
    }

    fn write(&self, what: &str, name: &str, offset: Option<u64>, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.note(what, name);
        let offset = match offset {
            Some(offset) => usize::try_from(offset).map_err(io::Error::other)?,
            None => state.image.len(name)?,
        };
        let half = &bytes[..bytes.len() / 2];
        if state.recording && !half.is_empty() {
            let mut image = state.image.clone();
            image.write(name, offset, half)?;
            let operations = state.operations;
            let under_way = format!("half of {what} {name}");
            state.moments.push(Moment { operations, image, under_way });
        }
        let length = state.image.len(name)?;
        let grows = offset + bytes.len() > length;
        let blocks = |bytes: usize| bytes.next_multiple_of(BLOCK);
        let more = blocks(offset + bytes.len()).saturating_sub(blocks(length)) as u64;
        let full = state.capacity.is_some_and(|most| state.image.used(BLOCK) + more > most);
        match state.begin().or((full && more > 0).then_some(FaultKind::StorageFull)) {
            Some(FaultKind::StorageFull) if !grows => state.image.write(name, offset, bytes),
            None => state.image.write(name, offset, bytes),
            Some(kind) => {
                let cut = match kind {
                    FaultKind::StorageFull | FaultKind::Io => true,
                    FaultKind::Death { halfway } => halfway && state.struck_now(),
                    FaultKind::Denied => false,
                };
                if cut && !full {
                    state.image.write(name, offset, half)?;
                }
                Err(error_of(kind))
            }
        }
    }
}

impl State {
    /// Counts an operation and says whether it fails.
    fn begin(&mut self) -> Option<FaultKind> {
        let now = self.operations;
        self.operations += 1;
        let fault = self.fault?;
        (now == fault.at || (fault.forever && now > fault.at)).then_some(fault.kind)
    }

    /// Whether the operation that was counted last is the first that fails.
    fn struck_now(&self) -> bool {
        self.fault.is_some_and(|fault| fault.at + 1 == self.operations)
    }

    fn note(&mut self, what: &str, name: &str) {
        if self.recording {
            let (operations, image) = (self.operations, self.image.clone());
            let under_way = format!("{what} {name}");
            self.moments.push(Moment { operations, image, under_way });
        }
    }
}

fn error_of(kind: FaultKind) -> io::Error {
    match kind {
        FaultKind::StorageFull => io::ErrorKind::StorageFull.into(),
        FaultKind::Io => io::Error::other("simulated device failure"),
        FaultKind::Denied => io::ErrorKind::PermissionDenied.into(),
        FaultKind::Death { .. } => io::Error::other("the process is dead"),
    }
}

struct Held {
    state: Arc<Mutex<State>>,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.locks.remove(&self.name);
    }
}

impl Disk for SimDisk {
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        if !self.state().image.is_folder(dir) {
            self.change("make_dir", dir, true, |image| image.make_dir(dir))?;
        }
        self.sync_dir(dir.rsplit_once('/').map_or("", |(around, _)| around))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.change("remove_dir", dir, false, |image| image.remove_dir(dir))
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.change("create", name, true, |image| image.create(name))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write("append", name, None, bytes)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write("write_at", name, Some(offset), bytes)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.read_only(|image| image.read(name))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.read_only(|image| Ok(image.len(name)? as u64))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.note("sync", name);
        match state.begin() {
            Some(FaultKind::Io) => {
                state.image.lose(name)?;
                Err(error_of(FaultKind::Io))
            }
            Some(FaultKind::StorageFull) | None => state.image.sync(name),
            Some(kind) => Err(error_of(kind)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change("rename", from, false, |image| image.rename(from, to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.change("unlink", name, false, |image| image.unlink(name))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.read_only(|image| image.list(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.change("sync_dir", dir, false, |image| {
            image.sync_dir(dir);
            Ok(())
        })
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        let mut state = self.state();
        if !state.image.is_folder(name.rsplit_once('/').map_or("", |(folder, _)| folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.locks.insert(name.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Lock::new(Held { state: Arc::clone(&self.state), name: name.to_owned() }))
    }
}
