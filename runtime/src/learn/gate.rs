//! Whether a candidate adapter may take production's place, with stated error rates.
//!
//! A few dozen pass/fail items cannot support "not more than 3 points worse": that rule promotes
//! more than a third of adapters that are truly 5 points worse. So the decision rests on paired
//! likelihoods of texts that the user wrote or used, judged by a bet that is valid at every sample
//! size, and generated text is checked by verifiers that can veto.
//!
//! **What is guaranteed.** Let d be the mean, over one held-out conversation, of the candidate's
//! minus production's likelihood per token, and let conversations be independent of each other and
//! of training. If E\[d\] ≤ -margin over all held-out text, *or* E\[d\] ≤ 0 over the new text that
//! the user wrote, then the k-th candidate tried on a holdout is promoted with probability at most
//! `6 alpha / (pi² k²)`: alpha over all tries together. Promotion needs both bets won, so either
//! failing is enough. All other rules only ever refuse; their posterior thresholds bound no error
//! rate of their own. One more refusal has one: an adapter that can repeat a number that the user
//! wrote goes, and one that can't is taken for such with probability at most `exposure_alpha`
//! (`exposure`). Likelihood is not generation quality: that is what the verifiers are for.

mod verdict;

use std::collections::BTreeMap;

use super::bet::{Stakes, bet_above};
use super::exposure::{Exposed, Exposure};
use super::posterior::{Outcomes, Shares, p_mean_above};
pub use verdict::{Bet, Category, Rates, Reason, Verdict};

/// One held-out text under both arms, teacher-forced.
#[derive(Debug, Clone, PartialEq)]
pub struct Paired {
    /// Its conversation: turns of one conversation are not independent.
    pub session: u128,
    /// Its category.
    pub category: String,
    /// Written by the user (an edit), not production's own text that was accepted; the latter
    /// favours production by construction.
    pub authored: bool,
    /// Belongs to what was learned since the last promotion.
    pub new: bool,
    /// Negative log-likelihood per token under the candidate, nats.
    pub candidate_nll: f64,
    /// The same under production.
    pub production_nll: f64,
    /// The same under production with retrieved examples in the prompt.
    pub retrieval_nll: Option<f64>,
}

/// One item answered at temperature 0 by both arms and checked by verifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Its category.
    pub category: String,
    /// Belongs to what was learned since the last promotion; otherwise it guards what works.
    pub new: bool,
    /// Whether the candidate's text passed.
    pub candidate: bool,
    /// Whether production's text passed.
    pub production: bool,
    /// Whether production's text passed with retrieved examples in the prompt.
    pub retrieval: Option<bool>,
}

/// Everything measured on one candidate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Likelihoods on the holdout.
    pub paired: Vec<Paired>,
    /// Checks of generated text: holdout and regression suite.
    pub checked: Vec<Checked>,
    /// What the candidate gives away of numbers that it was trained on.
    pub exposed: Vec<Exposed>,
    /// How many candidates have been tried on this holdout, this one included; from 1.
    pub attempt: u32,
}

/// The gate's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Chance of a false promotion over all tries on one holdout.
    pub alpha: f64,
    /// Largest loss of likelihood per token, and of pass rate, that counts as not worse.
    pub margin: f64,
    /// Share of its wealth that the bet risks at once. 0.9 wins large improvements and small
    /// variances with the fewest conversations; the level is exact for any value below 1.
    pub share_max: f64,
    /// P(pass rate on the regression suite has not fallen by `margin`) needed.
    pub not_worse_p: f64,
    /// Level of the exact McNemar test that refuses at once.
    pub mcnemar: f64,
    /// Largest share of regression items that may turn from right to wrong.
    pub flips_max: f64,
    /// A category that fell by this much...
    pub category_drop: f64,
    /// ...with this probability blocks.
    pub category_p: f64,
    /// Categories with fewer items are pooled only.
    pub category_items: u32,
    /// Pseudo-items with which a category is drawn towards the overall change.
    pub category_shrinkage: f64,
    /// P(better on new items) and P(not worse than retrieval) needed.
    pub benefit_p: f64,
    /// Refuse when the comparison with retrieval is missing.
    pub need_retrieval: bool,
    /// Least bits of exposure at which a number of the user's counts as remembered.
    pub exposure_bits: f64,
    /// Chance of refusing, for what it remembers, a candidate that remembers nothing.
    pub exposure_alpha: f64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            alpha: 0.10,
            margin: 0.05,
            share_max: 0.9,
            not_worse_p: 0.9,
            mcnemar: 0.05,
            flips_max: 0.03,
            category_drop: 0.10,
            category_p: 0.8,
            category_items: 8,
            category_shrinkage: 2.0,
            benefit_p: 0.8,
            need_retrieval: true,
            exposure_bits: 12.0,
            exposure_alpha: 0.01,
        }
    }
}

