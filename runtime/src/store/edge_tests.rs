//! The store at the letter of its rules: what is counted, what is bounded, whose error is whose.

use std::io;
use std::sync::Arc;

use super::manifest::Manifest;
use super::*;
use crate::disk::at;
use crate::disk::sim::{Fault, FaultKind, SimDisk};

const BASE: Digest = [1; 32];

fn open_with(disk: &SimDisk, base: Digest) -> Result<Store, StoreError> {
    Store::open(Arc::new(disk.clone()), Arc::new(Seal::new([7; 32])), base)
}

fn open(disk: &SimDisk) -> Store {
    open_with(disk, BASE).unwrap()
}

fn staged(store: &mut Store, bytes: &[u8]) -> Digest {
    store.stage(bytes, Meta::default()).unwrap()
}

fn promoted(store: &mut Store, bytes: &[u8]) -> Digest {
    let digest = staged(store, bytes);
    store.propose(&digest).unwrap();
    for _ in 0..N_HEALTHY {
        store.begin_trial().unwrap();
        store.healthy().unwrap();
    }
    store.confirm(1).unwrap();
    digest
}

fn path(digest: &Digest) -> String {
    format!("a/{}", hex(digest))
}

/// What `work` answers with the next operation of that disk failing, for every operation of it.
fn with_io_errors<T>(
    prepared: impl Fn() -> (SimDisk, Store),
    work: impl Fn(&mut Store) -> Result<T, StoreError>,
) -> Vec<Result<T, StoreError>> {
    let (disk, mut store) = prepared();
    let before = disk.operations();
    assert!(work(&mut store).is_ok());
    (0..disk.operations() - before)
        .map(|step| {
            let (disk, mut store) = prepared();
            let at = disk.operations() + step;
            disk.fail(Some(Fault { at, kind: FaultKind::Io, forever: false }));
            work(&mut store)
        })
        .collect()
}

#[test]
fn trials_are_counted_and_the_counts_go_with_the_candidate() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let digest = staged(&mut store, b"new");
    assert_eq!((store.tries_left(), store.healthy_sessions()), (0, 0));
    store.propose(&digest).unwrap();
    assert_eq!(store.tries_left(), N_TRIES);
    for healthy in 1..=N_HEALTHY {
        assert!(!store.in_trial());
        store.begin_trial().unwrap();
        assert_eq!((store.in_trial(), store.tries_left()), (true, N_TRIES - 1));
        assert!(!store.trial_interrupted(), "it is this session's");
        assert!(open(&disk).trial_interrupted(), "and was that of an earlier one");
        store.healthy().unwrap();
        assert_eq!((store.healthy_sessions(), store.tries_left()), (healthy, N_TRIES));
        assert!(!open(&disk).trial_interrupted());
    }
    store.confirm(1).unwrap();
    assert_eq!((store.tries_left(), store.healthy_sessions()), (0, 0));
    let bad = staged(&mut store, b"bad");
    store.propose(&bad).unwrap();
    store.begin_trial().unwrap();
    assert_eq!(store.rollback(Reason::Host).unwrap(), bad);
    assert_eq!((store.tries_left(), store.in_trial()), (0, false));
    assert!(!open(&disk).trial_interrupted());
}

#[test]
fn commits_and_events_are_counted_and_dated() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    store.set_time(77);
    let before = store.sequence();
    let digest = staged(&mut store, b"one");
    store.propose(&digest).unwrap();
    assert_eq!(store.sequence(), before + 2);
    assert_eq!(store.events().last().unwrap().time_ms, 77);
    let two = staged(&mut store, b"two");
    let numbers: Vec<u64> = store.generations().iter().map(|known| known.number).collect();
    assert_eq!((numbers, store.generations()[1].digest), (vec![1, 2], two));
}

#[test]
fn figures_of_an_adapter_are_few_and_their_names_short() {
    let meta = |count: usize, name: usize| Meta {
        metrics: vec![Metric { name: "m".repeat(name), value: 0.5 }; count],
        ..Meta::default()
    };
    let mut store = open(&SimDisk::new());
    assert!(store.stage(b"most", meta(MAX_METRICS, MAX_METRIC_NAME)).is_ok());
    for (count, name) in [(MAX_METRICS + 1, 1), (1, MAX_METRIC_NAME + 1)] {
        let refused = store.stage(b"more", meta(count, name));
        assert!(matches!(refused, Err(StoreError::TooManyMetrics { .. })), "{count}, {name}");
    }
}

