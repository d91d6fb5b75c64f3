//! Every thread runs once, phases are ordered, panics reach the caller, parts do not overlap.

use super::*;
use std::sync::atomic::AtomicU32;

#[test]
fn every_thread_runs_once_per_run() {
    for threads in 1..=5 {
        let pool = Pool::new(threads);
        let calls: Vec<AtomicU32> = (0..threads).map(|_| AtomicU32::new(0)).collect();
        for run in 1..=500 {
            pool.run(|worker| {
                assert_eq!(worker.count(), threads);
                calls[worker.index()].fetch_add(1, SeqCst);
            });
            assert!(calls.iter().all(|count| count.load(SeqCst) == run));
        }
    }
}

#[test]
fn a_sleeping_pool_wakes() {
    let pool = Pool::new(3);
    let calls = AtomicU32::new(0);
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        pool.run(|worker| {
            // Uneven: the others sleep at the barrier.
            if worker.index() == 1 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            worker.barrier();
            calls.fetch_add(1, SeqCst);
        });
    }
    assert_eq!(calls.load(SeqCst), 15);
}

#[test]
fn what_is_written_before_a_barrier_is_read_after_it() {
    let (threads, phases) = (4, 300);
    let pool = Pool::new(threads);
    let mut data = vec![0_u64; threads];
    let split = Split::columns(&mut data, threads, threads, 1);
    pool.run(|worker| {
        for phase in 1..=phases {
            split.part(worker.index()).row(0)[0] += phase;
            worker.barrier();
            let sum: u64 = split.read(|all| all.iter().sum());
            assert_eq!(sum, threads as u64 * phase * (phase + 1) / 2);
            worker.barrier();
        }
    });
}

#[test]
fn runs_from_several_threads_take_turns() {
    let pool = Pool::new(2);
    let (inside, total) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    pool.run(|worker| {
                        assert!(inside.fetch_add(1, SeqCst) < 2);
                        worker.barrier();
                        worker.barrier();
                        inside.fetch_sub(1, SeqCst);
                        total.fetch_add(1, SeqCst);
                        worker.barrier();
                    });
                }
            });
        }
    });
    assert_eq!(total.load(SeqCst), 800);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3);
    for culprit in 0..3 {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(|worker| {
                if worker.index() == culprit {
                    // Quietly: this is no failure of the test.
                    resume_unwind(Box::new("culprit"));
                }
                worker.barrier();
                unreachable!("nobody passes a barrier that a thread never reaches");
            });
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"culprit"));
        let calls = AtomicU32::new(0);
        pool.run(|worker| {
            worker.barrier();
            calls.fetch_add(1, SeqCst);
        });
        assert_eq!(calls.load(SeqCst), 3);
    }
}

#[test]
fn shares_cover_everything_once() {
    for (len, align, count) in [(0, 1, 3), (1, 4, 3), (17, 4, 3), (64, 16, 4), (100, 7, 8)] {
        let mut next = 0;
        for index in 0..count {
            let range = share(len, align, index, count);
            assert_eq!(range.start, next);
            assert!(range.start.is_multiple_of(align) || range.start == len);
            next = range.end;
        }
        assert_eq!(next, len);
    }
}

#[test]
fn parts_cover_a_matrix() {
    let (rows, cols) = (5, 22);
    let mut data = vec![0_u32; rows * cols];
    for by_rows in [true, false] {
        let split = match by_rows {
            true => Split::rows(&mut data, cols, 3),
            false => Split::columns(&mut data, cols, 3, 8),
        };
        Pool::new(3).run(|worker| {
            let mut part = split.part(worker.index());
            for row in part.rows() {
                part.row(row).iter_mut().for_each(|x| *x += 1);
            }
        });
    }
    assert!(data.iter().all(|&x| x == 2));
}

#[test]
fn a_part_is_taken_once() {
    let mut data = [0; 8];
    let split = Split::columns(&mut data, 8, 2, 1);
    let panics = |body: &dyn Fn()| catch_unwind(AssertUnwindSafe(body)).is_err();
    let part = split.part(0);
    assert!(panics(&|| drop(split.part(0))));
    assert!(panics(&|| split.read(|_| ())));
    drop(part);
    split.read(|all| {
        assert_eq!(all.len(), 8);
        split.read(|again| assert_eq!(again.len(), 8));
    });
    split.read(|_| assert!(panics(&|| drop(split.part(1)))));
}
