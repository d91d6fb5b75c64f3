//! Watching a promoted adapter in real use, and taking it back.
//!
//! Three watches with different reach. Hard rules act on one observation: numbers that are not
//! finite, a reply that runs in circles, a broken format, crashes. The health rule says when a
//! trial counts as survived. The canary compares bad events of candidate and production at random
//! times; on one user it catches disasters only, which is why the paired gate carries the decision.

use super::bet::RateBet;

/// Something seen while the adapter under watch is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// One token was drawn from finite logits.
    Token,
    /// A reply ended.
    Reply {
        /// Milliseconds it took per token.
        ms_per_token: u32,
        /// `verify::is_degenerate` of its text.
        degenerate: bool,
        /// Whether a must-pass format check failed.
        format_failed: bool,
    },
    /// The sampler refused: logits were not finite.
    NonFinite,
    /// The process died with a reply under way; found at the next start.
    Crash,
    /// The user's verdict on a reply is in: see `Judged::badness`. `bad_percent` is 0..=100.
    Judged {
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
    /// A must-pass format check failed.
    #[error("a must-pass format check failed")]
    Format,
    /// It crashed repeatedly right after the swap.
    #[error("{crashes} crashes within {replies} replies of the swap")]
    Crashes {
        /// How many.
        crashes: u32,
        /// Replies since the swap.
        replies: u32,
    },
    /// It is much slower than what it replaced.
    #[error("p95 of {p95_ms} ms per token, {before_ms} ms before the swap")]
    Slow {
        /// Milliseconds per token now.
        p95_ms: u32,
        /// Milliseconds per token before.
        before_ms: u32,
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
    /// Tokens with finite logits, and no failure, after which a trial counts as healthy.
    pub healthy_tokens: u32,
    /// Degenerate replies that take it back.
    pub degenerate_replies: u32,
    /// Crashes, within `early_replies` of the swap, that take it back.
    pub crashes: u32,
    /// What counts as right after the swap.
    pub early_replies: u32,
    /// p95 of milliseconds per token before the swap, if known.
    pub p95_before_ms: Option<u32>,
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
            crashes: 2,
            early_replies: 10,
            p95_before_ms: None,
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
    /// This trial has just become healthy; reported once.
    Healthy,
    /// Take the adapter back now.
    Rollback(Rollback),
}

/// Replies whose speed is remembered.
const SPEEDS: usize = 40;

/// The watch over one adapter since its swap.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    limits: Limits,
    tokens: u32,
    replies: u32,
    degenerate: u32,
    crashes: u32,
    speeds_ms: Vec<u32>,
    rate: RateBet,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new(limits: Limits) -> Watch {
        Watch {
            limits,
            tokens: 0,
            replies: 0,
            degenerate: 0,
            crashes: 0,
            speeds_ms: Vec::new(),
            rate: RateBet::test(limits.usual_bad),
        }
    }

    /// Tokens seen so far.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Takes in one event.
    pub fn observe(&mut self, event: Event) -> Action {
        match event {
            Event::Token => {
                self.tokens = self.tokens.saturating_add(1);
                let healthy = self.tokens == self.limits.healthy_tokens && self.degenerate == 0;
                if healthy { Action::Healthy } else { Action::Continue }
            }
            Event::NonFinite => Action::Rollback(Rollback::NonFinite),
            Event::Reply { format_failed: true, .. } => Action::Rollback(Rollback::Format),
            Event::Reply { ms_per_token, degenerate, .. } => self.reply(ms_per_token, degenerate),
            Event::Crash => {
                self.crashes += 1;
                let early = self.replies <= self.limits.early_replies;
                if early && self.crashes >= self.limits.crashes {
                    let (crashes, replies) = (self.crashes, self.replies);
                    return Action::Rollback(Rollback::Crashes { crashes, replies });
                }
                Action::Continue
            }
            Event::Judged { bad_percent } => {
                let evidence = self.rate.observe(f64::from(bad_percent) / 100.0);
                let needed = self.limits.evidence;
                if evidence >= needed {
                    return Action::Rollback(Rollback::Worse { evidence, needed });
                }
                Action::Continue
            }
        }
    }

    fn reply(&mut self, ms_per_token: u32, degenerate: bool) -> Action {
        self.replies += 1;
        self.degenerate += u32::from(degenerate);
        if self.degenerate >= self.limits.degenerate_replies {
            return Action::Rollback(Rollback::Degenerate { replies: self.degenerate });
        }
        if self.speeds_ms.len() == SPEEDS {
            self.speeds_ms.remove(0);
        }
        self.speeds_ms.push(ms_per_token);
        match self.limits.p95_before_ms {
            // A p95 needs 20 replies to mean anything. More than a quarter slower is too slow.
            Some(before_ms) if self.speeds_ms.len() >= 20 => {
                let mut sorted = self.speeds_ms.clone();
                sorted.sort_unstable();
                let p95_ms = sorted[(sorted.len() * 95).div_ceil(100) - 1];
                if u64::from(p95_ms) * 4 > u64::from(before_ms.max(1)) * 5 {
                    return Action::Rollback(Rollback::Slow { p95_ms, before_ms });
                }
                Action::Continue
            }
            _ => Action::Continue,
        }
    }
}

