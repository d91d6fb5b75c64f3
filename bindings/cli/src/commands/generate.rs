//! `sapwood generate`: a completion, with figures.

use std::time::{Duration, Instant};

use sapwood::sample::{Sampler, Sampling};
use sapwood_models::{Adapter, Cache, Message, Model, Role, Special, Stop};
use serde_json::json;

use super::TextArguments;
use crate::model::{AdapterArguments, ModelArguments};
use crate::output::{Failure, Format, rounded};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    text: TextArguments,
    /// Most tokens to generate
    #[arg(short = 'n', default_value_t = 128, value_name = "N")]
    tokens: usize,
    /// Context size in tokens; by default what prompt and reply need
    #[arg(short = 'c', long, value_name = "N")]
    context: Option<usize>,
    /// Put the prompt through the model's chat template
    #[arg(long)]
    chat: bool,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    adapter: AdapterArguments,
    #[command(flatten)]
    format: Format,
}

/// How tokens are drawn.
#[derive(clap::Args)]
pub struct SamplingArguments {
    /// Temperature; 0 is greedy
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    temp: f32,
    /// Keep the K likeliest tokens; 0 keeps all
    #[arg(long, default_value_t = 40, value_name = "K")]
    top_k: usize,
    /// Keep the likeliest tokens that hold this much probability
    #[arg(long, default_value_t = 0.95, value_name = "P")]
    top_p: f32,
    /// Keep tokens with at least this share of the likeliest one's probability
    #[arg(long, default_value_t = 0.05, value_name = "P")]
    min_p: f32,
    /// Divide the logits of recent tokens
    #[arg(long, default_value_t = 1.0, value_name = "F")]
    repeat_penalty: f32,
    /// Seed of the random draw
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

impl SamplingArguments {
    /// The settings.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            seed: self.seed,
            ..Sampling::default()
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let model = arguments.model.open()?;
    let adapter = arguments.adapter.open(&model)?;
    let text = arguments.text.read()?;
    let ids = prompt_ids(&model, &text, arguments.chat)?;
    let made = complete(&model, adapter.as_ref(), &ids, arguments)?;
    let value = json!({
        "text": made.text,
        "ids": made.ids,
        "prompt_tokens": ids.len(),
        "generated_tokens": made.ids.len(),
        "prefill_tokens_per_second": rounded(made.prefill_rate, 2),
        "decode_tokens_per_second": rounded(made.decode_rate, 2),
        "adapter": adapter.map(|a| sapwood::store::hex(&a.digest())),
    });
    arguments.format.print(&value, || made.text.clone())
}

fn prompt_ids(model: &Model, text: &str, chat: bool) -> Result<Vec<u32>, Failure> {
    if !chat {
        return Ok(model.tokenizer().encode(text, Special { add: true, parse: true }));
    }
    let turn = Message { role: Role::User, content: text.to_owned() };
    let prompt = sapwood::Prompt { turns: vec![turn], ..sapwood::Prompt::default() };
    Ok(prompt.tokens(model, usize::MAX)?)
}

struct Completion {
    text: String,
    ids: Vec<u32>,
    prefill_rate: f64,
    decode_rate: f64,
}

fn complete(
    model: &Model,
    adapter: Option<&Adapter>,
    prompt: &[u32],
    arguments: &Arguments,
) -> Result<Completion, Failure> {
    let capacity = arguments.context.unwrap_or(prompt.len() + arguments.tokens);
    let mut cache = model.cache(capacity);
    let mut sampler = Sampler::new(arguments.sampling.sampling())?;
    let settings = sampler.settings();
    let start = Instant::now();
    // Without a penalty the likeliest token needs no logits here: a GPU goes on without them.
    let (ids, prefill) = match (settings.temperature, settings.repetition_penalty) {
        (0.0, 1.0) => likeliest(model, &mut cache, adapter, prompt, arguments.tokens)?,
        _ => sampled(model, &mut cache, adapter, prompt, arguments.tokens, &mut sampler)?,
    };
    let decode = start.elapsed() - prefill;
    let decoded = ids.len().saturating_sub(1).max(1);
    let mut stream = model.tokenizer().stream(!prompt.is_empty());
    let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
    text.push_str(&stream.finish());
    Ok(Completion {
        text,
        ids,
        prefill_rate: prompt.len() as f64 / prefill.as_secs_f64(),
        decode_rate: decoded as f64 / decode.as_secs_f64(),
    })
}

/// The tokens of a reply, and the time that the prompt took.
type Drawn = Result<(Vec<u32>, Duration), Failure>;

fn likeliest(
    model: &Model,
    cache: &mut Cache,
    adapter: Option<&Adapter>,
    prompt: &[u32],
    most: usize,
) -> Drawn {
    let (start, stop) = (Instant::now(), Stop::new());
    let mut tokens = model.likeliest(cache, adapter, prompt, most, &stop)?;
    let (mut ids, mut next) = (Vec::new(), tokens.next());
    let prefill = start.elapsed();
    while let Some(token) = next.transpose()? {
        if model.tokenizer().is_end(token) {
            break;
        }
        ids.push(token);
        next = tokens.next();
    }
    Ok((ids, prefill))
}

fn sampled(
    model: &Model,
    cache: &mut Cache,
    adapter: Option<&Adapter>,
    prompt: &[u32],
    most: usize,
    sampler: &mut Sampler,
) -> Drawn {
    let start = Instant::now();
    let mut logits = model.step(cache, adapter, prompt)?;
    let prefill = start.elapsed();
    let mut ids = Vec::new();
    while ids.len() < most {
        let token = sampler.sample(&logits, &ids, ids.len() as u64)?;
        if model.tokenizer().is_end(token) {
            break;
        }
        ids.push(token);
        if ids.len() < most {
            logits = model.step(cache, adapter, &[token])?;
        }
    }
    Ok((ids, prefill))
}
