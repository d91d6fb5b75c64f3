//! The device decides: it forbids a slice and ends one, replies go first, and kills cost time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sapwood::disk::Disk;
use sapwood::disk::sim::{Image, SimDisk};
use sapwood::learn::trigger::Hold;
use sapwood::policy::Obstacle;
use sapwood::{Budget, DeviceState, Learner, Outcome, SliceReport, Thermal};
use sapwood_models::Stop;

use super::training::{LONG, resume, slice, taught, training_config};
use super::{greedy, open};

/// A device at rest, which may train.
fn free() -> DeviceState {
    DeviceState::default()
}

/// What forbade a slice that never began.
fn forbidden(report: &SliceReport) -> Vec<Obstacle> {
    let Outcome::Waiting(decision) = &report.outcome else { panic!("{report}") };
    let obstacle = |hold: &Hold| match hold {
        Hold::Device(obstacle) => *obstacle,
        other => panic!("{other}"),
    };
    decision.hold.iter().map(obstacle).collect()
}

/// Does `change` in the middle of a long slice; the slice's report, and how long it took to end.
fn during_a_slice(learner: &Learner, change: impl FnOnce()) -> (SliceReport, Duration) {
    std::thread::scope(|scope| {
        let training =
            scope.spawn(|| learner.train_slice(Budget::time(LONG), &Stop::new()).unwrap());
        std::thread::sleep(Duration::from_millis(150));
        assert!(!training.is_finished());
        let changed = Instant::now();
        change();
        (training.join().unwrap(), changed.elapsed())
    })
}

#[test]
fn a_run_under_way_waits_for_the_device_too() {
    let (_, learner) = resume(&taught(), 100_000);
    assert_eq!(slice(&learner, Some(1)).outcome, Outcome::Paused);
    let hot = DeviceState { idle: false, thermal: Thermal::Critical, ..free() };
    learner.device_changed(hot);
    let obstacles = [Obstacle::InUse, Obstacle::TooHot { thermal: Thermal::Critical }];
    assert_eq!(forbidden(&slice(&learner, Some(1))), obstacles);
    let scarce = DeviceState { free_memory_bytes: Some(1 << 20), ..free() };
    learner.device_changed(scarce);
    let lacking = forbidden(&slice(&learner, Some(1)));
    let [Obstacle::TooLittleMemory { needed_bytes, free_bytes }] = lacking[..] else {
        panic!("{lacking:?}");
    };
    assert!(free_bytes == 1 << 19 && needed_bytes > free_bytes, "{lacking:?}");
    learner.device_changed(DeviceState { free_memory_bytes: Some(8 << 30), ..free() });
    assert_eq!(slice(&learner, Some(1)).step, 2);
}

#[test]
fn a_slice_ends_when_the_device_is_no_longer_free() {
    let (_, learner) = resume(&taught(), 100_000);
    slice(&learner, Some(1));
    let pulled = DeviceState { charging: false, ..free() };
    let call = DeviceState { idle: false, ..free() };
    let hot = DeviceState { thermal: Thermal::Serious, ..free() };
    let cases = [
        (pulled, Obstacle::NotCharging),
        (call, Obstacle::InUse),
        (hot, Obstacle::TooHot { thermal: Thermal::Serious }),
    ];
    for (state, obstacle) in cases {
        let (report, wait) = during_a_slice(&learner, || learner.device_changed(state));
        assert_eq!((&report.outcome, &report.obstacles[..]), (&Outcome::Paused, &[obstacle][..]));
        println!("MEASURED: a slice ends {wait:?} after: {obstacle}");
        assert!(wait < Duration::from_secs(3), "{wait:?}");
        assert_eq!(forbidden(&slice(&learner, Some(1))), [obstacle]);
        learner.device_changed(free());
    }
}

