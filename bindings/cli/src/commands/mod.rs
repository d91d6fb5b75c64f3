//! One file per command.

pub mod bench;
pub mod chat;
pub mod doctor;
pub mod eval;
pub mod examples;
pub mod export;
pub mod generate;
pub mod import;
pub mod inspect;
pub mod perplexity;
pub mod store;
pub mod tokenize;
pub mod train;

use std::io::Read;
use std::path::PathBuf;

use crate::output::Failure;

/// Text from the command line or from a file.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct TextArguments {
    /// The text
    #[arg(short = 'p', long = "prompt", value_name = "TEXT")]
    text: Option<String>,
    /// A file with the text; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TextArguments {
    /// The text.
    pub fn read(&self) -> Result<String, Failure> {
        match (&self.text, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(path)) if path.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                Ok(text)
            }
            (None, Some(path)) => Ok(std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?),
            (None, None) => Err("give a text with -p or a file with -f".into()),
        }
    }
}
