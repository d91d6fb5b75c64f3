//! The keyring: which epoch is in force, and its root key as the provider wrapped it.
//!
//! ```text
//! files k/0 and k/1, written in turn
//!   0   magic "SWK1" | version u16 = 1 | reserved u16 = 0
//!   8   sequence u64 | epoch u64 | unwanted epoch u64, 0 for none
//!   32  length u32 of what follows at 40 | crc32c u32 of everything but itself
//!   40  the root key, as the provider wrapped it for this epoch
//! ```
//!
//! The checksum finds torn files; the wrapped key is authenticated by who wrapped it. A file is
//! replaced whole (temporary file, sync, rename, sync of the folder), the older of the two, and the
//! whole one with the higher sequence is the keyring.

use std::io;

use super::VaultError;
use crate::crc::crc32c;
use crate::disk::{Disk, at};

const FOLDER: &str = "k";
const NEW: &str = "k/new.tmp";
const NAMES: [&str; 2] = ["k/0", "k/1"];
const MAGIC: [u8; 4] = *b"SWK1";
const VERSION: u16 = 1;
const HEADER: usize = 40;
const SUM: usize = 36;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    pub sequence: u64,
    /// Whose key and files are the store. From 1 on.
    pub epoch: u64,
    /// An epoch whose key and files may exist and must go: one that was left, or never entered.
    pub unwanted: Option<u64>,
    /// The root key of `epoch`.
    pub wrapped: Vec<u8>,
}

impl Ring {
    /// The keyring, durable; `None` if there was never one.
    pub fn load(disk: &dyn Disk) -> Result<Option<Ring>, VaultError> {
        let Some((name, ring)) = Ring::find(disk)? else { return Ok(None) };
        // It may stand in the page cache alone, and the other epoch's key goes on its word.
        at("sync", name, disk.sync(name))?;
        at("sync folder", FOLDER, disk.sync_dir(FOLDER))?;
        Ok(Some(ring))
    }

    /// The keyring as it stands now, perhaps in the page cache alone: to look, not to act on.
    pub fn look(disk: &dyn Disk) -> Result<Option<Ring>, VaultError> {
        Ok(Ring::find(disk)?.map(|(_, ring)| ring))
    }

    fn find(disk: &dyn Disk) -> Result<Option<(&'static str, Ring)>, VaultError> {
        let mut newest: Option<(&'static str, Ring)> = None;
        let mut found = false;
        for name in NAMES {
            let bytes = match disk.read(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => at("read", name, read)?,
            };
            found = true;
            if let Some(ring) = Ring::decode(&bytes)?
                && newest.as_ref().is_none_or(|(_, best)| ring.sequence > best.sequence)
            {
                newest = Some((name, ring));
            }
        }
        if newest.is_none() && found {
            return Err(VaultError::Unreadable);
        }
        Ok(newest)
    }

    /// The keyring before this one, if that of the unwanted epoch is still there.
    pub fn before(&self, disk: &dyn Disk) -> Result<Option<Ring>, VaultError> {
        let Some(unwanted) = self.unwanted.filter(|unwanted| *unwanted < self.epoch) else {
            return Ok(None);
        };
        let name = NAMES[((self.sequence + 1) % 2) as usize];
        let bytes = match disk.read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => at("read", name, read)?,
        };
        Ok(Ring::decode(&bytes)?.filter(|ring| ring.epoch == unwanted))
    }

    /// Puts the next state in the place of the older file. Its sequence is set here.
    pub fn store(&mut self, disk: &dyn Disk) -> Result<(), VaultError> {
        self.sequence += 1;
        let name = NAMES[(self.sequence % 2) as usize];
        at("make folder", FOLDER, disk.make_dir(FOLDER))?;
        match disk.unlink(NEW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            unlinked => at("unlink", NEW, unlinked)?, // from a process that was killed
        }
        at("create", NEW, disk.create(NEW))?;
        at("append", NEW, disk.append(NEW, &self.encode()))?;
        at("sync", NEW, disk.sync(NEW))?;
        at("rename", NEW, disk.rename(NEW, name))?;
        at("sync folder", FOLDER, disk.sync_dir(FOLDER))?;
        Ok(())
    }

    /// Takes back what [`Ring::store`] could not make durable: readers find the one before.
    pub fn retract(&self, disk: &dyn Disk) -> Result<(), VaultError> {
        let name = NAMES[(self.sequence % 2) as usize];
        match disk.unlink(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            unlinked => at("unlink", name, unlinked)?,
        }
        Ok(at("sync folder", FOLDER, disk.sync_dir(FOLDER))?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.wrapped.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        for number in [self.sequence, self.epoch, self.unwanted.unwrap_or(0)] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let length = u32::try_from(self.wrapped.len()).expect("a wrapped key is short");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.wrapped);
        let sum = crc32c(&bytes);
        bytes[SUM..HEADER].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The keyring in a file's bytes; `None` if they are torn or none.
    fn decode(bytes: &[u8]) -> Result<Option<Ring>, VaultError> {
        let Some((header, wrapped)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
        let mut zeroed = bytes.to_vec();
        zeroed[SUM..HEADER].fill(0);
        let number = |from: usize| u64::from_le_bytes(*header[from..].first_chunk().expect("8"));
        let word = |from: usize| u32::from_le_bytes(*header[from..].first_chunk().expect("4"));
        let whole = header[..4] == MAGIC
            && word(SUM) == crc32c(&zeroed)
            && word(32) as usize == wrapped.len()
            && number(16) != 0;
        if !whole {
            return Ok(None);
        }
        let found = u16::from_le_bytes([header[4], header[5]]);
        if found > VERSION {
            return Err(VaultError::NewerVersion { found, known: VERSION });
        }
        Ok(Some(Ring {
            sequence: number(8),
            epoch: number(16),
            unwanted: Some(number(24)).filter(|epoch| *epoch != 0),
            wrapped: wrapped.to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_is_a_keyring() {
        let ring = Ring { sequence: 3, epoch: 9, unwanted: Some(8), wrapped: vec![5; 61] };
        let bytes = ring.encode();
        assert_eq!(Ring::decode(&bytes).unwrap(), Some(ring));
        for cut in 0..bytes.len() {
            assert!(Ring::decode(&bytes[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Ring::decode(&damaged).unwrap().is_none(), "byte {at}");
        }
    }
}
