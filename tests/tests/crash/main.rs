//! Bar 9: cut every workload at every disk operation, recover, and look for a broken promise.
//!
//! A workload runs on the simulated disk, which keeps an image at every change of its last action.
//! Each image is opened as after the death of the process, and in every way that a power loss may
//! leave it. The recovery, and one commit after it, are recorded too and cut in the same way: a
//! second crash. The ghost knows what had been promised by then. Planted mutants of the protocol
//! show that the checks can fail.

#![allow(missing_docs, reason = "a test has no API")]

mod app;
mod chains;
mod ghost;
mod keys;
mod machine;
mod model;
mod oracle;
mod world;

use std::sync::Arc;
use std::time::Instant;

use chains::Start;
use ghost::{Crash, Ghost, Recovery, Summary};
use machine::Op;
use sapwood::disk::sim::{Image, Moment, Power, SimDisk};
use sapwood::seal::Seal;
use sapwood::store::Mutant;
use world::{Action, BASE, Fault, Faulty, World, open_journal, open_store};

/// Where there are too many ways to lose power, this many are drawn.
const FIRST: usize = 24;
const SECOND: usize = 6;

struct Cuts {
    fault: Fault,
    seal: Arc<Seal>,
    /// Of the images after a power loss, one in this many is cut a second time. Of those after
    /// the death of the process, which still have unsynced effects, ten times as many are.
    thin: u64,
    images: u64,
    seconds: u64,
}

type Found = Result<(), String>;

impl Cuts {
    fn new(fault: Fault, thin: u64) -> Cuts {
        Cuts { fault, seal: Arc::new(Seal::new([9; 32])), thin, images: 0, seconds: 0 }
    }

    /// Runs the actions and cuts the last one everywhere.
    fn workload(&mut self, actions: &[Action]) -> Found {
        let mut world = World::new(self.fault, actions.is_empty());
        if let Some((last, before)) = actions.split_last() {
            before.iter().for_each(|action| world.act(*action));
            world.disk.disk.record();
            world.act(*last);
            // Cut after the last operation too.
            world.disk.disk.mark();
        }
        world.assert_sane();
        for (number, moment) in world.disk.disk.take_moments().into_iter().enumerate() {
            let at = moment.operations;
            let seed = number as u64;
            let wrong = |how: &str, why: String| {
                format!("{actions:?}, {how} at {at} ({}): {why}", moment.under_way)
            };
            let kill = Crash { at, power: false };
            self.cut(&world.ghost, &moment.image, kill, seed).map_err(|why| wrong("kill", why))?;
            let power = Crash { at, power: true };
            for image in moment.image.after_power(Power { samples: FIRST, seed }) {
                let found = self.cut(&world.ghost, &image, power, seed);
                found.map_err(|why| wrong("power loss", why))?;
            }
        }
        Ok(())
    }

    /// Opens what the first crash left, commits once, and cuts both everywhere.
    fn cut(&mut self, ghost: &Ghost, image: &Image, crash: Crash, seed: u64) -> Found {
        self.images += 1;
        let disk = Arc::new(Faulty::new(SimDisk::from_image(image.clone()), self.fault));
        disk.disk.record();
        let mut store =
            open_store(&disk, &self.seal).map_err(|error| format!("I1 cannot open: {error}"))?;
        let opened = disk.disk.operations();
        ghost.check_store(&store, crash, None, crash)?;
        ghost.check_checkpoint(&store, crash)?;
        ghost.check_journal(&open_journal(&disk, &self.seal), crash)?;
        let (summary, sequence) = (Summary::of(&store), store.sequence());
        store.mark_bad(&[0xAB; 32]).map_err(|error| format!("stuck: {error}"))?;
        let (next, committed) = (store.sequence(), disk.disk.operations());
        let recovery = Recovery { summary, sequence, opened, committed, next };
        disk.disk.mark();
        let moments = disk.disk.take_moments();
        let thin = if crash.power { self.thin } else { self.thin.div_ceil(10) };
        let again: &[Moment] = if self.images.is_multiple_of(thin) { &moments } else { &[] };
        for moment in again {
            let kill = Crash { at: moment.operations, power: false };
            self.again(ghost, &moment.image, crash, &recovery, kill)?;
            let power = Crash { at: moment.operations, power: true };
            for image in moment.image.after_power(Power { samples: SECOND, seed }) {
                self.again(ghost, &image, crash, &recovery, power)?;
            }
        }
        // Mutants must be found by what they lose, not by the order of their operations.
        if self.fault == Fault::None && ghost.existed(crash) {
            let first: Vec<&str> = moments.iter().take(2).map(|m| m.under_way.as_str()).collect();
            if !(first[0].starts_with("sync M") && first[1] == "sync_dir ") {
                return Err(format!("I9 recovery begins with {first:?}"));
            }
        }
        Ok(())
    }

    /// Opens what the second crash left.
    fn again(
        &mut self,
        ghost: &Ghost,
        image: &Image,
        first: Crash,
        recovery: &Recovery,
        second: Crash,
    ) -> Found {
        self.seconds += 1;
        let disk = Arc::new(Faulty::new(SimDisk::from_image(image.clone()), self.fault));
        let store = open_store(&disk, &self.seal)
            .map_err(|error| format!("I1 cannot open after a second crash: {error}"))?;
        let worst = Crash { at: first.at, power: first.power || second.power };
        let told = |why: String| format!("second crash at {}: {why}", second.at);
        ghost.check_store(&store, first, Some(recovery), second).map_err(told)?;
        ghost.check_checkpoint(&store, first)?;
        ghost.check_journal(&open_journal(&disk, &self.seal), worst)
    }
}

