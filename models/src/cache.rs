//! The KV cache of one conversation.

mod held;

use std::sync::Arc;

use sapwood_kernels::{Bindings, Buffer, Cursor, Device, Exec, Quant};

use crate::adapter::{Adapter, Digest};
use crate::arch::Arch;
use crate::block::{Block, Mode};
use crate::devices::Place;
use crate::error::ModelError;
use crate::head::{Embed, Head, HeadMode};
use crate::placed::{HeadBuffers, Placed, compiled_rows};
use crate::stop::Stop;
use held::Held;

/// Keys and values of the tokens seen so far, and the adapter that they were made under.
///
/// K and V depend on every adapted linear before them, so entries made under one adapter mean
/// nothing under another: [`Cache::reuse`] forgets them, and no entry is ever read under another
/// digest.
///
/// They lie on the device that needed them last. Where prompts and replies are computed on two
/// devices, each copies what the other has added; what was on a device that has failed is computed
/// again.
pub struct Cache {
    pub(crate) held: Held,
    arch: Arc<Arch>,
    capacity: usize,
    on_cpu: Option<Rows>,
    on_gpu: Option<Rows>,
}

/// Prompts are processed in pieces of this many tokens.
pub(crate) const PREFILL_TOKENS: usize = 512;

impl Cache {
    pub(crate) fn new(arch: &Arc<Arch>, capacity: usize) -> Cache {
        let (held, arch) = (Held::new(capacity), arch.clone());
        Cache { held, arch, capacity, on_cpu: None, on_gpu: None }
    }

    /// Tokens that the cache holds.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.held.truncate(len);
        self.settle();
    }

    /// Keeps the longest prefix that `ids` shares with the cached tokens under the same adapter,
    /// forgets the rest, and returns how many leading tokens of `ids` need not be computed again.
    /// At least one token is always left to compute, because its logits are wanted.
    pub fn reuse(&mut self, adapter: Option<Digest>, ids: &[u32]) -> usize {
        let kept = self.held.reuse(adapter, ids);
        self.settle();
        kept
    }

    /// No device has rows of tokens that are forgotten.
    fn settle(&mut self) {
        let held = self.held.len();
        for rows in [&mut self.on_cpu, &mut self.on_gpu].into_iter().flatten() {
            rows.computed = rows.computed.min(held);
        }
    }

    fn at(&mut self, place: Place) -> &mut Option<Rows> {
        match place {
            Place::Cpu => &mut self.on_cpu,
            Place::Gpu => &mut self.on_gpu,
        }
    }

    /// Brings what is held to `placed`, as far as a device has it. The tokens that none has are
    /// forgotten and returned: they are to be computed again.
    pub(crate) fn bring_to(&mut self, placed: &Placed) -> Vec<u32> {
        let held = self.held.len();
        let there = self.at(placed.place).take();
        let new = || Rows::new(&self.arch, &placed.device, self.capacity);
        let mut mine = there.unwrap_or_else(new);
        let other = match placed.place {
            Place::Cpu => &self.on_gpu,
            Place::Gpu => &self.on_cpu,
        };
        if let Some(other) = other.as_ref().filter(|other| other.computed > mine.computed) {
            mine.copy(other, self.arch.kv_width());
        }
        let again = self.held.split_off(mine.computed.min(held));
        *self.at(placed.place) = Some(mine);
        self.settle();
        again
    }

    /// Computes `ids`, which follow what is held, where [`Cache::bring_to`] has brought it, and
    /// returns what `read` makes of the logits after the last.
    pub(crate) fn extend<T>(
        &mut self,
        placed: &Placed,
        adapter: Option<&Adapter>,
        ids: &[u32],
        stop: Option<&Stop>,
        read: impl Fn(&Placed, &Scratch) -> T,
    ) -> Result<T, ModelError> {
        let mut rows = self.at(placed.place).take().expect("brought here");
        let mut done = Ok(());
        for piece in ids.chunks(PREFILL_TOKENS.min(rows.scratch.rows)) {
            done = rows.extend(&self.arch, placed, adapter, piece, stop);
            if done.is_err() {
                break;
            }
            self.held.append(piece);
        }
        let result = done.map(|()| rows.head(placed, read));
        *self.at(placed.place) = Some(rows);
        result
    }

    /// A speculative step: computes the token that the device chose last and the host has not read.
    /// Its keys and values go to row `computed + ahead`, but don't count as held before
    /// [`Cache::take_in`]; the next step to that row overwrites them.
    pub(crate) fn run_ahead<T>(
        &mut self,
        placed: &Placed,
        adapter: Option<&Adapter>,
        ahead: usize,
        stop: &Stop,
        read: impl Fn(&Placed, &Scratch) -> T,
    ) -> Result<T, ModelError> {
        let mut rows = self.at(placed.place).take().expect("it has chosen a token");
        let cursor = Cursor { pos: rows.computed + ahead, tokens: 1 };
        let done = rows.run(&self.arch, placed, adapter, cursor, Some(stop));
        let result = done.map(|()| rows.head(placed, read));
        *self.at(placed.place) = Some(rows);
        result
    }

    /// Holds `id`, which the device at `place` has computed behind the tokens held.
    pub(crate) fn take_in(&mut self, place: Place, id: u32) {
        self.held.append(&[id]);
        self.at(place).as_mut().expect("it has computed the token").computed += 1;
    }

    /// Forgets what a device that has failed had, and returns what was added since `len` tokens were
    /// held.
    pub(crate) fn abandon(&mut self, place: Place, len: usize) -> Vec<u32> {
        *self.at(place) = None;
        let added = self.held.split_off(len);
        self.settle();
        added
    }
}

