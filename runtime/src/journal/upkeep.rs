//! Upkeep in idle time: drop what is too old or too much, join small segments.

use std::collections::{HashMap, HashSet};
use std::io;

use super::segment::{self, Item};
use super::{FOLDER, Journal, JournalError, Record, Tombstone, UsedByGeneration};
use crate::disk::{Disk, at};
use crate::seal::Seal;
use crate::time::settled_times;

/// Small segments in a row that are worth joining.
const MERGE_FROM: usize = 8;
/// Segments that are joined lie within this share of the longest time that they are kept: a joined
/// one goes when its first part is due.
const MERGE_SHARE: u64 = 16;

impl Journal {
    /// Drops the oldest segments beyond the limits on age and size; whether there were any. What
    /// has to outlive them is written anew and durable first: the newest consent, what the adapters
    /// `in_use` learned from, and tombstones of records that stay. Ages are counted from `now_ms`;
    /// a segment that a wrong clock dated is as old as the one before it.
    pub fn expire(
        &mut self,
        in_use: &dyn Fn(&[u8; 32]) -> bool,
        now_ms: u64,
    ) -> Result<bool, JournalError> {
        let expired = self.expired(now_ms)?;
        if expired.is_empty() {
            return Ok(false);
        }
        // Under their ids: where the old ones are still there, or were copied into the next epoch
        // by another process, these are the same and not newer ones.
        for (id, record) in self.outliving(&expired, in_use)? {
            let item = Item::with_id(id, record.kind(), record.schema(), &record.archive());
            self.append_item(item, false, now_ms)?;
        }
        self.flush(now_ms)?;
        for name in &expired {
            self.remove(&format!("{FOLDER}/{name}"))?;
        }
        at("sync folder", FOLDER, self.disk.sync_dir(FOLDER))?;
        Ok(true)
    }

    /// Names of the segments that are too old or too much. Those that somebody may still write to
    /// are neither.
    fn expired(&self, now_ms: u64) -> Result<HashSet<String>, JournalError> {
        let mut segments = Vec::new();
        let mut total = 0;
        for name in self.segment_names()? {
            let path = format!("{FOLDER}/{name}");
            let bytes = match self.disk.len(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                measured => at("measure", &path, measured)?,
            };
            total += bytes;
            segments.push((name, path, bytes));
        }
        let mut told_ms = Vec::new();
        for (name, ..) in &segments {
            told_ms.push(self.told_ms(name)?);
        }
        // What another process has joined with others meanwhile is not there to be dropped.
        let mut there = told_ms.iter().map(Option::is_some);
        segments.retain(|_| there.next().unwrap_or(false));
        let begun_ms = settled_times(told_ms.into_iter().flatten(), now_ms);
        let mut expired = HashSet::new();
        for ((name, path, bytes), begun_ms) in segments.into_iter().zip(begun_ms) {
            let age_ms = now_ms.saturating_sub(begun_ms);
            let unwanted = age_ms > self.limits.total_age_ms || total > self.limits.total_bytes;
            let left = age_ms > 2 * self.limits.segment_age_ms && !self.is_open(&path);
            if unwanted && left {
                total -= bytes;
                expired.insert(name);
            }
        }
        Ok(expired)
    }

    /// What the clock said when a segment was begun; `None` if it is gone.
    fn told_ms(&self, name: &str) -> Result<Option<u64>, JournalError> {
        match self.known.told_ms.get(name) {
            Some(known) => Ok(Some(*known)),
            None => Ok(self.segment(name)?.map(|contents| contents.told_ms(name))),
        }
    }

