//! What pages and comments name in the repository is there: paths in backticks, and links.

use std::collections::BTreeSet;

use crate::tree::{nothing, paths, texts};

/// Paths that a page names and nobody finds before something has made them.
const MADE: [&str; 1] = ["ios/SapwoodFFI.xcframework"];

/// Files with these extensions are ours, wherever a page says that they are. Those of other languages
/// may be files that a reader is told to write.
const OURS: [&str; 5] = [".rs", ".sh", ".md", ".wgsl", ".py"];

/// Files and folders.
struct Tree {
    paths: BTreeSet<String>,
    tops: BTreeSet<String>,
}

impl Tree {
    fn of<P: AsRef<str>>(files: &[P]) -> Tree {
        let (mut paths, mut tops) = (BTreeSet::new(), BTreeSet::new());
        for file in files.iter().map(AsRef::as_ref) {
            paths.insert(file.to_owned());
            let folders = file.match_indices('/').map(|(at, _)| file[..at].to_owned());
            paths.extend(folders);
            tops.extend(file.split_once('/').map(|(top, _)| top.to_owned()));
        }
        Tree { paths, tops }
    }

    /// Whether something is called so, from the root on.
    fn has(&self, name: &str) -> bool {
        self.paths.contains(name) || self.paths.iter().any(|path| fits(name, path))
    }

    /// Whether a path below one of these folders ends so.
    fn has_below(&self, folders: &[&str], name: &str) -> bool {
        let inside = |path: &&String| folders.iter().any(|folder| path.starts_with(folder));
        let mut paths = self.paths.iter().filter(|path| folders.is_empty() || inside(path));
        paths.any(|path| {
            let ends = path.match_indices('/').map(|(at, _)| &path[at + 1..]);
            ends.chain([path.as_str()]).any(|end| fits(name, end))
        })
    }

    /// Whether a page may name it; what doesn't look like a path may be anything.
    fn knows(&self, name: &Name<'_>) -> bool {
        alternatives(name.word).iter().all(|word| {
            let word = word.trim_end_matches('/').replace("NAME", "*");
            if word.split_once('/').is_some_and(|(top, _)| self.tops.contains(top)) {
                return self.has(&word);
            }
            let ours = OURS.iter().any(|extension| word.ends_with(extension) && word != *extension);
            let elsewhere = word.starts_with(['~', '$', '.', '/']) || word.contains("://");
            let folders = if word.starts_with("src/") { &name.folders[..] } else { &[] };
            name.in_commands || !ours || elsewhere || self.has_below(folders, &word)
        })
    }
}

/// Whether a path is called so; `*` stands for any part of a name.
fn fits(name: &str, path: &str) -> bool {
    match name.split_once('*') {
        None => name == path,
        Some((start, rest)) => path.strip_prefix(start).is_some_and(|path| {
            let any = path.find('/').unwrap_or(path.len());
            (0..=any).any(|n| path.is_char_boundary(n) && fits(rest, &path[n..]))
        }),
    }
}

/// `a/{b,c}` as `a/b` and `a/c`.
fn alternatives(name: &str) -> Vec<String> {
    let parts =
        name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (choices, after))) = parts else { return vec![name.to_owned()] };
    let choices = choices.split(',').map(|choice| format!("{before}{choice}{after}"));
    choices.flat_map(|choice| alternatives(&choice)).collect()
}

/// A word in backticks or in a block of commands.
struct Name<'a> {
    line: usize,
    word: &'a str,
    /// The folders that the heading above is about.
    folders: Vec<&'a str>,
    in_commands: bool,
}

/// What stands in backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn names(page: &str) -> Vec<Name<'_>> {
    let (mut found, mut folders, mut in_commands) = (Vec::new(), Vec::new(), false);
    for (n, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_commands = !in_commands;
            continue;
        }
        if line.starts_with('#') && !in_commands {
            folders = quoted(line).filter(|word| word.ends_with('/')).collect();
        }
        let texts: Vec<&str> = if in_commands { vec![line] } else { quoted(line).collect() };
        for word in texts.into_iter().flat_map(str::split_whitespace) {
            let word = word.trim_end_matches(['.', ',', ':', ';', ')']);
            found.push(Name { line: n + 1, word, folders: folders.clone(), in_commands });
        }
    }
    found
}

fn gone(tree: &Tree, pages: &[(String, String)], made: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut needed = BTreeSet::new();
    for (path, page) in pages {
        for name in names(page).iter().filter(|name| !tree.knows(name)) {
            if made.contains(&name.word) {
                needed.insert(name.word);
            } else {
                complaints.push(format!("{path}:{}: there is no {}", name.line, name.word));
            }
        }
    }
    let stale = made.iter().filter(|made| !needed.contains(*made));
    complaints.extend(stale.map(|made| format!("{made}: listed as made, and no page names it")));
    complaints
}