/// The rows of a cache on one device, and the activations of a step there.
struct Rows {
    device: Device,
    /// K and V of each layer: (capacity, G·D).
    states: Vec<(Buffer, Buffer)>,
    /// Leading rows that are those of the tokens held.
    computed: usize,
    scratch: Scratch,
    bound: Option<Bound>,
}

/// Activations between the programs of one step.
pub(crate) struct Scratch {
    /// Rows that fit.
    rows: usize,
    pub ids: Buffer,
    /// (rows, C) twice: each block reads one and writes the other.
    x: [Buffer; 2],
    /// (1, C): the row whose logits are wanted.
    last: Buffer,
    /// (1, V)
    pub logits: Buffer,
}

/// The programs of a step with their buffers. Those of a token are bound once and used for a whole
/// reply.
struct Bound {
    adapter: Option<u64>,
    rows: usize,
    embed: (Arc<(Embed, Exec)>, Bindings),
    layers: Vec<(Arc<(Block, Exec)>, Bindings)>,
    head: (Arc<(Head, Exec)>, Bindings),
}

impl Rows {
    fn new(arch: &Arch, device: &Device, capacity: usize) -> Rows {
        let state = || device.state(capacity, arch.kv_width(), Quant::F16);
        let rows = capacity.min(PREFILL_TOKENS);
        Rows {
            device: device.clone(),
            states: (0..arch.layers).map(|_| (state(), state())).collect(),
            computed: 0,
            scratch: Scratch {
                rows,
                ids: device.ids(rows),
                x: [device.zeros(rows, arch.width), device.zeros(rows, arch.width)],
                last: device.zeros(1, arch.width),
                logits: device.zeros(1, arch.vocab),
            },
            bound: None,
        }
    }

    /// Takes over the rows that only `other` has, unless its device turns out to have failed.
    fn copy(&mut self, other: &Rows, width: usize) {
        let (from, to) = (self.computed * width, other.computed * width);
        let mut values = vec![0.0; to - from];
        for ((k, v), (other_k, other_v)) in self.states.iter().zip(&other.states) {
            for (mine, others) in [(k, other_k), (v, other_v)] {
                other.device.read(others, from, &mut values);
                self.device.write(mine, from, &values);
            }
        }
        if other.device.fault().is_none() {
            self.computed = other.computed;
        }
    }

    fn bind(
        &self,
        arch: &Arch,
        placed: &Placed,
        adapter: Option<&Adapter>,
        tokens: usize,
    ) -> Bound {
        let Scratch { ids, x, last, logits, .. } = &self.scratch;
        let layers = (0..arch.layers).map(|layer| {
            let layout = adapter.map(Adapter::layout);
            let compiled = placed.compiled_block(layer, layout, Mode::Infer, tokens);
            let (block, exec) = &*compiled;
            let mut buffers = placed.layer_buffers(block, layer, adapter);
            let (k, v) = block.states.expect("an inference block has a cache");
            let (state_k, state_v) = &self.states[layer];
            buffers.extend([(block.x, &x[layer % 2]), (block.out, &x[(layer + 1) % 2])]);
            buffers.extend([(k, state_k), (v, state_v)]);
            let bindings = exec.bind(&buffers);
            (compiled, bindings)
        });
        // One row of activations is the one whose logits are wanted.
        let row = if tokens == 1 { &x[arch.layers % 2] } else { last };
        let head = HeadBuffers { x: row, targets: None, seed: None, out: logits };
        Bound {
            adapter: adapter.map(Adapter::id),
            rows: compiled_rows(tokens),
            embed: placed.bind_embed(tokens, ids, &x[0]),
            layers: layers.collect(),
            head: placed.bind_head(HeadMode::Logits, 1, &head),
        }
    }

    fn extend(
        &mut self,
        arch: &Arch,
        placed: &Placed,
        adapter: Option<&Adapter>,
        ids: &[u32],
        stop: Option<&Stop>,
    ) -> Result<(), ModelError> {
        let cursor = Cursor { pos: self.computed, tokens: ids.len() };
        self.device.write_ids(&self.scratch.ids, 0, ids);
        self.run(arch, placed, adapter, cursor, stop)?;
        self.computed += ids.len();
        Ok(())
    }

    /// Computes the tokens whose ids are there.
    fn run(
        &mut self,
        arch: &Arch,
        placed: &Placed,
        adapter: Option<&Adapter>,
        cursor: Cursor,
        stop: Option<&Stop>,
    ) -> Result<(), ModelError> {
        let tokens = cursor.tokens;
        let wanted = (adapter.map(Adapter::id), compiled_rows(tokens));
        if self.bound.as_ref().is_none_or(|bound| (bound.adapter, bound.rows) != wanted) {
            self.bound = Some(self.bind(arch, placed, adapter, tokens));
        }
        let bound = self.bound.as_ref().expect("just bound");
        self.device.run(&bound.embed.0.1, &bound.embed.1, cursor);
        for (compiled, bindings) in &bound.layers {
            stop.map_or(Ok(()), Stop::check)?;
            self.device.run(&compiled.1, bindings, cursor);
        }
        if bound.rows > 1 {
            let out = &self.scratch.x[arch.layers % 2];
            let start = (tokens - 1) * arch.width;
            self.device.copy(out, start, &self.scratch.last, 0, arch.width);
        }
        Ok(())
    }

    /// What `read` makes of the logits after the last token that was computed.
    fn head<T>(&self, placed: &Placed, read: impl Fn(&Placed, &Scratch) -> T) -> T {
        let (compiled, bindings) = &self.bound.as_ref().expect("something was computed").head;
        self.device.run(&compiled.1, bindings, Cursor { pos: 0, tokens: 1 });
        read(placed, &self.scratch)
    }
}
