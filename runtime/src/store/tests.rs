//! The protocol on a disk that works, and on one that fails.

use std::io;
use std::sync::Arc;

use super::*;
use crate::disk::sim::{Fault, FaultKind, Power, SimDisk};
use crate::disk::{Disk, RealDisk};
use crate::vault::{HostKey, Vault};

const BASE: Digest = [1; 32];

fn open_on(disk: &SimDisk, base: Digest) -> Result<Store, StoreError> {
    Store::open(Arc::new(disk.clone()), Arc::new(Seal::new([7; 32])), base)
}

fn open(disk: &SimDisk) -> Store {
    open_on(disk, BASE).unwrap()
}

fn promote(store: &mut Store, bytes: &[u8]) -> Digest {
    promote_at(store, bytes, 1)
}

fn promote_at(store: &mut Store, bytes: &[u8], order: u64) -> Digest {
    let parent = store.active().map(|active| active.digest);
    let digest = store.stage(bytes, Meta { parent, ..Meta::default() }).unwrap();
    store.propose(&digest).unwrap();
    for _ in 0..N_HEALTHY {
        assert!(matches!(store.begin_trial().unwrap(), Trial::Begun { .. }));
        store.healthy().unwrap();
    }
    store.confirm(order).unwrap();
    digest
}

fn in_force(store: &Store) -> Option<Digest> {
    store.in_force().map(|generation| generation.digest)
}

#[test]
fn a_promotion_survives_reopening_and_a_rollback_returns() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    assert_eq!(in_force(&store), None);
    let one = promote(&mut store, b"one");
    let two = promote(&mut store, b"two");
    drop(store);
    let mut store = open(&disk);
    assert_eq!(in_force(&store), Some(two));
    assert_eq!(store.adapter_bytes(&two).unwrap(), b"two");
    assert_eq!(store.fallback().unwrap().digest, one);
    assert_eq!(store.rollback(Reason::Host).unwrap(), two);
    assert_eq!(in_force(&store), Some(one));
    assert!(matches!(store.stage(b"two", Meta::default()), Err(StoreError::Refused { .. })));
    assert!(matches!(store.adapter_bytes(&two), Err(StoreError::Unknown { .. })));
    store.rollback(Reason::Unhealthy).unwrap();
    assert_eq!(in_force(&store), None);
    assert!(matches!(store.rollback(Reason::Host), Err(StoreError::NothingToRollBack)));
    let changes: Vec<Change> = store.events().iter().map(|event| event.change).collect();
    assert_eq!(changes[1], Change::Confirmed);
    assert_eq!(changes[4], Change::RolledBack(Reason::Host));
    assert_eq!(disk.list("a").unwrap(), Vec::<String>::new());
}

#[test]
fn a_bad_candidate_is_gone_after_three_starts() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let good = promote(&mut store, b"good");
    let bad = store.stage(b"bad", Meta::default()).unwrap();
    store.propose(&bad).unwrap();
    for tries_left in [2, 1, 0] {
        let mut store = open(&disk); // each start dies without a report
        assert_eq!(in_force(&store), Some(bad));
        assert_eq!(store.begin_trial().unwrap(), Trial::Begun { digest: bad, tries_left });
        assert_eq!(in_force(&store), Some(bad));
    }
    let mut store = open(&disk);
    assert_eq!(in_force(&store), Some(good));
    assert_eq!(store.begin_trial().unwrap(), Trial::Exhausted { digest: bad });
    assert!(store.is_refused(&bad));
    assert_eq!(in_force(&store), Some(good));
}

#[test]
fn a_thousand_forgiven_kills_roll_nothing_back() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let digest = store.stage(b"new", Meta::default()).unwrap();
    store.propose(&digest).unwrap();
    for _ in 0..1000 {
        let mut store = open(&disk);
        if store.trial_interrupted() {
            store.forgive_trial().unwrap();
        }
        assert!(matches!(store.begin_trial().unwrap(), Trial::Begun { tries_left: 2, .. }));
    }
    assert_eq!(in_force(&open(&disk)), Some(digest));
}

