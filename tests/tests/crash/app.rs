//! A process that holds journal, store and keys as the library does, and a second one that only
//! captures.

use std::collections::BTreeSet;
use std::sync::Arc;

use sapwood::LearnerError;
use sapwood::disk::Disk;
use sapwood::journal::{Feedback, Journal, Limits, Record, Tombstone};
use sapwood::signal::Signal;
use sapwood::store::{Digest, Store};
use sapwood::{steps, vault};
use vault::{Vault, VaultError};

use super::keys::Keys;
use super::model::{Found, What};
use super::world::{Fault, Faulty};

/// Small, so that a few calls reach every limit.
pub const LIMITS: Limits = Limits {
    segment_bytes: 256 * 1024,
    segment_age_ms: 100,
    group_records: 6,
    group_bytes: 64 * 1024,
    group_age_ms: 50,
    total_bytes: 32 * 1024 * 1024,
    total_age_ms: 10_000,
};

/// The app.
pub struct App {
    pub vault: Vault,
    pub journal: Journal,
    pub store: Store,
    keys: Keys,
}

impl App {
    /// Opens what is there, in the order of the library.
    pub fn open(disk: &Arc<Faulty>, keys: &Keys) -> Result<App, LearnerError> {
        App::open_for(disk, keys, super::BASE)
    }

    /// With another base model.
    pub fn open_for(disk: &Arc<Faulty>, keys: &Keys, base: Digest) -> Result<App, LearnerError> {
        let (fault, disk) = (disk.fault, Arc::clone(disk) as Arc<dyn Disk>);
        let mut vault = Vault::open(disk, Arc::new(keys.clone()))?;
        let here = vault.here().clone();
        let mut store = Store::open(here.disk.clone(), here.seal.clone(), base)?;
        if let Fault::Planted(mutant) = fault {
            store.plant(mutant);
        }
        let journal = Journal::open(here.disk.clone(), here.seal.clone(), LIMITS)?;
        steps::settle_at_opening(&mut vault, &journal)?;
        Ok(App { vault, journal, store, keys: keys.clone() })
    }

    /// Adds a record. It counts if the epoch was the one in force after it was there.
    pub fn append(&mut self, record: &Record, now_ms: u64) -> Result<(), LearnerError> {
        let appended = self.journal.append(record, now_ms);
        self.vault.check()?;
        Ok(appended?)
    }

    /// Leaves the epoch. Nothing may be left to do for a tombstone.
    pub fn leave(&mut self, now_ms: u64) -> Result<(), LearnerError> {
        self.journal.flush(now_ms)?;
        let _lock = self.vault.lock()?;
        steps::settle(&mut self.vault, &self.journal)?;
        let forgotten = self.found()?.tombstones.into_iter().map(u128::from).collect();
        steps::leave(&mut self.vault, &mut self.journal, &mut self.store, &forgotten)
    }

    pub fn found(&self) -> Result<Found, LearnerError> {
        let scan = self.journal.scan()?;
        let mut found =
            Found { consent: scan.consent.map(|said| said.granted), ..Found::default() };
        for entry in scan.entries {
            let what = match entry.record {
                Record::Tombstone(tombstone) => {
                    found.tombstones.extend(tombstone.reply_ids.iter().map(|id| *id as u64));
                    continue;
                }
                Record::Feedback(_) | Record::Interaction(_) => What::Note,
                Record::Consent(consent) => What::Consent(consent.granted),
                Record::UsedByGeneration(ref used) => {
                    What::Used(used.digest, used.reply_ids.iter().map(|id| *id as u64).collect())
                }
            };
            let number = entry.record.time_ms();
            // What has to outlive its segment may be there twice for a moment.
            if what == What::Note || !found.records.iter().any(|known| known.0 == number) {
                found.records.push((number, what));
            }
        }
        Ok(found)
    }

    /// Once nothing is left over, one key is.
    pub fn check_keys(&self) -> Result<(), String> {
        let held: BTreeSet<u64> = self.keys.held().into_keys().collect();
        if self.vault.is_settled() && held != BTreeSet::from([self.vault.epoch()]) {
            return Err(format!("in epoch {} there are keys of {held:?}", self.vault.epoch()));
        }
        Ok(())
    }
}

/// A keyboard on the same store.
pub struct Elsewhere {
    vault: Vault,
    pub journal: Journal,
}

impl Elsewhere {
    pub fn open(disk: Arc<dyn Disk>, keys: &Keys) -> Result<Elsewhere, LearnerError> {
        let vault = Vault::open(disk, Arc::new(keys.clone()))?;
        let here = vault.here().clone();
        let journal = Journal::open(here.disk.clone(), here.seal.clone(), LIMITS)?;
        Ok(Elsewhere { vault, journal })
    }

    /// Counts if it returns `Ok`: the epoch was the one in force after the record was there.
    pub fn append(&mut self, number: u64, now_ms: u64) -> Result<(), LearnerError> {
        let appended = self.journal.append(&note(number), now_ms);
        self.vault.check()?;
        Ok(appended?)
    }

    pub fn flush(&mut self, now_ms: u64) -> Result<(), LearnerError> {
        let flushed = self.journal.flush(now_ms);
        self.vault.check()?;
        Ok(flushed?)
    }
}

/// Whether an error says that another process was faster.
pub fn is_elsewhere(error: &LearnerError) -> bool {
    matches!(
        error,
        LearnerError::Vault(VaultError::ChangedElsewhere | VaultError::Busy)
            | LearnerError::Store(
                sapwood::store::StoreError::ChangedElsewhere | sapwood::store::StoreError::Busy
            )
    )
}

/// Now and then a long one: more than a record once held.
pub fn note(number: u64) -> Record {
    let times = if number % 16 == 9 { 6_000 } else { 1 };
    let signal = Signal::Edited { text: format!("edit number {number}").repeat(times) };
    Record::Feedback(Feedback { reply_id: number.into(), order: number, time_ms: number, signal })
}

pub fn tombstone(numbers: &[u64], time_ms: u64) -> Record {
    let reply_ids = numbers.iter().map(|number| u128::from(*number)).collect();
    Record::Tombstone(Tombstone { reply_ids, time_ms })
}

/// The bytes of an adapter: longer than a sector, so that it can be torn.
pub fn adapter(number: u64) -> (Digest, Vec<u8>) {
    let bytes = format!("adapter {number} ").repeat(60).into_bytes();
    (sapwood::store::digest_of(&bytes), bytes)
}
