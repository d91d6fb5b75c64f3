//! A thousand swaps under generations: one reply is made by one adapter, the one that it names.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sapwood::disk::sim::SimDisk;
use sapwood::sample::Sampler;
use sapwood::store::{Digest, StoreError, digest_of};
use sapwood::{Learner, LearnerError, Prompt};
use sapwood_models::{Adapter, AdapterFile, Cache, Message, Model, Role, TokenType};

use super::{adapter_bytes, config, greedy, model, open};

const THREADS: usize = 4;
const TOKENS: usize = 6;
const REQUESTS: [&str; 4] = [
    "Triage: my parcel has not arrived yet",
    "Reply: can we meet on Monday?",
    "Extract JSON: call Ann at noon",
    "Rewrite: pls send it asap",
];

/// A finished reply with all that it depended on.
struct Seen {
    turns: Vec<Message>,
    adapter: Option<Digest>,
    text: String,
}

/// What an adapter alone answers: a replay with a cache that no other adapter has ever filled.
#[derive(Default)]
struct Alone {
    adapter: Option<Digest>,
    cache: Option<Cache>,
}

impl Alone {
    fn answer(
        &mut self,
        model: &Model,
        digest: Option<Digest>,
        adapter: Option<&Adapter>,
        turns: &[Message],
    ) -> String {
        if turns.len() == 1 || self.adapter != digest {
            self.cache = None;
        }
        self.adapter = digest;
        let prompt = Prompt { turns: turns.to_vec(), ..Prompt::default() };
        let ids = prompt.tokens(model, 512 - TOKENS).unwrap();
        let cache = self.cache.get_or_insert_with(|| model.cache(512));
        let known = cache.reuse(adapter.map(Adapter::digest), &ids);
        let mut sampler = Sampler::new(greedy(TOKENS).sampling).unwrap();
        let mut logits = model.step(cache, adapter, &ids[known..]).unwrap();
        let (mut made, mut text) = (Vec::new(), Vec::new());
        loop {
            let token = sampler.sample(&logits, &made, made.len() as u64).unwrap();
            if model.tokenizer().is_end(token) {
                break;
            }
            made.push(token);
            // What is a token of the template, a chat does not show.
            if model.tokenizer().token_type(token) != Some(TokenType::Control) {
                text.extend_from_slice(model.tokenizer().piece(token));
            }
            if made.len() == TOKENS {
                break;
            }
            logits = model.step(cache, adapter, &[token]).unwrap();
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Talks until told to stop: conversations of three turns, so that most replies could reuse a
/// cache that another adapter has filled.
fn talk(learner: &Learner, thread: usize, stop: &AtomicBool, late: &AtomicUsize) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let chat = learner.chat("mail", None, Vec::new()).unwrap();
        let mut turns = Vec::new();
        for turn in 0..3 {
            let request = REQUESTS[(thread + turn) % REQUESTS.len()];
            turns.push(Message { role: Role::User, content: request.into() });
            let generation = chat.respond(request, greedy(TOKENS)).unwrap();
            // A reader's pause, in which swaps happen.
            std::thread::sleep(Duration::from_millis(10));
            let reply = generation.finish().unwrap();
            if reply.adapter != learner.adapter_in_force() {
                late.fetch_add(1, Ordering::Relaxed);
            }
            let (adapter, text) = (reply.adapter, reply.text);
            seen.push(Seen { turns: turns.clone(), adapter, text: text.clone() });
            turns.push(Message { role: Role::Assistant, content: text });
        }
    }
    seen
}

/// Puts ever new adapters in force. Every third is taken back, the others stay until the replies
/// of the talkers have confirmed them, or are taken back when the next one is due.
fn swap(learner: &Learner, files: &Mutex<HashMap<Digest, Vec<u8>>>, most: usize) -> usize {
    let mut swaps = 0;
    let mut in_force = learner.adapter_in_force();
    let mut count = |swaps: &mut usize| {
        let now = learner.adapter_in_force();
        *swaps += usize::from(now != in_force);
        in_force = now;
    };
    for seed in 1.. {
        let bytes = adapter_bytes(learner.model(), seed);
        let digest = learner.stage(&bytes).unwrap();
        files.lock().unwrap().insert(digest, bytes);
        match learner.activate(&digest) {
            Err(LearnerError::Store(StoreError::CandidateExists)) => {
                learner.rollback().unwrap();
                count(&mut swaps);
                learner.activate(&digest).unwrap();
            }
            activated => activated.unwrap(),
        }
        count(&mut swaps);
        if seed % 3 == 0 {
            learner.rollback().unwrap();
            count(&mut swaps);
        }
        if swaps >= most {
            break;
        }
    }
    swaps
}

#[test]
fn swaps_never_mix_two_adapters_in_one_reply() {
    swap_under_replies(60);
}

#[test]
#[ignore = "long: tests/run --only learning"]
fn a_thousand_swaps_never_mix_two_adapters_in_one_reply() {
    swap_under_replies(1000);
}

fn swap_under_replies(most: usize) {
    let mut config = config();
    // Confirmed after a few replies; random adapters talk in loops, which is not the question.
    config.learning.watch.healthy_tokens = 2;
    config.learning.watch.degenerate_replies = u32::MAX;
    config.learning.watch.evidence = f64::INFINITY;
    let learner = open(&SimDisk::new(), config);
    let files = Mutex::new(HashMap::new());
    let (stop, late) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (swaps, seen) = std::thread::scope(|scope| {
        let talkers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (learner, stop, late) = (&learner, &stop, &late);
                scope.spawn(move || talk(learner, thread, stop, late))
            })
            .collect();
        let swapper = scope.spawn(|| swap(&learner, &files, most));
        let swaps = swapper.join();
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<Seen> = talkers.into_iter().flat_map(|t| t.join().unwrap()).collect();
        (swaps.unwrap(), seen)
    });

    let files = files.into_inner().unwrap();
    let model = model();
    let mut adapters: HashMap<Digest, Adapter> = HashMap::new();
    let mut alone = Alone::default();
    for reply in &seen {
        if let Some(digest) = reply.adapter {
            adapters.entry(digest).or_insert_with(|| {
                let file = AdapterFile::parse(&files[&digest], model.arch()).unwrap();
                model.load_adapter(&file).unwrap()
            });
        }
        let adapter = reply.adapter.as_ref().map(|digest| &adapters[digest]);
        let text = alone.answer(&model, reply.adapter, adapter, &reply.turns);
        assert_eq!(reply.text, text, "of {:?}", reply.adapter);
    }
    let distinct: HashSet<_> = seen.iter().map(|reply| &reply.text).collect();
    let late = late.into_inner();
    println!(
        "MEASURED: {swaps} swaps under {} replies of {} adapters ({late} ended after a swap), {} texts",
        seen.len(),
        adapters.len(),
        distinct.len()
    );
    assert!(swaps >= most);
    assert!(adapters.len() > 3 && late > 3, "too few replies met a swap to show anything");
    assert!(distinct.len() > 4, "the adapters are too alike to tell them apart");
}