#[test]
fn short_sessions_that_end_in_good_order_cost_no_try() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let digest = store.stage(b"new", Meta::default()).unwrap();
    store.propose(&digest).unwrap();
    assert!(matches!(store.end_trial(), Err(StoreError::NoTrial)));
    for _ in 0..20 {
        let mut store = open(&disk);
        assert!(!store.trial_interrupted());
        for _ in 0..2 {
            assert!(matches!(store.begin_trial().unwrap(), Trial::Begun { tries_left: 2, .. }));
            store.end_trial().unwrap();
            assert_eq!((store.tries_left(), store.healthy_sessions()), (N_TRIES, 0));
        }
    }
    let mut store = open(&disk);
    store.begin_trial().unwrap();
    store.end_trial().unwrap();
    store.begin_trial().unwrap();
    drop(store); // killed in a later reply
    assert_eq!(open(&disk).tries_left(), 2);
}

#[test]
fn confirmation_needs_health_and_a_whole_file() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    assert!(matches!(store.confirm(1), Err(StoreError::NoCandidate)));
    assert!(matches!(store.healthy(), Err(StoreError::NoTrial)));
    let digest = store.stage(b"new", Meta::default()).unwrap();
    store.propose(&digest).unwrap();
    assert!(matches!(store.confirm(1), Err(StoreError::NotHealthy { healthy: 0, needed: 3 })));
    let other = store.stage(b"other", Meta::default()).unwrap();
    assert!(matches!(store.propose(&other), Err(StoreError::CandidateExists)));
    assert!(matches!(store.propose(&digest), Err(StoreError::WrongState { .. })));
    for _ in 0..3 {
        store.begin_trial().unwrap();
        store.healthy().unwrap();
    }
    disk.corrupt(&files::adapter_path(&digest), 120, 1).unwrap();
    assert!(matches!(store.confirm(1), Err(StoreError::Damaged { .. })));
    assert_eq!(store.rollback(Reason::Damaged).unwrap(), digest);
}

#[test]
fn what_was_refused_stays_refused_however_much_came_after() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let bytes = |n: u32| n.to_le_bytes();
    let digests: Vec<Digest> = (0..300)
        .map(|n| {
            let digest = store.stage(&bytes(n), Meta::default()).unwrap();
            match n % 3 {
                0 => turn_down(&mut store, &digest),
                1 => drop(store.revoke(&[digest]).unwrap()),
                _ => {
                    store.propose(&digest).unwrap();
                    store.rollback(Reason::Unhealthy).unwrap();
                }
            }
            digest
        })
        .collect();
    for mut store in [store, open(&disk)] {
        for (n, digest) in digests.iter().enumerate() {
            assert!(store.is_refused(digest), "refusal {n} was forgotten");
            let again = store.stage(&bytes(n as u32), Meta::default());
            assert!(matches!(again, Err(StoreError::Refused { .. })));
        }
    }
}

#[test]
fn a_refusal_that_moves_refusals_may_be_cut_or_find_the_disk_full() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let digests: Vec<Digest> = (0..64u32)
        .map(|n| {
            let digest = store.stage(&n.to_le_bytes(), Meta::default()).unwrap();
            turn_down(&mut store, &digest);
            digest
        })
        .collect();
    let last = store.stage(b"last", Meta::default()).unwrap();
    let before = disk.image();
    let all_refused = |store: &Store| digests.iter().all(|digest| store.is_refused(digest));

    // Killed or without power at any operation: what was refused is refused.
    disk.record();
    turn_down(&mut store, &last);
    disk.mark();
    let moments = disk.take_moments();
    assert!(moments.len() > 6, "the list moved in {} operations", moments.len());
    for (seed, moment) in moments.into_iter().enumerate() {
        let power = Power { samples: 24, seed: seed as u64 };
        let images = moment.image.after_power(power).into_iter().chain([moment.image]);
        for image in images {
            let store = open(&SimDisk::from_image(image));
            assert!(all_refused(&store), "cut at {}", moment.under_way);
        }
    }
    assert!(all_refused(&open(&disk)) && open(&disk).is_refused(&last));

    // No room for the file: the refusal succeeds all the same, and the list moves later.
    let disk = SimDisk::from_image(before);
    let mut store = open(&disk);
    let full = Fault { at: disk.operations(), kind: FaultKind::StorageFull, forever: true };
    disk.fail(Some(full));
    turn_down(&mut store, &last);
    assert!(!disk.list("c").unwrap().contains(&"refused".to_owned()));
    disk.fail(None);
    let other = store.stage(b"other", Meta::default()).unwrap();
    turn_down(&mut store, &other);
    assert!(disk.list("c").unwrap().contains(&"refused".to_owned()));
    for store in [store, open(&disk)] {
        assert!(all_refused(&store) && store.is_refused(&last) && store.is_refused(&other));
    }
}

