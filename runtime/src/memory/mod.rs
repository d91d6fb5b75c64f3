//! Retrieval memory: texts that the user accepted or corrected, put into the very next prompt.
//!
//! The fast half of learning. A correction helps from the next request on, long before an adapter
//! is trained; and every adapter has to beat it. There is no second model: a request is compared
//! by the IDF-weighted mean of the base model's own token embeddings, mean-removed over the user's
//! log (the common direction of all texts says nothing; Arora et al., "A simple but tough-to-beat
//! baseline for sentence embeddings", ICLR 2017), and by the IDF-weighted overlap of tokens, which
//! is the stronger of the two where the model is tiny, so it carries most of the weight.
//!
//! A memory is a value: it depends on its entries alone, not on the order in which they came, and yet
//! one more costs little ([`Memory::update`]). What is counted over all texts (frequencies, the mean)
//! is counted over the oldest part of them, which stays the same until they have doubled.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

/// Writes the embedding of a token into the slice, whose length is the memory's `dim`.
pub type Embed<'a> = dyn FnMut(u32, &mut [f32]) + 'a;

/// Requests at least this similar, by overlap, are the same request: the newest answer counts.
const SAME: f32 = 0.95;
/// The mean that is removed is drawn to 0 with the weight of this many entries, so that the first
/// few entries are not removed from themselves.
const MEAN_PRIOR: f32 = 16.0;
/// Share of the cosine in the similarity; the overlap has the rest. A default to be calibrated on
/// trained embeddings: with random ones, which know nothing but identity, less is better.
const COSINE_SHARE: f32 = 0.3;

/// One accepted or corrected answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Ids of the replies it comes from: forgetting any of them removes it.
    pub lineage: Vec<u128>,
    /// Part of the app; a memory of one surface is never used on another.
    pub surface: String,
    /// Its place among all that happened.
    pub order: u64,
    /// The request, a user turn.
    pub request: String,
    /// The answer the user wanted, an assistant turn.
    pub answer: String,
    /// Tokens of the request.
    pub ids: Vec<u32>,
    /// Whether the model did not come to the answer by itself: it was corrected, or shown others.
    pub taught: bool,
    /// What the two turns cost in a prompt, template included, in tokens.
    pub cost_tokens: usize,
}

/// What is asked of the memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query<'a> {
    /// Tokens of the request at hand.
    pub ids: &'a [u32],
    /// Where it is asked.
    pub surface: &'a str,
    /// Nothing that comes from one of these replies.
    pub excluded: &'a [u128],
    /// At most this many entries.
    pub k: usize,
    /// At most this many tokens for all of them.
    pub budget_tokens: usize,
    /// Nothing below this similarity, in -1..=1: an unrelated example misleads.
    pub least: f32,
}

/// One entry that fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recalled<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// Its similarity to the query, in -1..=1.
    pub similarity: f32,
}

/// The entries, indexed.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    dim: usize,
    /// Sorted oldest first, superseded ones included: they come back if their successor is
    /// forgotten.
    entries: Vec<Entry>,
    /// For each entry the next newer one that answers its request anew.
    superseded: Vec<Option<usize>>,
    /// Distinct tokens of each request, sorted.
    bags: Vec<Vec<u32>>,
    /// Over so many of the oldest entries frequencies and mean are counted.
    counted: usize,
    /// Number of counted requests that have a token.
    frequency: HashMap<u32, u32>,
    /// Removed from every vector; `dim` values.
    mean: Vec<f32>,
    /// Unit vectors (or zero), `dim` values per entry.
    vectors: Vec<f32>,
}

/// Up to so many entries all are counted.
const ALL_COUNTED: usize = 64;

/// Of `len` entries, how many of the oldest are counted: from a quarter to half, so that what
/// changes, which is mostly new, is rarely among them.
fn counted(len: usize) -> usize {
    if len <= ALL_COUNTED { len } else { 1 << (len.ilog2() - 1) }
}

