//! What the library notices by itself: a user who asks again in other words.
//!
//! The app sees an edit, a copy, a thumb; that the next request says the same as the last one is
//! in the texts alone. A host that knows better signals [`Signal::Rephrased`] itself, or has already
//! said that the reply was of use.

use crate::error::LearnerError;
use crate::kept::Kept;
use crate::learn::example::Turn;
use crate::learn::rephrase::{Likeness, Next, has_cue, next_request};
use crate::learn::text;
use crate::shared::Shared;
use crate::signal::{Rating, Signal};

/// Before this many examples nobody knows which words say nothing on this device, and requests
/// that have only their form in common look alike.
const CALIBRATED_FROM: usize = 16;

impl Shared {
    /// Records that a reply just made answers a rephrase of the request before it, if so.
    pub fn notice_rephrase(&self, kept: &mut Kept, reply: u128) -> Result<(), LearnerError> {
        let Some(failed) = self.rephrased(kept, reply) else { return Ok(()) };
        let signal = Signal::Rephrased { new_reply: reply };
        self.signal_kept(kept, failed, signal)
    }

    /// The reply before this one in its conversation, if the user asked again because of it.
    fn rephrased(&self, kept: &mut Kept, reply: u128) -> Option<u128> {
        let turns = kept.ledger.turns();
        let turn = turns.iter().rev().find(|turn| turn.reply_id == reply)?;
        let asked_before = &turn.prompt.newest_first().nth(2)?.content;
        let mut earlier = turns.iter().rev().filter(|t| t.session == turn.session);
        let earlier = earlier.find(|t| t.reply_id != reply && t.request() == asked_before)?;
        if earlier.signals.iter().any(settles) {
            return None;
        }
        let (earlier, turn) = (earlier.clone(), turn.clone());
        let likeness = self.likeness(kept, &earlier, &turn)?;
        matches!(next_request(&likeness), Next::Rephrase { .. }).then_some(earlier.reply_id)
    }

    fn likeness(&self, kept: &mut Kept, earlier: &Turn, turn: &Turn) -> Option<Likeness> {
        let memory = self.remembered(kept);
        if memory.entries().len() < CALIBRATED_FROM {
            return None;
        }
        let [first, second, said] =
            [earlier.request(), turn.request(), &earlier.reply].map(|text| self.request_ids(text));
        let embed = &mut |id, row: &mut [f32]| self.model.token_embedding(id, row);
        Some(Likeness {
            cos_requests: memory.cosine(&first, &second, embed).into(),
            cos_reply: memory.cosine(&second, &said, embed).into(),
            jaccard: text::jaccard(earlier.request(), turn.request()),
            cue: has_cue(turn.request()),
            gap_s: turn.time_ms.saturating_sub(earlier.time_ms) as f64 / 1000.0,
        })
    }
}

/// Whether the user has said what became of the reply.
fn settles(signal: &Signal) -> bool {
    match signal {
        Signal::Edited { .. }
        | Signal::Accepted
        | Signal::Copied { .. }
        | Signal::Rated { rating: Rating::Up }
        | Signal::Regenerated { .. }
        | Signal::Rephrased { .. } => true,
        Signal::Rated { rating: Rating::Down } | Signal::Stopped { .. } | Signal::Abandoned => {
            false
        }
    }
}
