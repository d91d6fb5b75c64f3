//! The time that ages are counted from.
//!
//! Hosts tell the time, and now and then a wrong one: a battery that ran empty, a time zone, a user
//! who sets the year 2100 for a game. The order of what was recorded never rests on it. How old a
//! record is does, and with it what expires: so a leap of the clock, in either direction, counts only
//! when it has lasted for a day.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use rkyv::{Archive, Deserialize, Serialize};

const DAY_MS: u64 = 24 * 3_600_000;
/// A clock that differs by more than this from what it said last has leapt. A device that lies in a
/// drawer for longer waits a day for what is due.
const LEAP_MS: u64 = 7 * DAY_MS;
/// A time that was told is written down when it differs by this much from the one written.
const COARSE_MS: u64 = 3_600_000;

/// What is believed of the host's clock. Times in milliseconds since 1970.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq)]
pub struct BelievedTime {
    /// What is believed; 0 before any time was told.
    pub now_ms: u64,
    /// What the clock said when it leapt, while that has not lasted for a day.
    pub leapt_ms: Option<u64>,
    /// It leapt back since: perhaps the believed time lay ahead all along.
    pub is_doubted: bool,
}

impl BelievedTime {
    /// Takes in what the host's clock says.
    pub fn hear(&mut self, told_ms: u64) {
        let near = |a: u64, b: u64| a.abs_diff(b) <= LEAP_MS;
        if self.now_ms == 0 || near(told_ms, self.now_ms) {
            *self = BelievedTime { now_ms: told_ms, ..BelievedTime::default() };
            return;
        }
        match self.leapt_ms {
            Some(leapt_ms) if told_ms >= leapt_ms && near(told_ms, leapt_ms) => {
                if told_ms - leapt_ms >= DAY_MS {
                    *self = BelievedTime { now_ms: told_ms, ..BelievedTime::default() };
                }
            }
            // A slow visitor: opened every other week, and always later than before.
            Some(leapt_ms) if !self.is_doubted && told_ms > leapt_ms => {
                (self.now_ms, self.leapt_ms) = (leapt_ms, Some(told_ms));
            }
            _ => self.leapt_ms = Some(told_ms),
        }
        self.is_doubted |= told_ms < self.now_ms && self.leapt_ms.is_some();
    }

    /// The time from which the age of what is kept is counted, to see what expires. `None` while it
    /// is not clear whether the believed time lay ahead all along: then nothing does.
    pub fn ages_from_ms(&self) -> Option<u64> {
        (!self.is_doubted).then_some(self.now_ms)
    }

    /// Whether no time was ever told.
    pub fn is_unknown(&self) -> bool {
        self.now_ms == 0
    }

    /// Whether the difference to what was written down is worth a commit.
    pub fn is_worth_writing(&self, written: &BelievedTime) -> bool {
        self.leapt_ms != written.leapt_ms || self.now_ms.abs_diff(written.now_ms) >= COARSE_MS
    }
}

/// When things happened whose clocks told `times_ms` (in the order in which they happened), as far as
/// that can be told at `now_ms`. None is earlier than the one before it, and one that lies ahead is as
/// old as its neighbour.
pub fn settled_times(times_ms: impl IntoIterator<Item = u64>, now_ms: u64) -> Vec<u64> {
    let mut known: Option<u64> = None;
    let mut ahead = 0;
    let mut settled: Vec<u64> = Vec::new();
    for time_ms in times_ms {
        if time_ms <= now_ms {
            known = known.max(Some(time_ms));
        }
        ahead += usize::from(known.is_none());
        settled.push(known.unwrap_or(now_ms));
    }
    // Nothing came before these: they are no younger than what came after them.
    let first = settled.get(ahead).copied().unwrap_or(now_ms);
    settled[..ahead].fill(first);
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(times_days: &[u64]) -> BelievedTime {
        let mut time = BelievedTime::default();
        times_days.iter().for_each(|days| time.hear(days * DAY_MS));
        time
    }

    #[test]
    fn a_leap_is_believed_when_it_has_lasted_for_a_day() {
        let from = |days: &[u64]| heard(days).ages_from_ms().map(|ms| ms / DAY_MS);
        assert_eq!(from(&[100]), Some(100));
        assert_eq!(from(&[100, 105, 104]), Some(104));
        assert_eq!(from(&[100, 40_000]), Some(100), "ahead");
        assert_eq!(from(&[100, 40_000, 101]), Some(101), "and back");
        assert_eq!(from(&[100, 40_000, 40_001]), Some(40_001), "for good");
        assert_eq!(from(&[100, 1]), None, "a battery that ran empty");
        assert_eq!(from(&[100, 1, 2]), Some(2), "for good");
        assert_eq!(from(&[100, 1, 100]), Some(100));
        assert_eq!(from(&[100, 40_000, 40_001, 102]), None, "corrected late");
        assert_eq!(from(&[100, 40_000, 40_001, 102, 103]), Some(103));
        // Born under a wrong clock: what came after the correction is not old in the next leap.
        assert_eq!(from(&[40_000, 100, 40_200]), None);
        assert_eq!(from(&[40_000, 100, 40_200, 100, 101]), Some(101));
        assert_eq!(from(&[40_000, 100, 40_003]), Some(40_003), "right after all");
    }

    #[test]
    fn who_opens_an_app_every_other_week_is_one_visit_behind() {
        assert_eq!(heard(&[100, 114, 128, 142]).ages_from_ms(), Some(128 * DAY_MS));
    }

    #[test]
    fn a_wrong_time_takes_the_age_of_its_neighbour() {
        let now = 50;
        assert_eq!(settled_times([10, 20, 900, 30, 0, 40], now), [10, 20, 20, 30, 30, 40]);
        assert_eq!(settled_times([900, 10], now), [10, 10], "nothing came before it");
        assert_eq!(settled_times([900], now), [50]);
        assert_eq!(settled_times([900, 10], 1000), [900, 900]);
    }
}
