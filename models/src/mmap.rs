//! The bytes of a model file: mapped read-only, or owned, or part of the program.
//!
//! A mapping is only as stable as the file. Truncating a mapped file makes later reads fault,
//! which no library can repair; so map only files that nobody overwrites: those in the app's
//! private directory or bundle, replaced by writing a new file under a new name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::gguf::limits;

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
        "{} has {bytes} bytes, the limit is {max}: choose a smaller or more quantized model",
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
    /// Map a regular file of 1 byte to 16 GiB (see [`limits::FILE_BYTES`]).
    ///
    /// # Errors
    /// See [`MapError`]; each says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        // Before opening: opening a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(|error| refusal(path, error))?;
        if !metadata.is_file() {
            return Err(MapError::NotRegularFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(|error| refusal(path, error))?;
        let bytes = file.metadata().map_err(|error| refusal(path, error))?.len();
        if bytes == 0 {
            return Err(MapError::Empty { path: path.to_owned() });
        }
        let max = limits::FILE_BYTES.min(u64::try_from(isize::MAX).unwrap_or(u64::MAX));
        if bytes > max {
            return Err(MapError::TooLarge { path: path.to_owned(), bytes, max });
        }
        // SAFETY: The mapping is private and read-only, and lives as long as every reference
        // into it (`bytes` borrows from `self`). That no other process changes or truncates the
        // file meanwhile is the documented condition on the files we are given; the header is
        // copied before it is checked, so that even a change cannot pass unchecked values on.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| refusal(path, error))?;
        Ok(Self(Arc::new(Source::Map(map))))
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

fn refusal(path: &Path, source: std::io::Error) -> MapError {
    let path = path.to_owned();
    match source.kind() {
        std::io::ErrorKind::NotFound => MapError::NotFound { path },
        std::io::ErrorKind::PermissionDenied => MapError::NoPermission { path },
        _ => MapError::Io { path, source },
    }
}
