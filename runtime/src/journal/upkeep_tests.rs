//! Upkeep at the letter of its limits.

use std::sync::Arc;

use super::*;
use crate::disk::sim::SimDisk;
use crate::signal::Signal;

const LIMITS: Limits = Limits { segment_age_ms: 10, total_age_ms: 1600, ..DEFAULT };
const DEFAULT: Limits = Limits {
    segment_bytes: 1 << 20,
    segment_age_ms: 0,
    total_bytes: 1 << 30,
    total_age_ms: 0,
    group_records: 32,
    group_bytes: 1 << 20,
    group_age_ms: 5000,
};

fn open(disk: &SimDisk, limits: Limits) -> Journal {
    Journal::open(Arc::new(disk.clone()), Arc::new(Seal::new([7; 32])), limits).unwrap()
}

fn note(n: u64) -> Record {
    let signal = Signal::Edited { text: "the same for all".into() };
    Record::Feedback(Feedback { reply_id: n.into(), order: n, time_ms: n, signal })
}

/// One segment with one record for each of these times; the journal of the last one.
fn segments(disk: &SimDisk, limits: Limits, closed: bool, times_ms: &[u64]) -> Journal {
    let mut last = open(disk, limits);
    for &time_ms in times_ms {
        last = open(disk, limits);
        last.append(&note(time_ms), time_ms).unwrap();
        if closed {
            last.close(time_ms).unwrap();
        }
    }
    last
}

fn times(journal: &Journal) -> Vec<u64> {
    journal.scan().unwrap().entries.iter().map(|entry| entry.record.time_ms()).collect()
}

fn bytes_of_all(disk: &SimDisk) -> Vec<u64> {
    let names = disk.list(FOLDER).unwrap();
    names.iter().map(|name| disk.len(&format!("{FOLDER}/{name}")).unwrap()).collect()
}

#[test]
fn the_largest_record_is_taken() {
    let disk = SimDisk::new();
    let mut journal = open(&disk, LIMITS);
    let with = |length: usize| {
        let signal = Signal::Edited { text: "x".repeat(length) };
        Record::Feedback(Feedback { reply_id: 1, order: 1, time_ms: 1, signal })
    };
    let largest = (0..segment::MAX_ARCHIVE)
        .rev()
        .map(with)
        .find(|record| record.archive().len() == segment::MAX_ARCHIVE)
        .unwrap();
    journal.append(&largest, 1).unwrap();
    let found = open(&disk, LIMITS).scan().unwrap();
    assert_eq!(found.entries[0].record, largest);
    assert_eq!(found.segments[0].unknown, 0);
}

#[test]
fn what_is_exactly_as_old_or_as_much_as_allowed_stays() {
    let disk = SimDisk::new();
    let mut journal = segments(&disk, LIMITS, true, &[1, 2]);
    assert!(!journal.expire(&|_| true, 1601).unwrap());
    assert!(journal.expire(&|_| true, 1602).unwrap());
    assert_eq!(times(&journal), [2]);

    let disk = SimDisk::new();
    segments(&disk, LIMITS, true, &[1, 2, 3]);
    let total: u64 = bytes_of_all(&disk).iter().sum();
    let mut enough = open(&disk, Limits { total_bytes: total, ..LIMITS });
    assert!(!enough.expire(&|_| true, 100).unwrap());
    let mut short = open(&disk, Limits { total_bytes: total - 1, ..LIMITS });
    assert!(short.expire(&|_| true, 100).unwrap());
    assert_eq!(times(&short), [2, 3], "no more than needed");
}

#[test]
fn nobody_loses_a_segment_that_may_still_be_written_to() {
    let disk = SimDisk::new();
    let little = Limits { total_bytes: 0, ..LIMITS };
    let mut journal = segments(&disk, little, true, &[1]);
    assert!(!journal.expire(&|_| true, 21).unwrap(), "twice the age of a segment is not over");
    assert!(journal.expire(&|_| true, 22).unwrap());

    let mut journal = segments(&disk, little, false, &[100]);
    assert!(!journal.expire(&|_| true, 5000).unwrap(), "this process has it open");
    assert_eq!(times(&journal), [100]);
}

#[test]
fn a_tombstone_goes_with_the_last_that_it_takes_back() {
    let disk = SimDisk::new();
    let gone = |n: u64| Record::Tombstone(Tombstone { reply_ids: vec![n.into()], time_ms: 50 });
    let mut journal = segments(&disk, LIMITS, true, &[1, 2]);
    let made = Record::Interaction(Interaction { reply_id: 9, time_ms: 3, ..interaction() });
    for (record, time_ms) in [(made, 3), (gone(1), 50), (gone(9), 50)] {
        journal.append(&record, time_ms).unwrap();
        journal.close(time_ms).unwrap();
    }
    // What they take back goes at the same time: they have nothing left to do.
    assert!(journal.expire(&|_| true, 1652).unwrap());
    assert_eq!(journal.scan().unwrap().entries, []);
    assert!(bytes_of_all(&disk).is_empty(), "nothing was written anew");
}