#[test]
fn staging_again_writes_a_lost_file_anew_and_lists_nothing_twice() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let digest = staged(&mut store, b"one");
    let before = (disk.operations(), store.sequence());
    assert_eq!(staged(&mut store, b"one"), digest);
    assert_eq!(disk.operations() - before.0, 1, "the file was read");
    disk.corrupt(&path(&digest), 90, 1).unwrap();
    assert!(matches!(store.adapter_bytes(&digest), Err(StoreError::Damaged { .. })));
    assert!(matches!(store.propose(&digest), Err(StoreError::Damaged { .. })));
    assert_eq!(staged(&mut store, b"one"), digest);
    assert_eq!(store.adapter_bytes(&digest).unwrap(), b"one");
    assert_eq!(store.generations().len(), 1);
}

#[test]
fn no_room_for_an_adapter_leaves_everything_as_it_was() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let before = store.sequence();
    let at = disk.operations();
    disk.fail(Some(Fault { at, kind: FaultKind::StorageFull, forever: true }));
    assert!(store.stage(&[5; 10_000], Meta::default()).is_err());
    disk.fail(None);
    assert_eq!((store.sequence(), store.generations().len()), (before, 0));
    assert_eq!(open(&disk).generations().len(), 0);
    assert_eq!(disk.list("a").unwrap(), Vec::<String>::new());
}

#[test]
fn a_file_that_holds_another_adapter_is_damaged() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let (one, two) = (staged(&mut store, b"one"), staged(&mut store, b"two"));
    disk.rename(&path(&two), &path(&one)).unwrap();
    assert!(
        matches!(store.adapter_bytes(&one), Err(StoreError::Damaged { digest }) if digest == one)
    );
    assert!(matches!(store.adapter_bytes(&two), Err(StoreError::Damaged { .. })), "it is gone");
}

#[test]
fn an_adapter_whose_file_is_gone_is_taken_back_at_the_next_start() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let good = promoted(&mut store, b"good");
    let lost = promoted(&mut store, b"lost");
    disk.unlink(&path(&lost)).unwrap();
    let store = open(&disk);
    assert_eq!(store.in_force().unwrap().digest, good);
    assert!(store.is_refused(&lost));
    assert_eq!(store.events().last().unwrap().change, Change::RolledBack(Reason::Damaged));
}

#[test]
fn four_staged_adapters_wait_and_an_older_one_gives_way() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let all: Vec<Digest> = (0..6u8).map(|n| staged(&mut store, &[n])).collect();
    let waiting = store.generations().iter().filter(|known| known.state == State::Staged);
    let waiting: Vec<Digest> = waiting.map(|known| known.digest).collect();
    assert_eq!(waiting, all[6 - KEPT_STAGED..]);
    assert_eq!(disk.list("a").unwrap().len(), KEPT_STAGED);
}

#[test]
fn the_newest_eight_that_are_gone_are_still_listed() {
    let mut store = open(&SimDisk::new());
    for n in 0..20u8 {
        let digest = staged(&mut store, &[n]);
        store.carry_out(&digest, None, false).unwrap();
    }
    let numbers: Vec<u64> = store.generations().iter().map(|known| known.number).collect();
    assert_eq!(numbers, (13..=20).collect::<Vec<_>>());
}

#[test]
fn what_is_to_be_forgotten_is_not_called_bad() {
    let mut store = open(&SimDisk::new());
    let one = promoted(&mut store, b"one");
    let two = promoted(&mut store, b"two");
    let stranger = [9; 32];
    assert_eq!(store.revoke(&[two, one, stranger]).unwrap().len(), 3);
    assert_eq!(store.in_force(), None, "the fallback went first");
    assert_eq!((store.manifest.revoked.len(), store.manifest.bad.len()), (3, 0));
    store.mark_bad(&[8; 32]).unwrap();
    assert_eq!((store.manifest.revoked.len(), store.manifest.bad.len()), (3, 1));
}

#[test]
fn an_adapter_comes_back_in_its_role_after_two_other_base_models() {
    let disk = SimDisk::new();
    let digest = promoted(&mut open(&disk), b"one");
    for base in [[2; 32], [3; 32]] {
        assert_eq!(open_with(&disk, base).unwrap().in_force(), None);
    }
    assert_eq!(open(&disk).in_force().unwrap().digest, digest);
}

