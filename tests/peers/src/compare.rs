//! How far two vectors of logits are apart, and whether two greedy texts may differ.

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

/// What [`greedy_agreement`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Agreement {
    /// Every step chose the same token.
    Identical,
    /// The first step that differs, and by how much the oracle preferred its own token there.
    Differs {
        /// Index of the first differing token.
        step: usize,
        /// Logit of the oracle's token minus logit of ours, both by the oracle.
        margin: f32,
    },
}

/// Compares a greedy text with the oracle's: `steps` are the oracle's logits before each token.
pub fn greedy_agreement(got: &[u32], want: &[u32], steps: &[Vec<f32>]) -> Agreement {
    let differs = got.iter().zip(want).position(|(g, w)| g != w);
    match differs {
        None => Agreement::Identical,
        Some(step) => {
            let logits = &steps[step];
            let margin = logits[want[step] as usize] - logits[got[step] as usize];
            Agreement::Differs { step, margin }
        }
    }
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
    fn a_first_difference_carries_the_oracles_margin() {
        let steps = vec![vec![0.0, 1.0], vec![2.0, 1.5]];
        assert_eq!(greedy_agreement(&[1, 0], &[1, 0], &steps), Agreement::Identical);
        let differs = Agreement::Differs { step: 1, margin: 0.5 };
        assert_eq!(greedy_agreement(&[1, 1], &[1, 0], &steps), differs);
    }
}
