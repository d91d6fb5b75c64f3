//! Following the journal: what other processes have appended since it was last looked at.

use std::collections::{HashMap, HashSet};
use std::io;

use super::{FOLDER, Journal, JournalError, Record, Scan, segment};
use crate::disk::at;

/// What was read or written here.
#[derive(Default)]
pub(super) struct Known {
    /// Bytes that each segment of others had.
    bytes: HashMap<String, u64>,
    /// Ids of records: merging moves them from segment to segment.
    pub ids: HashSet<u128>,
    /// What the clock said when a segment was begun.
    pub told_ms: HashMap<String, u64>,
}

impl Journal {
    /// What this scan has read is no news any more.
    pub fn follow(&mut self, scan: &Scan) {
        let segments = scan.segments.iter();
        self.known.bytes = segments.map(|seen| (seen.name.clone(), seen.bytes)).collect();
        let told = scan.segments.iter().map(|seen| (seen.name.clone(), seen.told_ms));
        self.known.told_ms = told.collect();
        self.known.ids.extend(scan.entries.iter().map(|entry| entry.id));
        let places = scan.entries.iter().map(|entry| entry.record.order());
        self.newest = places.fold(self.newest, u64::max);
    }

    /// Hands out every record that others have appended since the last look, or since
    /// [`Journal::follow`], in the order of the segments. Reads only segments that are new or have
    /// grown, one at a time.
    ///
    /// # Errors
    /// A failing disk. What was not handed out then comes with the next call.
    pub fn news(&mut self, take: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        let names = self.segment_names()?;
        for name in &names {
            let path = format!("{FOLDER}/{name}");
            if self.is_open(&path) {
                continue;
            }
            let bytes = match self.disk.len(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                measured => at("measure", &path, measured)?,
            };
            if self.known.bytes.get(name) == Some(&bytes) {
                continue;
            }
            let Some(contents) = self.segment(name)? else { continue };
            self.hand_out(&contents, take);
            self.known.told_ms.insert(name.clone(), contents.told_ms(name));
            self.known.bytes.insert(name.clone(), bytes);
        }
        let newest = names.last().and_then(|name| segment::created_ms(name)).unwrap_or(0);
        self.newest_segment = self.newest_segment.max(newest);
        self.newest = self.newest.max(newest);
        self.known.bytes.retain(|name, _| names.binary_search(name).is_ok());
        self.known.told_ms.retain(|name, _| names.binary_search(name).is_ok());
        Ok(())
    }

    fn hand_out(&mut self, contents: &segment::Contents, take: &mut dyn FnMut(Record)) {
        for item in &contents.items {
            if self.known.ids.insert(item.id())
                && let Some(record) = Record::from_archive(item.kind, item.schema, item.archive())
            {
                self.newest = self.newest.max(record.order());
                take(record);
            }
        }
    }
}
