//! The buffers of a run, checked against a program's shapes.

use crate::buffer::Buffer;
use crate::program::Program;
use crate::types::{Role, Rows, Slot};

/// Buffers that fit.
pub(crate) struct Checked<'a> {
    /// Every buffer once.
    pub buffers: Vec<&'a Buffer>,
    /// For every bound slot, its buffer's number.
    pub numbers: Vec<usize>,
    /// The most tokens that every buffer over tokens has room for.
    pub tokens: usize,
    /// Rows of the smallest cache.
    pub capacity: usize,
}

impl<'a> Checked<'a> {
    /// Checks that `buffers` gives every slot of `bound` a buffer of its shape.
    ///
    /// # Panics
    /// See [`Exec::bind`](crate::Exec::bind).
    pub fn new(program: &Program, bound: &[Slot], buffers: &[(Slot, &'a Buffer)]) -> Checked<'a> {
        let name = |slot: Slot| &program.desc(slot).name;
        for &(slot, _) in buffers {
            assert!(bound.contains(&slot), "{} is not to be bound", name(slot));
        }
        let (mut tokens, mut capacity) = (usize::MAX, usize::MAX);
        let mut once: Vec<&Buffer> = Vec::with_capacity(bound.len());
        let mut numbers = Vec::with_capacity(bound.len());
        for &slot in bound {
            let mut given = buffers.iter().filter(|(bound, _)| *bound == slot);
            let (Some((_, buffer)), None) = (given.next(), given.next()) else {
                panic!("{} is to be bound once", name(slot));
            };
            let desc = program.desc(slot);
            assert_eq!(buffer.element(), desc.element, "{}: element", desc.name);
            assert_eq!(buffer.cols(), desc.cols, "{}: columns", desc.name);
            match desc.rows {
                Rows::Fixed(rows) => assert_eq!(buffer.rows(), rows, "{}: rows", desc.name),
                Rows::Tokens => tokens = tokens.min(buffer.rows()),
                Rows::Bound => capacity = capacity.min(buffer.rows()),
            }
            let known = once.iter().position(|known| known.is_same_memory(buffer));
            assert!(
                known.is_none() || desc.role != Role::State,
                "{}: a cache is bound to one slot",
                desc.name
            );
            numbers.push(known.unwrap_or(once.len()));
            if known.is_none() {
                once.push(buffer);
            }
        }
        Checked { buffers: once, numbers, tokens, capacity }
    }
}
