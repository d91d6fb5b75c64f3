//! Signals become evidence, evidence becomes labels, labels become weighted training examples.
//!
//! Every signal is scored. What a signal is worth is a reliability q = P(its polarity is right),
//! a Beta distribution whose start values are priors and which [`calibrate`] updates for this user.
//! The evidence on one turn adds up in log-odds:
//!
//! `L = logit(P(turn is good)) + 0.7 * sum_s sign_s * log(q_s / (1 - q_s))`, clipped to ±3.5,
//!
//! where 0.7 discounts that signals on one turn depend on each other. A turn without signals stays
//! unlabelled: silence never trains, and neither does text that nobody rated.

use super::text;
use crate::journal::{Interaction, Record};
use crate::signal::{Part, Rating, Signal};
use sapwood_models::{Message, Role};
use std::collections::HashMap;

/// One shown reply with everything the user did about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Names the reply.
    pub reply_id: u128,
    /// The conversation it belongs to: the unit of the train/holdout split.
    pub session: u128,
    /// The place in the app ("compose", "triage"), as the host names it.
    pub surface: String,
    /// What kind of request this was, as the host names it; may equal the surface.
    pub category: String,
    /// When, in milliseconds since the epoch.
    pub time_ms: u64,
    /// System message if any, then the conversation; the last message is the request.
    pub prompt: Vec<Message>,
    /// What the model answered (what was shown of it, if stopped).
    pub reply: String,
    /// Its length.
    pub reply_tokens: u32,
    /// Past exchanges that the model was shown with the request.
    pub shots: u32,
    /// Digest of the adapter that made it; `None` for the base model.
    pub adapter: Option<[u8; 32]>,
    /// What the user did, in order of time.
    pub signals: Vec<Signal>,
    /// Mean negative log-likelihood of its tokens when it was made, in nats, if known.
    pub mean_nll: Option<f32>,
    /// Whether a verifier passed the reply, if one ran.
    pub verified: Option<bool>,
}

impl Turn {
    /// The text of the request.
    pub fn request(&self) -> &str {
        self.prompt.last().map_or("", |m| m.content.as_str())
    }

    /// What the user made of the reply, if they edited it; the last edit counts.
    fn edited(&self) -> Option<&str> {
        self.signals.iter().rev().find_map(|s| match s {
            Signal::Edited { text } => Some(text.as_str()),
            _ => None,
        })
    }

    fn has(&self, test: impl Fn(&Signal) -> bool) -> bool {
        self.signals.iter().any(test)
    }

    fn copied(&self) -> bool {
        self.has(|s| matches!(s, Signal::Copied { .. }))
    }

    fn used(&self) -> bool {
        self.copied()
            || self.has(|s| matches!(s, Signal::Accepted | Signal::Edited { .. }))
            || self.has(|s| matches!(s, Signal::Rated { rating: Rating::Up }))
    }
}

/// The journal's records as turns, in the order of the replies; signals in the order of the records.
///
/// `category` names the kind of request; an app without categories passes the surface. A reaction
/// to a reply that is not there (forgotten, or expired) is left out.
pub fn turns<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    category: impl Fn(&Interaction) -> String,
) -> Vec<Turn> {
    let mut out: Vec<Turn> = Vec::new();
    let mut signals: HashMap<u128, Vec<Signal>> = HashMap::new();
    for record in records {
        match record {
            Record::Interaction(i) => out.push(turn(i, category(i))),
            Record::Feedback(f) => {
                signals.entry(f.reply_id).or_default().push(f.signal.clone());
            }
            Record::Tombstone(_) | Record::Consent(_) | Record::UsedByGeneration(_) => {}
        }
    }
    for turn in &mut out {
        turn.signals = signals.remove(&turn.reply_id).unwrap_or_default();
    }
    out
}

/// A reply as a turn without signals.
pub(crate) fn turn(i: &Interaction, category: String) -> Turn {
    let system = i.system.iter().map(|text| Message::new(Role::System, text));
    let said = i.turns.iter().map(|t| Message::new(role(&t.role), &t.text));
    Turn {
        reply_id: i.reply_id,
        session: i.session,
        surface: i.surface.clone(),
        category,
        time_ms: i.time_ms,
        prompt: system.chain(said).collect(),
        reply: i.reply.clone(),
        reply_tokens: i.tokens,
        shots: i.shots,
        adapter: i.adapter_digest,
        signals: Vec::new(),
        mean_nll: i.mean_nll,
        verified: None,
    }
}

