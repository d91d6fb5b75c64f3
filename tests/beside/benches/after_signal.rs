//! The first token after a signal, with a thousand corrected mails kept: as soon as without one.
//!
//! `cargo bench --manifest-path tests/beside/Cargo.toml --bench after_signal [-- MODEL.gguf]`. Both
//! cases in turn, on the built-in model or another one; the ratio of their medians is what counts.

use std::path::Path;
use std::time::{Duration, Instant};

use sapwood::sample::Sampling;
use sapwood::signal::Signal;
use sapwood::{Config, Consent, Learner, Options, Shown};
use sapwood_kernels::Device;
use sapwood_models::{EMBEDDED, Mapped, Message, Model, Role};

const MAILS: usize = 1000;
const ROUNDS: usize = 25;

/// About 1.2 kB that no other mail has.
fn mail(n: usize) -> String {
    let sentence = |at: usize| {
        let (item, room) = ((n * 7 + at * 13) % 97, (n + at) % 31);
        format!("Sentence {n}.{at} says that item {item} was moved to room {room} before noon. ")
    };
    (0..16).map(sentence).collect()
}

fn model() -> Model {
    let device = Device::cpu(Some(2));
    let file = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    match file {
        Some(file) => Model::open(Path::new(&file), &device).expect("a model"),
        None => Model::from_mapped(Mapped::from_static(EMBEDDED), &device).expect("a model"),
    }
}

fn fill(config: &Config) {
    let capture = Learner::open_capture(config).expect("a folder");
    for n in 0..MAILS {
        let shown = Shown {
            surface: "mail".into(),
            conversation: n as u128,
            instructions: None,
            turns: vec![Message::new(Role::User, format!("Tell the team about move {n}."))],
            reply: mail(n),
            adapter: None,
        };
        let reply = capture.reply(shown).expect("a disk").expect("consent");
        let text = mail(n).replace("before noon", "by midday");
        capture.signal(reply, Signal::Edited { text }).expect("a disk");
    }
}

/// A reply of one token, and how long it took.
fn reply(learner: &Learner, round: usize) -> (u128, Duration) {
    let options = Options { sampling: Sampling::greedy(), max_tokens: 1, record: true };
    let chat = learner.chat("mail", None, Vec::new()).expect("an id");
    let request = format!("Write a note to the plumber about leak {round}");
    let started = Instant::now();
    let reply = chat.respond(&request, options).expect("room").finish().expect("a reply");
    (reply.id, started.elapsed())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::new(folder.path().join("store"), [7; 32]);
    let learner = Learner::open(model(), config.clone()).expect("a learner");
    learner.set_consent(Consent::Granted).expect("a disk");
    drop(learner);
    fill(&config);
    let started = Instant::now();
    let learner = Learner::open(model(), config).expect("a learner");
    let opened = started.elapsed().as_secs_f64() * 1e3;
    let (_, first) = reply(&learner, 0);
    let (mut without, mut with, mut signals) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (id, alone) = reply(&learner, 2 * round);
        let started = Instant::now();
        let text = format!("corrected {round}, as it was meant");
        learner.signal(id, Signal::Edited { text }).expect("a disk");
        signals.push(started.elapsed());
        let (_, after) = reply(&learner, 2 * round + 1);
        without.push(alone);
        with.push(after);
    }
    let (without, with) = (median(without), median(with));
    println!(
        "{MAILS} mails kept: opened in {opened:.0} ms, first reply {:.0} ms",
        first.as_secs_f64() * 1e3
    );
    println!(
        "first token {without:.2} ms, after a signal {with:.2} ms: {:.2} (bar 1.2)",
        with / without
    );
    println!("the signal itself {:.2} ms", median(signals));
}
