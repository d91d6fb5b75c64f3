//! Failures in a row: a crash, a crash while recovering from it, a third one while recovering from
//! that, and the protocol goes on after each.

use std::time::Instant;

use sapwood::disk::sim::{self, FaultKind, Image, Moment, Power};
use sapwood_kernels::rng::SplitMix64;

use super::machine::{Machine, Op, Wreck};
use super::model::Model;
use super::world::{Fault, Faulty};

/// Where there are too many ways to lose power, this many are drawn: after one failure, two, three.
const SAMPLES: [usize; 3] = [12, 6, 4];
/// Successive failures that are listed. Random ones go further.
pub const DEPTH: usize = 3;

/// What the device was like before the first call of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Empty,
    /// An adapter is active, one its fallback, one on probation; there are notes and a checkpoint.
    Used,
    /// Eight finished segments, which can be joined, or soon be dropped.
    Segments,
}

impl Start {
    fn machine(self, fault: Fault) -> Result<Machine, String> {
        use Op::{Append, Close, Confirm, Consent, Flush, Healthy, Propose, Save, Stage, Use};
        let promote = [Stage, Propose, Use, Healthy, Use, Healthy, Use, Healthy, Confirm];
        let mut machine = Machine::new(fault, false);
        let ops: Vec<Op> = match self {
            Start::Empty => Vec::new(),
            Start::Used => [&[Append, Consent, Save][..], &promote, &[Append, Flush], &promote]
                .concat()
                .into_iter()
                .chain([Append, Stage, Propose, Stage, Append])
                .collect(),
            Start::Segments => [Append, Close].repeat(8),
        };
        ops.into_iter().try_for_each(|op| machine.act(op))?;
        Ok(machine)
    }
}

pub struct Explorer {
    fault: Fault,
    /// One image in this many is cut again.
    thin: [u64; DEPTH],
    /// Images after one failure, two, three.
    pub images: [u64; DEPTH],
}

impl Explorer {
    pub fn new(fault: Fault, thin: [u64; DEPTH]) -> Explorer {
        Explorer { fault, thin, images: [0; DEPTH] }
    }

    pub fn total(&self) -> u64 {
        self.images.iter().sum()
    }

    /// Runs the calls and cuts the last one everywhere.
    pub fn workload(&mut self, start: Start, ops: &[Op]) -> Result<(), String> {
        let mut machine = start.machine(self.fault)?;
        let Some((last, before)) = ops.split_last() else { return Ok(()) };
        let told = |why: String| format!("{start:?} {ops:?}: {why}");
        before.iter().try_for_each(|op| machine.act(*op)).map_err(told)?;
        machine.sim().record();
        machine.act(*last).map_err(told)?;
        let moments = machine.sim().take_moments();
        let under_way = machine.under_way.clone();
        self.moments(&machine, &moments, &under_way, 0).map_err(told)?;
        // After it has returned, everything that it promised holds.
        let (model, image) = (machine.model.clone(), machine.sim().image());
        let moment = Moment { operations: u64::MAX, image, under_way: "nothing".into() };
        self.moments(&machine, &[moment], &model, 0).map_err(told)
    }

    fn moments(
        &mut self,
        machine: &Machine,
        moments: &[Moment],
        model: &Model,
        depth: usize,
    ) -> Result<(), String> {
        for (number, moment) in moments.iter().enumerate() {
            let seed = number as u64;
            let kill = machine.wreck(moment, moment.image.clone(), false);
            let told = |how: &str, why: String| {
                format!("{how} {depth} at {} ({}): {why}", moment.operations, moment.under_way)
            };
            self.cut(model, &kill, depth).map_err(|why| told("kill", why))?;
            for image in moment.image.after_power(Power { samples: SAMPLES[depth], seed }) {
                let lost = machine.wreck(moment, image, true);
                self.cut(model, &lost, depth).map_err(|why| told("power loss", why))?;
            }
        }
        Ok(())
    }

    /// Opens what a failure left, goes on, and cuts both.
    fn cut(&mut self, model: &Model, wreck: &Wreck, depth: usize) -> Result<(), String> {
        self.images[depth] += 1;
        let again = depth + 1 < DEPTH && self.images[depth].is_multiple_of(self.thin[depth]);
        let machine = Machine::recover(model, wreck, self.fault, again)?;
        let Some(mut machine) = machine.filter(|_| again) else { return Ok(()) };
        let moments = machine.sim().take_moments();
        let recovery = machine.recovery.clone();
        self.moments(&machine, &moments, &recovery, depth + 1)?;
        // The protocol goes on.
        let next = Op::ALL[self.images[depth] as usize / 7 % Op::ALL.len()];
        machine.sim().record();
        machine.act(next)?;
        let moments = machine.sim().take_moments();
        let under_way = machine.under_way.clone();
        self.moments(&machine, &moments, &under_way, depth + 1)
    }
}

