//! What kernels are told of the run that they are part of.

use super::gemm::Engine;
use super::pool::{Part, Split, Worker};
use crate::types::Cursor;

/// What every kernel is told: where it runs, and for which tokens.
pub(super) struct Cx<'a> {
    pub engine: Engine<'a>,
    pub cursor: Cursor,
}

/// Fewer values than this are not worth waking threads for.
const PARALLEL_MIN: usize = 8192;

impl Cx<'_> {
    pub fn tokens(&self) -> usize {
        self.cursor.tokens
    }

    pub fn threads(&self) -> usize {
        self.engine.pool.threads()
    }

    /// Parts into which `rows` rows with `values` values in all are worth cutting.
    pub fn parts(&self, values: usize, rows: usize) -> usize {
        if values < PARALLEL_MIN { 1 } else { self.threads().min(rows).max(1) }
    }

    /// Calls `body` with every part's number, each on its own thread.
    pub fn each_part(&self, parts: usize, body: impl Fn(usize) + Sync) {
        if parts == 1 {
            return body(0);
        }
        self.engine.pool.run(|worker: &Worker<'_>| {
            if worker.index() < parts {
                body(worker.index());
            }
        });
    }

    /// Divides the rows of `y` among the threads.
    pub fn rows(&self, y: &mut [f32], cols: usize, body: impl Fn(&mut Part<'_, f32>) + Sync) {
        let parts = self.parts(y.len(), y.len() / cols);
        let split = Split::rows(y, cols, parts);
        self.each_part(parts, |i| body(&mut split.part(i)));
    }
}
