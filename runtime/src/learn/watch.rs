//! Watching a promoted adapter in real use, and taking it back.
//!
//! Two watches with different reach. Hard rules act on few observations: numbers that are not
//! finite, replies that run in circles, tokens that take longer. A bet on the rate of bad verdicts
//! notices when replies have become worse than usual. Both catch disasters only, which is why the
//! paired gate carries the decision. The health rule says when a trial counts as survived.
//!
//! Crashes are not watched here, because who crashed cannot report: the store pays a try before an
//! adapter is used and takes it back when the tries are spent.

use std::collections::HashMap;

use super::bet::RateBet;

/// Something seen while the adapter under watch is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A reply ended.
    Reply {
        /// Tokens drawn, all from finite logits.
        tokens: u32,
        /// Microseconds of its fastest decoding step: what a token costs when nothing else runs.
        /// `None` if there was no such step, or the device was hot or saving power.
        fastest_us: Option<u32>,
        /// `verify::ends_in_loop` of its tokens.
        degenerate: bool,
    },
    /// The sampler refused: logits were not finite.
    NonFinite,
    /// The user's verdict on a reply is in, or has changed: see `Judged::badness`.
    Judged {
        /// The reply.
        reply: u128,
        /// How bad, in percent.
        bad_percent: u8,
    },
}

/// Why an adapter is taken back.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Rollback {
    /// Its logits were not finite.
    #[error("logits are not finite")]
    NonFinite,
    /// Its replies run in circles.
    #[error("{replies} replies ran in circles")]
    Degenerate {
        /// How many.
        replies: u32,
    },
    /// It is slower than what it replaced.
    #[error("p95 of {p95_us} µs per token, {before_us} µs before the swap")]
    Slow {
        /// Microseconds per token now.
        p95_us: u32,
        /// Microseconds per token before.
        before_us: u32,
    },
    /// Users fare worse with it.
    #[error("replies fail more often (evidence {evidence:.1}, needed {needed:.0})")]
    Worse {
        /// E-value.
        evidence: f64,
        /// Its threshold.
        needed: f64,
    },
}

/// Limits of the watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Tokens with finite logits, in replies that don't run in circles, after which a trial counts
    /// as healthy.
    pub healthy_tokens: u32,
    /// Degenerate replies that take it back.
    pub degenerate_replies: u32,
    /// Share by which p95 per token may grow over what it was before the swap...
    pub slower_share: f64,
    /// ...if it grows by more than this many microseconds too: less nobody notices, and on small
    /// models it would be noise.
    pub slower_us: u32,
    /// Usual badness of a turn before the swap.
    pub usual_bad: f64,
    /// E-value that takes it back: false with probability at most 1 / this.
    pub evidence: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            healthy_tokens: 64,
            degenerate_replies: 2,
            slower_share: 0.25,
            slower_us: 2_000,
            usual_bad: 0.08,
            evidence: 20.0,
        }
    }
}

/// What to do after an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Go on.
    Continue,
    /// Enough good tokens for a healthy session; counting starts again.
    Healthy,
    /// Take the adapter back now.
    Rollback(Rollback),
}

/// Replies whose speed is remembered.
const SPEEDS: usize = 40;
/// A p95 of fewer replies means nothing.
const SPEEDS_MIN: usize = 20;

/// The watch over what is in force since its swap. Over the bare base model it only learns how
/// fast that is.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    limits: Limits,
    good_tokens: u32,
    degenerate: u32,
    speeds_us: Vec<u32>,
    before_us: Option<u32>,
    rate: RateBet,
    /// What the bet knows of each reply: it counts once, with the newest verdict.
    judged: HashMap<u128, f64>,
}

impl Watch {
    /// A watch that has seen nothing. `before_us` is [`Watch::p95_us`] of what was in force
    /// before, if known: speeds of another process don't count, because the device may have been
    /// in another state.
    pub fn new(limits: Limits, before_us: Option<u32>) -> Watch {
        Watch {
            limits,
            good_tokens: 0,
            degenerate: 0,
            speeds_us: Vec::new(),
            before_us,
            rate: RateBet::test(limits.usual_bad),
            judged: HashMap::new(),
        }
    }

    /// p95 over the last replies, of the microseconds of each one's fastest decoding step.
    pub fn p95_us(&self) -> Option<u32> {
        let mut sorted = self.speeds_us.clone();
        sorted.sort_unstable();
        let enough = sorted.len() >= SPEEDS_MIN;
        enough.then(|| sorted[(sorted.len() * 95).div_ceil(100) - 1])
    }

    /// Whether something good was seen since the last healthy session.
    pub fn has_seen_good(&self) -> bool {
        self.good_tokens > 0
    }

    /// Takes in one event.
    pub fn observe(&mut self, event: Event) -> Action {
        match event {
            Event::Reply { tokens, fastest_us, degenerate } => {
                self.reply(tokens, fastest_us, degenerate)
            }
            Event::NonFinite => Action::Rollback(Rollback::NonFinite),
            Event::Judged { reply, bad_percent } => {
                let bad = f64::from(bad_percent) / 100.0;
                let evidence = match self.judged.insert(reply, bad) {
                    Some(before) => self.rate.revise(before, bad),
                    None => self.rate.observe(bad),
                };
                let needed = self.limits.evidence;
                if evidence >= needed {
                    return Action::Rollback(Rollback::Worse { evidence, needed });
                }
                Action::Continue
            }
        }
    }