#[test]
fn a_temporary_file_that_a_killed_process_left_is_no_obstacle() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    disk.create("a/new.tmp").unwrap();
    disk.append("a/new.tmp", b"half of it").unwrap();
    let digest = staged(&mut store, b"one");
    assert_eq!(store.adapter_bytes(&digest).unwrap(), b"one");
}

#[test]
fn a_disk_that_fails_is_told_and_never_taken_for_an_absent_file() {
    let prepared = || {
        let disk = SimDisk::new();
        let mut store = open(&disk);
        staged(&mut store, b"one");
        store.save_checkpoint(b"first").unwrap();
        store.save_checkpoint(b"second").unwrap();
        (disk, store)
    };
    let told = |what: &str, answers: Vec<bool>, but: usize| {
        let silent = answers.iter().filter(|told| !**told).count();
        assert!(silent <= but, "{what}: {silent} of {} failures were not told", answers.len());
    };
    let errors = |answers: Vec<Result<(), StoreError>>| {
        answers.iter().map(|answer| matches!(answer, Err(StoreError::Disk(_)))).collect()
    };
    let digest = digest_of(b"one");
    let read = with_io_errors(prepared, |store| store.adapter_bytes(&digest).map(drop));
    told("read", errors(read), 0);
    let load = with_io_errors(prepared, |store| store.load_checkpoint().map(drop));
    told("load", errors(load), 0);
    let clear = with_io_errors(prepared, Store::clear_checkpoint);
    told("clear", errors(clear), 0);
    let refused =
        with_io_errors(prepared, |store| Store::read_refused(&*store.disk, &store.seal).map(drop));
    told("refused", errors(refused), 0);
}

#[test]
fn every_checkpoint_takes_the_other_slot() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    for n in 0..5u8 {
        store.save_checkpoint(&[n]).unwrap();
        assert_eq!(store.load_checkpoint().unwrap(), Some(vec![n]));
        assert_eq!(open(&disk).load_checkpoint().unwrap(), Some(vec![n]));
    }
}

#[test]
fn a_lock_that_cannot_be_had_says_why() {
    let said = |operation, kind: io::ErrorKind| {
        StoreError::from(at(operation, "lock", Err::<(), _>(kind.into())).unwrap_err())
    };
    assert!(matches!(said("lock", io::ErrorKind::WouldBlock), StoreError::Busy));
    assert!(matches!(said("lock", io::ErrorKind::Unsupported), StoreError::NoLocks));
    assert!(matches!(said("lock", io::ErrorKind::NotFound), StoreError::ChangedElsewhere));
    assert!(matches!(said("read", io::ErrorKind::NotFound), StoreError::Disk(_)));
}

#[test]
fn a_transition_must_keep_every_role_single_clean_and_at_home() {
    let known = |digest: u8, state| Generation {
        number: 1,
        digest: [digest; 32],
        base: BASE,
        state,
        returns_to: None,
        meta: Meta::default(),
    };
    let of = |generations| {
        let courses = vec![Course::of(BASE)];
        Manifest { generations, courses, ..Manifest::default() }
    };
    let one = |state| of(vec![known(1, state)]);
    for role in [State::Active, State::Fallback, State::Probation] {
        assert!(one(role).is_sound(&BASE));
        assert!(!of(vec![known(1, role), known(2, role)]).is_sound(&BASE));
        let courses = vec![Course::of([2; 32])];
        assert!(!Manifest { courses, ..one(role) }.is_sound(&[2; 32]), "another base model");
        assert!(!Manifest { bad: vec![[1; 32]], ..one(role) }.is_sound(&BASE));
        assert!(!Manifest { revoked: vec![[1; 32]], ..one(role) }.is_sound(&BASE));
    }
    let elsewhere = Manifest { courses: vec![Course::of([2; 32])], ..one(State::Staged) };
    assert!(elsewhere.is_sound(&[2; 32]), "it has no role");
    assert!(!one(State::Staged).is_sound(&[2; 32]), "another course");
    let on_trial = |tries_left| {
        let probation = Probation { tries_left, ..Probation::default() };
        let courses = vec![Course { probation, ..Course::of(BASE) }];
        Manifest { courses, ..one(State::Active) }
    };
    assert!(on_trial(N_TRIES).is_sound(&BASE) && !on_trial(N_TRIES + 1).is_sound(&BASE));
}
