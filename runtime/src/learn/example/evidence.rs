//! Signals become evidence, evidence becomes labels.
//!
//! Every signal is scored. What a signal is worth is a reliability q = P(its polarity is right),
//! a Beta distribution whose start values are priors and which [`calibrate`] updates for this user.
//! The evidence on one turn adds up in log-odds:
//!
//! `L = logit(P(turn is good)) + 0.7 * sum_s sign_s * log(q_s / (1 - q_s))`, clipped to ±3.5,
//!
//! where 0.7 discounts that signals on one turn depend on each other. A turn without signals stays
//! unlabelled: silence never trains, and neither does text that nobody rated.

use std::collections::HashMap;

use super::turn::Turn;
use crate::learn::text;
use crate::signal::{Part, Rating, Signal};
use crate::time::settled_times;

/// What a signal turned out to be, once its turn and its neighbours are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Edited by less than 2%: the reply was good.
    Unchanged,
    /// Edited by 2 to 60%.
    Corrected,
    /// Edited by more than 60%.
    Rewritten,
    /// Thumb up.
    RatedUp,
    /// Thumb down.
    RatedDown,
    /// Used as it stands.
    Accepted,
    /// Copied whole.
    CopiedWhole,
    /// Copied in part.
    CopiedPart,
    /// Regenerated, and the new reply was used.
    Replaced,
    /// Regenerated; nothing is known of the new reply.
    Retried,
    /// Asked again in other words.
    Rephrased,
    /// Stopped before half of the usual length.
    StoppedEarly,
    /// Stopped later than that.
    StoppedLate,
    /// Left without use: adds to other evidence, is never evidence alone.
    Abandoned,
}

impl Kind {
    /// Every kind, in the order of [`Reliabilities`].
    pub const ALL: [Kind; 14] = [
        Kind::Unchanged,
        Kind::Corrected,
        Kind::Rewritten,
        Kind::RatedUp,
        Kind::RatedDown,
        Kind::Accepted,
        Kind::CopiedWhole,
        Kind::CopiedPart,
        Kind::Replaced,
        Kind::Retried,
        Kind::Rephrased,
        Kind::StoppedEarly,
        Kind::StoppedLate,
        Kind::Abandoned,
    ];

    /// +1 speaks for the shown reply, -1 against it.
    pub fn sign(self) -> f64 {
        match self {
            Kind::Unchanged | Kind::RatedUp | Kind::Accepted => 1.0,
            Kind::CopiedWhole | Kind::CopiedPart => 1.0,
            _ => -1.0,
        }
    }

    /// Prior reliability: a default to be calibrated, not a measurement.
    fn prior(self) -> f64 {
        match self {
            Kind::Unchanged | Kind::RatedUp => 0.95,
            Kind::RatedDown => 0.92,
            Kind::Corrected => 0.9,
            Kind::Accepted => 0.85,
            Kind::CopiedWhole | Kind::Replaced => 0.8,
            Kind::Rephrased => 0.75,
            Kind::CopiedPart | Kind::StoppedEarly => 0.7,
            Kind::Rewritten | Kind::Retried => 0.65,
            Kind::StoppedLate | Kind::Abandoned => 0.55,
        }
    }

    /// Strong kinds say what the truth was; the others are calibrated against them.
    fn strong(self) -> bool {
        use Kind::{Corrected, RatedDown, RatedUp, Rewritten, Unchanged};
        matches!(self, Unchanged | Corrected | Rewritten | RatedUp | RatedDown)
    }
}

/// Beta(right, wrong) counts of one kind of signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reliability {
    /// Pseudo-count of times that the polarity was right.
    pub right: f64,
    /// Pseudo-count of times that it was wrong.
    pub wrong: f64,
}

impl Reliability {
    /// Posterior mean of q.
    pub fn mean(self) -> f64 {
        self.right / (self.right + self.wrong)
    }
}

/// How many observations the prior of a reliability is worth.
const PRIOR_STRENGTH: f64 = 10.0;

/// The reliability of every kind of signal for one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliabilities([Reliability; Kind::ALL.len()]);

impl Default for Reliabilities {
    fn default() -> Reliabilities {
        Reliabilities(Kind::ALL.map(|kind| Reliability {
            right: kind.prior() * PRIOR_STRENGTH,
            wrong: (1.0 - kind.prior()) * PRIOR_STRENGTH,
        }))
    }
}

impl Reliabilities {
    /// The Beta distribution of one kind.
    pub fn of(&self, kind: Kind) -> Reliability {
        self.0[kind as usize]
    }

    fn count(&mut self, kind: Kind, right: bool) {
        let r = &mut self.0[kind as usize];
        if right { r.right += 1.0 } else { r.wrong += 1.0 }
    }
}

