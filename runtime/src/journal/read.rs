//! Reading the journal: segment after segment, each up to its first bad byte.

use std::collections::HashSet;
use std::io;

use super::{Consent, FOLDER, Journal, JournalError, Record, segment};
use crate::disk::at;

/// A record and the random id that it was stored under.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Random id, given by the journal.
    pub id: u128,
    /// The record.
    pub record: Record,
}

/// What reading one segment found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// File name inside the journal's folder.
    pub name: String,
    /// What the clock said when it was begun, in milliseconds since 1970.
    pub told_ms: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Bytes from the start that are authentic.
    pub valid_bytes: u64,
    /// Records in them, of any kind.
    pub records: usize,
    /// Records of a kind or schema that this version does not know. They stay where they are.
    pub unknown: usize,
    /// How it ends.
    pub end: segment::End,
}

/// The whole journal, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// Records in the order in which they were appended, each once, without those that a
    /// tombstone takes back.
    pub entries: Vec<Entry>,
    /// One report per segment, oldest first.
    pub segments: Vec<SegmentReport>,
    /// The last word on consent; `None` if there is none.
    pub consent: Option<Consent>,
}

impl Journal {
    /// Reads everything. Records of a process that is writing right now may be missing at the end.
    pub fn scan(&self) -> Result<Scan, JournalError> {
        let mut scan = Scan::default();
        let mut seen = HashSet::new();
        for name in self.segment_names()? {
            let path = format!("{FOLDER}/{name}");
            let bytes = match self.disk.read(&path) {
                // Another process has merged or dropped it; its records are in a listed segment
                // or were not wanted any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => at("read", &path, read)?,
            };
            let contents = segment::read(&self.seal, &bytes);
            let mut report = SegmentReport {
                told_ms: contents.told_ms(&name),
                name,
                bytes: bytes.len() as u64,
                valid_bytes: contents.valid_bytes as u64,
                records: contents.items.len(),
                unknown: 0,
                end: contents.end,
            };
            for item in &contents.items {
                match Record::from_archive(item.kind, item.schema, item.archive()) {
                    None => report.unknown += 1,
                    Some(record) if seen.insert(item.id()) => {
                        scan.entries.push(Entry { id: item.id(), record });
                    }
                    Some(_) => {}
                }
            }
            scan.segments.push(report);
        }
        scan.settle();
        Ok(scan)
    }

    /// A segment; `None` if another process has merged or dropped it since it was listed.
    pub(super) fn segment(&self, name: &str) -> Result<Option<segment::Contents>, JournalError> {
        let path = format!("{FOLDER}/{name}");
        match self.disk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(segment::read(&self.seal, &at("read", &path, read)?))),
        }
    }

    /// Names of all segments, oldest first.
    pub fn segment_names(&self) -> Result<Vec<String>, JournalError> {
        let mut names = at("list", FOLDER, self.disk.list(FOLDER))?;
        names.retain(|name| segment::created_ms(name).is_some());
        names.sort();
        Ok(names)
    }
}

impl Scan {
    /// Applies tombstones and consent.
    fn settle(&mut self) {
        let mut gone = HashSet::new();
        for entry in &self.entries {
            match &entry.record {
                Record::Tombstone(tombstone) => gone.extend(tombstone.reply_ids.iter().copied()),
                Record::Consent(said) if said.counts_after(self.consent) => {
                    self.consent = Some(*said);
                }
                _ => {}
            }
        }
        self.entries.retain(|entry| !entry.record.is_gone(&gone));
    }
}
