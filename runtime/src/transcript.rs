//! A conversation up to some point, which shares its beginning with the points before it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ring::digest::{Context, SHA256};
use sapwood_models::{Message, Role};

use crate::learn::text;

/// Messages of a conversation, system message first if there is one. A conversation of n turns has n
/// of these, and together they take the memory of n messages, not of n². Cheap to clone.
#[derive(Clone, Default)]
pub struct Transcript(Option<Arc<Link>>);

struct Link {
    before: Transcript,
    message: Message,
    /// The system message, if the conversation begins with one.
    system: Option<Arc<str>>,
    len: usize,
    /// SHA-256 over all messages up to here.
    key: [u8; 32],
    /// See [`Transcript::request_key`].
    request_key: OnceLock<[u8; 32]>,
}

impl Transcript {
    /// This transcript with one more message.
    #[must_use]
    pub fn with(&self, message: Message) -> Transcript {
        let mut hash = Context::new(&SHA256);
        hash.update(&self.key());
        hash.update(message.role.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(message.content.as_bytes());
        let key = finished(hash);
        let is_system = self.is_empty() && message.role == Role::System;
        let system = match &self.0 {
            Some(link) => link.system.clone(),
            None => is_system.then(|| message.content.as_str().into()),
        };
        let (before, len) = (self.clone(), self.len() + 1);
        let request_key = OnceLock::new();
        Transcript(Some(Arc::new(Link { before, message, system, len, key, request_key })))
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.len)
    }

    /// The system message, if the conversation begins with one.
    pub fn system(&self) -> Option<&str> {
        self.0.as_ref()?.system.as_deref()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The newest message.
    pub fn last(&self) -> Option<&Message> {
        self.newest_first().next()
    }

    /// The transcript without its newest message.
    #[must_use]
    pub fn without_last(&self) -> Transcript {
        self.0.as_ref().map_or_else(Transcript::default, |link| link.before.clone())
    }

    /// Equal for transcripts of the same messages, and for no others.
    pub fn key(&self) -> [u8; 32] {
        self.0.as_ref().map_or([0; 32], |link| link.key)
    }

    /// Equal for the same request, but for case, punctuation and spacing, behind the same messages.
    pub fn request_key(&self) -> [u8; 32] {
        let Some(link) = &self.0 else { return [0; 32] };
        *link.request_key.get_or_init(|| {
            let mut hash = Context::new(&SHA256);
            hash.update(&link.before.key());
            hash.update(text::normalised(&link.message.content).as_bytes());
            finished(hash)
        })
    }

    /// From the newest message back.
    pub fn newest_first(&self) -> impl Iterator<Item = &Message> {
        let mut at = self;
        std::iter::from_fn(move || {
            let link = at.0.as_ref()?;
            at = &link.before;
            Some(&link.message)
        })
    }

    /// The messages that came after the first `len`, oldest first.
    pub fn after(&self, len: usize) -> Vec<&Message> {
        let mut newest: Vec<&Message> =
            self.newest_first().take(self.len().saturating_sub(len)).collect();
        newest.reverse();
        newest
    }

    /// All messages, oldest first.
    pub fn to_vec(&self) -> Vec<Message> {
        self.after(0).into_iter().cloned().collect()
    }

    /// The end of the conversation that has at most `bytes` of text, oldest message first, and the
    /// newest message in any case. It begins with an answer only if the conversation does, and never
    /// with the system message.
    pub fn end(&self, bytes: usize) -> Vec<Message> {
        let all = self.len() - usize::from(self.system().is_some());
        let mut left = bytes;
        let fits = |message: &&Message| {
            let fits = message.content.len() <= left;
            left = left.saturating_sub(message.content.len());
            fits
        };
        let count = self.newest_first().take(all).take_while(fits).count().max(1);
        let end = self.after(self.len().saturating_sub(count));
        let answers = |(n, message): &(usize, &&Message)| {
            count < all && n + 1 < count && message.role == Role::Assistant
        };
        let skipped = end.iter().enumerate().take_while(answers).count();
        end[skipped..].iter().copied().cloned().collect()
    }
}

fn finished(hash: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

impl FromIterator<Message> for Transcript {
    fn from_iter<T: IntoIterator<Item = Message>>(messages: T) -> Transcript {
        messages.into_iter().fold(Transcript::default(), |said, message| said.with(message))
    }
}

impl PartialEq for Transcript {
    fn eq(&self, other: &Transcript) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Transcript {}

/// Never shows what was said.
impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transcript({} messages)", self.len())
    }
}

/// One after the other: a long conversation's links, each dropped in the drop of the one behind it,
/// would need as much stack.
impl Drop for Link {
    fn drop(&mut self) {
        let mut before = self.before.0.take();
        while let Some(mut link) = before.and_then(Arc::into_inner) {
            before = link.before.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(texts: &[String]) -> Transcript {
        let role = |n| if n % 2 == 0 { Role::User } else { Role::Assistant };
        texts.iter().enumerate().map(|(n, text)| Message::new(role(n), text)).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_list_of_its_messages(
            one in prop::collection::vec("[ab]{0,2}", 0..6),
            two in prop::collection::vec("[ab]{0,2}", 0..6),
            len in 0usize..8,
            bytes in 0usize..12,
        ) {
            let (a, b) = (said(&one), said(&two));
            prop_assert_eq!(a == b, one == two);
            prop_assert_eq!((a.len(), a.is_empty()), (one.len(), one.is_empty()));
            let texts = |messages: &[Message]| -> Vec<String> {
                messages.iter().map(|message| message.content.clone()).collect()
            };
            prop_assert_eq!(texts(&a.to_vec()), one.clone());
            prop_assert_eq!(a.last().map(|m| &m.content), one.last());
            let after: Vec<_> = a.after(len).into_iter().cloned().collect();
            prop_assert_eq!(texts(&after), one.get(len..).unwrap_or_default().to_vec());
            let end = a.end(bytes);
            prop_assert!(one.ends_with(&texts(&end)) && end.is_empty() == one.is_empty());
            prop_assert!(end.len() <= 1 || texts(&end).concat().len() <= bytes);
            let begins_with_answer = end.first().is_some_and(|m| m.role == Role::Assistant);
            prop_assert!(!begins_with_answer || end.len() == 1);
            prop_assert_eq!(a.without_last().with(Message::new(Role::User, "x")).len(), one.len().max(1));
        }
    }

    #[test]
    fn the_system_message_stands_apart() {
        let message = |role, text: &str| Message::new(role, text);
        let said: Transcript = [
            message(Role::System, "brief"),
            message(Role::User, "one"),
            message(Role::Assistant, "two"),
            message(Role::User, "three"),
        ]
        .into_iter()
        .collect();
        assert_eq!(said.system(), Some("brief"));
        assert_eq!(said.end(1000), said.to_vec()[1..]);
        assert_eq!(said.end(9), said.to_vec()[3..], "not with an answer first");
        assert_eq!(said.end(0), said.to_vec()[3..]);
        assert_eq!(Transcript::default().end(9), []);
    }

    #[test]
    fn a_very_long_one_goes_without_a_deep_stack() {
        let long: Transcript = (0..200_000).map(|_| Message::new(Role::User, "a")).collect();
        let shared = long.without_last();
        drop(long);
        assert_eq!(shared.len(), 199_999);
        drop(shared);
    }
}
