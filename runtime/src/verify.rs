//! Checks on generated text that need no judge: a text passes or it does not.
//!
//! The gate's verifier suites, the must-pass list and the probation watch use them. A failure
//! says which rule broke and by how much, and never quotes the text.

/// One rule for a generated text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Equal to this, but for white space around it.
    Exact(String),
    /// Has this somewhere.
    Contains(String),
    /// Has this nowhere.
    NotContains(String),
    /// At most this many characters (Unicode scalar values).
    MaxChars(usize),
    /// One JSON object and nothing else, with exactly these keys in any order.
    Json {
        /// The keys.
        keys: Vec<String>,
    },
    /// Does not run in circles: see [`is_degenerate`].
    NotDegenerate,
}

/// Why a text did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// [`Check::Exact`]: the texts part at this character.
    #[error("differs from the expected text at character {at}")]
    Differs {
        /// Index of the first character that differs, after trimming.
        at: usize,
    },
    /// [`Check::Contains`].
    #[error("lacks a required text")]
    Lacks,
    /// [`Check::NotContains`].
    #[error("has a forbidden text at byte {at}")]
    Forbidden {
        /// Byte offset.
        at: usize,
    },
    /// [`Check::MaxChars`].
    #[error("{chars} characters, at most {max} allowed")]
    TooLong {
        /// Length of the text.
        chars: usize,
        /// The limit.
        max: usize,
    },
    /// [`Check::Json`]: not one JSON object.
    #[error("is not one JSON object (line {line}, column {column})")]
    NotAnObject {
        /// Line where parsing stopped, from 1; 0 when the value is valid but no object.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// [`Check::Json`]: other keys than asked for.
    #[error("{missing} keys are missing and {extra} were not asked for")]
    Keys {
        /// How many are missing.
        missing: usize,
        /// How many are too many.
        extra: usize,
    },
    /// [`Check::NotDegenerate`].
    #[error("repeats itself without end")]
    Degenerate,
}

impl Check {
    /// Tests one text.
    pub fn verify(&self, text: &str) -> Result<(), Failure> {
        let holds = |good: bool, failure: Failure| if good { Ok(()) } else { Err(failure) };
        match self {
            Check::Exact(want) => {
                let (got, want) = (text.trim(), want.trim());
                let same = got.chars().zip(want.chars()).take_while(|(a, b)| a == b).count();
                holds(got == want, Failure::Differs { at: same })
            }
            Check::Contains(part) => holds(text.contains(part.as_str()), Failure::Lacks),
            Check::NotContains(part) => match text.find(part.as_str()) {
                None => Ok(()),
                Some(at) => Err(Failure::Forbidden { at }),
            },
            Check::MaxChars(max) => {
                let chars = text.chars().count();
                holds(chars <= *max, Failure::TooLong { chars, max: *max })
            }
            Check::Json { keys } => verify_json(text, keys),
            Check::NotDegenerate => holds(!is_degenerate(text), Failure::Degenerate),
        }
    }
}

fn verify_json(text: &str, keys: &[String]) -> Result<(), Failure> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Failure::NotAnObject { line: e.line(), column: e.column() })?;
    let object = value.as_object().ok_or(Failure::NotAnObject { line: 0, column: 0 })?;
    let missing = keys.iter().filter(|k| !object.contains_key(*k)).count();
    let extra = object.keys().filter(|k| !keys.contains(k)).count();
    if missing == 0 && extra == 0 { Ok(()) } else { Err(Failure::Keys { missing, extra }) }
}

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
    fn each_rule_passes_and_fails_where_it_should() {
        let json = Check::Json { keys: vec!["id".into(), "city".into()] };
        let cases = [
            (Check::Exact("Yes.".into()), " Yes.\n", Ok(())),
            (Check::Exact("Yes.".into()), "Yesterday", Err(Failure::Differs { at: 3 })),
            (Check::Contains("km".into()), "12 km", Ok(())),
            (Check::Contains("km".into()), "12 miles", Err(Failure::Lacks)),
            (Check::NotContains("sorry".into()), "Of course", Ok(())),
            (Check::NotContains("sorry".into()), "so sorry", Err(Failure::Forbidden { at: 3 })),
            (Check::MaxChars(3), "äöü", Ok(())),
            (Check::MaxChars(3), "äöüß", Err(Failure::TooLong { chars: 4, max: 3 })),
            (json.clone(), " {\"city\":\"Bern\",\"id\":[1,2]} ", Ok(())),
            (json.clone(), "{\"id\":1,\"x\":2}", Err(Failure::Keys { missing: 1, extra: 1 })),
            (json.clone(), "[1]", Err(Failure::NotAnObject { line: 0, column: 0 })),
            (json, "{\"id\":1} and", Err(Failure::NotAnObject { line: 1, column: 10 })),
            (Check::NotDegenerate, "A short, sane reply.", Ok(())),
        ];
        for (check, text, want) in cases {
            assert_eq!(check.verify(text), want, "{check:?} on {text:?}");
        }
    }

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
