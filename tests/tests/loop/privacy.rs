//! What must not be kept is not kept: secrets, private turns, private edits.

use sapwood::disk::sim::SimDisk;
use sapwood::learn::split::Shares;
use sapwood::secret::{PRIVATE, is_redacted};
use sapwood::signal::Signal;
use sapwood::{Config, Consent, Learner, LearnerError, Options};
use sapwood_models::{Message, Role};

use super::training::{slice, training_config};
use super::{config, greedy, open};

const CARD: &str = "4111 1111 1111 1111";
const IBAN: &str = "DE89370400440532013000";
const CODE: &str = "482913";
const PASSWORD: &str = "hunter2!";
const KEY: &str = "sk-proj-abc123DEF456ghi789";

fn allowed(config: Config) -> (SimDisk, Learner) {
    let disk = SimDisk::new();
    let learner = open(&disk, config);
    learner.set_consent(Consent::Granted).unwrap();
    (disk, learner)
}

fn unrecorded() -> Options {
    Options { record: false, ..greedy(6) }
}

/// All that a learner has kept, as text.
fn kept(learner: &Learner) -> String {
    format!("{:?}", learner.turns())
}

#[test]
fn secrets_are_gone_before_anything_is_written() {
    let (disk, learner) = allowed(config());
    let turns = vec![
        Message::new(Role::User, format!("My card is {CARD}, remember it.")),
        Message::new(Role::Assistant, format!("I remember {CARD}. What is the code?")),
    ];
    let system = format!("api_key = {KEY}");
    let chat = learner.chat("mail", Some(&system), turns).unwrap();
    let reply = chat.respond(CODE, greedy(6)).unwrap().finish().unwrap();
    let text = format!("Pay to {IBAN}, password: {PASSWORD}");
    learner.signal(reply.id, Signal::Edited { text }).unwrap();
    learner.flush().unwrap();
    // The turn that follows has its prompt whole, and is kept without the secrets in it.
    let next = chat.respond("And now?", greedy(6)).unwrap().finish().unwrap();
    assert!(next.prompt_tokens > reply.prompt_tokens);

    let in_next_process = open(&SimDisk::from_image(disk.image()), config());
    for learner in [&learner, &in_next_process] {
        let kept = kept(learner);
        for secret in [CARD, IBAN, CODE, PASSWORD, KEY] {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
        let turn = &learner.turns()[0];
        let prompt = turn.prompt.to_vec();
        let said: Vec<&str> = prompt.iter().map(|m| m.content.as_str()).collect();
        let card = format!("My card is {PRIVATE}, remember it.");
        let remembered = format!("I remember {PRIVATE}. What is the code?");
        assert_eq!(said, [&format!("api_key = {PRIVATE}"), &card, &remembered, PRIVATE]);
        let text = format!("Pay to {PRIVATE}, password: {PRIVATE}");
        assert_eq!(turn.signals, [Signal::Edited { text }]);
    }
}

/// Of ten corrections six hold a secret: those are no examples, for training or for retrieval.
#[test]
fn a_reply_with_a_secret_is_never_a_target_nor_shown_again() {
    let settings = || {
        let mut config = training_config(1);
        config.learning.split = Shares { train: 100, holdout: 0 };
        config.retrieval.min_similarity = 0.0;
        config
    };
    let teach = |answer: &dyn Fn(usize) -> Signal| {
        let (_, learner) = allowed(settings());
        learner.set_retrieval(false);
        for n in 0..10 {
            let chat = learner.chat("mail", None, Vec::new()).unwrap();
            let request = format!("Triage: parcel number {n} has not arrived");
            let reply = chat.respond(&request, greedy(4)).unwrap().finish().unwrap();
            learner.signal(reply.id, answer(n)).unwrap();
        }
        learner.set_retrieval(true);
        let chat = learner.chat("mail", None, Vec::new()).unwrap();
        let asked = "Triage: parcel number 3 has not arrived";
        let shown = chat.respond(asked, unrecorded()).unwrap().finish().unwrap().retrieved;
        (slice(&learner, None).examples, shown)
    };
    let edit = |text: String| Signal::Edited { text };
    let (examples, shown) = teach(&|n| edit(format!("logistics, parcel {n}")));
    assert_eq!((examples, shown > 0), (10, true));
    let (examples, _) = teach(&|n| match n {
        0..=2 => edit(format!("logistics, the card is {CARD}")),
        3..=5 => Signal::edited_privately(),
        _ => edit(format!("logistics, parcel {n}")),
    });
    assert_eq!(examples, 4);
    let (examples, shown) = teach(&|_| edit(format!("logistics: {IBAN}")));
    assert_eq!((examples, shown), (0, 0));
}

#[test]
fn a_private_turn_leaves_nothing_and_no_later_turn_quotes_it() {
    let (disk, learner) = allowed(config());
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let open_turn = chat.respond("Triage: where is it?", greedy(6)).unwrap().finish().unwrap();
    assert_eq!(learner.turns().len(), 1);
    // Cancelled before its first token, a private turn was never said.
    let cancelled = chat.respond("my darkest secret", unrecorded()).unwrap();
    cancelled.cancel();
    assert_eq!(cancelled.finish().unwrap().tokens, 0);
    chat.respond("Triage: and that one?", greedy(6)).unwrap().finish().unwrap();
    assert_eq!(learner.turns().len(), 2);

    let private = chat.respond("my darkest secret", unrecorded()).unwrap().finish().unwrap();
    let later = chat.respond("what did I say?", greedy(6)).unwrap().finish().unwrap();
    assert!(later.prompt_tokens > private.prompt_tokens, "the model still sees it");
    let again = chat.regenerate(greedy(6)).unwrap().finish().unwrap();
    for reply in [private.id, later.id, again.id] {
        let signal = learner.signal(reply, Signal::Edited { text: "my darkest secret".into() });
        assert!(matches!(signal, Err(LearnerError::UnknownReply { .. })), "{signal:?}");
    }
    // What was kept before it stays, and can be signalled; a new conversation is kept.
    learner.signal(open_turn.id, Signal::Accepted).unwrap();
    let other = learner.chat("mail", None, Vec::new()).unwrap();
    other.respond("Triage: it came", greedy(6)).unwrap().finish().unwrap();
    learner.flush().unwrap();
    for learner in [&learner, &open(&SimDisk::from_image(disk.image()), config())] {
        assert_eq!(learner.turns().len(), 3);
        assert!(!kept(learner).contains("darkest"));
    }
}

#[test]
fn a_private_edit_is_kept_without_its_text() {
    let (_, learner) = allowed(config());
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let reply = chat.respond("Triage: where is it?", greedy(6)).unwrap().finish().unwrap();
    learner.signal(reply.id, Signal::edited_privately()).unwrap();
    let turns = learner.turns();
    let [Signal::Edited { text }] = turns[0].signals.as_slice() else { panic!("one edit") };
    assert!(is_redacted(text) && text == PRIVATE);
}
