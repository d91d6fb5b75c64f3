//! A word on consent: the last one counts, over processes, segments and clocks; and a no means
//! that nothing is recorded, shown, trained or spoken with, until there is a yes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood::disk::sim::{Fault, FaultKind, SimDisk};
use sapwood::learn::trigger::Hold;
use sapwood::signal::Signal;
use sapwood::{Config, Consent, Learner, Outcome};

use super::training::{STEPS, resume, slice, taught, training_config};
use super::{adapter_bytes, config, greedy, open};

fn reply(learner: &Learner, request: &str) -> sapwood::Reply {
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    chat.respond(request, greedy(2)).unwrap().finish().unwrap()
}

#[test]
fn after_a_refusal_nothing_is_used_and_nothing_deleted() {
    let (_, learner) = resume(&taught(), STEPS);
    learner.set_retrieval(true);
    let digest = learner.stage(&adapter_bytes(learner.model(), 3)).unwrap();
    learner.activate(&digest).unwrap();
    let request = "Triage: parcel number 3 has not arrived";
    let before = reply(&learner, request);
    assert!(before.retrieved > 0 && before.adapter == Some(digest));
    let turns = learner.turns();
    // A run is under way.
    assert_eq!(slice(&learner, Some(1)).outcome, Outcome::Paused);

    learner.set_consent(Consent::Refused).unwrap();
    let refused = reply(&learner, request);
    assert_eq!((refused.retrieved, refused.adapter), (0, None));
    learner.signal(turns[0].reply_id, Signal::Accepted).unwrap();
    assert_eq!(learner.adapter_in_force(), None);
    let held = slice(&learner, None);
    let Outcome::Waiting(decision) = &held.outcome else { panic!("{held}") };
    assert_eq!((&decision.hold, held.step), (&vec![Hold::Refused], 0));
    assert_eq!(learner.turns(), turns, "nothing came, nothing went");

    learner.set_consent(Consent::Granted).unwrap();
    let after = reply(&learner, request);
    assert!(after.retrieved > 0 && after.adapter == Some(digest));
    assert_eq!(slice(&learner, Some(1)).step, 2, "the run goes on");
}

#[test]
fn what_was_said_without_consent_is_not_kept_with_what_is_said_later() {
    for first in [Consent::Unasked, Consent::Refused] {
        let learner = open(&SimDisk::new(), config());
        if first == Consent::Refused {
            learner.set_consent(first).unwrap();
        }
        let chat = learner.chat("mail", Some("Be brief."), Vec::new()).unwrap();
        let say = |text: &str| chat.respond(text, greedy(2)).unwrap().finish().unwrap();
        assert!(!say("before the yes").kept);
        // Asked before the yes, answered after it.
        let mut asked = chat.respond("nor this", greedy(3)).unwrap();
        asked.next().unwrap().unwrap();
        learner.set_consent(Consent::Granted).unwrap();
        assert!(!asked.finish().unwrap().kept);
        assert!(!chat.regenerate(greedy(2)).unwrap().finish().unwrap().kept);
        let kept = say("after the yes");
        assert!(kept.kept && say("and on").kept);
        learner.set_consent(Consent::Refused).unwrap();
        assert!(!say("after the no").kept);
        learner.set_consent(Consent::Granted).unwrap();
        assert!(say("yes again").kept);
        let turns = learner.turns();
        let said: Vec<Vec<String>> = turns
            .iter()
            .map(|turn| turn.asked().iter().map(|message| message.content.clone()).collect())
            .collect();
        assert_eq!(said, [["after the yes"], ["and on"], ["yes again"]]);
        assert!(
            turns.iter().all(|turn| turn.is_cut),
            "they teach nothing: the beginning is missing"
        );
        assert_eq!(turns[1].follows, Some(kept.id));
    }
}

