//! Payment cards and bank accounts: numbers with a check digit.

use std::ops::Range;

use super::scan::Text;

/// Digits of a card number (ISO/IEC 7812).
const CARD: std::ops::RangeInclusive<usize> = 13..=19;
/// Characters of an IBAN (ISO 13616).
const IBAN: std::ops::RangeInclusive<usize> = 15..=34;

/// Card numbers and IBANs.
pub fn spans(text: &Text) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let starts = text.get(at).is_ascii_alphanumeric() && !text.before(at).is_alphanumeric();
        match starts.then(|| card(text, at).or_else(|| iban(text, at))).flatten() {
            Some(end) => {
                found.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    found
}

/// The end of the longest card number that starts here. It begins and ends where groups of digits
/// do, so no part of a longer number is one.
fn card(text: &Text, start: usize) -> Option<usize> {
    if !matches!(text.get(start), '2'..='6') {
        return None;
    }
    let (mut digits, mut sizes, mut best) = (Vec::new(), Vec::new(), None);
    let mut at = start;
    loop {
        let end = text.skip(at, CARD.end() + 1, |c| c.is_ascii_digit());
        sizes.push(end - at);
        digits.extend((at..end).filter_map(|i| text.get(i).to_digit(10)));
        if end == at || digits.len() > *CARD.end() {
            return best;
        }
        if CARD.contains(&digits.len())
            && grouped(&sizes)
            && luhn(&digits)
            && !text.get(end).is_alphanumeric()
        {
            best = Some(end);
        }
        if !matches!(text.get(end), ' ' | '-') {
            return best;
        }
        at = end + 1;
    }
}

/// Whether digits are grouped as on a card (three or more together, but for the last ones), or
/// spelled out one by one. A column of figures is neither.
fn grouped(sizes: &[usize]) -> bool {
    let whole = &sizes[..sizes.len() - 1];
    whole.iter().all(|size| *size >= 3) || sizes.iter().all(|size| *size == 1)
}

/// Luhn's sum over the digits, from the right, is a multiple of ten.
fn luhn(digits: &[u32]) -> bool {
    let twice = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
    let digits = digits.iter().rev().enumerate();
    let sum: u32 = digits.map(|(i, &d)| if i % 2 == 1 { twice(d) } else { d }).sum();
    sum.is_multiple_of(10)
}

/// The end of the longest IBAN that starts here: two letters, two digits, and the account, in one
/// piece or in groups of four.
fn iban(text: &Text, start: usize) -> Option<usize> {
    let head: Vec<u32> = (start..start + 4).filter_map(|i| text.get(i).to_digit(36)).collect();
    let letters = head.iter().take(2).filter(|value| **value >= 10).count();
    if head.len() < 4 || letters < 2 || head[2] > 9 || head[3] > 9 {
        return None;
    }
    let (mut rest, mut length, mut at, mut best) = (0, 4, start + 4, None);
    let mut since_space = 4;
    loop {
        let c = text.get(at);
        if let Some(value) = c.to_digit(36).filter(|_| length < *IBAN.end()) {
            rest = append(rest, value);
            (length, at, since_space) = (length + 1, at + 1, since_space + 1);
            continue;
        }
        let whole = head.iter().fold(rest, |rest, value| append(rest, *value));
        if IBAN.contains(&length) && whole == 1 && !c.is_alphanumeric() {
            best = Some(at);
        }
        if c != ' ' || since_space != 4 || !text.get(at + 1).is_ascii_alphanumeric() {
            return best;
        }
        (at, since_space) = (at + 1, 0);
    }
}

/// The rest mod 97 of a number with `value` behind it: letters count two digits.
fn append(rest: u32, value: u32) -> u32 {
    (rest * if value >= 10 { 100 } else { 10 } + value) % 97
}