/// All sequences of up to `longest` actions.
fn sequences(alphabet: &[Action], longest: usize) -> Vec<Vec<Action>> {
    let mut all = vec![Vec::new()];
    let mut layer = all.clone();
    for _ in 0..longest {
        layer = layer
            .iter()
            .flat_map(|before| {
                alphabet.iter().map(|action| before.iter().copied().chain([*action]).collect())
            })
            .collect();
        all.extend(layer.iter().cloned());
    }
    all
}

const ALL: [Action; 6] = [
    Action::Promote,
    Action::Rollback,
    Action::Append,
    Action::Revoke,
    Action::Checkpoint,
    Action::BadTrial,
];

/// Explores every workload and returns the images seen after one crash and after two.
fn explore(thin: u64) -> (u64, u64) {
    let start = Instant::now();
    let basic = &ALL[..3];
    let mut workloads = sequences(basic, 4);
    let all = sequences(&ALL, 3);
    workloads.extend(all.into_iter().filter(|actions| actions.iter().any(|a| !basic.contains(a))));
    let mut explorer = Cuts::new(Fault::None, thin);
    for actions in &workloads {
        if let Err(violation) = explorer.workload(actions) {
            panic!("{violation}");
        }
    }
    let (first, second) = (explorer.images, explorer.seconds);
    println!(
        "{} workloads, {first} crash images, {second} after a second crash, 0 violations, {:.1} s",
        workloads.len(),
        start.elapsed().as_secs_f64(),
    );
    (first, second)
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn no_crash_breaks_a_promise() {
    let (first, second) = explore(40);
    assert!(first + second >= 50_000, "only {first} + {second} images were explored");
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn no_pair_of_crashes_breaks_a_promise() {
    let (first, second) = explore(1);
    assert!(first + second >= 1_000_000, "only {first} + {second} images were explored");
}

#[test]
fn every_planted_fault_is_caught() {
    let faults = [
        Fault::NoAdapterSync,
        Fault::NoFolderSync,
        Fault::NoManifestSync,
        Fault::NoRecoverySync,
        Fault::NoJournalSync,
        Fault::NoCheckpointSync,
        Fault::Planted(Mutant::CollectBeforeCommit),
        Fault::Planted(Mutant::DecrementAfterUse),
        Fault::Planted(Mutant::ProposeBeforeStage),
    ];
    for fault in faults {
        let mut explorer = Cuts::new(fault, 1);
        let mut workloads = sequences(&ALL, 2);
        workloads.push(vec![Action::Promote; 3]);
        // The making of the store would give most of them away at once; the rest must too.
        let caught = workloads[1..].iter().find_map(|actions| explorer.workload(actions).err());
        let violation = caught.unwrap_or_else(|| panic!("{fault:?} was not noticed"));
        println!("{fault:?} caught after {} images: {violation}", explorer.images);
    }
}

/// Calls that are cut in every combination. The others are made of these, or of another process's.
const SINGLE: [Op; 19] = [
    Op::Append,
    Op::Flush,
    Op::Close,
    Op::Consent,
    Op::Tombstone,
    Op::Finish,
    Op::Leave,
    Op::Merge,
    Op::Expire,
    Op::Stage,
    Op::Propose,
    Op::Use,
    Op::Healthy,
    Op::Pause,
    Op::Confirm,
    Op::Rollback,
    Op::TurnDown,
    Op::Save,
    Op::Clear,
];

#[test]
#[ignore = "long: tests/run --only crash"]
fn no_row_of_failures_breaks_a_promise() {
    let mut workloads = Vec::new();
    for start in [Start::Used, Start::Segments] {
        workloads.extend(chains::sequences(&Op::ALL, 1).into_iter().map(|ops| (start, ops)));
    }
    workloads.extend(chains::sequences(&SINGLE, 2).into_iter().map(|ops| (Start::Empty, ops)));
    chains::explore(&workloads, [40, 80, 1]);
}

#[test]
fn no_life_breaks_a_promise() {
    let mut crashes = 0;
    // One of them alone, with every call told.
    let one = std::env::var("SAPWOOD_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..300, |seed: u64| seed..seed + 1) {
        match chains::life(seed, 40, one.is_some()) {
            Ok(more) => crashes += more,
            Err(violation) => panic!("{violation}"),
        }
    }
    println!("MEASURED: 300 lives with {crashes} crashes");
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn every_planted_fault_of_epochs_is_caught() {
    let faults = [
        Fault::NoKeyringSync,
        Fault::NoKeyringFolderSync,
        Fault::NoCopySync,
        Fault::FolderGoesFirst,
        Fault::KeyGoesFirst,
        Fault::KeyStays,
        Fault::LateStays,
        Fault::NoMergeSync,
        Fault::Planted(Mutant::LoseCourse),
        Fault::Planted(Mutant::CountNoRefusal),
    ];
    let mut missed = Vec::new();
    for fault in faults {
        let mut explorer = chains::Explorer::new(fault, [10, 1_000, 1]);
        let workloads = [
            (Start::Empty, vec![Op::Append, Op::Flush, Op::Leave]),
            (Start::Used, vec![Op::Forget]),
            (Start::Used, vec![Op::Forget, Op::Append, Op::Forget]),
            (Start::Segments, vec![Op::Merge]),
            (Start::Used, vec![Op::Stage, Op::TurnDown]),
        ];
        let caught = workloads.iter().find_map(|(start, ops)| explorer.workload(*start, ops).err());
        match caught {
            Some(violation) => {
                println!("{fault:?} caught after {} images: {violation}", explorer.total());
            }
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
