//! Conversations have no size at which they die, and cost what they say.

use std::time::Instant;

use sapwood::disk::RealDisk;
use sapwood::disk::sim::SimDisk;
use sapwood::{Chat, Config, Consent, Learner, LearnerError, Scope};
use sapwood_models::{Message, Role};
use sapwood_tests::tiny;

use super::{config, greedy};

const KIB: usize = 1024;

fn settings() -> Config {
    Config { context_tokens: 1024, ..config() }
}

fn open(disk: &SimDisk) -> Learner {
    let disk = std::sync::Arc::new(disk.clone());
    Learner::open_on(disk, tiny::model(tiny::WIDTH), settings()).unwrap()
}

/// Turn `n` of a conversation, of about so many bytes.
fn request(n: usize, bytes: usize) -> String {
    format!("turn {n}: {}", "and then ".repeat(bytes / 9))
}

fn say(chat: &Chat, text: &str) -> sapwood::Reply {
    let reply = chat.respond(text, greedy(1)).unwrap().finish().unwrap();
    assert!(reply.kept, "not kept");
    reply
}

fn journal_bytes(disk: &SimDisk) -> u64 {
    use sapwood::disk::Disk;
    let names = disk.list("e1/j").unwrap();
    names.iter().map(|name| disk.len(&format!("e1/j/{name}")).unwrap()).sum()
}

#[test]
fn a_conversation_is_kept_turn_by_turn_and_comes_back_whole() {
    let disk = SimDisk::new();
    let learner = open(&disk);
    learner.set_consent(Consent::Granted).unwrap();
    let chat = learner.chat("mail", Some("Be brief."), Vec::new()).unwrap();
    let (mut said, mut ids) = (vec![Message::new(Role::System, "Be brief.")], Vec::new());
    let mut text = 0;
    // Past the 64 KiB that a record once had, many times over in what was written.
    for n in 0..100 {
        let asked = request(n, if n == 50 { 100 * KIB } else { 940 });
        let Ok(generation) = chat.respond(&asked, greedy(1)) else {
            assert_eq!(n, 50, "only the giant does not fit the context");
            continue;
        };
        let reply = generation.finish().unwrap();
        assert!(reply.kept);
        text += asked.len() + reply.text.len();
        said.extend([Message::new(Role::User, asked), Message::new(Role::Assistant, reply.text)]);
        ids.push(reply.id);
    }
    let written = journal_bytes(&disk) as f64 / text as f64;
    assert!(written <= 1.3, "{written:.2} bytes for a byte of text");
    drop((chat, learner));
    let again = open(&disk);
    let turns = again.turns();
    let last = turns.last().unwrap();
    assert_eq!(last.prompt.to_vec(), said[..said.len() - 1]);
    assert_eq!(turns[1].prompt.to_vec(), said[..4]);
    assert_eq!(last.follows, Some(ids[ids.len() - 2]));

    // An app that goes on with it after a restart hands in what was said: it is not written again.
    let before = journal_bytes(&disk);
    let turns_handed_in = said[1..].to_vec();
    let chat = again.chat("mail", Some("Be brief."), turns_handed_in).unwrap();
    say(&chat, "go on");
    assert!(journal_bytes(&disk) - before < 4 * KIB as u64);
    assert_eq!(again.turns().last().unwrap().follows, ids.last().copied());

    // Who forgets a turn forgets what goes on from it, here and in the conversation after it.
    let receipt = again.forget(&Scope::Reply(ids[10])).unwrap();
    assert_eq!((receipt.replies.len(), again.turns().len()), (ids.len() - 10 + 1, 10));
}

#[test]
fn a_reply_that_is_made_again_goes_on_from_the_same_turn() {
    let disk = SimDisk::new();
    let learner = open(&disk);
    learner.set_consent(Consent::Granted).unwrap();
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let first = say(&chat, "one");
    let second = say(&chat, "two");
    let again = chat.regenerate(greedy(1)).unwrap().finish().unwrap();
    let third = say(&chat, "three");
    drop((chat, learner));
    let learner = open(&disk);
    let follows: Vec<_> = learner.turns().iter().map(|turn| turn.follows).collect();
    assert_eq!(follows, [None, Some(first.id), Some(first.id), Some(again.id)]);
    assert_eq!(learner.turns()[3].reply_id, third.id);
    assert!(second.id != again.id && learner.turns()[2].prompt == learner.turns()[1].prompt);
}

#[test]
fn a_full_context_is_cleared_now_and_then_and_not_with_every_message() {
    let learner = open(&SimDisk::new());
    learner.set_consent(Consent::Granted).unwrap();
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let prompts: Vec<usize> = (0..80).map(|n| say(&chat, &request(n, 20)).prompt_tokens).collect();
    // Where turns go, all that stays has to be read anew; elsewhere what is new.
    let cleared: Vec<usize> = (1..prompts.len()).filter(|n| prompts[*n] < prompts[n - 1]).collect();
    assert!(cleared.len() > 3 && prompts.iter().all(|tokens| *tokens < 1024), "{prompts:?}");
    assert!(cleared.windows(2).all(|at| at[1] - at[0] >= 4), "{prompts:?}");
    // All of it is kept all the same.
    assert_eq!(learner.turns()[79].prompt.len(), 159);
}

#[test]
fn what_is_too_long_to_be_kept_is_told_before_the_reply() {
    let learner = open(&SimDisk::new());
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let turns =
        vec![Message::new(Role::User, "a".repeat(5 << 20)), Message::new(Role::Assistant, "b")];
    let long = learner.chat("mail", None, turns).unwrap();
    // Nothing is kept without consent, so nothing is too long.
    assert!(!long.respond("hello", greedy(1)).unwrap().finish().unwrap().kept);
    learner.set_consent(Consent::Granted).unwrap();
    let told = long.respond("hello", greedy(1)).err().unwrap();
    assert!(matches!(told, LearnerError::TurnTooLong { limit: 4_194_304, .. }), "{told}");
    let mut private = greedy(1);
    private.record = false;
    assert!(!long.respond("hello", private).unwrap().finish().unwrap().kept);
    say(&chat, "hello");
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn five_megabytes_are_recorded_and_read_again_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut config = settings();
    config.dir = home.path().to_owned();
    let open = || Learner::open(tiny::model(tiny::WIDTH), config.clone()).unwrap();
    let learner = open();
    learner.set_consent(Consent::Granted).unwrap();
    let chat = learner.chat("mail", Some("Be brief."), Vec::new()).unwrap();
    let mut text = 0;
    let mut n = 0;
    while text < 5_000_000 {
        let asked = request(n, 940);
        text += asked.len() + say(&chat, &asked).text.len();
        n += 1;
    }
    drop((chat, learner));
    let disk = RealDisk::open(home.path()).unwrap();
    let folder = disk.root().join("e1/j");
    let files = std::fs::read_dir(folder).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let share = bytes as f64 / text as f64;
    let started = Instant::now();
    let learner = open();
    let took = started.elapsed();
    println!("{n} turns, {text} bytes of text: journal {share:.3} of it, opened in {took:?}");
    assert!(share <= 1.3);
    assert_eq!(learner.turns().len(), n);
    assert_eq!(learner.turns()[n - 1].prompt.len(), 2 * n);
}
