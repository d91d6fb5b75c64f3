//! `sapwood bench`: speed and memory of one model on this device.

use std::time::Instant;

use sapwood::learn::train::{TrainConfig, TrainState, Trainer};
use sapwood_models::{LoraConfig, Model, Sequence, Stop, Target, Work};
use serde_json::{Value, json};

use crate::model::ModelArguments;
use crate::output::{Failure, Format, peak_rss_mb, rounded};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Tokens of the prompt; 0 leaves prefill out
    #[arg(short = 'p', default_value_t = 512, value_name = "N")]
    prompt: usize,
    /// Tokens to generate; 0 leaves decode out
    #[arg(short = 'n', default_value_t = 64, value_name = "N")]
    tokens: usize,
    /// Tokens of the training sequence; 0 leaves training out
    #[arg(long, default_value_t = 512, value_name = "N")]
    train: usize,
    /// Rank of the adapter that is trained
    #[arg(long, default_value_t = 8, value_name = "R")]
    rank: usize,
    /// Runs of each; the best counts
    #[arg(short = 'r', long, default_value_t = 3, value_name = "N")]
    repetitions: usize,
    #[command(flatten)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (model, placement) = arguments.model.device.open(arguments.model.file()?)?;
    let config = LoraConfig {
        rank: arguments.rank,
        alpha: 2.0 * arguments.rank as f32,
        targets: Target::ALL.to_vec(),
    };
    let context = arguments.prompt.max(1) + arguments.tokens;
    let inference = model.plan_inference(context).total_bytes();
    let training = model.plan_training(&config, arguments.train.max(2)).total_bytes();
    let planned = match (arguments.prompt + arguments.tokens, arguments.train) {
        (_, 0) => inference,
        (0, _) => training,
        _ => inference.max(training),
    };
    let prefill = prefill_rate(&model, arguments)?;
    let (decode, dispatches) = decode_rate(&model, arguments)?;
    let greedy = greedy_rate(&model, arguments)?;
    let bytes = bytes_per_token(&model, arguments.tokens / 2);
    let train = train_rate(&model, arguments, config)?;
    let rate = |rate: Option<f64>| rate.map_or(Value::Null, |r| json!(rounded(r, 2)));
    let value = json!({
        "model": arguments.model.name(),
        "gpu": placement.gpu.as_ref().ok(),
        "gpu_fault": model.gpu_fault().map(|fault| fault.to_string()),
        "places": placement.places.iter().map(|(work, place)| {
            (work.name().to_owned(), json!(place.name()))
        }).collect::<serde_json::Map<_, _>>(),
        "prefill_tokens_per_second": rate(prefill),
        "decode_tokens_per_second": rate(decode),
        "greedy_tokens_per_second": rate(greedy),
        "train_tokens_per_second": rate(train),
        "decode_bytes_per_token": bytes,
        "decode_gigabytes_per_second": rate(decode.map(|rate| rate * bytes as f64 / 1e9)),
        "decode_dispatches_per_token": dispatches,
        "prefill_flops_per_token": flops_per_token(&model, arguments.prompt, Pass::Forward),
        "train_flops_per_token": flops_per_token(&model, arguments.train, Pass::ForwardBackward),
        "peak_rss_mb": peak_rss_mb().map(|mb| rounded(mb, 1)),
        "planned_mb": rounded(planned as f64 / 1_048_576.0, 1),
    });
    if let Some(fault) = model.gpu_fault() {
        eprintln!("The figures are the processor's: {fault}.");
    }
    arguments.format.print(&value, || {
        let line = |name: &str, rate: Option<f64>| {
            rate.map_or(String::new(), |rate| format!("{name:8} {rate:10.1} tokens/s\n"))
        };
        let dispatches =
            dispatches.map_or(String::new(), |count| format!(", {count} GPU dispatches"));
        let decode =
            line("decode", decode) + &format!("a token  {bytes} bytes of model{dispatches}\n");
        [line("prefill", prefill), decode, line("greedy", greedy), line("train", train)].concat()
            + &format!(
                "memory   {} MiB peak, {} MiB planned",
                value["peak_rss_mb"], value["planned_mb"]
            )
    })
}

/// Bytes of weights and cache that a token reads with `context` tokens before it.
fn bytes_per_token(model: &Model, context: usize) -> usize {
    let arch = model.arch();
    let read = |name: &str| name != "token_embd.weight" || arch.tied_head;
    let tensors = model.gguf().tensors().iter().filter(|tensor| read(&tensor.name));
    let weights: usize = tensors.map(|tensor| tensor.range.len()).sum();
    weights + 4 * arch.layers * arch.kv_heads * arch.head_dim * context
}

/// What is computed of a sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// The logits after its last token.
    Forward,
    /// Its likelihood, and the gradient of every activation. Weights are frozen, so that a linear
    /// map costs as much backward as forward.
    ForwardBackward,
}

