//! Which example the n-th training step sees: a pure function of (seed, step, data).
//!
//! A run that was killed resumes at its step number and sees exactly what it would have seen. New
//! examples are mixed with replay of older ones and with anchors (general prompts answered by the
//! base model), because training on the new alone forgets the old (learning on TRACE,
//! arXiv 2310.06762; self-synthesised rehearsal, arXiv 2403.01244).

use crate::rng::Rng;

/// Where a training row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Examples since the last promotion.
    New = 0,
    /// Older examples of the user.
    Replay = 1,
    /// General prompts with the base model's own answers.
    Anchor = 2,
}

const SOURCES: [Source; 3] = [Source::New, Source::Replay, Source::Anchor];

/// Shares of the sources. They need not add up to anything; an empty source's share goes to the
/// others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Share of new examples.
    pub new: f64,
    /// Share of replay.
    pub replay: f64,
    /// Share of anchors.
    pub anchor: f64,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { new: 0.5, replay: 0.3, anchor: 0.2 }
    }
}

/// Slots in one round of the schedule: the mix holds exactly, to 5%, on every 20 rows.
const ROUND: usize = 20;

/// The whole order of a training run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    seed: u64,
    rows_per_step: usize,
    /// How many items each source has.
    sizes: [usize; 3],
    /// How many slots of a round each source gets.
    slots: [usize; 3],
}

impl Plan {
    /// `sizes`: items in new, replay, anchor. `rows_per_step`: rows that one optimizer step sums
    /// gradients over, at least 1. A plan over no data at all gives empty steps.
    pub fn new(seed: u64, mix: Mix, sizes: [usize; 3], rows_per_step: usize) -> Plan {
        assert!(rows_per_step > 0, "a step without rows");
        let mut shares = [mix.new, mix.replay, mix.anchor];
        for (share, size) in shares.iter_mut().zip(sizes) {
            *share = if size == 0 { 0.0 } else { share.max(0.0) };
        }
        if shares.iter().sum::<f64>() == 0.0 {
            shares = sizes.map(|size| f64::from(u8::from(size > 0)));
        }
        Plan { seed, rows_per_step, sizes, slots: apportion(shares, ROUND) }
    }

    /// The rows of one step: (source, index in it). Every item of a source is seen once before any
    /// is seen twice; each pass has its own order.
    pub fn step(&self, step: u64) -> Vec<(Source, usize)> {
        if self.slots.iter().sum::<usize>() == 0 {
            return Vec::new();
        }
        let rows = self.rows_per_step as u64;
        (step * rows..(step + 1) * rows).map(|slot| self.row(slot)).collect()
    }

    /// Most steps in which no item of the user's is seen more than `passes` times; at least one, so
    /// that a run ends with something to judge. Anchors don't count: what the base model says by
    /// itself is nobody's secret.
    pub fn steps_within(&self, passes: u32) -> u32 {
        let rows = [Source::New, Source::Replay].map(|source| {
            let s = source as usize;
            let (size, slots) = (self.sizes[s] as u64, self.slots[s] as u64);
            let seen = u64::from(passes) * size;
            if slots == 0 {
                return u64::MAX;
            }
            let order = self.order(seen / slots);
            let mut turns = order.iter().enumerate().filter(|(_, of)| **of == s);
            let within = turns.nth((seen % slots) as usize).map_or(ROUND, |(at, _)| at);
            (seen / slots).saturating_mul(ROUND as u64).saturating_add(within as u64)
        });
        let steps = rows[0].min(rows[1]) / self.rows_per_step as u64;
        u32::try_from(steps).unwrap_or(u32::MAX).max(1)
    }

    /// The sources of one round's slots.
    fn order(&self, round: u64) -> Vec<usize> {
        let mut order: Vec<usize> =
            (0..3).flat_map(|s| std::iter::repeat_n(s, self.slots[s])).collect();
        Rng::at(self.seed, &[0, round]).shuffle(&mut order);
        order
    }

