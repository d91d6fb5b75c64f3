//! A model function, written down: steps over write-once two-dimensional slots.
//!
//! There are no views, no broadcasting and no control flow. A shape that does not fit is a bug of
//! the caller and panics with the step's name and shapes: files are validated long before.

use crate::op::{Activation, Attention, Lora, Op, Rope, Step};
use crate::quant::Quant;
use crate::types::{Desc, Element, Role, Rows, Slot};

/// A straight list of steps in execution order, and the slots they read and write.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub(crate) slots: Vec<Desc>,
    pub(crate) steps: Vec<Step>,
    pub(crate) outputs: Vec<Slot>,
    pub(crate) exact: bool,
}

impl Program {
    /// An empty program.
    pub fn new() -> Program {
        Program::default()
    }

    /// Asks for products in f32 however few the tokens. Without it a device may round the
    /// activations of linears (the CPU those of a few tokens, a GPU those of many), which is what
    /// makes generation fast; a gradient that is compared with longer ones, or a likelihood that
    /// decides something, must not depend on that.
    pub fn exact(&mut self) {
        self.exact = true;
    }

    /// Description of a slot.
    pub fn desc(&self, slot: Slot) -> &Desc {
        &self.slots[slot.index()]
    }

    /// The steps in execution order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The slots that a run hands out, in the order they were declared.
    pub fn outputs(&self) -> &[Slot] {
        &self.outputs
    }

