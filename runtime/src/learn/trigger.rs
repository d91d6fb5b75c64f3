//! Whether it is time to train: only when a failure pattern is statistically significant, when
//! there is enough to learn from, and when the device has time.
//!
//! Everything else is answered at once by retrieval, which costs nothing.

use super::bet::{RateBet, Stakes, bet_above};
use crate::policy::Obstacle;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One turn, for monitoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Its category.
    pub category: String,
    /// How bad it went, in 0..=1: see `Judged::badness`. Silent turns count as 0.
    pub bad: f64,
}

/// How sure the model was of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Confidence {
    /// Its category.
    pub category: String,
    /// Geometric mean of the probabilities of its tokens, in 0..=1.
    pub mean_probability: f64,
}

/// One example that training would use.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Its category.
    pub category: String,
    /// Its conversation.
    pub session: u128,
    /// Its weight.
    pub weight: f64,
}

/// What the decision depends on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Situation {
    /// Turns since the last promotion, in order of time.
    pub observations: Vec<Observation>,
    /// Training examples since the last promotion.
    pub lessons: Vec<Lesson>,
    /// Usual badness by category, from the window before the last promotion: see [`baseline`].
    pub baselines: BTreeMap<String, f64>,
    /// How sure the model was of its answers since the last promotion, in order of time.
    pub confidences: Vec<Confidence>,
    /// Usual confidence by category, from before the last promotion: see [`usual_confidence`].
    pub usual_confidences: BTreeMap<String, f64>,
    /// When the last training run ended, if there was one.
    pub last_trained_ms: Option<u64>,
    /// Now.
    pub now_ms: u64,
}

/// The trigger's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// A category alarms at (number of categories) / alpha.
    pub alpha: f64,
    /// Usual badness of a category that has no baseline.
    pub default_rate: f64,
    /// Effective number of examples that suffices in one category.
    pub category_examples: f64,
    /// Effective number of examples that suffices over all.
    pub all_examples: f64,
    /// Fewest conversations that the examples come from.
    pub sessions: usize,
    /// Least time between two training runs.
    pub cooldown_ms: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            alpha: 0.05,
            default_rate: 0.08,
            category_examples: 12.0,
            all_examples: 24.0,
            sessions: 2,
            cooldown_ms: 24 * 3_600_000,
        }
    }
}

/// Something that asks for training.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// A category fails more often than it used to.
    Failures {
        /// Which.
        category: String,
        /// Its e-detector.
        evidence: f64,
        /// What that had to reach.
        threshold: f64,
    },
    /// The model has become less sure of its answers.
    LessConfident {
        /// Wealth of the bet.
        evidence: f64,
        /// What that had to reach.
        threshold: f64,
    },
}

/// Something that speaks against training now.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// Nothing asks for it.
    NoNeed,
    /// Too little to learn from.
    FewExamples {
        /// Effective number over all.
        have: f64,
        /// What would suffice over all; a single category needs less.
        need: f64,
    },
    /// The examples come from too few conversations.
    FewSessions {
        /// How many.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// Trained a short while ago.
    Cooldown {
        /// Milliseconds left.
        left_ms: u64,
    },
    /// The device is not free for it.
    Device(Obstacle),
    /// The user refused to be learned from.
    Refused,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Failures { category, evidence, threshold } => {
                write!(
                    f,
                    "{category} fails more than usual (evidence {evidence:.0} ≥ {threshold:.0})"
                )
            }
            Why::LessConfident { evidence, threshold } => {
                write!(f, "answers are less sure (evidence {evidence:.0} ≥ {threshold:.0})")
            }
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::NoNeed => write!(f, "nothing fails more than usual"),
            Hold::FewExamples { have, need } => {
                write!(f, "{have:.1} effective examples, {need:.0} needed")
            }
            Hold::FewSessions { have, need } => {
                write!(f, "examples from {have} conversations, {need} needed")
            }
            Hold::Cooldown { left_ms } => write!(f, "trained recently, {left_ms} ms to wait"),
            Hold::Device(obstacle) => write!(f, "{obstacle}"),
            Hold::Refused => write!(f, "the user refused to be learned from"),
        }
    }
}

/// Train or not, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Train now.
    pub train: bool,
    /// What asks for it.
    pub why: Vec<Why>,
    /// What speaks against it; empty exactly when `train` is true.
    pub hold: Vec<Hold>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |parts: Vec<String>| parts.join("; ");
        let why = join(self.why.iter().map(Why::to_string).collect());
        if self.train {
            return write!(f, "train: {why}");
        }
        write!(f, "wait: {}", join(self.hold.iter().map(Hold::to_string).collect()))?;
        if why.is_empty() { Ok(()) } else { write!(f, " (though {why})") }
    }
}

