//! What is forgotten loses its key: no byte that was ever written tells it any more, whatever the
//! process dies of meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sapwood::disk::Disk;
use sapwood::disk::sim::{Fault, FaultKind, Image, Power, SimDisk};
use sapwood::journal::{Journal, Limits};
use sapwood::signal::Signal;
use sapwood::store::StoreError;
use sapwood::vault::{HostKey, KeyError, KeyProvider, Vault, VaultError};
use sapwood::{Budget, Config, Consent, Erasure, Learner, LearnerError, Scope};
use sapwood_models::{AdapterFile, Stop};
use zeroize::Zeroizing;

use super::{adapter_bytes, config, greedy, model, open};

const SECRET: &str = "the word is heliotrope";

/// A key store that forgets for real, is locked at times, and remembers when it did what.
#[derive(Clone, Default)]
struct KeyStore {
    disk: SimDisk,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    keys: BTreeMap<u64, [u8; 32]>,
    locked: bool,
    /// Does all but destroy.
    clings: bool,
    /// The keys after each change, with the operations of the disk until then.
    history: Vec<(u64, BTreeMap<u64, [u8; 32]>)>,
}

impl KeyStore {
    fn on(disk: &SimDisk) -> KeyStore {
        KeyStore { disk: disk.clone(), ..KeyStore::default() }
    }

    fn with(keys: BTreeMap<u64, [u8; 32]>, disk: &SimDisk) -> KeyStore {
        let state = State { keys, ..State::default() };
        KeyStore { disk: disk.clone(), state: Arc::new(Mutex::new(state)) }
    }

    fn epochs(&self) -> Vec<u64> {
        self.state.lock().unwrap().keys.keys().copied().collect()
    }

    fn lock(&self, locked: bool) {
        self.state.lock().unwrap().locked = locked;
    }

    fn key(&self, epoch: u64) -> Result<HostKey, KeyError> {
        let state = self.state.lock().unwrap();
        if state.locked {
            return Err(KeyError::Unavailable);
        }
        state.keys.get(&epoch).map(|key| HostKey::new(*key)).ok_or(KeyError::Permanent)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, [u8; 32]>)) -> Result<(), KeyError> {
        let operations = self.disk.operations();
        let mut state = self.state.lock().unwrap();
        if state.locked {
            return Err(KeyError::Unavailable);
        }
        change(&mut state.keys);
        let keys = state.keys.clone();
        state.history.push((operations, keys));
        Ok(())
    }
}

impl KeyProvider for KeyStore {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        let key = sapwood::seal::random().unwrap();
        self.change(|keys| {
            keys.insert(epoch, key);
        })
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.key(epoch)?.wrap(epoch, secret)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.key(epoch)?.unwrap(epoch, wrapped)
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        if self.state.lock().unwrap().clings {
            return Err(KeyError::Denied);
        }
        self.change(|keys| {
            keys.remove(&epoch);
        })
    }
}

fn with(keys: &KeyStore) -> Config {
    Config { keys: Arc::new(keys.clone()), ..config() }
}

/// A store with three conversations, of which the second tells the secret in both of its turns.
fn told() -> (SimDisk, KeyStore, Learner) {
    let disk = SimDisk::new();
    let keys = KeyStore::on(&disk);
    let learner = open(&disk, with(&keys));
    learner.set_consent(Consent::Granted).unwrap();
    for requests in [&["Triage: it broke"][..], &[SECRET, "say it again"], &["Triage: thanks"]] {
        let chat = learner.chat("mail", None, vec![]).unwrap();
        for request in requests {
            let reply = chat.respond(request, greedy(4)).unwrap().finish().unwrap();
            learner.signal(reply.id, Signal::Edited { text: SECRET.into() }).unwrap();
        }
    }
    (disk, keys, learner)
}

fn requests(learner: &Learner) -> Vec<String> {
    learner.turns().iter().map(|turn| turn.request().to_owned()).collect()
}

fn secret_reply(learner: &Learner) -> Scope {
    let turns = learner.turns();
    Scope::Reply(turns.iter().find(|turn| turn.request() == SECRET).unwrap().reply_id)
}

