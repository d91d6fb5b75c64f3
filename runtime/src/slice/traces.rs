//! Hours of a device, played through: what its user and its system do, and which programs training
//! runs meanwhile. Time is made up, so every decision is the same on every machine.

use std::time::Duration;

use proptest::prelude::*;

use super::rhythm::{Next, Rhythm, Seen};
use crate::device_state::{DeviceState, NIGHT, Thermal};
use crate::policy::{Kills, Obstacle, Policy};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// What training takes, threads that it computes with, and what the system offers it: a slice of 8
/// minutes every 15.
const NEEDED: u64 = 200 << 20;
const THREADS: usize = 2;
const OFFERED: u64 = 15 * MINUTE;
const BUDGET: u64 = 8 * MINUTE;
/// Work that is followed by a checkpoint.
const SAVED: u64 = MINUTE;
/// A look while waiting, and how long a reply keeps training away after its end, as in `governor`.
const LOOK: u64 = 5;
const QUIET: u64 = 200;

/// What happens, at a millisecond of the trace.
#[derive(Clone, Copy, Debug)]
enum Event {
    Device(DeviceState),
    /// A reply is computed for so many milliseconds.
    Reply(u64),
    /// The system kills the process.
    Kill,
    /// The clock on the wall is set forward or back by so many milliseconds.
    Clock(i64),
}

type Trace = [(u64, Event)];

fn device(trace: &Trace, now: u64) -> DeviceState {
    let states = trace.iter().rev().filter(|(at, _)| *at <= now);
    let mut states = states.filter_map(|(_, event)| match event {
        Event::Device(state) => Some(*state),
        _ => None,
    });
    states.next().unwrap_or(NIGHT)
}

fn replying(trace: &Trace, now: u64) -> bool {
    let during = |at: u64, event: &Event| match event {
        Event::Reply(length) => (at..at + length + QUIET).contains(&now),
        _ => false,
    };
    trace.iter().any(|(at, event)| during(*at, event))
}

/// What the clock on the wall says.
fn wall(trace: &Trace, now: u64) -> u64 {
    let jumps = trace.iter().filter(|(at, _)| *at <= now).map(|(_, event)| match event {
        Event::Clock(by) => *by,
        _ => 0,
    });
    (1_700_000_000_000 + now).saturating_add_signed(jumps.sum())
}

fn kill(trace: &Trace, from: u64, to: u64) -> Option<u64> {
    let kills = trace.iter().filter(|(_, event)| matches!(event, Event::Kill));
    kills.map(|(at, _)| *at).find(|at| (from..to).contains(at))
}

#[derive(Clone, Debug, PartialEq)]
enum Ended {
    /// It never began.
    Forbidden(Vec<Obstacle>),
    /// The device changed.
    By(Vec<Obstacle>),
    TimeOver,
    Killed,
}

#[derive(Default)]
struct Played {
    /// When programs began and ended.
    programs: Vec<(u64, u64)>,
    /// When slices were offered, when they ended, and why.
    slices: Vec<(u64, u64, Ended)>,
}

impl Played {
    /// Milliseconds of work in a span.
    fn worked(&self, from: u64, to: u64) -> u64 {
        let within = self.programs.iter().filter(|(a, b)| *b > from && *a < to);
        within.map(|(a, b)| b.min(&to) - a.max(&from)).sum()
    }

    fn ends(&self) -> Vec<&Ended> {
        self.slices.iter().map(|(_, _, ended)| ended).collect()
    }
}

