//! See `crate::fuzz`.

use super::run::{Content, Lesson, Run};
use crate::learn::train::TrainState;
use crate::measured::{Measured, Question};

/// What was understood of a checkpoint, as the checkpoint that it would be saved as.
pub(crate) fn checkpoint(text: &[u8]) -> Option<Vec<u8>> {
    let (mut run, measured) = Run::from_checkpoint(text)?;
    for lesson in [&run.new, &run.replay, &run.anchors].into_iter().flatten() {
        lesson.sequence();
    }
    let state = run.take_state();
    run.set_state(&state);
    Some(run.checkpoint(&measured))
}

pub(crate) fn small_checkpoint() -> Vec<u8> {
    let lesson = |n: u32| Lesson { ids: (0..n).collect(), prompt_len: n / 2, weight: 1.0 };
    let content = Content {
        settings: [1; 32],
        base: [2; 32],
        started_ms: 2,
        until: 2,
        parent: Some([3; 32]),
        seed: 4,
        new: vec![lesson(5), lesson(2)],
        replay: vec![lesson(6)],
        anchors: Vec::new(),
        lineage: vec![7, 8],
        examples: 3,
        left_out: 1,
    };
    let mut measured = Measured::default();
    measured.insert(Question::new("likelihood", None).key(), -1.5);
    Run::new(content, TrainState::new(vec![0.5; 9])).checkpoint(&measured)
}