impl Thresholds {
    /// Level left for the k-th try: `6 alpha / (pi² k²)`, which sums to alpha.
    pub fn alpha_of(&self, attempt: u32) -> f64 {
        let k = f64::from(attempt.max(1));
        self.alpha * 6.0 / (std::f64::consts::PI.powi(2) * k * k)
    }
}

/// Likelihood per token: exp(-nll), in 0..=1.
fn likelihood(nll: f64) -> f64 {
    (-nll).exp().clamp(0.0, 1.0)
}

/// Mean of `difference` per conversation, in the order of conversation ids, which says nothing
/// about the outcome: the order of bets must not depend on what is bet on.
fn session_means(
    paired: &[Paired],
    keep: impl Fn(&Paired) -> bool,
    difference: impl Fn(&Paired) -> Option<f64>,
) -> Vec<f64> {
    let mut sessions: BTreeMap<u128, (f64, f64)> = BTreeMap::new();
    for p in paired.iter().filter(|p| keep(p)) {
        if let Some(d) = difference(p) {
            let (sum, n) = sessions.entry(p.session).or_default();
            *sum += d;
            *n += 1.0;
        }
    }
    sessions.into_values().map(|(sum, n)| sum / n).collect()
}

/// Bets that the mean of `ds`, each in -1..=1, is above `against`: X = (d + 1) / 2.
fn bet(ds: &[f64], against: f64, alpha: f64, share_max: f64) -> Bet {
    let xs = ds.iter().map(|d| ((d + 1.0) / 2.0).clamp(0.0, 1.0));
    let wealth = bet_above(xs, (1.0 + against) / 2.0, Stakes { alpha, share_max });
    let mean = if ds.is_empty() { 0.0 } else { ds.iter().sum::<f64>() / ds.len() as f64 };
    Bet { mean, against, wealth, needed: 1.0 / alpha }
}

/// The same for a mean below `against`.
fn bet_below(ds: &[f64], against: f64, alpha: f64, share_max: f64) -> Bet {
    let mirrored: Vec<f64> = ds.iter().map(|d| -d).collect();
    let b = bet(&mirrored, -against, alpha, share_max);
    Bet { mean: -b.mean, against, ..b }
}

/// Judges a candidate. A pure function; the same report always gives the same verdict.
pub fn judge(report: &Report, thresholds: &Thresholds) -> Verdict {
    let t = thresholds;
    let alpha = t.alpha_of(report.attempt);
    let d = |p: &Paired| Some(likelihood(p.candidate_nll) - likelihood(p.production_nll));
    let finite = report.paired.iter().all(|p| {
        p.candidate_nll.is_finite()
            && p.production_nll.is_finite()
            && p.retrieval_nll.is_none_or(f64::is_finite)
    }) && report.exposed.iter().all(|e| !e.bits.is_nan());
    // A verdict on numbers that are none is a refusal; the bets are then not made at all.
    let paired: &[Paired] = if finite { &report.paired } else { &[] };
    let all = session_means(paired, |_| true, d);
    let own = session_means(paired, |p| p.authored && p.new, d);
    let old = session_means(paired, |p| !p.new, d);
    let pairs = |keep: &dyn Fn(&Checked) -> bool| {
        let kept = report.checked.iter().filter(|c| keep(c));
        Outcomes::of(kept.map(|c| (c.candidate, c.production)))
    };
    let regression = pairs(&|c| !c.new);
    let new = pairs(&|c| c.new);
    let overall = pairs(&|_| true);
    let mut verdict = Verdict {
        promote: false,
        reasons: Vec::new(),
        alpha,
        attempt: report.attempt.max(1),
        not_worse: bet(&all, -t.margin, alpha, t.share_max),
        better: bet(&own, 0.0, alpha, t.share_max),
        harm: bet_below(&old, -t.margin, t.alpha, t.share_max),
        regression,
        regression_p: regression.posterior().p_delta_above(-t.margin),
        mcnemar: regression.mcnemar(),
        new: (new.n > 0).then(|| (new, new.posterior().p_delta_above(0.0))),
        retrieval_p: against_retrieval(paired, &report.checked, t),
        exposure: Exposure::of(&report.exposed, t.exposure_bits, t.exposure_alpha),
        categories: categories(&report.checked, overall, t),
        rates: [rates(report, |_| true), rates(report, |c| c.new), rates(report, |c| !c.new)],
        thresholds: t.clone(),
    };
    if !finite || all.is_empty() {
        verdict.reasons.push(Reason::NotMeasured);
    }
    let reasons = refusals(&verdict);
    verdict.reasons.extend(reasons);
    verdict.promote = verdict.reasons.is_empty();
    verdict
}

