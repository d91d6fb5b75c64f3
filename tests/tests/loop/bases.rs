//! Another base model in the same store: a run, a verdict and an adapter on probation belong to their
//! base, and find it again as it was.

use std::sync::Arc;

use sapwood::disk::sim::SimDisk;
use sapwood::signal::Signal;
use sapwood::store::State;
use sapwood::{Config, Consent, Learner, Outcome};
use sapwood_tests::tiny;

use super::training::{slice, training_config};
use super::{config, greedy};

/// A learner on a model of its own for each width.
fn open(disk: &SimDisk, width: usize, config: Config) -> Learner {
    Learner::open_on(Arc::new(disk.clone()), tiny::model(width), config).unwrap()
}

/// Twelve corrected replies.
fn teach(learner: &Learner) {
    learner.set_consent(Consent::Granted).unwrap();
    for n in 0..12 {
        let chat = learner.chat("mail", None, Vec::new()).unwrap();
        let reply = chat.respond(&format!("parcel {n}"), greedy(2)).unwrap().finish().unwrap();
        learner.signal(reply.id, Signal::Edited { text: format!("desk {n}") }).unwrap();
    }
}

fn settings() -> Config {
    Config { context_tokens: 256, ..training_config(4) }
}

#[test]
fn a_run_waits_for_its_base_model() {
    let disk = SimDisk::new();
    let one = open(&disk, 32, settings());
    teach(&one);
    let begun = slice(&one, Some(1));
    assert_eq!((begun.step, begun.outcome), (1, Outcome::Paused));
    drop(one);

    // Another base model, which has nothing to train on: it is only used.
    let patient = || {
        let mut config = settings();
        config.learning.trigger.all_examples = 1e6;
        config.learning.trigger.category_examples = 1e6;
        config
    };
    for _ in 0..2 {
        let other = open(&disk, 64, patient());
        let waiting = slice(&other, None);
        assert!(matches!(waiting.outcome, Outcome::Waiting(_)), "{waiting}");
        let chat = other.chat("mail", None, Vec::new()).unwrap();
        assert!(chat.respond("parcel 9", greedy(2)).unwrap().finish().unwrap().kept);
    }
    let resumed = slice(&open(&disk, 32, settings()), Some(1));
    assert_eq!(resumed.step, 2, "the run goes on: {resumed}");

    // It makes room for a run on the other one, which begins at the beginning.
    let other = open(&disk, 64, settings());
    assert_eq!(slice(&other, Some(1)).step, 1);
    assert_eq!(slice(&other, Some(1)).step, 2);
    drop(other);
    assert_eq!(slice(&open(&disk, 32, settings()), Some(1)).step, 1);
}

#[test]
fn an_adapter_on_probation_is_on_probation_when_its_base_model_returns() {
    let disk = SimDisk::new();
    let one = open(&disk, 32, config());
    one.set_consent(Consent::Granted).unwrap();
    let digest = one.stage(&tiny::adapter(one.model(), 5, &[])).unwrap();
    one.activate(&digest).unwrap();
    drop(one);
    let other = open(&disk, 64, config());
    assert_eq!(other.adapter_in_force(), None);
    assert_eq!(other.adapters()[0].state, State::Dormant);
    let chat = other.chat("mail", None, Vec::new()).unwrap();
    assert_eq!(chat.respond("hello", greedy(2)).unwrap().finish().unwrap().adapter, None);
    drop((chat, other));
    let again = open(&disk, 32, config());
    assert_eq!(again.adapter_in_force(), Some(digest));
    assert_eq!(again.adapters()[0].state, State::Probation);
}
