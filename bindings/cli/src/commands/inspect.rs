//! `sapwood inspect`: what a GGUF file holds, and the memory that running it takes.

use std::path::PathBuf;

use sapwood_models::{Arch, Gguf, LoraConfig, Mapped};
use serde_json::{Value, json};

use crate::model::{ModelArguments, embedded};
use crate::output::{Failure, Format};

#[derive(clap::Args)]
pub struct Arguments {
    /// GGUF file; without it, the embedded model
    file: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    format: Format,
}

/// Tokens that the memory plan is made for.
const PLANNED_TOKENS: usize = 512;

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let path = arguments.file.as_ref().or(arguments.model.model.as_ref());
    let file = path.map_or_else(|| Ok(embedded()), Mapped::open)?;
    let gguf = Gguf::parse(file.bytes())?;
    let tensors: Vec<Value> = gguf
        .tensors()
        .iter()
        .map(|t| json!({ "name": t.name, "type": t.quant.name(), "dims": t.dims, "bytes": t.range.len() }))
        .collect();
    let parameters: usize = gguf.tensors().iter().map(|t| t.rows * t.cols).sum();
    let bytes: usize = gguf.tensors().iter().map(|t| t.range.len()).sum();
    // A file that is not a model we run (an adapter, a bare vocabulary) can still be looked at.
    let arch = Arch::from_gguf(&gguf);
    let plan = arch.as_ref().ok().map(|_| plan(file.clone(), arguments)).transpose()?;
    let value = json!({
        "arch": gguf.opt_str("general.architecture")?,
        "runs": arch.is_ok(),
        "why_not": arch.as_ref().err().map(ToString::to_string),
        "metadata": gguf.metadata().map(|(key, value)| (key.to_owned(), json!(value.to_string())))
            .collect::<serde_json::Map<_, _>>(),
        "tensors": tensors,
        "parameters": parameters,
        "bytes": bytes,
        "plan": plan,
    });
    arguments.format.print(&value, || text(&gguf, parameters, bytes, &value))
}

fn plan(file: Mapped, arguments: &Arguments) -> Result<Value, Failure> {
    let (model, _) = arguments.model.device.open(file)?;
    let training = model.plan_training(&LoraConfig::default(), PLANNED_TOKENS);
    let inference = model.plan_inference(PLANNED_TOKENS);
    Ok(json!({
        "tokens": PLANNED_TOKENS,
        "inference_bytes": inference.total_bytes(),
        "training_rank": LoraConfig::default().rank,
        "training_bytes": training.total_bytes(),
    }))
}

fn text(gguf: &Gguf, parameters: usize, bytes: usize, value: &Value) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for (key, value) in gguf.metadata() {
        let _ = writeln!(out, "{key:44} {value}");
    }
    for t in gguf.tensors() {
        let _ = writeln!(out, "{:44} {:6} {:?}", t.name, t.quant.name(), t.dims);
    }
    let _ = writeln!(
        out,
        "{parameters} parameters in {} tensors, {:.1} MiB",
        gguf.tensors().len(),
        bytes as f64 / 1_048_576.0
    );
    if let Some(plan) = value["plan"].as_object() {
        let mib = |key: &str| plan[key].as_f64().unwrap_or(0.0) / 1_048_576.0;
        let _ = writeln!(
            out,
            "memory for {} tokens: {:.1} MiB to generate, {:.1} MiB to train with rank {}",
            plan["tokens"],
            mib("inference_bytes"),
            mib("training_bytes"),
            plan["training_rank"]
        );
    }
    if let Some(why) = value["why_not"].as_str() {
        let _ = writeln!(out, "this file can't be run: {why}");
    }
    out
}
