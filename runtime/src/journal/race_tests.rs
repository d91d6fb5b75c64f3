//! Other processes that merge, drop and write between any two operations.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::sim::SimDisk;
use crate::disk::{Disk, Lock};
use crate::signal::Signal;

const LIMITS: Limits = Limits {
    segment_bytes: 1 << 20,
    segment_age_ms: 10,
    total_bytes: 1 << 30,
    total_age_ms: 1600,
    group_records: 1,
    group_bytes: 1 << 20,
    group_age_ms: 5000,
};

type Act = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A disk where something happens just before one of the operations.
struct Busy {
    disk: SimDisk,
    left: AtomicU64,
    act: Act,
}

impl Busy {
    fn before(&self) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            0 => (self.act)(),
            _ => Ok(()),
        }
    }
}

macro_rules! pass_on {
    ($($call:ident($($name:ident: $kind:ty),*) -> $made:ty;)*) => {
        impl Disk for Busy {
            $(fn $call(&self, $($name: $kind),*) -> io::Result<$made> {
                self.before()?;
                self.disk.$call($($name),*)
            })*
        }
    };
}

pass_on! {
    make_dir(dir: &str) -> ();
    remove_dir(dir: &str) -> ();
    create(name: &str) -> ();
    append(name: &str, bytes: &[u8]) -> ();
    write_at(name: &str, offset: u64, bytes: &[u8]) -> ();
    read(name: &str) -> Vec<u8>;
    len(name: &str) -> u64;
    sync(name: &str) -> ();
    rename(from: &str, to: &str) -> ();
    unlink(name: &str) -> ();
    list(dir: &str) -> Vec<String>;
    sync_dir(dir: &str) -> ();
    lock(name: &str) -> Lock;
}

fn open(disk: Arc<dyn Disk>) -> Journal {
    Journal::open(disk, Arc::new(Seal::new([7; 32])), LIMITS).unwrap()
}

fn on(disk: &SimDisk) -> Journal {
    open(Arc::new(disk.clone()))
}

/// A journal before whose operation number `step`, counted from its opening, `act` happens.
fn interrupted(disk: &SimDisk, step: u64, act: Act) -> Journal {
    // Opening takes two.
    open(Arc::new(Busy { disk: disk.clone(), left: AtomicU64::new(step + 2), act }))
}

fn note(n: u64) -> Record {
    let signal = Signal::Edited { text: format!("number {n}") };
    Record::Feedback(Feedback { reply_id: n.into(), order: n, time_ms: n, signal })
}

/// Ten finished segments with one record each.
fn ten() -> SimDisk {
    let disk = SimDisk::new();
    for n in 0..10 {
        let mut journal = on(&disk);
        journal.append(&note(n), n).unwrap();
        journal.close(n).unwrap();
    }
    disk
}

fn numbers(journal: &Journal) -> Vec<u64> {
    journal.scan().unwrap().entries.iter().map(|entry| entry.record.time_ms()).collect()
}

type Call = fn(&mut Journal) -> Result<Vec<u64>, JournalError>;

/// Every call that reads many segments, by what it must come to.
fn calls() -> [(&'static str, Call); 4] {
    [
        ("scan", |journal| {
            Ok(journal.scan()?.entries.iter().map(|entry| entry.record.time_ms()).collect())
        }),
        ("news", |journal| {
            let mut found = Vec::new();
            journal.news(&mut |record| found.push(record.time_ms()))?;
            // What another process has moved meanwhile comes with the next call.
            journal.news(&mut |record| found.push(record.time_ms()))?;
            found.sort();
            Ok(found)
        }),
        ("merge", |journal| journal.merge(100).map(|_| (0..10).collect())),
        ("expire", |journal| journal.expire(&|_| true, 1602).map(|_| (0..10).collect())),
    ]
}

#[test]
fn segments_that_another_process_joins_or_drops_meanwhile_are_no_error() {
    for (name, call) in calls() {
        for step in 0..40 {
            let disk = ten();
            let there = disk.clone();
            let joins: Act =
                Box::new(move || on(&there).merge(100).map(|_| ()).map_err(io::Error::other));
            let mut journal = interrupted(&disk, step, joins);
            match call(&mut journal) {
                // A reader may have listed what is gone before it reads the joined one.
                Ok(found) => {
                    assert!(name == "scan" || found.len() == 10, "{name}, {step}: {found:?}")
                }
                // The other one has joined the segment that was being written.
                Err(error) => assert_eq!(name, "merge", "step {step}: {error}"),
            }
            // A joined segment goes when its first part is due.
            if name != "expire" {
                assert_eq!(numbers(&on(&disk)), (0..10).collect::<Vec<_>>(), "{name}, {step}");
            }

            let disk = ten();
            let there = disk.clone();
            let drops: Act = Box::new(move || {
                on(&there).expire(&|_| true, 1605).map(|_| ()).map_err(io::Error::other)
            });
            let done = call(&mut interrupted(&disk, step, drops));
            // That holds even while it is being written.
            if name != "merge" {
                assert!(done.is_ok(), "{name}, step {step}: {done:?}");
                assert!(numbers(&on(&disk)).ends_with(&[5, 6, 7, 8, 9]), "{name}, step {step}");
            }
        }
    }
}

#[test]
fn a_disk_that_fails_is_not_taken_for_another_process() {
    for (name, call) in calls() {
        let mut failed = 0;
        for step in 0..15 {
            let disk = ten();
            let fails: Act = Box::new(|| Err(io::Error::other("the device is gone")));
            failed += usize::from(call(&mut interrupted(&disk, step, fails)).is_err());
            assert_eq!(numbers(&on(&disk)).last(), Some(&9), "{name}, step {step}");
        }
        assert!(failed >= 11, "{name}: one list and ten segments, {failed} failures told");
    }
}

#[test]
fn what_others_append_is_told_once() {
    let disk = SimDisk::new();
    let (mut here, mut there) = (on(&disk), on(&disk));
    let heard = |journal: &mut Journal| {
        let mut heard = Vec::new();
        journal.news(&mut |record| heard.push(record.time_ms())).unwrap();
        heard
    };
    here.append(&note(1), 1).unwrap();
    there.append(&note(2), 2).unwrap();
    there.append(&note(3), 3).unwrap();
    assert_eq!(heard(&mut here), [2, 3], "not its own");
    assert_eq!(heard(&mut here), [0; 0]);
    there.append(&note(4), 4).unwrap();
    assert_eq!(heard(&mut here), [4], "of a segment that has grown, what is new");
    let scan = there.scan().unwrap();
    there.follow(&scan);
    assert_eq!(heard(&mut there), [0; 0], "it was in the scan");
    let reads = disk.operations();
    heard(&mut there);
    assert!(disk.operations() - reads <= 2, "a listing, and the length of one segment");
}
