//! Room kept back on the disk for what must succeed on a full one: a refusal, a deletion.

use std::io;
use std::sync::Arc;

use super::{Disk, DiskError, at};
use crate::seal::random;

const FILE: &str = "reserve";
/// A new epoch (its manifest, a segment, its keyring) in blocks of 4 KiB, twice.
const BYTES: usize = 128 * 1024;

/// A file that is there to be removed when nothing else can make room.
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
}

impl Reserve {
    pub fn new(disk: Arc<dyn Disk>) -> Reserve {
        Reserve { disk }
    }

    /// Keeps the room back, where there is any to keep. Not durable, because nothing rests on it:
    /// what a power loss takes of it is filled again by the next process.
    pub fn fill(&self) {
        if let Err(error) = self.ensure() {
            log::info!("no room to keep back for a refusal or a deletion: {error}");
        }
    }

    /// Keeps the room back, or says what stands in the way.
    pub fn ensure(&self) -> Result<(), DiskError> {
        match self.disk.len(FILE) {
            Ok(bytes) if bytes >= BYTES as u64 => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return at("measure", FILE, Err(error));
            }
            _ => {}
        }
        let written = at("keep back", FILE, self.write());
        if written.is_err() {
            self.release();
        }
        written
    }

    /// Noise, because some file systems compress.
    fn write(&self) -> io::Result<()> {
        self.release();
        self.disk.create(FILE)?;
        let noise: [u8; 1024] = random().map_err(io::Error::other)?;
        let turned = |n: usize| noise.map(|byte| byte.rotate_left(n as u32 % 8) ^ n as u8);
        let bytes: Vec<u8> = (0..BYTES / noise.len()).flat_map(turned).collect();
        self.disk.append(FILE, &bytes)
    }

    /// Gives the room back; whether there was any.
    pub fn release(&self) -> bool {
        self.disk.unlink(FILE).is_ok() && self.disk.sync_dir("").is_ok()
    }
}
