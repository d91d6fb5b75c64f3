//! Three processes on one store at once, each killed at any instant and started again: two learners
//! and a capture. Now and then all are dead at once, a fourth one looks, and an auditor compares
//! what it finds with what the three had told.
//!
//! One of the learners comes with another base model now and then, and their clocks differ by up to
//! an hour. What was acknowledged to anybody is there, whoever was killed meanwhile; the last word
//! on consent counts; nothing that was forgotten comes back, and no adapter that was taken back or
//! is another base model's. Where another process was faster, a call ends with an error that says
//! so, and with no other.

mod auditor;
mod auditor_tests;
mod child;
mod counts;
mod history;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Folder, HOME, SEED, number};
use auditor::{Auditor, Found};
use child::{Keyboard, Pupil};
use counts::Counts;
use sapwood_kernels::rng::SplitMix64;
use sapwood_tests::tiny;

/// The folder that all share.
const STORE: &str = "SAPWOOD_KILL_STORE";
/// Kills from one look to the next; with the last three all are dead.
const KILLS_OF_A_ROUND: u64 = 10;
/// Looks at one store: then another one is begun.
const ROUNDS_OF_A_STORE: u64 = 10;
/// A learner, one that changes its base model, and a capture.
const ROLES: [&str; 3] = ["pupil", "mover", "keyboard"];

#[test]
#[ignore = "child: the crowd starts it and kills it"]
fn child() {
    let (Some(home), Some(store)) = (std::env::var_os(HOME), std::env::var_os(STORE)) else {
        return;
    };
    let (store, seed) = (Path::new(&store), number(SEED));
    match Path::new(&home).file_name().and_then(|name| name.to_str()) {
        Some("pupil") => Pupil::new(store, seed, false).work(),
        Some("mover") => Pupil::new(store, seed, true).work(),
        Some("keyboard") => Keyboard::new(store, seed).work(),
        _ => child::look(store),
    }
}

/// A process with a folder of its own, in which it tells what it does. It ends with this.
struct Process {
    child: Child,
    home: PathBuf,
}

impl Process {
    fn start(store: &Path, role: &str, seed: u64) -> Process {
        let home = store.join(role);
        fs::create_dir_all(&home).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["crowd::child", "--exact", "--ignored", "--nocapture"])
            .envs([(HOME, home.as_os_str()), (STORE, store.as_os_str())])
            .env(SEED, seed.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdout(File::create(home.join("told")).unwrap())
            .stderr(File::create(home.join("said")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Process { child, home }
    }

    /// Kills it, and returns all that it told.
    fn kill(&mut self) -> Result<String, String> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        let told = self.told();
        if status.signal() == Some(9) {
            return Ok(told);
        }
        let last = told.lines().rfind(|line| line.contains('@')).unwrap_or_default();
        Err(format!("{} ended by itself, {status}: {last}", self.home.display()))
    }

    fn told(&self) -> String {
        fs::read_to_string(self.home.join("told")).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store, with what is known of it.
struct Crowd {
    folder: Folder,
    auditor: Auditor,
    random: SplitMix64,
    counts: Counts,
    /// All that was told since the last look, to find out what went wrong.
    heard: String,
}

impl Crowd {
    fn start(&mut self, role: &str) -> Process {
        Process::start(self.folder.path(), role, self.random.bits())
    }

    fn kill(&mut self, process: &mut Process) -> Result<(), String> {
        let told = process.kill()?;
        self.heard += &format!("{}\n{told}\n", process.home.display());
        let acts = history::acts(&told, history::now())?;
        self.counts.take_in(&acts);
        self.auditor.hears(acts)
    }

    /// Kills one after the other, and at last all.
    fn round(&mut self) -> Result<(), String> {
        let mut all = ROLES.map(|role| self.start(role));
        for _ in 0..KILLS_OF_A_ROUND - all.len() as u64 {
            let octave = self.random.below(12);
            let micros = match self.random.below(2) {
                0 => self.random.below(4 << octave), // each scale as likely as the next
                _ => self.random.below(100_000),
            };
            std::thread::sleep(Duration::from_micros(micros as u64));
            let one = self.random.below(all.len());
            self.kill(&mut all[one])?;
            all[one] = self.start(ROLES[one]);
        }
        for process in &mut all {
            self.kill(process)?;
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), String> {
        let mut looker = self.start("looker");
        let status = looker.child.wait().unwrap();
        let told = looker.told();
        self.heard += &told;
        if !status.success() {
            return Err(format!("the store can't be looked at: {status}"));
        }
        let base = tiny::WIDTH.to_string();
        self.auditor.looks(Found::parse(&told)?, &base, history::now())?;
        self.counts.looks += 1;
        self.heard.clear();
        Ok(())
    }
}

/// Kills, on one store after the other.
fn kill_all(kills: u64) -> Counts {
    let seed = std::env::var(SEED).map_or(20_26, |seed| seed.parse().unwrap());
    let (start, mut sum) = (Instant::now(), Counts::default());
    let rounds = kills / KILLS_OF_A_ROUND;
    for store in 0..rounds.div_ceil(ROUNDS_OF_A_STORE) {
        let name = format!("crowd-{kills}-{store}");
        // Every other one where a sync takes its time.
        let in_memory = store.is_multiple_of(2);
        let folder = if in_memory { Folder::fast(&name) } else { Folder::new(&name) };
        let (auditor, random) = (Auditor::default(), SplitMix64(seed ^ store << 32));
        let counts = Counts::default();
        let mut crowd = Crowd { folder, auditor, random, counts, heard: String::new() };
        for round in 0..ROUNDS_OF_A_STORE.min(rounds - store * ROUNDS_OF_A_STORE) {
            if let Err(violation) = crowd.round() {
                let path = crowd.folder.path();
                fs::write(path.join("heard"), &crowd.heard).unwrap();
                let path = path.display();
                panic!("seed {seed}, store {store} in {path}, round {round}: {violation}");
            }
        }
        sum += crowd.counts;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("MEASURED: {kills} kills, 0 violations, {seconds:.0} s (seed {seed}): {sum}");
    sum
}

#[test]
fn three_processes_that_are_killed_at_random_keep_what_they_promised() {
    kill_all(300).assert_enough(300);
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn three_processes_keep_it_in_five_thousand_kills() {
    kill_all(5_000).assert_enough(5_000);
}