/// Plays a trace through. `program` says how long each program takes.
fn play(policy: Policy, trace: &Trace, until: u64, mut program: impl FnMut() -> u64) -> Played {
    let mut played = Played::default();
    let mut kills = Kills::default();
    for offered in (0..until).step_by(OFFERED as usize) {
        let now_ms = wall(trace, offered);
        kills.last_ms = kills.last_ms.min(now_ms);
        let mut obstacles = policy.obstacles(&device(trace, offered), NEEDED);
        obstacles.extend(policy.after_kills(kills, now_ms));
        if !obstacles.is_empty() {
            played.slices.push((offered, offered, Ended::Forbidden(obstacles)));
            continue;
        }
        let before = played.programs.len();
        let (end, ended) = slice(policy, trace, offered, &mut program, &mut played.programs);
        kills = match ended {
            Ended::Killed => {
                let worked: u64 = played.programs[before..].iter().map(|(a, b)| b - a).sum();
                let count = if worked >= SAVED { 1 } else { kills.count + 1 };
                Kills { count, last_ms: now_ms }
            }
            _ => Kills::default(),
        };
        played.slices.push((offered, end, ended));
    }
    played
}

/// One slice: when it ends, and why.
fn slice(
    policy: Policy,
    trace: &Trace,
    start: u64,
    program: &mut dyn FnMut() -> u64,
    programs: &mut Vec<(u64, u64)>,
) -> (u64, Ended) {
    let mut rhythm = Rhythm::new(policy, NEEDED, THREADS, Duration::from_millis(BUDGET));
    let (mut now, mut longest) = (start, 0);
    loop {
        let seen = Seen {
            now: Duration::from_millis(now - start),
            device: device(trace, now),
            replying: replying(trace, now),
            asked: false,
        };
        let next = rhythm.next(&seen);
        let took = match next {
            // As `pace` does: what would not fit is not begun.
            Next::Work if now + longest > start + BUDGET => return (now, Ended::TimeOver),
            Next::Work => program(),
            Next::Wait => LOOK,
            Next::End(obstacles) if obstacles.is_empty() => return (now, Ended::TimeOver),
            Next::End(obstacles) => return (now, Ended::By(obstacles)),
        };
        let killed = kill(trace, now, now + took);
        if next == Next::Work {
            programs.push((now, killed.unwrap_or(now + took)));
            longest = longest.max(took);
        }
        if let Some(at) = killed {
            return (at, Ended::Killed);
        }
        now += took;
    }
}

/// With the default policy and programs of 100 ms.
fn plain(trace: &Trace, until: u64) -> Played {
    play(Policy::default(), trace, until, || 100)
}

#[test]
fn a_night_on_the_charger_is_used_and_a_night_off_it_is_not() {
    let used = Event::Device(DeviceState { idle: false, ..NIGHT });
    let night = plain(&[(0, used), (HOUR, Event::Device(NIGHT))], 8 * HOUR);
    assert_eq!(night.worked(0, HOUR), 0, "worked while the phone was in use");
    // Seven hours of 8 minutes in 15, at full speed.
    assert_eq!(night.worked(HOUR, 8 * HOUR), 7 * 4 * BUDGET);
    let unplugged = [(0, Event::Device(DeviceState { charging: false, ..NIGHT }))];
    let night = plain(&unplugged, 8 * HOUR);
    assert!(night.programs.is_empty());
    assert_eq!(night.ends(), vec![&Ended::Forbidden(vec![Obstacle::NotCharging]); 32]);
}

#[test]
fn a_phone_that_was_plugged_in_empty_is_charged_first() {
    let charge = |m| DeviceState { battery_percent: Some(5 + m as u8), ..NIGHT };
    let trace: Vec<(u64, Event)> =
        (0..60).map(|m| (m * MINUTE, Event::Device(charge(m)))).collect();
    let hour = plain(&trace, HOUR);
    assert_eq!(hour.programs[0].0, 15 * MINUTE, "the first slice offered from 20 % on");
    let low = Obstacle::LowBattery { percent: 5, least: 20 };
    assert_eq!(hour.slices[0].2, Ended::Forbidden(vec![low]));
}

