//! The journal: every reply and every reaction, in order, encrypted, append-only.
//!
//! A folder of segments, each written by one process in one go and never opened for append again
//! (see the `segment` module for its bytes). A writer that meets an error never writes to that segment
//! again: it seals what is not yet durable once more, under the key of a new segment. Readers drop
//! records that they meet twice, by their random id. So no nonce can repeat, several processes can
//! append at once without a lock, and the reader needs no repair: it stops at the first bad byte.
//!
//! What a caller may count on:
//!
//! | after | survives the death of the process | survives a power loss |
//! |---|---|---|
//! | `append` returned `Ok` | yes | when 32 records, 64 KiB or 5 s came together (`tick`) |
//! | `append` of a tombstone or consent, `flush`, `close` | yes | yes |
//! | an error | what was acknowledged before stays; the failed record may or may not be there | |
//!
//! There is no clock in here: the host says what time it is.

mod copy;
#[cfg(test)]
mod copy_tests;
mod error;
mod follow;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod race_tests;
mod read;
mod record;
mod scan;
mod schema1;
mod segment;
#[cfg(test)]
mod tests;
mod upkeep;
#[cfg(test)]
mod upkeep_tests;

use std::sync::Arc;

pub use error::JournalError;
pub use record::{
    Consent, Feedback, Interaction, Record, StopReason, Tombstone, Turn, UsedByGeneration,
};
pub use scan::{Entry, Scan, SegmentReport};
pub use segment::End;

use crate::disk::{Disk, at};
use crate::seal::Seal;
use follow::Known;
use segment::{Encoder, Item};

const FOLDER: &str = "j";

/// Bounds of the journal.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A segment is closed when it has this many bytes.
    pub segment_bytes: usize,
    /// A segment gets no more records when it is this old: other processes may then merge it.
    pub segment_age_ms: u64,
    /// Unsynced records that force a sync.
    pub group_records: usize,
    /// Unsynced bytes that force a sync.
    pub group_bytes: usize,
    /// Age of the oldest unsynced record that forces a sync.
    pub group_age_ms: u64,
    /// All segments together; beyond, `expire` drops the oldest.
    pub total_bytes: u64,
    /// `expire` drops segments older than this.
    pub total_age_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        const HOUR_MS: u64 = 3_600_000;
        Limits {
            segment_bytes: 256 * 1024,
            segment_age_ms: 6 * HOUR_MS,
            group_records: 32,
            group_bytes: 64 * 1024,
            group_age_ms: 5_000,
            total_bytes: 32 * 1024 * 1024,
            total_age_ms: 90 * 24 * HOUR_MS,
        }
    }
}

/// The segment under way.
struct Open {
    path: String,
    encoder: Encoder,
    /// What the clock said.
    told_ms: u64,
    bytes: usize,
    /// Whether its name is durable.
    named: bool,
}

/// Appends to the journal and reads it back.
pub struct Journal {
    disk: Arc<dyn Disk>,
    seal: Arc<Seal>,
    limits: Limits,
    open: Option<Open>,
    /// Records that are not durable yet, in order. They are in the open segment's page cache, or,
    /// after a failure, only here.
    pending: Vec<Item>,
    pending_bytes: usize,
    pending_since_ms: u64,
    /// Segments are named by time, and later ones must sort behind earlier ones.
    newest_segment: u64,
    /// The highest place of a record, and of a segment: both are times, but for what would not sort
    /// behind what came before it.
    newest: u64,
    known: Known,
}

impl Journal {
    /// Opens the journal on `disk`. Writes no segment before the first record.
    pub fn open(
        disk: Arc<dyn Disk>,
        seal: Arc<Seal>,
        limits: Limits,
    ) -> Result<Journal, JournalError> {
        at("make folder", FOLDER, disk.make_dir(FOLDER))?;
        let names = at("list", FOLDER, disk.list(FOLDER))?;
        let newest = names.iter().filter_map(|name| segment::created_ms(name)).max();
        Ok(Journal {
            disk,
            seal,
            limits,
            open: None,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_since_ms: 0,
            newest_segment: newest.unwrap_or(0),
            newest: newest.unwrap_or(0),
            known: Known::default(),
        })
    }

    /// Adds a record. See the table above for what `Ok` means.
    pub fn append(&mut self, record: &Record, now_ms: u64) -> Result<(), JournalError> {
        let archive = record.archive();
        if archive.len() > segment::MAX_ARCHIVE {
            let (bytes, limit) = (archive.len(), segment::MAX_ARCHIVE);
            return Err(JournalError::RecordTooLarge { bytes, limit });
        }
        let item = Item::new(record.kind(), record.schema(), &archive)?;
        self.newest = self.newest.max(record.order());
        self.append_item(item, record.must_be_durable(), now_ms)
    }

