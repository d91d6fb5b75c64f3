//! From logits to the next token.
//!
//! The steps and their order are those of llama.cpp's default chain: repetition penalty, top-k,
//! top-p, min-p, temperature, draw. Temperature comes last, so the cuts judge the model's own
//! probabilities. Which token is drawn is a function of (settings, logits, recent tokens, step)
//! alone: a generation can be replayed from any position.
//!
//! Candidates are ordered by falling logit, then by rising id; every cut keeps a prefix of that
//! order. The draw inverts the cumulative distribution in the order of ids, so nothing has to be
//! sorted that was not cut.

use crate::rng::Rng;
use std::cmp::Ordering;

/// How a reply is drawn. The default is llama.cpp's.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy: the likeliest token, the lowest id on ties.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the shortest prefix that holds this much probability; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens with at least this share of the likeliest one's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides a positive logit of a recent token, multiplies a negative one; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many of the latest tokens count as recent.
    pub repetition_window: usize,
    /// Names the random stream.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            repetition_window: 64,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Greedy decoding: temperature 0, no penalty.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }
}

/// Why no token could be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A setting is outside its range.
    #[error("sampling.{setting} is {value}; it must be {must_be}")]
    Setting {
        /// Field of [`Sampling`].
        setting: &'static str,
        /// What was given.
        value: f32,
        /// The range in words.
        must_be: &'static str,
    },
    /// The model gave a NaN or an infinity: an adapter that does this is rolled back.
    #[error("the logit of token {id} is not finite; the adapter or the model is damaged")]
    NonFinite {
        /// The first such token.
        id: u32,
    },
    /// No logits at all.
    #[error("no logits: the vocabulary is empty")]
    Empty,
}

/// Draws tokens; keeps its scratch space between steps.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Sampling,
    candidates: Vec<(f32, u32)>,
    penalised: Vec<f32>,
}

