//! `sapwood eval`: exact answers and likelihood on a file of examples.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sapwood_models::{Adapter, Model, Special, Stop};
use serde_json::json;

use super::examples::{self, Example};
use crate::model::{AdapterArguments, ModelArguments};
use crate::output::{Failure, Format, rounded};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// JSON lines with `prompt` and `completion`, or with `messages`; `category` is optional
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[command(flatten)]
    adapter: AdapterArguments,
    #[command(flatten)]
    format: Format,
}

#[derive(Default)]
struct Tally {
    items: usize,
    exact: usize,
    nll: f64,
    tokens: usize,
}

impl Tally {
    fn accuracy(&self) -> f64 {
        self.exact as f64 / self.items.max(1) as f64
    }

    /// Nats per token.
    fn nll(&self) -> f64 {
        self.nll / self.tokens.max(1) as f64
    }

    fn add(&mut self, other: &Tally) {
        self.items += other.items;
        self.exact += other.exact;
        self.nll += other.nll;
        self.tokens += other.tokens;
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let model = arguments.model.open()?;
    let adapter = arguments.adapter.open(&model)?;
    let examples = examples::read(&arguments.data)?;
    let progress = indicatif::ProgressBar::new(examples.len() as u64);
    let (mut all, mut categories) = (Tally::default(), BTreeMap::<String, Tally>::new());
    for example in &examples {
        let tally = measure(&model, adapter.as_ref(), example)?;
        all.add(&tally);
        if let Some(category) = &example.category {
            categories.entry(category.clone()).or_default().add(&tally);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let figures = |t: &Tally| json!({ "accuracy": rounded(t.accuracy(), 4), "nll": rounded(t.nll(), 4), "items": t.items });
    let mut value = figures(&all);
    value["categories"] = categories.iter().map(|(name, t)| (name.clone(), figures(t))).collect();
    arguments.format.print(&value, || {
        let line = |name: &str, t: &Tally| {
            let (accuracy, nll) = (t.accuracy(), t.nll());
            format!("{name:24} {accuracy:.3} exact  {nll:.3} nats/token  {} items\n", t.items)
        };
        let rows = categories.iter().map(|(name, t)| line(name, t));
        rows.chain([line("all", &all)]).collect()
    })
}

fn measure(model: &Model, adapter: Option<&Adapter>, example: &Example) -> Result<Tally, Failure> {
    let sequence = example.prompt.sequence(model, &example.answer, usize::MAX)?;
    let logp = model.score(adapter, &sequence, &Stop::new())?;
    let wanted = model.tokenizer().encode(&example.answer, Special::default());
    let prompt = example.prompt.tokens(model, usize::MAX)?;
    let text = model.greedy(adapter, &prompt, wanted.len() + 16, &Stop::new())?;
    Ok(Tally {
        items: 1,
        exact: usize::from(text.trim() == example.answer.trim()),
        nll: -logp.iter().map(|&l| f64::from(l)).sum::<f64>(),
        tokens: logp.len(),
    })
}