#[test]
fn revoking_takes_descendants_and_returns_to_the_clean_ancestor() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let one = promote(&mut store, b"one");
    let two = promote(&mut store, b"two");
    let three = store.stage(b"three", Meta { parent: Some(two), ..Meta::default() }).unwrap();
    store.propose(&three).unwrap();
    let mut revoked = store.revoke(&[two]).unwrap();
    revoked.sort();
    let mut expected = vec![two, three];
    expected.sort();
    assert_eq!(revoked, expected);
    assert_eq!((in_force(&store), store.candidate()), (Some(one), None));
    let four = promote(&mut store, b"four");
    assert_eq!(store.fallback().unwrap().digest, one);
    store.revoke(&[one]).unwrap();
    assert_eq!((in_force(&store), store.fallback()), (None, None));
    assert!(store.is_refused(&four));
}

/// The gate says no.
fn turn_down(store: &mut Store, digest: &Digest) {
    let over = in_force(store);
    store.carry_out(digest, over, false).unwrap();
}

#[test]
fn what_learning_rests_on_outlives_the_log_of_events() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    promote_at(&mut store, b"one", 700);
    for n in 0..40u8 {
        let digest = store.stage(&[n; 9], Meta::default()).unwrap();
        store.set_time(u64::from(n));
        turn_down(&mut store, &digest);
    }
    let mut store = open(&disk);
    assert!(store.events().iter().all(|event| event.change != Change::Confirmed), "pruned");
    let course = store.course();
    assert_eq!((course.promotions_after(699), course.promotions_after(700)), (1, 0));
    assert_eq!((course.last_promotion(), course.attempt()), (700, 41));
    assert_eq!(course.judged_ms, Some(39));
    // A promotion begins a new holdout; a step back of the journal's order does not exist.
    promote_at(&mut store, b"two", 600);
    assert_eq!((store.course().last_promotion(), store.course().attempt()), (700, 1));
    for n in 0..9u64 {
        promote_at(&mut store, &[b'n', n as u8], 800 + n);
    }
    assert_eq!(store.course().promotions, [804, 805, 806, 807, 808]);
}

#[test]
fn a_verdict_is_about_what_it_was_measured_against() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let one = promote(&mut store, b"one");
    let two = promote(&mut store, b"two");
    let three = store.stage(b"three", Meta { parent: Some(two), ..Meta::default() }).unwrap();
    // While it is judged against two, two is taken back.
    store.rollback(Reason::Host).unwrap();
    for promote in [true, false] {
        let late = store.carry_out(&three, Some(two), promote);
        assert!(matches!(late, Err(StoreError::Overtaken)), "{late:?}");
    }
    assert_eq!((store.candidate(), in_force(&store)), (None, Some(one)));
    assert_eq!(store.course().attempt(), 1, "nothing was judged");
    store.withdraw(&three).unwrap();
    assert!(store.adapter_bytes(&three).is_err() && !store.is_refused(&three));
    // A candidate makes room for the one that was measured against it, in the same commit.
    let four = store.stage(b"four", Meta::default()).unwrap();
    store.propose(&four).unwrap();
    let five = store.stage(b"five", Meta::default()).unwrap();
    assert!(store.carry_out(&five, Some(one), true).is_err(), "four is in force");
    let sequence = store.sequence();
    store.carry_out(&five, Some(four), true).unwrap();
    assert_eq!(store.sequence(), sequence + 1);
    assert_eq!((in_force(&store), store.tries_left()), (Some(five), N_TRIES));
    assert!(store.is_refused(&four) && store.course().attempt() == 1);
}