impl Memory {
    /// Indexes entries. `dim` is the width of the embeddings; 0 compares by tokens alone.
    pub fn new(entries: Vec<Entry>, dim: usize, embed: &mut Embed) -> Memory {
        let mut memory = Memory {
            dim,
            entries: Vec::new(),
            superseded: Vec::new(),
            bags: Vec::new(),
            counted: 0,
            frequency: HashMap::new(),
            mean: vec![0.0; dim],
            vectors: Vec::new(),
        };
        memory.update(entries, embed);
        memory
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Goes over to other entries: as if it were built from them, at the cost of those that differ.
    pub fn update(&mut self, mut entries: Vec<Entry>, embed: &mut Embed) {
        entries.sort_by(oldest_first);
        entries.dedup();
        let same = |(a, b): &(&Entry, &Entry)| a == b;
        let mut kept = self.entries.iter().zip(&entries).take_while(same).count();
        let counted = counted(entries.len());
        if counted != self.counted || kept < counted {
            kept = 0;
        }
        self.entries = entries;
        self.bags.truncate(kept);
        self.superseded.truncate(kept);
        self.vectors.truncate(kept * self.dim);
        self.bags.extend(self.entries[kept..].iter().map(|e| bag(&e.ids)));
        if kept == 0 {
            self.count(counted, embed);
        }
        for at in kept..self.entries.len() {
            let vector = self.vector(&self.entries[at].ids, embed);
            self.vectors.extend(vector);
        }
        self.mark_superseded(kept);
    }

    /// Counts frequencies and the mean anew, over the oldest entries.
    fn count(&mut self, counted: usize, embed: &mut Embed) {
        self.counted = counted;
        self.frequency.clear();
        for id in self.bags[..counted].iter().flatten() {
            *self.frequency.entry(*id).or_insert(0) += 1;
        }
        self.mean = vec![0.0; self.dim];
        for at in 0..counted {
            let raw = self.weighted_mean(&self.entries[at].ids, embed);
            for (m, x) in self.mean.iter_mut().zip(&raw) {
                *m += x / (counted as f32 + MEAN_PRIOR);
            }
        }
    }

    /// The most similar entries within the budget, **least similar first**, as they go into the
    /// prompt: the best example stands next to the request. Ties go to the newer entry.
    pub fn nearest(&self, query: &Query, embed: &mut Embed) -> Vec<Recalled<'_>> {
        let tokens = bag(query.ids);
        let vector = self.vector(query.ids, embed);
        let mut found: Vec<(f32, usize)> = (0..self.entries.len())
            .filter(|&i| self.superseded[i].is_none() && self.entries[i].surface == query.surface)
            .filter(|&i| !self.entries[i].lineage.iter().any(|id| query.excluded.contains(id)))
            .map(|i| (self.similarity(i, &tokens, &vector), i))
            .filter(|(similarity, _)| *similarity >= query.least)
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let (mut left, mut out) = (query.budget_tokens, Vec::new());
        for (similarity, i) in found {
            let entry = &self.entries[i];
            if out.len() < query.k && entry.cost_tokens <= left {
                left -= entry.cost_tokens;
                out.push(Recalled { entry, similarity });
            }
        }
        out.reverse();
        out
    }

    /// Cosine of the embeddings of two texts, for the rephrase rule and the split; in -1..=1.
    pub fn cosine(&self, a: &[u32], b: &[u32], embed: &mut Embed) -> f32 {
        dot(&self.vector(a, embed), &self.vector(b, embed))
    }

    fn similarity(&self, i: usize, tokens: &[u32], vector: &[f32]) -> f32 {
        let overlap = self.overlap(&self.bags[i], tokens);
        if self.dim == 0 {
            return overlap;
        }
        let own = &self.vectors[i * self.dim..][..self.dim];
        COSINE_SHARE * dot(own, vector) + (1.0 - COSINE_SHARE) * overlap
    }

