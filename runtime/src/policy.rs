//! Whether the device may be used for training now, and how fast. Pure: what the host told, the
//! time and a record of earlier slices in; a decision out. The same on every platform. Traces of
//! whole nights are played through in `slice/traces.rs`.
//!
//! Why each rule is there:
//!
//! * Charging, idle, cool, not saving power: the user must never notice that anything was trained.
//! * A least charge: a phone that was just plugged in at 5 % is wanted soon.
//! * A share of one core: iOS kills a process in the background that takes more than 80 % of the
//!   processor over 60 seconds; and a warm device should cool down. In full only when plugged in
//!   and cool.
//! * Memory: a phone kills without a word what takes too much. What training takes is known before
//!   it begins.
//! * Waiting after kills: whatever it was, it will happen again. A single kill is everyday life (the
//!   user took the phone), so the second in a row without progress is the first to cost time.

use std::fmt;

use crate::device_state::{DeviceState, Thermal};

/// What the device must be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Train on external power only.
    pub need_charging: bool,
    /// Train only while nobody uses the device.
    pub need_idle: bool,
    /// Not below this charge, where it is known.
    pub least_battery_percent: u8,
    /// Not when it is hotter.
    pub hottest: Thermal,
    /// Most memory that training may take beside the model's file; `None`: half of what the host
    /// says is free, if it says so.
    pub memory_bytes: Option<u64>,
    /// Share of one core, unless the device is charging and cool. Above 0.
    pub cpu_share: f64,
    /// Milliseconds to wait after the second kill in a row without progress; four times as long
    /// after each further one, a day at most.
    pub back_off_ms: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            need_charging: true,
            need_idle: true,
            least_battery_percent: 20,
            hottest: Thermal::Fair,
            memory_bytes: None,
            cpu_share: 0.7,
            back_off_ms: 15 * 60_000,
        }
    }
}

/// What forbids training now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Not on external power.
    NotCharging,
    /// Somebody is using the device.
    InUse,
    /// Too little charge.
    LowBattery {
        /// The charge.
        percent: u8,
        /// What it must be.
        least: u8,
    },
    /// The user asked the system to save power.
    LowPowerMode,
    /// Too hot.
    TooHot {
        /// How hot.
        thermal: Thermal,
    },
    /// Training takes more memory than there is for it.
    TooLittleMemory {
        /// What it takes.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The last slices were killed.
    AfterKills {
        /// How many in a row.
        kills: u32,
        /// Milliseconds left to wait.
        left_ms: u64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NotCharging => write!(f, "the device is not charging"),
            Obstacle::InUse => write!(f, "the device is in use"),
            Obstacle::LowBattery { percent, least } => {
                write!(f, "the battery is at {percent} %, {least} % needed")
            }
            Obstacle::LowPowerMode => write!(f, "the device saves power"),
            Obstacle::TooHot { thermal } => write!(f, "the device is hot ({thermal})"),
            Obstacle::TooLittleMemory { needed_bytes, free_bytes } => {
                let mib = |bytes: &u64| bytes.div_ceil(1 << 20);
                write!(
                    f,
                    "training takes {} MiB beside the model's file and may take {}: allow it more \
                     memory, or open with a shorter context or a lower rank",
                    mib(needed_bytes),
                    mib(free_bytes)
                )
            }
            Obstacle::AfterKills { kills, left_ms } => {
                write!(f, "the last {kills} slices were killed, {left_ms} ms to wait")
            }
        }
    }
}

/// Slices that ended without saying so, in a row, since training last got on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// How many.
    pub count: u32,
    /// When the last of them began, in milliseconds since 1970.
    pub last_ms: u64,
}

const DAY_MS: u64 = 24 * 3_600_000;

impl Policy {
    /// All that forbids training on `device`, in the order of the variants.
    pub fn obstacles(&self, device: &DeviceState, needed_bytes: u64) -> Vec<Obstacle> {
        let least = self.least_battery_percent;
        let percent = device.battery_percent.filter(|&percent| percent < least);
        let free = self.memory_bytes.or(device.free_memory_bytes.map(|free| free / 2));
        let lacking = free.filter(|&free| needed_bytes > free);
        let found = [
            (self.need_charging && !device.charging).then_some(Obstacle::NotCharging),
            (self.need_idle && !device.idle).then_some(Obstacle::InUse),
            percent.map(|percent| Obstacle::LowBattery { percent, least }),
            device.low_power_mode.then_some(Obstacle::LowPowerMode),
            (device.thermal > self.hottest).then_some(Obstacle::TooHot { thermal: device.thermal }),
            lacking.map(|free_bytes| Obstacle::TooLittleMemory { needed_bytes, free_bytes }),
        ];
        found.into_iter().flatten().collect()
    }

    /// What is left to wait after `kills`. A clock that was put back makes the wait begin again at
    /// `now_ms`, so it is never longer than it would have been.
    pub fn after_kills(&self, kills: Kills, now_ms: u64) -> Option<Obstacle> {
        let further = kills.count.checked_sub(2)?;
        let factor = 4_u64.saturating_pow(further);
        let wait_ms = self.back_off_ms.saturating_mul(factor).min(DAY_MS);
        // Before `last_ms`: the clock was put back, and nobody knows how long ago that was.
        let waited_ms = now_ms.saturating_sub(kills.last_ms);
        let left_ms = wait_ms.saturating_sub(waited_ms);
        (left_ms > 0).then_some(Obstacle::AfterKills { kills: kills.count, left_ms })
    }

