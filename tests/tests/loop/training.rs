//! Training in lent time: it stops when asked, and what was cut goes on to the same bits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sapwood::disk::sim::{Image, SimDisk};
use sapwood::learn::split::Shares;
use sapwood::learn::trigger;
use sapwood::signal::Signal;
use sapwood::{Budget, Config, Consent, Learner, Outcome, SliceReport};
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::Stop;
use sapwood_tests::stop_after;

use super::{config, greedy, open};

pub(super) const STEPS: u32 = 4;
pub(super) const LONG: Duration = Duration::from_secs(600);

pub(super) fn training_config(steps: u32) -> Config {
    let mut config = config();
    let learning = &mut config.learning;
    learning.trigger = trigger::Rules {
        category_examples: 1.0,
        all_examples: 1.0,
        sessions: 1,
        cooldown_ms: 0,
        ..trigger::Rules::default()
    };
    learning.split = Shares { train: 100, holdout: 0 };
    learning.train.steps = steps;
    // Runs that are cut are as long as the test says.
    learning.passes = u32::MAX;
    learning.train.batch = 3;
    learning.checkpoint_steps = 1;
    config
}

/// A user who has corrected ten replies.
pub(super) fn taught() -> Image {
    let disk = SimDisk::new();
    let learner = open(&disk, training_config(STEPS));
    learner.set_consent(Consent::Granted).unwrap();
    learner.set_retrieval(false);
    for n in 0..10 {
        let chat = learner.chat("mail", None, Vec::new()).unwrap();
        let request = format!("Triage: parcel number {n} has not arrived");
        let reply = chat.respond(&request, greedy(4)).unwrap().finish().unwrap();
        let text = format!("logistics, parcel {n}");
        learner.signal(reply.id, Signal::Edited { text }).unwrap();
    }
    learner.flush().unwrap();
    disk.image()
}

pub(super) fn resume(image: &Image, steps: u32) -> (SimDisk, Learner) {
    let disk = SimDisk::from_image(image.clone());
    let learner = open(&disk, training_config(steps));
    (disk, learner)
}

pub(super) fn slice(learner: &Learner, steps: Option<u32>) -> SliceReport {
    learner.train_slice(Budget { time: LONG, steps }, &Stop::new()).unwrap()
}

