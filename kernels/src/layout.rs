//! Where a program's intermediate values lie: lifetimes of slots and work spaces, for the planner.

use crate::op::{Op, Step};
use crate::plan::{Region, plan};
use crate::program::Program;
use crate::types::{Role, Rows, Slot};

/// Steps that a device does at once, the f32 values of work space that they need, and those that
/// they leave for the piece after them.
pub(crate) struct Piece<'a> {
    pub steps: &'a [Step],
    pub work: usize,
    pub left: usize,
}

impl Piece<'_> {
    fn inputs(&self) -> impl Iterator<Item = Slot> + '_ {
        self.steps.iter().flat_map(|step| step.inputs.iter().copied())
    }
}

/// Where everything of a program lies in the arena.
pub(crate) struct Layout {
    /// f32 values of the arena.
    pub len: usize,
    /// Offset of every slot that a piece makes.
    pub slots: Vec<(Slot, usize)>,
    /// Offset and length of every piece's work space.
    pub works: Vec<(usize, usize)>,
    /// Offset of what every piece leaves.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "the CPU's pieces leave nothing"))]
    pub lefts: Vec<usize>,
}

/// Lays a program out for runs of up to `tokens` tokens: a region per slot (or for several, where a
/// step works in place), a region per work space. Regions start at multiples of `line` values.
pub(crate) fn layout(
    program: &Program,
    pieces: &[Piece<'_>],
    tokens: usize,
    line: usize,
) -> Layout {
    let mut regions: Vec<Region> = Vec::new();
    let mut of_slot: Vec<(Slot, usize)> = Vec::new();
    let (mut of_work, mut of_left) = (Vec::new(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        of_work.push((regions.len(), piece.work));
        regions.push(Region { len: piece.work, first: at, last: at });
        of_left.push((regions.len(), piece.left));
        regions.push(Region { len: piece.left, first: at, last: at + 1 });
        let outputs = piece.steps.iter().flat_map(|step| step.outputs.iter().copied());
        for (i, slot) in outputs.enumerate() {
            let (len, last) = (len(program, slot, tokens), last_use(program, pieces, slot, at));
            let fits = |&region: &usize| {
                let held: &Region = &regions[region];
                held.last == at && held.len == len
            };
            let source = replaced(piece, i);
            let known = source.and_then(|source| of_slot.iter().find(|(slot, _)| *slot == source));
            let region = match known.map(|(_, region)| *region).filter(fits) {
                // In place: the operand dies here.
                Some(region) => {
                    regions[region].last = last;
                    region
                }
                None => {
                    regions.push(Region { len, first: at, last });
                    regions.len() - 1
                }
            };
            of_slot.push((slot, region));
        }
    }
    let plan = plan(&regions, line);
    // An empty work space lies beyond everything, not inside something.
    let work = |(region, len)| (if len > 0 { plan.offsets[region] } else { plan.len }, len);
    Layout {
        len: plan.len,
        slots: of_slot.into_iter().map(|(slot, region)| (slot, plan.offsets[region])).collect(),
        works: of_work.into_iter().map(work).collect(),
        lefts: of_left.into_iter().map(|left| work(left).0).collect(),
    }
}

/// Values of a slot in a run of `tokens` tokens.
pub(crate) fn len(program: &Program, slot: Slot, tokens: usize) -> usize {
    let rows = match program.rows(slot) {
        Rows::Tokens => tokens,
        Rows::Fixed(rows) => rows,
        Rows::Bound => unreachable!("a cache is not in the arena"),
    };
    rows * program.cols(slot)
}

/// The steps that an output or a cache depends on.
pub(crate) fn needed_steps(program: &Program) -> Vec<Step> {
    let mut needed = vec![false; program.slots().count()];
    program.outputs().iter().for_each(|slot| needed[slot.index()] = true);
    let mut steps: Vec<Step> = Vec::new();
    for step in program.steps().iter().rev() {
        let writes_cache = step.inputs.iter().any(|&slot| program.desc(slot).role == Role::State);
        if writes_cache || step.outputs.iter().any(|slot| needed[slot.index()]) {
            step.inputs.iter().for_each(|slot| needed[slot.index()] = true);
            steps.push(step.clone());
        }
    }
    steps.reverse();
    steps
}

/// The last piece that reads a slot; outputs are read after the last.
fn last_use(program: &Program, pieces: &[Piece<'_>], slot: Slot, made: usize) -> usize {
    if program.outputs().contains(&slot) {
        return pieces.len();
    }
    let reader = pieces.iter().rposition(|piece| piece.inputs().any(|input| input == slot));
    reader.unwrap_or(made)
}

/// The operand that the piece's result `i` may take the place of: every device's kernel reads every
/// element of it before it writes that element, and no other operand is the same slot.
fn replaced(piece: &Piece<'_>, i: usize) -> Option<Slot> {
    let [step] = piece.steps else { return None };
    let operand = match (step.op, i) {
        (Op::Add | Op::Glu(_) | Op::Rope(_) | Op::RmsNorm { .. }, 0) => 0,
        (Op::RmsNormGrad { .. }, 0) => 2,
        (Op::GluGrad(_), i) => i,
        _ => return None,
    };
    let slot = step.inputs[operand];
    (step.inputs.iter().filter(|&&input| input == slot).count() == 1).then_some(slot)
}
