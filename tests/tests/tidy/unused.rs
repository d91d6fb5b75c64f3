//! Public items that nothing in the product uses. Inside a crate the compiler tells; it can't know
//! who stands outside. Names are compared as words, so one that two items share passes if either is
//! used; of a method only calls count.

use std::collections::HashSet;

use crate::source::{Source, end_of_item, has_word, without_tests, words, words_at};
use crate::tree::{nothing, sources};

/// Items that only tests use, by file, with the reason why the product has them.
const FOR_TESTS: [(&str, &[&str]); 15] = [
    // The definition that fused programs are compared with.
    ("kernels/src/device.rs", &["compile_unfused"]),
    // What the self-test cost, and what the driver says beside our own account of memory.
    ("kernels/src/gpu/mod.rs", &["driver_bytes", "tried"]),
    // The product reads block types; those who write them are tests that make a model of each.
    ("kernels/src/quant/mod.rs", &["can_quantize", "quantize"]),
    // What the places of tensors are held against.
    ("models/src/gguf/mod.rs", &["alignment"]),
    // Vocabularies of made-up models. What the product writes has no array of numbers.
    ("models/src/gguf/write.rs", &["put_f32s", "put_i32s"]),
    // What a host may ask of an error, and of its own disk. The disk that forgets is there for tests.
    ("runtime/src/disk/mod.rs", &["sim"]),
    ("runtime/src/disk/real.rs", &["root"]),
    (
        "runtime/src/disk/sim.rs",
        &["from_image", "image", "is_dead", "operations", "set_capacity", "take_moments"],
    ),
    ("runtime/src/disk/sim/image.rs", &["after_power"]),
    // Gives a mutated image its check values back, so that fuzzing gets past them.
    ("runtime/src/fuzz.rs", &["mend"]),
    // When a record was made: tests ask what came back.
    ("runtime/src/journal/record.rs", &["time_ms"]),
    // Dead but for their own tests.
    ("runtime/src/learn/posterior.rs", &["delta"]),
    // Draws for tests of statistics.
    ("runtime/src/rng.rs", &["chance", "normal"]),
    // The filter for secrets on a text by itself; the journal asks with the text before it.
    ("runtime/src/secret/mod.rs", &["redact"]),
    // What a rollback would return to, and a planted fault of the protocol.
    ("runtime/src/store/mod.rs", &["fallback", "plant"]),
];

/// What a name behind it is defined by.
const KEYWORDS: [&str; 8] = ["fn", "struct", "enum", "trait", "const", "type", "static", "mod"];

/// Path and code of every file of the product. A bench is none.
fn product(sources: &[Source]) -> Vec<(&str, String)> {
    let mut test_modules = HashSet::new();
    for source in sources {
        let folder = match source.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
            _ => source.path.trim_end_matches(".rs"),
        };
        for (at, mark) in source.code.match_indices("#[cfg(test)]") {
            let item = &source.code[at + mark.len()..end_of_item(&source.code, at + mark.len())];
            let mut words = words(item).skip_while(|word| *word != "mod");
            if let (Some(_), Some(module), true) = (words.next(), words.next(), item.ends_with(';'))
            {
                test_modules.insert(format!("{folder}/{module}"));
            }
        }
    }
    let of_tests = |path: &str| {
        let stem = path.trim_end_matches(".rs");
        let mut folders = stem.match_indices('/').map(|(at, _)| &stem[..at]).chain([stem]);
        path.starts_with("tests/")
            || ["/tests/", "/benches/"].iter().any(|part| path.contains(part))
            || folders.any(|folder| test_modules.contains(folder))
    };
    let product = sources.iter().filter(|source| !of_tests(&source.path));
    product.map(|source| (source.path.as_str(), without_tests(&source.code))).collect()
}

struct Item<'a> {
    line: usize,
    name: &'a str,
    /// Whether it is a function of a value: then a name that is no call is somebody else's.
    is_method: bool,
}

impl Item<'_> {
    /// The item whose keyword stands at byte `at` of code.
    fn at<'a>(code: &'a str, at: usize, keyword: &str) -> Option<Item<'a>> {
        let item = &code[at + keyword.len()..end_of_item(code, at)];
        let parameters = item.split_once('(').map_or("", |(_, parameters)| parameters);
        let first = parameters.split([',', ')']).next().unwrap_or_default();
        let is_method = keyword == "fn" && has_word(first, "self");
        let line = code[..at].matches('\n').count() + 1;
        Some(Item { line, name: words(item).next()?, is_method })
    }
}

/// The public items of a file, and the methods of its traits.
fn public_items(code: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    for (at, _) in code.match_indices("pub ") {
        let mut words = words_at(&code[at..]).skip(1);
        let modifier = |word: &str| matches!(word, "unsafe" | "async");
        let Some((mut place, mut keyword)) = words.find(|(_, word)| !modifier(word)) else {
            continue;
        };
        if keyword == "const"
            && let Some((next, "fn")) = words.next()
        {
            (place, keyword) = (next, "fn");
        }
        if KEYWORDS.contains(&keyword) {
            items.extend(Item::at(code, at + place, keyword));
        }
    }
    for (at, _) in code.match_indices("trait ") {
        let methods = code[at..end_of_item(code, at)].match_indices("fn ");
        items.extend(methods.filter_map(|(inside, _)| Item::at(code, at + inside, "fn")));
    }
    items
}

