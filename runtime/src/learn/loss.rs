//! Losses as pure functions of per-sequence log-probabilities.
//!
//! A loss sees only what the streamed head yields: the sum of the log-probabilities of each
//! sequence's targets. It is written once over [`Real`] and differentiated with dual numbers, so
//! no loss has a hand-made gradient. Losses on pairs of sequences (DPO and its kin) fit the same
//! shape: a group then has two members.

use sapwood_kernels::dual::{Dual, Real};

/// Which loss a group of sequences is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Masked supervised fine-tuning: the mean negative log-likelihood of the answer's tokens.
    /// Groups have one member.
    Sft,
}

/// One sequence as a loss sees it.
#[derive(Clone, Copy, Debug)]
pub struct SequenceLogp<T> {
    /// Sum of the targets' log-probabilities, in nats.
    pub sum: T,
    /// Number of targets.
    pub tokens: usize,
}

/// The loss of one group, before its weight.
///
/// # Panics
/// If the group has not as many members as the loss needs.
pub fn loss<T: Real>(kind: Loss, group: &[SequenceLogp<T>]) -> T {
    match (kind, group) {
        (Loss::Sft, [answer]) => answer.sum * T::of(-1.0 / answer.tokens.max(1) as f64),
        (Loss::Sft, _) => panic!("supervised fine-tuning takes one sequence at a time"),
    }
}

/// The loss of one group and its derivative by each member's `sum`.
pub fn loss_and_gradient(kind: Loss, group: &[SequenceLogp<f64>]) -> (f64, Vec<f64>) {
    let value = loss(kind, group);
    let gradient = (0..group.len())
        .map(|direction| {
            let dual = |(i, s): (usize, &SequenceLogp<f64>)| SequenceLogp {
                sum: Dual { value: s.sum, tangent: if i == direction { 1.0 } else { 0.0 } },
                tokens: s.tokens,
            };
            let seeded: Vec<_> = group.iter().enumerate().map(dual).collect();
            loss(kind, &seeded).tangent
        })
        .collect();
    (value, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sft_is_the_mean_and_its_gradient_spreads_evenly() {
        let (value, gradient) =
            loss_and_gradient(Loss::Sft, &[SequenceLogp { sum: -6.0, tokens: 4 }]);
        assert_eq!(value, 1.5);
        assert_eq!(gradient, [-0.25]);
    }
}
