//! What the user wants forgotten.

use std::collections::HashSet;

use crate::journal::Interaction;
use crate::learn::example::Turn;
use crate::signal::Signal;

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
    pub(crate) fn turns<'a>(&self, all: &'a [Turn]) -> Vec<&'a Turn> {
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
            let asked = turn.asked();
            let mut pairs = asked.windows(2);
            pairs.any(|pair| said.contains(&(&*pair[0].content, &*pair[1].content)))
        };
        let mut turns = Vec::new();
        for turn in all {
            if gone.contains(&turn.reply_id)
                || sessions.contains(&turn.session)
                || turn.follows.is_some_and(|before| gone.contains(&before))
                || quotes(turn, &said)
            {
                gone.insert(turn.reply_id);
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
