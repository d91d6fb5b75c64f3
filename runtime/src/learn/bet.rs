//! Testing by betting: evidence that stays valid however often it is looked at.
//!
//! A gambler who bets against a hypothesis at fair odds gets rich only if it is false: her wealth
//! is a non-negative supermartingale under it, so it ever reaches 1/α with probability at most α
//! (Ville's inequality). No assumption on the shape of the distribution is made, only its range.

/// The outcome of one test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wealth {
    /// Greatest wealth on the way; may be compared to 1/α.
    pub peak: f64,
    /// Wealth at the end.
    pub last: f64,
    /// Number of observations.
    pub n: usize,
}

/// How a gambler bets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stakes {
    /// The level that the bets are tuned for; the test is valid at every level.
    pub alpha: f64,
    /// Largest share of the wealth put at risk in one bet, in (0, 1).
    pub share_max: f64,
}

/// Bets on independent observations in [0, 1] having a mean above `target`; the hypothesis is that
/// each, given the past, has mean at most `target`, which is in (0, 1).
///
/// The one-sided wealth `prod_t (1 + lambda_t (x_t - target))` with the predictable plug-in stakes
/// `lambda_t = min(sqrt(2 ln(1/α) / (var_{t-1} t ln(t+1))), share_max / target)`, running mean and
/// variance started at 1/2 and 1/4: Waudby-Smith and Ramdas, "Estimating means of bounded random
/// variables by betting" (arXiv 2010.09686), equations 23 to 26.
pub fn bet_above(xs: impl IntoIterator<Item = f64>, target: f64, stakes: Stakes) -> Wealth {
    assert!(target > 0.0 && target < 1.0, "a target outside (0, 1) has no bet");
    let mut wealth = Wealth { peak: 1.0, last: 1.0, n: 0 };
    let (mut sum, mut squares) = (0.5, 0.25);
    for x in xs {
        debug_assert!((0.0..=1.0).contains(&x));
        let t = (wealth.n + 1) as f64;
        let variance = squares / t;
        let wish = (2.0 * (1.0 / stakes.alpha).ln() / (variance * t * (t + 1.0).ln())).sqrt();
        let lambda = wish.min(stakes.share_max / target);
        wealth.last *= 1.0 + lambda * (x - target);
        wealth.peak = wealth.peak.max(wealth.last);
        wealth.n += 1;
        sum += x;
        let mean = sum / (t + 1.0);
        squares += (x - mean) * (x - mean);
    }
    wealth
}

/// Rates of the alternative, as multiples of the rate under the hypothesis.
const MULTIPLES: [f64; 4] = [1.5, 2.0, 3.0, 4.0];
/// No alternative rate above this.
const RATE_MAX: f64 = 0.95;

/// Watches a rate of bad events for having risen above `p0`.
///
/// For each alternative rate p1 a likelihood ratio `(p1/p0)^b ((1-p1)/(1-p0))^(1-b)` is
/// multiplied up; b may be a fraction (the weighted geometric mean is at most the arithmetic one,
/// so it stays a fair bet). The statistic is the mean over p1.
#[derive(Debug, Clone, PartialEq)]
pub struct RateBet {
    p0: f64,
    reset: bool,
    wealth: [f64; MULTIPLES.len()],
}

impl RateBet {
    /// An e-detector for a change at an unknown time: wealth is reset to 1 whenever it is below,
    /// and a threshold c gives a mean time of at least c turns to the first false alarm (Shin,
    /// Ramdas and Rinaldo, "E-detectors", arXiv 2203.03532).
    pub fn detector(p0: f64) -> RateBet {
        RateBet { reset: true, ..RateBet::test(p0) }
    }

    /// An e-process for a rate that is bad from the start: the chance ever to reach c under the
    /// hypothesis is at most 1/c.
    pub fn test(p0: f64) -> RateBet {
        RateBet { p0: p0.clamp(0.005, 0.6), reset: false, wealth: [1.0; MULTIPLES.len()] }
    }

