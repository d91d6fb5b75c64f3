//! What other languages see of the library: the interface in Kotlin, Swift and Python, the C header,
//! and the symbols that are exported. A change shows up as a difference to the files in
//! `tests/golden/api`; `SAPWOOD_UPDATE=1 cargo test -p sapwood-tests --test api` takes it over.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The library and the generator: in the folder that `SAPWOOD_BUILT` names, else as cargo builds them.
struct Built {
    library: PathBuf,
    generator: PathBuf,
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("SAPWOOD_BUILT") {
            let folder = PathBuf::from(folder);
            let library = ["libsapwood.so", "libsapwood.dylib"].map(|name| folder.join(name));
            let library = library.into_iter().find(|path| path.exists()).unwrap();
            return Built { library, generator: folder.join("sapwood-bindgen") };
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--message-format=json"]);
        cargo.args(["-p", "sapwood-ffi", "-p", "sapwood-bindgen"]).current_dir(root());
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let messages = String::from_utf8(output.stdout).unwrap();
        let paths: BTreeSet<&str> = messages.split('"').filter(|s| s.starts_with('/')).collect();
        let find = |names: &[&str]| {
            let named = |path: &&&str| names.iter().any(|name| path.ends_with(name));
            PathBuf::from(paths.iter().find(named).unwrap())
        };
        Built {
            library: find(&["/libsapwood.so", "/libsapwood.dylib"]),
            generator: find(&["/sapwood-bindgen"]),
        }
    })
}

/// Runs the generator; the one file that it wrote with this name.
fn generated(arguments: &[&str], file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&built().generator);
    command.args(arguments).arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(folder.path().join(file)).unwrap()
}

fn from_library(language: &str, file: &str) -> String {
    generated(&[language, built().library.to_str().unwrap()], file)
}

