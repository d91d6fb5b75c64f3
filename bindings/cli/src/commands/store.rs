//! `sapwood adapters`, `rollback` and `signals`: what a store holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use sapwood::store::hex;
use sapwood::{Config, Learner};
use serde_json::{Value, json};

use crate::model::ModelArguments;
use crate::output::{Failure, Format};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    pub format: Format,
}

/// Where a store is and what opens it.
#[derive(clap::Args)]
pub struct StoreArguments {
    /// Folder of the store
    #[arg(long, default_value = "sapwood-store", value_name = "DIR")]
    pub dir: PathBuf,
    /// File with the 32-byte key [default: DIR/key, made with the store]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

impl StoreArguments {
    /// The store's configuration, with its key; a new key for a new store.
    ///
    /// A key file is what a terminal has; apps keep the key in the platform's key store.
    pub fn config(&self) -> Result<Config, Failure> {
        let place = self.key.clone().unwrap_or_else(|| self.dir.join("key"));
        let beside = self.dir.with_extension("key");
        // Where it was made before it got its place in the store. A new store has no such key: what
        // lies there is another store's.
        let old = Some(beside).filter(|path| self.key.is_none() && self.exists() && path.is_file());
        match [Some(place.clone()), old].into_iter().flatten().find(|path| path.exists()) {
            Some(path) => Ok(Config::new(&self.dir, read_key(&path)?)),
            None if self.exists() => Err(format!(
                "the store in {} is there, but not its key {}: name the key's file with --key",
                self.dir.display(),
                place.display(),
            )
            .into()),
            None => Ok(Config::new(&self.dir, new_key(&place)?)),
        }
    }

    /// Whether there is a store in the folder.
    pub fn exists(&self) -> bool {
        self.dir.join("k").is_dir()
    }
}

fn read_key(path: &Path) -> Result<[u8; 32], Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| format!("cannot read the key {}: {error}", path.display()))?;
    let length = format!("{} is not a key: it must have 32 bytes", path.display());
    Ok(bytes.try_into().map_err(|_| length)?)
}

/// A new key in a file that is there whole, or not at all; the key of whoever was faster.
fn new_key(path: &Path) -> Result<[u8; 32], Failure> {
    let key: [u8; 32] = sapwood::seal::random()?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        // A link replaces nothing, as a renamed file would.
        let made = file.write_all(&key).and_then(|()| file.sync_all());
        let made = made.and_then(|()| std::fs::hard_link(&new, path));
        std::fs::remove_file(&new).and(made)
    };
    match write() {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_key(path),
        Err(error) => Err(format!("cannot make the key {}: {error}", path.display()).into()),
        Ok(()) => Ok(key),
    }
}

impl Arguments {
    /// The store, which must be there already.
    pub fn open(&self) -> Result<Learner, Failure> {
        if !self.store.exists() {
            return Err(format!("there is no store in {}", self.store.dir.display()).into());
        }
        Ok(Learner::open(self.model.open()?, self.store.config()?)?)
    }
}

pub fn adapters(arguments: &Arguments) -> Result<(), Failure> {
    let learner = arguments.open()?;
    let rows: Vec<Value> = learner
        .adapters()
        .iter()
        .map(|g| {
            json!({
                "generation": g.number,
                "digest": hex(&g.digest),
                "state": format!("{:?}", g.state),
                "examples": g.meta.examples,
                "created_ms": g.meta.created_ms,
                "parent": g.meta.parent.as_ref().map(hex),
            })
        })
        .collect();
    let in_force = learner.adapter_in_force().map(|digest| hex(&digest));
    arguments.format.print(&json!({ "in_force": in_force, "adapters": rows }), || {
        let mut out = format!("in force: {}\n", in_force.as_deref().unwrap_or("the base model"));
        for row in &rows {
            let digest = row["digest"].as_str().unwrap_or_default();
            let state = row["state"].as_str().unwrap_or_default();
            out += &format!(
                "{:4}  {:.12}  {state:10} {} examples\n",
                row["generation"], digest, row["examples"]
            );
        }
        out
    })
}

pub fn rollback(arguments: &Arguments) -> Result<(), Failure> {
    let learner = arguments.open()?;
    let taken_back = hex(&learner.rollback()?);
    let in_force = learner.adapter_in_force().map(|digest| hex(&digest));
    let value = json!({ "taken_back": taken_back, "in_force": in_force });
    arguments.format.print(&value, || {
        format!(
            "{taken_back:.12} taken back; in force: {}",
            in_force.as_deref().unwrap_or("the base model")
        )
    })
}

pub fn signals(arguments: &Arguments) -> Result<(), Failure> {
    let learner = arguments.open()?;
    let rows: Vec<Value> = learner
        .turns()
        .iter()
        .map(|turn| {
            let signals: Vec<&str> = turn.signals.iter().map(|s| s.name()).collect();
            json!({
                "reply": format!("{:032x}", turn.reply_id),
                "surface": turn.surface,
                "time_ms": turn.time_ms,
                "adapter": turn.adapter.as_ref().map(hex),
                "signals": signals,
            })
        })
        .collect();
    arguments.format.print(&json!({ "signals": rows }), || {
        let row = |row: &Value| {
            let reply = row["reply"].as_str().unwrap_or_default();
            let surface = row["surface"].as_str().unwrap_or_default();
            format!("{reply:.12}  {surface:16} {}\n", row["signals"])
        };
        rows.iter().map(row).collect()
    })
}