    /// Counts one turn, `bad` in 0..=1, and returns the statistic.
    pub fn observe(&mut self, bad: f64) -> f64 {
        let ratios = self.ratios(bad);
        for (w, ratio) in self.wealth.iter_mut().zip(ratios) {
            let before = if self.reset { w.max(1.0) } else { *w };
            *w = (before * ratio).min(1e300);
        }
        self.evidence()
    }

    /// A turn that was counted as `before` has become `bad`: as if it had been that from the start.
    /// For a test only; a detector forgets what it began with.
    pub fn revise(&mut self, before: f64, bad: f64) -> f64 {
        debug_assert!(!self.reset, "a detector's wealth is no product of all turns");
        let ratios = self.ratios(bad).into_iter().zip(self.ratios(before));
        for (w, (now, before)) in self.wealth.iter_mut().zip(ratios) {
            *w = (*w * now / before).min(1e300);
        }
        self.evidence()
    }

    fn ratios(&self, bad: f64) -> [f64; MULTIPLES.len()] {
        let bad = bad.clamp(0.0, 1.0);
        MULTIPLES.map(|multiple| {
            let p1 = (self.p0 * multiple).min(RATE_MAX);
            (p1 / self.p0).powf(bad) * ((1.0 - p1) / (1.0 - self.p0)).powf(1.0 - bad)
        })
    }

    /// The statistic so far: 1 before the first turn.
    pub fn evidence(&self) -> f64 {
        self.wealth.iter().sum::<f64>() / self.wealth.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const STAKES: Stakes = Stakes { alpha: 0.1, share_max: 0.5 };

    #[test]
    fn ville_holds_at_the_edge_of_the_hypothesis() {
        // The hardest nulls for the bet: mean exactly at the target, small and large variance.
        for (seed, (target, spread)) in
            [(0.475, 0.475), (0.475, 0.1), (0.3, 0.25)].iter().enumerate()
        {
            let mut rng = Rng::new(seed as u64);
            let runs = 4000;
            let mut rich = 0;
            for _ in 0..runs {
                let xs: Vec<f64> = (0..150)
                    .map(|_| target + spread * if rng.chance(0.5) { 1.0 } else { -1.0 })
                    .collect();
                rich += usize::from(bet_above(xs, *target, STAKES).peak >= 10.0);
            }
            let share = f64::from(rich as u32) / f64::from(runs);
            assert!(share <= 0.1 + 3.0 * (0.09 / f64::from(runs)).sqrt(), "{share}");
        }
    }

    #[test]
    fn the_detector_has_the_stated_delays() {
        // learning.md: p0 .08, threshold 100: median delay 80 turns at 2x, 32 at 3x, 19 at 4x, no
        // false alarm for 1,670 turns on average; threshold 500: 141, 44, 26.
        let mut rng = Rng::new(17);
        let mut delay = |threshold: f64, rate: f64, most: usize| {
            let mut d = RateBet::detector(0.08);
            (1..=most)
                .find(|_| d.observe(f64::from(u8::from(rng.chance(rate)))) >= threshold)
                .unwrap_or(most)
        };
        for (threshold, wanted) in [(100.0, [80, 32, 19]), (500.0, [141, 44, 26])] {
            for (multiple, want) in [2.0, 3.0, 4.0].into_iter().zip(wanted) {
                let mut delays: Vec<usize> =
                    (0..2001).map(|_| delay(threshold, 0.08 * multiple, 3000)).collect();
                delays.sort_unstable();
                let median = delays[1000];
                println!(
                    "threshold {threshold}, {multiple}x: median delay {median}, stated {want}"
                );
                assert!(median.abs_diff(want) * 100 <= want * 12 + 100, "{median} for {want}");
            }
        }
        let waits: Vec<usize> = (0..400).map(|_| delay(100.0, 0.08, 20_000)).collect();
        let mean = waits.iter().sum::<usize>() as f64 / 400.0;
        let early = (0..1000).filter(|_| delay(500.0, 0.08, 3000) < 3000).count();
        println!(
            "threshold 100: mean {mean} turns to a false alarm; 500: {early} of 1000 in 3,000"
        );
        assert!(mean > 1500.0 && (170..=270).contains(&early));
    }
}
