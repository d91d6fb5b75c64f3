//! Models in the app's own folder: brought there once, named by their digest, never written again.
//!
//! A mapped file has to stay what it was. Whoever truncates it ends the process with SIGBUS at the
//! next read, and no library can mend that: a signal handler belongs to the whole process, where
//! the app's crash reporter has its own. Whoever overwrites it changes the model under its
//! adapters. So a model gets a file that nobody has a reason to write to, and [`Mapped::open`]
//! looks whether somebody did before it maps.
//!
//! ```text
//! <digest>.gguf       the model, read-only; SHA-256 of all its bytes in lower-case hexadecimal
//! <digest>.gguf.seen  its size, inode and time of change when that was last computed
//! <process>-<n>.part  an import under way, or one that was cut: the next one removes it
//! ```
//!
//! A model is replaced by importing another one, which has another name, and by removing both
//! files of the old one; what is mapped meanwhile stays readable until it is dropped.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::digest::{Context, SHA256};

use crate::adapter::Digest;
use crate::gguf::{Gguf, GgufError, limits};
use crate::mmap::{self, MapError, Mapped};

/// How a model comes into the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Under a second name for the same bytes, which takes no room: for a file that the app itself
    /// has downloaded. It is read-only then under its old name too, and whoever replaces it has to
    /// remove or rename it, as a careful program does anyway. Where the file system has no such
    /// names, or the file is on another one, it is copied.
    Link,
    /// By copying it: for a file that belongs to somebody else.
    Copy,
}

/// A model in the app's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// What to open.
    pub path: PathBuf,
    /// SHA-256 of all its bytes.
    pub digest: Digest,
}

/// Why a model could not be imported. The folder is then as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source, or the model that is there already, can't be read.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It is no sound GGUF file: a download that was cut, for instance.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// No room for a copy.
    #[error(
        "no room for the {bytes} bytes of the model in {}: free some space and try again",
        folder.display()
    )]
    NoRoom {
        /// Where it should go.
        folder: PathBuf,
        /// What it takes.
        bytes: u64,
    },
    /// The system refused something else.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Brings the model at `source` into `folder`, which is made if it is absent: a folder of the app's
/// own on its own file system, with nothing else in it. Reads the whole file once or twice.
///
/// A model that is there already is left alone if it is whole, and made whole if it is not. When
/// this returns, the model is durable.
///
/// # Errors
/// See [`ImportError`]; nothing half is left, whenever this ends. A process that imports into the
/// same folder at the same time may be told that its file is gone, and has to try again.
pub fn import(
    source: impl AsRef<Path>,
    folder: impl AsRef<Path>,
    take: Take,
) -> Result<Imported, ImportError> {
    let (source, folder) = (source.as_ref(), folder.as_ref());
    let (_, bytes) = mmap::open(source, limits::FILE_BYTES)?;
    fs::create_dir_all(folder).map_err(refused("make", folder))?;
    remove_parts(folder)?;
    let part = Part::take(source, folder, take, bytes)?;
    let file = File::open(&part.0).map_err(refused("open", &part.0))?;
    let digest = digest_of(&file, &part.0)?;
    Gguf::parse(Mapped::open(&part.0)?.bytes())?;
    // Not before: a source that is refused stays as it was, also where this is its other name.
    part.make_read_only(&file)?;
    let path = folder.join(name_of(&digest));
    // Whole: then the part goes. Damaged: the part takes its place, and who has mapped the damaged
    // file keeps that.
    let there = mmap::open(&path, limits::FILE_BYTES);
    if !there.is_ok_and(|(there, _)| check(&path, &there).is_ok()) {
        fs::rename(&part.0, &path).map_err(refused("rename", &part.0))?;
        if let Ok(stamp) = Stamp::of(&file) {
            stamp.write(&path);
        }
    }
    drop(part);
    // A folder can't be opened everywhere; where it can, its names are durable only now.
    if let Ok(opened) = File::open(folder) {
        opened.sync_all().map_err(refused("sync", folder))?;
    }
    Ok(Imported { path, digest })
}

