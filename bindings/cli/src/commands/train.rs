//! `sapwood train`: a LoRA adapter from a file of examples.

use std::path::PathBuf;
use std::time::Instant;

use sapwood::learn::batch::{Mix, Plan};
use sapwood::learn::optimizer::{AdamW, Schedule};
use sapwood::learn::train::{TrainConfig, TrainState, Trainer};
use sapwood_models::{LoraConfig, Sequence, Stop, Target};
use serde_json::json;

use super::examples;
use crate::model::ModelArguments;
use crate::output::{Failure, Format, peak_rss_mb, rounded};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// JSON lines with `prompt` and `completion`, or with `messages`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Where the adapter goes (GGUF, llama.cpp's format)
    #[arg(long, value_name = "FILE")]
    lora: PathBuf,
    /// Updates
    #[arg(long, default_value_t = 100, value_name = "N")]
    iters: u32,
    /// Sequences per update
    #[arg(long, default_value_t = 4, value_name = "N")]
    batch_size: u32,
    /// Rank of the adapter
    #[arg(long, default_value_t = 8, value_name = "R")]
    rank: usize,
    /// Strength of the adapter; by default twice the rank
    #[arg(long, value_name = "F")]
    alpha: Option<f32>,
    /// Peak learning rate
    #[arg(long, default_value_t = 1e-3, value_name = "F")]
    learning_rate: f32,
    /// Most tokens of a sequence; longer prompts lose their oldest turns
    #[arg(long, default_value_t = 2048, value_name = "N")]
    max_seq_length: usize,
    /// Train on the prompt's tokens too, not on the answer alone
    #[arg(long)]
    no_mask_prompt: bool,
    /// Seed of initial weights and order
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    fn config(&self) -> TrainConfig {
        TrainConfig {
            lora: LoraConfig {
                rank: self.rank,
                alpha: self.alpha.unwrap_or(2.0 * self.rank as f32),
                targets: Target::ALL.to_vec(),
            },
            optimizer: AdamW { learning_rate: self.learning_rate, ..AdamW::default() },
            schedule: Schedule::Cosine { warmup_steps: (self.iters / 20).max(1) },
            steps: self.iters,
            batch: self.batch_size,
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !(1..=256).contains(&arguments.rank) || arguments.batch_size == 0 {
        return Err("the rank must be 1 to 256 and the batch size at least 1".into());
    }
    let model = arguments.model.open()?;
    let sequences: Vec<Sequence> = examples::read(&arguments.data)?
        .iter()
        .map(|e| {
            let limit = arguments.max_seq_length;
            let mut sequence = e.prompt.sequence(&model, &e.answer, limit)?;
            if arguments.no_mask_prompt {
                sequence.targets.fill(true);
            }
            Ok(sequence)
        })
        .collect::<Result<_, Failure>>()?;
    let config = arguments.config();
    let batch = arguments.batch_size as usize;
    let plan = Plan::new(arguments.seed, Mix::default(), [sequences.len(), 0, 0], batch);
    let state = TrainState::fresh(&model, &config, arguments.seed);
    let mut trainer = Trainer::new(&model, config, state);
    let progress = indicatif::ProgressBar::new(u64::from(arguments.iters))
        .with_style(indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    let (start, mut tokens) = (Instant::now(), 0);
    while !trainer.is_done() {
        for (_, index) in plan.step(u64::from(trainer.state().step)) {
            tokens += sequences[index].ids.len();
            trainer.micro_step(&sequences[index], 1.0, &Stop::new())?;
        }
        progress.inc(1);
        progress.set_message(format!("loss {:.3}", trainer.state().losses.last().unwrap_or(&0.0)));
    }
    progress.finish_and_clear();
    let rate = tokens as f64 / start.elapsed().as_secs_f64();
    let (adapter, state) = trainer.into_adapter();
    let bytes = model.adapter_file(&adapter, None).to_bytes();
    std::fs::write(&arguments.lora, bytes)
        .map_err(|error| format!("cannot write {}: {error}", arguments.lora.display()))?;
    let value = json!({
        "losses": state.losses,
        "tokens_per_second": rounded(rate, 1),
        "peak_rss_mb": peak_rss_mb(),
        "skipped_updates": state.skipped,
        "lora": arguments.lora,
    });
    arguments.format.print(&value, || {
        let [first, last] = [state.losses.first(), state.losses.last()].map(|l| l.unwrap_or(&0.0));
        format!("loss {first:.3} -> {last:.3}, {rate:.0} tokens/s: {}", arguments.lora.display())
    })
}