    /// The place of what happens now: behind everything that was read or written here.
    pub fn next_place(&self, now_ms: u64) -> u64 {
        now_ms.max(self.newest.saturating_add(1))
    }

    /// The place of the newest that was read or written here.
    pub fn newest_place(&self) -> u64 {
        self.newest
    }

    fn append_item(&mut self, item: Item, durable: bool, now_ms: u64) -> Result<(), JournalError> {
        self.close_if_due(now_ms)?;
        if self.pending.is_empty() {
            self.pending_since_ms = now_ms;
        }
        let id = item.id();
        self.pending.push(item);
        let written = self
            .write_newest(now_ms)
            .and_then(|()| if durable { self.flush(now_ms) } else { self.tick(now_ms) });
        if written.is_err() && !self.pending.is_empty() {
            // Not acknowledged, so nobody waits for it; what came before stays in `pending`.
            self.pending.pop();
        }
        self.known.ids.insert(id);
        written
    }

    /// Syncs if a group is due. Call it now and then, and when the app goes to the background.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), JournalError> {
        let age_ms = now_ms.saturating_sub(self.pending_since_ms);
        let due = self.pending.len() >= self.limits.group_records
            || self.pending_bytes >= self.limits.group_bytes
            || (!self.pending.is_empty() && age_ms >= self.limits.group_age_ms);
        if due { self.flush(now_ms) } else { Ok(()) }
    }

    /// Makes every acknowledged record durable.
    pub fn flush(&mut self, now_ms: u64) -> Result<(), JournalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.open.is_some() && self.sync().is_ok() {
            return Ok(());
        }
        // A failed sync may have dropped the data, and syncing again would lie about it. What is
        // pending goes whole into a new segment.
        self.open = None;
        self.begin(now_ms)?;
        self.sync().inspect_err(|_| self.abandon())
    }

    /// Closes the segment under way with its footer and makes everything durable.
    pub fn close(&mut self, now_ms: u64) -> Result<(), JournalError> {
        if let Some(open) = &mut self.open {
            let mut bytes = Vec::new();
            open.encoder.footer(&mut bytes);
            let closed = self.disk.append(&open.path, &bytes).is_ok() && self.sync().is_ok();
            self.open = None;
            if closed {
                return Ok(());
            }
        }
        // Only what was not durable matters: a segment without footer is complete up to its end.
        if self.pending.is_empty() {
            return Ok(());
        }
        self.flush(now_ms)?;
        self.open = None;
        Ok(())
    }

    fn close_if_due(&mut self, now_ms: u64) -> Result<(), JournalError> {
        let Some(open) = &self.open else { return Ok(()) };
        let old = now_ms.saturating_sub(open.told_ms) >= self.limits.segment_age_ms;
        if open.bytes >= self.limits.segment_bytes || old {
            self.close(now_ms)?;
        }
        Ok(())
    }

    /// Writes the newest pending record, or all of them where a new segment is needed.
    fn write_newest(&mut self, now_ms: u64) -> Result<(), JournalError> {
        if let (Some(open), Some(item)) = (&mut self.open, self.pending.last()) {
            let mut bytes = Vec::with_capacity(item.text.len() + 64);
            open.encoder.frame(item, &mut bytes);
            if self.disk.append(&open.path, &bytes).is_ok() {
                open.bytes += bytes.len();
                self.pending_bytes += bytes.len();
                return Ok(());
            }
            self.open = None;
        }
        self.begin(now_ms)
    }

    /// Starts a segment with every pending record in it.
    fn begin(&mut self, now_ms: u64) -> Result<(), JournalError> {
        let created_ms = now_ms.max(self.newest_segment.saturating_add(1));
        let (name, mut encoder) = segment::begin(&self.seal, created_ms, now_ms)?;
        let path = format!("{FOLDER}/{name}");
        let mut bytes = encoder.header().to_vec();
        for item in &self.pending {
            encoder.frame(item, &mut bytes);
        }
        at("create", &path, self.disk.create(&path))?;
        self.newest_segment = created_ms;
        self.newest = self.newest.max(created_ms);
        let written = at("append", &path, self.disk.append(&path, &bytes));
        self.pending_bytes = bytes.len();
        self.open = Some(Open { path, encoder, told_ms: now_ms, bytes: bytes.len(), named: false });
        written.inspect_err(|_| self.abandon())?;
        Ok(())
    }

    /// Gives up a segment that could not be written: nothing acknowledged is only there.
    fn abandon(&mut self) {
        if let Some(open) = self.open.take()
            && let Err(error) = self.disk.unlink(&open.path)
        {
            log::warn!("left a useless journal segment behind: {error}");
        }
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        at("sync", &open.path, self.disk.sync(&open.path))?;
        if !open.named {
            at("sync folder", FOLDER, self.disk.sync_dir(FOLDER))?;
            open.named = true;
        }
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }
}
