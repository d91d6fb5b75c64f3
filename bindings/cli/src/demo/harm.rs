//! Adapters that do harm: the gate turns one down, probation takes another back.

use sapwood::learn::batch::{Mix, Plan};
use sapwood::learn::optimizer::{AdamW, Schedule};
use sapwood::learn::train::{TrainConfig, TrainState, Trainer};
use sapwood::rng::Rng;
use sapwood::signal::Signal;
use sapwood::store::hex;
use sapwood::{Outcome, Prompt};
use sapwood_models::{LoraConfig, Sequence, Stop};
use serde_json::{Value, json};

use super::stage::{Stage, short};
use super::user::SimulatedUser;
use crate::output::Failure;

/// Enough to learn something, and what it learns is wrong.
const STEPS: u32 = 40;
/// Days that the user bears with the forced adapter at most.
const PATIENCE_DAYS: u64 = 3;

pub struct Harm {
    pub rejected: Value,
    pub rollback: Value,
}

pub fn act(stage: &mut Stage, user: &mut SimulatedUser, seed: u64) -> Result<Harm, Failure> {
    let sequences = shuffled(stage, seed)?;
    let harmful = train(stage, &sequences, seed)?;
    let outcome = stage.learner().consider(&harmful, &Stop::new())?;
    let Outcome::Rejected { verdict } = outcome else {
        return Err("the gate let an adapter through that was trained on shuffled labels".into());
    };
    stage.say(&verdict.to_string());
    let rejected = json!({
        "rejected": true,
        "trained_on": "shuffled labels",
        "reasons": verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });

    let forced = train(stage, &sequences, seed + 1)?;
    let good = stage.learner().adapter_in_force();
    let digest = stage.learner().stage(&forced)?;
    stage.learner().activate(&digest)?;
    stage.say(&format!("another one, {}, is forced past the gate", short(Some(&digest))));
    let mut days = 0;
    while stage.learner().adapter_in_force() == Some(digest) && days < PATIENCE_DAYS {
        user.work(stage, 1)?;
        days += 1;
    }
    let in_force = stage.learner().adapter_in_force();
    let rolled_back = in_force == good;
    stage.say(&format!(
        "within {days} day(s) the watch took it back: {} is in force",
        short(in_force.as_ref())
    ));
    let rollback = json!({
        "forced": hex(&digest),
        "rolled_back": rolled_back,
        "days": days,
        "in_force": in_force.as_ref().map(hex),
    });
    Ok(Harm { rejected, rollback })
}

/// What the user wrote, each text behind somebody else's question.
fn shuffled(stage: &Stage, seed: u64) -> Result<Vec<Sequence>, Failure> {
    let turns = stage.learner().turns();
    let edited = turns.iter().filter_map(|turn| {
        let text = turn.signals.iter().find_map(|s| match s {
            Signal::Edited { text } => Some(text.clone()),
            _ => None,
        });
        text.map(|text| (turn, text))
    });
    let (turns, mut texts): (Vec<_>, Vec<_>) = edited.unzip();
    Rng::at(seed, &[0x5f]).shuffle(&mut texts);
    let model = stage.learner().model();
    let pairs = turns.iter().zip(&texts);
    pairs
        .map(|(turn, text)| {
            let prompt = Prompt { turns: turn.prompt.to_vec(), ..Prompt::default() };
            Ok(prompt.sequence(model, text, usize::MAX)?)
        })
        .collect()
}

fn train(stage: &Stage, sequences: &[Sequence], seed: u64) -> Result<Vec<u8>, Failure> {
    let model = stage.learner().model();
    let config = TrainConfig {
        lora: LoraConfig::default(),
        optimizer: AdamW { learning_rate: 4e-3, ..AdamW::default() },
        schedule: Schedule::Constant,
        steps: STEPS,
        batch: 4,
    };
    let plan = Plan::new(seed, Mix::default(), [sequences.len(), 0, 0], config.batch as usize);
    let state = TrainState::fresh(model, &config, seed);
    let mut trainer = Trainer::new(model, config, state);
    while !trainer.is_done() {
        for (_, index) in plan.step(u64::from(trainer.state().step)) {
            trainer.micro_step(&sequences[index], 1.0, &Stop::new())?;
        }
    }
    Ok(model.adapter_file(trainer.adapter(), None).to_bytes())
}
