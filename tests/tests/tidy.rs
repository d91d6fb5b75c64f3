//! The rules of the tree that no compiler checks: where `unsafe` may stand, which crate may use
//! which, how long a file may grow, that every dependency has its reason written down.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Where `unsafe` may stand. A new entry needs a reason that the reader finds in that file.
///
/// The pool hands a borrowed closure to threads that outlive the borrow, and disjoint parts of one
/// buffer to several threads: neither can be said in safe Rust without allocating for every step.
///
/// The GPU's pipelines are made without bounds checks, from shaders that are part of the program, and
/// from a cache of compiled ones that nobody but the driver can check.
const UNSAFE: [&str; 12] = [
    "kernels/src/cpu/pool",
    "kernels/src/cpu/simd",
    "kernels/src/cpu/dot",
    "kernels/src/gpu/cache.rs",
    "kernels/src/gpu/pipeline.rs",
    "models/src/mmap.rs",
    "models/tests/memory.rs",
    "bindings/",
    "tests/fuzz/src/ffi",
    "tests/peers/src/quantize.rs",
    "tests/peers/src/bin/gguf-verdict.rs",
    "tests/tests/tidy.rs",
];

/// A crate's folder and the crates of ours that it may use: everything points one way.
const DIRECTION: [(&str, &[&str]); 7] = [
    ("kernels", &[]),
    ("models", &["sapwood-kernels"]),
    ("runtime", &["sapwood-kernels", "sapwood-models"]),
    ("bindings/cli", &["sapwood-kernels", "sapwood-models", "sapwood"]),
    // The runtime goes by `runtime` there, because the library itself is called sapwood.
    ("bindings/ffi", &["sapwood-kernels", "sapwood-models"]),
    ("bindings/bindgen", &[]),
    ("tests", &["sapwood-kernels", "sapwood-models", "sapwood"]),
];

/// Longest line of code, longest line at all (rustfmt does not break texts and comments), and most
/// lines before the tests of a file.
const MAX_COLUMNS: usize = 100;
const MAX_TEXT_COLUMNS: usize = 140;
const MAX_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust source of ours, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for top in ["kernels", "models", "runtime", "bindings", "tests"] {
        collect(&root().join(top), top, &mut found);
    }
    assert!(found.len() > 50, "only {} sources found: the walk is broken", found.len());
    found.sort();
    found
}

fn collect(folder: &Path, name: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let file = entry.file_name().into_string().unwrap();
        let path = format!("{name}/{file}");
        let is_folder = entry.file_type().unwrap().is_dir();
        if is_folder && file != "target" && !file.starts_with('.') {
            collect(&entry.path(), &path, found);
        } else if file.ends_with(".rs") {
            found.push((path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// Fails with every complaint at once, so that one run shows all there is to do.
fn nothing(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// A line without its comment and with the contents of string literals blanked.
fn code(line: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    let mut previous = ' ';
    for c in line.chars() {
        if !quoted && c == '/' && previous == '/' {
            out.pop();
            break;
        }
        match c {
            '"' if !escaped && previous != '\'' => quoted = !quoted,
            _ if quoted => {}
            _ => out.push(c),
        }
        escaped = quoted && c == '\\' && !escaped;
        previous = c;
    }
    out
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}

#[test]
fn unsafe_stands_only_where_it_is_listed() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let listed = UNSAFE.iter().any(|allowed| path.starts_with(allowed));
        for (n, line) in text.lines().enumerate() {
            if !listed && has_word(&code(line), "unsafe") {
                complaints.push(format!("{path}:{}: unsafe in a place not listed", n + 1));
            }
        }
    }
    nothing(complaints);
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let line = code(line);
            let opens = has_word(&line, "unsafe") && !line.contains("unsafe_");
            // The comment or the `# Safety` section stands within the lines before.
            let before = &lines[n.saturating_sub(25)..=n];
            if opens && !before.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
                complaints.push(format!("{path}:{}: no SAFETY comment", n + 1));
            }
        }
    }
    nothing(complaints);
}

#[test]
fn files_and_lines_stay_readable() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (n, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            let text = line.contains('"') || line.trim_start().starts_with("//");
            if columns > if text { MAX_TEXT_COLUMNS } else { MAX_COLUMNS } {
                complaints.push(format!("{path}:{}: {columns} columns", n + 1));
            }
        }
        let lines = text.lines().take_while(|l| !l.starts_with("#[cfg(test)]")).count();
        if lines > MAX_LINES {
            complaints.push(format!("{path}: {lines} lines before its tests"));
        }
    }
    nothing(complaints);
}

#[test]
fn every_module_says_what_it_is() {
    let documented = |text: &str| {
        let mut lines = text.lines().filter(|l| !l.trim().is_empty());
        lines.find(|l| !l.starts_with("#!")).is_some_and(|l| l.starts_with("//!"))
    };
    let without = sources().into_iter().filter(|(_, text)| !documented(text));
    nothing(without.map(|(path, _)| format!("{path}: no module documentation")).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        if path == "tests/tests/tidy.rs" {
            continue;
        }
        for (n, line) in text.lines().enumerate() {
            for mark in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX", "TODO"] {
                if line.contains(mark) {
                    complaints.push(format!("{path}:{}: {mark}", n + 1));
                }
            }
        }
    }
    nothing(complaints);
}

