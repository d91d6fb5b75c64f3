//! What reading the journal finds.

use std::collections::HashSet;

use super::record::{Consent, Record};
use super::segment;

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

impl Scan {
    /// Applies tombstones and consent.
    pub(super) fn settle(&mut self) {
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
