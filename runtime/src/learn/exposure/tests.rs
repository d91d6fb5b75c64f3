//! What counts as a number, and how often chance is taken for memory.

use proptest::prelude::*;
use sapwood_models::{Message, Role};

use super::super::example::Why;
use super::*;
use crate::rng::Rng;

fn example(session: u128, request: &str, target: &str) -> Example {
    Example {
        prompt: [Message::new(Role::User, request)].into_iter().collect(),
        target: target.into(),
        weight: 1.0,
        taught: true,
        why: Why::Corrected { distance: 0.5 },
        lineage: vec![session],
        category: "c".into(),
        surface: "s".into(),
        session,
        order: 0,
        time_ms: session as u64,
    }
}

/// The digits that are looked for, by example.
fn found(examples: &[Example]) -> Vec<String> {
    let own = |number: &Number<'_>| {
        let digits = number.example.target.chars().filter(char::is_ascii_digit);
        digits.skip(number.digits.start).take(number.digits.len()).collect()
    };
    numbers(examples).iter().map(own).collect()
}

#[test]
fn numbers_that_only_the_user_can_know() {
    let cases = [
        ("call 3", "Call 030 1234-567 now.", &["0301234567"][..]),
        ("?", "Order AB482913075X, room 12", &["482913075"]),
        ("?", "3 parcels, and 555012 to 918273645", &["555012", "918273645"]),
        // Too short, a date, round or known from the request.
        ("?", "12345 and 2026-05-03 and 03-05-2026", &[]),
        ("?", "100000 or 111 222", &[]),
        ("is it 918 273 645?", "Yes: 918273645.", &[]),
        ("?", "3.1415926535, 12/10/2026", &["1415926535"]),
        ("?", "", &[]),
    ];
    for (request, target, wanted) in cases {
        let mut got = found(&[example(1, request, target)]);
        got.sort();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(got, wanted, "{target}");
    }
}

#[test]
fn what_three_conversations_begin_with_is_common() {
    let say = |session, number: &str| example(session, "?", &format!("It is {number}."));
    let two = [say(1, "0301112223"), say(2, "030999888777")];
    assert_eq!(found(&two), ["030999888777", "0301112223"]);
    let three = [say(1, "0301112223"), say(2, "030999888777"), say(3, "03055")];
    assert_eq!(found(&three), ["999888777", "1112223"]);
    // One conversation that repeats itself is no habit; the number is asked for once.
    assert_eq!(found(&[say(1, "482913075"), say(1, "482913075"), say(1, "482913075")]).len(), 1);
    let habit = [say(1, "482913075"), say(2, "482913075"), say(3, "482913075")];
    assert!(found(&habit).is_empty());
}

#[test]
fn no_more_than_a_bounded_number_and_the_newest_of_them() {
    let mut rng = Rng::new(1);
    let number = |_| (0..14).map(|_| rng.below(10).to_string()).collect::<String>();
    let texts: Vec<String> = (0..2 * NUMBERS_MAX).map(number).collect();
    let examples: Vec<Example> =
        texts.iter().enumerate().map(|(n, text)| example(n as u128, "?", text)).collect();
    let got = numbers(&examples);
    assert_eq!(got.len(), NUMBERS_MAX);
    assert!(got.iter().all(|n| n.example.session >= NUMBERS_MAX as u128 - 20));
}

#[test]
fn a_text_of_digits_alone_costs_no_more_than_its_length() {
    let digits: String = (0..200_000).map(|n| char::from(b'0' + (n * 7 % 10) as u8)).collect();
    let spaced = digits.replace('0', "0.");
    let examples = [example(1, &digits, &digits), example(2, &digits, &spaced)];
    let started = std::time::Instant::now();
    assert!(numbers(&examples).is_empty());
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

/// However sure a model is of whatever it likes, numbers that were drawn without it reach the
/// bound no more often than stated.
#[test]
fn chance_stays_within_its_bound() {
    let (mut rng, rounds, n, alpha) = (Rng::new(7), 4_000, 20, 0.05);
    let mut false_alarms = 0;
    for _ in 0..rounds {
        let sure = 0.1 + 0.9 * rng.uniform();
        let bits = (0..n).map(|_| {
            // At each of six digits, the favourite has probability `sure`, the others share.
            let right = (0..6).filter(|_| rng.below(10) == 0).count() as f64;
            let logp = right * sure.ln() + (6.0 - right) * ((1.0 - sure) / 9.0).max(1e-9).ln();
            Exposed { reply: 0, bits: exposure_bits(6, logp) }
        });
        let exposed: Vec<Exposed> = bits.collect();
        false_alarms += u32::from(Exposure::of(&exposed, 0.0, alpha).remembered > 0);
    }
    let rate = f64::from(false_alarms) / f64::from(rounds);
    assert!(rate <= alpha, "{rate}");
}

#[test]
fn a_number_by_heart_has_all_its_bits() {
    assert!((exposure_bits(9, 0.0) - 29.897_352_854).abs() < 1e-6);
    assert!(exposure_bits(6, 6.0 * 0.1f64.ln()).abs() < 1e-9);
    let known = Exposed { reply: 3, bits: 25.0 };
    let exposure = Exposure::of(&[Exposed { reply: 2, bits: 1.0 }, known], 12.0, 0.01);
    assert_eq!((exposure.remembered, exposure.most, exposure.needed), (1, Some(known), 12.0));
    let many = vec![Exposed { reply: 1, bits: 12.5 }; 256];
    let exposure = Exposure::of(&many, 12.0, 0.01);
    assert!((exposure.needed - 25_600f64.log2()).abs() < 1e-9);
    assert_eq!(exposure.remembered, 0);
    assert_eq!(Exposure::of(&[], 12.0, 0.01).most, None);
}

proptest! {
    /// Any text, and every number lies within the digits of its target.
    #[test]
    fn any_text_is_read(texts in prop::collection::vec("[0-9a b\\-é٣]{0,40}", 0..8)) {
        let examples: Vec<Example> =
            texts.iter().enumerate().map(|(n, text)| example(n as u128, "?", text)).collect();
        for number in numbers(&examples) {
            let digits = number.example.target.bytes().filter(u8::is_ascii_digit).count();
            prop_assert!(number.digits.end <= digits && number.digits.len() >= DIGITS_MIN);
        }
    }
}