/// The journal keeps roles as text; what is neither system nor assistant was said by the user.
fn role(name: &str) -> Role {
    match name {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    }
}

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
    /// When.
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

/// Why a text is worth learning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The user corrected the reply; normalised distance of the edit.
    Corrected {
        /// In 0..=1.
        distance: f64,
    },
    /// The user wrote most of it anew.
    Rewritten {
        /// In 0..=1.
        distance: f64,
    },
    /// The user used or praised the reply.
    Accepted,
}

/// A prompt with the answer that the user wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The messages, the request last.
    pub prompt: Vec<Message>,
    /// The answer to learn.
    pub target: String,
    /// Factor on its loss, in (0, 1].
    pub weight: f64,
    /// Why it is here.
    pub why: Why,
    /// Whether the model did not come to it by itself: it was corrected, or shown past exchanges.
    pub taught: bool,
    /// Ids of the replies that it comes from: what "forget this" has to reach.
    pub lineage: Vec<u128>,
    /// Category of the turn.
    pub category: String,
    /// Surface of the turn.
    pub surface: String,
    /// Conversation of the turn: decides the split.
    pub session: u128,
    /// When.
    pub time_ms: u64,
}

impl Example {
    /// True if the user wrote (part of) the target: the stratum on which benefit is shown.
    pub fn authored(&self) -> bool {
        !matches!(self.why, Why::Accepted)
    }

