//! What is worth learning: labelled turns become weighted training examples.
//!
//! `turn` reads the journal, `evidence` says how each turn went. What the user wrote, used or
//! praised becomes an example here.

mod evidence;
mod turn;

use std::collections::HashMap;

use crate::secret::is_redacted;
use crate::signal::Signal;
use crate::transcript::Transcript;

pub use evidence::{
    Evidence, Judged, Kind, Label, Reliabilities, Reliability, Rules, calibrate, judged,
};
use evidence::{decay, edit_kind};
pub use turn::Turn;
pub(crate) use turn::turn;

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
    pub prompt: Transcript,
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
    /// Place of the turn among all that happened.
    pub order: u64,
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

/// The texts worth learning: what the user wrote, and what they used or praised.
///
/// One example per turn at most, in the order of the turns. An older example with the same request
/// on the same surface and another answer is superseded by the newest; equal ones share their
/// weight. The split comes after this and is by session, so nothing here can leak.
pub fn examples(turns: &[Turn], rules: &Rules) -> Vec<Example> {
    let scored = judged(turns, rules);
    let whole = turns.iter().zip(&scored).filter(|(turn, _)| !turn.is_cut);
    let mut all: Vec<Example> = whole.filter_map(|(t, j)| example(t, j, rules)).collect();
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
    let decay = decay(judged.time_ms, rules);
    let edit = turn.edited().zip(turn.edit_distance());
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
    // Where a secret was, a placeholder would be learned.
    if target.trim().is_empty() || is_redacted(target) {
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
        order: turn.order,
        time_ms: turn.time_ms,
    })
}

/// Drops contradicted examples and divides the weight of equal ones by their number.
fn keep_newest(all: &mut Vec<Example>) {
    let request = |e: &Example| (e.surface.clone(), e.prompt.request_key());
    let mut newest: HashMap<_, (u64, u128, String)> = HashMap::new();
    let mut counts: HashMap<_, f64> = HashMap::new();
    for e in all.iter() {
        let this = (e.order, e.lineage[0], e.target.clone());
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
    use proptest::prelude::*;
    use sapwood_models::{Message, Role};

    use super::turn::Distance;
    use super::*;
    use crate::signal::{Part, Rating};

    const DAY_MS: u64 = 24 * 3_600_000;

    fn turn(id: u128, request: &str, reply: &str, signals: Vec<Signal>) -> Turn {
        let message = Message::new(Role::User, request);
        let mut turn = Turn {
            reply_id: id,
            session: id,
            surface: "compose".into(),
            category: "mail".into(),
            order: id as u64,
            time_ms: 100 * DAY_MS + id as u64,
            prompt: [message].into_iter().collect(),
            follows: None,
            known: 0,
            is_cut: false,
            reply: reply.into(),
            reply_tokens: 40,
            shots: 0,
            adapter: None,
            signals: Vec::new(),
            distance: Distance::default(),
            mean_nll: None,
        };
        signals.iter().for_each(|signal| turn.add_signal(signal));
        turn
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
    fn a_reply_becomes_a_turn() {
        use crate::journal::{Interaction, StopReason, Turn as Said};
        let said = |role: &str, text: &str| Said { role: role.into(), text: text.into() };
        let reply = Interaction {
            reply_id: 1,
            session: 7,
            surface: "mail".into(),
            time_ms: 5,
            system: Some("be brief".into()),
            turns: vec![said("user", "hi"), said("assistant", "hello"), said("?", "how are you")],
            reply: "well".into(),
            adapter_digest: Some([1; 32]),
            seed: 0,
            shots: 2,
            tokens: 3,
            stop: StopReason::End,
            ..Interaction::default()
        };
        let got = super::turn(&reply, "mail!".into(), None);
        let roles: Vec<Role> = got.asked().iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
        assert_eq!((got.request(), got.reply.as_str()), ("how are you", "well"));
        assert_eq!((got.category.as_str(), got.adapter), ("mail!", Some([1; 32])));
        assert_eq!((got.shots, got.reply_tokens, got.signals.len()), (2, 3, 0));
        let next = Interaction {
            reply_id: 2,
            follows: Some(1),
            turns: vec![said("user", "and you?")],
            ..Interaction::default()
        };
        let follower = super::turn(&next, "mail!".into(), Some(&got));
        let texts: Vec<String> =
            follower.prompt.to_vec().into_iter().map(|message| message.content).collect();
        assert_eq!(texts, ["be brief", "hi", "hello", "how are you", "well", "and you?"]);
        assert_eq!((follower.asked().len(), follower.is_cut), (1, false));
        let cut = super::turn(&next, "mail!".into(), None);
        assert!(cut.is_cut && super::turn(&next, "mail!".into(), Some(&cut)).is_cut);
        assert!(examples(&[cut], &rules()).is_empty());
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