#[test]
fn a_base_model_that_comes_back_finds_its_course_as_it_was() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let one = promote_at(&mut store, b"one", 50);
    let down = store.stage(b"down", Meta::default()).unwrap();
    turn_down(&mut store, &down);
    let two = store.stage(b"two", Meta::default()).unwrap();
    store.propose(&two).unwrap();
    store.begin_trial().unwrap();
    let before = store.course().clone();
    let mut other = open_on(&disk, [2; 32]).unwrap();
    assert_eq!(*other.course(), Course::of([2; 32]));
    assert!(!other.trial_interrupted());
    promote_at(&mut other, b"of the other", 60);
    let store = open(&disk);
    assert_eq!(*store.course(), before);
    assert_eq!((in_force(&store), store.active().map(|g| g.digest)), (Some(two), Some(one)));
    assert!(store.trial_interrupted() && store.tries_left() == 2);
    assert_eq!(open_on(&disk, [2; 32]).unwrap().course().last_promotion(), 60);
    // Many base models, each looked at once: those without adapters are forgotten, not the others.
    for base in 10..40u8 {
        open_on(&disk, [base; 32]).unwrap();
    }
    assert_eq!(*open(&disk).course(), before);
}

#[test]
fn another_base_model_lays_adapters_to_rest_and_its_return_wakes_them() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let one = promote(&mut store, b"one");
    let store = open_on(&disk, [2; 32]).unwrap();
    assert_eq!(in_force(&store), None);
    assert_eq!(store.generations()[0].state, State::Dormant);
    assert_eq!(in_force(&open(&disk)), Some(one));
    let mut store = open_on(&disk, [2; 32]).unwrap();
    store.confirm_base().unwrap();
    assert_eq!(in_force(&open(&disk)), None);
    assert_eq!(disk.list("a").unwrap().len(), 0);
}

#[test]
fn a_wrong_root_key_is_refused_and_nothing_changes() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let one = promote(&mut store, b"one");
    let stranger = Arc::new(Seal::new([8; 32]));
    let refused = Store::open(Arc::new(disk.clone()), stranger, BASE);
    assert!(matches!(refused, Err(StoreError::Unreadable)));
    assert_eq!(in_force(&open(&disk)), Some(one));
}

#[test]
fn every_damaged_manifest_byte_leaves_a_state_or_a_refusal() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    promote(&mut store, b"one");
    let newest = store.sequence();
    let image = disk.image();
    for slot in ["M0", "M1"] {
        for at in 0..1200 {
            let disk = SimDisk::from_image(image.clone());
            disk.corrupt(slot, at, 0x10).unwrap();
            let sequence = open(&disk).sequence();
            assert!(sequence == newest || sequence == newest - 1, "{slot} byte {at}");
        }
        let disk = SimDisk::from_image(image.clone());
        disk.truncate(slot, 10).unwrap();
        open(&disk);
    }
    for slot in ["M0", "M1"] {
        disk.corrupt(slot, 30, 1).unwrap();
    }
    assert!(matches!(open_on(&disk, BASE), Err(StoreError::Unreadable)));
}

#[test]
fn two_writers_do_not_overwrite_each_other() {
    let disk = SimDisk::new();
    let (mut one, mut two) = (open(&disk), open(&disk));
    one.stage(b"one", Meta::default()).unwrap();
    assert!(matches!(two.stage(b"two", Meta::default()), Err(StoreError::ChangedElsewhere)));
    let held = disk.lock("lock").unwrap();
    assert!(matches!(one.mark_bad(&[0xAB; 32]), Err(StoreError::Busy)));
    drop(held);
    one.mark_bad(&[0xAB; 32]).unwrap();
    assert_eq!(open(&disk).generations().len(), 1);
}

