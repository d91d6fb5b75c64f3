//! How far two vectors of logits are apart, and whether two greedy texts may differ.

/// By how much two engines' errors may differ when both round alike and chance decides.
pub const CHANCE: f64 = 1.25;

/// Normalized mean squared error: `sum((got - want)^2) / sum((want - mean(want))^2)`.
///
/// Centred, because a constant added to all logits changes nothing and must not hide a difference.
///
/// # Panics
/// If the lengths differ, or a value is not finite: both mean a broken engine, not a difference.
pub fn nmse(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "logits of different lengths");
    assert!(got.iter().chain(want).all(|x| x.is_finite()), "a logit is not finite");
    let mean = want.iter().map(|&x| f64::from(x)).sum::<f64>() / want.len() as f64;
    let error: f64 = got.iter().zip(want).map(|(&g, &w)| f64::from(g - w).powi(2)).sum();
    let power: f64 = want.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum();
    error / power
}

/// Largest absolute difference.
pub fn max_difference(got: &[f32], want: &[f32]) -> f32 {
    got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max)
}

/// The token of the largest logit; the first one of equals, as both engines choose.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// How two engines choose along one text, the oracle's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Choices {
    /// Steps compared.
    pub steps: usize,
    /// Steps where the other engine prefers another token.
    pub differ: usize,
    /// How decided the oracle was at most where they differ: its logit of its own token minus its
    /// logit of the other's, in standard deviations of its logits there.
    pub margin: f32,
}

impl Choices {
    /// Adds one step: the logits of both engines after the same tokens.
    pub fn add(&mut self, got: &[f32], oracle: &[f32]) {
        self.steps += 1;
        let (ours, theirs) = (argmax(got) as usize, argmax(oracle) as usize);
        if ours != theirs {
            self.differ += 1;
            let margin = (oracle[theirs] - oracle[ours]) / deviation(oracle);
            self.margin = self.margin.max(margin);
        }
    }

    /// Both together.
    pub fn and(self, other: Choices) -> Choices {
        Choices {
            steps: self.steps + other.steps,
            differ: self.differ + other.differ,
            margin: self.margin.max(other.margin),
        }
    }
}

/// Standard deviation of the logits.
fn deviation(logits: &[f32]) -> f32 {
    let n = logits.len() as f32;
    let mean = logits.iter().sum::<f32>() / n;
    (logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nmse_is_zero_for_equals_and_one_for_the_mean() {
        let want = [1.0, 2.0, 6.0];
        assert_eq!(nmse(&want, &want), 0.0);
        assert!((nmse(&[3.0; 3], &want) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_difference_carries_the_oracles_margin() {
        let mut choices = Choices::default();
        choices.add(&[0.0, 1.0], &[3.0, 5.0]);
        assert_eq!(choices, Choices { steps: 1, differ: 0, margin: 0.0 });
        choices.add(&[0.1, 0.0], &[3.0, 5.0]);
        assert_eq!(choices, Choices { steps: 2, differ: 1, margin: 2.0 });
    }
}