#[test]
fn a_change_for_the_worse_ends_a_slice_at_its_next_program() {
    let cases = [
        (DeviceState { charging: false, ..NIGHT }, Obstacle::NotCharging),
        (DeviceState { idle: false, ..NIGHT }, Obstacle::InUse),
        (DeviceState { low_power_mode: true, ..NIGHT }, Obstacle::LowPowerMode),
        (
            DeviceState { thermal: Thermal::Serious, ..NIGHT },
            Obstacle::TooHot { thermal: Thermal::Serious },
        ),
        (
            DeviceState { battery_percent: Some(19), ..NIGHT },
            Obstacle::LowBattery { percent: 19, least: 20 },
        ),
        (
            DeviceState { free_memory_bytes: Some(NEEDED - 2), ..NIGHT },
            Obstacle::TooLittleMemory { needed_bytes: NEEDED, free_bytes: NEEDED - 1 },
        ),
    ];
    for (state, obstacle) in cases {
        // In the middle of a program, and soon over.
        let trace = [(47_050, Event::Device(state)), (60_000, Event::Device(NIGHT))];
        let played = plain(&trace, OFFERED);
        assert_eq!(played.slices, [(0, 47_100, Ended::By(vec![obstacle]))]);
        assert_eq!(played.programs.last(), Some(&(47_000, 47_100)), "{obstacle}");
    }
}

#[test]
fn what_training_has_taken_does_not_end_it() {
    let free = |bytes| Event::Device(DeviceState { free_memory_bytes: Some(bytes), ..NIGHT });
    // Just enough to begin with; then the host reports what is left.
    let trace = [(0, free(2 * NEEDED)), (SECOND, free(NEEDED)), (BUDGET, free(2 * NEEDED - 2))];
    let played = plain(&trace, 2 * OFFERED);
    assert_eq!(played.slices[0], (0, BUDGET, Ended::TimeOver));
    let lacking = Obstacle::TooLittleMemory { needed_bytes: NEEDED, free_bytes: NEEDED - 1 };
    assert_eq!(played.slices[1].2, Ended::Forbidden(vec![lacking]));
    // A budget of the app's own is compared with the plan, whatever is free.
    let budget = |bytes| Policy { memory_bytes: Some(bytes), ..Policy::default() };
    let unknown = [(0, Event::Device(DeviceState { free_memory_bytes: None, ..NIGHT }))];
    assert!(play(budget(NEEDED - 1), &unknown, OFFERED, || 100).programs.is_empty());
    assert_eq!(play(budget(NEEDED), &unknown, OFFERED, || 100).worked(0, OFFERED), BUDGET);
}

#[test]
fn a_warm_device_is_given_rest() {
    let warm = Event::Device(DeviceState { thermal: Thermal::Fair, ..NIGHT });
    let played = plain(&[(MINUTE, warm)], OFFERED);
    assert_eq!(played.worked(0, MINUTE), MINUTE);
    // Two threads at 0.7 of a core.
    let cpu = |played: &Played| played.worked(MINUTE, BUDGET) as f64 * THREADS as f64;
    let share = cpu(&played) / (BUDGET - MINUTE) as f64;
    assert!((0.68..=0.7).contains(&share), "{share}");
    let policy = Policy { cpu_share: 0.2, ..Policy::default() };
    let slower = play(policy, &[(MINUTE, warm)], OFFERED, || 100);
    let share = cpu(&slower) / (BUDGET - MINUTE) as f64;
    assert!((0.19..=0.2).contains(&share), "{share}");
}

#[test]
fn a_reply_waits_for_one_program_at_most_and_training_goes_on_after_it() {
    let played = plain(&[(47_050, Event::Reply(3000))], OFFERED);
    let end = 47_050 + 3000 + QUIET;
    let around: Vec<_> = played.programs.iter().filter(|(a, b)| *b > 47_000 && *a < end).collect();
    assert_eq!(around, [&(47_000, 47_100)], "the one under way, and no other");
    let next = played.programs.iter().find(|(a, _)| *a >= end).unwrap();
    assert!(next.0 < end + LOOK, "training waits on");
    assert_eq!(played.slices[0].2, Ended::TimeOver);
}

