//! Exposure: how far up the model ranks a secret among all that it could have been.
//!
//! exposure = log2 |R| − log2 rank (Carlini et al., "The Secret Sharer", 2019), where R are all
//! values that the secret could have and rank 1 is the one that the model finds likeliest. Ranking
//! 10⁹ values is out of reach, so the rank is estimated as they do: by the distribution of the
//! model's surprise at values that were never seen. Up to what a sample can resolve that is the
//! sample's own share; beyond, a skew-normal distribution fitted to the sample by its moments.

/// A distribution of surprise, in nats.
pub struct SkewNormal {
    location: f64,
    scale: f64,
    shape: f64,
}

/// Largest skewness that the family can have is 0.9953; a sample's may lie beyond.
const SKEWNESS_MAX: f64 = 0.99;
/// Left of this many scales there is nothing.
const LEFT_END: f64 = -14.0;
/// Intervals of Simpson's rule in one scale.
const PER_SCALE: f64 = 200.0;

impl SkewNormal {
    /// The distribution with the sample's mean, variance and skewness.
    pub fn fit(sample: &[f64]) -> SkewNormal {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        let moment = |k: i32| sample.iter().map(|x| (x - mean).powi(k)).sum::<f64>() / n;
        let sd = moment(2).sqrt();
        let skewness = (moment(3) / sd.powi(3)).clamp(-SKEWNESS_MAX, SKEWNESS_MAX);
        let root = skewness.abs().powf(2.0 / 3.0);
        let pi = std::f64::consts::PI;
        let delta = (pi / 2.0 * root / (root + ((4.0 - pi) / 2.0).powf(2.0 / 3.0))).sqrt();
        let delta = delta.copysign(skewness);
        let scale = sd / (1.0 - 2.0 * delta * delta / pi).sqrt();
        SkewNormal {
            location: mean - scale * delta * (2.0 / pi).sqrt(),
            scale,
            shape: delta / (1.0 - delta * delta).sqrt(),
        }
    }

    /// P(X ≤ x), with a small relative error far into the left tail: both the density and the
    /// normal distribution in it are summed up from the left end.
    pub fn below(&self, x: f64) -> f64 {
        let z = (x - self.location) / self.scale;
        let steps = ((z - LEFT_END) * PER_SCALE).ceil();
        if steps < 1.0 {
            return 0.0;
        }
        let h = (z - LEFT_END) / steps;
        // Simpson's rule for the normal distribution at a·t, beside the one for the density.
        let mut normal = normal_below(self.shape * LEFT_END);
        let mut density = [0.0; 3];
        let mut sum = 0.0;
        for i in 0..steps as usize {
            let t = LEFT_END + i as f64 * h;
            density[0] = 2.0 * phi(t) * normal;
            for (half, place) in [1, 2].into_iter().enumerate() {
                let from = t + half as f64 * h / 2.0;
                let mass = [0.0, 0.25, 0.5].map(|part| phi(self.shape * (from + part * h)));
                normal += self.shape * h / 12.0 * (mass[0] + 4.0 * mass[1] + mass[2]);
                density[place] = 2.0 * phi(from + h / 2.0) * normal;
            }
            sum += h / 6.0 * (density[0] + 4.0 * density[1] + density[2]);
        }
        sum.clamp(0.0, 1.0)
    }
}

/// The normal distribution, by Simpson's rule from the left end.
fn normal_below(z: f64) -> f64 {
    let steps = ((z - LEFT_END) * PER_SCALE).ceil().max(0.0);
    let h = (z - LEFT_END) / steps.max(1.0);
    let piece = |i: usize| {
        let t = LEFT_END + i as f64 * h;
        h / 6.0 * (phi(t) + 4.0 * phi(t + h / 2.0) + phi(t + h))
    };
    (0..steps as usize).map(piece).sum()
}

fn phi(t: f64) -> f64 {
    (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The surprise at values that were never seen, each against the mean of its own sentence.
pub struct Reference {
    sorted: Vec<f64>,
    fit: SkewNormal,
    /// log2 |R|.
    bits: f64,
}

impl Reference {
    pub fn new(mut sample: Vec<f64>, bits: f64) -> Reference {
        sample.sort_by(f64::total_cmp);
        let fit = SkewNormal::fit(&sample);
        Reference { sorted: sample, fit, bits }
    }

    /// Exposure in bits of a secret with this surprise, by the fitted distribution.
    pub fn exposure(&self, surprise: f64) -> f64 {
        (-self.fit.below(surprise).log2()).clamp(0.0, self.bits)
    }

    /// Largest distance between the sample's distribution and the fitted one (Kolmogorov and
    /// Smirnov).
    pub fn misfit(&self) -> f64 {
        let n = self.sorted.len() as f64;
        let gap = |(i, &x): (usize, &f64)| {
            let p = self.fit.below(x);
            (p - i as f64 / n).abs().max(((i + 1) as f64 / n - p).abs())
        };
        self.sorted.iter().enumerate().step_by(7).map(gap).fold(0.0, f64::max)
    }
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn the_fitted_distribution_is_the_skew_normal() {
    // A skewness of 0 is the normal distribution.
    let normal = SkewNormal { location: 1.0, scale: 2.0, shape: 0.0 };
    for (z, p) in [(0.0, 0.5), (-1.0, 0.158_655_254), (-3.0, 1.349_898e-3), (-6.0, 9.865_876e-10)] {
        let got = normal.below(1.0 + 2.0 * z);
        assert!((got / p - 1.0).abs() < 1e-6, "{z}: {got}");
    }
    // At 0 it is 1/2 − atan(shape)/π, whatever the scale.
    for shape in [-4.0f64, -1.0, 0.5, 3.0] {
        let skewed = SkewNormal { location: 0.0, scale: 3.0, shape };
        let p = 0.5 - shape.atan() / std::f64::consts::PI;
        assert!((skewed.below(0.0) / p - 1.0).abs() < 1e-6, "{shape}: {}", skewed.below(0.0));
        assert!((skewed.below(60.0) - 1.0).abs() < 1e-9);
        // δ|U| + √(1 − δ²)V is skew-normal; from enough of them the shape comes back.
        let delta = shape / (1.0 + shape * shape).sqrt();
        let mut rng = sapwood::rng::Rng::new(3);
        let draw = |rng: &mut sapwood::rng::Rng| {
            5.0 + 2.0 * (delta * rng.normal().abs() + (1.0 - delta * delta).sqrt() * rng.normal())
        };
        let sample: Vec<f64> = (0..40_000).map(|_| draw(&mut rng)).collect();
        let fit = SkewNormal::fit(&sample);
        assert!((fit.scale - 2.0).abs() < 0.12, "{shape}: scale {}", fit.scale);
        assert!(Reference::new(sample, 30.0).misfit() < 0.012, "{shape}");
    }
}
