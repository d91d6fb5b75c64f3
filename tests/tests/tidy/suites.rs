//! That every test is run by somebody.

use std::fs;

use crate::source::{Source, has_word};
use crate::tree::{manifests, nothing, root, sources};

/// The parts of `tests/run` that run tests which take long, and the suites of theirs.
const LONG: [(&str, &[&str]); 3] = [
    ("crash", &["crash/", "kill/"]),
    ("learning", &["loop/", "memorization/"]),
    ("demo", &["demo.rs"]),
];

/// A workspace of its own, whose part runs all that is there.
const WHOLE: &str = "tests/peers";

/// Ignored tests that no part runs. A test that is left out says why, in a form that tells who runs
/// it: a `long` one belongs to a part, a `child` is started by another test, a `measurement` shows
/// no more than its figures.
fn run_by_nobody(sources: &[Source], long: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut needed = Vec::new();
    for source in sources {
        for (line, text, _) in source.lines().filter(|(_, _, code)| code.contains("#[ignore")) {
            let reason = text.split('"').nth(1).unwrap_or_default();
            let part = reason.strip_prefix("long: tests/run --only ");
            let suites =
                long.iter().find(|(name, _)| part == Some(*name)).map(|(_, suites)| suites);
            let path = source.path.strip_prefix("tests/tests/").unwrap_or(&source.path);
            let suite = suites.and_then(|s| s.iter().find(|suite| path.starts_with(**suite)));
            needed.extend(suite);
            let other = reason.starts_with("child: ") || reason.starts_with("measurement: ");
            if suite.is_none() && !other {
                complaints.push(format!("{}:{line}: ignored, and no part runs it", source.path));
            }
        }
    }
    let suites = long.iter().flat_map(|(_, suites)| *suites);
    let stale = suites.filter(|suite| !needed.contains(suite));
    complaints.extend(stale.map(|suite| format!("tests/tests/{suite}: has no long test")));
    complaints
}

/// Test programs of a package: each file or folder in its `tests`.
fn test_programs(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder).join("tests")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let programs = paths.filter(|path| {
        path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists()
    });
    programs.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// `programs` as folder of the package and name, `parts` as the text of all scripts.
fn called_by_no_part(programs: &[(&str, String)], parts: &str) -> Vec<String> {
    let is_called = |folder: &str, program: &str| {
        let call = format!("run_tests {} ", folder.rsplit('/').next().unwrap_or(folder));
        parts.lines().any(|line| line.contains(&call) && has_word(line, program))
    };
    let missing = programs.iter().filter(|(folder, program)| !is_called(folder, program));
    missing
        .map(|(folder, name)| format!("{folder}/tests/{name}: tests/parts don't run it"))
        .collect()
}

#[test]
fn every_ignored_test_is_run_by_somebody() {
    nothing(run_by_nobody(sources(), &LONG));
}

#[test]
fn every_test_program_is_run_by_a_part() {
    let parts = fs::read_dir(root().join("tests/parts")).unwrap();
    let parts: String = parts.map(|p| fs::read_to_string(p.unwrap().path()).unwrap()).collect();
    let of = |folder| test_programs(folder).into_iter().map(move |program| (folder, program));
    let folders: Vec<String> = manifests().into_iter().map(|(folder, _)| folder).collect();
    let folders = folders.iter().map(String::as_str).filter(|folder| *folder != WHOLE);
    let programs: Vec<_> = folders.flat_map(of).collect();
    assert!(programs.len() > 20, "only {} test programs found", programs.len());
    nothing(called_by_no_part(&programs, &parts));
}

#[test]
fn a_planted_test_that_no_part_runs_is_noticed() {
    let ignored = |path: &str, reason: &str| {
        let planted = Source::new(path, &format!("#[test]\n#[ignore = \"{reason}\"]\nfn t() {{}}"));
        run_by_nobody(&[planted], &[("crash", &["crash/"])])
    };
    let run = "long: tests/run --only crash";
    assert!(ignored("tests/tests/crash/main.rs", run).is_empty());
    let stale = "tests/tests/crash/: has no long test";
    assert_eq!(ignored("tests/tests/kill/main.rs", "child: of the loop"), [stale]);
    for (path, reason) in [
        ("tests/tests/api.rs", run),
        ("tests/tests/crash/main.rs", "long: tests/run --only soak"),
        ("tests/tests/crash/main.rs", "minutes: run it by name"),
    ] {
        let noticed = format!("{path}:2: ignored, and no part runs it");
        assert_eq!(ignored(path, reason), [noticed.as_str(), stale]);
    }
}

#[test]
fn a_planted_test_program_that_no_part_calls_is_noticed() {
    let programs = [("tests", "api".to_owned()), ("tests/fuzz", "replay".to_owned())];
    let parts = "run_tests tests api\nrun_tests fuzz replay";
    assert!(called_by_no_part(&programs, parts).is_empty());
    let missing = called_by_no_part(&programs, "run_tests tests api replay");
    assert_eq!(missing, ["tests/fuzz/tests/replay: tests/parts don't run it"]);
}
