//! What pages call by its name in the code is called so.

use std::collections::HashSet;

use crate::source::words;
use crate::tree::{nothing, sources, texts};

/// Names of other people's code.
const FOREIGN: [&str; 1] = ["swift::threading::fatal"];

/// What can only be a name of the code, with its line: `Type::method`, and words of three parts and
/// more, as tests are called.
fn code_names(page: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (n, line) in page.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let name = quoted.split('(').next().unwrap_or_default();
            let is_name = !name.is_empty()
                && name.split("::").all(|part| words(part).eq([part]))
                && (name.contains("::") || name.trim_matches('_').matches('_').count() > 1);
            found.extend(is_name.then_some((n + 1, name)));
        }
    }
    found
}

fn unknown(pages: &[(String, String)], code: &HashSet<&str>, foreign: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut needed = HashSet::new();
    for (path, page) in pages {
        for (line, name) in code_names(page) {
            if name.split("::").all(|part| code.contains(part)) {
                continue;
            }
            needed.insert(name);
            if !foreign.contains(&name) {
                complaints.push(format!("{path}:{line}: nothing is called {name}"));
            }
        }
    }
    let stale = foreign.iter().filter(|name| !needed.contains(*name));
    complaints.extend(stale.map(|name| format!("{name}: listed as foreign, and no page names it")));
    complaints
}

#[test]
fn every_name_in_a_page_is_one_of_the_code() {
    let others = texts(&["kt", "swift", "c", "h", "py", "sh", "wgsl", "toml"]);
    let code = sources().iter().flat_map(|source| words(&source.code));
    let code = code.chain(others.iter().flat_map(|(_, text)| words(text))).collect();
    nothing(unknown(&texts(&["md"]), &code, &FOREIGN));
}

#[test]
fn a_planted_name_that_nothing_has_is_noticed() {
    let code = HashSet::from(["Model", "trace", "what_is_kept_stays"]);
    let unknown = |page: &str, foreign: &[&str]| {
        unknown(&[("README.md".to_owned(), page.to_owned())], &code, foreign)
    };
    let here = "`Model::trace`, `Model::trace(x)`, `what_is_kept_stays`, `snake_case`, `a b_c_d`";
    assert!(unknown(here, &[]).is_empty());
    assert_eq!(unknown("One\n`Model::gone`", &[]), ["README.md:2: nothing is called Model::gone"]);
    assert_eq!(unknown("`what_is_kept_goes`", &[]).len(), 1);
    assert!(unknown("`Other::gone`", &["Other::gone"]).is_empty());
    assert_eq!(unknown(here, &["Other::gone"]).len(), 1, "stale");
}