    fn reply(&mut self, tokens: u32, fastest_us: Option<u32>, degenerate: bool) -> Action {
        self.degenerate += u32::from(degenerate);
        if self.degenerate >= self.limits.degenerate_replies {
            return Action::Rollback(Rollback::Degenerate { replies: self.degenerate });
        }
        if let Some(us) = fastest_us {
            if self.speeds_us.len() == SPEEDS {
                self.speeds_us.remove(0);
            }
            self.speeds_us.push(us);
        }
        if let (Some(p95_us), Some(before_us)) = (self.p95_us(), self.before_us) {
            let over = f64::from(p95_us) - f64::from(before_us);
            let share = self.limits.slower_share * f64::from(before_us);
            if over > share && over > f64::from(self.limits.slower_us) {
                return Action::Rollback(Rollback::Slow { p95_us, before_us });
            }
        }
        if degenerate {
            return Action::Continue;
        }
        self.good_tokens = self.good_tokens.saturating_add(tokens);
        if self.good_tokens < self.limits.healthy_tokens {
            return Action::Continue;
        }
        self.good_tokens = 0;
        Action::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn reply(tokens: u32, fastest_us: Option<u32>) -> Event {
        Event::Reply { tokens, fastest_us, degenerate: false }
    }

    const CIRCLES: Event = Event::Reply { tokens: 90, fastest_us: None, degenerate: true };

    #[test]
    fn hard_rules_act_at_once() {
        let watch = || Watch::new(Limits::default(), None);
        assert_eq!(watch().observe(Event::NonFinite), Action::Rollback(Rollback::NonFinite));
        let mut w = watch();
        assert_eq!(w.observe(CIRCLES), Action::Continue);
        assert_eq!(w.observe(reply(5, None)), Action::Continue);
        assert_eq!(w.observe(CIRCLES), Action::Rollback(Rollback::Degenerate { replies: 2 }));
    }

    #[test]
    fn health_takes_64_good_tokens() {
        let mut w = Watch::new(Limits::default(), None);
        let healthy = |w: &mut Watch, n| {
            (0..n).filter(|_| w.observe(reply(10, None)) == Action::Healthy).count()
        };
        assert_eq!((healthy(&mut w, 6), healthy(&mut w, 1), healthy(&mut w, 7)), (0, 1, 1));
        let mut w = Watch::new(Limits::default(), None);
        assert_eq!(w.observe(CIRCLES), Action::Continue);
        assert_eq!((healthy(&mut w, 6), healthy(&mut w, 1)), (0, 1));
    }

    #[test]
    fn slowness_is_judged_by_p95_of_at_least_twenty_replies() {
        let limits = Limits::default();
        let mut production = Watch::new(limits, None);
        for n in 0..SPEEDS as u32 {
            assert_eq!(production.p95_us().is_some(), n >= SPEEDS_MIN as u32);
            assert_eq!(production.observe(reply(1, Some(20_000 - n))), Action::Continue);
        }
        let before = production.p95_us();
        assert_eq!(before, Some(19_998));
        let first = |us, before| {
            let mut w = Watch::new(limits, before);
            (1..=100).find(|_| matches!(w.observe(reply(1, Some(us))), Action::Rollback(_)))
        };
        assert_eq!(first(24_900, before), None, "not a quarter slower");
        assert_eq!(first(25_100, before), Some(20));
        assert_eq!(first(u32::MAX, None), None, "nothing to compare with");
        assert_eq!(first(2_400, Some(400)), None, "six times slower, and nobody notices");
        assert_eq!(first(2_401, Some(400)), Some(20));
        let mut w = Watch::new(limits, before);
        for n in 0..200 {
            let hiccup = if n % 25 == 24 { 90_000 } else { 20_000 };
            let action = w.observe(reply(1, Some(hiccup)));
            assert!(!matches!(action, Action::Rollback(_)), "one in 25 replies is slow");
        }
    }

    #[test]
    fn a_reply_counts_once_with_its_newest_verdict() {
        let watch = |verdicts: &[(u128, u8)]| {
            let mut w = Watch::new(Limits::default(), None);
            for (reply, bad_percent) in verdicts {
                w.observe(Event::Judged { reply: *reply, bad_percent: *bad_percent });
            }
            w.rate.evidence()
        };
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(close(watch(&[(1, 90), (1, 90), (1, 90)]), watch(&[(1, 90)])));
        assert!(close(watch(&[(1, 60), (2, 10), (1, 95)]), watch(&[(2, 10), (1, 95)])));
        assert!(close(watch(&[(1, 60), (1, 0)]), watch(&[(1, 0)])), "it was good after all");
    }

    #[test]
    fn failing_replies_take_an_adapter_back_and_usual_ones_do_not() {
        let mut rng = Rng::new(4);
        let mut run = |rate: f64, most: u32| {
            let mut w = Watch::new(Limits::default(), None);
            (1..=most).find(|_| {
                let bad_percent = if rng.chance(rate) { 100 } else { 0 };
                let reply = rng.bits().into();
                w.observe(Event::Judged { reply, bad_percent }) != Action::Continue
            })
        };
        let false_alarms = (0..2000).filter(|_| run(0.08, 300).is_some()).count();
        assert!(false_alarms <= 100, "{false_alarms} of 2000, at most 1 in 20 allowed");
        let mut delays: Vec<u32> = (0..501).map(|_| run(0.9, 300).unwrap_or(300)).collect();
        delays.sort_unstable();
        println!(
            "usual .08: {false_alarms} false of 2000; .9: median {} judged turns",
            delays[250]
        );
        assert!(delays[250] <= 6);
    }
}
