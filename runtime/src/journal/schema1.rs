//! Replies and reactions as schema 1 had them: each reply with its whole conversation, and in the
//! order of their times.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use rkyv::{Archive, Deserialize, Serialize, rancor};

use super::record::{Feedback, Interaction, Record, StopReason, Turn};
use crate::signal::Signal;

#[derive(Archive, Serialize, Deserialize)]
struct Interaction1 {
    reply_id: u128,
    session: u128,
    surface: String,
    time_ms: u64,
    system: Option<String>,
    turns: Vec<Turn>,
    reply: String,
    adapter_digest: Option<[u8; 32]>,
    seed: u64,
    shots: u32,
    tokens: u32,
    stop: StopReason,
    mean_nll: Option<f32>,
}

#[derive(Archive, Serialize, Deserialize)]
struct Feedback1 {
    reply_id: u128,
    time_ms: u64,
    signal: Signal,
}

/// The record of an archive, whose bytes are aligned to 16.
pub(super) fn read(kind: u8, archive: &[u8]) -> Option<Record> {
    type Checked<T> = Result<T, rancor::Error>;
    if kind == 1 {
        let old = rkyv::from_bytes(archive) as Checked<Interaction1>;
        return old.ok().map(|old| Record::Interaction(old.into()));
    }
    let old = rkyv::from_bytes(archive) as Checked<Feedback1>;
    old.ok().map(|Feedback1 { reply_id, time_ms, signal }| {
        Record::Feedback(Feedback { reply_id, order: time_ms, time_ms, signal })
    })
}

impl From<Interaction1> for Interaction {
    fn from(old: Interaction1) -> Interaction {
        Interaction {
            reply_id: old.reply_id,
            order: old.time_ms,
            session: old.session,
            surface: old.surface,
            time_ms: old.time_ms,
            follows: None,
            system: old.system,
            turns: old.turns,
            reply: old.reply,
            adapter_digest: old.adapter_digest,
            seed: old.seed,
            shots: old.shots,
            tokens: old.tokens,
            stop: old.stop,
            mean_nll: old.mean_nll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_schema_1_are_read_at_the_place_of_their_time() {
        let old = Interaction1 {
            reply_id: 1,
            session: 7,
            surface: "mail".into(),
            time_ms: 5,
            system: Some("be brief".into()),
            turns: vec![Turn { role: "user".into(), text: "hi".into() }],
            reply: "hello".into(),
            adapter_digest: Some([1; 32]),
            seed: 2,
            shots: 3,
            tokens: 4,
            stop: StopReason::Length,
            mean_nll: Some(0.5),
        };
        let archive = rkyv::to_bytes::<rancor::Error>(&old).unwrap();
        let Some(Record::Interaction(made)) = Record::from_archive(1, 1, &archive) else {
            panic!("it was not read")
        };
        assert_eq!((made.reply_id, made.order, made.time_ms, made.follows), (1, 5, 5, None));
        assert_eq!((&*made.reply, &*made.turns[0].text, made.tokens), ("hello", "hi", 4));
        assert_eq!((made.stop, made.mean_nll, made.session), (StopReason::Length, Some(0.5), 7));
        let old = Feedback1 { reply_id: 1, time_ms: 9, signal: Signal::Accepted };
        let archive = rkyv::to_bytes::<rancor::Error>(&old).unwrap();
        let signal = Feedback { reply_id: 1, order: 9, time_ms: 9, signal: Signal::Accepted };
        assert_eq!(Record::from_archive(2, 1, &archive), Some(Record::Feedback(signal)));
        assert_eq!(Record::from_archive(2, 3, &archive), None, "of a later version");
    }
}
