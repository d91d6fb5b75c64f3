//! What was forgotten is nowhere: not in a file, and not in the memory of a process that begins
//! after it, whatever the one that forgot it died of.
//!
//! The secret is drawn at random, so that no binary holds it, and the processes that are searched
//! are told nothing but where the store is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sapwood::disk::Disk;
use sapwood::disk::sim::{Image, Power, SimDisk};
use sapwood::signal::Signal;
use sapwood::vault::{HostKey, KeyError, KeyProvider};
use sapwood::{Budget, Config, Consent, Erasure, Learner, Scope};
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{Special, Stop};
use zeroize::Zeroizing;

use super::{Folder, HOME, Process, app};
use sapwood_tests::tiny;

const NOW_MS: u64 = 1_700_000_000_000;
/// The part of the app where the secret was told, and another one.
const PRIVATE: &str = "diary";
const PUBLIC: &str = "mail";
const REQUEST: &str = "what did I write?";

type Held = BTreeMap<u64, [u8; 32]>;

/// A key store that remembers what it held after each operation of the disk.
#[derive(Clone)]
struct Keys {
    disk: SimDisk,
    history: Arc<Mutex<Vec<(u64, Held)>>>,
}

impl Keys {
    fn on(disk: &SimDisk) -> Keys {
        let history = Arc::new(Mutex::new(vec![(0, Held::new())]));
        Keys { disk: disk.clone(), history }
    }

    fn at(&self, operations: u64) -> Held {
        let history = self.history.lock().unwrap();
        let known = history.iter().rev().find(|(then, _)| *then <= operations);
        known.map_or_else(Held::new, |(_, held)| held.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        let mut held = self.at(u64::MAX);
        change(&mut held);
        self.history.lock().unwrap().push((self.disk.operations(), held));
    }

    fn key(&self, epoch: u64) -> Result<HostKey, KeyError> {
        let held = self.at(u64::MAX);
        held.get(&epoch).map(|key| HostKey::new(*key)).ok_or(KeyError::Permanent)
    }
}

impl KeyProvider for Keys {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        let key = sapwood::seal::random()?;
        self.change(|held| {
            held.insert(epoch, key);
        });
        Ok(())
    }

    fn wrap(&self, epoch: u64, secret: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        self.key(epoch)?.wrap(epoch, secret)
    }

    fn unwrap(&self, epoch: u64, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.key(epoch)?.unwrap(epoch, wrapped)
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyError> {
        self.change(|held| {
            held.remove(&epoch);
        });
        Ok(())
    }
}

fn config(home: &Path) -> Config {
    let mut config = app::config(home, Arc::new(AtomicU64::new(NOW_MS)));
    config.retrieval.enabled = true;
    config.retrieval.min_similarity = 0.0;
    config
}

/// Tells the secret, and lets training begin with it.
fn tell(learner: &Learner, secret: &str) {
    learner.set_consent(Consent::Granted).unwrap();
    for (surface, words) in [(PUBLIC, "a parcel is late"), (PRIVATE, secret), (PUBLIC, "thanks")] {
        let chat = learner.chat(surface, None, vec![]).unwrap();
        let reply = chat.respond(words, app::greedy(3)).unwrap().finish().unwrap();
        learner.signal(reply.id, Signal::Edited { text: words.into() }).unwrap();
    }
    slice(learner);
    learner.flush().unwrap();
}

fn slice(learner: &Learner) {
    let budget = Budget { time: Duration::from_secs(60), steps: Some(1) };
    learner.train_slice(budget, &Stop::new()).unwrap();
}

/// Does what brings everything that is stored into memory.
fn look(learner: &Learner) {
    slice(learner); // before the reply: after one, training waits a while
    let chat = learner.chat(PRIVATE, None, vec![]).unwrap();
    chat.respond(REQUEST, app::greedy(3)).unwrap().finish().unwrap();
    assert!(!learner.turns().is_empty());
}

#[test]
#[ignore = "child: forgets what was told in private, and ends"]
fn child_forgets() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let learner = Learner::open(tiny::model(tiny::WIDTH), config(Path::new(&home))).unwrap();
    let receipt = learner.forget(&Scope::Surface(PRIVATE.into())).unwrap();
    assert_eq!(receipt.erasure, Erasure::Shredded);
    println!("@forgotten");
}

#[test]
#[ignore = "child: opens the store, and is searched"]
fn child_looks() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let learner = Learner::open(tiny::model(tiny::WIDTH), config(Path::new(&home))).unwrap();
    look(&learner);
    println!("@ready");
    std::thread::sleep(Duration::from_secs(600)); // until it is killed
}

/// Whether the process gets as far as saying so.
fn says(process: &mut Process, word: &str) -> bool {
    while let Some(line) = process.told() {
        // The runner of the tests has begun the line.
        if line.ends_with(word) {
            return true;
        }
    }
    false
}

