//! The `sapwood` command as scripts use it: one JSON object on stdout, an exit status that tells
//! the truth, errors that say what to do.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use sapwood::{Config, Consent, Learner, Shown};
use sapwood_kernels::Device;
use sapwood_models::{EMBEDDED, Mapped, Message, Model, Role};
use sapwood_tests::{golden, sapwood};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    sapwood().args(arguments).output().unwrap()
}

/// The JSON object of a command that must succeed.
fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message of a command that must fail, with nothing on stdout.
fn failure(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert_eq!(output.stdout, b"", "{arguments:?} printed a result");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!message.contains("panicked"), "{arguments:?}: {message}");
    message
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small model of the golden files, which every machine has.
fn small_model() -> PathBuf {
    golden("llama.gguf")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn tokenize_prints_ids_without_special_tokens_unless_asked() {
    let model = small_model();
    let ids = |more: &[&str]| {
        let arguments = [&["tokenize", "-m", text(&model), "-p", "Hi", "--json"], more].concat();
        numbers(&json(&arguments)["ids"])
    };
    // The vocabulary is <unk> <s> </s>, the bytes, the space; one goes before the first word.
    let word = [259.0, f64::from(b'H') + 3.0, f64::from(b'i') + 3.0];
    assert_eq!(ids(&[]), word);
    assert_eq!(ids(&["--special"]), [&[1.0], &word[..]].concat());
}

#[test]
fn inspect_counts_what_is_in_the_file() {
    let model = small_model();
    let value = json(&["inspect", text(&model), "--json"]);
    assert_eq!(value["arch"], "llama");
    let parameters = 260 * 64 + 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 72 * 64);
    assert_eq!(value["parameters"], parameters);
    assert_eq!(value["bytes"], 4 * parameters);
}

#[test]
fn perplexity_is_that_of_llama_cpp() {
    let model = small_model();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    let sentence = "The small model has never seen this sentence. ";
    std::fs::write(&file, sentence.repeat(12)).unwrap();
    let value = json(&["perplexity", "-m", text(&model), "-f", text(&file), "-c", "64", "--json"]);
    // `llama-oracle perplexity` of tests/peers on the same text.
    let want = 2803.455;
    let got = value["perplexity"].as_f64().unwrap();
    assert!((got / want - 1.0).abs() < 1e-3, "{got}, llama.cpp {want}");
    assert_eq!(value["tokens"], 248);
}

#[test]
fn the_same_seed_draws_the_same_text() {
    let draw = |seed: &str| {
        let how = ["--temp", "1", "--seed", seed, "-n", "24", "--json"];
        json(&[&["generate", "-p", "Dear customer,"], &how[..]].concat())["ids"].clone()
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn an_adapter_is_trained_evaluated_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let (data, lora) = (folder.path().join("data.jsonl"), folder.path().join("lora.gguf"));
    let lines = [
        r#"{"prompt":"Which colour is the heartwood?","completion":"dark"}"#,
        r#"{"prompt":"Which colour is the sapwood?","completion":"light"}"#,
        r#"{"prompt":"Where does a tree grow?","completion":"in the sapwood"}"#,
    ];
    std::fs::write(&data, lines.join("\n")).unwrap();
    let (data, lora) = (text(&data), text(&lora));
    let eval = |more: &[&str]| json(&[&["eval", "--data", data, "--json"], more].concat());
    let before = eval(&[]);
    let rate = ["--iters", "30", "--learning-rate", "0.005", "--json"];
    let trained = json(&[&["train", "--data", data, "--lora", lora], &rate[..]].concat());
    let losses = numbers(&trained["losses"]);
    assert_eq!(losses.len(), 30);
    assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
    let after = eval(&["--lora", lora]);
    let nll = |value: &Value| value["nll"].as_f64().unwrap();
    assert!(nll(&after) < 0.5 * nll(&before), "{before} {after}");
    assert_eq!(after["accuracy"], 1.0, "{after}");
    let ask = ["generate", "--chat", "-p", "Which colour is the sapwood?", "-n", "8", "--json"];
    let base = json(&ask);
    let adapted = json(&[&ask[..], &["--lora", lora]].concat());
    assert_eq!(adapted["text"].as_str().unwrap().trim(), "light");
    assert!(base["adapter"].is_null() && adapted["adapter"].is_string());
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, lora) = (folder.path().join("data.jsonl"), folder.path().join("lora.gguf"));
    std::fs::write(&data, r#"{"prompt":"a","completion":"b"}"#).unwrap();
    json(&["train", "--data", text(&data), "--lora", text(&lora), "--iters", "1", "--json"]);
    for model in ["llama.gguf", "qwen2.gguf"] {
        let model = golden(model);
        failure(&["generate", "-m", text(&model), "-p", "x", "--lora", text(&lora)]);
    }
}

#[test]
fn all_that_a_store_keeps_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (store, to) = (folder.path().join("store"), folder.path().join("exported"));
    let (dir, to) = (text(&store), text(&to));
    assert!(failure(&["export", "--dir", dir, to]).contains("no store"));
    std::fs::write(store.with_extension("key"), [7; 32]).unwrap();
    let config = Config::new(&store, [7; 32]);
    let model = Model::from_mapped(Mapped::from_static(EMBEDDED), &Device::cpu(None)).unwrap();
    Learner::open(model, config.clone()).unwrap().set_consent(Consent::Granted).unwrap();
    let capture = Learner::open_capture(&config).unwrap();
    let turns = vec![Message::new(Role::User, "Tuesday?")];
    let shown = Shown {
        surface: "mail".into(),
        conversation: 1,
        instructions: None,
        turns,
        reply: "Fine.".into(),
        adapter: None,
    };
    let reply = capture.reply(shown).unwrap().unwrap();
    drop(capture);
    let done = json(&["export", "--dir", dir, to, "--json"]);
    assert_eq!((&done["turns"], &done["adapters"]), (&Value::from(1), &Value::from(0)));
    let turns = std::fs::read(Path::new(to).join("turns.json")).unwrap();
    let turns: Value = serde_json::from_slice(&turns).unwrap();
    assert_eq!(turns[0]["reply_id"], format!("{reply:032x}"));
    assert_eq!(turns[0]["reply"], "Fine.");
    assert!(failure(&["export", "--dir", dir, to]).contains("exported"), "it is not empty");
}

