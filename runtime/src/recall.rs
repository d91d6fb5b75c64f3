//! Recall: which past exchanges the model is shown, and which examples there are.

use std::collections::{HashMap, HashSet};

use sapwood_models::Special;

use crate::consent::Consent;
use crate::kept::Kept;
use crate::learn::example::{Example, Reliabilities, Rules, calibrate, examples};
use crate::memory::{Entry, Memory, Query};
use crate::prompt::Shot;
use crate::shared::Shared;
use crate::transcript::Transcript;

/// What a template puts around two turns, about.
const TURN_TOKENS: usize = 12;

/// The request of a conversation that is nothing but that. Later ones mean little without what came
/// before them, and have it to go by.
pub(crate) fn only_request(said: &Transcript) -> Option<&str> {
    let turns = said.len() - usize::from(said.system().is_some());
    (turns == 1).then(|| said.last().map_or("", |message| &message.content))
}

impl Shared {
    /// Everything worth learning, by the rules of now and reliabilities calibrated on this user.
    pub fn examples(&self, kept: &Kept) -> Vec<Example> {
        examples(kept.ledger.turns(), &self.rules(kept))
    }

    /// The rules of now.
    pub fn rules(&self, kept: &Kept) -> Rules {
        let rules = Rules::at(kept.store.time().now_ms);
        let reliabilities: Reliabilities = calibrate(kept.ledger.turns(), &rules);
        Rules { reliabilities, ..rules }
    }

    /// Past exchanges to show with the first request of a conversation, the most similar one last.
    /// Later requests have the conversation itself to go by.
    pub fn retrieve(&self, surface: &str, said: &Transcript) -> Vec<Shot> {
        let Some(request) = only_request(said) else { return Vec::new() };
        let mut kept = self.kept();
        if !kept.retrieval_enabled || kept.consent() == Consent::Refused {
            return Vec::new();
        }
        self.shots(self.remembered(&mut kept), surface, request, &[])
    }

    /// All that can be retrieved now.
    pub fn remembered<'a>(&self, kept: &'a mut Kept) -> &'a Memory {
        if kept.memory.is_none() || std::mem::take(&mut kept.memory_outdated) {
            let mut memory = kept.memory.take().unwrap_or_else(|| self.empty_memory());
            let entries = self.entries(kept, &HashSet::new(), memory.entries());
            memory.update(entries, &mut self.embed());
            kept.memory = Some(memory);
        }
        kept.memory.as_ref().expect("just built")
    }

    /// What a memory recalls for a request, without what comes from the `excluded` replies. Nothing
    /// if the model came to all of that by itself: it needs no examples there, and would only be
    /// led astray.
    pub fn shots(
        &self,
        memory: &Memory,
        surface: &str,
        request: &str,
        excluded: &[u128],
    ) -> Vec<Shot> {
        let ids = self.request_ids(request);
        let retrieval = &self.config.retrieval;
        let query = Query {
            ids: &ids,
            surface,
            excluded,
            k: retrieval.examples,
            budget_tokens: retrieval.token_budget,
            least: retrieval.min_similarity,
        };
        let shown = memory.nearest(&query, &mut self.embed());
        let shown: Vec<&Entry> = shown.into_iter().map(|recalled| recalled.entry).collect();
        if !shown.iter().any(|entry| entry.taught) {
            return Vec::new();
        }
        let shot = |e: &Entry| Shot { prompt: e.request.clone(), answer: e.answer.clone() };
        shown.into_iter().map(shot).collect()
    }

    /// As [`Shared::shots`] for a conversation: nothing where it is more than its request.
    pub fn shots_for(
        &self,
        memory: &Memory,
        surface: &str,
        said: &Transcript,
        excluded: &[u128],
    ) -> Vec<Shot> {
        let request = only_request(said);
        request.map_or_else(Vec::new, |request| self.shots(memory, surface, request, excluded))
    }

    /// All that can be retrieved, without what comes from the `excluded` replies. What an adapter
    /// has learned stays: the two together do better than either.
    pub fn memory(&self, kept: &Kept, excluded: &HashSet<u128>) -> Memory {
        let mut memory = self.empty_memory();
        memory.update(self.entries(kept, excluded, &[]), &mut self.embed());
        memory
    }

    fn empty_memory(&self) -> Memory {
        Memory::new(Vec::new(), self.model.arch().width, &mut self.embed())
    }

    fn embed(&self) -> impl FnMut(u32, &mut [f32]) {
        |id, row: &mut [f32]| self.model.token_embedding(id, row)
    }

    /// The examples that can be shown: `known` ones are not cut into tokens again.
    fn entries(&self, kept: &Kept, excluded: &HashSet<u128>, known: &[Entry]) -> Vec<Entry> {
        let known: HashMap<u128, &Entry> = known.iter().map(|e| (e.lineage[0], e)).collect();
        let open = |e: &Example| !e.lineage.iter().any(|id| excluded.contains(id));
        let entry = |e: Example| {
            // A request that builds on earlier turns means nothing without them.
            let request = only_request(&e.prompt)?;
            let like = known.get(&e.lineage[0]).filter(|k| k.request == request);
            let same = like.filter(|k| k.answer == e.target);
            let ids = like.map_or_else(|| self.request_ids(request), |k| k.ids.clone());
            let cost = || ids.len() + self.request_ids(&e.target).len() + TURN_TOKENS;
            Some(Entry {
                cost_tokens: same.map_or_else(cost, |k| k.cost_tokens),
                request: request.to_owned(),
                ids,
                answer: e.target,
                lineage: e.lineage,
                surface: e.surface,
                order: e.order,
                taught: e.taught,
            })
        };
        self.examples(kept).into_iter().filter(open).filter_map(entry).collect()
    }

    pub fn request_ids(&self, text: &str) -> Vec<u32> {
        self.model.tokenizer().encode(text, Special::default())
    }
}
