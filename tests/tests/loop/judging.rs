//! Judging in lent time, and runs on a full disk: whatever cuts them, the verdict and the adapter
//! are those of a run that was left alone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sapwood::disk::sim::{Fault, FaultKind, Image, SimDisk};
use sapwood::journal::JournalError;
use sapwood::learn::gate::{Thresholds, Verdict};
use sapwood::learn::optimizer::Schedule;
use sapwood::learn::split::Shares;
use sapwood::signal::Signal;
use sapwood::store::{Digest, State, StoreError};
use sapwood::{Budget, Config, Consent, Learner, LearnerError, Outcome, SliceReport};
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::Stop;

use super::training::{LONG, training_config};
use super::{greedy, open};

const STEPS: u32 = 12;

/// Half of the conversations are kept for the gate, which is easily pleased: what is tested here
/// is how it is reached.
fn judging_config() -> Config {
    let mut config = training_config(STEPS);
    // The same conversations, split in the same way, in every test.
    config.reproducible = true;
    // Without retrieval production can't know the answers, so training is worth its while.
    config.retrieval.enabled = false;
    let learning = &mut config.learning;
    learning.split = Shares { train: 50, holdout: 50 };
    learning.thresholds = Thresholds {
        alpha: 0.999,
        margin: 0.9,
        not_worse_p: 0.0,
        mcnemar: 0.0,
        flips_max: 1.0,
        category_p: 1.1,
        benefit_p: 0.0,
        need_retrieval: false,
        ..Thresholds::default()
    };
    learning.train.optimizer.learning_rate = 5e-3;
    learning.checked_items = 6;
    learning.train.schedule = Schedule::Cosine { warmup_steps: 1 };
    config
}

/// A user who has corrected sixteen replies and liked eight.
fn taught() -> Image {
    let disk = SimDisk::new();
    let learner = open(&disk, judging_config());
    learner.set_consent(Consent::Granted).unwrap();
    for n in 0..24 {
        let chat = learner.chat("mail", None, Vec::new()).unwrap();
        let request = format!("Triage: parcel number {n} has not arrived");
        let reply = chat.respond(&request, greedy(4)).unwrap().finish().unwrap();
        let signal = match n % 3 {
            0 => Signal::Accepted,
            _ => Signal::Edited { text: "logistics".into() },
        };
        learner.signal(reply.id, signal).unwrap();
    }
    learner.flush().unwrap();
    disk.image()
}

fn resume(image: &Image) -> (SimDisk, Learner) {
    let disk = SimDisk::from_image(image.clone());
    let learner = open(&disk, judging_config());
    (disk, learner)
}

fn verdict(report: &SliceReport) -> Option<&Verdict> {
    match &report.outcome {
        Outcome::Promoted { verdict, .. } | Outcome::Rejected { verdict } => Some(verdict),
        _ => None,
    }
}

/// What a run comes to in the end: the last adapter with its place, and what is in force.
type End = (Option<(Digest, State)>, Option<Digest>);

fn end(learner: &Learner) -> End {
    let last = learner.adapters().last().map(|known| (known.digest, known.state));
    (last, learner.adapter_in_force())
}

