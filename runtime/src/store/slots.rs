//! The manifest on disk: two slots, written in turn, each sealed whole.
//!
//! ```text
//! files M0 and M1, 16 KiB each, allocated once so that a full disk cannot stop a rollback
//!   0   magic "SWM1" | version u16 = 2 | algorithm u8 | reserved u8 = 0
//!   8   sequence u64 | length u32 of what follows at 24 | reserved u32 = 0
//!   24  salt 32 | ciphertext of the rkyv archive | tag 16       (AAD: bytes 0..24)
//!       whatever an earlier, longer manifest left
//! ```
//!
//! The valid slot with the higher sequence is the state. A commit writes the other slot and syncs
//! it: a crash leaves the old state or the new one. Creation writes M0 and its name durably before
//! M1 exists, and acknowledges nothing before M1 is durable too. So a missing M1 beside an invalid
//! M0 means that the store was never there, and two unreadable slots never do: those are refused,
//! not overwritten, because they may belong to another root key.
//!
//! Version 1 is read (`format1`), and the next commit writes version 2.

use std::io;
use std::sync::Arc;

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::course::Course;
use super::error::StoreError;
use super::format1;
use super::manifest::Manifest;
use crate::digest::Digest;
use crate::disk::{Disk, at};
use crate::seal::{Algorithm, SALT_BYTES, Seal, SealError, TAG_BYTES};
use crate::vault::Epoch;

const MAGIC: [u8; 4] = *b"SWM1";
const VERSION: u16 = 2;
const HEADER: usize = 24;
const SLOT_BYTES: usize = 16 * 1024;
const LABEL: &[u8] = b"sapwood manifest v1";
const NAMES: [&str; 2] = ["M0", "M1"];

enum Slot {
    Absent,
    Invalid,
    Valid(Manifest),
}

pub(super) struct Slots {
    disk: Arc<dyn Disk>,
    seal: Arc<Seal>,
    /// The slot that holds the state.
    current: usize,
    /// The highest sequence that may be on disk, from commits that failed too.
    highest: u64,
}