#[test]
fn checkpoints_come_back_bit_for_bit_and_the_newest_whole_one_wins() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    assert_eq!(store.load_checkpoint().unwrap(), None);
    let first: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
    store.save_checkpoint(&first).unwrap();
    assert_eq!(open(&disk).load_checkpoint().unwrap().unwrap(), first);
    store.save_checkpoint(b"second").unwrap();
    assert_eq!(store.load_checkpoint().unwrap().unwrap(), b"second");
    disk.corrupt("c/1", 110, 1).unwrap();
    assert_eq!(store.load_checkpoint().unwrap().unwrap(), first);
    store.clear_checkpoint().unwrap();
    assert_eq!(open(&disk).load_checkpoint().unwrap(), None);
}

#[test]
fn a_checkpoint_that_was_cleared_does_not_come_back() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    store.save_checkpoint(b"first").unwrap();
    store.save_checkpoint(b"second").unwrap();
    disk.record();
    store.clear_checkpoint().unwrap();
    for moment in disk.take_moments() {
        // Killed, then cleared by the next process, which loses power in the middle of that.
        let disk = SimDisk::from_image(moment.image);
        let mut store = open(&disk);
        disk.record();
        store.clear_checkpoint().unwrap();
        disk.mark();
        for again in disk.take_moments() {
            let label = format!("{} then {}", moment.under_way, again.under_way);
            for image in again.image.after_power(Power { samples: 8, seed: 1 }) {
                let left = open(&SimDisk::from_image(image)).load_checkpoint().unwrap();
                assert!(left.is_none_or(|bytes| bytes == b"second"), "{label}");
            }
        }
        assert_eq!(store.load_checkpoint().unwrap(), None);
    }
}

#[test]
fn an_adapter_that_cannot_be_read_now_is_not_left_behind() {
    for step in 0.. {
        let disk = SimDisk::new();
        let provider = Arc::new(HostKey::new([9; 32]));
        let mut vault = Vault::open(Arc::new(disk.clone()), provider).unwrap();
        let here = vault.here().clone();
        let mut store = Store::open(here.disk, here.seal, BASE).unwrap();
        let one = promote(&mut store, b"one");
        store.save_checkpoint(b"state").unwrap();
        let next = vault.prepare().unwrap();
        let at = disk.operations() + step;
        disk.fail(Some(Fault { at, kind: FaultKind::Denied, forever: false }));
        let copied = store.copy_to(&next).is_ok();
        let struck = disk.struck();
        disk.fail(None);
        if copied {
            assert!(!struck, "operation {step} failed and it did not say so");
            let there = store.reopen(&next).unwrap();
            assert_eq!(there.adapter_bytes(&one).unwrap(), b"one");
            assert_eq!(there.load_checkpoint().unwrap().unwrap(), b"state");
            assert!(step > 10);
            break;
        }
    }
}

/// Runs `work` with a failure at each of its operations in turn.
fn with_every_fault(work: impl Fn(&mut Store) -> Result<(), StoreError>, check: impl Fn(&Store)) {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    promote(&mut store, b"before");
    let image = disk.image();
    for kind in [FaultKind::StorageFull, FaultKind::Io, FaultKind::Denied] {
        for forever in [false, true] {
            for step in 0.. {
                let disk = SimDisk::from_image(image.clone());
                let mut store = open(&disk);
                let at = disk.operations() + step;
                disk.fail(Some(Fault { at, kind, forever }));
                let result = work(&mut store);
                let struck = disk.operations() > at;
                disk.fail(None);
                if let Err(error) = &result {
                    assert!(matches!(error, StoreError::Disk(_)), "{error}");
                }
                check(&open(&disk));
                if !struck {
                    result.unwrap();
                    break;
                }
            }
        }
    }
}

#[test]
fn no_failure_of_the_disk_loses_the_adapter_in_force() {
    let before = digest_of(b"before");
    with_every_fault(
        |store| {
            let digest = store.stage(b"after", Meta::default())?;
            store.propose(&digest)?;
            store.begin_trial()?;
            store.healthy()?;
            store.save_checkpoint(b"state")
        },
        |store| {
            assert_eq!(store.active().unwrap().digest, before);
            assert_eq!(store.adapter_bytes(&before).unwrap(), b"before");
            for known in store.generations().iter().filter(|known| known.state.has_file()) {
                store.adapter_bytes(&known.digest).unwrap();
            }
        },
    );
}

