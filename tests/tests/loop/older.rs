//! Stores of earlier versions open, and nothing in them is lost.
//!
//! `tests/fixtures/store-1` was written by commit bb523d6 (manifest 1, segments 1, records of schema
//! 1): a conversation of three turns, the last one made again; six more corrected replies; an adapter
//! that was confirmed, two that the gate refused, one on probation; a run under way.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sapwood::disk::RealDisk;
use sapwood::signal::{Rating, Signal};
use sapwood::store::{Change, State, Store};
use sapwood::vault::{HostKey, Vault};
use sapwood::{Config, Consent, Learner, Outcome};
use sapwood_tests::tiny;

use super::training::{slice, training_config};
use super::{KEY, greedy};

const THEN: u64 = 1_700_000_018_000;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn open(folder: &Path) -> Learner {
    let mut config = Config { context_tokens: 512, ..training_config(3) };
    (config.dir, config.clock) = (folder.to_owned(), Arc::new(|| THEN));
    config.retrieval.enabled = false;
    (config.learning.trigger.alpha, config.learning.trigger.default_rate) = (0.9, 0.001);
    Learner::open(tiny::model(tiny::WIDTH), config).unwrap()
}

/// What learning rests on.
fn course(folder: &Path) -> (Vec<u64>, u32, u8) {
    let disk = Arc::new(RealDisk::open(folder).unwrap());
    let vault = Vault::open(disk, Arc::new(HostKey::new(KEY))).unwrap();
    let here = vault.here().clone();
    let model = tiny::model(tiny::WIDTH).fingerprint();
    let store = Store::open(here.disk.clone(), here.seal.clone(), model).unwrap();
    (store.course().promotions.clone(), store.course().attempt(), store.tries_left())
}

#[test]
fn a_store_of_format_1_opens_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("store");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store-1"), &folder);
    let learner = open(&folder);
    assert_eq!(learner.consent(), Consent::Granted);
    let turns = learner.turns();
    let asked: Vec<(usize, &str)> =
        turns.iter().map(|turn| (turn.prompt.len(), turn.request())).collect();
    let first = [(2, "turn 0"), (4, "turn 1"), (6, "turn 2"), (6, "turn 2"), (1, "parcel 0")];
    assert_eq!((asked.len(), &asked[..5]), (10, &first[..]));
    assert_eq!(turns[1].prompt.system(), Some("Be brief."));
    let signals: Vec<usize> = turns.iter().map(|turn| turn.signals.len()).collect();
    assert_eq!(signals, [1, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(turns[2].signals[1], Signal::Regenerated { new_reply: turns[3].reply_id });
    assert_eq!(turns[3].signals, [Signal::Rated { rating: Rating::Up }]);

    let states: Vec<State> = learner.adapters().iter().map(|known| known.state).collect();
    assert_eq!(states, [State::Active, State::Bad, State::Bad, State::Probation]);
    assert_eq!(learner.adapter_in_force(), Some(learner.adapters()[3].digest));
    assert_eq!(learner.events()[1].change, Change::Confirmed);

    // It is not old because nobody told the time before.
    let late = home.path().join("late");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store-1"), &late);
    let mut config = Config { context_tokens: 512, ..training_config(3) };
    (config.dir, config.clock) = (late, Arc::new(|| THEN + 1000 * 24 * 3_600_000));
    let years_later = Learner::open(tiny::model(tiny::WIDTH), config).unwrap();
    assert_eq!(years_later.turns().len(), 10);

    // It is used, and trained: the old run is dropped, because its format was another one.
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let reply = chat.respond("parcel 9", greedy(2)).unwrap().finish().unwrap();
    assert!(reply.kept && reply.adapter == learner.adapter_in_force());
    learner.signal(reply.id, Signal::Edited { text: "desk 9".into() }).unwrap();
    let begun = slice(&learner, Some(1));
    assert_eq!((begun.step, begun.outcome), (1, Outcome::Paused));
    drop((chat, learner));

    let (promotions, attempt, tries_left) = course(&folder);
    assert_eq!((promotions, attempt, tries_left), (vec![1_700_000_011_000], 3, 3));
    let again = open(&folder);
    assert_eq!(again.turns()[..10], turns);
    assert_eq!((again.turns().len(), slice(&again, Some(1)).step), (11, 2));
}
