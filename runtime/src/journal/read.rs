//! Reading the journal: segment after segment, each up to its first bad byte.

use std::collections::HashSet;
use std::io;

use super::record::Record;
use super::scan::{Entry, Scan, SegmentReport};
use super::{FOLDER, Journal, JournalError, segment};
use crate::disk::at;

impl Journal {
    /// Reads everything. Records of a process that is writing right now may be missing at the end.
    pub fn scan(&self) -> Result<Scan, JournalError> {
        let mut scan = Scan::default();
        let mut seen = HashSet::new();
        self.each_segment(&mut |name, contents| {
            let mut report = SegmentReport {
                told_ms: contents.told_ms(name),
                name: name.to_owned(),
                bytes: contents.bytes as u64,
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
            Ok(())
        })?;
        scan.settle();
        Ok(scan)
    }

    /// Visits every segment once, oldest first. Another process may join segments meanwhile, and
    /// what was listed is then in one that was not: so it lists again until nothing has gone. A
    /// record may be met twice then, by its id.
    pub(super) fn each_segment(
        &self,
        visit: &mut dyn FnMut(&str, segment::Contents) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut visited = HashSet::new();
        loop {
            let mut all_there = true;
            for name in self.segment_names()? {
                if visited.contains(&name) {
                    continue;
                }
                match self.segment(&name)? {
                    Some(contents) => visit(&name, contents)?,
                    None => all_there = false,
                }
                visited.insert(name);
            }
            if all_there {
                return Ok(());
            }
        }
    }

    /// What the clock said when the newest segment was begun; 0 if there is none.
    pub fn newest_told_ms(&self) -> Result<u64, JournalError> {
        let Some(newest) = self.segment_names()?.pop() else { return Ok(0) };
        Ok(self.segment(&newest)?.map_or(0, |contents| contents.told_ms(&newest)))
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