    /// The text of the request.
    pub fn request(&self) -> &str {
        self.prompt.last().map_or("", |m| m.content.as_str())
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
        for t in turns.iter().filter(|t| !t.has(|s| matches!(s, Signal::Stopped { .. }))) {
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
    if let Some(text) = turn.edited() {
        add(edit_kind(text::distance(&turn.reply, text), rules), 1.0);
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

fn edit_kind(distance: f64, rules: &Rules) -> Kind {
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

fn judge_turn(turn: &Turn, context: &Context, rules: &Rules) -> Judged {
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
        time_ms: turn.time_ms,
        p_good,
        label,
        weight: (2.0 * p_good - 1.0).abs() * halved * decay(turn.time_ms, rules),
        evidence,
    }
}

/// 2^(-age / half-life); a turn from the future has age 0.
fn decay(time_ms: u64, rules: &Rules) -> f64 {
    let age = rules.now_ms.saturating_sub(time_ms) as f64;
    (-age / rules.half_life_ms.max(1) as f64).exp2()
}

/// Scores every turn, silent ones too.
pub fn judged(turns: &[Turn], rules: &Rules) -> Vec<Judged> {
    let context = Context::of(turns);
    turns.iter().map(|t| judge_turn(t, &context, rules)).collect()
}

/// Learns how much each kind of signal is worth for this user.
///
/// Where a rating, an edit or a verifier says what the truth was, every *other* signal on that turn
/// counts as right or wrong. Strong signals that contradict each other decide nothing. The result
/// is a function of the whole journal and the priors, so it needs no state of its own.
pub fn calibrate(turns: &[Turn], rules: &Rules) -> Reliabilities {
    let context = Context::of(turns);
    let mut out = Reliabilities::default();
    for turn in turns {
        let evidence = evidence(turn, &context, rules);
        for e in &evidence {
            let others = evidence.iter().filter(|o| o.kind != e.kind && o.kind.strong());
            let mut truths: Vec<bool> = others.map(|o| o.kind.sign() > 0.0).collect();
            truths.extend(turn.verified);
            if let Some(&truth) = truths.first()
                && truths.iter().all(|&t| t == truth)
            {
                out.count(e.kind, (e.kind.sign() > 0.0) == truth);
            }
        }
    }
    out
}

/// The texts worth learning: what the user wrote, and what they used or praised.
///
/// One example per turn at most, in the order of the turns. An older example with the same request
/// on the same surface and another answer is superseded by the newest; equal ones share their
/// weight. The split comes after this and is by session, so nothing here can leak.
pub fn examples(turns: &[Turn], rules: &Rules) -> Vec<Example> {
    let scored = judged(turns, rules);
    let mut all: Vec<Example> =
        turns.iter().zip(&scored).filter_map(|(t, j)| example(t, j, rules)).collect();
    // A regenerated reply's successor comes from both turns: forgetting either reaches it.
    for turn in turns {
        for signal in &turn.signals {
            let (Signal::Regenerated { new_reply } | Signal::Rephrased { new_reply }) = signal
            else {
                continue;
            };
            for e in all.iter_mut().filter(|e| e.lineage[0] == *new_reply) {
                e.lineage.push(turn.reply_id);
            }
        }
    }
    keep_newest(&mut all);
    all
}

fn example(turn: &Turn, judged: &Judged, rules: &Rules) -> Option<Example> {
    let q = |kind| rules.reliabilities.of(kind).mean();
    let decay = decay(turn.time_ms, rules);
    let edit = turn.edited().map(|text| (text, text::distance(&turn.reply, text)));
    let (target, why, weight) = match edit {
        Some((text, d)) if edit_kind(d, rules) == Kind::Corrected => {
            (text, Why::Corrected { distance: d }, q(Kind::Corrected) * decay)
        }
        Some((text, d)) if edit_kind(d, rules) == Kind::Rewritten => {
            (text, Why::Rewritten { distance: d }, 0.5 * q(Kind::Rewritten) * decay)
        }
        unchanged => {
            if judged.label != Label::Desirable {
                return None;
            }
            let text = unchanged.map_or(turn.reply.as_str(), |(text, _)| text);
            (text, Why::Accepted, judged.weight)
        }
    };
    if target.trim().is_empty() {
        return None;
    }
    Some(Example {
        prompt: turn.prompt.clone(),
        target: target.to_owned(),
        weight,
        taught: turn.shots > 0 || !matches!(why, Why::Accepted),
        why,
        lineage: vec![turn.reply_id],
        category: turn.category.clone(),
        surface: turn.surface.clone(),
        session: turn.session,
        time_ms: turn.time_ms,
    })
}

/// Drops contradicted examples and divides the weight of equal ones by their number.
fn keep_newest(all: &mut Vec<Example>) {
    let request = |e: &Example| {
        let messages: Vec<String> = e.prompt.iter().map(|m| text::normalised(&m.content)).collect();
        (e.surface.clone(), messages)
    };
    let mut newest: HashMap<_, (u64, u128, String)> = HashMap::new();
    let mut counts: HashMap<_, f64> = HashMap::new();
    for e in all.iter() {
        let this = (e.time_ms, e.lineage[0], e.target.clone());
        let slot = newest.entry(request(e)).or_insert_with(|| this.clone());
        if (this.0, this.1) > (slot.0, slot.1) {
            *slot = this;
        }
        *counts.entry((request(e), e.target.clone())).or_insert(0.0) += 1.0;
    }
    all.retain(|e| newest.get(&request(e)).is_none_or(|n| n.2 == e.target));
    for e in all {
        e.weight /= counts.get(&(request(e), e.target.clone())).copied().unwrap_or(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: u64 = 24 * 3_600_000;

    fn turn(id: u128, request: &str, reply: &str, signals: Vec<Signal>) -> Turn {
        let message = Message::new(Role::User, request);
        Turn {
            reply_id: id,
            session: id,
            surface: "compose".into(),
            category: "mail".into(),
            time_ms: 100 * DAY_MS + id as u64,
            prompt: vec![message],
            reply: reply.into(),
            reply_tokens: 40,
            shots: 0,
            adapter: None,
            signals,
            mean_nll: None,
            verified: None,
        }
    }

    fn rules() -> Rules {
        Rules::at(100 * DAY_MS)
    }

    fn edited(text: &str) -> Signal {
        Signal::Edited { text: text.into() }
    }

    const UP: Signal = Signal::Rated { rating: Rating::Up };
    const DOWN: Signal = Signal::Rated { rating: Rating::Down };
    const COPY: Signal = Signal::Copied { part: Part::Whole };

    #[test]
    fn the_journal_becomes_turns() {
        use crate::journal::{Feedback, StopReason, Turn as Said};
        let reply = |reply_id| {
            Record::Interaction(Interaction {
                reply_id,
                session: 7,
                surface: "mail".into(),
                time_ms: 5,
                system: Some("be brief".into()),
                turns: vec![Said { role: "user".into(), text: "hello".into() }],
                reply: "hi".into(),
                adapter_digest: Some([1; 32]),
                seed: 0,
                shots: 0,
                tokens: 3,
                stop: StopReason::End,
                mean_nll: None,
            })
        };
        let on = |reply_id, signal| Record::Feedback(Feedback { reply_id, time_ms: 6, signal });
        let records = [reply(1), on(1, COPY), reply(2), on(1, UP), on(2, DOWN), on(99, UP)];
        let got = turns(&records, |i| format!("{}!", i.surface));
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].signals.clone(), got[1].signals.clone()), (vec![COPY, UP], vec![DOWN]));
        assert_eq!((got[0].request(), got[0].prompt[0].role), ("hello", Role::System));
        assert_eq!((got[0].category.as_str(), got[0].adapter), ("mail!", Some([1; 32])));
    }

    #[test]
    fn one_signal_each_gives_the_label_of_the_table() {
        let cases = [
            (vec![], Label::Unclear, false),
            (vec![Signal::Accepted], Label::Desirable, true),
            (vec![UP], Label::Desirable, true),
            (vec![DOWN], Label::Undesirable, false),
            (vec![COPY], Label::Unclear, false),
            (vec![COPY, Signal::Accepted], Label::Desirable, true),
            (vec![Signal::Stopped { shown_tokens: 3 }], Label::Unclear, false),
            (vec![Signal::Abandoned], Label::Unclear, false),
            (vec![Signal::Regenerated { new_reply: 99 }], Label::Unclear, false),
            (vec![Signal::Stopped { shown_tokens: 3 }, DOWN], Label::Undesirable, false),
        ];
        for (signals, label, trains) in cases {
            let turns = [turn(1, "hello", "a reply", signals.clone())];
            assert_eq!(judged(&turns, &rules())[0].label, label, "{signals:?}");
            assert_eq!(!examples(&turns, &rules()).is_empty(), trains, "{signals:?}");
        }
    }

    #[test]
    fn log_odds_are_the_formula() {
        let turns = [turn(1, "hello", "a reply", vec![Signal::Accepted, COPY])];
        let l = (0.56f64 / 0.44).ln() + 0.7 * ((0.85f64 / 0.15).ln() + (0.8f64 / 0.2).ln());
        let p = 1.0 / (1.0 + (-l).exp());
        assert!((judged(&turns, &rules())[0].p_good - p).abs() < 1e-12);
    }

    #[test]
    fn an_edit_trains_on_what_the_user_wrote() {
        let reply = "Dear Ann, the parcel is on its way. Best, Sam";
        let kept = "Dear Ann, the parcel is on its way. Cheers, Sam";
        let anew = "Your order ships tomorrow at nine; sorry about the delay!";
        let turns = [
            turn(1, "a", reply, vec![edited(kept)]),
            turn(2, "b", reply, vec![edited(anew)]),
            turn(3, "c", reply, vec![edited(reply)]),
            turn(4, "d", reply, vec![edited("gone"), edited("  ")]),
        ];
        let got = examples(&turns, &rules());
        assert_eq!(got.len(), 3);
        assert!(matches!(got[0].why, Why::Corrected { distance } if distance > 0.02));
        assert!(got[0].authored() && got[0].target == kept && (got[0].weight - 0.9).abs() < 1e-9);
        assert!(matches!(got[1].why, Why::Rewritten { distance } if distance > 0.6));
        assert!((got[1].weight - 0.325).abs() < 1e-9);
        assert!(!got[2].authored() && got[2].target == reply);
        assert_eq!(got[0].lineage, [1]);
    }

    #[test]
    fn regenerating_counts_against_a_reply_only_if_it_was_not_copied() {
        let again = Signal::Regenerated { new_reply: 2 };
        let turns = [
            turn(1, "hello", "poor", vec![again.clone()]),
            turn(2, "hello", "good", vec![Signal::Accepted]),
            turn(3, "other", "fine", vec![COPY, Signal::Regenerated { new_reply: 4 }]),
            turn(4, "other", "finer", vec![]),
        ];
        let j = judged(&turns, &rules());
        assert_eq!(j[0].evidence, [Evidence { kind: Kind::Replaced, share: 1.0 }]);
        assert!(j[0].badness() > 0.6 && j[1].badness() == 0.0);
        assert_eq!(j[2].evidence, [Evidence { kind: Kind::CopiedWhole, share: 1.0 }]);
        // Forgetting either reply reaches the accepted one.
        assert_eq!(examples(&turns, &rules())[0].lineage, [2, 1]);
    }

    #[test]
    fn a_rephrase_that_changes_the_request_counts_half() {
        let again = |id| vec![Signal::Rephrased { new_reply: id }];
        let turns = [
            turn(1, "shorten this letter please", "no", again(2)),
            turn(2, "please shorten this letter", "ok", vec![]),
            turn(3, "shorten this letter", "no", again(4)),
            turn(4, "translate everything into formal french", "ok", vec![]),
        ];
        let j = judged(&turns, &rules());
        assert_eq!(j[0].evidence[0].share, 1.0);
        assert_eq!(j[2].evidence[0].share, 0.5);
        assert!(j[0].p_good < j[2].p_good);
    }

    #[test]
    fn the_newest_answer_supersedes_and_equal_ones_share_their_weight() {
        let turns = [
            turn(1, "Sign off?", "x", vec![edited("Yours, A. and regards")]),
            turn(2, "sign off", "x", vec![edited("Cheers, A. to all")]),
            turn(3, "sign off!", "x", vec![edited("Cheers, A. to all")]),
        ];
        let got = examples(&turns, &rules());
        assert_eq!(got.len(), 2);
        assert!(got.iter().all(|e| e.target == "Cheers, A. to all"));
        let full = 0.5 * 0.65;
        assert!(got.iter().all(|e| (e.weight - full / 2.0).abs() < 1e-9));
    }

    #[test]
    fn weight_halves_in_sixty_days() {
        let mut old = turn(1, "a", "reply to a", vec![edited("reply to b")]);
        old.time_ms = 40 * DAY_MS;
        assert!((examples(&[old], &rules())[0].weight - 0.45).abs() < 1e-6);
    }

    #[test]
    fn calibration_learns_what_a_stop_is_worth() {
        let stop = Signal::Stopped { shown_tokens: 2 };
        let mut turns: Vec<Turn> = vec![turn(0, "length", "of usual", vec![])];
        // This user's stops mean nothing: eight of ten stopped replies are rated up.
        for id in 1..=10 {
            let rating = if id <= 8 { UP } else { DOWN };
            turns.push(turn(id, &format!("ask {id}"), "reply", vec![stop.clone(), rating]));
        }
        let got = calibrate(&turns, &rules());
        let r = got.of(Kind::StoppedEarly);
        assert_eq!((r.right, r.wrong), (7.0 + 2.0, 3.0000000000000004 + 8.0));
        // The thumbs themselves had no other strong signal to be judged by.
        assert_eq!(got.of(Kind::RatedUp), Reliabilities::default().of(Kind::RatedUp));
        turns[1].verified = Some(true);
        assert_eq!(calibrate(&turns, &rules()).of(Kind::RatedUp).right, 10.5);
    }

    fn any_signal() -> impl Strategy<Value = Signal> {
        prop_oneof![
            "[a-c ]{0,8}".prop_map(|text| Signal::Edited { text }),
            Just(Signal::Accepted),
            Just(COPY),
            Just(Signal::Copied { part: Part::Part }),
            Just(UP),
            Just(DOWN),
            (0u128..9).prop_map(|new_reply| Signal::Regenerated { new_reply }),
            (0u128..9).prop_map(|new_reply| Signal::Rephrased { new_reply }),
            (0u32..80).prop_map(|shown_tokens| Signal::Stopped { shown_tokens }),
            Just(Signal::Abandoned),
        ]
    }

    proptest! {
        #[test]
        fn silence_never_trains_and_every_weight_is_a_share(
            log in prop::collection::vec(prop::collection::vec(any_signal(), 0..4), 1..9)
        ) {
            let turns: Vec<Turn> = log
                .into_iter()
                .zip(0u128..)
                .map(|(signals, id)| turn(id, &format!("ask {}", id % 3), "abc ab", signals))
                .collect();
            let r = Rules { reliabilities: calibrate(&turns, &rules()), ..rules() };
            for e in examples(&turns, &r) {
                prop_assert!(e.weight > 0.0 && e.weight <= 1.0);
                let own = &turns[e.lineage[0] as usize];
                prop_assert!(!own.signals.is_empty());
                prop_assert!(own.used());
            }
            for j in judged(&turns, &r) {
                prop_assert!((0.02..=0.98).contains(&j.p_good));
                prop_assert!((0.0..=1.0).contains(&j.badness()));
            }
            // A pure function.
            prop_assert_eq!(examples(&turns, &r), examples(&turns, &r));
        }
    }
}