/// All sequences of up to `longest` calls, the shorter ones first.
pub fn sequences(alphabet: &[Op], longest: usize) -> Vec<Vec<Op>> {
    let mut all: Vec<Vec<Op>> = vec![Vec::new()];
    let mut layer = all.clone();
    for _ in 0..longest {
        let longer = |before: &Vec<Op>| {
            let before = before.clone();
            alphabet.iter().map(move |op| before.iter().copied().chain([*op]).collect())
        };
        layer = layer.iter().flat_map(longer).collect();
        all.extend(layer.iter().cloned());
    }
    all
}

/// A life of one device, drawn by a seed: calls, failures of its disk, and crashes, up to four in a
/// row, each while recovering from the one before. Returns the crashes.
pub fn life(seed: u64, calls: usize, tell: bool) -> Result<u64, String> {
    let mut rng = SplitMix64(seed);
    let mut machine = Machine::new(Fault::None, false);
    let mut crashes = 0;
    for _ in 0..calls {
        if rng.below(6) == 0 {
            arm(&mut machine, &mut rng);
        }
        let op = Op::ALL[rng.below(Op::ALL.len())];
        if tell {
            println!("{} {op:?}", machine.sim().operations());
        }
        let told = |why: String| format!("seed {seed}, {op:?}: {why}");
        machine.act(op).map_err(told)?;
        if machine.dead() || rng.below(8) == 0 {
            if tell {
                println!("crash");
            }
            let (next, more) = crash(machine, &mut rng).map_err(told)?;
            machine = next;
            crashes += more;
        } else if machine.faulty && machine.sim().struck() && rng.below(2) == 0 {
            // The disk is well again.
            machine.sim().fail(None);
            machine.faulty = false;
            machine.look().map_err(told)?;
        }
    }
    Ok(crashes)
}

fn arm(machine: &mut Machine, rng: &mut SplitMix64) {
    let halfway = rng.below(2) == 0;
    let death = FaultKind::Death { halfway };
    let kinds = [death, death, FaultKind::Io, FaultKind::StorageFull, FaultKind::Denied];
    let kind = kinds[rng.below(kinds.len())];
    let forever = kind == death || rng.below(3) == 0;
    let at = machine.sim().operations() + rng.bits() % 60;
    machine.sim().fail(Some(sim::Fault { at, kind, forever }));
    machine.faulty = true;
}

/// The end of a process, or of the power, and all that comes of it.
fn crash(machine: Machine, rng: &mut SplitMix64) -> Result<(Machine, u64), String> {
    // A call that was cut short has left its choices in the model.
    let mut model = machine.model.clone();
    let mut wreck = wreck(machine.sim().image(), machine.keys.held(), rng);
    let mut crashes = 1;
    loop {
        let patient = crashes < 4 && rng.below(2) == 0;
        let disk = sim::SimDisk::from_image(wreck.image.clone());
        if patient {
            let kind = FaultKind::Death { halfway: rng.below(2) == 0 };
            let at = rng.bits() % 40;
            disk.fail(Some(sim::Fault { at, kind, forever: true }));
        }
        let keys = super::keys::Keys::on(&disk, wreck.held.clone(), Fault::None);
        let disk = std::sync::Arc::new(Faulty::new(disk, Fault::None));
        let recovered =
            Machine::recover_on(&model, disk.clone(), keys.clone(), wreck.power, patient);
        match recovered.map_err(|why| format!("crash {crashes}: {why}"))? {
            Some(mut machine) if !machine.dead() => {
                machine.sim().fail(None);
                machine.faulty = false;
                return Ok((machine, crashes));
            }
            Some(machine) => model = machine.recovery.clone(),
            None => model = model.after_crash(wreck.power),
        }
        wreck = self::wreck(disk.disk.image(), keys.held(), rng);
        crashes += 1;
    }
}

fn wreck(image: Image, held: super::keys::Held, rng: &mut SplitMix64) -> Wreck {
    if rng.below(2) == 0 {
        return Wreck { image, held, power: false };
    }
    let mut images = image.after_power(Power { samples: 6, seed: rng.bits() });
    let image = images.swap_remove(rng.below(images.len()));
    Wreck { image, held, power: true }
}

/// Explores the exhaustive part and prints what it has seen.
pub fn explore(workloads: &[(Start, Vec<Op>)], thin: [u64; DEPTH]) -> u64 {
    let start = Instant::now();
    let mut explorer = Explorer::new(Fault::None, thin);
    for (begin, ops) in workloads {
        if let Err(violation) = explorer.workload(*begin, ops) {
            panic!("{violation}");
        }
    }
    let [first, second, third] = explorer.images;
    println!(
        "{} workloads, images after one failure {first}, after two {second}, after three {third}, \
         0 violations, {:.1} s",
        workloads.len(),
        start.elapsed().as_secs_f64(),
    );
    explorer.total()
}
