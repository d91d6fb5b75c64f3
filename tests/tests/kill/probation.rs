//! Probation through the public interface: what kills the app is soon gone, and whatever else ends
//! it is no reason to take an adapter back.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sapwood::disk::Disk;
use sapwood::disk::sim::{self, FaultKind, SimDisk};
use sapwood::store::{Change, Digest, State};
use sapwood::{Config, Consent, Learner};
use sapwood_kernels::rng::SplitMix64;

use super::app::{self, greedy};
use sapwood_tests::tiny;

fn config() -> Config {
    let mut config = app::config("unused".as_ref(), Arc::new(AtomicU64::new(1_700_000_000_000)));
    config.keys = Config::new("unused", [5; 32]).keys;
    // No session is ever long enough: the candidate stays one.
    config.learning.watch.healthy_tokens = u32::MAX;
    config
}

fn open(disk: &SimDisk) -> Learner {
    let disk = Arc::new(disk.clone()) as Arc<dyn Disk>;
    Learner::open_on(disk, tiny::model(tiny::WIDTH), config()).unwrap()
}

/// A device with a candidate.
fn begin() -> (SimDisk, Digest) {
    let disk = SimDisk::new();
    let learner = open(&disk);
    learner.set_consent(Consent::Granted).unwrap();
    let digest = candidate(&learner, 1);
    (disk, digest)
}

fn candidate(learner: &Learner, seed: u64) -> Digest {
    let digest = learner.stage(&tiny::adapter(learner.model(), seed, &[])).unwrap();
    learner.activate(&digest).unwrap();
    digest
}

/// The adapter that a reply of a few tokens is made with; `None` if the process died meanwhile.
fn reply(learner: &Learner) -> Option<Option<Digest>> {
    let chat = learner.chat("mail", None, vec![]).ok()?;
    let reply = chat.respond("Triage: it broke", greedy(3)).ok()?.finish().ok()?;
    Some(reply.adapter)
}

/// What is left when the process dies in the middle of a reply: not even its end is told.
fn killed_in_a_reply(disk: &SimDisk) -> (SimDisk, Option<Digest>) {
    let learner = open(disk);
    let chat = learner.chat("mail", None, vec![]).unwrap();
    let mut reply = chat.respond("Triage: it broke", greedy(3)).unwrap();
    reply.next().unwrap().unwrap();
    let left = SimDisk::from_image(disk.image());
    (left, reply.finish().unwrap().adapter)
}

fn state(learner: &Learner, digest: Digest) -> State {
    learner.adapters().iter().find(|known| known.digest == digest).unwrap().state
}

#[test]
fn an_adapter_that_kills_the_app_is_gone_after_three_starts() {
    let (mut disk, bad) = begin();
    for _ in 0..3 {
        let (left, used) = killed_in_a_reply(&disk);
        assert_eq!(used, Some(bad));
        disk = left;
    }
    let learner = open(&disk);
    assert_eq!(learner.adapter_in_force(), None, "it is out of force as soon as it is opened");
    assert_eq!(reply(&learner), Some(None));
    assert_eq!(state(&learner, bad), State::Bad);
    let next = candidate(&learner, 2);
    assert_eq!(reply(&learner), Some(Some(next)), "and not in the way of the next one");
}

#[test]
fn the_last_try_can_be_forgiven_too() {
    let (mut disk, digest) = begin();
    for _ in 0..3 {
        disk = killed_in_a_reply(&disk).0;
    }
    let learner = open(&disk);
    learner.exit_was_benign().unwrap();
    assert_eq!(reply(&learner), Some(Some(digest)));
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn a_thousand_benign_ends_take_nothing_back() {
    let (mut disk, digest) = begin();
    let mut random = SplitMix64(7);
    let (mut killed, mut replies) = (0, 0);
    for _ in 0..1000 {
        let learner = open(&disk);
        // The system tells of each kill that it was its own.
        learner.exit_was_benign().unwrap();
        assert_eq!(learner.adapter_in_force(), Some(digest));
        match random.below(4) {
            // Killed at any operation of replies and of going to the background.
            0 => {
                let kind = FaultKind::Death { halfway: random.below(2) == 0 };
                let at = disk.operations() + random.below(300) as u64;
                disk.fail(Some(sim::Fault { at, kind, forever: true }));
                for _ in 0..3 {
                    replies += usize::from(reply(&learner) == Some(Some(digest)));
                    let _ = learner.flush(); // it may be the last thing
                }
                killed += 1;
                disk = SimDisk::from_image(disk.image());
            }
            // Killed in the middle of a reply.
            1 => {
                drop(learner);
                disk = killed_in_a_reply(&disk).0;
                killed += 1;
            }
            // Killed while it is in the background.
            2 => {
                assert_eq!(reply(&learner), Some(Some(digest)));
                learner.flush().unwrap();
                disk = SimDisk::from_image(disk.image());
                killed += 1;
            }
            // Closed by the app, after a short session.
            _ => assert_eq!(reply(&learner), Some(Some(digest))),
        }
    }
    let learner = open(&disk);
    assert_eq!(state(&learner, digest), State::Probation);
    let events = learner.events();
    assert!(!events.iter().any(|event| matches!(event.change, Change::RolledBack(_))));
    assert!(killed > 600 && replies > 20, "{killed} kills, {replies} replies before one");
}

#[test]
fn in_the_background_or_closed_it_needs_no_excuse() {
    let (mut disk, digest) = begin();
    for round in 0..20 {
        let learner = open(&disk);
        assert_eq!(reply(&learner), Some(Some(digest)));
        if round % 2 == 0 {
            learner.flush().unwrap();
            disk = SimDisk::from_image(disk.image());
        }
    }
    // While a reply is under way, going to the background excuses nothing.
    for used in [Some(digest), Some(digest), Some(digest), None] {
        let learner = open(&disk);
        let chat = learner.chat("mail", None, vec![]).unwrap();
        let mut reply = chat.respond("Triage: it broke", greedy(3)).unwrap();
        reply.next().unwrap().unwrap();
        learner.flush().unwrap();
        disk = SimDisk::from_image(disk.image());
        assert_eq!(reply.finish().unwrap().adapter, used);
    }
}