/// A conversation of one request, from a pipe.
fn chat(arguments: &[&str], request: &str) -> Output {
    let mut command = sapwood();
    command.args(["chat", "-n", "2"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{request}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_conversation_is_kept_only_if_somebody_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("my.store");
    let dir = text(&store);
    let kept = || json(&["signals", "--dir", dir, "--json"])["signals"].as_array().unwrap().len();
    for (consent, replies) in
        [(None, 0), (Some("yes"), 1), (None, 2), (Some("no"), 2), (None, 2), (Some("yes"), 3)]
    {
        let mut arguments = vec!["--dir", dir];
        arguments.extend(consent.iter().flat_map(|answer| ["--consent", answer]));
        let output = chat(&arguments, "Triage: it broke");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{said}");
        assert_eq!(kept(), replies, "{consent:?}: {said}");
    }
}

#[test]
fn a_key_belongs_to_its_store_and_is_never_made_for_one_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let (store, moved) = (folder.path().join("first"), folder.path().join("second.work"));
    assert!(failure(&["signals", "--dir", text(&store)]).contains("no store"));
    assert!(!store.exists(), "reading makes nothing");
    assert!(
        chat(&["--dir", text(&store), "--consent", "yes"], "Triage: it broke").status.success()
    );
    std::fs::rename(&store, &moved).unwrap();
    let dir = text(&moved);
    let kept = |more: &[&str]| {
        json(&[&["signals", "--dir", dir, "--json"], more].concat())["signals"].clone()
    };
    assert_eq!(kept(&[]).as_array().unwrap().len(), 1);
    let elsewhere = folder.path().join("secret");
    std::fs::rename(moved.join("key"), &elsewhere).unwrap();
    for command in [&["signals", "--dir", dir][..], &["chat", "--dir", dir]] {
        assert!(failure(command).contains("--key"), "{command:?}");
    }
    assert!(!moved.join("key").exists());
    assert_eq!(kept(&["--key", text(&elsewhere)]).as_array().unwrap().len(), 1);
    // Where keys were before they had a place in the store: of this one, not of a new one.
    std::fs::rename(&elsewhere, moved.with_extension("key")).unwrap();
    assert_eq!(kept(&[]).as_array().unwrap().len(), 1);
    let other = folder.path().join("second.home");
    assert!(chat(&["--dir", text(&other)], "Triage: it broke").status.success());
    let key = |path: &Path| std::fs::read(path).unwrap();
    assert_ne!(key(&other.join("key")), key(&moved.with_extension("key")));
    let mut names = std::fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.all(|name| !name.to_string_lossy().ends_with(".new")));
}

#[test]
fn an_imported_model_is_used_by_its_new_name() {
    let folder = tempfile::tempdir().unwrap();
    let (model, to) = (small_model(), folder.path().join("models"));
    let imported = json(&["import", text(&model), text(&to), "--copy", "--json"]);
    let path = imported["path"].as_str().unwrap();
    assert!(path.ends_with(&format!("{}.gguf", imported["digest"].as_str().unwrap())));
    let ask = |model: &str| json(&["tokenize", "-m", model, "-p", "Hi", "--json"]);
    assert_eq!(ask(path), ask(text(&model)));
    failure(&["import", text(&folder.path().join("missing.gguf")), text(&to)]);
}

#[test]
fn errors_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let whole = std::fs::read(small_model()).unwrap();
    std::fs::write(at("truncated.gguf"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(at("text.gguf"), "this is a text and not a model").unwrap();
    let broken = ["missing.gguf", "truncated.gguf", "text.gguf"].map(at);
    let mut messages: Vec<String> = Vec::new();
    for model in &broken {
        messages.push(failure(&["generate", "-m", text(model), "-p", "secret words"]));
        messages.push(failure(&["inspect", text(model)]));
    }
    let model = small_model();
    let lora = text(&model);
    messages.push(failure(&["generate", "-p", "secret words", "--lora", lora]));
    for message in &messages {
        assert!(message.starts_with("sapwood: ") && message.len() > 30, "{message}");
        assert!(!message.contains("secret"), "user text in an error: {message}");
    }
    // Usage errors have a status of their own.
    assert_eq!(run(&["generate", "--no-such-option"]).status.code(), Some(2));
}
