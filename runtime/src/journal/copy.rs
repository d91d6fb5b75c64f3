//! Leaving an epoch: what stays of the journal is sealed anew, the rest is left behind.

use std::collections::HashSet;

use super::{FOLDER, Journal, JournalError, Record, segment, upkeep};
use crate::disk::at;
use crate::vault::Epoch;

impl Journal {
    /// The journal in the folder of another epoch, with the same limits. What was read here is no
    /// news there.
    pub(crate) fn reopen(&self, there: &Epoch) -> Result<Journal, JournalError> {
        let mut journal = Journal::open(there.disk.clone(), there.seal.clone(), self.limits)?;
        journal.known.ids.clone_from(&self.known.ids);
        journal.newest = journal.newest.max(self.newest);
        Ok(journal)
    }

    /// Writes into `to` every record that no tombstone takes back, durably and under its id, and no
    /// tombstone of replies that were `forgotten` here: there is nothing left for it to take back.
    /// One that another process wrote a moment ago comes along: nothing has followed from it yet.
    /// Returns the ids of all that were looked at. Everything acknowledged here has to be flushed
    /// before.
    pub(crate) fn copy_to(
        &self,
        to: &Epoch,
        forgotten: &HashSet<u128>,
    ) -> Result<HashSet<u128>, JournalError> {
        let mut seen = HashSet::new();
        self.copy(to, &mut seen, |record| match record {
            Record::Tombstone(tombstone) => {
                !tombstone.reply_ids.iter().all(|id| forgotten.contains(id))
            }
            _ => true,
        })?;
        Ok(seen)
    }

    /// Writes into `to` what came while [`Journal::copy_to`] was at work, from other processes:
    /// all but the records of these ids and those that a tombstone takes back.
    pub(crate) fn copy_late(
        &self,
        to: &Epoch,
        mut seen: HashSet<u128>,
    ) -> Result<(), JournalError> {
        self.copy(to, &mut seen, |_| true)
    }

    /// The ids of all records.
    pub(crate) fn ids(&self) -> Result<HashSet<u128>, JournalError> {
        Ok(self.scan()?.entries.into_iter().map(|entry| entry.id).collect())
    }

    fn copy(
        &self,
        to: &Epoch,
        seen: &mut HashSet<u128>,
        stays: impl Fn(&Record) -> bool,
    ) -> Result<(), JournalError> {
        at("make folder", FOLDER, to.disk.make_dir(FOLDER))?;
        let gone = self.tombstones()?;
        let names = at("list", FOLDER, to.disk.list(FOLDER))?;
        let mut newest_ms = names.iter().filter_map(|name| segment::created_ms(name)).max();
        self.each_segment(&mut |name, mut contents| {
            contents.items.retain(|item| {
                let record = Record::from_archive(item.kind, item.schema, item.archive());
                let fresh = seen.insert(item.id());
                // What this version can't read may be another's; it stays.
                fresh && record.is_none_or(|record| stays(&record) && !record.is_gone(&gone))
            });
            if contents.items.is_empty() {
                return Ok(());
            }
            // As old as it is, and behind those that were read before it.
            let created_ms = segment::created_ms(name).unwrap_or(0);
            let told_ms = contents.told_ms(name);
            let created_ms = created_ms.max(newest_ms.map_or(0, |newest| newest + 1));
            newest_ms = Some(created_ms);
            upkeep::write_whole(&*to.disk, &to.seal, (created_ms, told_ms), contents.items.iter())
        })?;
        at("sync folder", FOLDER, to.disk.sync_dir(FOLDER))?;
        Ok(())
    }

    fn tombstones(&self) -> Result<HashSet<u128>, JournalError> {
        let mut gone = HashSet::new();
        self.each_segment(&mut |_, contents| {
            for item in contents.items {
                let record = Record::from_archive(item.kind, item.schema, item.archive());
                if let Some(Record::Tombstone(tombstone)) = record {
                    gone.extend(tombstone.reply_ids);
                }
            }
            Ok(())
        })?;
        Ok(gone)
    }
}