    fn row(&self, slot: u64) -> (Source, usize) {
        let (round, within) = (slot / ROUND as u64, (slot % ROUND as u64) as usize);
        let order = self.order(round);
        let source = order[within];
        let earlier = order[..within].iter().filter(|&&s| s == source).count() as u64;
        let nth = round * self.slots[source] as u64 + earlier;
        let size = self.sizes[source] as u64;
        let mut pass: Vec<usize> = (0..self.sizes[source]).collect();
        Rng::at(self.seed, &[1 + source as u64, nth / size]).shuffle(&mut pass);
        (SOURCES[source], pass[(nth % size) as usize])
    }
}

/// Divides `seats` in proportion to `shares` (largest remainders); a positive share gets at least
/// one seat.
fn apportion(shares: [f64; 3], seats: usize) -> [usize; 3] {
    let total: f64 = shares.iter().sum();
    if total == 0.0 {
        return [0; 3];
    }
    let exact = shares.map(|s| s / total * seats as f64);
    let mut out = exact.map(|x| if x > 0.0 { (x as usize).max(1) } else { 0 });
    while out.iter().sum::<usize>() != seats {
        let short = out.iter().sum::<usize>() < seats;
        let gap = |i: usize| (exact[i] - out[i] as f64) * if short { 1.0 } else { -1.0 };
        let movable = (0..3).filter(|&i| shares[i] > 0.0 && (short || out[i] > 1));
        let Some(i) = movable.max_by(|&a, &b| gap(a).total_cmp(&gap(b)).then(b.cmp(&a))) else {
            break;
        };
        if short { out[i] += 1 } else { out[i] -= 1 }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_step_can_be_asked_for_first_and_each_pass_sees_all(
            seed in any::<u64>(), new in 0usize..12, replay in 0usize..12, anchor in 0usize..12,
            rows in 1usize..5,
        ) {
            let plan = Plan::new(seed, Mix::default(), [new, replay, anchor], rows);
            let run: Vec<_> = (0..60).map(|s| plan.step(s)).collect();
            for s in (0..60).rev() {
                prop_assert_eq!(&plan.clone().step(s), &run[s as usize]);
            }
            let flat: Vec<_> = run.concat();
            for (source, size) in SOURCES.into_iter().zip([new, replay, anchor]) {
                let seen: Vec<usize> =
                    flat.iter().filter(|r| r.0 == source).map(|r| r.1).collect();
                if size == 0 {
                    prop_assert!(seen.is_empty());
                    continue;
                }
                for pass in seen.chunks_exact(size) {
                    let mut pass = pass.to_vec();
                    pass.sort_unstable();
                    prop_assert_eq!(pass, (0..size).collect::<Vec<_>>());
                }
            }
            if new + replay + anchor > 0 {
                prop_assert_eq!(flat.len(), 60 * rows);
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_of_the_user_is_seen_more_often_than_passes_allow_and_not_a_step_is_given_away(
            seed in any::<u64>(), new in 0usize..12, replay in 0usize..12, anchor in 0usize..12,
            rows in 1usize..5, passes in 1u32..5,
        ) {
            let plan = Plan::new(seed, Mix::default(), [new, replay, anchor], rows);
            let steps = plan.steps_within(passes);
            if new + replay == 0 {
                prop_assert_eq!(steps, u32::MAX);
                return Ok(());
            }
            let most = |steps: u32| {
                let seen: Vec<_> = (0..steps).flat_map(|s| plan.step(s.into())).collect();
                let users = seen.iter().filter(|row| row.0 != Source::Anchor);
                users.map(|row| seen.iter().filter(|r| r == &row).count()).max().unwrap_or(0)
            };
            prop_assert!(steps == 1 || most(steps) <= passes as usize);
            prop_assert!(most(steps + 1) > passes as usize);
        }
    }

    #[test]
    fn the_mix_holds_on_every_round() {
        let plan = Plan::new(4, Mix::default(), [30, 30, 30], 4);
        let rows: Vec<_> = (0..5).flat_map(|s| plan.step(s)).collect();
        let count = |s| rows.iter().filter(|r| r.0 == s).count();
        assert_eq!([count(Source::New), count(Source::Replay), count(Source::Anchor)], [10, 6, 4]);
        assert_eq!(Plan::new(4, Mix::default(), [9, 0, 0], 1).slots, [20, 0, 0]);
        assert_eq!(apportion([0.98, 0.01, 0.01], 20), [18, 1, 1]);
        assert!(Plan::new(4, Mix::default(), [0, 0, 0], 1).step(3).is_empty());
    }
}
