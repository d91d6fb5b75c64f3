//! Rotary position embedding.

use super::cx::Cx;
use super::lanes::{get, put};
use super::pool::Part;
use super::simd::{Kernel, Simd};
use crate::op::{Rope, RopeStyle};
use crate::types::Cursor;

/// Cosines and sines of the angles of a run, kept from one layer to the next.
#[derive(Default)]
pub(super) struct Tables(Vec<Table>);

struct Table {
    rope: Rope,
    factors: Option<Vec<f32>>,
    cursor: Cursor,
    /// `(T, dims)`: the cosines of a token's pairs, then the sines.
    turns: Vec<f32>,
}

/// Different ropes that one model uses (Gemma: local and global), with room to spare.
const TABLES_MAX: usize = 4;

impl Tables {
    /// The table of a rope at a cursor, made unless it is there. The direction does not matter.
    pub(super) fn get(&mut self, rope: Rope, factors: Option<&[f32]>, cursor: Cursor) -> &[f32] {
        let same = |table: &Table| {
            Rope { heads: rope.heads, inverse: rope.inverse, ..table.rope } == rope
                && table.factors.as_deref() == factors
        };
        let at = match self.0.iter().position(same) {
            Some(at) => at,
            None => {
                if self.0.len() == TABLES_MAX {
                    self.0.remove(0);
                }
                let factors = factors.map(<[f32]>::to_vec);
                let cursor = Cursor { pos: 0, tokens: 0 };
                self.0.push(Table { rope, factors, cursor, turns: Vec::new() });
                self.0.len() - 1
            }
        };
        let table = &mut self.0[at];
        if table.cursor != cursor {
            table.fill(cursor);
        }
        &table.turns
    }
}

impl Table {
    fn fill(&mut self, cursor: Cursor) {
        let half = self.rope.dims / 2;
        self.turns.resize(cursor.tokens * self.rope.dims, 0.0);
        for (t, row) in self.turns.chunks_exact_mut(self.rope.dims).enumerate() {
            let (cosines, sines) = row.split_at_mut(half);
            for (i, (cos, sin)) in cosines.iter_mut().zip(sines).enumerate() {
                let factor = self.factors.as_ref().map_or(1.0, |factors| f64::from(factors[i]));
                let angle = self.rope.angle(cursor.pos + t, i) / factor;
                (*sin, *cos) = (angle.sin() as f32, angle.cos() as f32);
            }
        }
        self.cursor = cursor;
    }
}

/// `y (T,H*D)` from `x`; without `x`, `y` holds it. `turns` is the run's table.
pub(super) fn rope(cx: &Cx<'_>, rope: Rope, turns: &[f32], x: Option<&[f32]>, y: &mut [f32]) {
    let cols = y.len() / cx.tokens();
    cx.rows(y, cols, |y| cx.engine.isa.dispatch(Turn { rope, turns, x, y }));
}

struct Turn<'a, 'p> {
    rope: Rope,
    turns: &'a [f32],
    x: Option<&'a [f32]>,
    y: &'a mut Part<'p, f32>,
}

impl Kernel for Turn<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in self.y.rows() {
            let row = self.y.row(t);
            if let Some(x) = self.x {
                row.copy_from_slice(&x[t * row.len()..][..row.len()]);
            }
            let turns = &self.turns[t * self.rope.dims..][..self.rope.dims];
            let width = row.len() / self.rope.heads;
            for head in row.chunks_exact_mut(width) {
                turn_head(s, &self.rope, turns, head);
            }
        }
    }
}

/// One head of one token, in place; `turns (dims)` is the token's row of the table.
#[inline(always)]
pub(super) fn turn_head<S: Simd>(s: S, rope: &Rope, turns: &[f32], head: &mut [f32]) {
    let half = rope.dims / 2;
    let (cosines, sines) = turns.split_at(half);
    let sign = if rope.inverse { -1.0 } else { 1.0 };
    match rope.style {
        RopeStyle::HalfSplit => {
            let (first, second) = head[..rope.dims].split_at_mut(half);
            for i in (0..half).step_by(S::LANES) {
                let (cos, sin) = (get(s, cosines, i), s.mul(s.splat(sign), get(s, sines, i)));
                let (a, b) = (get(s, first, i), get(s, second, i));
                put(s, s.sub(s.mul(a, cos), s.mul(b, sin)), first, i);
                put(s, s.fma(a, sin, s.mul(b, cos)), second, i);
            }
        }
        RopeStyle::Interleaved => {
            let pairs = head[..rope.dims].chunks_exact_mut(2);
            for (pair, (cos, sin)) in pairs.zip(cosines.iter().zip(sines)) {
                let (a, b) = (pair[0], pair[1]);
                pair[0] = a * cos - b * (sign * sin);
                pair[1] = a * (sign * sin) + b * cos;
            }
        }
    }
}
