//! The pair-merging loop that both algorithms share: a doubly linked list of symbols and a heap of
//! candidate merges, O(n log n) in the length of the piece.
//!
//! Byte-level BPE asks for the merge of lowest rank, SentencePiece for the one of highest score;
//! both take the leftmost of equals. Every merge shortens the list by one and adds at most two
//! candidates, so n symbols cost at most n - 1 merges and 3n heap entries: that is the step budget,
//! and no vocabulary can exceed it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A candidate: merge the symbol at `left` with the one after it. Ordered by what comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Lower goes first.
    priority: u32,
    left: u32,
    right: u32,
    /// Both symbols' ids when this was found: the candidate is stale when either has changed.
    ids: (u32, u32),
    merged: u32,
}

#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    prev: u32,
    next: u32,
    start: u32,
    end: u32,
}

/// Scratch of the merge loop, kept from piece to piece.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// A symbol that is not (yet) a token.
pub(super) const NO_ID: u32 = u32::MAX;

/// A span of the piece and the token that it became, or [`NO_ID`].
pub(super) struct Merged {
    pub(super) id: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Merger {
    /// Forgets the last piece.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
    }

    /// Appends a first symbol: bytes `start..end` of the piece, as token `id` or [`NO_ID`].
    pub(super) fn push(&mut self, id: u32, start: usize, end: usize) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        let prev = index.checked_sub(1).unwrap_or(NONE);
        let (start, end) = (start as u32, end as u32);
        self.symbols.push(Symbol { id, prev, next: NONE, start, end });
    }

    /// Merges until nothing merges. `pair` is given two neighbours' ids and the bytes that they
    /// span, and names the priority (lower first) and the id of their merge.
    pub(super) fn run(
        &mut self,
        pair: impl Fn(u32, u32, std::ops::Range<usize>) -> Option<(u32, u32)>,
    ) {
        for left in 0..self.symbols.len().saturating_sub(1) {
            self.consider(left as u32, left as u32 + 1, &pair);
        }
        while let Some(Reverse(candidate)) = self.heap.pop() {
            let Candidate { left, right, ids, merged, .. } = candidate;
            let (l, r) = (self.symbols[left as usize], self.symbols[right as usize]);
            // A consumed symbol is marked by an empty span.
            if l.next != right || r.start == r.end || l.start == l.end || (l.id, r.id) != ids {
                continue;
            }
            self.symbols[left as usize] = Symbol { id: merged, next: r.next, end: r.end, ..l };
            self.symbols[right as usize].end = r.start;
            if r.next != NONE {
                self.symbols[r.next as usize].prev = left;
                self.consider(left, r.next, &pair);
            }
            if l.prev != NONE {
                self.consider(l.prev, left, &pair);
            }
        }
    }

    /// The symbols that are left, in order.
    pub(super) fn merged(&self) -> impl Iterator<Item = Merged> + '_ {
        let live = self.symbols.iter().filter(|symbol| symbol.start < symbol.end);
        live.map(|s| Merged { id: s.id, start: s.start as usize, end: s.end as usize })
    }

    fn consider(
        &mut self,
        left: u32,
        right: u32,
        pair: &impl Fn(u32, u32, std::ops::Range<usize>) -> Option<(u32, u32)>,
    ) {
        let (l, r) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some((priority, merged)) = pair(l.id, r.id, l.start as usize..r.end as usize) {
            let ids = (l.id, r.id);
            self.heap.push(Reverse(Candidate { priority, left, right, ids, merged }));
        }
    }
}
