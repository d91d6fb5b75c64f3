//! The journal's turns in memory, as the pure functions of `learn` want to see them.

use std::collections::{HashMap, HashSet};

use sapwood_models::Message;

use crate::journal::{Record, Scan};
use crate::learn::example::{Turn, turn};
use crate::signal::Signal;
use crate::store::Digest;
use crate::transcript::Transcript;

/// All turns that were not forgotten, in the order in which they happened, each with its signals.
#[derive(Default)]
pub(crate) struct Ledger {
    turns: Vec<Turn>,
    index: HashMap<u128, usize>,
    /// By what a conversation says up to a reply: that reply.
    answered: HashMap<[u8; 32], u128>,
    /// Replies that an adapter learned from.
    lineages: HashMap<Digest, HashSet<u128>>,
    /// Replies that are not to come back, wherever the journal's upkeep has put their records.
    forgotten: HashSet<u128>,
}

impl Ledger {
    /// All that a journal holds. Its segments come from several processes: a signal may stand
    /// before its turn there, and a turn before the one that came first.
    pub fn of(scan: &Scan) -> Ledger {
        let is_turn = |record: &Record| matches!(record, Record::Interaction(_));
        let records = scan.entries.iter().map(|entry| &entry.record).enumerate();
        let key = |(n, record): (usize, &Record)| (!is_turn(record), record.order(), n);
        let mut order: Vec<(bool, u64, usize)> = records.map(key).collect();
        order.sort_unstable();
        let mut ledger = Ledger::default();
        order.into_iter().for_each(|(_, _, n)| ledger.apply(&scan.entries[n].record));
        ledger
    }

    /// Takes in one record. Signals on unknown replies are ignored: their turn was forgotten.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Interaction(interaction) if self.is_forgotten(interaction.reply_id) => {}
            Record::Interaction(interaction) => {
                let later = |turn: &&Turn| turn.order > interaction.order;
                let at = self.turns.len() - self.turns.iter().rev().take_while(later).count();
                let follows = interaction.follows.and_then(|reply| self.turn(reply));
                let turn = turn(interaction, interaction.surface.clone(), follows);
                self.answered.insert(turn.answered().key(), turn.reply_id);
                self.turns.insert(at, turn);
                self.count_from(at);
            }
            Record::Feedback(feedback) => {
                self.add_signal(feedback.reply_id, &feedback.signal);
            }
            Record::Tombstone(tombstone) => {
                self.forgotten.extend(&tombstone.reply_ids);
                self.turns.retain(|turn| !self.forgotten.contains(&turn.reply_id));
                self.answered.retain(|_, reply| !self.forgotten.contains(reply));
                self.index.clear();
                self.count_from(0);
                self.cut_off();
            }
            Record::UsedByGeneration(used) => {
                self.lineages.entry(used.digest).or_default().extend(&used.reply_ids);
            }
            Record::Consent(_) => {}
        }
    }

    /// Turns that go on from one that is gone lose what it said.
    fn cut_off(&mut self) {
        for at in 0..self.turns.len() {
            let Some(follows) = self.turns[at].follows else { continue };
            let before = self.turn(follows).cloned();
            if before.as_ref().is_none_or(|before| before.is_cut) {
                self.turns[at].go_on_from(before.as_ref());
            }
        }
    }

    fn count_from(&mut self, at: usize) {
        let turns = self.turns.iter().enumerate().skip(at);
        self.index.extend(turns.map(|(i, turn)| (turn.reply_id, i)));
    }

    fn add_signal(&mut self, reply: u128, signal: &Signal) {
        if let Some(&at) = self.index.get(&reply) {
            self.turns[at].add_signal(signal);
        }
    }

    /// The reply with which a conversation is kept as far as possible, and what is new in it behind
    /// that one.
    pub fn new_in<'a>(&self, said: &'a Transcript) -> (Option<u128>, Vec<&'a Message>) {
        let mut known = said.without_last();
        while !known.is_empty() {
            if let Some(reply) = self.answered.get(&known.key()) {
                return (Some(*reply), said.after(known.len()));
            }
            known = known.without_last();
        }
        (None, said.after(0))
    }

    /// Remembers with which reply a conversation is kept, in its own words: those of the journal
    /// may lack a secret.
    pub fn remember(&mut self, answered: &Transcript, reply: u128) {
        self.answered.insert(answered.key(), reply);
    }

    /// One turn.
    pub fn turn(&self, reply: u128) -> Option<&Turn> {
        self.index.get(&reply).map(|&at| &self.turns[at])
    }

    /// The replies that an adapter learned from; none for the base model or an adapter made
    /// elsewhere.
    pub fn lineage(&self, adapter: Option<&Digest>) -> HashSet<u128> {
        adapter.and_then(|digest| self.lineages.get(digest)).cloned().unwrap_or_default()
    }

    /// Replies that were forgotten.
    pub fn forgotten(&self) -> &HashSet<u128> {
        &self.forgotten
    }

    /// Whether a reply was forgotten.
    pub fn is_forgotten(&self, reply: u128) -> bool {
        self.forgotten.contains(&reply)
    }

    /// All turns, oldest first.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }
}
