//! What may only stand in certain places: `unsafe`, and the names of instruction sets.

use crate::source::{Source, has_word};
use crate::tree::{nothing, sources};

/// Where `unsafe` may stand. A new entry needs a reason that the reader finds in that file.
///
/// The pool hands a borrowed closure to threads that outlive the borrow, and disjoint parts of one
/// buffer to several threads: neither can be said in safe Rust without allocating for every step.
///
/// The GPU's pipelines are made without bounds checks, from shaders that are part of the program, and
/// from a cache of compiled ones that nobody but the driver can check.
///
/// The command sets a variable of its environment before it has a second thread.
const UNSAFE: [&str; 11] = [
    "kernels/src/cpu/pool",
    "kernels/src/cpu/simd/",
    "kernels/src/gpu/cache.rs",
    "kernels/src/gpu/pipeline.rs",
    "models/src/mmap.rs",
    "models/tests/memory.rs",
    "bindings/cli/src/main.rs",
    "bindings/ffi/src/c/",
    "tests/fuzz/src/ffi",
    "tests/peers/src/quantize.rs",
    "tests/peers/src/bin/gguf-verdict.rs",
];

/// Where the processor is asked for its instructions, in crates that otherwise don't know it: the
/// seal chooses the faster of two ciphers by it.
const INSTRUCTION_SETS: [&str; 1] = ["runtime/src/seal.rs"];

/// Where `is_breach` finds one outside the places listed, and the places in which it finds none.
fn outside(
    sources: &[Source],
    listed: &[&str],
    what: &str,
    is_breach: impl Fn(&Source, &str) -> bool,
) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut needed = vec![false; listed.len()];
    for source in sources {
        for (line, _, _) in source.lines().filter(|(.., code)| is_breach(source, code)) {
            match listed.iter().position(|place| source.path.starts_with(place)) {
                Some(place) => needed[place] = true,
                None => {
                    complaints.push(format!("{}:{line}: {what} in no place listed", source.path));
                }
            }
        }
    }
    let stale = listed.iter().zip(needed).filter(|(_, needed)| !needed);
    complaints.extend(stale.map(|(place, _)| format!("{place}: listed for {what}, has none")));
    complaints
}

fn unsafe_outside(sources: &[Source], listed: &[&str]) -> Vec<String> {
    outside(sources, listed, "unsafe", |_, code| has_word(code, "unsafe"))
}

fn instructions_outside(sources: &[Source], listed: &[&str]) -> Vec<String> {
    let words = ["core::arch", "std::arch", "is_x86_feature_detected", "target_feature"];
    let crates = ["models/src/", "runtime/src/"];
    outside(sources, listed, "an instruction set", |source, code| {
        crates.iter().any(|start| source.path.starts_with(start))
            && words.iter().any(|word| code.contains(word))
    })
}

fn unexplained(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        for (line, _, code) in source.lines().filter(|(_, _, code)| has_word(code, "unsafe")) {
            // The comment or the `# Safety` section stands within the lines before.
            let before = &lines[line.saturating_sub(26)..line];
            let why = before.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
            if !why && !code.contains("unsafe_") {
                complaints.push(format!("{}:{line}: no SAFETY comment", source.path));
            }
        }
    }
    complaints
}

#[test]
fn unsafe_stands_only_where_it_is_listed() {
    nothing(unsafe_outside(sources(), &UNSAFE));
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    nothing(unexplained(sources()));
}

#[test]
fn only_the_kernels_know_an_instruction_set() {
    nothing(instructions_outside(sources(), &INSTRUCTION_SETS));
}

#[test]
fn planted_unsafe_is_noticed_where_it_is_not_listed_or_not_explained() {
    let planted = [Source::new("a/b.rs", "fn f() {}\n// SAFETY: none.\nunsafe { f() }")];
    assert_eq!(unsafe_outside(&planted, &[]), ["a/b.rs:3: unsafe in no place listed"]);
    assert!(unsafe_outside(&planted, &["a/"]).is_empty() && unexplained(&planted).is_empty());
    let planted = [Source::new("a/b.rs", "// Sound.\nunsafe { f() }")];
    assert_eq!(unexplained(&planted), ["a/b.rs:2: no SAFETY comment"]);
}

#[test]
fn a_place_listed_for_unsafe_that_has_none_is_noticed() {
    let planted = [Source::new("a/b.rs", "// There is no unsafe here.")];
    assert_eq!(unsafe_outside(&planted, &["a/b.rs"]), ["a/b.rs: listed for unsafe, has none"]);
}

#[test]
fn a_planted_instruction_set_is_noticed() {
    let planted = [Source::new("models/src/a.rs", "use std::arch::x86_64::*;")];
    let noticed = ["models/src/a.rs:1: an instruction set in no place listed"];
    assert_eq!(instructions_outside(&planted, &[]), noticed);
    assert!(instructions_outside(&planted, &["models/src/a.rs"]).is_empty());
    assert_eq!(instructions_outside(&planted, &["models/src/a.rs", "b.rs"]).len(), 1, "stale");
}
