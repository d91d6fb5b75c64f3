//! A full disk, at every call of the public API: a refusal and a deletion always succeed, every reply
//! that was begun ends with its text, and nothing that was acknowledged is lost. And a medium that can
//! only be read can be looked at.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sapwood::disk::Disk;
use sapwood::disk::sim::SimDisk;
use sapwood::signal::Signal;
use sapwood::{Budget, Config, Consent, Erasure, Event, Learner, Reply, Scope, Shown};
use sapwood_models::{Message, Role, Stop};
use sapwood_tests::tiny;

use super::greedy;
use super::training::{LONG, training_config};

fn settings() -> Config {
    Config { context_tokens: 256, ..training_config(4) }
}

fn open_on(disk: &SimDisk) -> Learner {
    Learner::open_on(Arc::new(disk.clone()), tiny::model(tiny::WIDTH), settings()).unwrap()
}

fn say(learner: &Learner, text: &str) -> Reply {
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let mut events: Vec<Event> =
        chat.respond(text, greedy(3)).unwrap().map(|event| event.unwrap()).collect();
    let Some(Event::Done(reply)) = events.pop() else { panic!("no end") };
    reply
}

/// Forty corrected replies, an adapter on probation and a run under way.
fn teach(learner: &Learner) -> Vec<u128> {
    learner.set_consent(Consent::Granted).unwrap();
    let mut ids = Vec::new();
    for n in 0..40 {
        let reply = say(learner, &format!("parcel {n} {}", "is late ".repeat(10)));
        learner.signal(reply.id, Signal::Edited { text: format!("desk {n}") }).unwrap();
        ids.push(reply.id);
    }
    let digest = learner.stage(&tiny::adapter(learner.model(), 5, &ids[..3])).unwrap();
    learner.activate(&digest).unwrap();
    learner.train_slice(Budget { time: LONG, steps: Some(1) }, &Stop::new()).unwrap();
    learner.flush().unwrap();
    ids
}

/// Everything that an app calls, on a disk without room. Each may fail, typed, and the two that must
/// not do not.
fn every_call(learner: &Learner, kept: &[u128], elsewhere: &Path) {
    for n in 0..400 {
        let reply = say(learner, &format!("hello {n} {}", "again ".repeat(20)));
        assert!(!reply.text.is_empty());
        let signalled = learner.signal(reply.id, Signal::Accepted);
        assert!(reply.kept || signalled.is_err(), "a signal on what was not kept");
        if !reply.kept {
            break;
        }
        assert!(n < 399, "there is room without end");
    }
    let _ = learner.signal(kept[0], Signal::Edited { text: "x".repeat(9000) });
    let _ = learner.train_slice(Budget { time: LONG, steps: Some(1) }, &Stop::new());
    let _ = learner.flush();
    let other = learner.stage(&tiny::adapter(learner.model(), 6, &[]));
    let _ = other.map(|digest| learner.activate(&digest));
    let _ = learner.consider(&tiny::adapter(learner.model(), 7, &[]), &Stop::new());
    let _ = learner.export_data(elsewhere);
    let _ = learner.exit_was_benign();
    let _ = learner.confirm_base();
    assert!(learner.turns().len() >= 40 && !learner.adapters().is_empty());
    learner.rollback().unwrap();
    assert!(!say(learner, "still here").text.is_empty());

    learner.set_consent(Consent::Refused).unwrap();
    let one = learner.forget(&Scope::Reply(kept[1])).unwrap();
    assert_eq!(one.replies, [kept[1]]);
    let all = learner.forget(&Scope::Everything).unwrap();
    assert_eq!(all.erasure, Erasure::Deleted, "and its bytes are gone");
    assert!(learner.turns().is_empty());
    learner.set_consent(Consent::Granted).unwrap();
    assert!(say(learner, "from the beginning").kept, "deleting made room");
}

#[test]
fn on_a_full_disk_a_refusal_and_a_deletion_succeed_and_replies_are_replies() {
    let disk = SimDisk::new();
    let learner = open_on(&disk);
    let kept = teach(&learner);
    let image = disk.image();
    // From no block left to a few: the disk is full at another call each time.
    for blocks in [0, 1, 2, 3, 5, 8, 13, 21] {
        let disk = SimDisk::from_image(image.clone());
        let elsewhere = tempfile::tempdir().unwrap();
        let learner = open_on(&disk);
        disk.set_capacity(Some(disk.used() + blocks * 4096));
        every_call(&learner, &kept, elsewhere.path());
    }
}

#[test]
fn a_store_on_a_full_disk_opens_and_is_read() {
    let disk = SimDisk::new();
    let kept = teach(&open_on(&disk));
    for reserve in [true, false] {
        let full = SimDisk::from_image(disk.image());
        if !reserve {
            // An older version, or another app, has taken it.
            full.unlink("reserve").unwrap();
        }
        full.set_capacity(Some(full.used()));
        let learner = open_on(&full);
        assert_eq!(learner.turns().len(), kept.len());
        assert_eq!(learner.adapters().len(), 1);
        let capture = Learner::open_capture_on(Arc::new(full.clone()), &settings()).unwrap();
        assert_eq!(capture.consent().unwrap(), Consent::Granted);
        let shown = Shown {
            surface: "mail".into(),
            conversation: 1,
            instructions: None,
            turns: vec![Message::new(Role::User, "hello ".repeat(900))],
            reply: "hi".into(),
            adapter: None,
        };
        assert!(capture.reply(shown).is_err());
        if reserve {
            learner.set_consent(Consent::Refused).unwrap();
            assert_eq!(capture.consent().unwrap(), Consent::Refused);
            drop((learner, capture));
            assert_eq!(open_on(&full).consent(), Consent::Refused);
        }
    }
}

/// A small file system of its own, where this user may mount one.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(bytes: &str) -> Option<Mount> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Mount(folder);
        mount.mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).then_some(mount)
    }

    fn mount(&self, options: &[&str]) -> bool {
        let command = Command::new("mount").args(options).arg(self.0.path()).output();
        command.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn open_in(folder: &Path) -> Learner {
    let config = Config { dir: folder.join("store"), ..settings() };
    Learner::open(tiny::model(tiny::WIDTH), config).unwrap()
}

#[test]
fn a_small_file_system_that_is_full_and_then_read_only() {
    let Some(mount) = Mount::new("600k") else {
        println!(
            "SKIPPED: this user may not mount a file system; full and read-only ones not tried"
        );
        return;
    };
    let folder = mount.0.path();
    let learner = open_in(folder);
    let kept = teach(&learner);
    // Somebody else takes what is left.
    let mut filler = std::fs::File::create(folder.join("filler")).unwrap();
    let block = vec![7; 4096];
    while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    let elsewhere = tempfile::tempdir().unwrap();
    every_call(&learner, &kept, elsewhere.path());
    drop((learner, filler));

    std::fs::remove_file(folder.join("filler")).unwrap();
    let learner = open_in(folder);
    teach(&learner);
    let turns = learner.turns().len();
    drop(learner);
    assert!(mount.mount(&["-o", "remount,ro"]), "it can't be made read-only");
    let learner = open_in(folder);
    assert_eq!((learner.consent(), learner.turns().len()), (Consent::Granted, turns));
    assert!(learner.adapter_in_force().is_some());
    let reply = say(&learner, "hello");
    assert!(!reply.kept && !reply.text.is_empty());
    assert!(learner.signal(learner.turns()[0].reply_id, Signal::Accepted).is_err());
    assert!(learner.set_consent(Consent::Refused).is_err());
    assert_eq!(learner.consent(), Consent::Refused, "it holds in memory");
}
