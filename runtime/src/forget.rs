//! Forgetting: what the user wants gone, and everything that was learned from it.
//!
//! A tombstone in the journal is the decision. It is durable before anything else happens, and what
//! follows from it follows again at every opening: the replies are no longer there, adapters that
//! learned from one of them are revoked with their descendants, the run under way is dropped. So a
//! crash at any instant leaves, of each thousand replies, all or none; asking again ends what was begun.
//!
//! A conversation quotes its earlier turns in each later one, so later turns go with what they
//! quote, and conversations that are under way are not recorded any more.
//!
//! Then the bytes go, too: see [`crate::shred`].
//!
//! What was dropped for its age can't be told apart any more: adapters that learned from it go with
//! [`Scope::Everything`] alone.

use std::collections::{BTreeSet, HashSet};

use sapwood_models::{AdapterFile, Model};

use crate::error::LearnerError;
use crate::journal::{Interaction, Record, Tombstone};
use crate::learn::example::Turn;
use crate::learner::Learner;
use crate::ledger::Ledger;
use crate::shared::Kept;
use crate::shred::Erasure;
use crate::signal::Signal;
use crate::slice::{Progress, checkpoint_lineage};
use crate::store::{Digest, Store};

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One reply with its request and signals, and the later replies that quote it.
    Reply(u128),
    /// A conversation, as [`Turn::session`] names it.
    Conversation(u128),
    /// All that happened in one part of the app.
    Surface(String),
    /// All from one instant on and before another, in milliseconds since 1970.
    Time {
        /// The first instant.
        from_ms: u64,
        /// The first one that is kept again.
        until_ms: u64,
    },
    /// Everything.
    Everything,
}

impl Scope {
    fn holds(&self, turn: &Turn) -> bool {
        match self {
            Scope::Reply(id) => turn.reply_id == *id,
            Scope::Conversation(id) => turn.session == *id,
            Scope::Surface(surface) => turn.surface == *surface,
            Scope::Time { from_ms, until_ms } => (*from_ms..*until_ms).contains(&turn.time_ms),
            Scope::Everything => true,
        }
    }

    /// Whether a reply that ends now belongs to it.
    pub(crate) fn covers(&self, interaction: &Interaction) -> bool {
        match self {
            Scope::Reply(id) => interaction.reply_id == *id,
            Scope::Conversation(id) => interaction.session == *id,
            Scope::Surface(surface) => interaction.surface == *surface,
            Scope::Time { from_ms, until_ms } => {
                (*from_ms..*until_ms).contains(&interaction.time_ms)
            }
            Scope::Everything => true,
        }
    }

    /// The turns that it holds, those that one of them took the place of, which have the same
    /// request, and the later ones that quote one of them: in its conversation, or in another that
    /// the app began with its turns.
    fn turns<'a>(&self, all: &'a [Turn]) -> Vec<&'a Turn> {
        let mut gone: HashSet<u128> = HashSet::new();
        let (mut sessions, mut said) = (HashSet::new(), HashSet::new());
        // Who was replaced stands before who took the place.
        for turn in all.iter().rev() {
            let replaced = |signal: &Signal| match signal {
                Signal::Regenerated { new_reply } => gone.contains(new_reply),
                _ => false,
            };
            if self.holds(turn) || turn.signals.iter().any(replaced) {
                gone.insert(turn.reply_id);
            }
        }
        let quotes = |turn: &Turn, said: &HashSet<(&str, &str)>| {
            let mut pairs = turn.prompt.windows(2);
            pairs.any(|pair| said.contains(&(&*pair[0].content, &*pair[1].content)))
        };
        let mut turns = Vec::new();
        for turn in all {
            if gone.contains(&turn.reply_id)
                || sessions.contains(&turn.session)
                || quotes(turn, &said)
            {
                sessions.insert(turn.session);
                said.insert((turn.request(), turn.reply.as_str()));
                said.extend(turn.signals.iter().filter_map(|signal| match signal {
                    Signal::Edited { text } => Some((turn.request(), text.as_str())),
                    _ => None,
                }));
                turns.push(turn);
            }
        }
        turns
    }
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionReceipt {
    /// Replies that are gone, with their requests and signals.
    pub replies: Vec<u128>,
    /// Adapters that learned from them, or from an adapter that did: gone, and refused for good.
    pub adapters: Vec<Digest>,
    /// Whether a training run was dropped.
    pub run_dropped: bool,
    /// What new replies are made with now; `None` is the base model.
    pub in_force: Option<Digest>,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// How far their bytes are gone.
    pub erasure: Erasure,
}

/// Ids in one tombstone: a record has a limit.
const IDS: usize = 1000;

impl Learner {
    /// Forgets, for good: the replies, what users did with them, every adapter that learned from
    /// one and all that were trained on top of it, the training run that sees them. The best clean
    /// adapter, or the base model, is in force when this returns, and as a rule the bytes are gone
    /// ([`DeletionReceipt::erasure`]): everything that stays is sealed anew, which takes a moment.
    /// A slice that is running ends first.
    ///
    /// Conversations under way may quote what is gone. They go on, and are not recorded any more:
    /// begin new ones.
    ///
    /// # Errors
    /// A full or failing disk. Either nothing was forgotten, or the rest follows when the learner
    /// is opened again: asking again does no harm.
    pub fn forget(&self, scope: &Scope) -> Result<DeletionReceipt, LearnerError> {
        let shared = &self.shared;
        // The slice ends at its next program and can't save what is to be forgotten behind our back.
        let _ending = shared.forgetting.enter();
        let mut progress = shared.training.lock().expect("nothing panics under this lock");
        *progress = Progress::default();
        let time_ms = shared.now_ms();
        let mut kept = shared.kept();
        kept.catch_up()?;
        let turns = scope.turns(kept.ledger.turns());
        let replies: Vec<u128> = turns.iter().map(|turn| turn.reply_id).collect();
        let sessions: HashSet<u128> = turns.iter().map(|turn| turn.session).collect();
        let mut gone = replies.clone();
        if *scope == Scope::Everything {
            // Adapters may know replies that were dropped for their age.
            gone.extend(learned(&shared.model, &kept.store, &kept.ledger));
        }
        kept.silenced.push(scope.clone());
        kept.silenced.extend(sessions.into_iter().map(Scope::Conversation));
        kept.to_shred |= !gone.is_empty();
        for ids in gone.chunks(IDS) {
            let tombstone = Tombstone { reply_ids: ids.to_vec(), time_ms };
            shared.record(&mut kept, Record::Tombstone(tombstone))?;
        }
        kept.forget_examples();
        let Kept { store, ledger, .. } = &mut *kept;
        let (adapters, run_dropped) = finish(&shared.model, store, ledger)?;
        shared.put_in_force(&mut kept)?;
        let erasure = shared.shred(&mut kept);
        drop(kept);
        let in_force = shared.in_force().digest;
        Ok(DeletionReceipt { replies, adapters, run_dropped, in_force, time_ms, erasure })
    }
}

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
fn learned(model: &Model, store: &Store, ledger: &Ledger) -> BTreeSet<u128> {
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