/// Compares candidate and production while conversations are assigned to them at random.
///
/// Only bad events count. If the candidate fails at most `mu` times as often, the share of bad
/// events that come from it is at most `q0 = rho mu / (rho mu + 1 - rho)`, at every moment,
/// whatever the rate does over time (the conditioning of Lindon and Malek, arXiv 2011.03567). The
/// bet on each event is against q0 with the predictable `qh = max(q0, (x + 1/2 + 2 q0) / (k + 3))`
/// after k events, x of them the candidate's.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    q0: f64,
    events: u32,
    candidate: u32,
    turns: u32,
    evidence: f64,
}

/// What the canary says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Too early to say.
    Open,
    /// 100 turns or more with the candidate and evidence below 5: it may take over.
    Clear,
    /// Evidence reached 20: take it back.
    Bad,
}

impl Canary {
    /// `rho`: share of conversations that the candidate gets, in (0, 1). `mu`: tolerated ratio of
    /// rates, 1 for "not worse".
    pub fn new(rho: f64, mu: f64) -> Canary {
        assert!(rho > 0.0 && rho < 1.0 && mu > 0.0, "the canary needs both arms");
        let q0 = rho * mu / (rho * mu + 1.0 - rho);
        Canary { q0, events: 0, candidate: 0, turns: 0, evidence: 1.0 }
    }

    /// Counts one turn of either arm.
    pub fn observe(&mut self, from_candidate: bool, bad: bool) -> Standing {
        self.turns += u32::from(from_candidate);
        if bad {
            let (x, k, q0) = (f64::from(self.candidate), f64::from(self.events), self.q0);
            let qh = ((x + 0.5 + 2.0 * q0) / (k + 3.0)).max(q0);
            self.evidence *= if from_candidate { qh / q0 } else { (1.0 - qh) / (1.0 - q0) };
            self.events += 1;
            self.candidate += u32::from(from_candidate);
        }
        self.standing()
    }

    /// The e-value: under "not worse" it ever reaches c with probability at most 1/c.
    pub fn evidence(&self) -> f64 {
        self.evidence
    }

