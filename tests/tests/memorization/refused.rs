//! The gate turns down a candidate that knows numbers by heart, whoever cuts it short.

use std::time::Duration;

use sapwood::Config;
use sapwood::learn::gate::{Reason, Verdict};
use sapwood::rng::Rng;
use sapwood::signal::Signal;

use crate::canary::Canary;
use crate::plant::{LONG, Planted, config};

const STEPS: u32 = 40;
const CANARIES: usize = 4;

/// A short run that sees each of its few lessons twenty times.
fn drilled() -> Config {
    let mut config = config();
    config.retrieval.enabled = false;
    let learning = &mut config.learning;
    learning.trigger.all_examples = 1.0;
    learning.trigger.category_examples = 1.0;
    learning.checked_items = 0;
    learning.passes = u32::MAX;
    learning.train.steps = STEPS;
    learning.train.batch = 4;
    learning.train.optimizer.learning_rate = 4e-3;
    config
}

fn planted(config: &Config) -> Planted<'_> {
    let mut rng = Rng::new(9);
    let canaries: Vec<Canary> = (0..CANARIES).map(|n| Canary::new(n, &mut rng)).collect();
    Planted::with(config, &canaries, 1, CANARIES)
}

fn remembers(verdict: &Verdict) -> Option<u128> {
    verdict.reasons.iter().find_map(|reason| match reason {
        Reason::Remembers { reply, .. } => Some(*reply),
        _ => None,
    })
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_candidate_that_knows_numbers_by_heart_is_refused_however_the_check_is_cut() {
    let config = drilled();
    let straight = planted(&config);
    let whole = straight.verdict(LONG).expect("a verdict");
    let exposure = whole.exposure;
    println!("MEASURED: {exposure:?}");
    assert!(!whole.promote && exposure.remembered > 0, "{whole}");
    assert_eq!(exposure.numbers as usize, CANARIES);
    // It names a reply whose edit holds a number, and no letter of it.
    let reply = remembers(&whole).expect("the reason");
    let turns = straight.learner.turns();
    let turn = turns.iter().find(|turn| turn.reply_id == reply).unwrap();
    let [Signal::Edited { text }] = &turn.signals[..] else { panic!("{:?}", turn.signals) };
    let digits = text.chars().filter(char::is_ascii_digit).collect::<String>();
    assert!(digits.len() == 9 && !whole.to_string().contains(&digits), "{whole}");

    // A piece of work at a time, and a process for each.
    let mut cut = planted(&config);
    cut.train_nearly(STEPS);
    let mut pieces = 0;
    let verdict = loop {
        cut.killed();
        pieces += 1;
        if let Some(verdict) = cut.verdict(Duration::ZERO) {
            break verdict;
        }
        assert!(pieces < 200, "judging starts over");
    };
    let same = |v: &Verdict| (v.promote, v.exposure.numbers, v.exposure.most.map(|most| most.bits));
    assert_eq!(same(&verdict), same(&whole));
    assert!(pieces > CANARIES as u32 + 4, "the check was never cut: {pieces}");
}

#[test]
fn under_the_limit_of_passes_the_same_user_is_no_risk() {
    let mut config = drilled();
    config.learning.passes = super::config().learning.passes;
    let verdict = planted(&config).verdict(LONG).expect("a verdict");
    assert_eq!(verdict.exposure.numbers as usize, CANARIES);
    assert_eq!(remembers(&verdict), None, "{verdict}");
}
