//! Export: everything that is kept, readable by anybody, in a folder of the user's choice.
//!
//! ```text
//! turns.json      every reply with its request, its conversation and what the user did
//! adapters.json   consent, the adapters with what they learned from, promotions and rollbacks
//! adapters/       the adapters that still have a file, as GGUF
//! ```
//!
//! Ids and digests are in hexadecimal, times in milliseconds since 1970.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::consent::Consent;
use crate::disk::{Disk, DiskError, RealDisk, at};
use crate::error::LearnerError;
use crate::journal::{Feedback, Interaction, Record, Scan, StopReason};
use crate::kept::Kept;
use crate::shared::Shared;
use crate::signal::{Part, Signal};
use crate::slice::run::checkpoint_lineage;
use crate::store::{Change, Digest, Event, Generation, Reason, State, hex};

const ADAPTERS: &str = "adapters";
/// Written at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Replies in `turns.json`.
    pub turns: usize,
    /// Files in `adapters/`.
    pub adapters: usize,
    /// Records that only a later version of the library can read; they are not among the turns.
    pub unreadable_records: usize,
}

/// See [`Learner::export_data`](crate::Learner::export_data).
pub(crate) fn export(shared: &Shared, to: &Path) -> Result<Exported, LearnerError> {
    let unusable = |source| LearnerError::Folder { dir: to.to_path_buf(), source };
    let disk = RealDisk::open(to).map_err(unusable)?;
    let occupied = std::fs::read_dir(to).map_err(unusable)?.next().is_some();
    if occupied {
        return Err(unusable(io::ErrorKind::DirectoryNotEmpty.into()));
    }
    let in_force = shared.in_force().digest;
    let mut kept = shared.kept();
    kept.catch_up()?;
    let scan = kept.journal.scan()?;
    let turns = export_turns(&disk, &scan)?;
    let adapters = export_adapters(&disk, &kept, &scan, in_force)?;
    at("sync folder", "", disk.sync_dir(""))?;
    let unreadable_records = scan.segments.iter().map(|segment| segment.unknown).sum();
    Ok(Exported { turns, adapters, unreadable_records })
}

fn export_adapters(
    disk: &RealDisk,
    kept: &Kept,
    scan: &Scan,
    in_force: Option<Digest>,
) -> Result<usize, LearnerError> {
    let mut learned: HashMap<[u8; 32], Vec<String>> = HashMap::new();
    for entry in &scan.entries {
        if let Record::UsedByGeneration(used) = &entry.record {
            learned.entry(used.digest).or_default().extend(ids(&used.reply_ids));
        }
    }
    at("make folder", ADAPTERS, disk.make_dir(ADAPTERS))?;
    let (mut adapters, mut files) = (Vec::new(), 0);
    for known in kept.store.generations() {
        let name = format!("{ADAPTERS}/{}.gguf", hex(&known.digest));
        let file = kept.store.adapter_bytes(&known.digest).ok();
        if let Some(bytes) = &file {
            write(disk, &name, bytes)?;
            files += 1;
        }
        let learned_from = learned.remove(&known.digest).unwrap_or_default();
        adapters.push(generation(known, file.map(|_| name), &learned_from));
    }
    at("sync folder", ADAPTERS, disk.sync_dir(ADAPTERS))?;
    let run = kept.store.load_checkpoint()?;
    let run = run.map(|bytes| checkpoint_lineage(&bytes).unwrap_or_default());
    let rest = json!({
        "consent": match kept.consent() {
            Consent::Unasked => "unasked",
            Consent::Granted => "granted",
            Consent::Refused => "refused",
        },
        "in_force": in_force.map(|digest| hex(&digest)),
        "adapters": adapters,
        "events": kept.store.events().iter().map(event).collect::<Vec<_>>(),
        "training_run": run.map(|lineage| json!({ "learns_from": ids(&lineage) })),
    });
    write(disk, "adapters.json", format!("{rest:#}\n").as_bytes())?;
    Ok(files)
}

fn ids(replies: &[u128]) -> Vec<String> {
    replies.iter().map(|id| format!("{id:032x}")).collect()
}

fn export_turns(disk: &RealDisk, scan: &Scan) -> Result<usize, DiskError> {
    let mut signals: HashMap<u128, Vec<Value>> = HashMap::new();
    for entry in &scan.entries {
        if let Record::Feedback(made) = &entry.record {
            signals.entry(made.reply_id).or_default().push(feedback(made));
        }
    }
    let mut turns = 0;
    let made = scan.entries.iter().filter_map(|entry| match &entry.record {
        Record::Interaction(made) => {
            turns += 1;
            Some(turn(made, signals.remove(&made.reply_id).unwrap_or_default()))
        }
        _ => None,
    });
    write_array(disk, "turns.json", made)?;
    Ok(turns)
}

