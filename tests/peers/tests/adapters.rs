//! Adapters both ways: one made by a script in both engines, one trained here in llama.cpp.

use std::path::Path;

use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::{Device, Quant};
use sapwood_models::{Adapter, AdapterFile, LoraConfig, Model, Sequence, Stop};
use sapwood_peers::compare::{CHANCE, nmse};
use sapwood_peers::data;
use sapwood_peers::llama::Llama;
use sapwood_peers::quantize::{Recipe, quantize};
use sapwood_peers::random::{BYTE_TOKENS, Shape, write_adapter, write_model};

/// Errors of our logits to llama.cpp's with the adapter in both.
struct Errors {
    /// To llama.cpp on the same base.
    same: f64,
    /// To llama.cpp on the base's weights in f32, where it rounds nothing.
    exact: f64,
    /// What llama.cpp's own rounding of activations costs it.
    theirs: f64,
    /// Of our logits without the adapter: an adapter that both ignore would agree too.
    without: f64,
}

impl Errors {
    /// As in the logits' test: we are within the bar of llama.cpp, or of what is exact, or where
    /// its own rounding costs it more than the bar, no worse than it but for chance; and the
    /// engines are apart by no more than both roundings explain.
    fn check(&self, name: &str, float: bool, moves: f64) {
        let Errors { same, exact, theirs, without } = self;
        println!(
            "MEASURED: {name}: NMSE to llama.cpp {same:.1e}, to its f32 on the same weights \
             {exact:.1e}, its own {theirs:.1e}, without the adapter {without:.1e}"
        );
        let bar = if float { 1e-6 } else { 5e-4 };
        let right = *same < bar || *exact < bar.max(CHANCE * theirs);
        assert!(right, "{name}: {exact}, llama.cpp {theirs}");
        assert!(*same < f64::max(bar, 2.0 * (exact + theirs)), "{name}: {same} apart");
        assert!(*without > moves, "{name}: the adapter does nothing");
    }
}

fn compare(base: &Path, file: &Path, adapter: &Adapter, model: &Model) -> Errors {
    let mut random = SplitMix64(41);
    let ids: Vec<u32> = (0..96).map(|_| random.below(BYTE_TOKENS) as u32).collect();
    let (prompt, rest) = ids.split_at(64);
    let run = |adapter: Option<&Adapter>| {
        let mut cache = model.cache(ids.len());
        let mut logits = model.step(&mut cache, adapter, prompt).unwrap();
        for &id in rest {
            logits.extend(model.step(&mut cache, adapter, &[id]).unwrap());
        }
        logits
    };
    let (with, without) = (run(Some(adapter)), run(None));
    let theirs = |base: &Path| {
        let mut llama = Llama::open_with_adapter(base, file, 1.0).unwrap();
        let mut session = llama.session(ids.len()).unwrap();
        let mut logits = session.feed(prompt).unwrap();
        for &id in rest {
            logits.extend(session.feed(&[id]).unwrap());
        }
        logits
    };
    let float = file.with_extension("f32.gguf");
    quantize(base, &float, Recipe::Pure("F32")).unwrap();
    let (exact, rounded) = (theirs(&float), theirs(base));
    Errors {
        same: nmse(&with, &rounded),
        exact: nmse(&with, &exact),
        theirs: nmse(&rounded, &exact),
        without: nmse(&without, &exact),
    }
}

/// The adapter of a file on the model, as the runtime loads it.
fn load(model: &Model, file: &Path) -> Adapter {
    let file = AdapterFile::open(file, model.arch()).unwrap();
    model.load_adapter(&file).unwrap()
}

#[test]
fn an_adapter_from_a_script_works_in_both() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, shape) in Shape::SMALL {
        write_model(&at("f32.gguf"), &shape, BYTE_TOKENS, Quant::F32, 42).unwrap();
        for quant in ["F32", "Q4_0", "Q8_0", "Q4_K"] {
            match quant {
                "F32" => std::fs::copy(at("f32.gguf"), at("base.gguf")).map(|_| ()).unwrap(),
                _ => quantize(&at("f32.gguf"), &at("base.gguf"), Recipe::Pure(quant)).unwrap(),
            }
            write_adapter(&at("lora.gguf"), &at("base.gguf"), 8, 43).unwrap();
            let model = Model::open(&at("base.gguf"), &Device::cpu(Some(data::THREADS))).unwrap();
            let adapter = load(&model, &at("lora.gguf"));
            let errors = compare(&at("base.gguf"), &at("lora.gguf"), &adapter, &model);
            errors.check(&format!("{name} {quant}"), quant == "F32", 1e-2);
        }
    }
}

#[test]
fn an_adapter_trained_here_works_in_llama_cpp() {
    let folder = data::root().join("tests/golden/peft");
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("trained.gguf");
    for name in ["llama", "llama3", "qwen2", "qwen3", "gemma3"] {
        let base = folder.join(format!("{name}.gguf"));
        let model = Model::open(&base, &Device::cpu(Some(data::THREADS))).unwrap();
        let config = LoraConfig { rank: 4, ..LoraConfig::default() };
        let mut adapter = model.new_adapter(&config, 44);
        let mut random = SplitMix64(45);
        let ids: Vec<u32> = (0..40).map(|_| random.below(BYTE_TOKENS) as u32).collect();
        let sequence = Sequence::after_prompt(ids, 10);
        let stop = Stop::new();
        let mut values = adapter.values();
        let (mut first, mut last) = (0.0, 0.0);
        // Plain normalized steps: enough to move A and B, and to see the loss fall.
        for step in 0..12 {
            let trace = model.trace(Some(&adapter), &sequence, &stop).unwrap();
            last = -trace.logp.iter().sum::<f32>() / trace.logp.len() as f32;
            if step == 0 {
                first = last;
            }
            let dlogp = vec![-1.0; trace.logp.len()];
            let mut gradient = vec![0.0; values.len()];
            model.backward(&adapter, trace, &dlogp, &mut gradient, &stop).unwrap();
            let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            for (value, g) in values.iter_mut().zip(&gradient) {
                *value -= 0.5 * g / norm;
            }
            adapter.write(&values);
        }
        assert!(last < first - 0.1, "{name}: training did not lower the loss: {first} {last}");
        std::fs::write(&file, model.adapter_file(&adapter, None).to_bytes()).unwrap();
        println!("MEASURED: {name}: trained here from loss {first:.3} to {last:.3}");
        let errors = compare(&base, &file, &adapter, &model);
        errors.check(&format!("{name}, trained here"), name.starts_with("llama"), 1e-3);
    }
}