/// What a reply waits for at most is one program. A look comes before each of them.
#[test]
fn training_asks_before_every_program_and_none_is_long() {
    let (_, learner) = resume(&taught(), 100_000);
    // Everything is compiled and warm, as in a long night.
    slice(&learner, Some(1));
    let times = Arc::new(Mutex::new(Vec::new()));
    let looked = times.clone();
    let stop = Stop::governed(move || {
        looked.lock().unwrap().push(Instant::now());
        false
    });
    let updates = 4;
    let budget = Budget { time: LONG, steps: Some(updates) };
    assert_eq!(learner.train_slice(budget, &stop).unwrap().step, 1 + updates);
    let times = times.lock().unwrap();
    // Of each of three sequences: every layer and the head, forward and backward.
    let layers = learner.model().arch().layers;
    let programs = updates as usize * 3 * 2 * (layers + 1);
    assert!(times.len() >= programs, "{} looks before {programs} programs", times.len());
    let mut apart: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    apart.sort();
    let (median, longest) = (apart[apart.len() / 2], apart[apart.len() - 1]);
    println!("MEASURED: {programs} programs, {median:?} each (median), {longest:?} at most");
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn training_makes_way_for_replies() {
    let (_, learner) = resume(&taught(), 100_000);
    slice(&learner, Some(1));
    let first_token = || {
        let chat = learner.chat("mail", None, Vec::new()).unwrap();
        let asked = Instant::now();
        let mut generation = chat.respond("Triage: it does not start", greedy(24)).unwrap();
        generation.next().unwrap().unwrap();
        let waited = asked.elapsed();
        generation.finish().unwrap();
        waited
    };
    let alone: Vec<Duration> = (0..5).map(|_| first_token()).collect();
    let stop = Stop::new();
    let beside = std::thread::scope(|scope| {
        let training = scope.spawn(|| learner.train_slice(Budget::time(LONG), &stop).unwrap());
        let waits: Vec<Duration> = (0..5)
            .map(|_| {
                // Long enough for training to have gone on.
                std::thread::sleep(Duration::from_millis(400));
                first_token()
            })
            .collect();
        stop.request();
        assert_eq!(training.join().unwrap().outcome, Outcome::Paused);
        waits
    });
    // The shortest of each: other tests compute at the same time.
    let (alone, beside) = (alone.iter().min().unwrap(), beside.iter().min().unwrap());
    println!("MEASURED: first token after {alone:?} alone, {beside:?} while a slice trains");
    // On a machine that does nothing else they differ by less than 100 ms. What is sure on any: no
    // reply waits for an update, which takes as long as this.
    assert!(*beside < *alone + Duration::from_secs(2), "{beside:?} instead of {alone:?}");
}

/// A device whose clock the test sets.
fn at(image: &Image, clock: &Arc<AtomicU64>) -> (SimDisk, Learner) {
    let disk = SimDisk::from_image(image.clone());
    let mut config = training_config(100_000);
    let now = clock.clone();
    config.clock = Arc::new(move || now.load(Ordering::Relaxed));
    let learner = open(&disk, config);
    (disk, learner)
}

/// The disk as it is when a slice is killed before it has saved anything.
fn killed(disk: &SimDisk, learner: &Learner) -> Image {
    let mark = |disk: &SimDisk| disk.read("slice").ok().filter(|mark| mark.len() >= 44);
    let before = mark(disk);
    disk.record();
    slice(learner, Some(1));
    let moments = disk.take_moments();
    let marked = moments.into_iter().find(|moment| {
        let now = mark(&SimDisk::from_image(moment.image.clone()));
        now.is_some() && now != before
    });
    marked.expect("a slice leaves its mark before it works").image
}

#[test]
fn slices_that_are_killed_again_and_again_wait_longer_and_longer() {
    const MINUTE: u64 = 60_000;
    let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
    let (disk, learner) = at(&taught(), &clock);
    // A run is under way.
    slice(&learner, Some(1));
    let mut image = killed(&disk, &learner);
    // One kill is forgiven.
    let (disk, learner) = at(&image, &clock);
    image = killed(&disk, &learner);
    for (kills, minutes) in [(2, 15), (3, 60)] {
        let (disk, learner) = at(&image, &clock);
        let left_ms = minutes * MINUTE;
        assert_eq!(forbidden(&slice(&learner, Some(1))), [Obstacle::AfterKills { kills, left_ms }]);
        // Another process finds the same.
        let (_, again) = at(&disk.image(), &clock);
        assert_eq!(forbidden(&slice(&again, Some(1))), [Obstacle::AfterKills { kills, left_ms }]);
        clock.fetch_add(left_ms, Ordering::Relaxed);
        image = killed(&disk, &learner);
    }
    // A clock that was put back by a year: the wait begins again, and ends.
    clock.fetch_sub(365 * 24 * 60 * MINUTE, Ordering::Relaxed);
    let (disk, learner) = at(&image, &clock);
    let left_ms = 240 * MINUTE;
    assert_eq!(forbidden(&slice(&learner, Some(1))), [Obstacle::AfterKills { kills: 4, left_ms }]);
    clock.fetch_add(left_ms - 1, Ordering::Relaxed);
    let (_, again) = at(&disk.image(), &clock);
    let left = forbidden(&slice(&again, Some(1)));
    assert_eq!(left, [Obstacle::AfterKills { kills: 4, left_ms: 1 }]);
    clock.fetch_add(1, Ordering::Relaxed);
    // It ends well, and all is forgotten.
    let (disk, learner) = at(&disk.image(), &clock);
    assert_eq!(slice(&learner, Some(1)).outcome, Outcome::Paused);
    assert!(disk.read("slice").is_err(), "a slice that ends takes its mark back");
}
