//! What the clock says, and what it does not decide: the order of what happened is the journal's, and
//! nothing ages or becomes immortal by a wrong time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood::disk::sim::SimDisk;
use sapwood::signal::Signal;
use sapwood::{Config, Consent, Learner, Outcome};

use super::training::{slice, training_config};
use super::{greedy, open};

const NOW: u64 = 1_700_000_000_000;
const DAY: u64 = 24 * 3_600_000;
/// The year 2100.
const AHEAD: u64 = 4_102_444_800_000;

struct Clock(Arc<AtomicU64>);

impl Clock {
    fn new() -> Clock {
        Clock(Arc::new(AtomicU64::new(NOW)))
    }

    fn set(&self, time_ms: u64) {
        self.0.store(time_ms, Ordering::Relaxed);
    }

    fn config(&self) -> Config {
        let time = self.0.clone();
        let mut config = training_config(4);
        config.clock = Arc::new(move || time.load(Ordering::Relaxed));
        config
    }
}

fn correct(learner: &Learner, request: &str, text: &str) {
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let reply = chat.respond(request, greedy(2)).unwrap().finish().unwrap();
    learner.signal(reply.id, Signal::Edited { text: text.into() }).unwrap();
}

/// What the model is shown with a request.
fn shown(learner: &Learner, request: &str) -> usize {
    learner
        .chat("mail", None, Vec::new())
        .unwrap()
        .respond(request, greedy(1))
        .unwrap()
        .finish()
        .unwrap()
        .retrieved
}

fn requests(learner: &Learner) -> Vec<String> {
    learner.turns().iter().map(|turn| turn.request().to_owned()).collect()
}

#[test]
fn a_step_back_reorders_nothing() {
    for back in [1, DAY, NOW] {
        let (disk, clock) = (SimDisk::new(), Clock::new());
        let learner = open(&disk, clock.config());
        learner.set_consent(Consent::Granted).unwrap();
        correct(&learner, "Triage: one", "desk one");
        clock.set(NOW - back);
        correct(&learner, "Triage: two", "desk two");
        let reply = learner.turns()[0].reply_id;
        learner.signal(reply, Signal::Edited { text: "the newest".into() }).unwrap();
        let said = requests(&learner);
        assert_eq!(said, ["Triage: one", "Triage: two"], "{back} ms back");
        let signals = learner.turns()[0].signals.clone();
        drop(learner);
        let again = open(&disk, clock.config());
        assert_eq!(requests(&again), said, "{back} ms back, read again");
        assert_eq!(again.turns()[0].signals, signals);
        let Some(Signal::Edited { text }) = signals.last() else { panic!("{signals:?}") };
        assert_eq!(text, "the newest");
    }
}

#[test]
fn a_leap_ahead_ages_nothing_and_what_is_said_in_it_is_not_immortal() {
    let (disk, clock) = (SimDisk::new(), Clock::new());
    let learner = open(&disk, clock.config());
    learner.set_consent(Consent::Granted).unwrap();
    correct(&learner, "Triage: before", "desk");
    // The user sets the clock for a game, and uses the app meanwhile.
    clock.set(AHEAD);
    slice(&learner, Some(0));
    correct(&learner, "Triage: ahead", "desk");
    drop(learner);
    let learner = open(&disk, clock.config());
    assert_eq!(requests(&learner), ["Triage: before", "Triage: ahead"], "nothing has expired");
    assert!(shown(&learner, "Triage: before") > 0, "nor lost its weight");
    clock.set(NOW + DAY);
    correct(&learner, "Triage: after", "desk");
    drop(learner);
    let learner = open(&disk, clock.config());
    let said = ["Triage: before", "Triage: ahead", "Triage: before", "Triage: after"];
    assert_eq!(requests(&learner), said);
    drop(learner);
    // In due time all of it goes, also what was dated 2100.
    for day in (1..=100).step_by(3) {
        clock.set(NOW + day * DAY);
        drop(open(&disk, clock.config()));
    }
    assert!(requests(&open(&disk, clock.config())).is_empty());
}

#[test]
fn a_store_that_was_made_under_a_wrong_clock_keeps_what_came_after() {
    let (disk, clock) = (SimDisk::new(), Clock::new());
    clock.set(AHEAD);
    let learner = open(&disk, clock.config());
    learner.set_consent(Consent::Granted).unwrap();
    correct(&learner, "Triage: in 2100", "desk");
    drop(learner);
    for (time, request) in [(NOW, Some("Triage: today")), (AHEAD + 200 * DAY, None), (NOW, None)] {
        clock.set(time);
        let learner = open(&disk, clock.config());
        request.iter().for_each(|request| correct(&learner, request, "desk"));
        assert_eq!(learner.turns().len(), 2, "at {time}");
    }
}

#[test]
fn a_clock_that_lost_its_time_ages_nothing() {
    let (disk, clock) = (SimDisk::new(), Clock::new());
    let learner = open(&disk, clock.config());
    learner.set_consent(Consent::Granted).unwrap();
    correct(&learner, "Triage: before", "desk");
    clock.set(5);
    correct(&learner, "Triage: at the dawn of time", "desk");
    drop(learner);
    // It is right again before a day has passed.
    for time in [6, NOW + 3_600_000] {
        clock.set(time);
        let learner = open(&disk, clock.config());
        slice(&learner, Some(0));
        assert_eq!(learner.turns().len(), 2, "at {time}");
    }
}

#[test]
fn nobody_waits_for_a_time_that_a_wrong_clock_told() {
    let (disk, clock) = (SimDisk::new(), Clock::new());
    let mut config = clock.config();
    config.learning.trigger.cooldown_ms = DAY;
    let learner = open(&disk, config);
    learner.set_consent(Consent::Granted).unwrap();
    for n in 0..6 {
        correct(&learner, &format!("Triage: parcel {n}"), &format!("desk {n}"));
    }
    clock.set(AHEAD);
    let judged = slice(&learner, None);
    assert!(matches!(judged.outcome, Outcome::Rejected { .. }), "{judged}");
    clock.set(NOW + 3_600_000);
    assert_eq!(slice(&learner, Some(1)).outcome, Outcome::Paused, "it trains again");
}