#[test]
fn a_slice_keeps_its_deadline() {
    let mut lengths = [30_000, 5_000, 90_000].into_iter().cycle();
    let played = play(Policy::default(), &[], OFFERED, || lengths.next().unwrap());
    let (_, end, ended) = &played.slices[0];
    assert!(*end <= BUDGET && *ended == Ended::TimeOver, "ended at {end}");
    assert!(BUDGET - end < 90_000, "another program would have fitted");
    // Replies without end: it waits, and gives up at the deadline.
    let played = plain(&[(1000, Event::Reply(HOUR))], OFFERED);
    assert_eq!(played.slices[0], (0, BUDGET, Ended::TimeOver));
    assert_eq!(played.worked(0, OFFERED), 1000);
}

/// Minutes at which slices began, of those that were offered.
fn begun(played: &Played) -> Vec<u64> {
    let begun = played.slices.iter().filter(|(_, _, e)| !matches!(e, Ended::Forbidden(_)));
    begun.map(|(offered, _, _)| offered / MINUTE).collect()
}

#[test]
fn slices_that_are_killed_come_further_and_further_apart() {
    // Every slice is killed in its first second.
    let trace: Vec<(u64, Event)> = (0..100).map(|n| (n * OFFERED + SECOND, Event::Kill)).collect();
    let played = plain(&trace, 25 * HOUR);
    // At once after the first kill, then after 15 minutes, an hour, four, sixteen.
    assert_eq!(begun(&played), [0, 15, 30, 90, 330, 1290]);
    let waits = played.ends().into_iter().filter(|e| matches!(e, Ended::Forbidden(_)));
    for ended in waits {
        assert!(
            matches!(ended, Ended::Forbidden(o) if matches!(o[..], [Obstacle::AfterKills { .. }]))
        );
    }
    // One that got on before it was killed is the first of a new row.
    let late: Vec<(u64, Event)> = (0..8).map(|n| (n * OFFERED + 2 * MINUTE, Event::Kill)).collect();
    assert_eq!(begun(&plain(&late, 2 * HOUR)), (0..8).map(|n| n * 15).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_is_set_neither_locks_training_out_nor_matters_to_a_slice() {
    const YEAR: i64 = 365 * 24 * HOUR as i64;
    let killed = [(SECOND, Event::Kill), (OFFERED + SECOND, Event::Kill)];
    let third = OFFERED * 2 + SECOND;
    let set = |by| {
        let trace = [&killed[..], &[(third, Event::Kill), (third + 1, Event::Clock(by))]].concat();
        begun(&plain(&trace, 4 * HOUR))
    };
    // Three kills: an hour from the third slice on, which began at minute 30.
    assert_eq!(set(0)[..4], [0, 15, 30, 90]);
    // Set back: the hour counts from when that is noticed.
    assert_eq!(set(-YEAR)[..4], [0, 15, 30, 105]);
    // Set forward: nobody can tell that the hour is not over.
    assert_eq!(set(YEAR)[..4], [0, 15, 30, 45]);
    // In the middle of a slice it changes nothing.
    for by in [-YEAR, YEAR] {
        let played = plain(&[(3 * MINUTE + 7, Event::Clock(by))], OFFERED);
        assert_eq!(played.slices, [(0, BUDGET, Ended::TimeOver)]);
    }
}

fn any_device() -> impl Strategy<Value = DeviceState> {
    let thermal = prop_oneof![
        4 => Just(Thermal::Nominal),
        2 => Just(Thermal::Fair),
        1 => Just(Thermal::Serious),
        1 => Just(Thermal::Critical),
    ];
    let mostly = |share| prop::bool::weighted(share);
    let battery = prop::option::weighted(0.8, 5u8..=100);
    let memory = prop::option::weighted(0.8, 100u64 << 20..1 << 31);
    (mostly(0.85), mostly(0.85), mostly(0.1), thermal, battery, memory).prop_map(
        |(charging, idle, low_power_mode, thermal, battery_percent, free_memory_bytes)| {
            DeviceState {
                charging,
                idle,
                low_power_mode,
                thermal,
                battery_percent,
                free_memory_bytes,
                gpu_allowed: true,
            }
        },
    )
}

fn any_trace() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        3 => any_device().prop_map(Event::Device),
        3 => Just(Event::Device(NIGHT)),
        3 => (1u64..20_000).prop_map(Event::Reply),
        1 => Just(Event::Kill),
        1 => (-(4 * HOUR as i64)..4 * HOUR as i64).prop_map(Event::Clock),
    ];
    prop::collection::vec((0u64..4 * MINUTE, event), 0..60).prop_map(|events| {
        let mut now = 0;
        let at = |(gap, event)| {
            now += gap;
            (now, event)
        };
        events.into_iter().map(at).collect()
    })
}