impl Slots {
    /// Finds the state, or makes an empty store for this base model. The state is durable when this
    /// returns, and nothing was written before it was (I9).
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        seal: Arc<Seal>,
        base: Digest,
    ) -> Result<(Slots, Manifest), StoreError> {
        let mut slots = Slots { disk, seal, current: 0, highest: 0 };
        let found = [slots.load(0)?, slots.load(1)?];
        let mut absent = [false; 2];
        let mut newest: Option<(usize, Manifest)> = None;
        for (index, slot) in found.into_iter().enumerate() {
            match slot {
                Slot::Absent => absent[index] = true,
                Slot::Invalid => {}
                Slot::Valid(manifest) => {
                    let best = newest.as_ref().map_or(0, |(_, best)| best.sequence);
                    if manifest.sequence > best {
                        newest = Some((index, manifest));
                    }
                }
            }
        }
        let mut manifest = match newest {
            Some((index, manifest)) => {
                slots.current = index;
                at("sync", NAMES[index], slots.disk.sync(NAMES[index]))?;
                at("sync folder", "", slots.disk.sync_dir(""))?;
                manifest
            }
            None if absent[1] => slots.create(absent[0], base)?,
            None => return Err(StoreError::Unreadable),
        };
        slots.highest = manifest.sequence;
        if absent[1 - slots.current] {
            slots.write(&mut manifest)?;
        }
        Ok((slots, manifest))
    }

    /// The newest state, durable; where there is a slot less than there was, everything has moved.
    pub(super) fn reload(&mut self) -> Result<Manifest, StoreError> {
        let mut newest: Option<(usize, Manifest)> = None;
        for index in 0..NAMES.len() {
            match self.load(index)? {
                Slot::Absent => return Err(StoreError::ChangedElsewhere),
                Slot::Valid(manifest)
                    if newest
                        .as_ref()
                        .is_none_or(|(_, best)| manifest.sequence > best.sequence) =>
                {
                    newest = Some((index, manifest));
                }
                Slot::Valid(_) | Slot::Invalid => {}
            }
        }
        let (index, manifest) = newest.ok_or(StoreError::Unreadable)?;
        at("sync", NAMES[index], self.disk.sync(NAMES[index]))?;
        self.current = index;
        self.highest = self.highest.max(manifest.sequence);
        Ok(manifest)
    }

    fn create(&mut self, absent: bool, base: Digest) -> Result<Manifest, StoreError> {
        if !absent {
            at("unlink", NAMES[0], self.disk.unlink(NAMES[0]))?;
        }
        let store_id = self.seal.store_id();
        let courses = vec![Course::of(base)];
        let mut manifest = Manifest { store_id, next_number: 1, courses, ..Manifest::default() };
        self.current = 1; // so that the first write goes to M0
        self.write(&mut manifest)?;
        Ok(manifest)
    }

    /// Both slots of another epoch's folder, with this state.
    pub(super) fn copy(to: &Epoch, manifest: &Manifest) -> Result<(), StoreError> {
        let (disk, seal) = (Arc::clone(&to.disk), Arc::clone(&to.seal));
        let mut slots = Slots { disk, seal, current: 1, highest: manifest.sequence };
        let store_id = to.seal.store_id();
        let mut manifest = Manifest { store_id, left: false, ..manifest.clone() };
        slots.write(&mut manifest)?;
        slots.write(&mut manifest)
    }

    fn load(&self, index: usize) -> Result<Slot, StoreError> {
        let bytes = match self.disk.read(NAMES[index]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Slot::Absent),
            read => at("read", NAMES[index], read)?,
        };
        Ok(self.decode(&bytes)?.map_or(Slot::Invalid, Slot::Valid))
    }

    /// The manifest in a slot's bytes; `None` if they are not an authentic one.
    fn decode(&self, bytes: &[u8]) -> Result<Option<Manifest>, StoreError> {
        let Some((header, body)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
        if header[..4] != MAGIC {
            return Ok(None);
        }
        let length = u32_at(header, 16) as usize;
        let (Ok(algorithm), Some(body)) = (Algorithm::from_id(header[6]), body.get(..length))
        else {
            return Ok(None);
        };
        let Ok(text) = self.seal.open(algorithm, LABEL, header, body) else { return Ok(None) };
        // Authentic from here on: ours, whatever its version.
        let found = u16::from_le_bytes([header[4], header[5]]);
        if found > VERSION {
            return Err(StoreError::NewerVersion { found, known: VERSION });
        }
        let mut aligned = AlignedVec::<16>::with_capacity(text.len());
        aligned.extend_from_slice(&text);
        let manifest = match found {
            1 => format1::read(&aligned),
            _ => rkyv::from_bytes::<Manifest, rancor::Error>(&aligned).ok(),
        };
        let sequence = u64_at(header, 8);
        Ok(manifest.filter(|found| found.sequence == sequence && found.can_be_ours()))
    }

    /// Writes the next state into the other slot. Its sequence is set here. On an error the
    /// current slot is untouched.
    pub(super) fn write(&mut self, manifest: &mut Manifest) -> Result<(), StoreError> {
        let other = 1 - self.current;
        let name = NAMES[other];
        manifest.sequence = self.highest + 1;
        let mut bytes = self.encode(manifest)?;
        let length = match self.disk.len(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                at("create", name, self.disk.create(name))?;
                None
            }
            length => Some(at("measure", name, length)?),
        };
        if length.is_none_or(|length| length < SLOT_BYTES as u64) {
            bytes.resize(SLOT_BYTES, 0);
        }
        self.highest = manifest.sequence;
        let written = at("write", name, self.disk.write_at(name, 0, &bytes))
            .and_then(|()| at("sync", name, self.disk.sync(name)));
        if let Err(error) = written {
            self.void(name);
            return Err(error.into());
        }
        if length.is_none() {
            at("sync folder", "", self.disk.sync_dir(""))?;
        }
        self.current = other;
        Ok(())
    }

    /// Makes a slot invalid whose commit failed, as well as a failing disk allows.
    ///
    /// After a failed sync the new state may stand in the page cache alone, counted as clean: the
    /// next process would find it, its sync would do nothing, and its next commit would overwrite
    /// the only durable slot. The caller was told that the commit failed, so it may as well go.
    fn void(&self, name: &str) {
        if let Err(error) = self.disk.write_at(name, 0, &[0; HEADER]) {
            log::warn!("a failed commit of the manifest may yet be found: {error}");
        }
    }

    fn encode(&self, manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
        let text = rkyv::to_bytes::<rancor::Error>(manifest).expect("plain data always archives");
        let (bytes, limit) = (HEADER + SALT_BYTES + text.len() + TAG_BYTES, SLOT_BYTES);
        if bytes > limit {
            return Err(StoreError::ManifestFull { bytes, limit });
        }
        Ok(seal_slot(&self.seal, manifest.sequence, &text)?)
    }

    /// Whether somebody else has committed since. A torn slot is nobody's commit, whatever
    /// sequence its first bytes show.
    pub(super) fn check_unchanged(&self) -> Result<(), StoreError> {
        for index in 0..NAMES.len() {
            match self.load(index)? {
                Slot::Valid(manifest) if manifest.sequence > self.highest => {
                    return Err(StoreError::ChangedElsewhere);
                }
                // The whole epoch was left.
                Slot::Absent => return Err(StoreError::ChangedElsewhere),
                Slot::Valid(_) | Slot::Invalid => {}
            }
        }
        Ok(())
    }
}

/// The bytes of a slot.
pub(super) fn seal_slot(seal: &Seal, sequence: u64, text: &[u8]) -> Result<Vec<u8>, SealError> {
    let length = SALT_BYTES + text.len() + TAG_BYTES;
    let mut slot = Vec::with_capacity(HEADER + length);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&VERSION.to_le_bytes());
    slot.extend_from_slice(&[seal.algorithm().id(), 0]);
    slot.extend_from_slice(&sequence.to_le_bytes());
    slot.extend_from_slice(&(length as u32).to_le_bytes());
    slot.extend_from_slice(&[0; 4]);
    let sealed = seal.seal(LABEL, &slot, text)?;
    slot.extend_from_slice(&sealed);
    Ok(slot)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
