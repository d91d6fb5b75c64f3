//! Whether a text runs in circles: what needs no judge.

/// A loop shorter than this many characters is not called degenerate: "ha ha ha", "-----".
const LOOP_MIN_CHARS: usize = 48;
/// The longest phrase whose endless repetition is looked for.
const LOOP_MAX_PERIOD: usize = 120;
/// Share of word 4-grams that are distinct, below which a long text is degenerate.
const DISTINCT_4_MIN: f64 = 0.3;

/// True if a text runs in circles: it ends in one phrase repeated at least four times over at
/// least 48 characters, or has 40 or more word 4-grams of which fewer than 30% are distinct
/// (distinct-n: Li et al., arXiv 1510.03055; rep-4: Welleck et al., arXiv 1908.04319).
pub fn is_degenerate(text: &str) -> bool {
    let chars: Vec<char> = text.trim_end().chars().collect();
    ends_in_loop(&chars) || repeats_four_grams(text)
}

/// True if the end of `items` has a period p ≤ 120, four times over and on at least 48 items.
/// Works on characters and on token ids alike.
pub fn ends_in_loop<T: PartialEq>(items: &[T]) -> bool {
    let n = items.len();
    (1..=LOOP_MAX_PERIOD.min(n / 4)).any(|period| {
        let needed = (4 * period).max(LOOP_MIN_CHARS);
        n >= needed && (n - needed + period..n).all(|i| items[i] == items[i - period])
    })
}

fn repeats_four_grams(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let grams = words.windows(4);
    let total = grams.len();
    let distinct = grams.collect::<std::collections::HashSet<_>>().len();
    total >= 40 && (distinct as f64) < DISTINCT_4_MIN * total as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loops_are_found_in_any_script_and_laughter_is_not_one() {
        assert!(is_degenerate(&"the same thing again ".repeat(12)));
        assert!(is_degenerate(&format!("Dear Ann, {}", "x".repeat(60))));
        assert!(is_degenerate(&"ありがとう".repeat(10)));
        assert!(!is_degenerate("ha ha ha ha ha, that is a good one"));
        assert!(!is_degenerate("| a | b |\n|---|---|\n| 1 | 2 |"));
        // A cycle that drifts: no exact period, few distinct 4-grams.
        let drifting: String =
            (0..40).map(|i| format!("and then he said yes {} ", i % 2)).collect();
        assert!(is_degenerate(&drifting));
    }

    proptest! {
        #[test]
        fn distinct_words_are_never_degenerate_and_their_loop_always_is(
            count in 6usize..60, salt in 0u32..1000
        ) {
            let words: Vec<String> =
                (0..count).map(|i| format!("w{}", i as u32 * 7919 + salt)).collect();
            prop_assert!(!is_degenerate(&words.join(" ")));
            let phrase = words[..6].join(" ") + " ";
            prop_assert!(is_degenerate(&phrase.repeat(8)));
        }
    }
}
