//! Two processes and one vault, and what a vault refuses.

use std::collections::HashSet;

use super::*;
use crate::disk::sim::{Fault, FaultKind, Power, SimDisk};
use crate::journal::{Feedback, Journal, Limits, Record, Tombstone};
use crate::shred;
use crate::signal::Signal;

fn open(disk: &SimDisk) -> Vault {
    let provider = Arc::new(HostKey::new([9; 32]));
    Vault::open(Arc::new(disk.clone()), provider).unwrap()
}

fn journal(epoch: &Epoch) -> Journal {
    Journal::open(epoch.disk.clone(), epoch.seal.clone(), Limits::default()).unwrap()
}

fn note(n: u64) -> Record {
    Record::Feedback(Feedback {
        reply_id: n.into(),
        order: n,
        time_ms: n,
        signal: Signal::Accepted,
    })
}

fn numbers(epoch: &Epoch) -> Vec<u64> {
    let scan = journal(epoch).scan().unwrap();
    scan.entries.iter().map(|entry| entry.record.time_ms()).collect()
}

/// An app with records 1 to 3, of which 2 is forgotten, and a keyboard on the same store.
fn app_and_keyboard(disk: &SimDisk) -> (Vault, Journal, Journal) {
    let vault = open(disk);
    let keyboard = journal(open(disk).here());
    let mut app = journal(vault.here());
    for n in 1..=3 {
        app.append(&note(n), n).unwrap();
    }
    let gone = Tombstone { reply_ids: vec![2], time_ms: 9 };
    app.append(&Record::Tombstone(gone), 9).unwrap();
    (vault, app, keyboard)
}

#[test]
fn what_another_process_writes_meanwhile_comes_along() {
    for killed in [false, true] {
        let disk = SimDisk::new();
        let (mut vault, app, mut keyboard) = app_and_keyboard(&disk);
        let next = vault.prepare().unwrap();
        let seen = app.copy_to(&next, &HashSet::from([2])).unwrap();
        keyboard.append(&note(4), 10).unwrap();
        keyboard.append(&note(2), 11).unwrap(); // on a reply that is forgotten
        vault.enter(next).unwrap();
        keyboard.append(&note(5), 12).unwrap();
        if killed {
            vault = open(&disk);
            let journal = journal(vault.here());
            shred::settle_at_opening(&mut vault, &journal).unwrap();
        } else {
            app.copy_late(vault.here(), seen).unwrap();
            vault.clean().unwrap();
        }
        let mut found = numbers(vault.here());
        found.retain(|n| *n != 9); // a tombstone that a restart finds again does no harm
        assert_eq!(found, [1, 3, 4, 5], "killed: {killed}");
        assert!(disk.list("e1/j").is_err(), "the folder is gone");
        assert_eq!((vault.epoch(), open(&disk).epoch()), (2, 2));
    }
}

#[test]
fn one_process_leaves_an_epoch_at_a_time_and_the_others_notice() {
    let disk = SimDisk::new();
    let (mut app, mut other) = (open(&disk), open(&disk));
    let lock = app.lock().unwrap();
    assert!(matches!(other.lock(), Err(VaultError::Busy)));
    let next = app.prepare().unwrap();
    app.enter(next).unwrap();
    app.clean().unwrap();
    drop(lock);
    assert!(matches!(other.check(), Err(VaultError::ChangedElsewhere)));
    assert!(matches!(other.lock(), Err(VaultError::ChangedElsewhere)));
}

#[test]
fn what_another_process_has_begun_and_not_ended_is_cleaned_up() {
    let disk = SimDisk::new();
    let (mut app, mut other) = (open(&disk), open(&disk));
    {
        let _lock = other.lock().unwrap();
        other.prepare().unwrap();
        other.clean().unwrap();
        other.prepare().unwrap();
    }
    let _lock = app.lock().unwrap();
    assert!(!app.is_settled(), "the other one's folder has to go");
    app.clean().unwrap();
    assert!(disk.list("e2").is_err());
    let next = app.prepare().unwrap();
    assert!(!open(&disk).is_settled(), "a crash now leaves a folder that somebody removes");
    app.enter(next).unwrap();
    app.clean().unwrap();
    assert_eq!((open(&disk).epoch(), open(&disk).is_settled()), (2, true));
}

#[test]
fn an_epoch_that_could_not_be_entered_was_not_left() {
    for kind in [FaultKind::Io, FaultKind::Denied, FaultKind::StorageFull] {
        for step in 0.. {
            let disk = SimDisk::new();
            let mut vault = open(&disk);
            let next = vault.prepare().unwrap();
            let at = disk.operations() + step;
            disk.fail(Some(Fault { at, kind, forever: false }));
            let entered = vault.enter(next).is_ok();
            let struck = disk.struck();
            disk.fail(None);
            let label = format!("{kind:?} at {step}");
            vault.check().unwrap_or_else(|error| panic!("{label}: {error}"));
            let epoch = if entered { 2 } else { 1 };
            for image in disk.image().after_power(Power { samples: 8, seed: step }) {
                assert_eq!(open(&SimDisk::from_image(image)).epoch(), epoch, "{label}");
            }
            vault.clean().unwrap();
            assert_eq!((open(&disk).epoch(), vault.epoch()), (epoch, epoch), "{label}");
            if !struck {
                assert!(entered && step > 4);
                break;
            }
        }
    }
}

#[test]
fn a_lost_or_damaged_keyring_is_refused_and_nothing_is_begun_over_it() {
    let disk = SimDisk::new();
    let (_, mut app, _) = app_and_keyboard(&disk);
    app.close(20).unwrap();
    let refused = |disk: SimDisk| {
        let before = disk.list("e1/j").unwrap();
        let provider = Arc::new(HostKey::new([9; 32]));
        let opened = Vault::open(Arc::new(disk.clone()), provider);
        assert!(matches!(opened, Err(VaultError::Unreadable)));
        assert_eq!(disk.list("e1/j").unwrap(), before);
    };
    let torn = SimDisk::from_image(disk.image());
    for name in torn.list("k").unwrap() {
        torn.corrupt(&format!("k/{name}"), 20, 0xFF).unwrap();
    }
    refused(torn);
    for name in disk.list("k").unwrap() {
        disk.unlink(&format!("k/{name}")).unwrap();
    }
    // Without a keyring, a folder of records says that there was one.
    refused(disk);
}
