//! What must not be kept of a text: card numbers, accounts, one-time codes, passwords, keys.
//!
//! Everything that is written down goes through [`redact`] first (`Shared::record` and
//! `Capture`, by `Record::without_secrets`), and all that
//! is learned comes from what was written down. So a secret reaches no journal, no retrieval
//! memory, no checkpoint and no adapter. The reply at hand is made from the text as it was said.
//!
//! - The secret's span becomes [`PRIVATE`]; the rest of the text stays, and can be learned from.
//! - A reply, or what the user made of one, that holds [`PRIVATE`] is never a target of training
//!   (`learn::example`), nor shown again: the model would learn to write the placeholder.
//! - A turn that the app keeps off the record ([`Options::record`](crate::Options)) leaves no text
//!   at all, and neither do the later turns of its conversation: each quotes it in its prompt.
//! - An edit that the app calls private ([`Signal::edited_privately`]) is kept without its text.
//!
//! What is found, each a rule in one file of this folder:
//!
//! | what | rule |
//! |---|---|
//! | payment cards | 13 to 19 digits, first 2 to 6, Luhn; in groups of three or more, or all of one size |
//! | bank accounts | IBAN: mod 97, in one piece or in groups of four |
//! | one-time codes | 4 to 8 digits near a word for them, in twenty languages or so; CVV likewise |
//! | passwords | what stands behind `password:`, `pwd =`, `mot de passe :`, `https://user:` … |
//! | keys | `Bearer …`, JWTs, tokens with a known prefix (`sk-`, `ghp_`, `AKIA` …), PEM private keys |
//!
//! A false alarm costs little: one number less to learn from. It is a net for obvious shapes, not a
//! proof: a password in the middle of a sentence looks like any word.
//!
//! Time is linear in the text: every rule looks a bounded number of characters back and ahead,
//! which `tests.rs` counts.

mod code;
mod key;
mod number;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

use scan::Text;

use crate::signal::Signal;

/// What stands in the place of a secret.
pub const PRIVATE: &str = "[private]";

/// Characters of the text before that can say what a number is: "Your code is" … "482913".
const CONTEXT: usize = 64;

/// Looks at one text: taking one secret out may bring a number nearer to a word for codes.
const PASSES: usize = 6;

/// The text without its secrets. Doing it again changes nothing.
pub fn redact(text: &str) -> Cow<'_, str> {
    redact_after("", text)
}

/// As [`redact`], for a text that follows another one: a bare number may answer the question for
/// a code.
pub fn redact_after<'t>(before: &str, text: &'t str) -> Cow<'t, str> {
    let mut clean = Cow::Borrowed(text);
    for _ in 0..PASSES {
        match once(before, &clean) {
            Some(cleaner) => clean = Cow::Owned(cleaner),
            None => return clean,
        }
    }
    // Made to be never done with: then nothing of it is kept.
    Cow::Borrowed(PRIVATE)
}

/// The text without the secrets that are seen now; `None` if there are none.
fn once(before: &str, text: &str) -> Option<String> {
    let joined = format!("{}\n{text}", tail(before));
    let start = joined.len() - text.len();
    let (mut out, mut done) = (String::new(), 0);
    for span in around_placeholders(&joined, spans(&Text::new(&joined))) {
        // What belongs to the text before is not ours.
        if span.end > start {
            out.push_str(&text[done..span.start.max(start) - start]);
            out.push_str(PRIVATE);
            done = span.end - start;
        }
    }
    (done > 0).then(|| out + &text[done..])
}

/// Whether something was taken out of a text.
pub fn is_redacted(text: &str) -> bool {
    text.contains(PRIVATE)
}

impl Signal {
    /// The user changed the reply, and what they made of it is nobody's business: that there was an
    /// edit is kept, and not a letter of it.
    pub fn edited_privately() -> Signal {
        Signal::Edited { text: PRIVATE.to_owned() }
    }
}

/// The last characters of a text.
fn tail(text: &str) -> &str {
    let from = text.char_indices().rev().nth(CONTEXT - 1).map_or(0, |(at, _)| at);
    &text[from..]
}

/// Where the secrets are, in bytes: sorted, apart from each other, at whole characters.
fn spans(text: &Text) -> Vec<Range<usize>> {
    let mut found = number::spans(text);
    found.extend(key::spans(text));
    found.extend(code::spans(text));
    found.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for span in found {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged.into_iter().map(|span| text.bytes(span)).collect()
}

/// The spans with the whole of every placeholder that they touch: a rule may stop inside one.
/// One that is nothing else is no secret.
fn around_placeholders(text: &str, mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    for (start, _) in text.match_indices(PRIVATE) {
        let end = start + PRIVATE.len();
        let first = spans.partition_point(|span| span.end <= start);
        let last = spans.partition_point(|span| span.start < end);
        if first < last {
            let around = spans[first].start.min(start)..spans[last - 1].end.max(end);
            spans.splice(first..last, [around]);
        }
    }
    spans.retain(|span| text[span.clone()] != *PRIVATE);
    spans
}

#[cfg(test)]
mod tests;