#[test]
fn a_failed_sync_then_a_kill_then_a_power_loss_leave_a_whole_state() {
    let disk = SimDisk::new();
    promote(&mut open(&disk), b"one");
    let image = disk.image();
    for step in 0..8 {
        let disk = SimDisk::from_image(image.clone());
        let mut store = open(&disk);
        let at = disk.operations() + step;
        disk.fail(Some(Fault { at, kind: FaultKind::Io, forever: false }));
        let rolled_back = store.rollback(Reason::Host).is_ok();
        let killed = SimDisk::from_image(disk.image());
        killed.record();
        let mut store = open(&killed);
        assert_eq!(in_force(&store).is_none(), rolled_back, "failure at {step}");
        store.mark_bad(&[0xAB; 32]).unwrap();
        for moment in killed.take_moments() {
            for image in moment.image.after_power(Power { samples: 8, seed: step }) {
                let store = open(&SimDisk::from_image(image));
                assert_eq!(in_force(&store).is_none(), rolled_back, "{}", moment.under_way);
            }
        }
    }
}

#[test]
fn a_full_disk_cannot_stop_a_rollback() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let one = promote(&mut store, b"one");
    promote(&mut store, b"two");
    let at = disk.operations();
    disk.fail(Some(Fault { at, kind: FaultKind::StorageFull, forever: true }));
    assert!(store.stage(b"three", Meta::default()).is_err());
    store.rollback(Reason::Unhealthy).unwrap();
    assert_eq!(in_force(&store), Some(one));
    disk.fail(None);
    assert_eq!(in_force(&open(&disk)), Some(one));
}

#[test]
fn the_manifest_stays_within_its_slot_through_hundreds_of_generations() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    let metric = |i: usize| Metric { name: format!("{i:032}"), value: 1.0 };
    for i in 0..200_u32 {
        let meta = Meta { metrics: (0..MAX_METRICS).map(metric).collect(), ..Meta::default() };
        let digest = store.stage(&i.to_le_bytes(), meta).unwrap();
        store.propose(&digest).unwrap();
        if i % 3 == 0 {
            store.rollback(Reason::Gate).unwrap();
            continue;
        }
        for _ in 0..N_HEALTHY {
            store.begin_trial().unwrap();
            store.healthy().unwrap();
        }
        store.confirm(1).unwrap();
    }
    assert_eq!(disk.len("M0").unwrap(), 16 * 1024);
    assert_eq!(disk.list("a").unwrap().len(), 2);
}

#[test]
fn a_real_folder_keeps_everything_and_locks() {
    let root = std::env::temp_dir().join(format!("sapwood-store-{}", std::process::id()));
    let seal = Arc::new(Seal::new([7; 32]));
    let open = || {
        let disk = Arc::new(RealDisk::open(&root).unwrap());
        Store::open(disk, Arc::clone(&seal), BASE).unwrap()
    };
    let mut store = open();
    let one = promote(&mut store, &vec![5; 300_000]);
    store.save_checkpoint(b"state").unwrap();
    drop(store);
    let mut store = open();
    assert_eq!(store.adapter_bytes(&one).unwrap(), vec![5; 300_000]);
    assert_eq!(store.load_checkpoint().unwrap().unwrap(), b"state");
    let disk = RealDisk::open(&root).unwrap();
    let held = disk.lock("lock").unwrap();
    assert_eq!(disk.lock("lock").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(matches!(store.rollback(Reason::Host), Err(StoreError::Busy)));
    drop(held);
    store.rollback(Reason::Host).unwrap();
    for name in ["M0", "M1"] {
        let bytes = std::fs::read(root.join(name)).unwrap();
        assert_eq!(bytes.len(), 16 * 1024);
    }
    std::fs::remove_dir_all(&root).unwrap();
}