    /// What follows from what was seen.
    pub fn standing(&self) -> Standing {
        if self.evidence >= 20.0 {
            Standing::Bad
        } else if self.turns >= 100 && self.evidence < 5.0 {
            Standing::Clear
        } else {
            Standing::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const GOOD: Event = Event::Reply { ms_per_token: 20, degenerate: false, format_failed: false };

    #[test]
    fn hard_rules_act_at_once() {
        let watch = || Watch::new(Limits::default());
        assert_eq!(watch().observe(Event::NonFinite), Action::Rollback(Rollback::NonFinite));
        let broken = Event::Reply { ms_per_token: 1, degenerate: false, format_failed: true };
        assert_eq!(watch().observe(broken), Action::Rollback(Rollback::Format));
        let circles = Event::Reply { ms_per_token: 1, degenerate: true, format_failed: false };
        let mut w = watch();
        assert_eq!(w.observe(circles), Action::Continue);
        assert_eq!(w.observe(GOOD), Action::Continue);
        assert_eq!(w.observe(circles), Action::Rollback(Rollback::Degenerate { replies: 2 }));
        let mut w = watch();
        assert_eq!(w.observe(Event::Crash), Action::Continue);
        let crashed = Rollback::Crashes { crashes: 2, replies: 0 };
        assert_eq!(w.observe(Event::Crash), Action::Rollback(crashed));
        let mut w = watch();
        (0..11).for_each(|_| assert_eq!(w.observe(GOOD), Action::Continue));
        assert_eq!(w.observe(Event::Crash), Action::Continue);
        assert_eq!(w.observe(Event::Crash), Action::Continue);
    }

    #[test]
    fn health_is_reported_once_after_64_good_tokens() {
        let mut w = Watch::new(Limits::default());
        let actions: Vec<Action> = (0..200).map(|_| w.observe(Event::Token)).collect();
        assert_eq!(actions.iter().position(|a| *a == Action::Healthy), Some(63));
        assert_eq!(actions.iter().filter(|a| **a == Action::Healthy).count(), 1);
        let mut w = Watch::new(Limits::default());
        w.observe(Event::Reply { ms_per_token: 1, degenerate: true, format_failed: false });
        assert!((0..200).all(|_| w.observe(Event::Token) == Action::Continue));
    }

    #[test]
    fn slowness_is_judged_by_p95_of_at_least_twenty_replies() {
        let limits = Limits { p95_before_ms: Some(20), ..Limits::default() };
        let slow = |ms| Event::Reply { ms_per_token: ms, degenerate: false, format_failed: false };
        let mut w = Watch::new(limits);
        for _ in 0..60 {
            assert_eq!(w.observe(slow(25)), Action::Continue);
        }
        let mut w = Watch::new(limits);
        let at = (1..).find(|_| w.observe(slow(26)) != Action::Continue);
        assert_eq!(at, Some(20));
    }

    #[test]
    fn failing_replies_take_an_adapter_back_and_usual_ones_do_not() {
        let mut rng = Rng::new(4);
        let mut run = |rate: f64, most: u32| {
            let mut w = Watch::new(Limits::default());
            (1..=most).find(|_| {
                let bad_percent = if rng.chance(rate) { 100 } else { 0 };
                w.observe(Event::Judged { bad_percent }) != Action::Continue
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

    #[test]
    fn the_canary_has_the_stated_characteristics() {
        // learning.md, 7: 600 turns, base rate 8%: false rollback 1-2%; three times worse detected
        // in 99% (rho .5) and 92% (rho .2); twice worse in 57% and 42%.
        let mut rng = Rng::new(31);
        let mut detected = |rho: f64, multiple: f64| {
            let runs = 3000;
            let hits = (0..runs)
                .filter(|_| {
                    let mut canary = Canary::new(rho, 1.0);
                    (0..600).any(|_| {
                        let candidate = rng.chance(rho);
                        let bad = rng.chance(if candidate { 0.08 * multiple } else { 0.08 });
                        canary.observe(candidate, bad) == Standing::Bad
                    })
                })
                .count();
            hits as f64 / f64::from(runs)
        };
        for (rho, multiple, stated) in [
            (0.5, 1.0, 0.02),
            (0.2, 1.0, 0.02),
            (0.5, 3.0, 0.99),
            (0.2, 3.0, 0.92),
            (0.5, 2.0, 0.57),
            (0.2, 2.0, 0.42),
        ] {
            let share = detected(rho, multiple);
            println!("canary rho {rho}, {multiple}x: {share:.3} (stated {stated})");
            assert!((share - stated).abs() < 0.04, "rho {rho}, {multiple}x: {share}");
        }
    }

    #[test]
    fn a_clean_canary_clears_after_a_hundred_turns() {
        let mut canary = Canary::new(0.5, 1.0);
        let clear = (1..).find(|i| canary.observe(i % 2 == 0, false) == Standing::Clear);
        assert_eq!(clear, Some(200));
    }
}
