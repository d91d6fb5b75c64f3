//! Several processes on one store: a keyboard that only captures, a second learner, and somebody
//! who forgets meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sapwood::disk::sim::SimDisk;
use sapwood::disk::{Disk, RealDisk};
use sapwood::signal::Signal;
use sapwood::vault::VaultError;
use sapwood::{Budget, Capture, Config, Consent, Learner, LearnerError, Scope, Shown};
use sapwood_models::{Message, Role, Stop};

use super::{config, greedy, model, open};

fn shown(conversation: u128, request: &str) -> Shown {
    Shown {
        surface: "keyboard".into(),
        conversation,
        instructions: None,
        turns: vec![Message { role: Role::User, content: request.into() }],
        reply: "Sure.".into(),
        adapter: None,
    }
}

fn capture(disk: &SimDisk) -> Capture {
    Learner::open_capture_on(Arc::new(disk.clone()), &config()).unwrap()
}

fn consenting(disk: &SimDisk) -> Learner {
    let learner = open(disk, config());
    learner.set_consent(Consent::Granted).unwrap();
    learner
}

fn is_changed_elsewhere<T>(result: Result<T, LearnerError>) -> bool {
    matches!(result.err(), Some(LearnerError::Vault(VaultError::ChangedElsewhere)))
}

fn ids(learner: &Learner) -> Vec<u128> {
    learner.turns().iter().map(|turn| turn.reply_id).collect()
}

#[test]
fn what_a_keyboard_captures_is_in_the_app_without_opening_it_again() {
    let disk = SimDisk::new();
    let learner = consenting(&disk);
    let keyboard = capture(&disk);
    let reply = keyboard.reply(shown(1, "Are you coming?")).unwrap().unwrap();
    keyboard.signal(reply, Signal::Edited { text: "Sure, at eight.".into() }).unwrap();
    // And the other way round.
    let chat = learner.chat("mail", None, vec![]).unwrap();
    let own = chat.respond("Triage: hello", greedy(2)).unwrap().finish().unwrap().id;
    keyboard.signal(own, Signal::Accepted).unwrap();
    assert!(matches!(
        keyboard.signal(5, Signal::Accepted),
        Err(LearnerError::UnknownReply { reply: 5 })
    ));
    learner.signal(reply, Signal::Copied { part: sapwood::signal::Part::Whole }).unwrap();
    let check = |learner: &Learner| {
        let turns = learner.turns();
        let of = |id| turns.iter().find(|turn| turn.reply_id == id).unwrap();
        assert_eq!(turns.len(), 2);
        assert_eq!(of(reply).request(), "Are you coming?");
        assert_eq!(of(reply).signals.len(), 2);
        assert_eq!(of(own).signals, [Signal::Accepted]);
    };
    check(&learner);
    drop((keyboard, learner));
    check(&open(&SimDisk::from_image(disk.image()), config()));
}

#[test]
fn consent_holds_in_every_process_at_once() {
    let disk = SimDisk::new();
    let learner = open(&disk, config());
    let keyboard = capture(&disk);
    let before = disk.list("e1/j").unwrap();
    assert_eq!(keyboard.consent().unwrap(), Consent::Unasked);
    assert_eq!(keyboard.reply(shown(1, "nobody asked")).unwrap(), None);
    learner.set_consent(Consent::Granted).unwrap();
    let reply = keyboard.reply(shown(1, "now")).unwrap().unwrap();
    learner.set_consent(Consent::Refused).unwrap();
    assert_eq!(keyboard.consent().unwrap(), Consent::Refused);
    assert_eq!(keyboard.reply(shown(1, "not any more")).unwrap(), None);
    keyboard.signal(reply, Signal::Accepted).unwrap();
    let second = open(&disk, config());
    assert_eq!(ids(&second), [reply]);
    assert!(second.turns()[0].signals.is_empty());
    assert_eq!(disk.list("e1/j").unwrap().len() - before.len(), 2, "a segment of each process");
    // A learner that was opened before learns of it, too.
    learner.set_consent(Consent::Granted).unwrap();
    second.set_consent(Consent::Refused).unwrap();
    let chat = learner.chat("mail", None, vec![]).unwrap();
    chat.respond("Triage: hello", greedy(2)).unwrap().finish().unwrap();
    assert_eq!(learner.consent(), Consent::Refused);
    assert_eq!(ids(&learner), [reply]);
}

