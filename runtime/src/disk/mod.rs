//! The one door to storage: a small set of file operations whose failure modes can be simulated.
//!
//! Everything that the runtime keeps (journal, adapters, manifest, checkpoints) goes through
//! [`Disk`]. [`RealDisk`] maps it to a folder; `sim::SimDisk`, for tests, keeps files in memory, forgets
//! what was not synced and fails on demand, so that every crash can be replayed in a test.
//!
//! What the rest of the runtime relies on, and nothing more:
//!
//! * A write is visible to later reads of this machine at once, and survives the death of the
//!   process. It survives a power loss only after `sync` of the file returned `Ok`.
//! * A name (after `create`, `rename`, `unlink`, `remove_dir`) survives a power loss only after
//!   `sync_dir` of its folder returned `Ok`. What a lost folder holds is lost with it.
//! * Unsynced sectors and unsynced names persist or vanish independently, in any combination.
//! * An unsynced append never damages bytes before it that were synced.
//! * A failed `sync` says that the data is lost; a later success says nothing about it. After a
//!   failed `sync_dir` a name is durable or not, as before it.
//!
//! Names are `/`-separated, relative, made of ASCII that the runtime chose itself: no user text.

mod below;
mod real;
mod reserve;
#[cfg(any(test, feature = "faults", feature = "fuzzing"))]
pub mod sim;

use std::fmt;
use std::io;

pub(crate) use below::Below;
pub use real::RealDisk;
pub(crate) use reserve::Reserve;

/// Holds an advisory lock until it is dropped.
pub struct Lock(#[allow(dead_code, reason = "held only to be dropped")] Box<dyn Send>);

impl Lock {
    /// A lock that is released when `guard` is dropped.
    pub fn new(guard: impl Send + 'static) -> Lock {
        Lock(Box::new(guard))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// File operations of the runtime. See the module's text for what each guarantees.
///
/// All methods may be called from any thread. Errors are those of the operating system.
pub trait Disk: Send + Sync {
    /// Makes folder `dir` if it is absent. It is durable in any case when this returns `Ok`. The
    /// folder around it exists.
    fn make_dir(&self, dir: &str) -> io::Result<()>;
    /// Removes folder `dir`, which is empty. `Ok` if it is absent.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;
    /// Makes a new empty file. `AlreadyExists` if there is one: nothing is ever truncated.
    fn create(&self, name: &str) -> io::Result<()>;
    /// Adds `bytes` at the end of an existing file. After an error, any prefix may be there.
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites an existing file from `offset` on, growing it if need be.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// The whole file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Length of the file in bytes.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// Makes the file's bytes and length durable.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name in the same folder, replacing a file of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Names of the files in folder `dir` (without the folder), sorted.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Makes the names in folder `dir` durable. The root is `""`.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Takes the advisory lock `name` without waiting; `WouldBlock` if somebody holds it,
    /// `Unsupported` where the system has none.
    fn lock(&self, name: &str) -> io::Result<Lock>;
}

/// An operation of the disk that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{file}`: {source}. {}", advice(.source))]
pub struct DiskError {
    /// What was tried: `append`, `sync`, `rename`…
    pub operation: &'static str,
    /// The file or folder, relative to the store.
    pub file: String,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// Whether there was no room. What had been stored stays readable; try again later.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }

    /// Whether the medium can be read and not written.
    pub fn is_read_only(&self) -> bool {
        self.source.kind() == io::ErrorKind::ReadOnlyFilesystem
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free some space and try again; what was stored before is intact"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "Put the store on a medium that can be written; here it can only be looked at"
        }
        io::ErrorKind::PermissionDenied => "Give the app write access to its own folder",
        io::ErrorKind::NotFound => "The file was removed behind the library's back",
        io::ErrorKind::WouldBlock => "Another process is using the store; try again",
        io::ErrorKind::Unsupported => "Put the store on a local file system that has locks",
        _ => "What was stored before is intact as far as the device can read it",
    }
}

/// Tries again, for half a second, while another process holds a lock: it never does for long. Only
/// where a store is opened, which nothing else waits for.
pub(crate) fn patiently<T, E>(
    busy: impl Fn(&E) -> bool,
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    const TRIES: u32 = 100;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
    for _ in 1..TRIES {
        match work() {
            Err(error) if busy(&error) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    work()
}

/// Names the operation and the file in an error of the system.
pub(crate) fn at<T>(
    operation: &'static str,
    file: &str,
    result: io::Result<T>,
) -> Result<T, DiskError> {
    result.map_err(|source| DiskError { operation, file: file.to_owned(), source })
}
