//! How long lines, functions and files may grow. CONTRIBUTING.md states the same figures.

use std::fs;

use crate::source::{Function, Source, functions};
use crate::tree::{nothing, root, sources};

/// Longest line of code, and longest line at all: rustfmt does not break texts and comments.
const MAX_COLUMNS: usize = 100;
const MAX_TEXT_COLUMNS: usize = 140;
/// Most lines of a file, its tests included.
const MAX_LINES: usize = 700;
/// Most lines of a function, from its name to its last brace; a test is one, too.
const MAX_FUNCTION_LINES: usize = 70;

/// Functions that are longer, with as many lines as they have. An entry only ever shrinks.
const LONG: [(&str, &str, usize); 2] = [
    // One arm a kernel: which files it is put together from, and what it is tried on.
    ("kernels/src/gpu/shader.rs", "source", 129),
    ("kernels/src/gpu/selftest/trials.rs", "one", 112),
];

/// Functions that are one list of cases, and longer for every case that is found.
const LISTS: [(&str, &str); 5] = [
    ("tests/hostile/adapters.rs", "cases"),
    ("tests/hostile/containers.rs", "cases"),
    ("tests/hostile/models.rs", "cases"),
    ("tests/hostile/tensors.rs", "cases"),
    ("tests/hostile/vocabularies.rs", "cases"),
];

fn long_lines(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (line, text, _) in source.lines() {
            let columns = text.chars().count();
            let unbroken = text.contains('"') || text.trim_start().starts_with("//");
            if columns > if unbroken { MAX_TEXT_COLUMNS } else { MAX_COLUMNS } {
                complaints.push(format!("{}:{line}: {columns} columns", source.path));
            }
        }
    }
    complaints
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let lines = sources.iter().map(|source| (&source.path, source.text.lines().count()));
    let long = lines.filter(|&(_, lines)| lines > MAX_LINES);
    long.map(|(path, lines)| format!("{path}: {lines} lines")).collect()
}

fn long_functions(
    sources: &[Source],
    long: &[(&str, &str, usize)],
    lists: &[(&str, &str)],
) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut found = Vec::new();
    for source in sources {
        for function in functions(&source.code) {
            let place = (source.path.as_str(), function.name);
            if function.lines <= MAX_FUNCTION_LINES || lists.contains(&place) {
                found.extend((function.lines > MAX_FUNCTION_LINES).then_some(place));
                continue;
            }
            found.push(place);
            let (path, name) = place;
            let Function { line, lines, .. } = function;
            match long.iter().find(|(p, n, _)| (*p, *n) == place) {
                Some((.., listed)) if *listed == lines => {}
                Some((.., listed)) if *listed > lines => {
                    complaints.push(format!(
                        "{path}:{line}: {name} is down to {lines} lines: list it so"
                    ));
                }
                _ => complaints.push(format!("{path}:{line}: {name} has {lines} lines")),
            }
        }
    }
    let listed = long.iter().map(|&(path, name, _)| (path, name)).chain(lists.iter().copied());
    let stale = listed.filter(|place| !found.contains(place));
    complaints
        .extend(stale.map(|(path, name)| format!("{path}: {name} is listed as long, is not")));
    complaints
}

#[test]
fn lines_stay_readable() {
    nothing(long_lines(sources()));
}

#[test]
fn files_stay_short() {
    nothing(long_files(sources()));
}

#[test]
fn functions_stay_short() {
    nothing(long_functions(sources(), &LONG, &LISTS));
}

/// The sentence about the limits.
fn unstated(page: &str) -> Vec<String> {
    let stated = [
        format!("{MAX_COLUMNS} columns"),
        format!("{MAX_TEXT_COLUMNS} where"),
        format!("{MAX_LINES} lines"),
        format!("{MAX_FUNCTION_LINES} lines"),
    ];
    let missing = stated.iter().filter(|limit| !page.contains(limit.as_str()));
    missing.map(|limit| format!("CONTRIBUTING.md: the limit of {limit} is not stated")).collect()
}

#[test]
fn the_page_states_the_limits_that_are_checked() {
    nothing(unstated(&fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap()));
}

#[test]
fn planted_lines_and_files_that_are_too_long_are_noticed() {
    let line = |columns: usize| [Source::new("a.rs", &format!("{};", "x".repeat(columns - 1)))];
    assert!(long_lines(&line(100)).is_empty());
    assert_eq!(long_lines(&line(101)), ["a.rs:1: 101 columns"]);
    assert!(long_lines(&[Source::new("a.rs", &format!("// {}", "x".repeat(138)))]).len() == 1);
    // Tests are lines as all others are.
    let file = |lines: usize| [Source::new("a.rs", &"#[cfg(test)]\n".repeat(lines))];
    assert!(long_files(&file(700)).is_empty());
    assert_eq!(long_files(&file(701)), ["a.rs: 701 lines"]);
    assert_eq!(unstated("at most 100 columns, 140 where there is text, 800 lines").len(), 2);
}

#[test]
fn a_planted_function_that_is_too_long_is_noticed_and_so_is_an_exception_without_need() {
    let of = |lines: usize| {
        let body = "    x();\n".repeat(lines - 2);
        [Source::new("a.rs", &format!("#[test]\nfn long() {{\n{body}}}\n"))]
    };
    assert!(long_functions(&of(70), &[], &[]).is_empty());
    assert_eq!(long_functions(&of(71), &[], &[]), ["a.rs:2: long has 71 lines"]);
    assert!(long_functions(&of(80), &[("a.rs", "long", 80)], &[]).is_empty());
    assert!(long_functions(&of(80), &[], &[("a.rs", "long")]).is_empty());
    assert_eq!(long_functions(&of(81), &[("a.rs", "long", 80)], &[]).len(), 1, "it has grown");
    assert_eq!(long_functions(&of(79), &[("a.rs", "long", 80)], &[]).len(), 1, "it has shrunk");
    assert_eq!(long_functions(&of(70), &[("a.rs", "long", 80)], &[]).len(), 1, "it is short");
    assert_eq!(long_functions(&of(70), &[], &[("a.rs", "long")]).len(), 1, "the list is short");
}
