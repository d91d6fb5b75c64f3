//! What adapters learned from, and what becomes of them when that is forgotten.

use std::collections::{BTreeSet, HashSet};

use sapwood_models::{AdapterFile, Model};

use crate::digest::Digest;
use crate::error::LearnerError;
use crate::ledger::Ledger;
use crate::slice::run::checkpoint_lineage;
use crate::store::Store;

/// Does what follows from the tombstones and was not done yet: at every opening, and after new ones.
/// Returns the adapters revoked and whether a run was dropped.
pub(crate) fn finish(
    model: &Model,
    store: &mut Store,
    ledger: &Ledger,
) -> Result<(Vec<Digest>, bool), LearnerError> {
    if ledger.forgotten().is_empty() {
        return Ok((Vec::new(), false));
    }
    let knowing = knowing(model, store, ledger);
    let revoked = if knowing.is_empty() { Vec::new() } else { store.revoke(&knowing)? };
    let sees_forgotten = |lineage: Vec<u128>| lineage.iter().any(|id| ledger.is_forgotten(*id));
    let run = store.load_checkpoint()?;
    // A run that can't be read can't be told from one that saw it.
    let drop_run = run.is_some_and(|bytes| checkpoint_lineage(&bytes).is_none_or(sees_forgotten));
    if drop_run {
        store.clear_checkpoint()?;
    }
    Ok((revoked, drop_run))
}

/// Adapters with a file that learned from something forgotten, or whose parents did.
fn knowing(model: &Model, store: &Store, ledger: &Ledger) -> Vec<Digest> {
    let mut knowing: Vec<Digest> = Vec::new();
    // Parents come before their children.
    for digest in with_file(store) {
        let (lineage, parent) = origin(model, store, ledger, &digest);
        let knows = lineage.iter().any(|id| ledger.is_forgotten(*id));
        if knows || parent.is_some_and(|parent| knowing.contains(&parent)) {
            knowing.push(digest);
        }
    }
    knowing
}

/// All replies that an adapter with a file learned from.
pub(crate) fn learned(model: &Model, store: &Store, ledger: &Ledger) -> BTreeSet<u128> {
    with_file(store).flat_map(|digest| origin(model, store, ledger, &digest).0).collect()
}

fn with_file(store: &Store) -> impl Iterator<Item = Digest> {
    let known = store.generations().iter().filter(|known| known.state.has_file());
    known.map(|known| known.digest)
}

/// The replies that an adapter learned from, as the journal says of those that were put in force
/// and as its own file says; and its parent.
fn origin(
    model: &Model,
    store: &Store,
    ledger: &Ledger,
    digest: &Digest,
) -> (HashSet<u128>, Option<Digest>) {
    let mut replies = ledger.lineage(Some(digest));
    let file = store.adapter_bytes(digest).ok();
    let file = file.and_then(|bytes| AdapterFile::parse(&bytes, model.arch()).ok());
    let Some(file) = file else { return (replies, None) };
    replies.extend(lineage(&file));
    (replies, file.provenance.and_then(|says| says.parent))
}

/// The replies that an adapter's file says it learned from.
pub(crate) fn lineage(file: &AdapterFile) -> impl Iterator<Item = u128> {
    let names = file.provenance.iter().flat_map(|says| &says.lineage);
    names.filter_map(|id| u128::from_str_radix(id, 16).ok())
}