/// The dependencies that a manifest names, development ones included.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && !section.starts_with("workspace");
        } else if inside && !line.starts_with('#') {
            let name: &str = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn crates_point_one_way() {
    let mut complaints = Vec::new();
    for (folder, allowed) in DIRECTION {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for name in dependencies(&manifest).iter().filter(|n| n.starts_with("sapwood")) {
            if !allowed.contains(&name.as_str()) {
                complaints.push(format!("{folder} may not use {name}"));
            }
        }
    }
    nothing(complaints);
}

#[test]
fn only_the_kernels_know_an_instruction_set() {
    let mut complaints = Vec::new();
    // The seal asks whether the processor has AES, to choose the faster of two ciphers.
    let allowed = "runtime/src/seal.rs";
    let outside = |path: &str| {
        (path.starts_with("models/src") || path.starts_with("runtime/src")) && path != allowed
    };
    for (path, text) in sources().into_iter().filter(|(path, _)| outside(path)) {
        for word in ["core::arch", "std::arch", "is_x86_feature_detected", "target_feature"] {
            if text.contains(word) {
                complaints.push(format!("{path}: {word}"));
            }
        }
    }
    nothing(complaints);
}

#[test]
fn every_dependency_has_its_reason_written_down() {
    // The first column of the table: names, separated by commas.
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let reasons: Vec<&str> = rows.flat_map(|names| names.split(", ")).collect();
    let mut complaints = Vec::new();
    let folders = DIRECTION.map(|(folder, _)| folder).into_iter().chain([
        "tests/peers",
        "tests/loom",
        "tests/fuzz",
        "tests/beside",
    ]);
    for folder in folders {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for name in dependencies(&manifest) {
            let ours = name.starts_with("sapwood");
            if !ours && !reasons.contains(&name.as_str()) {
                complaints.push(format!("{folder} uses {name}: CONTRIBUTING.md gives no reason"));
            }
        }
    }
    nothing(complaints);
}

/// A test that is left out says why, in a form that tells which part of `tests/run` runs it:
/// `long` ones belong to a part, a `child` is started by another test, a `measurement` shows no
/// more than its figures.
fn left_out(reason: &str) -> bool {
    let parts = ["crash", "learning", "demo"].map(|part| format!("long: tests/run --only {part}"));
    parts.iter().any(|part| part == reason)
        || reason.starts_with("child: ")
        || reason.starts_with("measurement: ")
}

#[test]
fn every_ignored_test_is_run_by_somebody() {
    let mut complaints = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path != "tests/tests/tidy.rs") {
        for (n, line) in text.lines().enumerate() {
            let Some(rest) = line.trim_start().strip_prefix("#[ignore") else { continue };
            let reason = rest.strip_prefix(" = \"").and_then(|r| r.strip_suffix("\"]"));
            // The suites whose ignored tests a part runs.
            let suites: &[&str] = match reason {
                Some(r) if r.ends_with("crash") => &["crash/", "kill/"],
                Some(r) if r.ends_with("learning") => &["loop/", "memorization/"],
                Some(r) if r.ends_with("demo") => &["demo.rs"],
                _ => &[""],
            };
            let suite = path.strip_prefix("tests/tests/").unwrap_or(&path);
            let there = suites.iter().any(|known| suite.starts_with(known));
            if !reason.is_some_and(left_out) || !there {
                complaints.push(format!("{path}:{}: ignored, and no part runs it", n + 1));
            }
        }
    }
    nothing(complaints);
}

/// Test programs of a package, by the last folder of its path: each file or folder in its `tests`.
fn test_programs(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder).join("tests")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let programs = paths.filter(|path| {
        path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists()
    });
    programs.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_test_program_is_run_by_a_part() {
    let parts = fs::read_dir(root().join("tests/parts")).unwrap();
    let parts: String = parts.map(|p| fs::read_to_string(p.unwrap().path()).unwrap()).collect();
    let mut complaints = Vec::new();
    for folder in ["kernels", "models", "runtime", "bindings/cli", "tests", "tests/fuzz"] {
        let call = format!("run_tests {} ", folder.rsplit('/').next().unwrap());
        let lines: Vec<&str> = parts.lines().filter(|line| line.contains(&call)).collect();
        for program in test_programs(folder) {
            if !lines.iter().any(|line| has_word(line, &program)) {
                complaints.push(format!("{folder}/tests/{program}: tests/parts don't run it"));
            }
        }
    }
    nothing(complaints);
}

#[test]
fn the_checks_themselves_see_what_they_must() {
    assert!(has_word(&code("let x = unsafe { f() };"), "unsafe"));
    assert!(!has_word(&code("// unsafe"), "unsafe"));
    assert!(!has_word(&code("let unsafe_count = \"unsafe\";"), "unsafe"));
    let manifest = "[dependencies]\na.workspace = true\nb = { version = \"1\" }\n# c\n[lib]\nd = 1";
    assert_eq!(dependencies(manifest), ["a", "b"]);
    assert!(left_out("long: tests/run --only crash") && left_out("child: of the kill loop"));
    assert!(!left_out("minutes: run it by name") && !left_out("long: tests/run --only soak"));
}
