//! The files that comparisons run on.

use std::path::{Path, PathBuf};

/// Compute threads of both engines when numbers are compared. One, because llama.cpp's threads wait
/// for each other by spinning: beside other work, two are many times slower than one.
pub const THREADS: usize = 1;

/// Folder of test data beside the checkout, if this machine has it. Nothing needs it to build or
/// to run: a test without it says so and passes.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: ../shared/data/{name} is not on this machine");
    None
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The embedded default model.
///
/// # Panics
/// If it is not there: it is part of the project.
pub fn embedded_model() -> PathBuf {
    let assets = root().join("models/assets");
    let files = std::fs::read_dir(&assets).expect("models/assets");
    let mut models = files.filter_map(|f| f.ok().map(|f| f.path()));
    models
        .find(|path| path.extension().is_some_and(|e| e == "gguf"))
        .expect("a GGUF file in models/assets")
}

/// The trained models of the test data: stories260K, BabyLlama and TinyStories-656K, each in F32,
/// Q8_0 and Q4_0.
pub fn trained_models() -> Vec<PathBuf> {
    const MODELS: [(&str, &str); 3] = [
        ("stories260k", "stories260K"),
        ("babyllama", "babyllama361"),
        ("tinystories656k", "tinystories656k"),
    ];
    let Some(folder) = shared("models") else { return Vec::new() };
    let file =
        |dir: &str, stem: &str, quant: &str| folder.join(dir).join(format!("{stem}-{quant}.gguf"));
    let all =
        MODELS.iter().flat_map(|&(dir, stem)| ["F32", "Q8_0", "Q4_0"].map(|q| file(dir, stem, q)));
    all.collect()
}

/// Name of a file without its folder.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
