//! Comparing texts without a model: edit distance, words, overlap.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Texts longer than this, after the common ends are cut off, are compared by words.
const CHAR_DISTANCE_MAX: usize = 4096;

/// Levenshtein distance divided by the longer length, in 0..=1; 0 for two empty texts.
///
/// Counted in characters. When what remains between the common ends is longer than 4096
/// characters it is counted in words, which bounds the time and changes the value little.
pub fn distance(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let longer = a.len().max(b.len());
    if longer == 0 {
        return 0.0;
    }
    let (core_a, core_b) = trim_common(&a, &b);
    let core = core_a.len().max(core_b.len());
    if core <= CHAR_DISTANCE_MAX {
        return levenshtein(core_a, core_b) as f64 / longer as f64;
    }
    let split = |chars: &[char]| -> Vec<String> {
        chars.iter().collect::<String>().split_whitespace().map(String::from).collect()
    };
    let (words_a, words_b) = (split(core_a), split(core_b));
    let edits = levenshtein(&words_a, &words_b) as f64;
    edits / words_a.len().max(words_b.len()).max(1) as f64 * (core as f64 / longer as f64)
}

fn trim_common<'a, T: PartialEq>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[head..], &b[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    (&a[..a.len() - tail], &b[..b.len() - tail])
}

/// Sixty-four rows of the table of Wagner and Fischer at a time: Myers, "A fast bit-vector algorithm
/// for approximate string matching" (1999), in blocks as by Hyyrö (2003).
fn levenshtein<T: Eq + Hash>(a: &[T], b: &[T]) -> usize {
    let (rows, columns) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let Some(last) = rows.len().checked_sub(1) else { return columns.len() };
    let blocks = rows.len().div_ceil(64);
    let mut equal: HashMap<&T, Vec<u64>> = HashMap::new();
    for (i, x) in rows.iter().enumerate() {
        equal.entry(x).or_insert_with(|| vec![0; blocks])[i / 64] |= 1 << (i % 64);
    }
    let none = vec![0; blocks];
    // Vertical differences: where the table grows by one downwards, and where it shrinks.
    let mut vertical = vec![(u64::MAX, 0u64); blocks];
    let mut distance = rows.len();
    for y in columns {
        let equal = equal.get(y).unwrap_or(&none);
        // Horizontal differences that come in from the block above; the first row grows.
        let (mut grows, mut shrinks) = (1, 0);
        for (block, (up, down)) in vertical.iter_mut().enumerate() {
            let same = equal[block];
            let x_vertical = same | *down;
            let same = same | shrinks;
            let x_horizontal = ((same & *up).wrapping_add(*up) ^ *up) | same;
            let growing = *down | !(x_horizontal | *up);
            let shrinking = *up & x_horizontal;
            if block == last / 64 {
                distance += (growing >> (last % 64) & 1) as usize;
                distance -= (shrinking >> (last % 64) & 1) as usize;
            }
            let (below_grows, below_shrinks) = (growing >> 63, shrinking >> 63);
            let (growing, shrinking) = (growing << 1 | grows, shrinking << 1 | shrinks);
            (*up, *down) = (shrinking | !(x_vertical | growing), growing & x_vertical);
            (grows, shrinks) = (below_grows, below_shrinks);
        }
    }
    distance
}

/// Lower-case words: runs of letters and digits; an ideograph or a kana is a word by itself.
pub fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for c in text.chars() {
        let alone = matches!(u32::from(c), 0x2e80..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff);
        if !c.is_alphanumeric() {
            open = false;
        } else if let (true, false, Some(word)) = (open, alone, out.last_mut()) {
            word.extend(c.to_lowercase());
        } else {
            out.push(c.to_lowercase().collect());
            open = !alone;
        }
    }
    out
}

/// Words joined by one space: equal for texts that differ in case, punctuation and spacing only.
pub fn normalised(text: &str) -> String {
    words(text).join(" ")
}

/// Share of the words of either text that both have; 1 for two texts without words.
pub fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b): (HashSet<_>, HashSet<_>) =
        (words(a).into_iter().collect(), words(b).into_iter().collect());
    let union = a.union(&b).count();
    if union == 0 { 1.0 } else { a.intersection(&b).count() as f64 / union as f64 }
}

/// Share of the content words of `new` that none of `known` has: u of the rephrase rule. A content
/// word has four letters or more, or a digit, or is an ideograph.
pub fn unshared(new: &str, known: &[&str]) -> f64 {
    let content = |w: &String| {
        w.chars().count() >= 4 || w.chars().any(|c| c.is_numeric() || u32::from(c) >= 0x2e80)
    };
    let new: HashSet<String> = words(new).into_iter().filter(content).collect();
    let known: HashSet<String> = known.iter().flat_map(|text| words(text)).collect();
    if new.is_empty() { 0.0 } else { new.difference(&known).count() as f64 / new.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The recursive definition.
    fn definition(a: &[char], b: &[char]) -> usize {
        match (a, b) {
            ([], rest) | (rest, []) => rest.len(),
            ([x, a2 @ ..], [y, b2 @ ..]) => (definition(a2, b2) + usize::from(x != y))
                .min(definition(a2, b) + 1)
                .min(definition(a, b2) + 1),
        }
    }

    proptest! {
        #[test]
        fn distance_is_the_definition(a in "[ab ]{0,6}", b in "[ab ]{0,6}") {
            let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let longer = x.len().max(y.len()).max(1);
            prop_assert_eq!(distance(&a, &b), definition(&x, &y) as f64 / longer as f64);
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
        }
    }

    /// Wagner and Fischer with one row.
    fn row_by_row(a: &[char], b: &[char]) -> usize {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut diagonal = std::mem::replace(&mut row[0], i + 1);
            for (j, y) in b.iter().enumerate() {
                let substituted = diagonal + usize::from(x != y);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn many_rows_at_a_time_are_the_rows_one_by_one(
            a in "[abc]{0,200}", b in "[abc]{0,200}", cut in 0usize..200,
        ) {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(levenshtein(&a, &b), row_by_row(&a, &b));
            // Most edits leave most of a text as it is.
            let mut edited = a.clone();
            edited.splice(cut.min(a.len()).., b.iter().copied().take(9));
            prop_assert_eq!(levenshtein(&a, &edited), row_by_row(&a, &edited));
        }
    }

    #[test]
    fn long_texts_are_compared_by_words_and_stay_in_range() {
        let a: String = (0..3000).map(|i| format!("word{i} ")).collect();
        let b = a.replace("word1 ", "other ").replace("word2998 ", "other ");
        let d = distance(&a, &b);
        assert!(d > 0.0 && d < 0.01, "{d}");
        assert!(distance(&a, &"zzz ".repeat(3000)) > 0.9);
    }

    #[test]
    fn words_cross_scripts() {
        assert_eq!(words("Don't  SHOUT, 3-times"), ["don", "t", "shout", "3", "times"]);
        assert_eq!(words("ab東京c"), ["ab", "東", "京", "c"]);
        assert_eq!(jaccard("send the mail", "the mail, SEND!"), 1.0);
        assert_eq!(unshared("move meeting to friday", &["move the meeting", "when"]), 1.0 / 3.0);
    }
}
