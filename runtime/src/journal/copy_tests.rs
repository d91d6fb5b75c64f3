//! What is taken along when an epoch is left, record by record.

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::disk::sim::{Fault, FaultKind, SimDisk};
use crate::signal::Signal;
use crate::vault::Epoch;

fn open(disk: &SimDisk, root: u8) -> Journal {
    let seal = Arc::new(Seal::new([root; 32]));
    Journal::open(Arc::new(disk.clone()), seal, Limits::default()).unwrap()
}

fn next(disk: &SimDisk) -> Epoch {
    Epoch::alone(Arc::new(disk.clone()), Arc::new(Seal::new([8; 32])))
}

fn note(n: u64) -> Record {
    let signal = Signal::Edited { text: format!("number {n}") };
    Record::Feedback(Feedback { reply_id: n.into(), order: n, time_ms: n, signal })
}

fn gone(n: u64) -> Record {
    Record::Tombstone(Tombstone { reply_ids: vec![n.into()], time_ms: 1000 + n })
}

/// A segment of its own for the records of each list.
fn written(disk: &SimDisk, root: u8, lists: &[(u64, &[Record])]) {
    for (time_ms, records) in lists {
        let mut journal = open(disk, root);
        records.iter().for_each(|record| journal.append(record, *time_ms).unwrap());
        journal.close(*time_ms).unwrap();
    }
}

fn entries(journal: &Journal) -> Vec<(u128, u64)> {
    let scan = journal.scan().unwrap();
    scan.entries.iter().map(|entry| (entry.id, entry.record.time_ms())).collect()
}

fn ages(journal: &Journal) -> Vec<u64> {
    let names = journal.segment_names().unwrap();
    names.iter().map(|name| segment::created_ms(name).unwrap()).collect()
}

#[test]
fn what_stays_is_taken_along_under_its_id_and_at_its_age() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    let lists: [(u64, &[Record]); 3] =
        [(10, &[note(1), note(2)]), (20, &[note(3), gone(1)]), (30, &[gone(3)])];
    written(&here, 7, &lists);
    let old = open(&here, 7);
    let seen = old.copy_to(&next(&there), &HashSet::from([1, 3])).unwrap();
    assert_eq!(seen.len(), 5, "what was left behind was looked at too");
    let copied = open(&there, 8);
    let two: Vec<_> = entries(&old).into_iter().filter(|entry| entry.1 == 2).collect();
    assert_eq!(entries(&copied), two);
    assert_eq!(ages(&copied), [10], "a segment of which nothing stays is not written");
    assert!(two.iter().all(|(id, _)| seen.contains(id)));
    let all: HashSet<u128> = entries(&old).into_iter().map(|(id, _)| id).collect();
    assert_eq!(old.ids().unwrap(), all);
}

#[test]
fn what_came_late_follows_and_what_it_takes_back_does_not() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    written(&here, 7, &[(10, &[note(1)]), (20, &[note(2)])]);
    let old = open(&here, 7);
    let seen = old.copy_to(&next(&there), &HashSet::new()).unwrap();
    written(&here, 7, &[(30, &[note(3)]), (40, &[note(4), gone(3), gone(2)])]);
    // Somebody was faster in the new epoch.
    written(&there, 8, &[(50, &[note(5)])]);
    old.copy_late(&next(&there), seen).unwrap();
    let copied = open(&there, 8);
    let times: Vec<u64> = entries(&copied).into_iter().map(|(_, time_ms)| time_ms).collect();
    assert_eq!(times, [1, 5, 4, 1003, 1002], "behind what is there, each once, 2 and 3 gone");
    assert_eq!(ages(&copied), [10, 20, 50, 51]);
}

/// Another process forgot something a moment ago: whoever leaves has not heard of it, so nothing has
/// followed from it, and what it knows of it has to go when it hears.
#[test]
fn a_tombstone_that_was_not_heard_of_comes_along() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    written(&here, 7, &[(10, &[note(1), note(2), note(3)]), (20, &[gone(1)])]);
    let mut old = open(&here, 7);
    old.follow(&old.scan().unwrap());
    written(&here, 7, &[(30, &[gone(2)])]);
    old.copy_to(&next(&there), &HashSet::from([1])).unwrap();
    let copied = open(&there, 8);
    let times: Vec<u64> = entries(&copied).into_iter().map(|(_, time_ms)| time_ms).collect();
    assert_eq!(times, [3, 1002]);
    let mut moved = old.reopen(&next(&there)).unwrap();
    let mut heard = Vec::new();
    moved.news(&mut |record| heard.push(record)).unwrap();
    assert_eq!(heard, [gone(2)]);
}

#[test]
fn what_a_later_version_wrote_is_taken_along_unread() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    let mut journal = open(&here, 7);
    journal.append_item(Item::new(77, 9, b"who knows").unwrap(), true, 10).unwrap();
    journal.copy_to(&next(&there), &HashSet::new()).unwrap();
    let report = &open(&there, 8).scan().unwrap().segments[0];
    assert_eq!((report.records, report.unknown), (1, 1));
}

#[test]
fn a_record_that_was_refused_does_not_come_later() {
    let disk = SimDisk::new();
    let mut journal = open(&disk, 7);
    journal.append(&note(1), 1).unwrap();
    let at = disk.operations();
    disk.fail(Some(Fault { at, kind: FaultKind::Io, forever: true }));
    assert!(journal.append(&note(2), 2).is_err());
    disk.fail(None);
    journal.append(&note(3), 3).unwrap();
    journal.flush(3).unwrap();
    let times: Vec<u64> = entries(&journal).into_iter().map(|(_, time_ms)| time_ms).collect();
    assert_eq!(times, [1, 3]);
}
