//! The journal on a disk that works, and on one that fails.

use std::sync::Arc;

use super::*;
use crate::disk::RealDisk;
use crate::disk::sim::{Fault, FaultKind, Power, SimDisk};
use crate::signal::Signal;

fn open_with(disk: &SimDisk, limits: Limits) -> Journal {
    Journal::open(Arc::new(disk.clone()), Arc::new(Seal::new([7; 32])), limits).unwrap()
}

fn open(disk: &SimDisk) -> Journal {
    open_with(disk, Limits::default())
}

fn note(n: u64) -> Record {
    let text = format!("a text of the user, number {n}");
    Record::Feedback(Feedback {
        reply_id: n.into(),
        order: n,
        time_ms: n,
        signal: Signal::Edited { text },
    })
}

fn numbers(journal: &Journal) -> Vec<u64> {
    journal.scan().unwrap().entries.iter().map(|entry| entry.record.time_ms()).collect()
}

#[test]
fn every_kind_of_record_comes_back_as_it_was() {
    let disk = SimDisk::new();
    let mut journal = open(&disk);
    let records = [
        Record::Consent(Consent { granted: true, time_ms: 1 }),
        Record::Interaction(Interaction {
            reply_id: u128::MAX - 1,
            order: 2,
            follows: Some(5),
            session: 3,
            surface: "mail".into(),
            time_ms: 2,
            system: Some("be brief".into()),
            turns: vec![Turn { role: "user".into(), text: "grüße ☃".into() }],
            reply: String::new(),
            adapter_digest: Some([9; 32]),
            seed: u64::MAX,
            shots: 0,
            tokens: 12,
            stop: StopReason::Cancelled,
            mean_nll: Some(0.25),
        }),
        note(3),
        Record::UsedByGeneration(UsedByGeneration {
            digest: [4; 32],
            reply_ids: vec![1, 2],
            time_ms: 4,
        }),
    ];
    for record in &records {
        journal.append(record, 10).unwrap();
    }
    journal.close(11).unwrap();
    let scan = open(&disk).scan().unwrap();
    let found: Vec<Record> = scan.entries.into_iter().map(|entry| entry.record).collect();
    assert_eq!(found, records);
    assert_eq!((scan.consent.map(|said| said.granted), scan.segments.len()), (Some(true), 1));
    assert_eq!(scan.segments[0].end, End::Footer);
}

#[test]
fn nothing_of_the_text_is_readable_on_the_disk() {
    let disk = SimDisk::new();
    let mut journal = open(&disk);
    journal.append(&note(1), 1).unwrap();
    journal.close(1).unwrap();
    let path = format!("j/{}", journal.segment_names().unwrap()[0]);
    let bytes = disk.read(&path).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"the user"));
}

#[test]
fn a_tombstone_hides_the_reply_and_its_feedback() {
    let disk = SimDisk::new();
    let mut journal = open(&disk);
    for n in 1..=3 {
        journal.append(&note(n), n).unwrap();
    }
    let gone = Tombstone { reply_ids: vec![2], time_ms: 9 };
    journal.append(&Record::Tombstone(gone), 9).unwrap();
    assert_eq!(numbers(&journal), [1, 3, 9]);
}

#[test]
fn groups_are_durable_when_they_are_full_or_old_and_tombstones_at_once() {
    let lost_power = |disk: &SimDisk| {
        let images = disk.image().after_power(Power { samples: 1, seed: 1 });
        let kept =
            images.into_iter().map(|image| numbers(&open(&SimDisk::from_image(image))).len());
        kept.min().unwrap()
    };
    let disk = SimDisk::new();
    let mut journal = open(&disk);
    for n in 0..32 {
        assert_eq!(lost_power(&disk), 0, "record {n} costs a sync");
        journal.append(&note(n), 100).unwrap();
    }
    assert_eq!(lost_power(&disk), 32);
    journal.append(&note(32), 200).unwrap();
    journal.tick(5_199).unwrap();
    assert_eq!(lost_power(&disk), 32);
    journal.tick(5_200).unwrap();
    assert_eq!(lost_power(&disk), 33);
    let gone = Tombstone { reply_ids: vec![500], time_ms: 9 };
    journal.append(&Record::Tombstone(gone), 5_300).unwrap();
    assert_eq!(lost_power(&disk), 34);
}

