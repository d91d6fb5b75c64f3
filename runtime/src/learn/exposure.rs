//! Numbers that a candidate must not have learned by heart: what the user wrote once that nobody
//! could guess, and how surely the model can repeat it.
//!
//! **What is measured.** Exposure is log2 R − log2 rank (Carlini et al., "The Secret Sharer", 2019):
//! R values are possible, and the model finds `rank` of them at least as likely as the true one. At
//! most 1/p values can have probability p or more, so the rank is at most 1/p, and exposure is *at
//! least* log2(R p). That takes one look at the model, no sample and no fitted distribution.
//!
//! **False alarms.** For a number that was drawn without regard to the model, R p has mean 1 at
//! most: by Markov's inequality log2(R p) reaches b with probability 2^-b at most, however the model
//! came about. With n numbers, b = log2(n / alpha) keeps all of them together within alpha. What
//! nobody drew is left out: what three conversations begin in the same way counts as common from
//! there on, dates and numbers of two different digits don't count at all, and p is divided by what
//! the base model gives the number where that is more than 1 / R (it knows 123456).
//!
//! Names and words are not measured: there is no set of equally likely ones to rank them in.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::example::Example;

/// With fewer digits than these the rest of a number is no secret that a bound could show.
pub const DIGITS_MIN: usize = 6;
/// A beginning that so many conversations have is their common wording.
const COMMON: usize = 3;
/// Digits of a beginning, at most.
const BEGINNING_MAX: usize = 32;
/// Most numbers that one candidate is asked for; each is a forward pass.
const NUMBERS_MAX: usize = 256;

/// A number that a candidate may have learned by heart.
#[derive(Debug, Clone, PartialEq)]
pub struct Number<'a> {
    /// Where the user wrote it.
    pub example: &'a Example,
    /// Which of the digits in the example's target are its own.
    pub digits: Range<usize>,
}

/// What a candidate gives away of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposed {
    /// The reply that the user changed: what "forget this" takes.
    pub reply: u128,
    /// Bits of exposure, at least.
    pub bits: f64,
}

/// Bits of exposure at least, of `digits` decimal digits to which a model gives this log-probability
/// (in nats).
pub fn exposure_bits(digits: usize, logp: f64) -> f64 {
    digits as f64 * 10f64.log2() + logp / std::f64::consts::LN_2
}

/// The numbers in what is trained on that only the user can know, the newest first.
pub fn numbers(trained: &[Example]) -> Vec<Number<'_>> {
    let written: Vec<Vec<Written>> = trained.iter().map(|e| written(&e.target)).collect();
    let mut beginnings: HashMap<&str, BTreeSet<u128>> = HashMap::new();
    for (example, numbers) in trained.iter().zip(&written) {
        for digits in numbers.iter().map(|number| number.digits.as_str()) {
            for end in 1..=digits.len().min(BEGINNING_MAX) {
                beginnings.entry(&digits[..end]).or_default().insert(example.session);
            }
        }
    }
    let common = |digits: &str| {
        let shared = |end: &usize| beginnings[&digits[..*end]].len() >= COMMON;
        (1..=digits.len().min(BEGINNING_MAX)).take_while(shared).last().unwrap_or(0)
    };
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (example, numbers) in trained.iter().zip(&written).rev() {
        let asked = asked(example);
        for number in numbers {
            let own = common(&number.digits);
            let rest = &number.digits[own..];
            let different = rest.bytes().collect::<BTreeSet<u8>>().len();
            let secret = rest.len() >= DIGITS_MIN && different > 2;
            if found.len() < NUMBERS_MAX
                && secret
                && !asked.contains(rest)
                && seen.insert(number.digits.as_str())
            {
                let digits = number.first + own..number.first + number.digits.len();
                found.push(Number { example, digits });
            }
        }
    }
    found
}

/// All digits that the model was shown before it had to answer.
fn asked(example: &Example) -> String {
    let system = example.prompt.system().unwrap_or_default();
    let recent = example.prompt.end(SHOWN_BYTES);
    let shown = recent.iter().flat_map(|message| message.content.chars());
    system.chars().chain(shown).filter(char::is_ascii_digit).collect()
}

/// Of a conversation: more than any context of a model on a device holds.
const SHOWN_BYTES: usize = 256 << 10;

/// A number as it stands in a text.
struct Written {
    /// Which of the text's digits is its first.
    first: usize,
    digits: String,
}

/// Digits in one piece, or in groups with a space or a hyphen between them; no dates.
fn written(text: &str) -> Vec<Written> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut found, mut at, mut passed) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let (mut digits, mut groups) = (String::new(), vec![0]);
        loop {
            if digit(at) {
                digits.push(char::from(bytes[at]));
                groups.last_mut().into_iter().for_each(|size| *size += 1);
            } else if matches!(bytes.get(at), Some(b' ' | b'-')) && digit(at + 1) {
                groups.push(0);
            } else {
                break;
            }
            at += 1;
        }
        let (first, length) = (passed, digits.len());
        passed += length;
        if !matches!(groups[..], [4, 2, 2] | [2, 2, 4]) {
            found.push(Written { first, digits });
        }
    }
    found
}

/// What a candidate gives away, over all numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// Numbers that it was asked for.
    pub numbers: u32,
    /// How many of them it remembers.
    pub remembered: u32,
    /// The one that it gives away most of.
    pub most: Option<Exposed>,
    /// Bits from which on a number counts as remembered.
    pub needed: f64,
}

impl Exposure {
    /// `least` bits count as remembering, and more where chance would reach that.
    pub fn of(exposed: &[Exposed], least: f64, alpha: f64) -> Exposure {
        let needed = (exposed.len() as f64 / alpha).log2().max(least);
        let most = exposed.iter().max_by(|a, b| a.bits.total_cmp(&b.bits));
        Exposure {
            numbers: exposed.len() as u32,
            remembered: exposed.iter().filter(|e| e.bits >= needed).count() as u32,
            most: most.copied(),
            needed,
        }
    }
}

#[cfg(test)]
mod tests;
