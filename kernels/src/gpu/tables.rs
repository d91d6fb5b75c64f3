//! Cosines and sines of the angles of a run, kept from one layer to the next.
//!
//! They are computed on the host in f64: a GPU's own sine is too coarse for large angles.

use std::sync::Arc;

use super::context::Context;
use super::page::Page;
use crate::op::Rope;
use crate::types::Cursor;

/// The tables of the ropes in use.
#[derive(Default)]
pub(super) struct Tables {
    all: Vec<Table>,
    next: u64,
}

struct Table {
    id: u64,
    rope: Rope,
    factors: Option<Arc<[f32]>>,
    cursor: Cursor,
    /// `(T, dims)`: the cosines of a token's pairs, then the sines.
    page: Page,
}

/// More ropes than any model has.
const TABLES_MAX: usize = 8;

impl Tables {
    /// Before a run: forgets the oldest tables where there are too many.
    pub fn trim(&mut self) {
        let many = self.all.len().saturating_sub(TABLES_MAX);
        self.all.drain(..many);
    }

    /// The table of a rope at a cursor, and whether it has to be filled anew: then `fill` is called
    /// after all earlier commands were submitted.
    pub fn find(
        &mut self,
        rope: Rope,
        factors: Option<&Arc<[f32]>>,
        cursor: Cursor,
    ) -> Option<u64> {
        let found = self.all.iter().find(|table| table.is_for(&rope, factors));
        found.filter(|table| table.cursor == cursor).map(|table| table.id)
    }

    /// Makes or overwrites the table of a rope.
    pub fn fill(
        &mut self,
        context: &Context,
        rope: Rope,
        factors: Option<&Arc<[f32]>>,
        cursor: Cursor,
    ) -> u64 {
        let turns = turns(&rope, factors.map(|factors| &factors[..]), cursor);
        let bytes = 4 * turns.len() as u64;
        let fits = |table: &Table| table.is_for(&rope, factors) && table.page.bytes() >= bytes;
        let at = match self.all.iter().position(fits) {
            Some(at) => at,
            None => {
                self.all.retain(|table| !table.is_for(&rope, factors));
                self.next += 1;
                let page = Page::new(context, bytes);
                let factors = factors.cloned();
                self.all.push(Table { id: self.next, rope, factors, cursor, page });
                self.all.len() - 1
            }
        };
        let table = &mut self.all[at];
        table.cursor = cursor;
        context.queue.write_buffer(&table.page.buffer, 0, bytemuck::cast_slice(&turns));
        table.id
    }

    pub fn binding(&self, id: u64) -> wgpu::BindingResource<'_> {
        let table = self.all.iter().find(|table| table.id == id);
        let page = &table.expect("tables are forgotten between runs only").page;
        page.whole()
    }
}

impl Table {
    /// Heads and direction don't matter.
    fn is_for(&self, rope: &Rope, factors: Option<&Arc<[f32]>>) -> bool {
        Rope { heads: rope.heads, inverse: rope.inverse, ..self.rope } == *rope
            && self.factors.as_ref() == factors
    }
}

fn turns(rope: &Rope, factors: Option<&[f32]>, cursor: Cursor) -> Vec<f32> {
    let half = rope.dims / 2;
    let mut turns = vec![0.0; cursor.tokens * rope.dims];
    for (t, row) in turns.chunks_exact_mut(rope.dims).enumerate() {
        let (cosines, sines) = row.split_at_mut(half);
        for (i, (cos, sin)) in cosines.iter_mut().zip(sines).enumerate() {
            let factor = factors.map_or(1.0, |factors| f64::from(factors[i]));
            let angle = rope.angle(cursor.pos + t, i) / factor;
            (*sin, *cos) = (angle.sin() as f32, angle.cos() as f32);
        }
    }
    turns
}
