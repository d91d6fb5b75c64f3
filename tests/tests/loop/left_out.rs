//! Training meets bad data: what can't be learned from costs itself only.

use sapwood::disk::sim::SimDisk;
use sapwood::signal::Signal;
use sapwood::{Consent, Learner, Outcome};

use super::training::{slice, training_config};
use super::{greedy, open};

fn correct(learner: &Learner, request: &str, text: &str) {
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let reply = chat.respond(request, greedy(2)).unwrap().finish().unwrap();
    learner.signal(reply.id, Signal::Edited { text: text.into() }).unwrap();
}

#[test]
fn one_long_turn_is_left_out_and_the_rest_is_learned() {
    let mut config = training_config(2);
    // Everything else is judged as well.
    config.learning.split.train = 50;
    config.learning.split.holdout = 25;
    let learner = open(&SimDisk::new(), config);
    learner.set_consent(Consent::Granted).unwrap();
    let long = "The crates came late and were wet, so we wrote to the depot. ".repeat(80);
    for n in 0..24 {
        correct(&learner, &format!("Triage: parcel {n}"), &format!("desk {n}"));
        // On each side of the split: an answer that is longer than the context, and a request that
        // fits it alone.
        correct(&learner, &format!("Write note {n}"), &long);
    }
    let begun = slice(&learner, Some(1));
    assert_eq!(begun.outcome, Outcome::Paused, "{begun}");
    assert!(begun.left_out > 0 && begun.examples > 0, "{begun:?}");
    assert!(begun.to_string().contains("too long to learn from"), "{begun}");
    let done = slice(&learner, None);
    assert!(!matches!(done.outcome, Outcome::Waiting(_) | Outcome::Paused), "{done}");
}