#[test]
fn a_consent_outlives_its_segment_unless_there_is_a_later_one() {
    let consent = |granted, time_ms| Record::Consent(Consent { granted, time_ms });
    let disk = SimDisk::new();
    let mut journal = open(&disk, LIMITS);
    for (granted, time_ms) in [(true, 0), (false, 1000)] {
        journal.append(&consent(granted, time_ms), time_ms).unwrap();
        journal.close(time_ms).unwrap();
    }
    assert!(journal.expire(&|_| true, 1700).unwrap());
    let found = journal.scan().unwrap();
    assert_eq!((found.consent.map(|said| said.granted), found.entries.len()), (Some(false), 1));
    assert!(journal.expire(&|_| true, 5000).unwrap());
    assert_eq!(journal.scan().unwrap().consent.map(|said| said.granted), Some(false));
}

#[test]
fn the_last_word_on_consent_outlives_its_segment_before_an_older_one_in_a_later_segment() {
    let word = |granted, time_ms| Record::Consent(Consent { granted, time_ms });
    let disk = SimDisk::new();
    let mut journal = open(&disk, LIMITS);
    // Said by a process whose clock was ahead, then by one that had not heard it.
    journal.append(&word(false, 9_000), 0).unwrap();
    journal.close(0).unwrap();
    journal.append(&word(true, 1000), 1000).unwrap();
    journal.close(1000).unwrap();
    assert!(journal.expire(&|_| true, 1700).unwrap());
    let found = journal.scan().unwrap();
    let last = Consent { granted: false, time_ms: 9_000 };
    assert_eq!((found.consent, found.entries.len()), (Some(last), 2));
}

#[test]
fn eight_finished_segments_are_joined_and_seven_are_not() {
    for (count, joined) in [(7, 0), (8, 8), (9, 9)] {
        let disk = SimDisk::new();
        let all: Vec<u64> = (1..=count).collect();
        let mut journal = segments(&disk, LIMITS, true, &all);
        assert_eq!(journal.merge(15).unwrap(), joined, "{count} segments");
        assert_eq!(times(&journal), all);
    }
}

#[test]
fn what_nobody_closed_is_joined_when_its_writer_must_have_left_it() {
    let disk = SimDisk::new();
    let all: Vec<u64> = (1..10).collect();
    let mut journal = segments(&disk, LIMITS, false, &all);
    // The ninth is open here, the others may be open elsewhere: the newest of them until 28.
    assert_eq!(journal.merge(28).unwrap(), 0);
    assert_eq!(journal.merge(29).unwrap(), 8);
    assert_eq!(times(&journal), all);
    assert_eq!(journal.merge(1000).unwrap(), 0);
}

#[test]
fn a_torn_segment_stays_as_evidence() {
    let disk = SimDisk::new();
    let all: Vec<u64> = (1..10).collect();
    segments(&disk, LIMITS, true, &all);
    let name = disk.list(FOLDER).unwrap()[4].clone();
    let path = format!("{FOLDER}/{name}");
    disk.truncate(&path, disk.len(&path).unwrap() as usize - 3).unwrap();
    let mut journal = open(&disk, LIMITS);
    assert_eq!(journal.merge(1000).unwrap(), 0, "four and four around it");
    assert!(disk.len(&path).is_ok());
}

#[test]
fn joined_segments_keep_within_the_limits_of_one() {
    // A hundred milliseconds, a sixteenth of the age: the last of eight lies at that, or beyond.
    for (last, joined) in [(101, 8), (102, 0)] {
        let disk = SimDisk::new();
        let times_ms = [1, 2, 3, 4, 5, 6, 7, last];
        assert_eq!(segments(&disk, LIMITS, true, &times_ms).merge(200).unwrap(), joined);
    }
    for (missing, joined) in [(0, 10), (1, 9)] {
        let disk = SimDisk::new();
        let all: Vec<u64> = (1..11).collect();
        segments(&disk, LIMITS, true, &all);
        let bytes = bytes_of_all(&disk).iter().sum::<u64>() as usize;
        let mut journal = open(&disk, Limits { segment_bytes: bytes - missing, ..LIMITS });
        assert_eq!(journal.merge(30).unwrap(), joined);
        assert_eq!(times(&journal), all);
    }
    // A run that was too far or too large begins anew, and what is found first is taken first.
    let disk = SimDisk::new();
    let apart: Vec<u64> = (1..9).chain(500..509).collect();
    let mut journal = segments(&disk, LIMITS, true, &apart);
    assert_eq!(journal.merge(600).unwrap(), 8);
    assert_eq!(journal.merge(600).unwrap(), 9);
    assert_eq!(times(&journal), apart);
}

fn interaction() -> Interaction {
    Interaction {
        session: 3,
        surface: "mail".into(),
        order: 2,
        time_ms: 2,
        ..Interaction::default()
    }
}
