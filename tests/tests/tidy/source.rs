//! A Rust source as the rules see it: as it stands, and as code alone.

use crate::tree::{nothing, sources};

/// One file.
pub struct Source {
    /// From the root on.
    pub path: String,
    pub text: String,
    /// The text without comments and without what stands in literals, line for line.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: code(text) }
    }

    /// Numbered lines: as they stand, and their code.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let both = self.text.lines().zip(self.code.lines());
        both.enumerate().map(|(n, (text, code))| (n + 1, text, code))
    }
}

fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut last) = (text, ' ');
    while let Some(c) = rest.chars().next() {
        let len = match opaque(rest, last.is_alphanumeric() || last == '_') {
            Some(len) => {
                out.push(' ');
                out.extend(rest[..len].matches('\n'));
                last = ' ';
                len
            }
            None => {
                out.push(c);
                last = c;
                c.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    out
}

/// Bytes of the comment or literal that `rest` begins with.
fn opaque(rest: &str, in_word: bool) -> Option<usize> {
    let past = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |found| from + found + end.len())
    };
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(past("*/", 2));
    }
    if let Some(inner) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inner.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return Some(end.map_or(rest.len(), |found| found + 2));
    }
    if let Some(inner) = rest.strip_prefix('\'') {
        let mut chars = inner.chars();
        let first = chars.next()?;
        return match (first, chars.next()?) {
            ('\\', escaped) => Some(past("'", 2 + escaped.len_utf8())),
            (_, '\'') => Some(2 + first.len_utf8()),
            // A lifetime.
            _ => None,
        };
    }
    let raw = rest.strip_prefix("br").or(rest.strip_prefix('r')).filter(|_| !in_word)?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let open = rest.len() - raw.len() + hashes + 1;
    raw[hashes..].starts_with('"').then(|| past(&format!("\"{}", "#".repeat(hashes)), open))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, each with the byte that it begins at.
pub fn words_at(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut read = 0;
    std::iter::from_fn(move || {
        let start = read + text[read..].find(is_word)?;
        let len = text[start..].find(|c: char| !is_word(c)).unwrap_or(text.len() - start);
        read = start + len;
        Some((start, &text[start..read]))
    })
}

pub fn words(text: &str) -> impl Iterator<Item = &str> {
    words_at(text).map(|(_, word)| word)
}

pub fn has_word(text: &str, word: &str) -> bool {
    words(text).any(|w| w == word)
}

/// Where the item ends that begins at byte `from` of code: behind its body or its semicolon.
pub fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return from + at;
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return from + at + 1;
        }
    }
    code.len()
}

/// A function: its name, the line of it and how many it has, signature and body.
pub struct Function<'a> {
    pub name: &'a str,
    pub line: usize,
    pub lines: usize,
}

pub fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ").filter(|(at, _)| !code[..*at].ends_with(is_word)) {
        let Some(name) = words(&code[at + 3..]).next() else { continue };
        let line = code[..at].matches('\n').count() + 1;
        let lines = code[at..end_of_item(code, at)].matches('\n').count() + 1;
        found.push(Function { name, line, lines });
    }
    found
}

/// Code without what is only compiled for tests, line for line.
pub fn without_tests(code: &str) -> String {
    let (mut out, mut kept) = (String::with_capacity(code.len()), 0);
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        if at >= kept {
            let end = end_of_item(code, at + mark.len());
            out.push_str(&code[kept..at]);
            out.extend(code[at..end].matches('\n'));
            kept = end;
        }
    }
    out.push_str(&code[kept..]);
    out
}

#[test]
fn comments_and_literals_are_no_code() {
    let unsafe_in = |text: &str| has_word(&code(text), "unsafe");
    assert!(unsafe_in("let x = unsafe { f() };"));
    assert!(unsafe_in("let c = '\"'; unsafe { f(\"\") }"));
    assert!(unsafe_in("let c = '\\''; unsafe {}") && unsafe_in("&'a T; unsafe {}"));
    assert!(unsafe_in("r#\"\"# unsafe") && unsafe_in("\"\\\\\" unsafe"));
    assert!(!unsafe_in("// unsafe") && !unsafe_in("/* unsafe\n unsafe */"));
    assert!(!unsafe_in("let unsafe_count = \"unsafe\";"));
    assert!(!unsafe_in("\"a\\\" unsafe\"") && !unsafe_in("\"two\nunsafe\""));
    assert!(!unsafe_in("r#\"a \" unsafe\"#") && !unsafe_in("br\"\\\" \"unsafe\""));
    assert_eq!(code("a /* b\n */ c // d\ne").lines().count(), 3);
}

#[test]
fn functions_are_measured_from_the_name_to_the_last_brace() {
    let code = "fn a();\nfn b(x: [u8; 2]) -> T {\n    if x {\n    }\n}\nlet f: fn(u8) = g;";
    let found = functions(code);
    let found: Vec<_> = found.iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("a", 1, 1), ("b", 2, 4)]);
}

#[test]
fn what_is_only_compiled_for_tests_is_cut_out() {
    let code =
        "a;\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(test)]\nconst C: [u8; 2] = d;\ne;";
    let left = without_tests(code);
    assert_eq!(words(&left).collect::<Vec<_>>(), ["a", "e"]);
}

/// If the scan took a brace of a literal for one of the code, nothing else here could be trusted.
#[test]
fn in_the_code_of_every_source_braces_are_balanced() {
    let unbalanced = sources().iter().filter(|source| {
        source.code.matches('{').count() != source.code.matches('}').count()
            || source.code.lines().count() != source.text.lines().count()
    });
    nothing(unbalanced.map(|source| format!("{}: misread", source.path)).collect());
}
