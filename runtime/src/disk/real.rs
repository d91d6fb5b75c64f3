//! [`RealDisk`]: a folder of the operating system.
//!
//! On a medium that can only be read there is nothing to make durable and nobody to lock out: both do
//! nothing there, so that a store can be looked at.
//!
//! Two things of the process can turn against it. The folder is made absolute when it is opened, so
//! that a later change of the current folder moves nothing. And no file that can be written is ever
//! on descriptors 0 to 2: a daemon without a standard error would get a file of the store there, and
//! the next line that anything in the process prints would go into it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Disk, Lock};

/// Files kept open between calls. A handle that saw the write also sees its write-back error.
const OPEN_FILES: usize = 8;

/// A folder of the operating system.
///
/// The folder should be the app's private one, on a local file system, and excluded from cloud
/// backup: a restored backup would bring back what the user had forgotten.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    open: Mutex<Vec<(String, File)>>,
}

impl RealDisk {
    /// Opens `root`, making it if it is absent.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let root = std::path::absolute(root.into())?;
        fs::create_dir_all(&root)?;
        Ok(RealDisk { root, open: Mutex::new(Vec::new()) })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> PathBuf {
        debug_assert!(!name.split('/').any(|part| part == ".."), "a name leaves the folder");
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    fn handles(&self) -> MutexGuard<'_, Vec<(String, File)>> {
        // A panic while the list is held leaves a valid list: handles are only added or removed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` on the file opened for reading and writing.
    fn with<T>(&self, name: &str, job: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut open = self.handles();
        let at = match open.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
                let file = above_standard(file)?;
                remember(&mut open, name, file)
            }
        };
        job(&mut open[at].1)
    }

    fn forget(&self, name: &str) {
        self.handles().retain(|(known, _)| known != name);
    }
}

fn remember(open: &mut Vec<(String, File)>, name: &str, file: File) -> usize {
    if open.len() == OPEN_FILES {
        open.remove(0);
    }
    open.push((name.to_owned(), file));
    open.len() - 1
}

/// The file on a descriptor that no stream of the process's goes by.
#[cfg(unix)]
fn above_standard(file: File) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    if file.as_raw_fd() > 2 {
        return Ok(file);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&file, 3)?.into())
}

#[cfg(not(unix))]
fn above_standard(file: File) -> io::Result<File> {
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(()) // Windows journals names itself and cannot open a folder as a file.
    }
}

impl Disk for RealDisk {
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        match fs::create_dir(self.path(dir)) {
            Err(error) if !self.path(dir).is_dir() => return Err(error),
            // If it is there: who made it may have been killed before it was durable.
            _ => {}
        }
        let around = dir.rsplit_once('/').map_or("", |(around, _)| around);
        sync_folder(&self.path(around))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        match fs::remove_dir(self.path(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let file = above_standard(options.open(self.path(name))?)?;
        let mut open = self.handles();
        open.retain(|(known, _)| known != name);
        remember(&mut open, name, file);
        Ok(())
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(name, |file| {
            file.seek(SeekFrom::End(0))?;
            file.write_all(bytes)
        })
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(name, |file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        })
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(name))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name))?.len())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        // `sync_all`, not `sync_data`: old f2fs kernels lost the new length after the latter.
        unless_read_only(self.with(name, |file| file.sync_all()), ())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.forget(name);
        fs::remove_file(self.path(name))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_folder(&self.path(dir))
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        let path = self.path(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let Some(file) = unless_read_only(file.map(Some), None)? else { return Ok(Lock::new(())) };
        let file = above_standard(file)?;
        lock_file(&file)?;
        Ok(Lock::new(file))
    }
}

fn unless_read_only<T>(done: io::Result<T>, instead: T) -> io::Result<T> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(instead),
        done => done,
    }
}

/// Android's standard library has no file locks yet, so on Unix this is `flock` itself.
#[cfg(unix)]
fn lock_file(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

#[cfg(not(unix))]
fn lock_file(file: &File) -> io::Result<()> {
    file.try_lock().map_err(io::Error::from)
}
