//! What texts must say, and what they must not.

use crate::source::Source;
use crate::tree::{RULES, nothing, sources, texts};

/// Marks of what is not finished.
const UNFINISHED: [&str; 6] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX", "TODO"];

/// What a reader of the repository doesn't have, put together so that not even this names it.
const UNSEEN: [&str; 2] = [concat!("hand", "book"), concat!("Hand", "book")];

fn undocumented(sources: &[Source]) -> Vec<String> {
    let documented = |text: &str| {
        let mut lines = text.lines().filter(|l| !l.trim().is_empty());
        lines.find(|l| !l.starts_with("#!")).is_some_and(|l| l.starts_with("//!"))
    };
    let without = sources.iter().filter(|source| !documented(&source.text));
    without.map(|source| format!("{}: no module documentation", source.path)).collect()
}

fn containing(texts: &[(String, String)], marks: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| !path.starts_with(RULES)) {
        for (n, line) in text.lines().enumerate() {
            let found = marks.iter().filter(|mark| line.contains(*mark));
            complaints.extend(found.map(|mark| format!("{path}:{}: {mark}", n + 1)));
        }
    }
    complaints
}

#[test]
fn every_module_says_what_it_is() {
    nothing(undocumented(sources()));
}

#[test]
fn nothing_is_left_unfinished() {
    nothing(containing(&texts(&["rs"]), &UNFINISHED));
}

#[test]
fn nothing_is_named_that_a_reader_cannot_see() {
    let all = ["rs", "md", "wgsl", "toml", "sh", "py", "c", "h", "kt", "swift"];
    nothing(containing(&texts(&all), &UNSEEN));
}

#[test]
fn a_planted_module_without_documentation_is_noticed() {
    let planted = |text| [Source::new("a.rs", text)];
    assert_eq!(undocumented(&planted("use b;\n//! Late.")), ["a.rs: no module documentation"]);
    assert!(undocumented(&planted("#![allow(c)]\n\n//! What it is.")).is_empty());
}

#[test]
fn planted_marks_and_names_are_noticed() {
    let text = format!("fn f() {{\n    todo!()\n}}\n// As the {} says.", UNSEEN[0]);
    let planted = [("a.rs".to_owned(), text)];
    assert_eq!(containing(&planted, &UNFINISHED), ["a.rs:2: todo!("]);
    assert_eq!(containing(&planted, &UNSEEN), [format!("a.rs:4: {}", UNSEEN[0])]);
}
