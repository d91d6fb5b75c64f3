//! Upkeep in idle time: drop what is too old or too much, join small segments.

use std::collections::BTreeSet;

use super::{FOLDER, Journal, JournalError, segment};
use crate::disk::at;

/// Small segments in a row that are worth joining.
const MERGE_FROM: usize = 8;

impl Journal {
    /// Drops the oldest segments beyond the limits on age and size and returns their names.
    /// Those in `pinned`, which training still reads, and the one under way stay.
    pub fn expire(
        &mut self,
        pinned: &BTreeSet<String>,
        now_ms: u64,
    ) -> Result<Vec<String>, JournalError> {
        let mut segments = Vec::new();
        let mut total = 0;
        for name in self.segment_names()? {
            let path = format!("{FOLDER}/{name}");
            let bytes = at("measure", &path, self.disk.len(&path))?;
            total += bytes;
            segments.push((name, path, bytes));
        }
        let mut dropped = Vec::new();
        for (name, path, bytes) in segments {
            let age_ms = now_ms.saturating_sub(segment::created_ms(&name).unwrap_or(now_ms));
            let unwanted = age_ms > self.limits.total_age_ms || total > self.limits.total_bytes;
            if unwanted && !pinned.contains(&name) && !self.is_open(&path) {
                at("unlink", &path, self.disk.unlink(&path))?;
                total -= bytes;
                dropped.push(name);
            }
        }
        if !dropped.is_empty() {
            at("sync folder", FOLDER, self.disk.sync_dir(FOLDER))?;
        }
        Ok(dropped)
    }

    /// Joins the first run of eight or more small finished segments into one. Returns how many.
    ///
    /// The new segment is durable before the old ones go, and records keep their ids: a crash in
    /// between leaves records twice, and readers see them once.
    pub fn merge(&mut self, pinned: &BTreeSet<String>, now_ms: u64) -> Result<usize, JournalError> {
        let mut run: Vec<(String, segment::Contents)> = Vec::new();
        let mut bytes = 0;
        for name in self.segment_names()? {
            let path = format!("{FOLDER}/{name}");
            let file = at("read", &path, self.disk.read(&path))?;
            let contents = segment::read(&self.seal, &file);
            let finished = self.is_finished(&name, contents.end, now_ms);
            let joins = finished && !pinned.contains(&name) && !self.is_open(&path);
            if !joins || bytes + file.len() > self.limits.segment_bytes {
                if run.len() >= MERGE_FROM {
                    break;
                }
                run.clear();
                bytes = 0;
            }
            if joins {
                bytes += file.len();
                run.push((path, contents));
            }
        }
        if run.len() < MERGE_FROM {
            return Ok(0);
        }
        self.write_merged(&run)?;
        for (path, _) in &run {
            at("unlink", path, self.disk.unlink(path))?;
        }
        at("sync folder", FOLDER, self.disk.sync_dir(FOLDER))?;
        Ok(run.len())
    }

    /// Whether nobody will append to it any more. A writer leaves its segment at a fixed age, so
    /// twice that age is over. What is torn or foreign stays as evidence until it expires.
    fn is_finished(&self, name: &str, end: segment::End, now_ms: u64) -> bool {
        let age_ms = now_ms.saturating_sub(segment::created_ms(name).unwrap_or(now_ms));
        match end {
            segment::End::Footer => true,
            segment::End::Open => age_ms > 2 * self.limits.segment_age_ms,
            segment::End::Torn | segment::End::Foreign => false,
        }
    }

    fn write_merged(&self, run: &[(String, segment::Contents)]) -> Result<(), JournalError> {
        // Named by the time of the first one it replaces: while both are there, it is read before
        // the later ones, and records that are met again do not count.
        let first = run.first().and_then(|(path, _)| segment::created_ms(path.rsplit('/').next()?));
        let (name, mut encoder) = segment::begin(&self.seal, first.unwrap_or(0))?;
        let path = format!("{FOLDER}/{name}");
        let mut bytes = encoder.header().to_vec();
        for item in run.iter().flat_map(|(_, contents)| &contents.items) {
            encoder.frame(item, &mut bytes);
        }
        encoder.footer(&mut bytes);
        at("create", &path, self.disk.create(&path))?;
        let written = at("append", &path, self.disk.append(&path, &bytes))
            .and_then(|()| at("sync", &path, self.disk.sync(&path)))
            .and_then(|()| at("sync folder", FOLDER, self.disk.sync_dir(FOLDER)));
        if let Err(error) = written {
            let _ = self.disk.unlink(&path); // all it holds is still in the old segments
            return Err(error.into());
        }
        Ok(())
    }

    fn is_open(&self, path: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.path == path)
    }
}