/// Falling logit, then rising id. Logits are finite here, so this is a total order.
fn by_rank(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Sampler {
    /// Checks the settings.
    pub fn new(settings: Sampling) -> Result<Sampler, SampleError> {
        let s = &settings;
        let checks = [
            ("temperature", s.temperature, s.temperature >= 0.0, "finite and at least 0"),
            ("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "in (0, 1]"),
            ("min_p", s.min_p, (0.0..1.0).contains(&s.min_p), "in [0, 1)"),
            ("repetition_penalty", s.repetition_penalty, s.repetition_penalty > 0.0, "above 0"),
        ];
        for (setting, value, good, must_be) in checks {
            if !good || !value.is_finite() {
                return Err(SampleError::Setting { setting, value, must_be });
            }
        }
        Ok(Sampler { settings, candidates: Vec::new(), penalised: Vec::new() })
    }

    /// The settings in force.
    pub fn settings(&self) -> &Sampling {
        &self.settings
    }

    /// Draws the token of position `step` from `logits` (length V). `recent` is the text so far,
    /// latest last; only the last `repetition_window` tokens of it are looked at.
    pub fn sample(
        &mut self,
        logits: &[f32],
        recent: &[u32],
        step: u64,
    ) -> Result<u32, SampleError> {
        if logits.is_empty() {
            return Err(SampleError::Empty);
        }
        if let Some(id) = first_non_finite(logits) {
            return Err(SampleError::NonFinite { id });
        }
        let mut penalised = std::mem::take(&mut self.penalised);
        let adjusted = self.penalise(logits, recent, &mut penalised);
        let token = if self.settings.temperature == 0.0 {
            argmax(adjusted)
        } else {
            self.keep(adjusted);
            self.draw(step)
        };
        self.penalised = penalised;
        Ok(token)
    }

    /// Keskar et al., "CTRL" (arXiv 1909.05858), section 4.1, with llama.cpp's rule for the sign.
    fn penalise<'a>(
        &self,
        logits: &'a [f32],
        recent: &[u32],
        scratch: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let penalty = self.settings.repetition_penalty;
        let window = &recent[recent.len().saturating_sub(self.settings.repetition_window)..];
        if penalty == 1.0 || window.is_empty() {
            return logits;
        }
        scratch.clear();
        scratch.extend_from_slice(logits);
        for &id in window {
            let Some(&logit) = logits.get(id as usize) else { continue };
            // From the untouched logit: a token that occurs twice is penalised once. The clamp
            // keeps an extreme penalty finite.
            let moved = if logit > 0.0 { logit / penalty } else { logit * penalty };
            scratch[id as usize] = moved.clamp(f32::MIN, f32::MAX);
        }
        scratch
    }

    /// Leaves in `self.candidates` the tokens that survive top-k, top-p and min-p, in any order.
    fn keep(&mut self, logits: &[f32]) {
        let (kept, s) = (&mut self.candidates, &self.settings);
        kept.clear();
        kept.extend(logits.iter().zip(0u32..).map(|(&logit, id)| (logit, id)));
        if s.top_k > 0 && s.top_k < kept.len() {
            kept.select_nth_unstable_by(s.top_k - 1, by_rank);
            kept.truncate(s.top_k);
        }
        let max = kept.iter().fold(f32::MIN, |m, c| m.max(c.0));
        // Top-p measures against all that top-k kept, so the sum is taken before min-p cuts.
        let wanted = if s.top_p < 1.0 {
            f64::from(s.top_p) * kept.iter().map(|c| weight(c.0, max, 1.0)).sum::<f64>()
        } else {
            f64::INFINITY
        };
        if s.min_p > 0.0 {
            let floor = max + s.min_p.ln();
            kept.retain(|c| c.0 >= floor);
        }
        if wanted.is_finite() {
            truncate_at_mass(kept, max, wanted);
        }
    }

    /// Inverse of the cumulative distribution at temperature T, in the order of ids.
    fn draw(&mut self, step: u64) -> u32 {
        let (kept, s) = (&mut self.candidates, &self.settings);
        kept.sort_unstable_by_key(|c| c.1);
        let max = kept.iter().fold(f32::MIN, |m, c| m.max(c.0));
        let total: f64 = kept.iter().map(|c| weight(c.0, max, s.temperature)).sum();
        let mut left = Rng::at(s.seed, &[step]).uniform() * total;
        for c in kept.iter() {
            left -= weight(c.0, max, s.temperature);
            if left < 0.0 {
                return c.1;
            }
        }
        // Rounding can leave a crumb; it belongs to a token that has some probability.
        kept.iter().rev().find(|c| weight(c.0, max, s.temperature) > 0.0).map_or(0, |c| c.1)
    }
}

/// exp((logit - max) / T): unnormalised probability, the likeliest token has 1.
fn weight(logit: f32, max: f32, temperature: f32) -> f64 {
    ((f64::from(logit) - f64::from(max)) / f64::from(temperature)).exp()
}

/// Keeps the shortest prefix, in rank order, whose weights reach `wanted`. Ranks are made in
/// blocks that double: a peaked distribution is settled by the first few tokens.
fn truncate_at_mass(kept: &mut Vec<(f32, u32)>, max: f32, wanted: f64) {
    let (mut done, mut block, mut mass) = (0, 64, 0.0);
    while done < kept.len() {
        let end = (done + block).min(kept.len());
        if end < kept.len() {
            kept[done..].select_nth_unstable_by(end - done - 1, by_rank);
        }
        kept[done..end].sort_unstable_by(by_rank);
        for i in done..end {
            mass += weight(kept[i].0, max, 1.0);
            if mass >= wanted {
                kept.truncate(i + 1);
                return;
            }
        }
        (done, block) = (end, block * 2);
    }
}

/// Index of the greatest value, the lowest on ties.
fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// A fold without branches over a chunk vectorises; a search does not.
fn first_non_finite(logits: &[f32]) -> Option<u32> {
    let clean = logits.chunks(4096).all(|c| c.iter().fold(true, |ok, x| ok & x.is_finite()));
    if clean { None } else { logits.iter().position(|x| !x.is_finite()).map(|i| i as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: sort everything, then cut step by step.
    fn reference(s: &Sampling, logits: &[f32], recent: &[u32]) -> Vec<u32> {
        let mut z = logits.to_vec();
        let mut window: Vec<u32> = recent.iter().rev().take(s.repetition_window).copied().collect();
        window.sort_unstable();
        window.dedup();
        for id in window {
            let x = &mut z[id as usize];
            *x = if *x > 0.0 { *x / s.repetition_penalty } else { *x * s.repetition_penalty };
        }
        let mut order: Vec<(f32, u32)> = z.iter().copied().zip(0..).collect();
        order.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        if s.temperature == 0.0 {
            return vec![order[0].1];
        }
        if s.top_k > 0 {
            order.truncate(s.top_k);
        }
        let max = order[0].0;
        if s.top_p < 1.0 {
            let sum: f64 = order.iter().map(|c| f64::from(c.0 - max).exp()).sum();
            let mut mass = 0.0;
            let mut n = 0;
            for c in &order {
                n += 1;
                mass += f64::from(c.0 - max).exp();
                if mass >= f64::from(s.top_p) * sum {
                    break;
                }
            }
            order.truncate(n);
        }
        order.retain(|c| c.0 >= max + s.min_p.ln());
        let mut ids: Vec<u32> = order.iter().map(|c| c.1).collect();
        ids.sort_unstable();
        ids
    }

    fn kept(s: &Sampling, logits: &[f32], recent: &[u32]) -> Vec<u32> {
        let mut sampler = Sampler::new(s.clone()).unwrap();
        let mut scratch = Vec::new();
        let adjusted = sampler.penalise(logits, recent, &mut scratch).to_vec();
        if s.temperature == 0.0 {
            return vec![argmax(&adjusted)];
        }
        sampler.keep(&adjusted);
        let mut ids: Vec<u32> = sampler.candidates.iter().map(|c| c.1).collect();
        ids.sort_unstable();
        ids
    }

    fn settings() -> impl Strategy<Value = Sampling> {
        let top_p = prop_oneof![Just(1.0f32), 0.05f32..1.0];
        let min_p = prop_oneof![Just(0.0f32), 0.001f32..0.5];
        let penalty = prop_oneof![Just(1.0f32), 0.8f32..1.5];
        (0usize..400, top_p, min_p, penalty, 0usize..8, any::<u64>(), any::<bool>()).prop_map(
            |(top_k, top_p, min_p, repetition_penalty, repetition_window, seed, greedy)| Sampling {
                temperature: if greedy { 0.0 } else { 0.7 },
                top_k,
                top_p,
                min_p,
                repetition_penalty,
                repetition_window,
                seed,
            },
        )
    }

    proptest! {
        // Logits on a coarse grid, so that ties are common.
        #[test]
        fn keeps_what_the_sorted_definition_keeps(
            s in settings(),
            grid in prop::collection::vec(-40i32..40, 1..300),
            recent in prop::collection::vec(0usize..300, 0..12),
        ) {
            let logits: Vec<f32> = grid.iter().map(|&g| g as f32 * 0.25).collect();
            let recent: Vec<u32> = recent.iter().map(|&r| (r % logits.len()) as u32).collect();
            let want = reference(&s, &logits, &recent);
            prop_assert_eq!(&kept(&s, &logits, &recent), &want);
            let mut sampler = Sampler::new(s.clone()).unwrap();
            for step in 0..4 {
                let id = sampler.sample(&logits, &recent, step).unwrap();
                prop_assert!(want.contains(&id));
                let again = Sampler::new(s.clone()).unwrap().sample(&logits, &recent, step);
                prop_assert_eq!(again, Ok(id));
            }
        }
    }

    #[test]
    fn frequencies_follow_the_tempered_softmax() {
        let logits = [1.0f32, 0.0, -1.0, 2.0, -30.0];
        let t = 1.5;
        let s = Sampling {
            temperature: t,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 11,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(s).unwrap();
        let n = 100_000;
        let mut counts = [0f64; 5];
        for step in 0..n {
            counts[sampler.sample(&logits, &[], step).unwrap() as usize] += 1.0;
        }
        let sum: f64 = logits.iter().map(|&z| f64::from(z / t).exp()).sum();
        for (count, z) in counts.iter().zip(logits) {
            let p = f64::from(z / t).exp() / sum;
            let sd = (p * (1.0 - p) * n as f64).sqrt();
            assert!((count - p * n as f64).abs() <= 4.0 * sd + 1.0, "{count} for p = {p}");
        }
    }

    #[test]
    fn a_bad_logit_or_setting_is_refused_with_its_place() {
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let got = sampler.sample(&[0.0, 1.0, bad, f32::NAN], &[], 0);
            assert_eq!(got, Err(SampleError::NonFinite { id: 2 }));
        }
        assert_eq!(sampler.sample(&[], &[], 0), Err(SampleError::Empty));
        let bad = Sampling { top_p: 0.0, ..Sampling::default() };
        assert!(matches!(Sampler::new(bad), Err(SampleError::Setting { setting: "top_p", .. })));
        let bad = Sampling { temperature: f32::NAN, ..Sampling::default() };
        assert!(Sampler::new(bad).is_err());
    }

    #[test]
    fn extreme_logits_and_foreign_recent_tokens_are_harmless() {
        let logits = [f32::MAX, f32::MIN, 0.0, f32::MAX];
        let s = Sampling { repetition_penalty: 2.0, top_k: 0, ..Sampling::default() };
        let mut sampler = Sampler::new(s).unwrap();
        for step in 0..50 {
            let id = sampler.sample(&logits, &[1, 7_000_000], step).unwrap();
            assert!(id == 0 || id == 3);
        }
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
    }
}