/// Without the call that test builds alone have.
fn without_planted(api: &str) -> String {
    let planted = |line: &&str| line.contains("panicInside") || line.contains("panic_inside");
    api.lines().filter(|line| !planted(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Compares with what was agreed on.
fn agrees(text: &str, file: &Path, how: &str) {
    if std::env::var_os("SAPWOOD_UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        return;
    }
    let agreed = fs::read_to_string(file).unwrap_or_default();
    let first = agreed.lines().zip(text.lines()).find(|(a, b)| a != b);
    let first = first.map_or_else(String::new, |(a, b)| format!("\n- {a}\n+ {b}"));
    assert!(agreed == text, "{} is not what the source says; {how}{first}", file.display());
}

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden/api").join(name)
}

const UPDATE: &str = "if that is meant, run the test with SAPWOOD_UPDATE=1";

/// Lines that declare something that an app can use, without the machinery around them.
fn declarations(text: &str, marks: &[&str], machinery: &[&str]) -> String {
    let declares = |line: &&str| {
        let trimmed = line.trim_start();
        marks.iter().any(|mark| trimmed.starts_with(mark))
            && !machinery.iter().any(|word| line.contains(word))
    };
    text.lines().filter(declares).flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[test]
fn kotlin_sees_what_was_agreed_on() {
    let text = from_library("kotlin", "sapwood/sapwood.kt");
    let marks = [
        "public interface ",
        "open class ",
        "data class ",
        "sealed class ",
        "enum class ",
        "class ",
        "object ",
        "fun `",
        "override fun `",
        "var `",
        "val `",
        "@Throws",
        "`",
    ];
    let machinery = ["niffi", "FfiConverter", "RustBuffer", "Forei", "Callback", ".destroy("];
    let api = declarations(&text, &marks, &machinery);
    assert!(api.contains("`trainSlice`") && api.contains("class LearnerException"), "{api}");
    agrees(&without_planted(&api), &golden("kotlin.txt"), UPDATE);
}

#[test]
fn swift_sees_what_was_agreed_on() {
    let text = from_library("swift", "Sapwood.swift");
    // Before and after lies machinery alone.
    let begin = text.find("public protocol ChatProtocol").unwrap();
    let end = text.find("private enum InitializationResult").unwrap();
    let mut api = String::new();
    for line in text[begin..end].lines() {
        let line = line.rsplit("*/").next().unwrap().split('{').next().unwrap();
        let line = line.trim().trim_end_matches(',');
        let marks = [
            "open class ",
            "open func ",
            "public static func `",
            "public convenience init(",
            "public struct ",
            "public enum ",
            "enum LearnerError",
            "public func code",
            "public func version",
            "case ",
        ];
        let machinery = ["niffi", "FfiConverter", "NoHandle", "case .", "case let ", "return "];
        // Fields of records and of cases stand on lines of their own, with their defaults.
        let field = line.split_once(": ").is_some_and(|(name, kind)| {
            name.chars().all(char::is_alphanumeric)
                && kind.starts_with(|c: char| c == '[' || c.is_ascii_uppercase())
        });
        if (field || marks.iter().any(|mark| line.starts_with(mark)))
            && !machinery.iter().any(|word| line.contains(word))
        {
            api += line;
            api.push('\n');
        }
    }
    assert!(api.contains("func setConsent(") && api.contains("enum LearnerError"), "{api}");
    agrees(&without_planted(&api), &golden("swift.txt"), UPDATE);
}

#[test]
fn python_sees_what_was_agreed_on() {
    let text = from_library("python", "sapwood.py");
    // Fields of records and of variants, with their defaults, are what a constructor takes.
    let declares = |line: &&str| {
        let trimmed = line.trim_start();
        let marks = ["class ", "def __init__(self, ", "@", "__all__"];
        let called = trimmed.starts_with("def ") && !trimmed.starts_with("def _");
        let is_upper = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let value = trimmed.split_once(" = ").is_some_and(|(name, _)| is_upper(name));
        (called || marks.iter().any(|mark| trimmed.starts_with(mark)) || value)
            && !["ctypes", "*args"].iter().any(|word| line.contains(word))
    };
    // Machinery is what stands in classes of its own.
    let mut inside = false;
    let mut api = String::new();
    for line in text.lines().filter(declares) {
        if line.starts_with("class ") {
            inside = !line.starts_with("class _") && !line.starts_with("class InternalError");
        } else if !line.starts_with(' ') {
            inside = line.starts_with("def ") && !line.starts_with("def _");
        }
        if inside {
            api += line;
            api.push('\n');
        }
    }
    assert!(api.contains("def train_slice") && api.contains("class LearnerError"), "{api}");
    assert!(api.contains("learning_rate:float = 0.001") && api.contains("NO_NEED = 0"), "{api}");
    agrees(&without_planted(&api), &golden("python.txt"), UPDATE);
}

#[test]
fn the_checked_in_header_is_what_the_source_says() {
    let header = generated(&["c"], "sapwood.h");
    assert!(header.contains("sapwood_train_slice") && header.contains("SAPWOOD_FAULT 9"));
    let how = "run `cargo run -p sapwood-bindgen -- c bindings/c/include`";
    agrees(&header, &root().join("bindings/c/include/sapwood.h"), how);
}

#[test]
fn nothing_but_the_interface_is_exported() {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&built().library).output();
    let Ok(output) = output else {
        println!("SKIPPED: there is no nm to list symbols with");
        return;
    };
    let symbols = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = symbols.lines().filter_map(|l| l.split_whitespace().nth(2)).collect();
    assert!(names.contains(&"sapwood_open") && names.len() > 50, "{} symbols", names.len());
    let ours = ["sapwood_", "ffi_sapwood_", "uniffi_sapwood_", "UNIFFI_META_"];
    let others: Vec<&&str> =
        names.iter().filter(|name| !ours.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert!(others.is_empty(), "{others:?}");
    // Every function that the header declares is there, and no other one of C's.
    let header = fs::read_to_string(root().join("bindings/c/include/sapwood.h")).unwrap();
    for name in names.iter().filter(|name| name.starts_with("sapwood_")) {
        assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
    }
}