#[test]
fn later_turns_go_with_what_they_quote_and_the_conversation_is_not_recorded_any_more() {
    let (_, _, learner) = told();
    let chat = learner.chat("mail", None, vec![]).unwrap();
    chat.respond("first", greedy(2)).unwrap().finish().unwrap();
    chat.respond("second", greedy(2)).unwrap().finish().unwrap();
    let first = learner.turns()[4].reply_id;
    let receipt = learner.forget(&Scope::Reply(first)).unwrap();
    assert_eq!(receipt.replies.len(), 2);
    chat.respond("third", greedy(2)).unwrap().finish().unwrap();
    assert_eq!(learner.turns().len(), 4, "the third turn quotes the first");
    let restored = learner.turns()[1].clone();
    let turns = [
        &restored.prompt.to_vec()[..],
        &[sapwood_models::Message::new(sapwood_models::Role::Assistant, &restored.reply)],
    ]
    .concat();
    let later = learner.chat("mail", None, turns).unwrap();
    later.respond("do you remember?", greedy(2)).unwrap().finish().unwrap();
    assert_eq!(learner.turns().len(), 5);
    learner.forget(&secret_reply(&learner)).unwrap();
    assert_eq!(requests(&learner), ["Triage: it broke", "Triage: thanks"]);
    let fresh = learner.chat("mail", None, vec![]).unwrap();
    fresh.respond("fourth", greedy(2)).unwrap().finish().unwrap();
    assert_eq!(learner.turns().len(), 3);
}

#[test]
fn a_replaced_reply_goes_with_the_one_that_took_its_place() {
    let (_, _, learner) = told();
    let chat = learner.chat("mail", None, vec![]).unwrap();
    chat.respond("once more", greedy(2)).unwrap().finish().unwrap();
    let second = chat.regenerate(greedy(3)).unwrap().finish().unwrap();
    assert_eq!(learner.forget(&Scope::Reply(second.id)).unwrap().replies.len(), 2);
    assert!(!requests(&learner).contains(&"once more".to_owned()));
}

/// Records of the old epoch's folder that open under the new one's key.
fn opens(image: &Image, vault: &Vault) -> usize {
    let old = SimDisk::from_image(image.clone());
    let bare = SimDisk::new();
    bare.make_dir("j").unwrap();
    for name in old.list("e1/j").unwrap_or_default() {
        let path = format!("j/{name}");
        bare.create(&path).unwrap();
        bare.append(&path, &old.read(&format!("e1/{path}")).unwrap()).unwrap();
    }
    let journal = Journal::open(Arc::new(bare), vault.here().seal.clone(), Limits::default());
    journal.unwrap().scan().unwrap().entries.len()
}