    /// Inverse document frequency as in BM25 (Robertson and Zaragoza, 2009), never negative.
    fn idf(&self, id: u32) -> f32 {
        let n = self.counted as f32;
        let df = self.frequency.get(&id).copied().unwrap_or(0) as f32;
        (1.0 + (n - df + 0.5) / (df + 0.5)).ln()
    }

    /// Jaccard of two sorted sets of tokens, each token counted by its IDF; 0..=1.
    fn overlap(&self, a: &[u32], b: &[u32]) -> f32 {
        let (mut i, mut j, mut shared, mut all) = (0, 0, 0.0, 0.0);
        while i < a.len() || j < b.len() {
            let order = match (a.get(i), b.get(j)) {
                (Some(x), Some(y)) => x.cmp(y),
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            let weight = self.idf(if order == Ordering::Greater { b[j] } else { a[i] });
            all += weight;
            shared += if order == Ordering::Equal { weight } else { 0.0 };
            i += usize::from(order != Ordering::Greater);
            j += usize::from(order != Ordering::Less);
        }
        if all > 0.0 { shared / all } else { 0.0 }
    }

    /// Marks every entry that a newer one on its surface answers anew. The first `kept` are marked
    /// as far as they are concerned with each other.
    fn mark_superseded(&mut self, kept: usize) {
        let all = self.entries.len();
        self.superseded.resize(all, None);
        for older in 0..all {
            if self.superseded[older].is_none_or(|newer| newer >= kept) {
                let first = (older + 1).max(kept);
                self.superseded[older] = (first..all).find(|newer| self.repeats(*newer, older));
            }
        }
    }

    fn repeats(&self, newer: usize, older: usize) -> bool {
        let (a, b) = (&self.bags[newer], &self.bags[older]);
        // Sets whose sizes differ by more than a tenth are rarely the same request, and this spares
        // most of the comparisons.
        let close = a.len().abs_diff(b.len()) * 10 <= a.len().max(b.len());
        close
            && self.entries[newer].surface == self.entries[older].surface
            && self.overlap(a, b) >= SAME
    }

    fn vector(&self, ids: &[u32], embed: &mut Embed) -> Vec<f32> {
        self.centred(self.weighted_mean(ids, embed))
    }

    /// sum idf(t) e(t) / sum idf(t) over the tokens as they occur; `dim` values.
    fn weighted_mean(&self, ids: &[u32], embed: &mut Embed) -> Vec<f32> {
        let (mut sum, mut row, mut total) = (vec![0.0; self.dim], vec![0.0; self.dim], 0.0);
        if self.dim == 0 {
            return sum;
        }
        let mut counts: BTreeMap<u32, f32> = BTreeMap::new();
        for &id in ids {
            *counts.entry(id).or_insert(0.0) += 1.0;
        }
        for (id, count) in counts {
            let weight = count * self.idf(id);
            embed(id, &mut row);
            total += weight;
            for (s, x) in sum.iter_mut().zip(&row) {
                *s += weight * x;
            }
        }
        if total > 0.0 {
            sum.iter_mut().for_each(|s| *s /= total);
        }
        sum
    }

    fn centred(&self, mut vector: Vec<f32>) -> Vec<f32> {
        for (x, m) in vector.iter_mut().zip(&self.mean) {
            *x -= m;
        }
        let length = dot(&vector, &vector).sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|x| *x /= length);
        }
        vector
    }
}

fn oldest_first(a: &Entry, b: &Entry) -> Ordering {
    a.order
        .cmp(&b.order)
        .then_with(|| a.lineage.cmp(&b.lineage))
        .then_with(|| (&b.request, &b.answer).cmp(&(&a.request, &a.answer)))
}

fn bag(ids: &[u32]) -> Vec<u32> {
    let mut out = ids.to_vec();
    out.sort_unstable();
    out.dedup();
    out
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests;
