//! Deterministic random numbers for everything that samples.
//!
//! The generator is counter-based: the n-th number is a hash of (seed, n), so its whole state is
//! two integers, any position can be reached at once, and a run that is resumed draws what it
//! would have drawn. The hash is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
//! number generators", OOPSLA 2014). Not for secrets: keys and nonces come from `ring`.

use sapwood_kernels::rng::{GAMMA, mix};

/// A stream of random numbers. `seed` names the stream, `drawn` is the position in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    /// Names the stream.
    pub seed: u64,
    /// How many 64-bit numbers have been drawn.
    pub drawn: u64,
}

impl Rng {
    /// The stream `seed`, from its start.
    pub fn new(seed: u64) -> Rng {
        Rng { seed, drawn: 0 }
    }

    /// A stream that is a pure function of its coordinates, for example (seed, step, row).
    pub fn at(seed: u64, coordinates: &[u64]) -> Rng {
        let seed = coordinates.iter().fold(seed, |s, &c| mix(mix(s).wrapping_add(c) ^ GAMMA));
        Rng::new(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed.wrapping_add(self.drawn.wrapping_mul(GAMMA)))
    }

    /// Uniform in [0, 1), in steps of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..n without bias (Lemire, "Fast random integer generation in an interval",
    /// 2019). `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no answer");
        let n = n as u64;
        let reject_under = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= reject_under {
                return (product >> 64) as usize;
            }
        }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box and Muller, 1958); always two draws, so positions stay predictable.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts `items` in uniformly random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_splitmix64_sequence() {
        let mut rng = Rng::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| rng.bits()).collect();
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn resumes_from_its_two_numbers() {
        let mut a = Rng::at(9, &[1, 2]);
        for _ in 0..100 {
            a.normal();
        }
        let mut b = Rng { seed: a.seed, drawn: a.drawn };
        assert_eq!(a.bits(), b.bits());
        assert_ne!(Rng::at(9, &[1, 2]).bits(), Rng::at(9, &[2, 1]).bits());
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(3);
        let n = 200_000;
        let uniform = (0..n).map(|_| rng.uniform()).sum::<f64>() / n as f64;
        let normals: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let square = normals.iter().map(|x| x * x).sum::<f64>() / n as f64;
        // Five standard errors each.
        assert!((uniform - 0.5).abs() < 5.0 * 0.2887 / (n as f64).sqrt());
        assert!(mean.abs() < 5.0 / (n as f64).sqrt());
        assert!((square - 1.0).abs() < 5.0 * 1.4143 / (n as f64).sqrt());
    }

    #[test]
    fn below_is_even_and_shuffle_keeps_everything() {
        let mut rng = Rng::new(5);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7)] += 1;
        }
        let chi2: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 30.0, "chi-squared {chi2} with 6 degrees of freedom");
        let mut items: Vec<u32> = (0..100).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
