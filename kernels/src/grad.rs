//! Reverse-mode differentiation: walk the steps backwards, append each one's derivative.
//!
//! The derivative of a program is more program: the same ops, planner and devices serve it. Every
//! op has one arm in [`Program::vjp`]; nothing else in the project knows a derivative of an op.

use crate::op::{Lora, Op, Rope, Step};
use crate::program::Program;
use crate::types::Slot;

impl Program {
    /// Appends the steps of the gradient: for each slot of `wrt`, `seedᵀ · d out / d slot`, of the
    /// slot's shape. Steps that do not lie between `wrt` and `out` cost nothing.
    ///
    /// # Panics
    /// If `seed` has not the shape of `out`, if `out` does not depend on a slot of `wrt`, or if the
    /// way leads through a frozen weight, a cache or a gradient.
    pub fn grad(&mut self, out: Slot, seed: Slot, wrt: &[Slot]) -> Vec<Slot> {
        assert_eq!(self.shape(out), self.shape(seed), "the seed has the shape of the output");
        let steps = self.steps.clone();
        let mut wanted = vec![false; self.slots.len()];
        wrt.iter().for_each(|slot| wanted[slot.index()] = true);
        for step in &steps {
            let leads = step.inputs.iter().any(|slot| wanted[slot.index()]);
            step.outputs.iter().for_each(|slot| wanted[slot.index()] |= leads);
        }
        let mut adjoint = vec![None; self.slots.len()];
        adjoint[out.index()] = Some(seed);
        for step in steps.iter().rev() {
            let Some(dy) = adjoint[step.outputs[0].index()] else { continue };
            for (slot, part) in self.vjp(step, dy, &|slot: Slot| wanted[slot.index()]) {
                let sum = &mut adjoint[slot.index()];
                *sum = Some(sum.map_or(part, |other| self.add(other, part)));
            }
        }
        let name = |slot: &Slot| &self.desc(*slot).name;
        let found = |slot: &Slot| adjoint[slot.index()];
        wrt.iter()
            .map(|slot| found(slot).unwrap_or_else(|| panic!("no gradient reaches {}", name(slot))))
            .collect()
    }

    /// Appends what turns `dy`, the gradient of the step's first output, into that of its wanted
    /// inputs.
    fn vjp(&mut self, step: &Step, dy: Slot, wanted: &dyn Fn(Slot) -> bool) -> Vec<(Slot, Slot)> {
        let like = |program: &Program, slots: &[Slot]| -> Vec<_> {
            slots.iter().map(|&slot| program.shape(slot)).collect()
        };
        let ins = &step.inputs;
        if !ins.iter().any(|&slot| wanted(slot)) {
            return Vec::new();
        }
        let mut parts = match step.op {
            Op::Add => vec![(ins[0], dy), (ins[1], dy)],
            Op::RmsNorm { eps } => {
                let [x, w] = ins[..] else { unreachable!("x, w") };
                let shapes = like(self, &[x]);
                vec![(x, self.push(Op::RmsNormGrad { eps }, vec![x, w, dy], &shapes)[0])]
            }
            Op::Linear { .. } => return self.linear_vjp(step, dy, wanted),
            Op::Rope(rope) => {
                let turned = Rope { inverse: !rope.inverse, ..rope };
                vec![(ins[0], self.rope(dy, ins.get(1).copied(), turned))]
            }
            Op::Attention(attention) => {
                let [q, k, v] = ins[..] else { panic!("no gradient goes through a cache") };
                let [o, lse] = step.outputs[..] else { unreachable!("o, lse") };
                let operands = vec![q, k, v, o, lse, dy];
                let shapes = like(self, &[q, k, v]);
                let grads = self.push(Op::AttentionGrad(attention), operands, &shapes);
                [q, k, v].into_iter().zip(grads).collect()
            }
            Op::Glu(activation) => {
                let shapes = like(self, ins);
                let operands = vec![ins[0], ins[1], dy];
                let grads = self.push(Op::GluGrad(activation), operands, &shapes);
                ins.iter().copied().zip(grads).collect()
            }
            Op::HeadLogp => {
                let [x, w, targets] = ins[..] else { unreachable!("x, w, targets") };
                let shapes = like(self, &[x]);
                vec![(x, self.push(Op::HeadLogpGrad, vec![x, w, targets, dy], &shapes)[0])]
            }
            Op::Embed { .. } => panic!("no gradient goes into a frozen table"),
            op => panic!("{op:?} is itself a gradient: first order only"),
        };
        let given = |slot: Slot| parts.iter().any(|(to, _)| *to == slot);
        assert!(
            ins.iter().all(|&slot| !wanted(slot) || given(slot)),
            "{:?} has no gradient for a frozen operand",
            step.op
        );
        parts.retain(|(slot, _)| wanted(*slot));
        parts
    }

    /// The pair's gradient comes first: after it, nothing needs `x` any more.
    fn linear_vjp(
        &mut self,
        step: &Step,
        dy: Slot,
        wanted: &dyn Fn(Slot) -> bool,
    ) -> Vec<(Slot, Slot)> {
        let LinearOperands { x, w, bias, lora } = LinearOperands::of(step);
        let frozen = [Some(w), bias].into_iter().flatten();
        assert!(!frozen.into_iter().any(wanted), "weights and biases are frozen");
        let mut parts = Vec::new();
        if let Some(Lora { a, b, scale }) = lora
            && (wanted(a) || wanted(b))
        {
            let shapes = [self.shape(a), self.shape(b)];
            let grads = self.push(Op::LoraGrad { scale }, vec![x, dy, a, b], &shapes);
            parts.extend([(a, grads[0]), (b, grads[1])]);
        }
        if wanted(x) {
            let pair = lora.map(|Lora { a, b, .. }| [a, b]);
            let operands = [dy, w].into_iter().chain(pair.into_iter().flatten()).collect();
            let op = Op::LinearGrad { lora: lora.map(|pair| pair.scale) };
            let (rows, cols) = self.shape(x);
            parts.push((x, self.push1(op, operands, rows, cols)));
        }
        parts.retain(|(slot, _)| wanted(*slot));
        parts
    }
}

/// The operands of a [`Op::Linear`] step by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearOperands {
    pub x: Slot,
    pub w: Slot,
    pub bias: Option<Slot>,
    pub lora: Option<Lora>,
}

impl LinearOperands {
    pub fn of(step: &Step) -> LinearOperands {
        let Op::Linear { bias, lora } = step.op else { unreachable!("a linear step") };
        let rest = 2 + usize::from(bias);
        LinearOperands {
            x: step.inputs[0],
            w: step.inputs[1],
            bias: bias.then(|| step.inputs[2]),
            lora: lora.map(|scale| Lora { a: step.inputs[rest], b: step.inputs[rest + 1], scale }),
        }
    }
}