#[test]
fn a_keyboard_goes_on_after_the_app_forgot_and_does_not_quote_it() {
    let disk = SimDisk::new();
    let learner = consenting(&disk);
    let keyboard = capture(&disk);
    let gone = keyboard.reply(shown(1, "the word is heliotrope")).unwrap().unwrap();
    let kept = keyboard.reply(shown(2, "good morning")).unwrap().unwrap();
    let receipt = learner.forget(&Scope::Conversation(1)).unwrap();
    assert_eq!(receipt.replies, [gone], "the app knows what the keyboard captured");
    assert_eq!(keyboard.reply(shown(1, "as I said, heliotrope")).unwrap(), None);
    assert!(matches!(
        keyboard.signal(gone, Signal::Accepted),
        Err(LearnerError::UnknownReply { .. })
    ));
    keyboard.signal(kept, Signal::Accepted).unwrap();
    let new = keyboard.reply(shown(3, "good night")).unwrap().unwrap();
    drop((keyboard, learner));
    let learner = open(&disk, config());
    assert_eq!(ids(&learner), [kept, new]);
    assert_eq!(learner.turns()[0].signals, [Signal::Accepted]);
}

#[test]
fn a_second_learner_notices_that_something_was_forgotten_before_it_does_anything_else() {
    let disk = SimDisk::new();
    let (one, two) = (consenting(&disk), open(&disk, config()));
    let respond = |learner: &Learner| {
        let chat = learner.chat("mail", None, vec![]).unwrap();
        chat.respond("Triage: hello", greedy(2)).and_then(|reply| reply.finish())
    };
    let reply = respond(&two).unwrap().id;
    one.forget(&Scope::Everything).unwrap();
    assert!(is_changed_elsewhere(respond(&two)), "it may hold an adapter that was revoked");
    assert!(is_changed_elsewhere(two.signal(reply, Signal::Accepted)));
    assert!(is_changed_elsewhere(two.set_consent(Consent::Refused)));
    assert!(is_changed_elsewhere(two.forget(&Scope::Everything)));
    assert!(is_changed_elsewhere(two.train_slice(Budget::time(Duration::ZERO), &Stop::new())));
    drop(two);
    let again = open(&disk, config());
    assert!(ids(&again).is_empty());
    respond(&again).unwrap();
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn what_was_acknowledged_while_somebody_forgot_is_there() {
    let dir = std::env::temp_dir().join(format!("sapwood-processes-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&dir).unwrap());
    let config = || Config { dir: dir.clone(), ..config() };
    let learner = Learner::open_on(disk.clone(), model(), config()).unwrap();
    learner.set_consent(Consent::Granted).unwrap();
    let done = AtomicBool::new(false);
    let acknowledged: HashSet<u128> = thread::scope(|scope| {
        let keyboards: Vec<_> = (0..2)
            .map(|keyboard: u128| {
                let (done, config) = (&done, config());
                scope.spawn(move || {
                    let capture = Learner::open_capture(&config).unwrap();
                    let mut acknowledged = HashSet::new();
                    for n in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let said = shown(1 + keyboard + 2 * n, "good morning");
                        // Somebody is at the keyring: not acknowledged, so it need not be there.
                        if let Ok(reply) = capture.reply(said) {
                            acknowledged.extend(reply);
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        for _ in 0..8 {
            let chat = learner.chat("mail", None, vec![]).unwrap();
            chat.respond("Triage: hello", greedy(2)).unwrap().finish().unwrap();
            learner.forget(&Scope::Surface("mail".into())).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        keyboards.into_iter().flat_map(|keyboard| keyboard.join().unwrap()).collect()
    });
    drop(learner);
    let learner = Learner::open_on(disk, model(), config()).unwrap();
    let there: HashSet<u128> = ids(&learner).into_iter().collect();
    assert_eq!(acknowledged.difference(&there).count(), 0, "of {}", acknowledged.len());
    assert!(acknowledged.len() > 20, "{} captured meanwhile", acknowledged.len());
    drop(learner);
    std::fs::remove_dir_all(&dir).unwrap();
}
