//! How long forgetting takes with 32 MiB of journal: until it is decided and nothing uses it any
//! more, and until its key is destroyed. Prints both beside their bars; asserts no time.
//!
//! `cargo bench --manifest-path tests/beside/Cargo.toml --bench forget`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sapwood::disk::RealDisk;
use sapwood::journal::{Interaction, Journal, Limits, Record, StopReason, Turn};
use sapwood::seal::random;
use sapwood::vault::{HostKey, KeyError, KeyProvider, Vault, Zeroizing};
use sapwood::{Budget, Config, Consent, Erasure, Learner, Scope};
use sapwood_kernels::Device;
use sapwood_models::{EMBEDDED, Mapped, Model, Stop};

const DAY_MS: u64 = 24 * 3_600_000;
const NOW_MS: u64 = 1_700_000_000_000;

/// A key store in memory that can be locked.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<(BTreeMap<u64, [u8; 32]>, bool)>>);

impl Keys {
    fn lock(&self, locked: bool) {
        self.0.lock().expect("no panic").1 = locked;
    }

    fn key(&self, epoch: u64) -> Result<HostKey, KeyError> {
        let state = self.0.lock().expect("no panic");
        if state.1 {
            return Err(KeyError::Unavailable);
        }
        state.0.get(&epoch).map(|key| HostKey::new(*key)).ok_or(KeyError::Permanent)
    }
}

impl KeyProvider for Keys {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        let mut state = self.0.lock().expect("no panic");
        if state.1 {
            return Err(KeyError::Unavailable);
        }
        state.0.insert(epoch, random()?);
        Ok(())
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.key(epoch)?.wrap(epoch, secret)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.key(epoch)?.unwrap(epoch, wrapped)
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        self.0.lock().expect("no panic").0.remove(&epoch);
        Ok(())
    }
}

fn interaction(number: u64, time_ms: u64) -> Record {
    Record::Interaction(Interaction {
        reply_id: number.into(),
        order: time_ms,
        follows: None,
        session: (number / 4).into(),
        surface: "mail.reply".into(),
        time_ms,
        system: None,
        turns: vec![Turn { role: "user".into(), text: format!("request {number} ").repeat(12) }],
        reply: format!("reply {number} ").repeat(24),
        adapter_digest: None,
        seed: number,
        shots: 0,
        tokens: 60,
        stop: StopReason::End,
        mean_nll: Some(0.5),
    })
}

/// Fills the journal to just below its limit. Returns how many replies.
fn fill(config: &Config) -> u64 {
    let disk = Arc::new(RealDisk::open(&config.dir).expect("a folder"));
    let vault = Vault::open(disk, config.keys.clone()).expect("keys");
    let here = vault.here().clone();
    let folder = config.dir.join("e1/j");
    let mut journal = Journal::open(here.disk, here.seal, Limits::default()).expect("a journal");
    let size = || -> u64 {
        let files = std::fs::read_dir(&folder).expect("a folder");
        files.map(|file| file.expect("a file").metadata().expect("its length").len()).sum()
    };
    let mut number = 0;
    // Segments of different days, as a user of two months makes them.
    while size() < 32 * 1024 * 1024 - 300_000 {
        let time_ms = NOW_MS - 60 * DAY_MS + number * 90_000;
        for _ in 0..250 {
            journal.append(&interaction(number, time_ms), time_ms).expect("a record");
            number += 1;
        }
    }
    let time_ms = NOW_MS - DAY_MS;
    journal.close(time_ms).expect("a journal");
    number
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::default();
    let mut config = Config::new(folder.path().join("store"), [0; 32]);
    config.keys = Arc::new(keys.clone());
    config.clock = Arc::new(|| NOW_MS);
    let replies = fill(&config);
    let model = Model::from_mapped(Mapped::from_static(EMBEDDED), &Device::cpu(Some(1)));
    let start = Instant::now();
    let learner = Learner::open(model.expect("a model"), config).expect("a learner");
    println!("{replies} replies, opened in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    learner.set_consent(Consent::Granted).expect("a record");
    for round in 0..5_u64 {
        keys.lock(true);
        let start = Instant::now();
        let scope = Scope::Conversation((replies / 8 + 100 * round).into());
        let receipt = learner.forget(&scope).expect("it is forgotten");
        let logical_ms = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!((receipt.erasure, receipt.replies.len()), (Erasure::Pending, 4));
        keys.lock(false);
        let start = Instant::now();
        let nothing = Budget::time(std::time::Duration::ZERO);
        learner.train_slice(nothing, &Stop::new()).expect("a slice");
        let receipt = learner.forget(&Scope::Reply(u128::MAX)).expect("nothing to forget");
        let shredded_s = start.elapsed().as_secs_f64();
        assert_eq!(receipt.erasure, Erasure::Shredded);
        println!(
            "forgotten in {logical_ms:.1} ms (bar 200), shredded in {shredded_s:.2} s (bar 5)"
        );
    }
}
