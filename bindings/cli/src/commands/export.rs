//! `sapwood export`: everything that a store keeps, readable by anybody.

use std::path::PathBuf;

use serde_json::json;

use super::store;
use crate::output::Failure;

#[derive(clap::Args)]
#[group(skip)] // It would have the name of the one inside.
pub struct Arguments {
    #[command(flatten)]
    store: store::Arguments,
    /// New or empty folder that gets it: nothing in there is sealed
    #[arg(value_name = "FOLDER")]
    to: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let done = arguments.store.open()?.export_data(&arguments.to)?;
    let value = json!({
        "turns": done.turns,
        "adapters": done.adapters,
        "unreadable_records": done.unreadable_records,
    });
    arguments.store.format.print(&value, || {
        let to = arguments.to.display();
        let mut out = format!("{} replies and {} adapters are in {to}", done.turns, done.adapters);
        if done.unreadable_records > 0 {
            let more = done.unreadable_records;
            out += &format!("; a later version can read {more} records more");
        }
        out
    })
}
