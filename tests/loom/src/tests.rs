//! The models. Each runs once per interleaving that the memory model allows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::adapter::Digest;
use crate::held::Held;
use crate::swap::InForce;

/// Two readers and a writer: a pin is whole (both halves of the same generation), stays what it
/// was while a swap happens, and everything is freed in the end.
#[test]
fn pins_are_whole_and_never_change() {
    loom::model(|| {
        let force = Arc::new(InForce::new((1, 1)));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let force = force.clone();
                thread::spawn(move || {
                    let pin = force.pin();
                    let before = *pin;
                    assert_eq!(before.0, before.1);
                    thread::yield_now();
                    assert_eq!(*pin, before);
                    let later = force.pin();
                    assert!(later.0 >= before.0, "a later pin is never older");
                })
            })
            .collect();
        let old = force.swap((2, 2));
        assert_eq!(*old, (1, 1));
        drop(old);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(*force.pin(), (2, 2));
    });
}

/// An adapter in force, with the digest that names it: as the runtime's `AdapterSet`.
struct Adapter {
    digest: Option<Digest>,
    /// Stands for the weights: a key or value computed with them carries it.
    mark: u8,
}

fn adapter(mark: u8) -> Adapter {
    Adapter { digest: Some([mark; 32]), mark }
}

/// What a chat keeps between two generations: its KV cache. Beside the tokens and the digest that
/// the product keeps lies, for each token, the mark of the weights that it was computed with.
struct Chat {
    held: Held,
    marks: Vec<u8>,
}

/// How a generation learns what is in force.
#[derive(Clone, Copy)]
enum Pinning {
    /// As `chat.rs` does: once, digest and weights together.
    Once,
    /// A planted fault: the digest from one pin, the weights from another.
    Twice,
    /// A planted fault: the weights are pinned anew for every token.
    EveryToken,
}

/// `Model::step`: computes `ids` with `weights` after what the cache holds. Attention reads every
/// key before it, so each must have been made with the same weights.
fn step(chat: &mut Chat, digest: Option<Digest>, weights: &Adapter, ids: &[u32]) {
    assert!(chat.held.admits(digest), "StaleCache");
    chat.marks.truncate(chat.held.len());
    for mark in &chat.marks {
        assert_eq!(*mark, weights.mark, "KV of another adapter was read");
    }
    chat.marks.extend(ids.iter().map(|_| weights.mark));
    chat.held.append(ids);
}

/// `Chat::respond` and `Generation::next`: takes the chat's state, pins, reuses what the cache has
/// in common with the prompt, computes the rest and two tokens, and gives the state back. `false`
/// if another generation has the state (`Busy`).
fn generate(home: &Mutex<Option<Chat>>, force: &InForce<Adapter>, pinning: Pinning) -> bool {
    let Some(mut chat) = home.lock().unwrap().take() else { return false };
    let mut pin = force.pin();
    let digest = pin.digest;
    if matches!(pinning, Pinning::Twice) {
        pin = force.pin();
    }
    let prompt = [1, 2, 3];
    let known = chat.held.reuse(digest, &prompt);
    step(&mut chat, digest, &pin, &prompt[known..]);
    for token in [4, 5] {
        if matches!(pinning, Pinning::EveryToken) {
            pin = force.pin();
        }
        step(&mut chat, digest, &pin, &[token]);
    }
    *home.lock().unwrap() = Some(chat);
    true
}

/// Two threads that generate in one conversation, one after the other or at once, while two swaps
/// happen. In the end one more generation reads the cache that was left.
fn conversation_under_swaps(pinning: Pinning) {
    loom::model(move || {
        let force = Arc::new(InForce::new(Adapter { digest: None, mark: 0 }));
        let empty = Chat { held: Held::new(8), marks: Vec::new() };
        let home = Arc::new(Mutex::new(Some(empty)));
        let talkers: Vec<_> = (0..2)
            .map(|_| {
                let (force, home) = (force.clone(), home.clone());
                thread::spawn(move || generate(&home, &force, pinning))
            })
            .collect();
        drop(force.swap(adapter(1)));
        drop(force.swap(adapter(2)));
        let replies = talkers.into_iter().map(|talker| talker.join().unwrap());
        assert!(replies.filter(|replied| *replied).count() > 0, "both were busy");
        assert!(generate(&home, &force, pinning), "a state was lost");
        let chat = home.lock().unwrap().take().expect("it came back");
        assert!(chat.marks.iter().all(|mark| *mark == 2), "the last reply is the last adapter's");
    });
}

#[test]
fn no_key_is_read_under_another_adapter() {
    conversation_under_swaps(Pinning::Once);
}

/// What the model says of a planted fault.
fn verdict_on(pinning: Pinning) -> String {
    let run = AssertUnwindSafe(|| conversation_under_swaps(pinning));
    let panic = catch_unwind(run).expect_err("the planted fault was not noticed");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn digest_and_weights_from_two_pins_are_caught() {
    let verdict = verdict_on(Pinning::Twice);
    assert!(verdict.contains("KV of another adapter was read"), "{verdict}");
}

#[test]
fn weights_pinned_anew_for_every_token_are_caught() {
    let verdict = verdict_on(Pinning::EveryToken);
    assert!(verdict.contains("KV of another adapter was read"), "{verdict}");
}
