//! `sapwood tokenize`: the tokens of a text.

use sapwood_models::{Gguf, Mapped, Special, Tokenizer};
use serde_json::json;

use super::TextArguments;
use crate::model::{ModelArguments, embedded};
use crate::output::{Failure, Format};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    text: TextArguments,
    /// Add BOS and EOS as the model wants them, and read control tokens that are spelled out
    #[arg(long)]
    special: bool,
    #[command(flatten)]
    format: Format,
}

/// Needs only the vocabulary, so that files without weights work too.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = match &arguments.model.model {
        Some(path) => Mapped::open(path)?,
        None => embedded(),
    };
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(file.bytes())?)?;
    let text = arguments.text.read()?;
    let special = Special { add: arguments.special, parse: arguments.special };
    let ids = tokenizer.encode(&text, special);
    arguments.format.print(&json!({ "ids": ids }), || {
        let piece = |id: &u32| String::from_utf8_lossy(tokenizer.piece(*id)).into_owned();
        ids.iter().map(|id| format!("{id}\t{:?}\n", piece(id))).collect()
    })
}