    /// Records of `expired` segments that have to stay.
    fn outliving(
        &self,
        expired: &HashSet<String>,
        in_use: &dyn Fn(&[u8; 32]) -> bool,
    ) -> Result<Vec<(u128, Record)>, JournalError> {
        let (mut going, mut staying) = (HashMap::new(), HashSet::new());
        // The last word, and the id of its record if that goes.
        let (mut last, mut consent) = (None, None);
        self.each_segment(&mut |name, contents| {
            let goes = expired.contains(name);
            for item in contents.items {
                let id = item.id();
                match Record::from_archive(item.kind, item.schema, item.archive()) {
                    Some(Record::Interaction(made)) if !goes => {
                        staying.insert(made.reply_id);
                    }
                    Some(Record::Feedback(made)) if !goes => {
                        staying.insert(made.reply_id);
                    }
                    Some(Record::Consent(said)) if said.counts_after(last) => {
                        last = Some(said);
                        consent = goes.then_some((id, Record::Consent(said)));
                    }
                    Some(record) if goes => drop(going.insert(id, record)),
                    _ => {}
                }
            }
            Ok(())
        })?;
        let outlives = |(id, record)| match record {
            Record::Tombstone(Tombstone { mut reply_ids, time_ms }) => {
                reply_ids.retain(|id| staying.contains(id));
                (!reply_ids.is_empty())
                    .then_some((id, Record::Tombstone(Tombstone { reply_ids, time_ms })))
            }
            Record::UsedByGeneration(UsedByGeneration { digest, .. }) if !in_use(&digest) => None,
            Record::UsedByGeneration(used) => Some((id, Record::UsedByGeneration(used))),
            Record::Interaction(_) | Record::Feedback(_) | Record::Consent(_) => None,
        };
        let outliving = going.into_iter().filter_map(outlives);
        Ok(outliving.chain(consent).collect())
    }

    /// Joins the first run of eight or more small finished segments into one. Returns how many.
    ///
    /// The new segment is durable before the old ones go, and records keep their ids: a crash in
    /// between leaves records twice, and readers see them once.
    pub fn merge(&mut self, now_ms: u64) -> Result<usize, JournalError> {
        let mut run: Vec<(String, segment::Contents)> = Vec::new();
        let (mut bytes, mut first_ms) = (0, 0);
        let span_ms = self.limits.total_age_ms / MERGE_SHARE;
        for name in self.segment_names()? {
            let path = format!("{FOLDER}/{name}");
            let file = match self.disk.read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => at("read", &path, read)?,
            };
            let contents = segment::read(&self.seal, &file);
            let joins = self.is_finished(&name, contents.end, now_ms) && !self.is_open(&path);
            let created_ms = segment::created_ms(&name).unwrap_or(now_ms);
            let far = !run.is_empty() && created_ms - first_ms > span_ms;
            if !joins || far || bytes + file.len() > self.limits.segment_bytes {
                if run.len() >= MERGE_FROM {
                    break;
                }
                run.clear();
                bytes = 0;
            }
            if joins {
                if run.is_empty() {
                    first_ms = created_ms;
                }
                bytes += file.len();
                run.push((path, contents));
            }
        }
        if run.len() < MERGE_FROM {
            return Ok(0);
        }
        self.write_merged(&run)?;
        for (path, _) in &run {
            self.remove(path)?;
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
        let items = run.iter().flat_map(|(_, contents)| &contents.items);
        let first = first.unwrap_or(0);
        let told_ms = run.first().map_or(first, |(_, contents)| contents.told_ms(""));
        write_whole(&*self.disk, &self.seal, (first, told_ms), items)?;
        at("sync folder", FOLDER, self.disk.sync_dir(FOLDER))?;
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), JournalError> {
        match self.disk.unlink(path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            unlinked => Ok(at("unlink", path, unlinked)?),
        }
    }

    pub(super) fn is_open(&self, path: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.path == path)
    }
}

/// A finished segment with these records, its bytes durable and its name not yet. It has the place
/// and the time of the one that it stands for.
pub(super) fn write_whole<'a>(
    disk: &dyn Disk,
    seal: &Seal,
    (created_ms, told_ms): (u64, u64),
    items: impl Iterator<Item = &'a Item>,
) -> Result<(), JournalError> {
    let (name, mut encoder) = segment::begin(seal, created_ms, told_ms)?;
    let path = format!("{FOLDER}/{name}");
    let mut bytes = encoder.header().to_vec();
    for item in items {
        encoder.frame(item, &mut bytes);
    }
    encoder.footer(&mut bytes);
    at("create", &path, disk.create(&path))?;
    let written = at("append", &path, disk.append(&path, &bytes))
        .and_then(|()| at("sync", &path, disk.sync(&path)));
    if let Err(error) = written {
        let _ = disk.unlink(&path); // all it holds is still where it came from
        return Err(error.into());
    }
    Ok(())
}
