//! AdamW on one flat vector of parameters, with gradient clipping and a learning-rate schedule.

/// Settings of AdamW (Loshchilov and Hutter, 2019) and of its schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Decay of the mean of the gradient.
    pub beta1: f32,
    /// Decay of the mean of the squared gradient.
    pub beta2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
    /// Decoupled: parameters shrink by learning rate times this in each step.
    pub weight_decay: f32,
    /// Gradients longer than this (L2) are scaled down to it; infinite for no clipping.
    pub clip_norm: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
        }
    }
}

/// How the learning rate moves over the steps of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// The peak rate at every step.
    Constant,
    /// A linear rise, then a half cosine down to a tenth.
    Cosine {
        /// Steps of the rise, at most; a short run rises over a tenth of its steps.
        warmup_steps: u32,
    },
}

impl Schedule {
    /// The factor on the peak rate at `step` (from 0) of `steps`.
    pub fn factor(self, step: u32, steps: u32) -> f32 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine { warmup_steps } => {
                let rise = warmup_steps.min(steps.div_ceil(10));
                if step < rise {
                    return (step + 1) as f32 / rise as f32;
                }
                let span = steps.saturating_sub(rise).max(1) as f32;
                let progress = ((step - rise) as f32 / span).min(1.0);
                0.1 + 0.45 * (1.0 + (std::f32::consts::PI * progress).cos())
            }
        }
    }
}

/// The optimizer's memory: as long as the parameters, twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Running mean of the gradient.
    pub mean: Vec<f32>,
    /// Running mean of its square.
    pub square: Vec<f32>,
    /// Updates made so far.
    pub updates: u32,
}

impl Moments {
    /// Moments of `len` parameters before the first update.
    pub fn new(len: usize) -> Moments {
        Moments { mean: vec![0.0; len], square: vec![0.0; len], updates: 0 }
    }
}

impl AdamW {
    /// Updates `values` and returns the gradient's norm before clipping. A gradient that is not
    /// finite changes nothing and returns `None`.
    pub fn update(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        rate_factor: f32,
    ) -> Option<f32> {
        assert_eq!(values.len(), gradient.len(), "one gradient per parameter");
        let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt() as f32;
        if !norm.is_finite() {
            return None;
        }
        let clip = if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 };
        moments.updates += 1;
        let rate = self.learning_rate * rate_factor;
        let correction1 = 1.0 - self.beta1.powi(moments.updates as i32);
        let correction2 = 1.0 - self.beta2.powi(moments.updates as i32);
        let state = moments.mean.iter_mut().zip(&mut moments.square);
        for ((value, &g), (mean, square)) in values.iter_mut().zip(gradient).zip(state) {
            let g = g * clip;
            *mean = self.beta1 * *mean + (1.0 - self.beta1) * g;
            *square = self.beta2 * *square + (1.0 - self.beta2) * g * g;
            let step = (*mean / correction1) / ((*square / correction2).sqrt() + self.epsilon);
            *value -= rate * (step + self.weight_decay * *value);
        }
        Some(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_moves_by_the_learning_rate_against_the_sign() {
        let adamw = AdamW { learning_rate: 0.5, clip_norm: f32::INFINITY, ..AdamW::default() };
        let mut values = [1.0, -1.0, 0.0];
        let mut moments = Moments::new(3);
        let norm = adamw.update(&mut values, &[3.0, -4.0, 0.0], &mut moments, 1.0);
        assert_eq!(norm, Some(5.0));
        for (value, expected) in values.iter().zip([0.5, -0.5, 0.0]) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let mut values = [1.0, 2.0];
        let mut moments = Moments::new(2);
        let norm = AdamW::default().update(&mut values, &[f32::NAN, 1.0], &mut moments, 1.0);
        assert_eq!(norm, None);
        assert_eq!(values, [1.0, 2.0]);
        assert_eq!(moments, Moments::new(2));
    }

    #[test]
    fn clipping_bounds_the_gradient_that_the_moments_see() {
        let adamw = AdamW { clip_norm: 1.0, ..AdamW::default() };
        let mut moments = Moments::new(1);
        adamw.update(&mut [0.0], &[100.0], &mut moments, 1.0);
        assert!((moments.mean[0] - 0.1).abs() < 1e-6);
    }

    #[test]
    fn the_cosine_rises_and_falls_to_a_tenth() {
        let schedule = Schedule::Cosine { warmup_steps: 10 };
        assert!(schedule.factor(0, 100) < schedule.factor(9, 100));
        assert_eq!(schedule.factor(9, 100), 1.0);
        assert!((schedule.factor(100, 100) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_short_run_is_not_all_rise() {
        let schedule = Schedule::Cosine { warmup_steps: 10 };
        for steps in 1..100 {
            let factors: Vec<f32> = (0..steps).map(|step| schedule.factor(step, steps)).collect();
            let peak = factors.iter().position(|&factor| factor == 1.0);
            assert!(peak.is_some_and(|peak| peak <= steps as usize / 10), "{steps}: {factors:?}");
            assert!(factors.iter().all(|&factor| (0.1..=1.0).contains(&factor)), "{factors:?}");
        }
    }
}
