//! `sapwood perplexity`: how well the model predicts a text.
//!
//! The definition is llama.cpp's: the text is cut into windows of the context's size that don't
//! overlap, each begins with BOS if the model wants one, and only the second half of a window is
//! scored.

use sapwood_models::{Sequence, Special, Stop};
use serde_json::json;

use super::TextArguments;
use crate::model::{AdapterArguments, ModelArguments};
use crate::output::{Failure, Format};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    text: TextArguments,
    /// Window in tokens
    #[arg(short = 'c', long, default_value_t = 512, value_name = "N")]
    context: usize,
    #[command(flatten)]
    adapter: AdapterArguments,
    #[command(flatten)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let model = arguments.model.open()?;
    let adapter = arguments.adapter.open(&model)?;
    let text = arguments.text.read()?;
    let tokenizer = model.tokenizer();
    let ids = tokenizer.encode(&text, Special { add: true, parse: false });
    let window = arguments.context;
    if window < 4 || ids.len() < window {
        let have = ids.len();
        return Err(format!("{have} tokens don't fill one window of {window}: lower -c").into());
    }
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let (mut nll, mut tokens) = (0.0, 0usize);
    let windows = ids.chunks_exact(window);
    let progress = indicatif::ProgressBar::new(windows.len() as u64);
    for ids in windows {
        let mut ids = ids.to_vec();
        ids[0] = bos.unwrap_or(ids[0]);
        let targets = (0..window).map(|i| i > window / 2).collect();
        let sequence = Sequence { ids, targets };
        let logp = model.score(adapter.as_ref(), &sequence, &Stop::new())?;
        nll -= logp.iter().map(|&l| f64::from(l)).sum::<f64>();
        tokens += logp.len();
        progress.inc(1);
    }
    progress.finish_and_clear();
    let perplexity = (nll / tokens as f64).exp();
    arguments.format.print(&json!({ "perplexity": perplexity, "tokens": tokens }), || {
        format!("perplexity {perplexity:.4} over {tokens} tokens")
    })
}