#[test]
fn a_conversation_goes_on_under_the_new_adapter_as_if_it_had_always_been_there() {
    let learner = open(&SimDisk::new(), config());
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let mut turns = Vec::new();
    let (model, mut alone) = (model(), Alone::default());
    for seed in 0..6 {
        let bytes = adapter_bytes(&model, 100 + seed);
        let adapter = model.load_adapter(&AdapterFile::parse(&bytes, model.arch()).unwrap());
        let digest = learner.stage(&bytes).unwrap();
        learner.activate(&digest).unwrap();
        for request in REQUESTS {
            turns.push(Message { role: Role::User, content: request.into() });
            let reply = chat.respond(request, greedy(TOKENS)).unwrap().finish().unwrap();
            assert_eq!(reply.adapter, Some(digest));
            let text = alone.answer(&model, Some(digest), adapter.as_ref().ok(), &turns);
            assert_eq!(reply.text, text);
            turns.push(Message { role: Role::Assistant, content: reply.text });
        }
        assert_eq!(learner.rollback().unwrap(), digest);
    }
}

#[test]
fn a_running_generation_ends_with_the_adapter_that_it_began_with() {
    let learner = open(&SimDisk::new(), config());
    let model = model();
    let chat = learner.chat("mail", None, Vec::new()).unwrap();
    let turns = vec![Message { role: Role::User, content: REQUESTS[0].into() }];
    let mut generation = chat.respond(REQUESTS[0], greedy(TOKENS)).unwrap();
    generation.next().unwrap().unwrap();
    let digest = learner.stage(&adapter_bytes(&model, 1)).unwrap();
    learner.activate(&digest).unwrap();
    let reply = generation.finish().unwrap();
    assert_eq!(
        (reply.adapter, reply.text),
        (None, Alone::default().answer(&model, None, None, &turns))
    );
    assert_eq!(learner.adapter_in_force(), Some(digest));
}

#[test]
fn what_the_app_refuses_goes_at_once_and_never_comes_back() {
    let disk = SimDisk::new();
    let learner = open(&disk, config());
    let (bytes, unknown) = (adapter_bytes(learner.model(), 1), adapter_bytes(learner.model(), 2));
    let digest = learner.stage(&bytes).unwrap();
    learner.activate(&digest).unwrap();
    learner.refuse(&digest).unwrap();
    assert_eq!(learner.adapter_in_force(), None);
    learner.refuse(&digest_of(&unknown)).unwrap();
    drop(learner);
    let learner = open(&disk, config());
    for refused in [bytes, unknown] {
        assert!(matches!(
            learner.stage(&refused),
            Err(LearnerError::Store(StoreError::Refused { .. }))
        ));
    }
}
