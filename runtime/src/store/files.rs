//! Files of the store besides the manifest: adapters by digest, and the trainer's checkpoint.

use std::io;

use super::Store;
use super::error::StoreError;
use super::manifest::Manifest;
use super::slots::Slots;
use crate::digest::{Digest, digest_of, hex};
use crate::disk::{Disk, Lock, at};
use crate::seal::Seal;
use crate::seal::sealed_file::{self, Purpose};
use crate::vault::Epoch;

pub(super) const ADAPTERS: &str = "a";
pub(super) const CHECKPOINTS: &str = "c";
const NEW: &str = "new.tmp";
const SLOTS: [&str; 2] = ["c/0", "c/1"];
const REFUSED: &str = "c/refused";
/// Refused digests that the file keeps: 128 KiB, a refusal a day for eleven years.
pub(super) const REFUSED_MOST: usize = 4096;

pub(super) fn adapter_path(digest: &Digest) -> String {
    format!("{ADAPTERS}/{}", hex(digest))
}

impl Store {
    /// The bytes of an adapter, exactly as they were staged.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if no kept generation has this digest, [`StoreError::Damaged`] if
    /// the file is gone or is not what was stored.
    pub fn adapter_bytes(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        if self.manifest.live(digest).is_none() {
            return Err(StoreError::Unknown { digest: *digest });
        }
        self.read_adapter(digest)
    }

