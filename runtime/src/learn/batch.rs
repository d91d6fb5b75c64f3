//! Which example the n-th training step sees: a pure function of (seed, step, data).
//!
//! A run that was killed resumes at its step number and sees exactly what it would have seen. New
//! examples are mixed with replay of older ones and with anchors (general prompts answered by the
//! base model), because training on the new alone forgets the old (learning on TRACE,
//! arXiv 2310.06762; self-synthesised rehearsal, arXiv 2403.01244).

use crate::rng::Rng;
use std::collections::BTreeMap;

/// Where a training row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Examples since the last promotion.
    New,
    /// Older examples of the user.
    Replay,
    /// General prompts with the base model's own answers.
    Anchor,
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

impl Mix {
    /// After a trial on which the anchors' score fell by `drop_points`: more than one point raises
    /// the replay share by half, up to 0.7, at the cost of the new examples, and halves the
    /// learning rate. Returns the mix and the factor on the learning rate.
    pub fn after_trial(self, drop_points: f64) -> (Mix, f64) {
        if drop_points <= 1.0 {
            return (self, 1.0);
        }
        let total = self.new + self.replay + self.anchor;
        let replay = (self.replay * 1.5).min(0.7 * total).min(total - self.anchor);
        (Mix { new: total - self.anchor - replay, replay, anchor: self.anchor }, 0.5)
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

    fn row(&self, slot: u64) -> (Source, usize) {
        let (round, within) = (slot / ROUND as u64, (slot % ROUND as u64) as usize);
        let mut order: Vec<usize> =
            (0..3).flat_map(|s| std::iter::repeat_n(s, self.slots[s])).collect();
        Rng::at(self.seed, &[0, round]).shuffle(&mut order);
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

/// One candidate for the replay buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// First id of its lineage.
    pub id: u128,
    /// Its category.
    pub category: String,
    /// Its weight: decayed items are kept less often.
    pub weight: f64,
}

/// Chooses at most `capacity` items, the categories as evenly as they can be filled, and within a
/// category by weighted reservoir sampling: the greatest `ln(u) / w` stay (Efraimidis and
/// Spirakis, 2006). `u` is a hash of (seed, id), so the choice depends on the items alone, not on
/// their order, and hardly changes when one is added. Returns indices, rising.
pub fn reservoir(items: &[Item], capacity: usize, seed: u64) -> Vec<usize> {
    let mut groups: BTreeMap<&str, Vec<(f64, u128, usize)>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let u = Rng::at(seed, &[item.id as u64, (item.id >> 64) as u64]).uniform();
        let key = (1.0 - u).ln() / item.weight.max(f64::MIN_POSITIVE);
        groups.entry(&item.category).or_default().push((key, item.id, index));
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(Vec::len);
    let (mut left, mut kept) = (capacity, Vec::new());
    let count = groups.len();
    for (done, mut group) in groups.into_iter().enumerate() {
        // Small groups first: what they don't need is shared by the rest.
        let quota = left.div_ceil(count - done).min(group.len()).min(left);
        group.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        kept.extend(group[..quota].iter().map(|g| g.2));
        left -= quota;
    }
    kept.sort_unstable();
    kept
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

        #[test]
        fn the_reservoir_ignores_order_and_fills_categories_evenly(
            seed in any::<u64>(), sizes in prop::collection::vec(0usize..30, 1..5),
            capacity in 0usize..60,
        ) {
            let mut items = Vec::new();
            for (c, size) in sizes.iter().enumerate() {
                for i in 0..*size {
                    let id = (c * 1000 + i) as u128;
                    items.push(Item { id, category: format!("c{c}"), weight: 1.0 });
                }
            }
            let ids = |items: &[Item], kept: Vec<usize>| {
                let mut ids: Vec<u128> = kept.into_iter().map(|k| items[k].id).collect();
                ids.sort_unstable();
                ids
            };
            let kept = ids(&items, reservoir(&items, capacity, seed));
            prop_assert_eq!(kept.len(), capacity.min(items.len()));
            let count = |c: usize| kept.iter().filter(|&&id| id as usize / 1000 == c).count();
            let least = (0..sizes.len()).filter(|&c| count(c) < sizes[c]).map(count).min();
            for c in 0..sizes.len() {
                prop_assert!(least.is_none_or(|l| count(c) <= l + 1));
            }
            items.reverse();
            prop_assert_eq!(ids(&items, reservoir(&items, capacity, seed)), kept);
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

    #[test]
    fn a_drop_on_anchors_raises_replay() {
        let (mix, rate) = Mix::default().after_trial(1.5);
        assert!((mix.replay - 0.45).abs() < 1e-12 && (mix.new - 0.35).abs() < 1e-12);
        assert_eq!(rate, 0.5);
        assert_eq!(Mix::default().after_trial(0.5), (Mix::default(), 1.0));
        let (mix, _) = mix.after_trial(2.0).0.after_trial(2.0);
        assert!((mix.replay - 0.7).abs() < 1e-12 && mix.new > 0.0);
    }

    #[test]
    fn heavier_items_stay_more_often() {
        let items: Vec<Item> = (0..100u128)
            .map(|id| Item { id, category: "c".into(), weight: if id < 50 { 1.0 } else { 0.25 } })
            .collect();
        let heavy: usize = (0..200)
            .map(|seed| reservoir(&items, 20, seed).into_iter().filter(|&i| i < 50).count())
            .sum();
        let share = heavy as f64 / 4000.0;
        assert!((0.74..0.84).contains(&share), "{share}");
    }
}
