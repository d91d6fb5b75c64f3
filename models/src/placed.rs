//! A model on one device: its weights there, and the programs compiled for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sapwood_kernels::{Bindings, Buffer, Cursor, Device, Exec, Slot};

use crate::adapter::{Adapter, Layout};
use crate::arch::Arch;
use crate::block::{Block, BlockKind, Mode, Target, block};
use crate::devices::Place;
use crate::error::ModelError;
use crate::gguf::Gguf;
use crate::head::{Embed, Head, HeadMode, embed, head};
use crate::mmap::Mapped;
use crate::weights::Weights;

/// Weights on a device, and what was compiled to run on them.
pub(crate) struct Placed {
    pub place: Place,
    pub device: Device,
    pub weights: Weights,
    arch: Arc<Arch>,
    compiled: Mutex<HashMap<Key, Compiled>>,
}

/// A program that was compiled for at most `rows` tokens.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    program: ProgramKey,
    rows: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum ProgramKey {
    Embed,
    Block(BlockKind, Mode),
    Head(HeadMode),
}

#[derive(Clone)]
enum Compiled {
    Embed(Arc<(Embed, Exec)>),
    Block(Arc<(Block, Exec)>),
    Head(Arc<(Head, Exec)>),
}

/// Programs are compiled for a multiple of this many rows (or for one), so that sequences of
/// similar length share them.
const ROW_STEP: usize = 32;

/// Rows that a program for `rows` tokens is compiled for.
pub(crate) fn compiled_rows(rows: usize) -> usize {
    if rows == 1 { 1 } else { rows.next_multiple_of(ROW_STEP) }
}

/// The buffers of a run of the head: see [`Head`].
pub(crate) struct HeadBuffers<'a> {
    pub x: &'a Buffer,
    pub targets: Option<&'a Buffer>,
    pub seed: Option<&'a Buffer>,
    pub out: &'a Buffer,
}

impl Placed {
    pub fn new(
        gguf: &Gguf,
        file: &Mapped,
        arch: &Arc<Arch>,
        (place, device): (Place, Device),
    ) -> Result<Placed, ModelError> {
        let weights = Weights::bind(gguf, file, arch, &device)?;
        Ok(Placed { place, device, weights, arch: arch.clone(), compiled: Mutex::default() })
    }

    /// The embedding of up to `rows` tokens, bound.
    pub fn bind_embed(
        &self,
        rows: usize,
        ids: &Buffer,
        out: &Buffer,
    ) -> (Arc<(Embed, Exec)>, Bindings) {
        let Compiled::Embed(compiled) = self.compiled(ProgramKey::Embed, rows) else {
            unreachable!("the key names an embedding")
        };
        let (program, exec) = &*compiled;
        let bindings = exec.bind(&[
            (program.ids, ids),
            (program.table, &self.weights.embedding),
            (program.out, out),
        ]);
        (compiled, bindings)
    }

    pub fn embed(&self, ids: &[u32], ids_buffer: &Buffer, out: &Buffer, cursor: Cursor) {
        let (compiled, bindings) = self.bind_embed(ids.len(), ids_buffer, out);
        self.device.write_ids(ids_buffer, 0, ids);
        self.device.run(&compiled.1, &bindings, cursor);
    }

    /// The head of up to `rows` rows, bound.
    pub fn bind_head(
        &self,
        mode: HeadMode,
        rows: usize,
        buffers: &HeadBuffers<'_>,
    ) -> (Arc<(Head, Exec)>, Bindings) {
        let compiled = self.compiled_head(mode, rows);
        let (program, exec) = &*compiled;
        let mut bound = vec![
            (program.x, buffers.x),
            (program.norm, &self.weights.output_norm),
            (program.head, self.weights.head()),
            (program.out, buffers.out),
        ];
        for (slot, buffer) in [(program.targets, buffers.targets), (program.seed, buffers.seed)] {
            if let Some(slot) = slot {
                bound.push((slot, buffer.expect("this head reads it")));
            }
        }
        let bindings = exec.bind(&bound);
        (compiled, bindings)
    }

    pub fn run_head(&self, mode: HeadMode, rows: usize, buffers: &HeadBuffers<'_>) {
        let (compiled, bindings) = self.bind_head(mode, rows, buffers);
        self.device.run(&compiled.1, &bindings, Cursor { pos: 0, tokens: rows });
    }

    pub fn compiled_head(&self, mode: HeadMode, rows: usize) -> Arc<(Head, Exec)> {
        match self.compiled(ProgramKey::Head(mode), rows) {
            Compiled::Head(compiled) => compiled,
            _ => unreachable!("the key names a head"),
        }
    }

    pub fn compiled_block(
        &self,
        layer: usize,
        layout: Option<&Layout>,
        mode: Mode,
        rows: usize,
    ) -> Arc<(Block, Exec)> {
        let kind = BlockKind {
            quants: self.weights.layers[layer].quants,
            sliding: self.arch.is_sliding(layer),
            pairs: layout.map_or([None; 7], |layout| layout.kinds(layer)),
        };
        match self.compiled(ProgramKey::Block(kind, mode), rows) {
            Compiled::Block(compiled) => compiled,
            _ => unreachable!("the key names a block"),
        }
    }

    fn compiled(&self, program: ProgramKey, rows: usize) -> Compiled {
        let rows = compiled_rows(rows);
        let key = Key { program, rows };
        let mut compiled = self.compiled.lock().expect("no panic while compiling");
        if let Some(found) = compiled.get(&key) {
            return found.clone();
        }
        let made = match &key.program {
            ProgramKey::Embed => {
                let embed = embed(&self.arch, self.weights.embedding_quant);
                let exec = self.device.compile(&embed.program, rows);
                Compiled::Embed(Arc::new((embed, exec)))
            }
            ProgramKey::Block(kind, mode) => {
                let block = block(&self.arch, kind, *mode);
                let exec = self.device.compile(&block.program, rows);
                Compiled::Block(Arc::new((block, exec)))
            }
            ProgramKey::Head(mode) => {
                let head = head(&self.arch, self.weights.head_quant(), *mode);
                let exec = self.device.compile(&head.program, rows);
                Compiled::Head(Arc::new((head, exec)))
            }
        };
        compiled.insert(key, made.clone());
        made
    }

    /// Buffers of everything that belongs to the layer: weights and adapter.
    pub fn layer_buffers<'a>(
        &'a self,
        block: &Block,
        layer: usize,
        adapter: Option<&'a Adapter>,
    ) -> Vec<(Slot, &'a Buffer)> {
        let mut bindings: Vec<(Slot, &Buffer)> = Vec::new();
        for &(tensor, slot) in &block.weights {
            bindings.push((slot, self.weights.layers[layer].get(tensor)));
        }
        if let Some(slot) = block.rope_factors {
            let factors = self.weights.rope_factors.as_ref();
            bindings.push((slot, factors.expect("the architecture has rope factors")));
        }
        for (target, pair) in Target::ALL.into_iter().zip(block.pairs) {
            if let Some((a, b)) = pair {
                let adapter = adapter.expect("compiled for this adapter");
                let buffers = adapter.buffers(self, layer, target);
                let buffers = buffers.expect("compiled for this adapter");
                bindings.push((a, &buffers.0));
                bindings.push((b, &buffers.1));
            }
        }
        bindings
    }
}
