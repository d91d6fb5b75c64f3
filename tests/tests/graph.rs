//! Circles in the graph of modules, whose arrows are imports.
//!
//! Files that import each other, straight or round a corner, can only be read, tested and changed
//! together. So there is a most that may, per crate.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A crate's folder, and how many of its files may import each other in a circle; 1 means none.
const LIMITS: [(&str, usize); 2] = [("kernels", 1), ("runtime", 2)];

/// The text of every file of a crate, by its module.
type Sources = BTreeMap<String, String>;

/// What a module hands on by `pub use`, by module and name.
type HandedOn<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a str>>;

/// The files that `mod` declarations lead to.
fn read(module: String, file: &Path, found: &mut Sources) {
    let text = fs::read_to_string(file).unwrap();
    let is_root = file.ends_with("lib.rs") || file.ends_with("mod.rs");
    let folder = if is_root { file.parent().unwrap().into() } else { file.with_extension("") };
    for declaration in words(&text).windows(3) {
        if let ["mod", name, ";"] = declaration {
            let places = [format!("{name}.rs"), format!("{name}/mod.rs")].map(|p| folder.join(p));
            let file = places.iter().find(|file| file.exists()).expect("as the compiler does");
            read(format!("{module}::{name}"), file, found);
        }
    }
    found.insert(module, text);
}

/// Names, `::` and single signs, without comments and what only tests compile.
fn words(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    for mut rest in text.lines().flat_map(|line| line.split("//").next()) {
        while let Some(first) = rest.chars().next() {
            let len = match first {
                ':' if rest.starts_with("::") => 2,
                c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            words.push(&rest[..len]);
            rest = &rest[len..];
        }
    }
    words.retain(|word| !word.trim().is_empty());
    while let Some(at) = words.windows(4).position(|four| four == ["cfg", "(", "test", ")"]) {
        let mut depth = 0;
        let ends = |word: &&str| {
            depth += i32::from(*word == "{") - i32::from(*word == "}");
            depth == 0 && [";", "}"].contains(word)
        };
        let last = words[at..].iter().position(ends).map_or(words.len() - 1, |len| at + len);
        words.drain(at..=last);
    }
    words
}

/// Adds the paths of a tree such as `a::{b, c::d}`; yields what comes behind it.
fn tree<'a, 'b>(
    words: &'b [&'a str],
    before: &[&'a str],
    found: &mut Vec<Vec<&'a str>>,
) -> &'b [&'a str] {
    match words {
        ["{", inside @ ..] => {
            let mut rest = inside;
            while !matches!(rest, ["}", ..] | []) {
                rest = tree(rest, before, found);
            }
            rest.get(1..).unwrap_or_default()
        }
        [",", rest @ ..] => rest,
        [name, "::", rest @ ..] => tree(rest, &[before, &[*name]].concat(), found),
        [name, rest @ ..] => {
            found.push([before, &[*name]].concat());
            rest
        }
        [] => words,
    }
}

/// The module that defines what `path` means in the module `from`; none if that is another crate's.
fn home(sources: &Sources, handed_on: &HandedOn, from: &str, path: &[&str]) -> Option<String> {
    let mut at = from.to_string();
    for (i, name) in path.iter().enumerate() {
        let child = format!("{at}::{name}");
        match *name {
            "crate" => at = "crate".into(),
            "super" => at = at.rsplit_once("::")?.0.into(),
            "self" => {}
            _ if sources.contains_key(&child) => at = child,
            name => match handed_on.get(&(&*at, name)) {
                Some(path) => return home(sources, handed_on, &at, path),
                None => return (i > 0).then_some(at),
            },
        }
    }
    Some(at)
}

/// For each module those that define what it names. A `pub use` is no arrow, but hands one on.
fn arrows(sources: &Sources) -> BTreeMap<&str, BTreeSet<String>> {
    let (mut imports, mut handed_on) = (Vec::new(), HandedOn::new());
    for (module, text) in sources {
        let words = words(text);
        let (mut rest, mut public) = (&words[..], false);
        while let [word, next @ ..] = rest {
            let mut found = Vec::new();
            rest = match rest {
                ["(", "in", path @ ..] => tree(path, &[], &mut Vec::new()),
                ["use", path @ ..] => tree(path, &[], &mut found),
                [_, "::", ..] => tree(rest, &[], &mut found),
                _ => next,
            };
            for path in found {
                // What a macro makes is handed on by its bare name, and defined here.
                if public && *word == "use" && path.len() > 1 {
                    handed_on.insert((module, path[path.len() - 1]), path);
                } else {
                    imports.push((module, path));
                }
            }
            public = *word == "pub" || public && ["(", ")", "super", "crate"].contains(word);
        }
    }
    let mut arrows: BTreeMap<&str, BTreeSet<String>> =
        sources.keys().map(|module| (&**module, BTreeSet::new())).collect();
    for (module, path) in imports {
        arrows.get_mut(&**module).unwrap().extend(home(sources, &handed_on, module, &path));
    }
    arrows
}

/// The strongly connected components of more than one module.
fn circles(sources: &Sources) -> BTreeSet<Vec<&str>> {
    let arrows = arrows(sources);
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for from in arrows.keys() {
        let (seen, mut open) = (reached.entry(from).or_default(), vec![*from]);
        while let Some(at) = open.pop() {
            open.extend(arrows[at].iter().map(|to| &**to).filter(|to| seen.insert(*to)));
        }
    }
    let both = |a: &str, b: &str| reached[a].contains(b) && reached[b].contains(a);
    let circle = |a| arrows.keys().copied().filter(|b| both(a, b)).collect::<Vec<_>>();
    arrows.keys().map(|a| circle(*a)).filter(|circle| circle.len() > 1).collect()
}

#[test]
fn no_more_files_import_each_other_than_may() {
    let mut complaints = Vec::new();
    for (folder, limit) in LIMITS {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src/lib.rs");
        let mut sources = Sources::new();
        read("crate".into(), &root, &mut sources);
        assert!(sources.len() > 40, "{folder}: only {} modules: the walk is broken", sources.len());
        for circle in circles(&sources).iter().filter(|circle| circle.len() > limit) {
            complaints.push(format!("{folder}: {} > {limit}: {}", circle.len(), circle.join(", ")));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn a_planted_circle_is_found_and_nothing_else() {
    let planted = [
        ("crate", "pub(crate) use c::C;"),
        ("crate::a", "pub(in crate::e) fn f() {} use crate::b::{self, B,};"),
        ("crate::b", "use super::C; // use crate::e;"),
        ("crate::c", "fn g() { crate::a::f::<u8>() }"),
        ("crate::d", "use {std::fmt, super::a}; #[cfg(test)] mod tests { use crate::e; }"),
        ("crate::e", "use crate::d;"),
    ];
    let sources = planted.map(|(module, text)| (module.to_string(), text.to_string()));
    let circle = vec!["crate::a", "crate::b", "crate::c"];
    assert_eq!(circles(&Sources::from(sources)), BTreeSet::from([circle]));
}