/// Paths from the root on that comments name.
fn gone_from_comments(tree: &Tree, texts: &[(String, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in texts {
        let comment =
            |line: &str| ["//", "#", "*"].iter().any(|m| line.trim_start().starts_with(m));
        for (n, line) in text.lines().enumerate().filter(|(_, line)| comment(line)) {
            let names = quoted(line).flat_map(str::split_whitespace);
            let top =
                |word: &&str| word.split_once('/').is_some_and(|(top, _)| tree.tops.contains(top));
            for word in names.filter(top) {
                let word = word.trim_end_matches(['.', ',', ':', ';', ')', '/']);
                if !alternatives(word).iter().all(|word| tree.has(word)) {
                    complaints.push(format!("{path}:{}: there is no {word}", n + 1));
                }
            }
        }
    }
    complaints
}

/// A link's target from the root on.
fn resolved(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars();
    let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn broken_links(tree: &Tree, pages: &[(String, String)]) -> Vec<String> {
    let anchors = |path: &str| {
        let page = pages.iter().find(|(known, _)| known == path).map(|(_, page)| page.lines());
        let headings = page.into_iter().flatten().filter(|line| line.starts_with('#'));
        headings.map(anchor).collect::<Vec<_>>()
    };
    let mut complaints = Vec::new();
    for (path, page) in pages {
        for (n, line) in page.lines().enumerate() {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|target| !target.contains(':')) {
                let (file, place) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() { path.clone() } else { resolved(path, file) };
                let leads = tree.has(&file)
                    && (place.is_empty() || anchors(&file).iter().any(|a| a == place));
                if !leads {
                    complaints.push(format!("{path}:{}: {target} leads nowhere", n + 1));
                }
            }
        }
    }
    complaints
}

#[test]
fn every_path_that_a_page_names_is_there() {
    let pages = texts(&["md"]);
    assert!(pages.len() > 15, "only {} pages found", pages.len());
    nothing(gone(&Tree::of(paths()), &pages, &MADE));
}

#[test]
fn every_path_that_a_comment_names_is_there() {
    let texts = texts(&["rs", "wgsl", "py", "sh", "toml", "c", "h", "kt", "swift"]);
    nothing(gone_from_comments(&Tree::of(paths()), &texts));
}

#[test]
fn every_link_leads_somewhere() {
    nothing(broken_links(&Tree::of(paths()), &texts(&["md"])));
}

fn planted_tree() -> Tree {
    Tree::of(&["a/src/b.rs", "a/src/c/mod.rs", "tests/run", "tests/c.md", "README.md"])
}

fn planted(path: &str, text: &str) -> [(String, String); 1] {
    [(path.to_owned(), text.to_owned())]
}

#[test]
fn a_planted_path_that_is_not_there_is_noticed() {
    let gone = |page: &str| gone(&planted_tree(), &planted("README.md", page), &[]).len();
    let here = "`a/src/b.rs`, `a/src/`, `a/src/{b,c/mod}.rs`, `a/src/*.rs`, `a/src/NAME.rs`, \
                `c/mod.rs`, `b.rs`: `tests/run --quick`, `~/x.rs`, `x/y`, `https://a/b.rs`, `.rs`.";
    assert_eq!(gone(here), 0);
    for name in
        ["a/src/d.rs", "a/d", "a/src/{b,d}.rs", "a/*.rs", "d.rs", "src/mod.rs", "bash tests/go"]
    {
        assert_eq!(gone(&format!("Before.\n`{name}`")), 1, "{name}");
    }
    assert_eq!(gone("```\ntests/run --quick\nvim first.rs\n```"), 0);
    assert_eq!(gone("```\ntests/walk --quick\n```"), 1);
    // A path from `src` on is one of the folder that the heading names.
    assert_eq!(gone("## `a/`: first\n\n`src/b.rs`"), 0);
    assert_eq!(gone("## `tests/`: others\n\n`src/b.rs`"), 1);
}

#[test]
fn a_path_listed_as_made_that_no_page_names_is_noticed() {
    let page = planted("README.md", "`a/made`");
    assert!(gone(&planted_tree(), &page, &["a/made"]).is_empty());
    let stale = gone(&planted_tree(), &page, &["a/made", "a/other"]);
    assert_eq!(stale, ["a/other: listed as made, and no page names it"]);
}

#[test]
fn a_planted_path_in_a_comment_is_noticed() {
    let comment = |text: &str| gone_from_comments(&planted_tree(), &planted("a/src/b.rs", text));
    assert!(comment("//! See `tests/run`, `a/src`.\nlet `a/gone` = 1;").is_empty());
    assert_eq!(
        comment("//! One.\n/// See `tests/walk`."),
        ["a/src/b.rs:2: there is no tests/walk"]
    );
}

#[test]
fn a_planted_link_to_nowhere_is_noticed() {
    let links = |page: &str| broken_links(&planted_tree(), &planted("tests/c.md", page));
    assert!(links("# It's `a` b\n[x](../README.md), [y](https://x.y/z), [z](#its-a-b)").is_empty());
    assert_eq!(links("[x](README.md)"), ["tests/c.md:1: README.md leads nowhere"]);
    assert_eq!(links("# One\n[x](c.md#two)"), ["tests/c.md:2: c.md#two leads nowhere"]);
}