/// Both halves of the secret, in every form in which the library or the system may keep a text.
struct Needles(Vec<(&'static str, Vec<u8>)>);

impl Needles {
    fn of(secret: &str) -> Needles {
        let model = tiny::model(tiny::WIDTH);
        let mut needles = Vec::new();
        for half in [&secret[..secret.len() / 2], &secret[secret.len() / 2..]] {
            let ids = model.tokenizer().encode(half, Special::default());
            // A token of its own may stand in front of a text.
            let ids = &ids[1..];
            needles.push(("UTF-8", half.as_bytes().to_vec()));
            needles.push(("UTF-16", half.encode_utf16().flat_map(u16::to_le_bytes).collect()));
            needles.push(("tokens", ids.iter().flat_map(|id| id.to_le_bytes()).collect()));
        }
        Needles(needles)
    }

    /// The forms that occur.
    fn found_in(&self, hay: &[u8]) -> Vec<&'static str> {
        let mut first = [false; 256];
        self.0.iter().for_each(|(_, needle)| first[needle[0] as usize] = true);
        let mut found = Vec::new();
        for at in (0..hay.len()).filter(|at| first[hay[*at] as usize]) {
            found.extend(self.0.iter().filter(|n| hay[at..].starts_with(&n.1)).map(|n| n.0));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The forms that occur in the memory of a process, as far as it was ever written.
    fn found_in_memory(&self, process: &Process) -> Vec<&'static str> {
        let folder = Path::new("/proc").join(process.child.id().to_string());
        let maps = fs::read_to_string(folder.join("maps")).unwrap();
        let memory = File::open(folder.join("mem")).unwrap();
        let (mut found, mut searched) = (Vec::new(), 0);
        for map in maps.lines() {
            let words: Vec<&str> = map.split_whitespace().collect();
            let of_a_file = words.get(5).is_some_and(|name| name.starts_with('/'));
            if !words[1].starts_with('r') || of_a_file && !words[1].starts_with("rw") {
                continue;
            }
            let (from, until) = words[0].split_once('-').unwrap();
            let from = u64::from_str_radix(from, 16).unwrap();
            let length = u64::from_str_radix(until, 16).unwrap() - from;
            let mut bytes = vec![0; length as usize];
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                searched += length;
                found.extend(self.found_in(&bytes));
            }
        }
        assert!(searched > 500_000, "only {searched} bytes of memory could be read");
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The files below a folder in which one occurs.
    fn found_in_files(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(self.found_in_files(&path));
            } else if !self.found_in(&fs::read(&path).unwrap()).is_empty() {
                found.push(path.display().to_string());
            }
        }
        found
    }
}

/// A device as a crash has left it, in a folder.
fn restore(home: &Path, image: &Image, held: &Held) {
    let _ = fs::remove_dir_all(home);
    fs::create_dir_all(home.join("keys")).unwrap();
    for (epoch, key) in held {
        fs::write(home.join("keys").join(epoch.to_string()), key).unwrap();
    }
    let disk = SimDisk::from_image(image.clone());
    let below = |epoch: &str| ["", "/a", "/c", "/j"].map(|dir| format!("{epoch}{dir}"));
    let dirs = [String::new(), "k".into()].into_iter().chain(below("e1")).chain(below("e2"));
    for dir in dirs {
        let Ok(names) = disk.list(&dir) else { continue };
        let folder = home.join("store").join(&dir);
        fs::create_dir_all(&folder).unwrap();
        for name in names {
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            fs::write(folder.join(name), disk.read(&path).unwrap()).unwrap();
        }
    }
}

fn forms_in_a_fresh_process(home: &Path, needles: &Needles) -> Vec<&'static str> {
    let mut fresh = Process::start("trace::child_looks", home, &[]);
    assert!(says(&mut fresh, "@ready"), "the store can't be opened");
    needles.found_in_memory(&fresh)
}

#[test]
fn killed_at_any_operation_it_is_in_no_file_and_in_no_memory() {
    let mut random = SplitMix64(u64::from_le_bytes(sapwood::seal::random().unwrap()));
    let secret: String = (0..28).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let needles = Needles::of(&secret);
    let folder = Folder::fast("trace");
    let home = folder.path().join("home");
    let disk = SimDisk::new();
    let keys = Keys::on(&disk);
    let config = Config { keys: Arc::new(keys.clone()), ..config(&home) };
    let learner =
        Learner::open_on(Arc::new(disk.clone()), tiny::model(tiny::WIDTH), config).unwrap();
    tell(&learner, &secret);
    disk.record();
    let receipt = learner.forget(&Scope::Surface(PRIVATE.into())).unwrap();
    assert_eq!(receipt.erasure, Erasure::Shredded);
    let after = (disk.image(), keys.at(u64::MAX));
    let moments = disk.take_moments();

    // What is there is found, in the forms that retrieval keeps, and in no file.
    let first = &moments[0];
    restore(&home, &first.image, &keys.at(first.operations));
    assert_eq!(forms_in_a_fresh_process(&home, &needles), ["UTF-8", "tokens"]);
    assert!(needles.found_in_files(&home).is_empty(), "it is sealed");
    fs::write(home.join("plain"), format!("x{secret}")).unwrap();
    assert_eq!(needles.found_in_files(&home).len(), 1, "the search finds it");

    let mut images = vec![after];
    for moment in &moments {
        let lost = moment.image.after_power(Power { samples: 1, seed: moment.operations });
        let held = keys.at(moment.operations);
        images.extend(
            lost.into_iter()
                .take(1)
                .chain([moment.image.clone()])
                .map(|image| (image, held.clone())),
        );
    }
    for (number, (image, held)) in images.iter().enumerate() {
        restore(&home, image, held);
        if number > 0 {
            let mut again = Process::start("trace::child_forgets", &home, &[]);
            assert!(says(&mut again, "@forgotten"), "image {number} can't be ended");
        }
        assert_eq!(forms_in_a_fresh_process(&home, &needles), [""; 0], "image {number}");
        assert!(needles.found_in_files(&home).is_empty(), "image {number}");
    }
    println!("MEASURED: {} images of a request to forget, nothing of it left", images.len());
}