/// Kish's effective sample size (sum w)^2 / sum w^2; 0 for nothing.
pub fn effective_size(weights: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, squares) = weights.into_iter().fold((0.0, 0.0), |(s, q), w: f64| (s + w, q + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// Usual badness of a category from a window of turns, drawn towards `default_rate` with the
/// weight of 20 turns and kept in 0.02..=0.5. Taken anew at every promotion.
pub fn baseline(bads: &[f64], default_rate: f64) -> f64 {
    let sum: f64 = bads.iter().sum();
    ((sum + 20.0 * default_rate) / (bads.len() as f64 + 20.0)).clamp(0.02, 0.5)
}

/// Usual confidence by category, from answers before the last promotion: their mean less two
/// standard errors, because a bet against a target that is too high by chance would win by chance.
/// A category with fewer than 20 answers has none: it is not compared.
pub fn usual_confidence(before: &[Confidence]) -> BTreeMap<String, f64> {
    let mut known = BTreeMap::<&str, Vec<f64>>::new();
    for c in before {
        known.entry(&c.category).or_default().push(c.mean_probability.clamp(0.0, 1.0));
    }
    let usual = |ps: &[f64]| {
        let n = ps.len() as f64;
        let mean = ps.iter().sum::<f64>() / n;
        let variance = ps.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / (n - 1.0);
        mean - 2.0 * (variance / n).sqrt()
    };
    let enough = known.into_iter().filter(|(_, ps)| ps.len() >= 20);
    enough.map(|(category, ps)| (category.to_owned(), usual(&ps))).collect()
}

/// Decides. A pure function of the situation.
pub fn decide(situation: &Situation, rules: &Rules) -> Decision {
    let mut why = failures(situation, rules);
    why.extend(less_confident(situation, rules));
    let mut hold = Vec::new();
    if why.is_empty() {
        hold.push(Hold::NoNeed);
    }
    hold.extend(stock(situation, rules));
    // A run that ended later than now: the clock was set back, and nobody knows how long ago it was.
    let waited = situation.last_trained_ms.and_then(|t| situation.now_ms.checked_sub(t));
    if let Some(waited) = waited
        && waited < rules.cooldown_ms
    {
        hold.push(Hold::Cooldown { left_ms: rules.cooldown_ms - waited });
    }
    Decision { train: hold.is_empty(), why, hold }
}

fn failures(situation: &Situation, rules: &Rules) -> Vec<Why> {
    let mut detectors: BTreeMap<&str, (RateBet, f64)> = BTreeMap::new();
    for o in &situation.observations {
        let rate = situation.baselines.get(&o.category).copied().unwrap_or(rules.default_rate);
        let (detector, peak) =
            detectors.entry(&o.category).or_insert_with(|| (RateBet::detector(rate), 1.0));
        *peak = detector.observe(o.bad).max(*peak);
    }
    let threshold = detectors.len() as f64 / rules.alpha;
    let alarmed = detectors.into_iter().filter(|(_, (_, peak))| *peak >= threshold);
    alarmed
        .map(|(category, (_, evidence))| Why::Failures {
            category: category.to_owned(),
            evidence,
            threshold,
        })
        .collect()
}

/// One bet over all categories. Each answer is compared with what is usual in its category, or an
/// app would look less sure whenever its user turns to harder requests.
fn less_confident(situation: &Situation, rules: &Rules) -> Option<Why> {
    let stakes = Stakes { alpha: rules.alpha, share_max: 0.5 };
    // Under "no less sure than usual" each of these has a mean of at most 1/2.
    let doubts = situation.confidences.iter().filter_map(|c| {
        let usual = situation.usual_confidences.get(&c.category)?;
        Some(0.5 + (usual - c.mean_probability.clamp(0.0, 1.0)) / 2.0)
    });
    let evidence = bet_above(doubts, 0.5, stakes).peak;
    let threshold = 1.0 / rules.alpha;
    (evidence >= threshold).then_some(Why::LessConfident { evidence, threshold })
}

fn stock(situation: &Situation, rules: &Rules) -> Vec<Hold> {
    let mut out = Vec::new();
    let mut categories: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for l in &situation.lessons {
        categories.entry(&l.category).or_default().push(l.weight);
    }
    let have = effective_size(situation.lessons.iter().map(|l| l.weight));
    let one = categories.into_values().map(effective_size).fold(0.0, f64::max);
    if have < rules.all_examples && one < rules.category_examples {
        out.push(Hold::FewExamples { have, need: rules.all_examples });
    }
    let sessions: BTreeSet<u128> = situation.lessons.iter().map(|l| l.session).collect();
    if sessions.len() < rules.sessions {
        out.push(Hold::FewSessions { have: sessions.len(), need: rules.sessions });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn lessons(n: u128) -> Vec<Lesson> {
        (0..n).map(|i| Lesson { category: "new".into(), session: i, weight: 0.9 }).collect()
    }

    fn turns(seed: u64, n: usize, categories: usize, rate: f64) -> Vec<Observation> {
        let mut rng = Rng::new(seed);
        (0..n)
            .map(|i| Observation {
                category: format!("c{}", i % categories),
                bad: f64::from(u8::from(rng.chance(rate))),
            })
            .collect()
    }

    fn ready() -> Situation {
        Situation { lessons: lessons(14), ..Situation::default() }
    }

    #[test]
    fn a_category_that_fails_starts_training_after_a_few_turns() {
        let mut s = Situation { observations: turns(1, 60, 3, 0.05), ..ready() };
        assert!(!decide(&s, &Rules::default()).train);
        for seen in 1.. {
            s.observations.push(Observation { category: "new".into(), bad: 0.8 });
            let d = decide(&s, &Rules::default());
            if d.train {
                assert!((4..=9).contains(&seen), "{seen} turns");
                assert!(
                    matches!(&d.why[..], [Why::Failures { category, .. }] if category == "new")
                );
                assert!(d.to_string().starts_with("train: new fails"));
                break;
            }
            assert_eq!(d.hold, [Hold::NoNeed]);
        }
    }

    #[test]
    fn every_hold_holds() {
        let failing = vec![Observation { category: "new".into(), bad: 0.9 }; 30];
        let go = Situation { observations: failing, ..ready() };
        let rules = Rules::default();
        assert!(decide(&go, &rules).train);
        let few = Situation { lessons: lessons(11), ..go.clone() };
        assert!(matches!(decide(&few, &rules).hold[..], [Hold::FewExamples { .. }]));
        let mut one = go.clone();
        one.lessons.iter_mut().for_each(|l| l.session = 1);
        assert_eq!(decide(&one, &rules).hold, [Hold::FewSessions { have: 1, need: 2 }]);
        let soon = Situation { last_trained_ms: Some(5), now_ms: 10, ..go.clone() };
        assert!(matches!(decide(&soon, &rules).hold[..], [Hold::Cooldown { left_ms: 86_399_995 }]));
        let set_back = Situation { last_trained_ms: Some(1 << 40), now_ms: 10, ..go };
        assert!(decide(&set_back, &rules).train, "a clock that was set back locks training out");
    }

    #[test]
    fn unequal_weights_count_for_less() {
        assert!((effective_size([1.0; 12]) - 12.0).abs() < 1e-9);
        let skewed = effective_size(std::iter::once(1.0).chain([0.05; 40]));
        assert!(skewed < 12.0, "{skewed}");
        assert_eq!(effective_size([]), 0.0);
    }

    #[test]
    fn without_drift_alarms_are_rare() {
        // Five categories, alpha .05: threshold 100 each. 300 turns is ten days of use.
        let alarms = (0..400)
            .filter(|&seed| {
                let s = Situation { observations: turns(seed, 300, 5, 0.08), ..ready() };
                decide(&s, &Rules::default()).train
            })
            .count();
        println!("A/A: {alarms} of 400 users without drift train within 300 turns");
        assert!(alarms <= 60, "{alarms} of 400");
    }

    fn sure(p: f64, category: &str, n: usize) -> Vec<Confidence> {
        vec![Confidence { category: category.into(), mean_probability: p }; n]
    }

    #[test]
    fn falling_confidence_asks_for_training_and_a_change_of_requests_does_not() {
        let usual = usual_confidence(&[sure(0.9, "triage", 40), sure(0.5, "draft", 40)].concat());
        let decide = |confidences| {
            let s = Situation { confidences, usual_confidences: usual.clone(), ..ready() };
            decide(&s, &Rules::default())
        };
        let d = decide(sure(0.7, "triage", 60));
        assert!(d.train && matches!(d.why[..], [Why::LessConfident { .. }]), "{d}");
        assert!(!decide(sure(0.9, "triage", 60)).train);
        assert!(!decide(sure(0.5, "draft", 200)).train, "harder requests, no less sure of them");
        assert!(!decide(sure(0.1, "unknown", 200)).train, "nothing to compare with");
        assert!(usual_confidence(&sure(0.9, "triage", 19)).is_empty());
    }

    #[test]
    fn noise_in_confidence_rarely_asks_for_training() {
        let draw = |rng: &mut Rng| Confidence {
            category: "all".into(),
            mean_probability: 0.6 + 0.4 * rng.uniform(),
        };
        let alarms = (0..400)
            .filter(|&seed| {
                let mut rng = Rng::new(seed);
                let mut some = |n| (0..n).map(|_| draw(&mut rng)).collect::<Vec<_>>();
                let (before, confidences) = (some(20 + seed as usize % 200), some(300));
                let usual_confidences = usual_confidence(&before);
                let s = Situation { confidences, usual_confidences, ..ready() };
                decide(&s, &Rules::default()).train
            })
            .count();
        println!("A/A: {alarms} of 400 users train on noise in confidence");
        assert!(alarms <= 20, "{alarms} of 400");
    }

    #[test]
    fn baselines_move_slowly_from_the_default() {
        assert!((baseline(&[], 0.08) - 0.08).abs() < 1e-12);
        assert!((baseline(&[1.0; 20], 0.08) - 0.5).abs() < 1e-12);
        assert!((baseline(&[0.0; 380], 0.08) - 0.02).abs() < 1e-12);
    }
}