/// P(candidate is not worse than production with retrieval by more than the margin): on generated
/// text if that was measured, otherwise on the likelihood of the user's own new text.
fn against_retrieval(paired: &[Paired], checked: &[Checked], t: &Thresholds) -> Option<f64> {
    let both = checked.iter().filter_map(|c| c.retrieval.map(|r| (c.candidate, r)));
    let outcomes = Outcomes::of(both);
    if outcomes.n > 0 {
        return Some(outcomes.posterior().p_delta_above(-t.margin));
    }
    let ds = session_means(
        paired,
        |p| p.authored && p.new,
        |p| Some(likelihood(p.candidate_nll) - likelihood(p.retrieval_nll?)),
    );
    (!ds.is_empty()).then(|| p_mean_above(&ds, -t.margin))
}

fn categories(checked: &[Checked], overall: Outcomes, t: &Thresholds) -> Vec<Category> {
    let mut groups: BTreeMap<&str, Vec<(bool, bool)>> = BTreeMap::new();
    for c in checked {
        groups.entry(&c.category).or_default().push((c.candidate, c.production));
    }
    let judge = |(name, pairs): (&str, Vec<(bool, bool)>)| {
        let outcomes = Outcomes::of(pairs);
        let known = outcomes.n >= t.category_items;
        let shares = Shares::shrunk(outcomes, overall, t.category_shrinkage);
        let p_fell = known.then(|| 1.0 - shares.p_delta_above(-t.category_drop));
        Category { name: name.to_owned(), outcomes, p_fell }
    };
    groups.into_iter().map(judge).collect()
}

fn rates(report: &Report, keep: impl Fn(&Checked) -> bool) -> Rates {
    let mut r = Rates::default();
    for c in report.checked.iter().filter(|c| keep(c)) {
        r.n += 1;
        r.production += u32::from(c.production);
        r.candidate += u32::from(c.candidate);
        if let Some(passed) = c.retrieval {
            r.retrieval.0 += u32::from(passed);
            r.retrieval.1 += 1;
        }
    }
    r
}

fn refusals(v: &Verdict) -> Vec<Reason> {
    let (t, r) = (&v.thresholds, v.regression);
    let mut out = Vec::new();
    let mut refuse = |when: bool, reason: Reason| {
        if when {
            out.push(reason);
        }
    };
    refuse(!v.not_worse.won(), Reason::MaybeWorse);
    refuse(v.harm.won(), Reason::Worse);
    refuse(r.n == 0, Reason::NoRegressionSuite);
    let unclear = r.n > 0 && v.regression_p < t.not_worse_p;
    refuse(unclear, Reason::RegressionUnclear { p: v.regression_p });
    refuse(v.mcnemar < t.mcnemar, Reason::Losses { p: v.mcnemar });
    let flips = r.negative_flip_rate() > t.flips_max;
    refuse(flips, Reason::Flips { losses: r.losses, n: r.n });
    for c in &v.categories {
        let p = c.p_fell.unwrap_or(0.0);
        refuse(p >= t.category_p, Reason::CategoryFell { name: c.name.clone(), p });
    }
    refuse(!v.better.won(), Reason::NoBenefit);
    let p = v.new.map_or(1.0, |(_, p)| p);
    refuse(p < t.benefit_p, Reason::NoBenefitGenerated { p });
    match v.retrieval_p {
        Some(p) => refuse(p < t.benefit_p, Reason::RetrievalBetter { p }),
        None => refuse(t.need_retrieval, Reason::RetrievalNotMeasured),
    }
    if let Some(most) = v.exposure.most.filter(|_| v.exposure.remembered > 0) {
        let numbers = v.exposure.remembered;
        refuse(true, Reason::Remembers { numbers, reply: most.reply, bits: most.bits });
    }
    out
}

#[cfg(test)]
mod tests;
