//! What a durable record costs, and how long it takes until the next process can go on: ours beside
//! redb and SQLite, in turn, on the same file system. Prints bytes handed to the system per byte of
//! text, and milliseconds; asserts no time.
//!
//! `cargo bench --manifest-path tests/beside/Cargo.toml --bench storage`

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use sapwood_beside::{Engine, Log};

/// What is to be kept: ids, time and text of an edit, as the journal archives them. The others are
/// given as many bytes.
const RECORD_BYTES: usize = 600;
/// Of those, reply id, time and the kind of signal.
const FIXED_BYTES: usize = 64;
const GROUP: usize = 32;
const ROUNDS: usize = 5;

/// Random letters.
fn text(number: u64, bytes: usize) -> String {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..bytes).map(|_| letter()).collect()
}

/// Bytes that this process has handed to the system in writes.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("Linux tells what a process writes");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("it does");
    line.parse().expect("a number")
}

/// Milliseconds that a job takes.
fn timed<T>(job: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let out = job();
    (start.elapsed().as_secs_f64() * 1e3, out)
}

fn append(engine: Engine, log: &mut dyn Log, from: u64, groups: usize, group: usize) {
    let mut number = from;
    let bytes = RECORD_BYTES - if engine == Engine::Ours { FIXED_BYTES } else { 0 };
    for _ in 0..groups {
        for _ in 0..group {
            log.append(&text(number, bytes));
            number += 1;
        }
        log.commit();
    }
}

/// Bytes per byte of the records, and milliseconds per group.
fn appending(engine: Engine, dir: &Path, groups: usize, group: usize) -> (f64, f64) {
    let mut log = engine.open(dir);
    append(engine, &mut *log, 0, 4, group);
    let before = written();
    let (ms, ()) = timed(|| append(engine, &mut *log, 1 << 32, groups, group));
    drop(log); // what closing writes belongs to it
    let bytes = (written() - before) as f64;
    (bytes / (groups * group * RECORD_BYTES) as f64, ms / groups as f64)
}

/// A process of its own: fills a log, or opens one, reads it, adds a group, and ends without
/// closing it.
fn child(arguments: &[String]) {
    let (engine, dir) = (Engine::named(&arguments[1]), Path::new(&arguments[2]));
    if arguments[0] == "fill" {
        let groups = 32 * 1024 * 1024 / (GROUP * RECORD_BYTES);
        // Closed: the next one ends by accident.
        return append(engine, &mut *engine.open(dir), 0, groups, GROUP);
    }
    let (open_ms, mut log) = timed(|| engine.open(dir));
    let (add_ms, ()) = timed(|| append(engine, &mut *log, 1 << 40, 1, GROUP));
    let (read_ms, texts) = timed(|| log.read());
    println!("{open_ms} {add_ms} {read_ms} {texts}");
    std::process::exit(0); // nothing is dropped
}

fn run(step: &str, engine: Engine, dir: &Path) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let done = command.args([step, engine.name()]).arg(dir).output().expect("a process");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told = String::from_utf8_lossy(&done.stdout);
    told.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn column(rounds: &[Vec<f64>], at: usize) -> f64 {
    median(rounds.iter().map(|round| round[at]).collect())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if arguments.len() == 3 {
        return child(&arguments);
    }
    let folder = tempfile::tempdir().expect("a folder");
    for group in [GROUP, 1] {
        let groups = if group == 1 { 100 } else { 64 };
        let mut rounds = [const { Vec::new() }; Engine::ALL.len()];
        for round in 0..ROUNDS {
            for (engine, rounds) in Engine::ALL.into_iter().zip(&mut rounds) {
                let dir = folder.path().join(format!("{}-{group}-{round}", engine.name()));
                let (share, ms) = appending(engine, &dir, groups, group);
                rounds.push(vec![share, ms]);
                fs::remove_dir_all(dir).expect("it goes");
            }
        }
        println!("Records of {RECORD_BYTES} bytes, durable in groups of {group}:");
        for (engine, rounds) in Engine::ALL.into_iter().zip(&rounds) {
            let (share, ms) = (column(rounds, 0), column(rounds, 1));
            println!("  {:20} {share:6.3} bytes per byte, {ms:6.2} ms per group", engine.name());
        }
    }
    println!("  bar, groups of {GROUP}: 1.2 bytes per byte");
    let dir = |engine: Engine| folder.path().join(engine.name());
    for engine in Engine::ALL {
        run("fill", engine, &dir(engine));
        run("open", engine, &dir(engine)); // ends by accident
    }
    let mut rounds = [const { Vec::new() }; Engine::ALL.len()];
    for _ in 0..ROUNDS {
        for (engine, rounds) in Engine::ALL.into_iter().zip(&mut rounds) {
            rounds.push(run("open", engine, &dir(engine)));
        }
    }
    println!("32 MiB of records, after a process that ended without closing:");
    for (engine, rounds) in Engine::ALL.into_iter().zip(&rounds) {
        let [open, add, read] = [0, 1, 2].map(|at| column(rounds, at));
        println!(
            "  {:20} open {open:6.2} ms, then a durable group {add:6.2} ms, then reading all \
             {read:6.1} ms ({} records)",
            engine.name(),
            rounds[0][3],
        );
    }
    println!("  bar: open in 20 ms");
}
