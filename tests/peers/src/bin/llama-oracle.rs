//! llama.cpp's answers as JSON on stdout, for scripts and for looking at a difference by hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sapwood_kernels::Quant;
use sapwood_peers::llama::Llama;
use sapwood_peers::quantize::{Recipe, quantize};
use sapwood_peers::random::{Shape, write_model};
use sapwood_peers::{Result, compare};
use serde_json::{Value, json};

const USAGE: &str = "\
usage: llama-oracle COMMAND MODEL [--lora FILE | --gpu] [-t THREADS] ...
  tokenize   MODEL (-p TEXT | -f FILE) [--special]
  logits     MODEL --ids A,B,C [--decode N] --out FILE   prompt's last logits, then N greedy steps
  greedy     MODEL (--ids A,B,C | -p TEXT) [-n N]
  perplexity MODEL -f FILE [-c WINDOW]
  bench      MODEL [-p PROMPT] [-n DECODE] [-r REPEATS]
  random     SHAPE --out FILE [--layers N]   a random F16 model of a well-known shape
                                             (Qwen2.5-0.5B), or of its first layers
  quantize   MODEL --out FILE --type Q4_K_M [--pure]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let answer = Arguments::parse(&arguments).and_then(|a| answer(&a));
    match answer {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("llama-oracle: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The command, the model and the options, each option with its value (empty for a switch).
struct Arguments {
    command: String,
    model: PathBuf,
    options: HashMap<String, String>,
}

impl Arguments {
    fn parse(arguments: &[String]) -> Result<Self> {
        let [command, model, rest @ ..] = arguments else { return Err(USAGE.into()) };
        let mut options = HashMap::new();
        let mut rest = rest.iter();
        while let Some(name) = rest.next() {
            let switch = matches!(name.as_str(), "--special" | "--pure" | "--gpu");
            let value = if switch { Some(String::new()) } else { rest.next().cloned() };
            let value = value.ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            options.insert(name.clone(), value);
        }
        Ok(Arguments { command: command.clone(), model: PathBuf::from(model), options })
    }

    fn get(&self, name: &str) -> Result<&str> {
        let value = self.options.get(name).map(String::as_str);
        value.ok_or_else(|| format!("{name} is missing\n{USAGE}").into())
    }

    fn number(&self, name: &str, default: usize) -> Result<usize> {
        match self.options.get(name) {
            Some(value) => Ok(value.parse()?),
            None => Ok(default),
        }
    }

    fn text(&self) -> Result<Vec<u8>> {
        match self.options.get("-f") {
            Some(file) => Ok(std::fs::read(file)?),
            None => Ok(self.get("-p")?.as_bytes().to_vec()),
        }
    }

    fn ids(&self, llama: &Llama) -> Result<Vec<u32>> {
        match self.options.get("--ids") {
            Some(list) => {
                Ok(list.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?)
            }
            None => Ok(llama.tokenize(&self.text()?, true, false)),
        }
    }

    fn open(&self) -> Result<Llama> {
        let llama = match (self.options.get("--lora"), self.options.contains_key("--gpu")) {
            (Some(file), false) => Llama::open_with_adapter(&self.model, Path::new(file), 1.0)?,
            (None, false) => Llama::open(&self.model)?,
            (None, true) => Llama::open_on_gpu(&self.model)?,
            (Some(_), true) => return Err("adapters are for the processor here".into()),
        };
        Ok(llama.with_threads(self.number("-t", 2)? as i32))
    }
}

fn answer(a: &Arguments) -> Result<Value> {
    match a.command.as_str() {
        "tokenize" => {
            let special = a.options.contains_key("--special");
            Ok(json!({ "ids": a.open()?.tokenize(&a.text()?, special, special) }))
        }
        "logits" => logits(a),
        "greedy" => {
            let mut llama = a.open()?;
            let prompt = a.ids(&llama)?;
            let (ids, _) = llama.greedy(&prompt, a.number("-n", 200)?)?;
            let text = llama.text(&ids);
            Ok(json!({ "prompt": prompt, "ids": ids, "text": String::from_utf8_lossy(&text) }))
        }
        "perplexity" => {
            let (perplexity, tokens) = a.open()?.perplexity(&a.text()?, a.number("-c", 512)?)?;
            Ok(json!({ "perplexity": perplexity, "tokens": tokens }))
        }
        "bench" => bench(a),
        "quantize" => {
            let name: &'static str = Box::leak(a.get("--type")?.to_owned().into_boxed_str());
            let pure = a.options.contains_key("--pure");
            let recipe = if pure { Recipe::Pure(name) } else { Recipe::Mixture(name) };
            quantize(&a.model, Path::new(a.get("--out")?), recipe)?;
            Ok(json!({ "out": a.get("--out")?, "type": name }))
        }
        "random" => random(a),
        other => Err(format!("no command is called {other}\n{USAGE}").into()),
    }
}

fn bench(a: &Arguments) -> Result<Value> {
    let (p, n, r) = (a.number("-p", 512)?, a.number("-n", 64)?, a.number("-r", 3)?);
    let mut llama = a.open()?;
    let speed = llama.bench(p, n, r)?;
    Ok(json!({
        "gpu": llama.gpu(),
        "prefill_tokens_per_second": speed.prefill,
        "decode_tokens_per_second": speed.decode,
    }))
}

fn random(a: &Arguments) -> Result<Value> {
    let name = a.model.to_string_lossy();
    let shapes = Shape::REAL;
    let shape = shapes.iter().find(|s| s.0 == name);
    let names: Vec<_> = shapes.iter().map(|s| s.0).collect();
    let (_, vocab, shape) =
        shape.ok_or_else(|| format!("no shape is called {name}: {}", names.join(" ")))?;
    let shape = Shape { layers: a.number("--layers", shape.layers)?, ..*shape };
    write_model(Path::new(a.get("--out")?), &shape, *vocab, Quant::F16, 1)?;
    Ok(json!({ "out": a.get("--out")? }))
}

/// Writes little-endian f32 logits: of the prompt's last token, then of each greedy token.
fn logits(a: &Arguments) -> Result<Value> {
    let mut llama = a.open()?;
    let prompt = a.ids(&llama)?;
    let decode = a.number("--decode", 0)?;
    let mut session = llama.session(prompt.len() + decode)?;
    let mut last = session.feed(&prompt)?;
    let (mut bytes, mut ids) = (Vec::new(), Vec::new());
    for step in 0..=decode {
        bytes.extend(last.iter().flat_map(|x| x.to_le_bytes()));
        if step < decode {
            let id = compare::argmax(&last);
            ids.push(id);
            last = session.feed(&[id])?;
        }
    }
    std::fs::write(a.get("--out")?, &bytes)?;
    Ok(json!({ "ids": ids, "vocab": last.len(), "steps": decode + 1 }))
}
