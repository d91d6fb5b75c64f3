//! From a program to what runs of it have to know: its pieces, and where everything lies.

use super::context::Context;
use super::exec::{Exec, LINE, Place, Planned};
use super::fuse::{Piece, fuse, unfused};
use super::ops;
use super::shader::{Kernel, Products};
use crate::layout::{self, layout, len, needed_steps};
use crate::program::Program;

impl Exec {
    /// `fused` is off only in tests.
    pub(super) fn new(
        context: &Context,
        program: &Program,
        max_tokens: usize,
        fused: bool,
    ) -> Exec {
        assert!(max_tokens > 0, "a run has at least one token");
        let bound = program.bound();
        let steps = needed_steps(program);
        let pieces = if fused && max_tokens == 1 { fuse(program, steps) } else { unfused(steps) };
        let lifetimes: Vec<_> = pieces
            .iter()
            .map(|piece| lifetime(context.products, program, piece, max_tokens))
            .collect();
        let layout = layout(program, &lifetimes, max_tokens, LINE);
        let mut places = vec![Place::Unused; program.slots().count()];
        for (number, slot) in bound.iter().enumerate() {
            places[slot.index()] = Place::Bound(number);
        }
        for (slot, offset) in layout.slots {
            places[slot.index()] = Place::Arena(offset);
            context.expect_room(4 * len(program, slot, max_tokens));
        }
        let spaces = layout.works.into_iter().zip(layout.lefts);
        let planned = |(piece, ((work, _), left))| Planned { piece, work, left };
        let pieces = pieces.into_iter().zip(spaces).map(planned);
        let (program, arena_len) = (program.clone(), layout.len);
        let (pieces, products) = (pieces.collect(), context.products);
        Exec { program, max_tokens, bound, places, pieces, arena_len, products }
    }

    /// Every kernel that a run calls, if what is used together lies together.
    pub(crate) fn kernels(&self) -> Vec<Kernel> {
        let pieces = self.pieces.iter();
        let of = |planned: &Planned| {
            ops::kernels(self.products, &self.program, &planned.piece, self.max_tokens)
        };
        pieces.flat_map(of).collect()
    }
}

/// What the planner of the arena has to know of a piece. Its steps may have to run one by one, so
/// everything between them has its place.
fn lifetime<'a>(
    usual: Products,
    program: &Program,
    piece: &'a Piece,
    max_tokens: usize,
) -> layout::Piece<'a> {
    let works = piece.steps.iter().map(|step| ops::work_len(usual, program, step, max_tokens));
    let left = ops::left_len(program, piece);
    layout::Piece { steps: &piece.steps, work: works.max().unwrap_or(0), left }
}