/// A run that was left alone.
fn straight(image: &Image) -> (SliceReport, End) {
    let (_, learner) = resume(image);
    let report = learner.train_slice(Budget::time(LONG), &Stop::new()).unwrap();
    assert!(verdict(&report).expect("a verdict").promote, "{report}");
    (report, end(&learner))
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn judging_in_the_smallest_slices_and_many_processes_comes_to_the_same_verdict() {
    let image = taught();
    let (whole, wanted) = straight(&image);
    let (mut slices, mut judging) = (0, 0);
    let (mut disk, mut learner) = resume(&image);
    let report = loop {
        // No time at all: one piece of work per slice, and a process for every third.
        if slices % 3 == 2 {
            (disk, learner) = resume(&disk.image());
        }
        let report = learner.train_slice(Budget::time(Duration::ZERO), &Stop::new()).unwrap();
        slices += 1;
        judging += u32::from(report.step == STEPS);
        if report.outcome != Outcome::Paused {
            assert_eq!(end(&learner), wanted);
            break report;
        }
        assert!(slices < 400, "judging starts over");
    };
    assert_eq!(report.state, whole.state);
    assert_eq!(verdict(&report), verdict(&whole));
    assert!(judging > 10, "judging was never cut");
    println!("MEASURED: the same verdict after {slices} slices, {judging} of them judging");
}

/// A stop that comes at the n-th look, and remembers the longest time between two.
fn stop_at(looks: usize, longest: &Arc<Mutex<Duration>>) -> Stop {
    let (longest, seen) = (longest.clone(), Mutex::new((0, Instant::now())));
    Stop::governed(move || {
        let (count, last) = &mut *seen.lock().unwrap();
        if *count > 0 {
            let longest = &mut *longest.lock().unwrap();
            *longest = last.elapsed().max(*longest);
        }
        (*count, *last) = (*count + 1, Instant::now());
        *count > looks
    })
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_stop_at_any_look_while_judging_is_obeyed_and_costs_no_bit() {
    let image = taught();
    let (whole, wanted) = straight(&image);
    let (_, learner) = resume(&image);
    let trained = Budget { time: LONG, steps: Some(STEPS - 1) };
    assert_eq!(learner.train_slice(trained, &Stop::new()).unwrap().step, STEPS - 1);
    let (mut random, mut cuts) = (SplitMix64(5), 0);
    let longest = Arc::default();
    let report = loop {
        let stop = stop_at(random.below(100), &longest);
        let report = learner.train_slice(Budget::time(LONG), &stop).unwrap();
        if report.outcome != Outcome::Paused {
            break report;
        }
        cuts += u32::from(report.step == STEPS);
        assert!(cuts < 400, "judging starts over");
    };
    assert_eq!((report.state, verdict(&report)), (whole.state, verdict(&whole)));
    assert_eq!(end(&learner), wanted);
    assert!(cuts > 5, "judging was hardly ever cut");
    let longest = longest.lock().unwrap();
    println!("MEASURED: judging cut {cuts} times, {longest:?} between two looks at most");
}

fn is_full(error: &LearnerError) -> bool {
    match error {
        LearnerError::Store(StoreError::Disk(error)) => error.is_full(),
        LearnerError::Journal(JournalError::Disk(error)) => error.is_full(),
        _ => false,
    }
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_disk_that_fills_up_at_any_operation_of_a_run_costs_no_bit() {
    let image = taught();
    let (whole, wanted) = straight(&image);
    let operations = {
        let (disk, learner) = resume(&image);
        let before = disk.operations();
        learner.train_slice(Budget::time(LONG), &Stop::new()).unwrap();
        disk.operations() - before
    };
    let (mut failed, mut tried) = (0, 0);
    for at in (0..operations).step_by((operations as usize).div_ceil(6)) {
        let (disk, learner) = resume(&image);
        let turns = learner.turns();
        let kind = FaultKind::StorageFull;
        disk.fail(Some(Fault { at: disk.operations() + at, kind, forever: true }));
        tried += 1;
        let report = learner.train_slice(Budget::time(LONG), &Stop::new());
        if let Err(error) = &report {
            failed += 1;
            assert!(is_full(error), "{error}");
            assert!(error.to_string().contains("Free some space"), "{error}");
            let in_force = learner.adapter_in_force();
            assert!(in_force.is_none() || in_force == wanted.1, "neither old nor new");
            let chat = learner.chat("mail", None, Vec::new()).unwrap();
            let unrecorded = sapwood::Options { record: false, ..greedy(4) };
            let reply = chat.respond("Triage: my parcel is late", unrecorded);
            // A trial is paid for before the first reply; the slot for that is never full.
            assert_eq!(reply.unwrap().finish().unwrap().adapter, in_force);
        }
        disk.fail(None);
        assert_eq!(learner.turns(), turns);
        // In this process or in the next one, the run ends as it would have.
        let learner = if at % 2 == 0 { learner } else { resume(&disk.image()).1 };
        let mut last = report.ok();
        for _ in 0..3 {
            if end(&learner) != wanted {
                last = Some(learner.train_slice(Budget::time(LONG), &Stop::new()).unwrap());
            }
        }
        assert_eq!(end(&learner), wanted, "full at operation {at}");
        if let Some(report) = last {
            assert_eq!(report.state, whole.state, "full at operation {at}");
        }
    }
    println!("MEASURED: {failed} of {tried} runs met the full disk, of {operations} operations");
    assert!(failed > 2, "the disk was hardly ever full");
}
