//! `sapwood import`: a model into a folder where nobody writes to it.

use std::path::PathBuf;

use sapwood::store::hex;
use sapwood_models::import::{Take, import};
use serde_json::json;

use crate::output::{Failure, Format};

#[derive(clap::Args)]
pub struct Arguments {
    /// The GGUF file
    file: PathBuf,
    /// Folder for models, made if it is absent
    folder: PathBuf,
    /// Copy the file, instead of giving it a second name and making it read-only
    #[arg(long)]
    copy: bool,
    #[command(flatten)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let take = if arguments.copy { Take::Copy } else { Take::Link };
    let imported = import(&arguments.file, &arguments.folder, take)?;
    let value = json!({ "path": imported.path, "digest": hex(&imported.digest) });
    arguments.format.print(&value, || imported.path.display().to_string())
}
