//! What is too old goes by itself; consent, adapters and what the user may ask for outlive it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood::disk::sim::SimDisk;
use sapwood::{Consent, Learner, Outcome, Retention, Scope};

use super::training::{slice, taught, training_config};
use super::{forget, open};

/// When `taught` was taught.
const THEN: u64 = 1_700_000_000_000;
const DAY: u64 = 24 * 3_600_000;

/// The learner `days` later, with a clock that the test can set. It was opened on the day before,
/// too: a clock that leaps is believed when that has lasted for a day.
fn later(disk: &SimDisk, days: u64) -> (Learner, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(THEN + days.saturating_sub(1) * DAY));
    let config = || {
        let mut config = training_config(100_000);
        let now = clock.clone();
        config.clock = Arc::new(move || now.load(Ordering::Relaxed));
        config
    };
    drop(open(disk, config()));
    clock.store(THEN + days * DAY, Ordering::Relaxed);
    (open(disk, config()), clock)
}

#[test]
fn after_ninety_days_turns_are_gone_and_what_was_learned_is_not() {
    let disk = SimDisk::from_image(taught());
    let (learner, _) = later(&disk, 89);
    assert_eq!(learner.turns().len(), 10);
    let lineage = [learner.turns()[0].reply_id];
    let adapter = forget::adapter(learner.model(), 1, None, &lineage);
    let adapter = learner.stage(&adapter).unwrap();
    learner.activate(&adapter).unwrap();

    let (learner, _) = later(&SimDisk::from_image(disk.image()), 91);
    assert!(learner.turns().is_empty());
    assert_eq!(learner.consent(), Consent::Granted, "consent was given once and for all");
    assert_eq!(learner.adapter_in_force(), Some(adapter));
    // What nobody can name any more goes with everything.
    let receipt = learner.forget(&Scope::Everything).unwrap();
    assert_eq!(
        (receipt.replies.len(), receipt.adapters, receipt.in_force),
        (0, vec![adapter], None)
    );
}

#[test]
fn a_process_that_lives_on_drops_it_at_its_next_slice() {
    let disk = SimDisk::from_image(taught());
    let (learner, clock) = later(&disk, 1);
    assert_eq!(slice(&learner, Some(1)).step, 1);
    clock.store(THEN + 91 * DAY, Ordering::Relaxed);
    slice(&learner, Some(1));
    assert_eq!(learner.turns().len(), 10, "the clock may have leapt");
    clock.store(THEN + 92 * DAY, Ordering::Relaxed);
    slice(&learner, Some(1));
    assert!(learner.turns().is_empty());
    let again = later(&SimDisk::from_image(disk.image()), 1).0;
    assert!(again.turns().is_empty(), "it was gone from memory only");
}

#[test]
fn a_run_outlives_its_turns_but_not_for_longer_than_they_were_kept() {
    let disk = SimDisk::from_image(taught());
    let (learner, clock) = later(&disk, 60);
    assert_eq!(slice(&learner, Some(1)).step, 1);
    clock.store(THEN + 91 * DAY, Ordering::Relaxed);
    assert_eq!(slice(&learner, Some(1)).step, 2, "the run begins anew");
    clock.store(THEN + 92 * DAY, Ordering::Relaxed);
    assert_eq!(slice(&learner, Some(1)).step, 3, "the run begins anew");
    assert!(learner.turns().is_empty());
    for day in [151, 152] {
        clock.store(THEN + day * DAY, Ordering::Relaxed);
        slice(&learner, Some(0));
    }
    assert!(matches!(slice(&learner, Some(1)).outcome, Outcome::Waiting(_)));
}

#[test]
fn how_long_is_up_to_the_app() {
    let turns = |retention, days: u64| {
        let mut config = training_config(4);
        config.retention = retention;
        let disk = SimDisk::from_image(taught());
        let at = |days: u64| {
            let mut config = config.clone();
            config.clock = Arc::new(move || THEN + days * DAY);
            open(&disk, config).turns().len()
        };
        // Used every day.
        for day in 0..days.min(400) {
            at(day);
        }
        at(days)
    };
    let week = Retention { max_age_ms: 7 * DAY, ..Retention::default() };
    assert_eq!([turns(week, 6), turns(week, 8)], [10, 0]);
    let little = Retention { max_bytes: 1000, ..Retention::default() };
    assert_eq!([turns(little, 0), turns(little, 1)], [10, 0]);
    let all = Retention { max_age_ms: u64::MAX, max_bytes: u64::MAX };
    assert_eq!(turns(all, 3_650), 10);
}
