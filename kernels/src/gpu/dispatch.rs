//! One call of a kernel: what it binds, what it is told, and over which grid.

use super::shader::{BINDINGS_MAX, IMMEDIATE_BYTES, Kernel};

/// What a kernel binds.
pub(super) type Operands = [Operand; BINDINGS_MAX];

/// One storage buffer of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Operand {
    /// Nothing that the kernel looks at.
    #[default]
    None,
    /// `len` f32 of the arena.
    Arena { offset: usize, len: usize },
    /// A panel of the bound buffer of this number.
    Bound { number: usize, panel: usize },
    /// The page that this buffer lies in.
    Page { number: usize },
    /// A table of the recorder.
    Table(u64),
}

/// Sizes that a kernel is told, as words.
pub(super) type Words = [u32; IMMEDIATE_BYTES as usize / 4];

/// One kernel call.
pub(super) struct Dispatch {
    pub kernel: Kernel,
    pub operands: Operands,
    pub words: Words,
    /// The word that is the run's first position, if one is.
    pub pos: Option<usize>,
    pub grid: [u32; 3],
}
