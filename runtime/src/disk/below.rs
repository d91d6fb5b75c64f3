//! [`Below`]: a folder of a disk, as a disk of its own.

use std::io;
use std::sync::Arc;

use super::{Disk, Lock};

/// A folder of a disk. Its names are relative to that folder.
pub(crate) struct Below {
    disk: Arc<dyn Disk>,
    folder: String,
}

impl Below {
    /// The folder `folder` of `disk`, made if it is absent.
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: String) -> io::Result<Below> {
        disk.make_dir(&folder)?;
        Ok(Below { disk, folder })
    }

    /// A folder that is known to be there, durably; made if somebody has removed it.
    pub(crate) fn known(disk: Arc<dyn Disk>, folder: String) -> io::Result<Below> {
        match disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Below::new(disk, folder),
            Err(error) => Err(error),
            Ok(_) => Ok(Below { disk, folder }),
        }
    }

    fn name(&self, name: &str) -> String {
        if name.is_empty() { self.folder.clone() } else { format!("{}/{name}", self.folder) }
    }
}

impl Disk for Below {
    fn make_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.make_dir(&self.name(dir))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.remove_dir(&self.name(dir))
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.disk.create(&self.name(name))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(&self.name(name), bytes)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(&self.name(name), offset, bytes)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(&self.name(name))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(&self.name(name))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(&self.name(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.name(from), &self.name(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(&self.name(name))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(&self.name(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(&self.name(dir))
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        self.disk.lock(&self.name(name))
    }
}