/// What turns evidence into labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Now, in milliseconds since the epoch: ages are counted from here.
    pub now_ms: u64,
    /// An example loses half its weight in this time.
    pub half_life_ms: u64,
    /// P(a turn is good) before any signal. At 0.56 one acceptance is enough for a label and so is
    /// one thumb down, while one whole copy is not: the range in which that holds is 0.54 to 0.58.
    pub prior_good: f64,
    /// Factor on summed log-odds: signals on one turn are not independent.
    pub dependence: f64,
    /// Largest |L|.
    pub clip: f64,
    /// Least P for a desirable label; 1 minus it is the most for an undesirable one.
    pub confident: f64,
    /// Edits below this normalised distance are acceptance.
    pub unchanged_below: f64,
    /// Edits above this are rewrites.
    pub rewritten_above: f64,
    /// Reliabilities, usually from [`calibrate`].
    pub reliabilities: Reliabilities,
}

impl Rules {
    /// The defaults, at a given time.
    pub fn at(now_ms: u64) -> Rules {
        Rules {
            now_ms,
            half_life_ms: 60 * 24 * 3_600_000,
            prior_good: 0.56,
            dependence: 0.7,
            clip: 3.5,
            confident: 0.8,
            unchanged_below: 0.02,
            rewritten_above: 0.6,
            reliabilities: Reliabilities::default(),
        }
    }
}

/// One piece of evidence on one turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What it is.
    pub kind: Kind,
    /// Share of its log-odds that counts, in 0..=1.
    pub share: f64,
}

/// Which way a turn went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// P(good) is high enough.
    Desirable,
    /// P(good) is low enough.
    Undesirable,
    /// Neither: the turn counts in monitoring only.
    Unclear,
}

/// A turn with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Which reply.
    pub reply_id: u128,
    /// Its conversation.
    pub session: u128,
    /// Its category.
    pub category: String,
    /// Its place among all that happened.
    pub order: u64,
    /// When, as far as that is known ([`settled_times`]).
    pub time_ms: u64,
    /// Posterior P(the reply was good).
    pub p_good: f64,
    /// The label.
    pub label: Label,
    /// |2P - 1| with decay and the halving for stops: weight for losses on unpaired labels.
    pub weight: f64,
    /// What it rests on; empty for silence.
    pub evidence: Vec<Evidence>,
}

impl Judged {
    /// How bad the turn was in 0..=1, for the trigger: 1 - P when the evidence speaks against the
    /// reply, 0 otherwise. Silent turns count as 0.
    pub fn badness(&self) -> f64 {
        if self.evidence.is_empty() || self.p_good >= 0.5 { 0.0 } else { 1.0 - self.p_good }
    }
}

/// Turns by id, and the usual reply length of each surface.
struct Context<'a> {
    by_id: HashMap<u128, &'a Turn>,
    typical_tokens: HashMap<&'a str, f64>,
}