/// What names are used for: those that are called, and all that stand where nothing is defined.
#[derive(Default)]
struct Uses<'a> {
    called: HashSet<&'a str>,
    mentioned: HashSet<&'a str>,
}

impl<'a> Uses<'a> {
    fn add(&mut self, code: &'a str) {
        let mut previous = "";
        for (at, word) in words_at(code) {
            let (before, after) = (code[..at].trim_end(), code[at + word.len()..].trim_start());
            let is_call = after.starts_with('(') || after.starts_with("::");
            if before.ends_with("::") || before.ends_with('.') && is_call {
                self.called.insert(word);
            }
            if !KEYWORDS.contains(&previous) {
                self.mentioned.insert(word);
            }
            previous = word;
        }
    }

    fn has(&self, item: &Item<'_>) -> bool {
        if item.is_method {
            self.called.contains(item.name)
        } else {
            self.mentioned.contains(item.name)
        }
    }
}

fn unused(sources: &[Source], listed: &[(&str, &[&str])]) -> Vec<String> {
    let product = product(sources);
    let mut uses = Uses::default();
    product.iter().for_each(|(_, code)| uses.add(code));
    let mut complaints = Vec::new();
    let mut needed = HashSet::new();
    let crates = ["kernels/src/", "models/src/", "runtime/src/"];
    for (path, code) in
        product.iter().filter(|(path, _)| crates.iter().any(|c| path.starts_with(c)))
    {
        for item in public_items(code).iter().filter(|item| !uses.has(item)) {
            let Item { line, name, .. } = *item;
            if listed.iter().any(|(file, names)| file == path && names.contains(&name)) {
                needed.insert((*path, name));
            } else {
                complaints.push(format!("{path}:{line}: nothing in the product uses {name}"));
            }
        }
    }
    let listed =
        listed.iter().flat_map(|(file, names)| names.iter().map(move |name| (*file, *name)));
    let stale = listed.filter(|place| !needed.contains(place));
    complaints
        .extend(stale.map(|(file, name)| format!("{file}: {name} is listed as unused, is not")));
    complaints
}

#[test]
fn every_public_item_is_used_by_the_product() {
    nothing(unused(sources(), &FOR_TESTS));
}

#[test]
fn a_planted_item_that_only_tests_use_is_noticed() {
    let planted = |user: (&str, &str)| {
        let item = "/// See `f`.\npub fn f() {}\n#[cfg(test)]\nmod tests {\n    fn t() { f() }\n}";
        let sources = [Source::new("models/src/a.rs", item), Source::new(user.0, user.1)];
        unused(&sources, &[])
    };
    let noticed = ["models/src/a.rs:2: nothing in the product uses f"];
    assert_eq!(planted(("tests/src/b.rs", "fn g() { f() }")), noticed);
    assert_eq!(planted(("models/tests/b.rs", "fn g() { f() }")), noticed);
    assert_eq!(planted(("runtime/src/b.rs", "fn f() { \"f\" }")), noticed, "a name of its own");
    assert!(planted(("runtime/src/b.rs", "fn g() { f() }")).is_empty());
}

#[test]
fn what_a_module_for_tests_uses_is_used_by_tests() {
    let sources = [
        Source::new("runtime/src/a/mod.rs", "#[cfg(test)]\nmod c;\npub const fn f() {}\nmod d;"),
        Source::new("runtime/src/a/c.rs", "fn g() { f() }"),
    ];
    assert_eq!(unused(&sources, &[]), ["runtime/src/a/mod.rs:3: nothing in the product uses f"]);
    let used = Source::new("runtime/src/a/d.rs", "fn g() { f() }");
    let [first, second] = sources;
    assert!(unused(&[first, second, used], &[]).is_empty());
}

#[test]
fn a_planted_method_that_nothing_calls_is_noticed() {
    let code = "pub trait T {\n    fn called(self);\n    fn forgotten(self);\n}\n\
                impl T for u8 {\n    fn called(self) {}\n    fn forgotten(self) {}\n}\n\
                pub(crate) fn g(t: impl T, s: S) { t.called(); s.forgotten = 1; }";
    let sources = [Source::new("kernels/src/a.rs", code)];
    assert_eq!(
        unused(&sources, &[]),
        ["kernels/src/a.rs:3: nothing in the product uses forgotten"]
    );
    let sources = [Source::new("kernels/src/a.rs", &format!("{code}\nfn h() {{ T::forgotten }}"))];
    assert!(unused(&sources, &[]).is_empty());
}

#[test]
fn an_item_listed_as_unused_without_need_is_noticed() {
    let sources = [Source::new("kernels/src/a.rs", "pub struct S;")];
    assert!(unused(&sources, &[("kernels/src/a.rs", &["S"])]).is_empty());
    let stale = unused(&sources, &[("kernels/src/a.rs", &["S", "T"])]);
    assert_eq!(stale, ["kernels/src/a.rs: T is listed as unused, is not"]);
}