proptest! {
    /// Never trains when it must not, whatever happens. The rules are written down once more here,
    /// in words of their own.
    #[test]
    fn no_trace_makes_it_train_when_it_must_not(
        trace in any_trace(),
        lengths in prop::collection::vec(1u64..400, 1..40),
    ) {
        let mut lengths = lengths.into_iter().cycle();
        let played = play(Policy::default(), &trace, 2 * HOUR, || lengths.next().unwrap());
        for &(began, _) in &played.programs {
            let state = device(&trace, began);
            prop_assert!(state.charging && state.idle && !state.low_power_mode, "{began}: {state:?}");
            prop_assert!(state.thermal <= Thermal::Fair, "{began}: {state:?}");
            prop_assert!(state.battery_percent.is_none_or(|percent| percent >= 20));
            prop_assert!(state.free_memory_bytes.is_none_or(|free| free >= NEEDED));
            let first = device(&trace, began / OFFERED * OFFERED);
            prop_assert!(first.free_memory_bytes.is_none_or(|free| free / 2 >= NEEDED));
            prop_assert!(!replying(&trace, began), "began at {began} beside a reply");
            prop_assert!(began % OFFERED <= BUDGET, "began at {began}, after the deadline");
        }
        prop_assert!(played.programs.is_sorted_by(|a, b| a.1 <= b.0), "two at a time");
        // Of a minute in which it is never cool, 80 % of a core at most.
        let cool = |second| device(&trace, second * SECOND).thermal == Thermal::Nominal;
        let changes = |from, to| trace.iter().any(|(at, e)| {
            (from..to).contains(at) && matches!(e, Event::Device(_))
        });
        for start in (0..2 * HOUR).step_by(30 * SECOND as usize) {
            let end = start + MINUTE;
            if !cool(start / SECOND) && !changes(start, end) {
                let cpu = played.worked(start, end) * THREADS as u64;
                prop_assert!(cpu <= 48 * SECOND, "{cpu} ms from {start} on");
            }
        }
        // After two kills in a row without progress there is rest, unless the clock was set.
        let clock_was_set = trace.iter().any(|(_, event)| matches!(event, Event::Clock(_)));
        let ran = |(from, to): (u64, u64)| played.worked(from, to);
        let in_vain = |(from, to, ended): &(u64, u64, Ended)| {
            *ended == Ended::Killed && ran((*from, *to)) < SAVED
        };
        let begun: Vec<_> =
            played.slices.iter().filter(|s| !matches!(s.2, Ended::Forbidden(_))).collect();
        for slices in begun.windows(4) {
            if slices[..3].iter().all(|s| in_vain(s)) && !clock_was_set {
                prop_assert!(slices[3].0 - slices[2].0 >= HOUR, "{:?}", slices[3]);
            }
        }
    }
}
