//! Training in lent time: it stops when asked, and what was cut goes on to the same bits.

use std::time::{Duration, Instant};

use sapwood::disk::sim::{Image, SimDisk};
use sapwood::learn::split::Shares;
use sapwood::learn::trigger;
use sapwood::signal::Signal;
use sapwood::{Budget, Config, Consent, Learner, Outcome, SliceReport};
use sapwood_models::Stop;

use super::{config, greedy, open};

const STEPS: u32 = 4;
const LONG: Duration = Duration::from_secs(600);

fn training_config(steps: u32) -> Config {
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
    learning.train.batch = 3;
    learning.checkpoint_steps = 1;
    config
}

/// A user who has corrected ten replies.
fn taught() -> Image {
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

fn resume(image: &Image, steps: u32) -> (SimDisk, Learner) {
    let disk = SimDisk::from_image(image.clone());
    let learner = open(&disk, training_config(steps));
    (disk, learner)
}

fn slice(learner: &Learner, steps: Option<u32>) -> SliceReport {
    learner.train_slice(Budget { time: LONG, steps }, &Stop::new()).unwrap()
}

/// Goes on to the end; the run's whole state before it is judged.
fn finish(learner: &Learner) -> SliceReport {
    let report = slice(learner, None);
    assert_eq!(report.step, STEPS, "{report}");
    report
}

#[test]
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

#[test]
fn a_stop_in_the_middle_of_an_update_changes_nothing() {
    let image = taught();
    let straight = resume(&image, STEPS).1;
    let losses = finish(&straight).losses;
    let (_, learner) = resume(&image, STEPS);
    let mut stops = 0;
    let whole = loop {
        // The first half of the updates is cut again and again, the rest runs through.
        let stop = Stop::new();
        let report = std::thread::scope(|scope| {
            let training = scope.spawn(|| learner.train_slice(Budget::time(LONG), &stop).unwrap());
            std::thread::sleep(Duration::from_millis(10 + 7 * stops));
            stop.request();
            training.join().unwrap()
        });
        stops += 1;
        if report.outcome != Outcome::Paused {
            break report;
        }
        if report.step >= STEPS / 2 || stops == 12 {
            break finish(&learner);
        }
    };
    assert_eq!(whole.losses, losses, "after {stops} stops");
    let adapter = |learner: &Learner| learner.adapters().last().map(|known| known.digest);
    assert!(adapter(&straight).is_some());
    assert_eq!(adapter(&learner), adapter(&straight), "after {stops} stops");
    println!("MEASURED: the same adapter after {stops} stops");
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
    assert!(spent < budget + Duration::from_millis(1500), "{spent:?}");
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
