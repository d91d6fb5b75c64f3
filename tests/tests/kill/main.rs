//! Real processes on a real file system: killed with SIGKILL at any instant, opened again by a new
//! process, and compared with what the killed one had acknowledged.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test has no API, and may panic")]

mod app;
mod crowd;
mod keys;
mod probation;
#[cfg(target_os = "linux")]
mod trace;
mod witness;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sapwood_kernels::rng::SplitMix64;

use app::App;
use witness::{Counts, Witness};

const HOME: &str = "SAPWOOD_KILL_HOME";
const SEED: &str = "SAPWOOD_KILL_SEED";
const NOW: &str = "SAPWOOD_KILL_NOW";
/// A store is used for this many kills: then another one is begun.
const KILLS_OF_A_STORE: u64 = 50;
/// Stores at work at the same time.
const THREADS: u64 = 4;

/// A folder that goes when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        Folder::below(&std::env::temp_dir(), name)
    }

    /// In memory where the system has such a file system: there a sync takes no time, so that more
    /// happens before a kill.
    fn fast(name: &str) -> Folder {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Folder::below(memory, name) } else { Folder::new(name) }
    }

    fn below(around: &Path, name: &str) -> Folder {
        let path = around.join(format!("sapwood-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What went wrong can be looked at.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A test of this binary as a process of its own, which ends with this.
struct Process {
    child: Child,
    pipe: BufReader<ChildStdout>,
}

impl Process {
    fn start(test: &str, home: &Path, more: &[(&str, String)]) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(HOME, home)
            .env("RUST_BACKTRACE", "0")
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(File::create(home.join("said")).unwrap())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        Process { child, pipe }
    }

    /// The next line. A last one that was cut in the middle was never told.
    fn told(&mut self) -> Option<String> {
        let mut line = String::new();
        self.pipe.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// Kills it, and says how it ended.
    fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn number(name: &str) -> u64 {
    std::env::var(name).unwrap().parse().unwrap()
}

#[test]
#[ignore = "child: the loop starts it and kills it"]
fn child() {
    let Some(home) = std::env::var_os(HOME) else { return };
    App::open(Path::new(&home), number(NOW), number(SEED)).work();
}

/// Starts the app, kills it at some instant, and listens to it until then.
fn kill_once(home: &Path, witness: &mut Witness, random: &mut SplitMix64) -> Result<(), String> {
    let more = [(SEED, random.bits().to_string()), (NOW, witness.now_ms.to_string())];
    let mut app = Process::start("child", home, &more);
    witness.starts();
    if random.below(10) < 3 {
        // While it starts and opens.
        std::thread::sleep(Duration::from_micros(random.below(15_000) as u64));
    } else {
        while let Some(line) = app.told() {
            if witness.hears(&line)? {
                break;
            }
        }
        let octave = random.below(12);
        let micros = match random.below(2) {
            0 => random.below(4 << octave), // each scale as likely as the next
            _ => random.below(120_000),
        };
        std::thread::sleep(Duration::from_micros(micros as u64));
    }
    let status = app.kill();
    while let Some(line) = app.told() {
        witness.hears(&line)?;
    }
    if status.signal() != Some(9) {
        return Err(format!("the app ended by itself: {status}"));
    }
    Ok(())
}

/// Kills, on one store after the other.
fn kill(thread: u64, kills: u64, seed: u64) -> Counts {
    let mut random = SplitMix64(seed ^ thread << 32);
    let mut sum = Counts::default();
    for store in 0..kills.div_ceil(KILLS_OF_A_STORE) {
        let name = format!("kill-{thread}-{store}");
        // Every other one where a sync takes its time.
        let folder = if (thread + store).is_multiple_of(2) {
            Folder::new(&name)
        } else {
            Folder::fast(&name)
        };
        let mut witness = Witness::new();
        for round in 0..KILLS_OF_A_STORE.min(kills - store * KILLS_OF_A_STORE) {
            if let Err(violation) = kill_once(folder.path(), &mut witness, &mut random) {
                fs::write(folder.path().join("heard"), &witness.heard).unwrap();
                panic!(
                    "seed {seed}, thread {thread}, kill {round} of the store in {}: {violation}",
                    folder.path().display(),
                );
            }
        }
        sum += witness.counts;
    }
    sum
}

fn kill_all(kills: u64) {
    let seed = std::env::var(SEED).map_or(20_26, |seed| seed.parse().unwrap());
    let start = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| std::thread::spawn(move || kill(thread, kills / THREADS, seed)))
        .collect();
    let mut sum = Counts::default();
    for thread in threads {
        sum += thread.join().unwrap();
    }
    println!(
        "MEASURED: {kills} kills, 0 violations, {:.0} s (seed {seed}): {sum}",
        start.elapsed().as_secs_f64(),
    );
    assert!(sum.records > kills && sum.unfinished > kills / 3, "{sum}");
    assert!(sum.confirmed > 0 && sum.refused > 0 && sum.forgotten > 0 && sum.updates > 0, "{sum}");
}

#[test]
fn a_killed_process_loses_nothing_that_it_had_acknowledged() {
    kill_all(200);
}

#[test]
#[ignore = "long: tests/run --only crash"]
fn nothing_is_lost_in_two_thousand_kills_or_ten_thousand() {
    kill_all(if std::env::var_os("SAPWOOD_SOAK").is_some() { 10_000 } else { 2_000 });
}
