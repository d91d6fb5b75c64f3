//! Which crate may use which, and that everything used from outside has its reason written down.

use std::fs;

use crate::tree::{manifests, nothing, root};

/// A crate's folder and the crates of ours that it uses: everything points one way. What lies in
/// `tests` may use all.
const DIRECTION: [(&str, &[&str]); 6] = [
    ("kernels", &[]),
    ("models", &["sapwood-kernels"]),
    ("runtime", &["sapwood-kernels", "sapwood-models"]),
    ("bindings/cli", &["sapwood-kernels", "sapwood-models", "sapwood"]),
    // The runtime goes by `runtime` there, because the library itself is called sapwood.
    ("bindings/ffi", &["sapwood-kernels", "sapwood-models"]),
    ("bindings/bindgen", &[]),
];

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

/// `manifests` as folder and text.
fn wrong_ways(manifests: &[(String, String)], direction: &[(&str, &[&str])]) -> Vec<String> {
    let mut complaints = Vec::new();
    let of_product = |folder: &str| !folder.is_empty() && !folder.starts_with("tests");
    for (folder, manifest) in manifests.iter().filter(|(folder, _)| of_product(folder)) {
        let Some((_, allowed)) = direction.iter().find(|(listed, _)| listed == folder) else {
            complaints.push(format!("{folder}: nothing says which crates it may use"));
            continue;
        };
        let used = dependencies(manifest);
        let ours = used.iter().filter(|name| name.starts_with("sapwood"));
        let wrong = ours.filter(|name| !allowed.contains(&name.as_str()));
        complaints.extend(wrong.map(|name| format!("{folder} may not use {name}")));
        let stale = allowed.iter().filter(|name| !used.iter().any(|used| used == *name));
        complaints.extend(stale.map(|name| format!("{folder} may use {name}, but does not")));
    }
    let gone = direction.iter().filter(|(listed, _)| !manifests.iter().any(|(f, _)| f == listed));
    complaints.extend(gone.map(|(listed, _)| format!("{listed}: no crate lies there")));
    complaints
}

/// The first column of the table under "Dependencies": names, separated by commas.
fn explained(page: &str) -> Vec<&str> {
    let section = page.split("\n## ").find(|section| section.starts_with("Dependencies"));
    let rows = section.unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| "));
    // Below the heading.
    rows.skip(1).flat_map(|row| row.split(" |").next().unwrap_or_default().split(", ")).collect()
}

fn without_reason(manifests: &[(String, String)], page: &str) -> Vec<String> {
    let reasons = explained(page);
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for (folder, manifest) in manifests {
        for name in dependencies(manifest).into_iter().filter(|name| !name.starts_with("sapwood")) {
            if !reasons.contains(&name.as_str()) {
                complaints.push(format!("{folder} uses {name}: CONTRIBUTING.md gives no reason"));
            }
            used.push(name);
        }
    }
    let stale = reasons.iter().filter(|name| !used.iter().any(|used| used == *name));
    complaints.extend(stale.map(|name| format!("CONTRIBUTING.md: nothing uses {name}")));
    complaints
}

#[test]
fn crates_point_one_way() {
    nothing(wrong_ways(&manifests(), &DIRECTION));
}

#[test]
fn every_dependency_has_its_reason_written_down() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    nothing(without_reason(&manifests(), &page));
}

fn planted(folder: &str, manifest: &str) -> [(String, String); 1] {
    [(folder.to_owned(), manifest.to_owned())]
}

#[test]
fn dependencies_are_read_from_every_section_that_has_some() {
    let manifest = "[dependencies]\na.workspace = true\nb = { version = \"1\" }\n# c\n[lib]\nd = 1\n\
                    [target.'cfg(unix)'.dependencies]\ne = \"1\"\n[workspace.dependencies]\nf = \"1\"";
    assert_eq!(dependencies(manifest), ["a", "b", "e"]);
}

#[test]
fn a_planted_dependency_against_the_direction_is_noticed() {
    let found = planted("models", "[dependencies]\nsapwood = \"1\"");
    assert_eq!(wrong_ways(&found, &[("models", &[])]), ["models may not use sapwood"]);
    assert!(wrong_ways(&found, &[("models", &["sapwood"])]).is_empty());
    assert_eq!(wrong_ways(&found, &[("models", &["sapwood", "sapwood-a"])]).len(), 1, "stale");
    assert_eq!(wrong_ways(&found, &[]), ["models: nothing says which crates it may use"]);
    assert_eq!(wrong_ways(&[], &[("models", &[])]), ["models: no crate lies there"]);
}

#[test]
fn a_planted_dependency_without_reason_is_noticed_and_so_is_a_reason_without_dependency() {
    let found = planted("models", "[dependencies]\na = \"1\"\nb = \"1\"");
    let page =
        |names: &str| format!("# C\n\n## Dependencies\n\n| crate |\n|---|\n| {names} | why |\n");
    assert!(without_reason(&found, &page("a, b")).is_empty());
    let missing = without_reason(&found, &page("a"));
    assert_eq!(missing, ["models uses b: CONTRIBUTING.md gives no reason"]);
    assert_eq!(without_reason(&found, &page("a, b, c")), ["CONTRIBUTING.md: nothing uses c"]);
}