impl<'a> Context<'a> {
    fn of(turns: &'a [Turn]) -> Context<'a> {
        let mut lengths: HashMap<&str, Vec<u32>> = HashMap::new();
        // Replies recorded without a model have no length in tokens.
        let whole = |t: &&Turn| !t.has(|s| matches!(s, Signal::Stopped { .. }));
        for t in turns.iter().filter(|t| t.reply_tokens > 0).filter(whole) {
            lengths.entry(&t.surface).or_default().push(t.reply_tokens);
        }
        let median = |mut l: Vec<u32>| {
            l.sort_unstable();
            f64::from(l[l.len() / 2]).max(1.0)
        };
        Context {
            by_id: turns.iter().map(|t| (t.reply_id, t)).collect(),
            typical_tokens: lengths.into_iter().map(|(s, l)| (s, median(l))).collect(),
        }
    }
}

/// What the signals of one turn say about its reply, each kind at most once.
fn evidence(turn: &Turn, context: &Context, rules: &Rules) -> Vec<Evidence> {
    let mut found: Vec<Evidence> = Vec::new();
    let mut add = |kind: Kind, share: f64| {
        if !found.iter().any(|e| e.kind == kind) {
            found.push(Evidence { kind, share });
        }
    };
    if let Some(distance) = turn.edit_distance() {
        add(edit_kind(distance, rules), 1.0);
    }
    let rephrased = turn.has(|s| matches!(s, Signal::Rephrased { .. }));
    for signal in &turn.signals {
        match signal {
            Signal::Edited { .. } => {}
            Signal::Accepted => add(Kind::Accepted, 1.0),
            // A copy that is followed by the same question was no success.
            Signal::Copied { .. } if rephrased => {}
            Signal::Copied { part: Part::Whole } => add(Kind::CopiedWhole, 1.0),
            Signal::Copied { part: Part::Part } => add(Kind::CopiedPart, 1.0),
            Signal::Rated { rating: Rating::Up } => add(Kind::RatedUp, 1.0),
            Signal::Rated { rating: Rating::Down } => add(Kind::RatedDown, 1.0),
            // A copied reply that is regenerated was good: the user wants one more.
            Signal::Regenerated { .. } if turn.copied() => {}
            Signal::Regenerated { new_reply } => {
                let used = context.by_id.get(new_reply).is_some_and(|t| t.used());
                add(if used { Kind::Replaced } else { Kind::Retried }, 1.0);
            }
            Signal::Rephrased { new_reply } => {
                let new = context.by_id.get(new_reply).map_or("", |t| t.request());
                add(Kind::Rephrased, rephrase_share(turn, new));
            }
            Signal::Stopped { shown_tokens } => {
                let typical = context.typical_tokens.get(turn.surface.as_str());
                let early = typical.is_some_and(|t| f64::from(*shown_tokens) < 0.5 * t);
                add(if early { Kind::StoppedEarly } else { Kind::StoppedLate }, 1.0);
            }
            Signal::Abandoned => add(Kind::Abandoned, 1.0),
        }
    }
    found
}

pub(super) fn edit_kind(distance: f64, rules: &Rules) -> Kind {
    if distance < rules.unchanged_below {
        Kind::Unchanged
    } else if distance <= rules.rewritten_above {
        Kind::Corrected
    } else {
        Kind::Rewritten
    }
}

/// A rephrase speaks against the first reply as far as it asks for the same thing: 1 - u while at
/// most 30% of its content words are new, half weight beyond (the user changed the request).
fn rephrase_share(turn: &Turn, new_request: &str) -> f64 {
    let u = text::unshared(new_request, &[turn.request(), &turn.reply]);
    if u <= 0.3 { 1.0 - u } else { 0.5 }
}

fn judge_turn(turn: &Turn, time_ms: u64, context: &Context, rules: &Rules) -> Judged {
    let evidence = evidence(turn, context, rules);
    let mut log_odds = (rules.prior_good / (1.0 - rules.prior_good)).ln();
    for e in &evidence {
        let q = rules.reliabilities.of(e.kind).mean();
        log_odds += rules.dependence * e.share * e.kind.sign() * (q / (1.0 - q)).ln();
    }
    let p_good = 1.0 / (1.0 + (-log_odds.clamp(-rules.clip, rules.clip)).exp());
    let alone = evidence.iter().all(|e| e.kind == Kind::Abandoned);
    let label = if alone {
        Label::Unclear
    } else if p_good >= rules.confident {
        Label::Desirable
    } else if p_good <= 1.0 - rules.confident {
        Label::Undesirable
    } else {
        Label::Unclear
    };
    let stopped = evidence.iter().any(|e| matches!(e.kind, Kind::StoppedEarly | Kind::StoppedLate));
    let halved = if stopped && label == Label::Undesirable { 0.5 } else { 1.0 };
    Judged {
        reply_id: turn.reply_id,
        session: turn.session,
        category: turn.category.clone(),
        order: turn.order,
        time_ms,
        p_good,
        label,
        weight: (2.0 * p_good - 1.0).abs() * halved * decay(time_ms, rules),
        evidence,
    }
}

/// 2^(-age / half-life); a turn from the future has age 0.
pub(super) fn decay(time_ms: u64, rules: &Rules) -> f64 {
    let age = rules.now_ms.saturating_sub(time_ms) as f64;
    (-age / rules.half_life_ms.max(1) as f64).exp2()
}

/// Scores every turn, silent ones too. Turns come in the order in which they happened.
pub fn judged(turns: &[Turn], rules: &Rules) -> Vec<Judged> {
    let context = Context::of(turns);
    let times_ms = settled_times(turns.iter().map(|turn| turn.time_ms), rules.now_ms);
    turns.iter().zip(times_ms).map(|(t, time_ms)| judge_turn(t, time_ms, &context, rules)).collect()
}

/// Learns how much each kind of signal is worth for this user.
///
/// Where a rating or an edit says what the truth was, every *other* signal on that turn
/// counts as right or wrong. Strong signals that contradict each other decide nothing. The result
/// is a function of the whole journal and the priors, so it needs no state of its own.
pub fn calibrate(turns: &[Turn], rules: &Rules) -> Reliabilities {
    let context = Context::of(turns);
    let mut out = Reliabilities::default();
    for turn in turns {
        let evidence = evidence(turn, &context, rules);
        for e in &evidence {
            let others = evidence.iter().filter(|o| o.kind != e.kind && o.kind.strong());
            let truths: Vec<bool> = others.map(|o| o.kind.sign() > 0.0).collect();
            if let Some(&truth) = truths.first()
                && truths.iter().all(|&t| t == truth)
            {
                out.count(e.kind, (e.kind.sign() > 0.0) == truth);
            }
        }
    }
    out
}
