//! Posteriors for paired pass/fail outcomes of a few dozen items, where normal approximations
//! mislead (Bowyer et al., arXiv 2503.01747).

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};
use statrs::function::{beta::beta_reg, gamma::ln_gamma};

/// Items that both arms answered: how often only one of them passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// The candidate passes, production fails.
    pub wins: u32,
    /// The candidate fails, production passes: a negative flip.
    pub losses: u32,
    /// All items.
    pub n: u32,
}

impl Outcomes {
    /// Counts (candidate, production) pairs.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Outcomes {
        pairs.into_iter().fold(Outcomes::default(), |o, (candidate, production)| Outcomes {
            wins: o.wins + u32::from(candidate && !production),
            losses: o.losses + u32::from(!candidate && production),
            n: o.n + 1,
        })
    }

    /// Pass rate of the candidate minus that of production.
    pub fn delta(self) -> f64 {
        if self.n == 0 {
            0.0
        } else {
            (f64::from(self.wins) - f64::from(self.losses)) / f64::from(self.n)
        }
    }

    /// Share of items that were right and are wrong now (NFR; MUSCLE, arXiv 2407.09435).
    pub fn negative_flip_rate(self) -> f64 {
        if self.n == 0 { 0.0 } else { f64::from(self.losses) / f64::from(self.n) }
    }

    /// Dirichlet(W + 1/2, L + 1/2, ties + 1): the posterior of (win, loss, tie).
    pub fn posterior(self) -> Shares {
        let ties = f64::from(self.n - self.wins - self.losses);
        Shares([f64::from(self.wins) + 0.5, f64::from(self.losses) + 0.5, ties + 1.0])
    }

    /// Exact one-sided McNemar test: P(Bin(W + L, 1/2) ≥ L), small when the losses are too many.
    pub fn mcnemar(self) -> f64 {
        let discordant = u64::from(self.wins + self.losses);
        match (self.losses, Binomial::new(0.5, discordant)) {
            (0, _) | (_, Err(_)) => 1.0,
            (losses, Ok(b)) => b.sf(u64::from(losses) - 1),
        }
    }
}

/// A Dirichlet distribution over the shares of wins, losses and ties.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares(pub [f64; 3]);

impl Shares {
    /// The posterior of one category, shrunk towards the overall one: Dirichlet with the
    /// category's counts plus `strength` pseudo-items that are spread as the overall posterior
    /// mean. With wins against losses this is the beta-binomial model with a fixed strength.
    pub fn shrunk(category: Outcomes, overall: Outcomes, strength: f64) -> Shares {
        let prior = overall.posterior().0;
        let total: f64 = prior.iter().sum();
        let ties = category.n - category.wins - category.losses;
        let counts = [category.wins, category.losses, ties].map(f64::from);
        Shares(std::array::from_fn(|i| counts[i] + strength * prior[i] / total))
    }

    /// P(win share - loss share > `bound`).
    ///
    /// S = wins + losses is Beta(aw + al, at), and B = wins / S is Beta(aw, al) independent of it
    /// (aggregation and neutrality of the Dirichlet), so the probability is the mean over S of
    /// P(B > (1 + bound / S) / 2): one midpoint sum.
    pub fn p_delta_above(self, bound: f64) -> f64 {
        const POINTS: u32 = 256;
        let [win, loss, tie] = self.0;
        let changed = win + loss;
        let total = changed + tie;
        let mean = changed / total;
        let sd = (mean * (1.0 - mean) / (total + 1.0)).sqrt();
        let (low, high) = ((mean - 12.0 * sd).max(0.0), (mean + 12.0 * sd).min(1.0));
        let ln_norm = ln_gamma(total) - ln_gamma(changed) - ln_gamma(tie);
        let (mut hit, mut all) = (0.0, 0.0);
        for i in 0..POINTS {
            let s = low + (high - low) * (f64::from(i) + 0.5) / f64::from(POINTS);
            let ln_density = (changed - 1.0) * s.ln() + (tie - 1.0) * (1.0 - s).ln() + ln_norm;
            let density = ln_density.exp();
            if density > 0.0 {
                let b = ((1.0 + bound / s) / 2.0).clamp(0.0, 1.0);
                hit += density * (1.0 - beta_reg(win, loss, b));
                all += density;
            }
        }
        if all > 0.0 { hit / all } else { 0.5 }
    }
}

/// P(mean > `bound`) of normal observations under the flat prior: Student's t with n - 1 degrees.
/// One half below two observations, or where all equal the bound.
pub fn p_mean_above(xs: &[f64], bound: f64) -> f64 {
    let n = xs.len() as f64;
    if xs.len() < 2 {
        return 0.5;
    }
    let mean = xs.iter().sum::<f64>() / n;
    let variance = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    if error < 1e-12 {
        return if (mean - bound).abs() < 1e-12 { 0.5 } else { f64::from(u8::from(mean > bound)) };
    }
    StudentsT::new(0.0, 1.0, n - 1.0).map_or(0.5, |t| t.cdf((mean - bound) / error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Gamma by Marsaglia and Tsang (2000), for shapes from 1/2 up.
    fn gamma(rng: &mut Rng, shape: f64) -> f64 {
        if shape < 1.0 {
            return gamma(rng, shape + 1.0) * (1.0 - rng.uniform()).powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = rng.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    #[test]
    fn the_integral_is_the_share_of_draws() {
        let mut rng = Rng::new(8);
        for (w, l, n) in [(0, 0, 40), (1, 1, 60), (10, 12, 100), (0, 3, 10), (25, 5, 30), (0, 0, 0)]
        {
            let o = Outcomes { wins: w, losses: l, n };
            for bound in [-0.1, -0.05, 0.0, 0.08] {
                let draws = 40_000;
                let hits = (0..draws)
                    .filter(|_| {
                        let g = o.posterior().0.map(|a| gamma(&mut rng, a));
                        (g[0] - g[1]) / (g[0] + g[1] + g[2]) > bound
                    })
                    .count();
                let (got, want) = (o.posterior().p_delta_above(bound), hits as f64 / 4e4);
                assert!((got - want).abs() < 0.012, "{o:?} {bound}: {got} against {want}");
            }
        }
    }

    #[test]
    fn mcnemar_is_the_binomial_tail() {
        let p = |wins, losses| Outcomes { wins, losses, n: 50 }.mcnemar();
        assert!((p(0, 5) - 1.0 / 32.0).abs() < 1e-12);
        assert!((p(1, 2) - 0.5).abs() < 1e-12);
        assert_eq!(p(7, 0), 1.0);
    }

    #[test]
    fn student_posterior_agrees_with_a_table() {
        // t = 1 with 4 degrees of freedom: 0.8130.
        let xs = [-1.0, 0.0, 1.0, 2.0, 3.0];
        let sd_error = (2.5f64 / 5.0).sqrt();
        assert!((p_mean_above(&xs, 1.0 - sd_error) - 0.8130).abs() < 1e-3);
        assert_eq!(p_mean_above(&[0.0, 0.0], 0.0), 0.5);
        assert_eq!(p_mean_above(&[0.2, 0.2], 0.0), 1.0);
    }
}
