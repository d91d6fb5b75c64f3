//! The bytes of a model file: mapped read-only, or owned, or part of the program.
//!
//! A mapping is only as stable as the file. Truncating a mapped file makes later reads fault,
//! which no library can repair; so map only files that nobody overwrites: those in the app's
//! private directory or bundle, replaced by writing a new file under a new name. [`import`] puts
//! them there; whether somebody wrote to one since is looked at before each mapping.
//!
//! [`import`]: crate::import::import

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::gguf::limits;
use crate::import;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// There is no such file.
    #[error("no file at {}: check the path, or download the model again", path.display())]
    NotFound {
        /// The path asked for.
        path: PathBuf,
    },
    /// The operating system refuses to let us read.
    #[error(
        "no permission to read {}: grant it, or copy the file into the app's own folder",
        path.display()
    )]
    NoPermission {
        /// The path asked for.
        path: PathBuf,
    },
    /// A folder, a device, a pipe.
    #[error("{} is not a regular file: name the model file itself", path.display())]
    NotRegularFile {
        /// The path asked for.
        path: PathBuf,
    },
    /// A file of no bytes.
    #[error("{} is empty: download the model again", path.display())]
    Empty {
        /// The path asked for.
        path: PathBuf,
    },
    /// A file larger than accepted.
    #[error(
        "{} has {bytes} bytes, the limit is {max}: choose a smaller file",
        path.display()
    )]
    TooLarge {
        /// The path asked for.
        path: PathBuf,
        /// Size of the file.
        bytes: u64,
        /// Largest size accepted.
        max: u64,
    },
    /// A file that was written to while it was read.
    #[error("{} changed while it was read ({bytes} bytes, then {read}): try again", path.display())]
    Changed {
        /// The path asked for.
        path: PathBuf,
        /// Size before.
        bytes: u64,
        /// Bytes read (at most one more than before).
        read: u64,
    },
    /// An imported file that is not what was imported.
    #[error(
        "{} was changed since it was imported: import the model again, and write to no model",
        path.display()
    )]
    Altered {
        /// The path asked for.
        path: PathBuf,
    },
    /// Any other refusal of the operating system.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The path asked for.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// Read-only bytes of a file, cheap to clone and to share between threads.
#[derive(Clone, Debug)]
pub struct Mapped(Arc<Source>);

#[derive(Debug)]
enum Source {
    Map(Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Mapped {
    /// Map a regular file of 1 byte to 16 GiB (see [`limits::FILE_BYTES`]). One that is named by a
    /// digest has to be what was imported (see [`crate::import`]).
    ///
    /// # Errors
    /// See [`MapError`]; each says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        let max = limits::FILE_BYTES.min(u64::try_from(isize::MAX).unwrap_or(u64::MAX));
        let (file, _) = open(path, max)?;
        import::check(path, &file)?;
        // SAFETY: The mapping is private and read-only, and lives as long as every reference
        // into it (`bytes` borrows from `self`). That no other process changes or truncates the
        // file meanwhile is the documented condition on the files we are given; the header is
        // copied before it is checked, so that even a change cannot pass unchecked values on.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| refusal(path, error))?;
        Ok(Self(Arc::new(Source::Map(map))))
    }

    /// Read a regular file of 1 to `max_bytes` bytes into memory: for small files that somebody
    /// else may replace while they are in use.
    ///
    /// # Errors
    /// See [`MapError`]; each says what to do.
    pub fn read(path: impl AsRef<Path>, max_bytes: u64) -> Result<Self, MapError> {
        let path = path.as_ref();
        let (file, len) = open(path, max_bytes)?;
        let mut bytes = Vec::new();
        // One byte more than there was, to notice a file that grows meanwhile.
        let read = file.take(len.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| refusal(path, error))?;
        let read = bytes.len() as u64;
        if read != len {
            return Err(MapError::Changed { path: path.to_owned(), bytes: len, read });
        }
        Ok(Self::from_vec(bytes))
    }

    /// Bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self(Arc::new(Source::Static(bytes)))
    }

    /// Bytes on the heap.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Source::Owned(bytes)))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Source::Map(map) => map,
            Source::Static(bytes) => bytes,
            Source::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// A regular file of 1 to `max` bytes, and its size.
pub(crate) fn open(path: &Path, max: u64) -> Result<(File, u64), MapError> {
    // Before opening: opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(|error| refusal(path, error))?;
    if !metadata.is_file() {
        return Err(MapError::NotRegularFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|error| refusal(path, error))?;
    let bytes = file.metadata().map_err(|error| refusal(path, error))?.len();
    match bytes {
        0 => Err(MapError::Empty { path: path.to_owned() }),
        _ if bytes > max => Err(MapError::TooLarge { path: path.to_owned(), bytes, max }),
        _ => Ok((file, bytes)),
    }
}

pub(crate) fn refusal(path: &Path, source: std::io::Error) -> MapError {
    let path = path.to_owned();
    match source.kind() {
        std::io::ErrorKind::NotFound => MapError::NotFound { path },
        std::io::ErrorKind::PermissionDenied => MapError::NoPermission { path },
        _ => MapError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sapwood-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_is_the_same_mapped_and_read() {
        let folder = folder("mapped");
        let path = folder.join("file");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        let clone = mapped.clone();
        drop(mapped);
        assert_eq!(clone.bytes(), bytes);
        assert_eq!(Mapped::read(&path, 100_000).unwrap().bytes(), bytes);
        assert_eq!(Mapped::from_vec(bytes.clone()).bytes(), bytes);
        assert_eq!(Mapped::from_static(b"abc").bytes(), b"abc");
        assert!(matches!(
            Mapped::read(&path, 99_999),
            Err(MapError::TooLarge { bytes: 100_000, max: 99_999, .. })
        ));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn each_refusal_has_its_error() {
        let folder = folder("refusals");
        let missing = Mapped::open(folder.join("none")).unwrap_err();
        assert!(matches!(missing, MapError::NotFound { .. }));
        assert!(matches!(Mapped::open(&folder), Err(MapError::NotRegularFile { .. })));
        let empty = folder.join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert!(matches!(Mapped::open(&empty), Err(MapError::Empty { .. })));
        for error in [missing, Mapped::open(&empty).unwrap_err()] {
            assert!(error.to_string().contains("download the model again"), "{error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn no_permission_is_said_so() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("permission");
        let path = folder.join("secret");
        std::fs::write(&path, b"x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser may read everything: then there is nothing to show.
        if File::open(&path).is_err() {
            assert!(matches!(Mapped::open(&path), Err(MapError::NoPermission { .. })));
        } else {
            eprintln!("SKIPPED: this user may read files without permission");
        }
        std::fs::remove_dir_all(folder).unwrap();
        let error = refusal(Path::new("x"), std::io::ErrorKind::PermissionDenied.into());
        assert!(matches!(error, MapError::NoPermission { .. }));
    }
}
