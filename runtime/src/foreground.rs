//! What training makes way for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after a reply's last token training stays away: shorter pauses are the next token's.
const QUIET: Duration = Duration::from_millis(200);

/// Replies that are being computed.
#[derive(Default)]
pub(crate) struct Foreground(Mutex<Replies>);

#[derive(Default)]
struct Replies {
    under_way: usize,
    last: Option<Instant>,
}

/// Computes for a reply: training makes way as long as this lives.
pub(crate) struct Ahead<'a>(&'a Foreground);

impl Foreground {
    /// A reply is about to compute.
    pub fn enter(&self) -> Ahead<'_> {
        self.replies(|replies| replies.under_way += 1);
        Ahead(self)
    }

    /// Whether anybody is inside.
    pub fn is_entered(&self) -> bool {
        self.replies(|replies| replies.under_way > 0)
    }

    pub fn is_busy(&self) -> bool {
        self.replies(|replies| {
            replies.under_way > 0 || replies.last.is_some_and(|last| last.elapsed() < QUIET)
        })
    }

    fn replies<T>(&self, look: impl FnOnce(&mut Replies) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.replies(|replies| {
            replies.under_way -= 1;
            replies.last = Some(Instant::now());
        });
    }
}