#[test]
fn no_key_that_is_left_opens_what_was_forgotten() {
    let (disk, keys, learner) = told();
    learner.flush().unwrap();
    disk.record();
    let receipt = learner.forget(&secret_reply(&learner)).unwrap();
    assert_eq!(receipt.erasure, Erasure::Shredded);
    assert_eq!(receipt.replies.len(), 2);
    assert_eq!(requests(&learner), ["Triage: it broke", "Triage: thanks"]);
    assert_eq!(keys.epochs(), [2]);
    let moments = disk.take_moments();
    for folder in ["e1", "e1/a", "e1/c", "e1/j"] {
        assert!(disk.list(folder).is_err(), "{folder} is gone");
    }
    drop(learner);
    let now = SimDisk::from_image(disk.image());
    let vault = Vault::open(Arc::new(now), Arc::new(keys.clone())).unwrap();
    let (mut lost, mut clean) = (0, 0);
    for moment in moments {
        assert_eq!(opens(&moment.image, &vault), 0, "before {}", moment.under_way);
        let copy = Arc::new(SimDisk::from_image(moment.image));
        match Learner::open_on(copy, model(), with(&keys)) {
            Err(LearnerError::Vault(VaultError::Key(KeyError::Permanent))) => lost += 1,
            Ok(learner) => {
                assert!(!requests(&learner).iter().any(|request| request == SECRET));
                clean += 1;
            }
            Err(other) => panic!("before {}: {other}", moment.under_way),
        }
    }
    assert!(lost > 10 && clean > 5, "{lost} copies from before, {clean} from after");
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn killed_at_any_instant_it_is_all_there_or_gone_and_the_next_opening_ends_it() {
    let (disk, keys, learner) = told();
    learner.flush().unwrap();
    disk.record();
    learner.forget(&secret_reply(&learner)).unwrap();
    let history = keys.state.lock().unwrap().history.clone();
    let (mut gone, mut there) = (0, 0);
    for moment in disk.take_moments() {
        // The key store changes between two operations of the disk: before or after the crash.
        let until = |last: u64| {
            let done = history.iter().rev().find(|(operations, _)| *operations <= last);
            done.map_or_else(BTreeMap::new, |(_, keys)| keys.clone())
        };
        let states = [until(moment.operations), until(moment.operations.saturating_sub(1))];
        let power = Power { samples: 2, seed: moment.operations };
        let images = moment.image.after_power(power).into_iter().chain([moment.image.clone()]);
        for (image, left) in
            images.flat_map(|image| states.clone().map(|keys| (image.clone(), keys)))
        {
            let disk = SimDisk::from_image(image);
            let keys = KeyStore::with(left, &disk);
            let learner = open(&disk, with(&keys));
            match requests(&learner).len() {
                4 => there += 1,
                2 => gone += 1,
                other => panic!("{other} turns, killed before {}", moment.under_way),
            }
            let receipt = learner.forget(&Scope::Conversation(1)).unwrap();
            assert_eq!(receipt.erasure, Erasure::Shredded, "{}", moment.under_way);
            assert_eq!(keys.epochs().len(), 1, "killed before {}", moment.under_way);
        }
    }
    assert!(gone > 30 && there > 5, "{gone} gone, {there} there");
}

#[test]
fn a_locked_key_store_delays_the_shredding_and_costs_nothing() {
    let (disk, keys, learner) = told();
    keys.lock(true);
    let receipt = learner.forget(&secret_reply(&learner)).unwrap();
    assert_eq!(receipt.erasure, Erasure::Pending);
    assert_eq!(requests(&learner).len(), 2, "it is forgotten all the same");
    drop(learner);
    let refused = Learner::open_on(Arc::new(disk.clone()), model(), with(&keys)).err();
    let unavailable = VaultError::Key(KeyError::Unavailable).to_string();
    assert_eq!(refused.unwrap().to_string(), unavailable);
    keys.lock(false);
    let learner = open(&disk, with(&keys));
    assert_eq!(requests(&learner).len(), 2);
    learner.train_slice(Budget::time(std::time::Duration::ZERO), &Stop::new()).unwrap();
    assert_eq!(keys.epochs(), [2], "the next slice ended it");
}

#[test]
fn an_adapter_that_knows_what_was_forgotten_is_not_staged() {
    let (_, keys, learner) = told();
    let reply = learner.turns()[1].reply_id;
    keys.lock(true); // so that the tombstones stay
    learner.forget(&secret_reply(&learner)).unwrap();
    let mut file = AdapterFile::parse(&adapter_bytes(learner.model(), 1), learner.model().arch());
    let file = file.as_mut().unwrap();
    file.provenance.as_mut().unwrap().lineage.push(format!("{reply:032x}"));
    let staged = learner.stage(&file.to_bytes());
    assert!(matches!(staged, Err(LearnerError::Store(StoreError::Refused { .. }))), "{staged:?}");
    assert!(learner.stage(&adapter_bytes(learner.model(), 2)).is_ok());
}

#[test]
fn a_key_that_is_not_destroyed_yet_is_not_called_shredded() {
    let (_, keys, learner) = told();
    keys.state.lock().unwrap().clings = true;
    assert_eq!(learner.forget(&secret_reply(&learner)).unwrap().erasure, Erasure::Pending);
    assert_eq!(keys.epochs(), [1, 2]);
    assert_eq!(learner.forget(&Scope::Reply(0)).unwrap().erasure, Erasure::Pending);
    keys.state.lock().unwrap().clings = false;
    learner.train_slice(Budget::time(std::time::Duration::ZERO), &Stop::new()).unwrap();
    assert_eq!(keys.epochs(), [2]);
    assert_eq!(requests(&learner), ["Triage: it broke", "Triage: thanks"]);
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_full_disk_delays_it_and_gets_its_room_back() {
    for step in 0..200 {
        let (disk, keys, learner) = told();
        learner.flush().unwrap();
        let (at, kind) = (disk.operations() + step, FaultKind::StorageFull);
        disk.fail(Some(Fault { at, kind, forever: true }));
        let Ok(receipt) = learner.forget(&secret_reply(&learner)) else { continue };
        disk.fail(None);
        assert_eq!(requests(&learner).len(), 2, "full from operation {step} on");
        if receipt.erasure == Erasure::Shredded {
            assert!(step > 20, "it never met the full disk");
            return;
        }
        let again = learner.forget(&Scope::Reply(0)).unwrap();
        assert_eq!(again.erasure, Erasure::Shredded, "full from operation {step} on");
        assert_eq!(keys.epochs().len(), 1);
        drop(learner);
        assert_eq!(requests(&open(&disk, with(&keys))).len(), 2);
    }
    panic!("no operation of 200 was the last");
}

#[test]
fn under_one_key_of_the_host_it_is_deleted_and_says_so() {
    let disk = SimDisk::new();
    let learner = open(&disk, config());
    learner.set_consent(Consent::Granted).unwrap();
    let chat = learner.chat("mail", None, vec![]).unwrap();
    chat.respond(SECRET, greedy(2)).unwrap().finish().unwrap();
    let receipt = learner.forget(&Scope::Everything).unwrap();
    assert_eq!(receipt.erasure, Erasure::Deleted);
    assert!(disk.list("e1/j").is_err(), "the old folder is gone");
    drop(learner);
    assert_eq!(open(&disk, config()).consent(), Consent::Granted, "consent stays as it was");
}