#[test]
fn a_refusal_lasts_over_restarts_and_is_no_fault_of_a_candidates() {
    let disk = SimDisk::new();
    let learner = open(&disk, config());
    learner.set_consent(Consent::Granted).unwrap();
    let digest = learner.stage(&adapter_bytes(learner.model(), 3)).unwrap();
    learner.activate(&digest).unwrap();
    assert_eq!(reply(&learner, "Triage: it broke").adapter, Some(digest));
    learner.set_consent(Consent::Refused).unwrap();
    drop(learner);
    for _ in 0..5 {
        let again = open(&disk, config());
        assert_eq!((again.consent(), again.adapter_in_force()), (Consent::Refused, None));
        assert_eq!(reply(&again, "Triage: it broke").adapter, None);
    }
    let again = open(&disk, config());
    again.set_consent(Consent::Granted).unwrap();
    assert_eq!(again.adapter_in_force(), Some(digest));
    assert_eq!(reply(&again, "Triage: it broke").adapter, Some(digest));
}

/// A clock that the test sets.
fn clocked(time: &Arc<AtomicU64>) -> Config {
    let time = time.clone();
    let mut config = config();
    config.clock = Arc::new(move || time.load(Ordering::Relaxed));
    config
}

#[test]
fn the_last_word_counts_whatever_segment_it_is_in_and_whatever_the_clock_says() {
    const NOW: u64 = 1_700_000_000_000;
    for back in [0, 1, 3_600_000, NOW] {
        let (disk, time) = (SimDisk::new(), Arc::new(AtomicU64::new(NOW)));
        let first = open(&disk, clocked(&time));
        first.set_consent(Consent::Granted).unwrap();
        // Its segment begins later than the first one's, and so it is read later.
        let second = open(&disk, clocked(&time));
        second.set_consent(Consent::Granted).unwrap();
        time.fetch_sub(back, Ordering::Relaxed);
        first.set_consent(Consent::Refused).unwrap();
        assert_eq!(first.consent(), Consent::Refused);
        reply(&second, "Triage: hello");
        assert_eq!(second.consent(), Consent::Refused, "{back} ms back");
        drop((first, second));
        let third = open(&disk, clocked(&time));
        assert_eq!(third.consent(), Consent::Refused, "{back} ms back");
        third.set_consent(Consent::Granted).unwrap();
        drop(third);
        assert_eq!(open(&disk, clocked(&time)).consent(), Consent::Granted, "{back} ms back");
    }
}

#[test]
fn a_refusal_holds_where_it_can_not_be_written_and_is_written_as_soon_as_it_can() {
    for kind in [FaultKind::StorageFull, FaultKind::Io] {
        let disk = SimDisk::new();
        let learner = open(&disk, config());
        learner.set_consent(Consent::Granted).unwrap();
        let kept = reply(&learner, "Triage: it broke").id;
        disk.fail(Some(Fault { at: disk.operations(), kind, forever: true }));
        learner.set_consent(Consent::Refused).unwrap_err();
        assert_eq!(learner.consent(), Consent::Refused);
        // Whether it can be looked at or not: it is not recorded.
        let _ = learner.signal(kept, Signal::Accepted);
        assert_eq!(learner.adapter_in_force(), None);
        disk.fail(None);
        // Whatever is asked next writes it.
        let turns = learner.turns();
        assert!(turns.len() == 1 && turns[0].signals.is_empty());
        let next = open(&SimDisk::from_image(disk.image()), config());
        assert_eq!(next.consent(), Consent::Refused, "{kind:?}");
    }
}

#[test]
fn a_slice_under_way_ends_when_the_user_refuses() {
    let disk = SimDisk::from_image(taught());
    let mut config = training_config(10_000);
    config.learning.checkpoint_steps = 1;
    let learner = open(&disk, config);
    std::thread::scope(|scope| {
        let training = scope.spawn(|| slice(&learner, None));
        // The first checkpoint says that it is at work.
        while disk.operations() < 40 && !training.is_finished() {
            std::thread::yield_now();
        }
        learner.set_consent(Consent::Refused).unwrap();
        let ended = training.join().unwrap();
        assert!(ended.step < 10_000, "{ended}");
    });
}