#[test]
fn segments_rotate_by_size_and_age_and_each_start_takes_a_new_one() {
    let disk = SimDisk::new();
    let limits = Limits { segment_bytes: 1000, ..Limits::default() };
    let mut journal = open_with(&disk, limits);
    for n in 0..20 {
        journal.append(&note(n), 50).unwrap();
    }
    let full = journal.segment_names().unwrap().len();
    assert!(full > 2, "{full} segments");
    journal.append(&note(20), 100 + limits.segment_age_ms).unwrap();
    assert_eq!(journal.segment_names().unwrap().len(), full + 1);
    let mut journal = open_with(&disk, limits); // the clock went back, the order stays
    journal.append(&note(21), 7).unwrap();
    assert_eq!(numbers(&journal), (0..22).collect::<Vec<_>>());
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[test]
fn the_oldest_segments_go_first_and_young_ones_stay() {
    let disk = SimDisk::new();
    let limits = Limits { segment_bytes: 1, total_bytes: 1400, ..Limits::default() };
    let mut journal = open_with(&disk, limits);
    for n in 0..8 {
        journal.append(&note(n), n).unwrap();
    }
    journal.append(&note(8), 30 * HOUR).unwrap();
    assert!(!journal.expire(&|_| true, 12 * HOUR).unwrap(), "somebody may still write to them");
    assert!(journal.expire(&|_| true, 31 * HOUR).unwrap());
    let kept = numbers(&journal);
    assert_eq!(kept, (9 - kept.len() as u64..9).collect::<Vec<_>>());
    assert!((2..8).contains(&kept.len()), "{kept:?}");
    assert!(!journal.expire(&|_| true, 31 * HOUR).unwrap());
    journal.close(31 * HOUR).unwrap();
    assert!(journal.expire(&|_| true, limits.total_age_ms + 31 * HOUR).unwrap());
    assert!(numbers(&journal).is_empty());
}

#[test]
fn what_must_outlive_a_segment_does_wherever_the_power_fails() {
    let disk = SimDisk::new();
    let mut journal = open_with(&disk, Limits { segment_bytes: 1, ..Limits::default() });
    let used = |digest| {
        let used = UsedByGeneration { digest: [digest; 32], reply_ids: vec![1], time_ms: 1 };
        Record::UsedByGeneration(used)
    };
    let gone = Record::Tombstone(Tombstone { reply_ids: vec![5, 900], time_ms: 2 });
    let given = Record::Consent(Consent { granted: true, time_ms: 0 });
    for (day, record) in [(0, given), (0, used(1)), (0, used(2)), (0, gone), (1, note(1))] {
        journal.append(&record, day * DAY).unwrap();
    }
    // The fifth was written by another process, behind the tombstone that takes it back.
    for n in [5, 8] {
        journal.append(&note(n), n * DAY).unwrap();
    }
    journal.close(8 * DAY).unwrap();
    disk.record();
    assert!(journal.expire(&|digest| *digest == [1; 32], 92 * DAY).unwrap());
    let check = |scan: Scan, label: &str| {
        let records: Vec<Record> = scan.entries.into_iter().map(|entry| entry.record).collect();
        assert_eq!(scan.consent.map(|said| said.granted), Some(true), "{label}");
        assert!(records.contains(&note(8)) && !records.contains(&note(5)), "{label}");
        assert!(records.contains(&used(1)), "{label}");
        records
    };
    let records = check(journal.scan().unwrap(), "at the end");
    let left = Record::Tombstone(Tombstone { reply_ids: vec![5], time_ms: 2 });
    assert_eq!(records.len(), 4, "{records:?}");
    assert!(records.contains(&left) && !records.contains(&used(2)));
    for moment in disk.take_moments() {
        for image in moment.image.after_power(Power { samples: 20, seed: 3 }) {
            let scan = open(&SimDisk::from_image(image)).scan().unwrap();
            check(scan, &format!("power lost before {}", moment.under_way));
        }
    }
}

#[test]
fn segments_far_apart_are_not_joined() {
    let disk = SimDisk::new();
    for n in 0..16 {
        let mut journal = open(&disk);
        journal.append(&note(n), n * DAY).unwrap();
        journal.close(n * DAY).unwrap();
    }
    // A sixteenth of 90 days is less than eight days: joined, they would go too early.
    assert_eq!(open(&disk).merge(20 * DAY).unwrap(), 0);
}

#[test]
fn merging_keeps_every_record_in_order_wherever_it_stops() {
    let disk = SimDisk::new();
    for n in 0..10 {
        let mut journal = open(&disk);
        journal.append(&note(n), n).unwrap();
        journal.close(n).unwrap();
    }
    disk.record();
    let mut journal = open(&disk);
    assert_eq!(journal.merge(100).unwrap(), 10);
    assert_eq!(journal.segment_names().unwrap().len(), 1);
    let power = Power { samples: 40, seed: 5 };
    for moment in disk.take_moments() {
        for image in moment.image.after_power(power).into_iter().chain([moment.image.clone()]) {
            let found = numbers(&open(&SimDisk::from_image(image)));
            assert_eq!(found, (0..10).collect::<Vec<_>>(), "after {}", moment.under_way);
        }
    }
}

#[test]
fn a_record_too_large_for_a_frame_is_refused_and_the_rest_goes_on() {
    let disk = SimDisk::new();
    let mut journal = open(&disk);
    let text = "x".repeat(17 << 20);
    let signal = Signal::Edited { text };
    let large = Record::Feedback(Feedback { reply_id: 1, order: 1, time_ms: 1, signal });
    let refused = journal.append(&large, 1);
    assert!(matches!(refused, Err(JournalError::RecordTooLarge { limit: 16_777_200, .. })));
    journal.append(&note(2), 2).unwrap();
    assert_eq!(numbers(&journal), [2]);
}

#[test]
fn no_failure_of_the_disk_loses_an_acknowledged_record() {
    for kind in [FaultKind::StorageFull, FaultKind::Io, FaultKind::Denied] {
        for (forever, step) in [false, true].into_iter().flat_map(|f| (0..40).map(move |s| (f, s)))
        {
            let disk = SimDisk::new();
            let limits = Limits { group_records: 3, segment_bytes: 900, ..Limits::default() };
            let mut journal = open_with(&disk, limits);
            let at = disk.operations() + step;
            disk.fail(Some(Fault { at, kind, forever }));
            let mut acknowledged = Vec::new();
            for n in 0..12 {
                if journal.append(&note(n), n).is_ok() {
                    acknowledged.push(n);
                }
            }
            disk.fail(None);
            // Killed now: what was acknowledged is in the page cache.
            let found = numbers(&open(&disk));
            let label = format!("{kind:?} at {step}, forever {forever}");
            assert!(acknowledged.iter().all(|n| found.contains(n)), "{label}: {found:?}");
            assert!(found.is_sorted_by(|a, b| a < b), "{label}: {found:?}");
            // Not killed, and the disk is well again: a flush makes all of it durable.
            journal.flush(50).unwrap();
            for image in disk.image().after_power(Power { samples: 8, seed: step }) {
                let found = numbers(&open(&SimDisk::from_image(image)));
                assert!(acknowledged.iter().all(|n| found.contains(n)), "{label}, power");
            }
        }
    }
}

#[test]
fn two_processes_append_at_once_without_a_lock() {
    let disk = SimDisk::new();
    let (mut app, mut keyboard) = (open(&disk), open(&disk));
    for n in 0..40 {
        let writer = if n % 3 == 0 { &mut keyboard } else { &mut app };
        writer.append(&note(n), 100).unwrap();
    }
    let mut found = numbers(&open(&disk));
    found.sort();
    assert_eq!(found, (0..40).collect::<Vec<_>>());
    assert_eq!(app.merge(200).unwrap(), 0, "live segments stay");
}

#[test]
fn what_outlives_its_segment_stays_the_same_record() {
    let disk = SimDisk::new();
    let limits = Limits { segment_age_ms: 10, total_age_ms: 100, ..Limits::default() };
    let mut journal = open_with(&disk, limits);
    journal.append(&Record::Consent(Consent { granted: true, time_ms: 1 }), 1).unwrap();
    journal.close(2).unwrap();
    let before = journal.scan().unwrap().entries[0].id;
    // A copy, as another process has it that has left the epoch meanwhile.
    let copy = SimDisk::from_image(disk.image());
    assert!(journal.expire(&|_| false, 500).unwrap());
    let after = journal.scan().unwrap();
    assert_eq!((after.entries.len(), after.consent.map(|said| said.granted)), (1, Some(true)));
    assert_eq!(after.entries[0].id, before);
    let mut there = open_with(&copy, limits);
    there.append(&Record::Consent(Consent { granted: false, time_ms: 3 }), 300).unwrap();
    for name in disk.list("j").unwrap() {
        let (path, bytes) = (format!("j/{name}"), disk.read(&format!("j/{name}")).unwrap());
        copy.create(&path).unwrap();
        copy.append(&path, &bytes).unwrap();
    }
    assert_eq!(
        there.scan().unwrap().consent.map(|said| said.granted),
        Some(false),
        "an older one never wins"
    );
}

#[test]
fn the_last_word_on_consent_is_the_latest_and_at_one_time_the_refusal() {
    let word = |granted, time_ms| Consent { granted, time_ms };
    assert_eq!(Consent::said(true, None, 7), word(true, 7));
    assert_eq!(Consent::said(false, Some(word(true, 7)), 9), word(false, 9));
    // However far the clock is behind what was heard.
    assert_eq!(Consent::said(false, Some(word(true, 7)), 3), word(false, 8));
    assert!(word(true, 0).counts_after(None));
    assert!(word(true, 2).counts_after(Some(word(false, 1))));
    assert!(!word(true, 1).counts_after(Some(word(false, 2))));
    assert!(word(false, 1).counts_after(Some(word(true, 1))));
    assert!(!word(true, 1).counts_after(Some(word(false, 1))));
    assert!(!word(false, 1).counts_after(Some(word(false, 1))));

    // The segment that begins first holds the last word, and is read first.
    let disk = SimDisk::new();
    let (mut first, mut second) = (open(&disk), open(&disk));
    first.append(&note(1), 10).unwrap();
    second.append(&Record::Consent(word(true, 20)), 20).unwrap();
    first.append(&Record::Consent(word(false, 30)), 30).unwrap();
    assert_eq!(open(&disk).scan().unwrap().consent, Some(word(false, 30)));
}

#[test]
fn a_real_folder_keeps_the_journal() {
    let root = std::env::temp_dir().join(format!("sapwood-journal-{}", std::process::id()));
    let seal = Arc::new(Seal::new([7; 32]));
    let open = || {
        let disk = Arc::new(RealDisk::open(&root).unwrap());
        Journal::open(disk, Arc::clone(&seal), Limits::default()).unwrap()
    };
    for n in 0..3 {
        open().append(&note(n), n).unwrap(); // dropped without close, as a killed process would
    }
    let mut journal = open();
    journal.append(&note(3), 3).unwrap();
    journal.close(3).unwrap();
    assert_eq!(numbers(&open()), [0, 1, 2, 3]);
    std::fs::remove_dir_all(&root).unwrap();
}
