//! Where intermediate values live: one arena, laid out before the first step.
//!
//! A [`Region`] is memory that some stretch of steps needs. Regions that are alive at the same
//! time never overlap; the others share. The peak is exact, and known before anything runs.

/// A request for memory over a stretch of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// f32 elements.
    pub len: usize,
    /// The step that first writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// Offsets of the regions, and the size of the arena that holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One per region, in f32 elements.
    pub offsets: Vec<usize>,
    /// Length of the arena in f32 elements.
    pub len: usize,
}

/// On the CPU regions start at multiples of this: a cache line, so that no two threads write to one.
pub(crate) const LINE: usize = 16;

/// Places large regions first, each at the lowest multiple of `line` where nothing alive with it
/// lies (greedy by size: Pisarchyk and Lee, arXiv 2001.03288).
pub(crate) fn plan(regions: &[Region], line: usize) -> Plan {
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(regions[i].len), i));
    let mut plan = Plan { offsets: vec![0; regions.len()], len: 0 };
    // Already placed regions: (offset, end, index), by offset.
    let mut placed: Vec<(usize, usize, usize)> = Vec::new();
    for i in order {
        let region = &regions[i];
        let len = region.len.next_multiple_of(line);
        let mut offset = 0;
        for &(start, end, other) in &placed {
            let other = &regions[other];
            if other.first <= region.last && region.first <= other.last {
                if start >= offset + len {
                    break;
                }
                offset = offset.max(end);
            }
        }
        plan.offsets[i] = offset;
        plan.len = plan.len.max(offset + len);
        let at = placed.partition_point(|&(start, ..)| start <= offset);
        placed.insert(at, (offset, offset + len, i));
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regions() -> impl Strategy<Value = Vec<Region>> {
        let region = (1_usize..500, 0_usize..40, 0_usize..12)
            .prop_map(|(len, first, steps)| Region { len, first, last: first + steps });
        prop::collection::vec(region, 0..60)
    }

    proptest! {
        #[test]
        fn regions_alive_together_never_overlap(regions in regions()) {
            let plan = plan(&regions, LINE);
            for (i, a) in regions.iter().enumerate() {
                prop_assert!(plan.offsets[i].is_multiple_of(LINE));
                for (j, b) in regions.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let (at, bt) = (plan.offsets[i], plan.offsets[j]);
                    prop_assert!(!together || at + a.len <= bt || bt + b.len <= at, "{i} {j}");
                }
            }
        }

        #[test]
        fn the_peak_is_the_high_water_mark(regions in regions()) {
            let plan = plan(&regions, LINE);
            let ends = regions.iter().zip(&plan.offsets);
            let highest = ends.map(|(r, offset)| offset + r.len.next_multiple_of(LINE)).max();
            prop_assert_eq!(plan.len, highest.unwrap_or(0));
            // Never less than what is alive at one step, never more than everything at once.
            let lines = |r: &Region| r.len.next_multiple_of(LINE);
            for step in 0..60 {
                let alive = regions.iter().filter(|r| (r.first..=r.last).contains(&step));
                prop_assert!(plan.len >= alive.map(lines).sum());
            }
            prop_assert!(plan.len <= regions.iter().map(lines).sum());
        }
    }
}