    pub(super) fn read_adapter(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = adapter_path(digest);
        let damaged = StoreError::Damaged { digest: *digest };
        let file = match self.disk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Another process may have taken it back.
                self.slots.check_unchanged()?;
                return Err(damaged);
            }
            read => at("read", &path, read)?,
        };
        match sealed_file::open(&self.seal, Purpose::Adapter, &file) {
            Ok((_, bytes)) if digest_of(&bytes) == *digest => Ok(bytes),
            _ => Err(damaged),
        }
    }

    /// Writes an adapter's file durably and reads it back.
    pub(super) fn write_adapter(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let sealed = sealed_file::seal(&self.seal, Purpose::Adapter, 0, bytes)?;
        replace(&*self.disk, ADAPTERS, &adapter_path(digest), &sealed)?;
        self.read_adapter(digest).map(drop)
    }

    /// Seals everything that is kept anew, in the folder of another epoch, durably. Nobody else
    /// changes this store until the lock is dropped, and whoever has it open finds it changed.
    pub(crate) fn copy_to(&mut self, to: &Epoch) -> Result<Lock, StoreError> {
        let lock = self.lock()?;
        // Another process may wait for the lock to commit here, where nobody looks any more. Should
        // this not come to its end, whoever opens the store commits here again.
        self.write(Manifest { left: true, ..self.manifest.clone() })?;
        let disk = &*to.disk;
        for folder in [ADAPTERS, CHECKPOINTS] {
            at("make folder", folder, disk.make_dir(folder))?;
        }
        let live = self.manifest.generations.iter().filter(|known| known.state.has_file());
        for digest in live.map(|known| &known.digest) {
            let bytes = match self.read_adapter(digest) {
                // It stays behind, and the next opening takes it back.
                Err(StoreError::Damaged { .. }) => continue,
                // A disk that can't be read now is no damage.
                read => read?,
            };
            let sealed = sealed_file::seal(&to.seal, Purpose::Adapter, 0, &bytes)?;
            replace(disk, ADAPTERS, &adapter_path(digest), &sealed)?;
        }
        if !self.refused_before.is_empty() {
            let refused = self.refused_before.as_flattened();
            let sealed = sealed_file::seal(&to.seal, Purpose::Refused, 0, refused)?;
            replace(disk, CHECKPOINTS, REFUSED, &sealed)?;
        }
        if let Some((_, sequence, bytes)) = self.newest_checkpoint()? {
            let sealed = sealed_file::seal(&to.seal, Purpose::Checkpoint, sequence, &bytes)?;
            replace(disk, CHECKPOINTS, SLOTS[0], &sealed)?;
        }
        Slots::copy(to, &self.manifest)?;
        Ok(lock)
    }

    /// Keeps the trainer's state in place of the one before. A crash leaves one or the other.
    pub fn save_checkpoint(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let (slot, sequence) = match self.newest_checkpoint()? {
            Some((newest, sequence, _)) => (1 - newest, sequence + 1),
            None => (0, 1),
        };
        let sealed = sealed_file::seal(&self.seal, Purpose::Checkpoint, sequence, bytes)?;
        replace(&*self.disk, CHECKPOINTS, SLOTS[slot], &sealed)
    }

    /// The newest whole checkpoint, bit for bit as it was saved.
    pub fn load_checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.newest_checkpoint()?.map(|(_, _, bytes)| bytes))
    }

    /// Drops the checkpoint: training is finished, or its data is to be forgotten.
    pub fn clear_checkpoint(&mut self) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        // The older one goes first, durably: it must not come back as the newest.
        let newest = self.newest_checkpoint()?.map_or(0, |(slot, _, _)| slot);
        for slot in [1 - newest, newest] {
            match self.disk.unlink(SLOTS[slot]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                unlinked => at("unlink", SLOTS[slot], unlinked)?,
            }
            // If it is gone: who unlinked it may have been killed before that was durable.
            at("sync folder", CHECKPOINTS, self.disk.sync_dir(CHECKPOINTS))?;
        }
        Ok(())
    }

    fn newest_checkpoint(&self) -> Result<Option<(usize, u64, Vec<u8>)>, StoreError> {
        let mut newest = None;
        for (slot, path) in SLOTS.into_iter().enumerate() {
            let file = match self.disk.read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => at("read", path, read)?,
            };
            if let Ok((sequence, bytes)) = sealed_file::open(&self.seal, Purpose::Checkpoint, &file)
                && newest.as_ref().is_none_or(|(_, known, _)| sequence > *known)
            {
                newest = Some((slot, sequence, bytes));
            }
        }
        Ok(newest)
    }

    /// Moves the older refused digests out of the manifest, when it holds many. The file is durable
    /// before the manifest lets go of them. Without room for it they stay where they are: a full
    /// disk must not stop a rollback.
    pub(super) fn make_room_for_refusals(&mut self, next: &mut Manifest) {
        let Some((old, rest)) = next.without_old_refusals() else { return };
        let mut refused = self.refused_before.clone();
        refused.extend(old.iter().filter(|digest| !self.refused_before.contains(digest)));
        refused.drain(..refused.len().saturating_sub(REFUSED_MOST));
        match self.write_refused(&refused) {
            Ok(()) => (*next, self.refused_before) = (rest, refused),
            Err(error) => log::warn!("refused digests stay in the manifest for now: {error}"),
        }
    }

    fn write_refused(&self, refused: &[Digest]) -> Result<(), StoreError> {
        let sealed = sealed_file::seal(&self.seal, Purpose::Refused, 0, refused.as_flattened())?;
        replace(&*self.disk, CHECKPOINTS, REFUSED, &sealed)
    }

    /// The refused digests that are not in the manifest any more, oldest first.
    pub(super) fn read_refused(disk: &dyn Disk, seal: &Seal) -> Result<Vec<Digest>, StoreError> {
        let file = match disk.read(REFUSED) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => at("read", REFUSED, read)?,
        };
        let Ok((_, bytes)) = sealed_file::open(seal, Purpose::Refused, &file) else {
            // The adapters' own files are long gone: only the same bytes, staged again, would pass.
            log::error!("the list of refused adapters is damaged; older refusals are lost");
            return Ok(Vec::new());
        };
        Ok(bytes.as_chunks::<32>().0.to_vec())
    }

    /// Removes files that the manifest does not need, unless another process has changed it or is
    /// about to: what that one has just staged is not known here.
    pub(super) fn collect_garbage(&self) {
        if let Ok(_lock) = self.lock() {
            self.sweep();
        }
    }

    /// The same under the lock. What cannot be removed now goes at the next opening; the state does
    /// not depend on it.
    pub(super) fn sweep(&self) {
        let wanted = |name: &str| {
            let mut kept = self.manifest.generations.iter();
            kept.any(|known| known.state.has_file() && hex(&known.digest) == name)
        };
        self.remove_from(ADAPTERS, |name| !wanted(name));
        self.remove_from(CHECKPOINTS, |name| name == NEW);
    }

    fn remove_from(&self, folder: &str, unwanted: impl Fn(&str) -> bool) {
        let swept = self.disk.list(folder).and_then(|names| {
            let unwanted: Vec<_> = names.iter().filter(|name| unwanted(name)).collect();
            for name in &unwanted {
                self.disk.unlink(&format!("{folder}/{name}"))?;
            }
            if unwanted.is_empty() { Ok(()) } else { self.disk.sync_dir(folder) }
        });
        if let Err(error) = swept {
            log::warn!("files that are not needed any more stay for now: {error}");
        }
    }
}

/// Puts a whole new file in the place of `path`, durably: temporary file, sync, rename, sync of the
/// folder. After an error the old one is still there.
fn replace(disk: &dyn Disk, folder: &str, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let new = format!("{folder}/{NEW}");
    let mut created = disk.create(&new);
    if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        at("unlink", &new, disk.unlink(&new))?; // from a process that was killed
        created = disk.create(&new);
    }
    at("create", &new, created)?;
    let written = at("append", &new, disk.append(&new, bytes))
        .and_then(|()| at("sync", &new, disk.sync(&new)))
        .and_then(|()| at("rename", &new, disk.rename(&new, path)));
    if let Err(error) = written {
        // Best effort: gives the room back at once. The next opening would do it too.
        let _ = disk.unlink(&new);
        return Err(error.into());
    }
    at("sync folder", folder, disk.sync_dir(folder))?;
    Ok(())
}