/// Whether the file that `path` named when it was opened is the one that was imported under that
/// name. Whatever else is not called by a digest passes.
pub(crate) fn check(path: &Path, file: &File) -> Result<(), MapError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_digest = |hex: &str| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !name.strip_suffix(SUFFIX).is_some_and(is_digest) {
        return Ok(());
    }
    let stamp = Stamp::of(file).map_err(|error| mmap::refusal(path, error))?;
    if fs::read_to_string(seen(path)).is_ok_and(|text| text == stamp.0) {
        return Ok(());
    }
    if name_of(&digest_of(file, path)?) != name {
        return Err(MapError::Altered { path: path.to_owned() });
    }
    // It came back from a backup, or lost a second name: the same bytes all the same.
    stamp.write(path);
    Ok(())
}

const SUFFIX: &str = ".gguf";

fn name_of(digest: &Digest) -> String {
    use std::fmt::Write;
    let mut name = String::with_capacity(2 * digest.len() + SUFFIX.len());
    for byte in digest {
        let _ = write!(name, "{byte:02x}"); // writing to a String does not fail
    }
    name + SUFFIX
}

fn seen(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".seen");
    name.into()
}

/// SHA-256 of a file that nobody writes to meanwhile.
fn digest_of(mut file: &File, path: &Path) -> Result<Digest, MapError> {
    let hashed = |file: &mut &File| {
        let before = Stamp::of(file)?;
        file.rewind()?;
        let mut hash = Context::new(&SHA256);
        let mut chunk = vec![0; 1 << 20];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => hash.update(chunk.get(..read).unwrap_or_default()),
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        Ok((digest, Stamp::of(file)? == before))
    };
    match hashed(&mut file) {
        Ok((digest, true)) => Ok(digest),
        Ok((_, false)) => Err(MapError::Altered { path: path.to_owned() }),
        Err(error) => Err(mmap::refusal(path, error)),
    }
}

/// What changes when somebody writes to a file, or puts another in its place.
#[derive(PartialEq)]
struct Stamp(String);

impl Stamp {
    fn of(file: &File) -> io::Result<Stamp> {
        let metadata = file.metadata()?;
        let (inode, changed) = identity(&metadata);
        Ok(Stamp(format!("sapwood import 1\n{} {inode} {changed}\n", metadata.len())))
    }

    /// Without it the next opening computes the digest again, so a failure costs time only.
    fn write(&self, path: &Path) {
        let (to, mut from) = (seen(path), seen(path).into_os_string());
        from.push(format!("-{}.part", std::process::id()));
        let _ = fs::write(&from, &self.0).and_then(|()| fs::rename(&from, to));
    }
}

/// Inode, and time of change in nanoseconds. It is the inode's time, which no program can set back.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, i128) {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds =
        i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    (metadata.ino(), nanoseconds)
}

/// The time of the last write, where the standard library knows no inode.
#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> (u64, i128) {
    let since =
        metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    (0, since.map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or_default()))
}

/// The name of an import under way. It goes with this.
struct Part(PathBuf);

impl Part {
    /// The bytes of `source` under such a name, durable.
    fn take(source: &Path, folder: &Path, take: Take, bytes: u64) -> Result<Part, ImportError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = Part(folder.join(format!("{}-{n}{PART}", std::process::id())));
        // Another process of this number may have left it, and it may be a name of a model.
        let _ = fs::remove_file(&part.0);
        // A link to a symbolic link would be one itself.
        let real = fs::canonicalize(source).map_err(refused("find", source))?;
        if take == Take::Copy || fs::hard_link(&real, &part.0).is_err() {
            fs::copy(&real, &part.0).map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => {
                    ImportError::NoRoom { folder: folder.to_owned(), bytes }
                }
                _ => refused("copy", source)(error),
            })?;
        }
        let file = File::open(&part.0).map_err(refused("open", &part.0))?;
        file.sync_all().map_err(refused("sync", &part.0))?;
        Ok(part)
    }

    fn make_read_only(&self, file: &File) -> Result<(), ImportError> {
        let mut permissions = file.metadata().map_err(refused("read", &self.0))?.permissions();
        permissions.set_readonly(true);
        // Some file systems have no permissions. What is written all the same is noticed later.
        let _ = fs::set_permissions(&self.0, permissions);
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const PART: &str = ".part";

/// Removes what killed imports have left. Those of this process may be under way.
fn remove_parts(folder: &Path) -> Result<(), ImportError> {
    let ours = format!("{}-", std::process::id());
    for entry in fs::read_dir(folder).map_err(refused("list", folder))? {
        let entry = entry.map_err(refused("list", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(PART) && !name.starts_with(&ours) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Io { operation, path, source }
}