fn write(disk: &RealDisk, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    at("create", name, disk.create(name))?;
    at("append", name, disk.append(name, bytes))?;
    at("sync", name, disk.sync(name))
}

/// A JSON array, value by value: a journal may be larger than an app's memory should be.
fn write_array(
    disk: &RealDisk,
    name: &str,
    values: impl Iterator<Item = Value>,
) -> Result<(), DiskError> {
    at("create", name, disk.create(name))?;
    let mut piece = String::from("[");
    for (index, value) in values.enumerate() {
        piece.push_str(if index == 0 { "\n" } else { ",\n" });
        piece.push_str(&format!("{value:#}"));
        if piece.len() >= PIECE_BYTES {
            at("append", name, disk.append(name, piece.as_bytes()))?;
            piece.clear();
        }
    }
    piece.push_str("\n]\n");
    at("append", name, disk.append(name, piece.as_bytes()))?;
    at("sync", name, disk.sync(name))
}

fn turn(made: &Interaction, signals: Vec<Value>) -> Value {
    let said = |turn: &crate::journal::Turn| json!({ "role": turn.role, "text": turn.text });
    json!({
        "reply_id": format!("{:032x}", made.reply_id),
        "conversation": format!("{:032x}", made.session),
        "surface": made.surface,
        "time_ms": made.time_ms,
        "follows": made.follows.map(|reply| format!("{reply:032x}")),
        "instructions": made.system,
        "turns": made.turns.iter().map(said).collect::<Vec<_>>(),
        "reply": made.reply,
        "adapter": made.adapter_digest.map(|digest| hex(&digest)),
        "examples_shown": made.shots,
        "tokens": made.tokens,
        "ended_by": match made.stop {
            StopReason::End => "model",
            StopReason::Length => "length",
            StopReason::Cancelled => "cancelled",
            StopReason::StopText => "stop text",
        },
        "mean_nll": made.mean_nll,
        "signals": signals,
    })
}

fn feedback(made: &Feedback) -> Value {
    let mut value = json!({ "time_ms": made.time_ms, "signal": made.signal.name() });
    match &made.signal {
        Signal::Edited { text } => value["text"] = json!(text),
        Signal::Regenerated { new_reply } | Signal::Rephrased { new_reply } => {
            value["new_reply"] = json!(format!("{new_reply:032x}"));
        }
        Signal::Stopped { shown_tokens } => value["shown_tokens"] = json!(shown_tokens),
        Signal::Copied { part } => value["whole"] = json!(*part == Part::Whole),
        Signal::Accepted | Signal::Rated { .. } | Signal::Abandoned => {}
    }
    value
}

fn generation(known: &Generation, file: Option<String>, learned_from: &[String]) -> Value {
    let metrics = known.meta.metrics.iter().map(|metric| (metric.name.clone(), metric.value));
    json!({
        "digest": hex(&known.digest),
        "base_model": hex(&known.base),
        "state": match known.state {
            State::Staged => "staged",
            State::Probation => "probation",
            State::Active => "active",
            State::Fallback => "fallback",
            State::Retired => "retired",
            State::Bad => "bad",
            State::Revoked => "revoked",
            State::Dormant => "dormant",
        },
        "parent": known.meta.parent.map(|digest| hex(&digest)),
        "created_ms": known.meta.created_ms,
        "examples": known.meta.examples,
        "metrics": metrics.collect::<HashMap<_, _>>(),
        "file": file,
        "learned_from": learned_from,
    })
}

fn event(event: &Event) -> Value {
    let what = match event.change {
        Change::Proposed => "proposed",
        Change::Confirmed => "confirmed",
        Change::RolledBack(Reason::TriesExhausted) => "rolled back: no healthy session",
        Change::RolledBack(Reason::Unhealthy) => "rolled back: worse in use",
        Change::RolledBack(Reason::Gate) => "rolled back: refused by the gate",
        Change::RolledBack(Reason::Host) => "rolled back by the app",
        Change::RolledBack(Reason::Damaged) => "rolled back: damaged",
        Change::Revoked => "revoked: learned from what was forgotten",
        Change::BaseChanged => "laid to rest: another base model",
    };
    json!({ "time_ms": event.time_ms, "adapter": hex(&event.digest), "what": what })
}