/// Floating-point operations that the result needs, per token of a sequence of `length`: those of
/// the linear maps and of attention. What is computed twice to save memory, the adapter's own and
/// everything that goes element by element are left out.
fn flops_per_token(model: &Model, length: usize, pass: Pass) -> usize {
    let (arch, length) = (model.arch(), length.max(1));
    let tensors = model.gguf().tensors().iter();
    let maps = tensors.filter(|tensor| tensor.name.starts_with("blk.") && tensor.rows > 1);
    let linear: usize = maps.map(|tensor| 2 * tensor.rows * tensor.cols).sum();
    let head = 2 * arch.vocab * arch.width;
    let layer = |layer: usize| {
        let window = arch.sliding.filter(|_| arch.is_sliding(layer)).map_or(length, |s| s.window);
        let visible: usize = (1..=length).map(|position| position.min(window)).sum();
        4 * arch.q_width() * visible / length
    };
    let attention: usize = (0..arch.layers).map(layer).sum();
    match pass {
        Pass::Forward => linear + attention + head / length,
        // Two products of attention become four.
        Pass::ForwardBackward => 2 * linear + 3 * attention + 2 * head,
    }
}

/// Token ids that walk through the vocabulary, so that no cache line of a table is favoured.
fn ids(model: &Model, count: usize) -> Vec<u32> {
    let vocab = model.arch().vocab;
    (0..count).map(|i| ((i * 7919 + 13) % vocab) as u32).collect()
}

/// Tokens per second of the fastest of several runs.
fn best(
    arguments: &Arguments,
    tokens: usize,
    mut run: impl FnMut() -> Result<(), Failure>,
) -> Result<Option<f64>, Failure> {
    let mut best = 0.0f64;
    for _ in 0..arguments.repetitions.max(1) {
        let start = Instant::now();
        run()?;
        best = best.max(tokens as f64 / start.elapsed().as_secs_f64());
    }
    Ok(Some(best))
}

fn prefill_rate(model: &Model, arguments: &Arguments) -> Result<Option<f64>, Failure> {
    if arguments.prompt == 0 {
        return Ok(None);
    }
    let ids = ids(model, arguments.prompt);
    let mut cache = model.cache(arguments.prompt);
    model.step(&mut cache, None, &ids[..ids.len().min(32)])?;
    best(arguments, ids.len(), || {
        cache.truncate(0);
        model.step(&mut cache, None, &ids)?;
        Ok(())
    })
}

/// Tokens per second, and what a GPU dispatches for a token.
fn decode_rate(
    model: &Model,
    arguments: &Arguments,
) -> Result<(Option<f64>, Option<f64>), Failure> {
    if arguments.tokens == 0 {
        return Ok((None, None));
    }
    let ids = ids(model, arguments.tokens + 1);
    let mut cache = model.cache(ids.len());
    model.step(&mut cache, None, &ids[..1])?;
    let dispatched = || model.device(Work::Decode).dispatches();
    let before = dispatched();
    let rate = best(arguments, arguments.tokens, || {
        cache.truncate(0);
        for id in &ids[..arguments.tokens] {
            model.step(&mut cache, None, &[*id])?;
        }
        Ok(())
    })?;
    let tokens = (arguments.tokens * arguments.repetitions.max(1)) as f64;
    let dispatches = dispatched().zip(before).map(|(after, before)| (after - before) as f64);
    Ok((rate, dispatches.map(|all| rounded(all / tokens, 1))))
}

/// As [`decode_rate`], at temperature 0: the logits stay where they are.
fn greedy_rate(model: &Model, arguments: &Arguments) -> Result<Option<f64>, Failure> {
    if arguments.tokens == 0 {
        return Ok(None);
    }
    let (first, stop) = (ids(model, 1), Stop::new());
    let mut cache = model.cache(arguments.tokens);
    // What is compiled and tried is so once.
    model.likeliest(&mut cache, None, &first, 1, &stop)?.try_for_each(|token| token.map(drop))?;
    best(arguments, arguments.tokens, || {
        cache.truncate(0);
        let mut tokens = model.likeliest(&mut cache, None, &first, arguments.tokens, &stop)?;
        Ok(tokens.try_for_each(|token| token.map(drop))?)
    })
}

fn train_rate(
    model: &Model,
    arguments: &Arguments,
    lora: LoraConfig,
) -> Result<Option<f64>, Failure> {
    if arguments.train == 0 {
        return Ok(None);
    }
    let sequence = Sequence::after_prompt(ids(model, arguments.train + 1), 1);
    let steps = arguments.repetitions as u32;
    let config = TrainConfig { lora, steps, batch: 1, ..TrainConfig::default() };
    let state = TrainState::fresh(model, &config, 1);
    let mut trainer = Trainer::new(model, config, state);
    best(arguments, arguments.train, || {
        trainer.micro_step(&sequence, 1.0, &Stop::new())?;
        Ok(())
    })
}
