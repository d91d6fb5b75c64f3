//! The real file system: a child process works on a store, is killed with SIGKILL at a random
//! instant, and nothing that it reported as done may be missing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sapwood::disk::{Disk, RealDisk};
use sapwood::journal::{Feedback, Journal, Limits, Record};
use sapwood::seal::Seal;
use sapwood::signal::Signal;
use sapwood::store::{Meta, N_HEALTHY, Store, Trial, digest_of, hex};

const KILLS: u64 = 40;
const FOLDER: &str = "SAPWOOD_KILL_FOLDER";

fn open(folder: &Path) -> (Store, Journal) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(folder).expect("a folder"));
    let seal = Arc::new(Seal::new([2; 32]));
    let store = Store::open(Arc::clone(&disk), Arc::clone(&seal), super::BASE);
    let limits = Limits { segment_bytes: 4096, ..Limits::default() };
    let journal = Journal::open(disk, seal, limits).expect("the journal opens");
    (store.expect("the store opens"), journal)
}

fn numbers(journal: &Journal) -> BTreeSet<u64> {
    let entries = journal.scan().expect("the journal reads").entries;
    entries.iter().map(|entry| entry.record.time_ms()).collect()
}

#[test]
#[ignore = "child: the kill loop starts it and kills it"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (mut store, mut journal) = open(Path::new(&folder));
    let mut out = std::io::stdout();
    let first = numbers(&journal).last().map_or(1, |last| last + 1);
    for number in first..first + 100_000 {
        let signal = Signal::Stopped { shown_tokens: 5 };
        let record = Feedback { reply_id: number.into(), time_ms: number, signal };
        journal.append(&Record::Feedback(record), number).expect("the disk works");
        writeln!(out, "record {number}").expect("the parent reads");
        if number % 8 != 0 {
            continue;
        }
        if store.candidate().is_none() {
            let bytes = number.to_le_bytes().repeat(1000);
            let digest = store.stage(&bytes, Meta::default()).expect("the disk works");
            store.propose(&digest).expect("the disk works");
        }
        if let Trial::Begun { .. } = store.begin_trial().expect("the disk works") {
            store.healthy().expect("the disk works");
        }
        if store.healthy_sessions() == N_HEALTHY {
            store.confirm().expect("the disk works");
            let active = store.active().expect("one was confirmed");
            writeln!(out, "active {} {}", active.number, hex(&active.digest)).expect("read");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_had_reported() {
    let folder = std::env::temp_dir().join(format!("sapwood-kill-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let (mut records, mut active) = (BTreeSet::new(), 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this test has a file"))
            .args(["kill::child", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        // From before the store exists to deep into its work; spread by a prime.
        std::thread::sleep(Duration::from_micros(2_000 + round * 7_919 % 60_000));
        child.kill().expect("the child runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        // A last line that was cut in the middle was never reported.
        for line in lines.map_while(Result::ok) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["record", number] => records.extend(number.parse::<u64>().ok()),
                ["active", number, digest] if digest.len() == 64 => {
                    active = number.parse().unwrap_or(active);
                }
                _ => {}
            }
        }
        child.wait().expect("the child is gone");
        let (store, journal) = open(&folder);
        let found = numbers(&journal);
        assert!(records.iter().all(|number| found.contains(number)), "round {round}");
        let now = store.active().map_or(0, |active| active.number);
        assert!(now >= active, "round {round}: generation {active} was active, now {now}");
        for known in [store.active(), store.fallback(), store.candidate()].into_iter().flatten() {
            let bytes = store.adapter_bytes(&known.digest).expect("its file is whole");
            assert_eq!(digest_of(&bytes), known.digest);
        }
    }
    println!("{KILLS} kills, {} records and {active} generations reported", records.len());
    assert!(!records.is_empty(), "the child never got to work");
    fs::remove_dir_all(&folder).expect("the folder can go");
}