    /// Milliseconds of rest that a piece of work is followed by.
    pub fn rest_ms(&self, device: &DeviceState, worked_ms: u64, threads: usize) -> u64 {
        if device.charging && device.thermal == Thermal::Nominal {
            return 0;
        }
        let cpu_ms = worked_ms as f64 * threads as f64;
        (cpu_ms / self.cpu_share - worked_ms as f64).max(0.0).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_state::NIGHT;
    use proptest::prelude::*;

    const NEEDED: u64 = 200 << 20;

    #[test]
    fn memory_is_compared_before_anything_is_taken() {
        let policy = Policy::default();
        let with = |free| DeviceState { free_memory_bytes: free, ..NIGHT };
        let lacking =
            |needed_bytes, free_bytes| [Obstacle::TooLittleMemory { needed_bytes, free_bytes }];
        assert!(policy.obstacles(&with(None), u64::MAX).is_empty(), "unknown: the host's risk");
        assert!(policy.obstacles(&with(Some(2 * NEEDED)), NEEDED).is_empty());
        let scarce = policy.obstacles(&with(Some(2 * NEEDED - 2)), NEEDED);
        assert_eq!(scarce, lacking(NEEDED, NEEDED - 1));
        let budget = Policy { memory_bytes: Some(NEEDED / 2), ..policy };
        assert_eq!(budget.obstacles(&with(None), NEEDED), lacking(NEEDED, NEEDED / 2));
    }

    #[test]
    fn every_obstacle_is_named_and_switched_off_by_its_rule_alone() {
        let worst = DeviceState {
            charging: false,
            idle: false,
            low_power_mode: true,
            thermal: Thermal::Serious,
            battery_percent: Some(3),
            free_memory_bytes: Some(0),
            // Training goes on with the processor.
            gpu_allowed: false,
        };
        let found = Policy::default().obstacles(&worst, NEEDED);
        assert_eq!(found.len(), 6, "{found:?}");
        let lenient = Policy {
            need_charging: false,
            need_idle: false,
            least_battery_percent: 0,
            hottest: Thermal::Critical,
            memory_bytes: Some(u64::MAX),
            ..Policy::default()
        };
        assert_eq!(lenient.obstacles(&worst, NEEDED), [Obstacle::LowPowerMode]);
    }

    #[test]
    fn one_kill_is_forgiven_and_more_cost_time() {
        let policy = Policy::default();
        let minutes = |count| {
            let kills = Kills { count, last_ms: 1_000_000 };
            match policy.after_kills(kills, 1_000_000) {
                Some(Obstacle::AfterKills { left_ms, .. }) => left_ms / 60_000,
                _ => 0,
            }
        };
        assert_eq!([0, 1, 2, 3, 4, 5].map(minutes), [0, 0, 15, 60, 240, 960]);
        assert_eq!([6, 60, u32::MAX].map(minutes), [24 * 60; 3]);
        let kills = Kills { count: 2, last_ms: 1_000_000 };
        assert!(policy.after_kills(kills, 1_000_000 + 15 * 60_000).is_none(), "waited enough");
    }

    #[test]
    fn a_clock_that_was_changed_neither_frees_nor_locks_for_ever() {
        let policy = Policy::default();
        let kills = Kills { count: 3, last_ms: 1_000 * DAY_MS };
        let left = |now_ms| match policy.after_kills(kills, now_ms) {
            Some(Obstacle::AfterKills { left_ms, .. }) => left_ms,
            _ => 0,
        };
        // Put back by years: the whole wait at most.
        assert_eq!(left(0), 3_600_000);
        assert_eq!(left(999 * DAY_MS), 3_600_000);
        assert_eq!(left(1_001 * DAY_MS), 0);
        assert_eq!(left(u64::MAX), 0);
    }

    proptest! {
        /// What iOS watches: no minute off the charger, and none on a warm device, takes more than
        /// 80 % of a core, whatever the pieces of work are like.
        #[test]
        fn no_minute_takes_too_much_of_the_processor(
            pieces in prop::collection::vec(1u64..500, 200..600),
            threads in 1usize..=8,
            charging: bool,
        ) {
            let thermal = if charging { Thermal::Fair } else { Thermal::Nominal };
            let device = DeviceState { charging, thermal, ..NIGHT };
            let mut now = 0;
            let mut work = Vec::new();
            for ms in pieces {
                work.push((now, now + ms));
                now += ms + Policy::default().rest_ms(&device, ms, threads);
            }
            for &(from, _) in &work {
                let to = from + 60_000;
                let within = work.iter().filter(|(a, b)| *b > from && *a < to);
                let wall: u64 = within.map(|(a, b)| b.min(&to) - a.max(&from)).sum();
                prop_assert!(wall * threads as u64 <= 48_000, "{wall} ms on {threads} threads");
            }
        }

        /// Never trains when it must not, whatever the host says.
        #[test]
        fn nothing_forbidden_is_allowed(
            charging: bool,
            idle: bool,
            low_power_mode: bool,
            hot in 0u8..4,
            battery_percent in prop::option::of(0u8..=100),
            free_memory_bytes in prop::option::of(0u64..1 << 32),
        ) {
            let scale = [Thermal::Nominal, Thermal::Fair, Thermal::Serious, Thermal::Critical];
            let thermal = scale[usize::from(hot)];
            let device = DeviceState {
                charging, idle, low_power_mode, thermal, battery_percent, free_memory_bytes,
                gpu_allowed: false,
            };
            let allowed = Policy::default().obstacles(&device, NEEDED).is_empty();
            let right = charging && idle && !low_power_mode && hot < 2
                && battery_percent.is_none_or(|p| p >= 20)
                && free_memory_bytes.is_none_or(|f| f / 2 >= NEEDED);
            prop_assert_eq!(allowed, right);
        }
    }
}