    /// Every slot, in the order of creation.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.slots.len() as u32).map(Slot)
    }

    // -- slots that a run binds -----------------------------------------------------------------

    /// Activations `(T, cols)`.
    pub fn input(&mut self, name: &str, cols: usize) -> Slot {
        self.slot(name, Role::Input, Rows::Tokens, cols, Element::Value(Quant::F32))
    }

    /// Token ids or targets `(T, 1)`.
    pub fn ids(&mut self, name: &str) -> Slot {
        self.slot(name, Role::Input, Rows::Tokens, 1, Element::Id)
    }

    /// A frozen weight `(rows, cols)`.
    pub fn weight(&mut self, name: &str, rows: usize, cols: usize, quant: Quant) -> Slot {
        assert!(quant.row_bytes(cols).is_some(), "{name}: {cols} columns do not fill {quant:?}");
        self.slot(name, Role::Weight, Rows::Fixed(rows), cols, Element::Value(quant))
    }

    /// A trainable parameter `(rows, cols)`.
    pub fn param(&mut self, name: &str, rows: usize, cols: usize) -> Slot {
        self.slot(name, Role::Param, Rows::Fixed(rows), cols, Element::Value(Quant::F32))
    }

    /// A cache `(capacity, cols)` that runs read and write; `quant` is F32 or F16. The capacity is
    /// that of the bound buffer.
    pub fn state(&mut self, name: &str, cols: usize, quant: Quant) -> Slot {
        assert!(matches!(quant, Quant::F32 | Quant::F16), "{name}: a state is F32 or F16");
        self.slot(name, Role::State, Rows::Bound, cols, Element::Value(quant))
    }

    /// Hands `slot` out: every run copies it to the buffer bound for it.
    pub fn output(&mut self, slot: Slot) {
        assert_eq!(self.desc(slot).role, Role::Scratch, "only what a step made can be an output");
        if !self.outputs.contains(&slot) {
            self.outputs.push(slot);
        }
    }

    // -- ops ------------------------------------------------------------------------------------

    /// [`Op::Embed`]: `(T, C)`.
    pub fn embed(&mut self, ids: Slot, table: Slot, scale: f32) -> Slot {
        self.expect_ids(ids);
        self.expect_fixed(table);
        let cols = self.cols(table);
        self.push1(Op::Embed { scale }, vec![ids, table], Rows::Tokens, cols)
    }

    /// [`Op::RmsNorm`] over groups of as many columns as `w` has: the whole row for the norms of a
    /// block, a head for q/k norms.
    pub fn rms_norm(&mut self, x: Slot, w: Slot, eps: f32) -> Slot {
        self.expect_row(w);
        let (cols, group) = (self.cols(x), self.cols(w));
        assert!(cols.is_multiple_of(group), "rms_norm: {cols} columns are no multiple of {group}");
        self.push1(Op::RmsNorm { eps }, vec![x, w], self.rows(x), cols)
    }

    /// [`Op::Linear`]: `x (T,I)`, `w (O,I)`, `bias (1,O)`, LoRA pair `a (R,I)`, `b (O,R)`.
    pub fn linear(&mut self, x: Slot, w: Slot, bias: Option<Slot>, lora: Option<Lora>) -> Slot {
        self.expect_f32(x);
        let out = self.expect_fixed(w);
        assert_eq!(self.cols(x), self.cols(w), "linear: width of x and of {}", self.desc(w).name);
        let mut inputs = vec![x, w];
        if let Some(bias) = bias {
            self.expect_row(bias);
            assert_eq!(self.cols(bias), out, "linear: width of the bias");
            inputs.push(bias);
        }
        if let Some(Lora { a, b, .. }) = lora {
            self.expect_lora(a, b, self.cols(x), out);
            inputs.extend([a, b]);
        }
        let op = Op::Linear { bias: bias.is_some(), lora: lora.map(|l| l.scale) };
        self.push1(op, inputs, self.rows(x), out)
    }

    /// [`Op::Rope`], with optional frequency factors `(1, dims/2)`.
    pub fn rope(&mut self, x: Slot, factors: Option<Slot>, rope: Rope) -> Slot {
        self.expect_f32(x);
        let cols = self.cols(x);
        assert!(
            cols.is_multiple_of(rope.heads)
                && rope.dims.is_multiple_of(2)
                && rope.dims <= cols / rope.heads,
            "rope: {cols} columns, {rope:?}"
        );
        let mut inputs = vec![x];
        if let Some(factors) = factors {
            self.expect_row(factors);
            assert_eq!(self.cols(factors), rope.dims / 2, "rope: one factor per pair");
            inputs.push(factors);
        }
        self.push1(Op::Rope(rope), inputs, Rows::Tokens, cols)
    }

    /// [`Op::Attention`]: `(T, H*D)`. `cache` is the pair of states `(keys, values)`.
    pub fn attention(
        &mut self,
        [q, k, v]: [Slot; 3],
        cache: Option<(Slot, Slot)>,
        attention: Attention,
    ) -> Slot {
        let Attention { heads, kv_heads, window, .. } = attention;
        let (q_cols, kv_cols) = (self.cols(q), self.cols(k));
        assert!(
            q_cols.is_multiple_of(heads)
                && heads.is_multiple_of(kv_heads)
                && kv_cols == q_cols / heads * kv_heads
                && kv_cols == self.cols(v)
                && window != Some(0),
            "attention: q of {q_cols} columns, k of {kv_cols}, {attention:?}"
        );
        let mut inputs = vec![q, k, v];
        if let Some((keys, values)) = cache {
            for state in [keys, values] {
                assert_eq!(self.desc(state).role, Role::State, "attention: the cache is a state");
                assert_eq!(self.cols(state), kv_cols, "attention: width of the cache");
            }
            inputs.extend([keys, values]);
        }
        let shapes = [(Rows::Tokens, q_cols), (Rows::Tokens, heads)];
        self.push(Op::Attention(attention), inputs, &shapes)[0]
    }

    /// [`Op::Glu`].
    pub fn glu(&mut self, gate: Slot, up: Slot, activation: Activation) -> Slot {
        self.expect_same(gate, up);
        self.push1(Op::Glu(activation), vec![gate, up], self.rows(gate), self.cols(gate))
    }

    /// [`Op::Add`].
    pub fn add(&mut self, a: Slot, b: Slot) -> Slot {
        self.expect_same(a, b);
        self.push1(Op::Add, vec![a, b], self.rows(a), self.cols(a))
    }

    /// [`Op::HeadLogp`]: `(T, 1)` from the last hidden rows, the head `w (V,C)` and the targets.
    pub fn head_logp(&mut self, x: Slot, w: Slot, targets: Slot) -> Slot {
        self.expect_f32(x);
        self.expect_fixed(w);
        self.expect_ids(targets);
        assert_eq!(self.cols(x), self.cols(w), "head_logp: width of x and of the head");
        self.push1(Op::HeadLogp, vec![x, w, targets], Rows::Tokens, 1)
    }

    // -- inside ---------------------------------------------------------------------------------

    /// The slots that a run binds, in order.
    pub(crate) fn bound(&self) -> Vec<Slot> {
        let is_bound =
            |slot: &Slot| self.desc(*slot).role != Role::Scratch || self.outputs.contains(slot);
        self.slots().filter(is_bound).collect()
    }

    pub(crate) fn rows(&self, slot: Slot) -> Rows {
        self.desc(slot).rows
    }

    pub(crate) fn cols(&self, slot: Slot) -> usize {
        self.desc(slot).cols
    }

    pub(crate) fn shape(&self, slot: Slot) -> (Rows, usize) {
        (self.rows(slot), self.cols(slot))
    }

    /// Appends a step that makes one slot per shape.
    pub(crate) fn push(
        &mut self,
        op: Op,
        inputs: Vec<Slot>,
        shapes: &[(Rows, usize)],
    ) -> Vec<Slot> {
        let name = format!("{op:?}").split([' ', '(', '{']).next().unwrap_or_default().to_string();
        let f32 = Element::Value(Quant::F32);
        let outputs: Vec<Slot> = shapes
            .iter()
            .map(|&(rows, cols)| self.slot(&name, Role::Scratch, rows, cols, f32))
            .collect();
        self.steps.push(Step { op, inputs, outputs: outputs.clone() });
        outputs
    }

    pub(crate) fn push1(&mut self, op: Op, inputs: Vec<Slot>, rows: Rows, cols: usize) -> Slot {
        self.push(op, inputs, &[(rows, cols)])[0]
    }

    fn slot(&mut self, name: &str, role: Role, rows: Rows, cols: usize, element: Element) -> Slot {
        assert!(cols > 0 && rows != Rows::Fixed(0), "{name}: an empty slot");
        self.slots.push(Desc { name: name.into(), role, rows, cols, element });
        Slot(self.slots.len() as u32 - 1)
    }

    fn expect_f32(&self, slot: Slot) {
        let desc = self.desc(slot);
        assert!(
            desc.element == Element::Value(Quant::F32) && desc.rows != Rows::Bound,
            "{}: f32 values are needed here",
            desc.name
        );
    }

    fn expect_ids(&self, slot: Slot) {
        let desc = self.desc(slot);
        assert_eq!(desc.element, Element::Id, "{}: ids are needed here", desc.name);
    }

    /// One f32 row: a norm's weight, a bias.
    fn expect_row(&self, slot: Slot) {
        self.expect_f32(slot);
        let desc = self.desc(slot);
        assert_eq!(desc.rows, Rows::Fixed(1), "{}: one row is needed here", desc.name);
    }

    fn expect_fixed(&self, slot: Slot) -> usize {
        let desc = self.desc(slot);
        match (desc.rows, desc.element) {
            (Rows::Fixed(rows), Element::Value(_)) => rows,
            _ => panic!("{}: a weight is needed here", desc.name),
        }
    }

    fn expect_same(&self, a: Slot, b: Slot) {
        self.expect_f32(a);
        self.expect_f32(b);
        assert_eq!(self.shape(a), self.shape(b), "both operands need one shape");
    }

    fn expect_lora(&self, a: Slot, b: Slot, cols: usize, rows: usize) {
        self.expect_f32(a);
        self.expect_f32(b);
        let rank = self.expect_fixed(a);
        assert_eq!(self.shape(a), (Rows::Fixed(rank), cols), "shape of LoRA's a");
        assert_eq!(self.shape(b), (Rows::Fixed(rows), rank), "shape of LoRA's b");
    }
}