/// Goes on to the end; the run's whole state before it is judged.
fn finish(learner: &Learner) -> SliceReport {
    let report = slice(learner, None);
    assert_eq!(report.step, STEPS, "{report}");
    report
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_run_cut_anywhere_ends_with_the_same_bits() {
    let image = taught();
    let straight = finish(&resume(&image, STEPS).1);
    assert_ne!(straight.outcome, Outcome::Paused);
    let again = finish(&resume(&image, STEPS).1);
    assert_eq!((&again.losses, again.state), (&straight.losses, straight.state));

    // Paused between updates, in the same process.
    for cut in [1, STEPS - 2] {
        let (_, learner) = resume(&image, STEPS);
        let paused = slice(&learner, Some(cut));
        assert_eq!((paused.step, &paused.outcome), (cut, &Outcome::Paused));
        let whole = finish(&learner);
        assert_eq!((whole.state, &whole.losses), (straight.state, &straight.losses), "cut {cut}");
    }
    // One update per process.
    let mut disk = SimDisk::from_image(image.clone());
    for step in 1..STEPS {
        let learner = open(&disk, training_config(STEPS));
        assert_eq!(slice(&learner, Some(1)).step, step);
        disk = SimDisk::from_image(disk.image());
    }
    assert_eq!(finish(&open(&disk, training_config(STEPS))).state, straight.state);

    // Killed at whatever the disk held when it happened.
    let moments = {
        let (disk, learner) = resume(&image, STEPS);
        disk.record();
        slice(&learner, Some(STEPS - 1));
        disk.take_moments()
    };
    let every = moments.len().div_ceil(5);
    for moment in moments.iter().step_by(every) {
        let (_, learner) = resume(&moment.image, STEPS);
        let report = finish(&learner);
        assert_eq!(report.state, straight.state, "killed before {}", moment.under_way);
    }
    println!("MEASURED: {} instants to be killed at in {STEPS} updates", moments.len());
}

/// Goes on in slices that `stops` cut, to the end of the run; what the last one says, and the
/// tokens of all of them.
fn in_slices(learner: &Learner, stops: impl IntoIterator<Item = Stop>) -> (SliceReport, u64) {
    let (mut tokens, mut report) = (0, None);
    for stop in stops {
        let slice = learner.train_slice(Budget::time(LONG), &stop).unwrap();
        tokens += slice.tokens;
        let done = slice.outcome != Outcome::Paused;
        report = Some(slice);
        if done {
            break;
        }
    }
    let report = report.filter(|report| report.outcome != Outcome::Paused);
    let report = report.unwrap_or_else(|| {
        let rest = finish(learner);
        tokens += rest.tokens;
        rest
    });
    (report, tokens)
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_stop_at_any_look_changes_no_bit_and_no_count() {
    let image = taught();
    let straight = finish(&resume(&image, STEPS).1);
    assert!(straight.tokens > 0);
    let same = |(report, tokens): (SliceReport, u64), cuts: &str| {
        assert_eq!((report.state, tokens), (straight.state, straight.tokens), "{cuts}");
        assert_eq!(report.losses, straight.losses, "{cuts}");
        assert_eq!(report.outcome, straight.outcome, "{cuts}");
    };
    let looks = {
        let looks = Arc::new(AtomicU64::new(0));
        let counted = looks.clone();
        let stop = Stop::governed(move || counted.fetch_add(1, Ordering::Relaxed) == u64::MAX);
        same(in_slices(&resume(&image, STEPS).1, [stop]), "counted");
        looks.load(Ordering::Relaxed)
    };
    for cut in (0..12).map(|n| 1 + n * looks / 12 + n % 5) {
        let learner = resume(&image, STEPS).1;
        same(in_slices(&learner, [stop_after(cut)]), &format!("cut at look {cut} of {looks}"));
    }
    // Cut again and again, mostly before the update is whole.
    for seed in 0..2 {
        let mut random = SplitMix64(seed);
        let cuts: Vec<u64> = (0..12).map(|_| random.below(looks as usize / 3) as u64).collect();
        let learner = resume(&image, STEPS).1;
        same(in_slices(&learner, cuts.iter().map(|&n| stop_after(n))), &format!("{cuts:?}"));
    }
    println!("MEASURED: {looks} looks in {STEPS} updates, 14 runs cut, the same bits and tokens");
}

#[test]
fn a_slice_stops_within_half_a_second() {
    let (_, learner) = resume(&taught(), 100_000);
    // One update lies behind us: everything is compiled and warm, as in a long night.
    slice(&learner, Some(1));
    let mut waits = Vec::new();
    for ms in [50, 110, 170, 230, 290] {
        let stop = Stop::new();
        let wait = std::thread::scope(|scope| {
            let training = scope.spawn(|| learner.train_slice(Budget::time(LONG), &stop).unwrap());
            std::thread::sleep(Duration::from_millis(ms));
            assert!(!training.is_finished());
            let asked = Instant::now();
            stop.request();
            assert_eq!(training.join().unwrap().outcome, Outcome::Paused);
            asked.elapsed()
        });
        waits.push(wait);
    }
    waits.sort();
    println!("MEASURED: a slice stops after {:?} (median), {:?} (worst)", waits[2], waits[4]);
    // The bar, for a machine that does nothing else; the worst may meet another test's work.
    assert!(waits[2] < Duration::from_millis(500), "{waits:?}");
    assert!(waits[4] < Duration::from_secs(3), "{waits:?}");
}

#[test]
fn a_slice_keeps_to_its_time() {
    let (_, learner) = resume(&taught(), 100_000);
    slice(&learner, Some(1));
    let started = Instant::now();
    let budget = Duration::from_millis(400);
    let report = learner.train_slice(Budget::time(budget), &Stop::new()).unwrap();
    assert_eq!(report.outcome, Outcome::Paused);
    let spent = started.elapsed();
    println!("MEASURED: a slice of {budget:?} took {spent:?}");
    // The whole run would take hours; how exactly a slice keeps to its time is the machine's affair.
    assert!(report.step < 10_000, "{} steps", report.step);
}

#[test]
fn nothing_trains_without_a_reason_or_on_battery() {
    let idle = open(&SimDisk::new(), training_config(STEPS));
    assert!(matches!(slice(&idle, None).outcome, Outcome::Waiting(_)));
    let (_, learner) = resume(&taught(), STEPS);
    let state = sapwood::DeviceState { charging: false, ..Default::default() };
    learner.device_changed(state);
    assert!(matches!(slice(&learner, None).outcome, Outcome::Waiting(_)));
    learner.device_changed(sapwood::DeviceState::default());
    assert_eq!(slice(&learner, Some(1)).outcome, Outcome::Paused);
}
