//! `sapwood demo`: the whole loop on the embedded model, with a simulated user.
//!
//! Everything goes through the public API, in a temporary folder. The user is drawn by `--seed`:
//! which categories of messages they bring, which sign-off, unit, tone and JSON shape they like.
//! Nothing tells the model; it learns from what the user does with its replies.

mod grammar;
mod harm;
mod interrupt;
mod measure;
mod stage;
mod user;

use std::path::PathBuf;

use sapwood::store::hex;
use serde_json::{Value, json};

use crate::model::DeviceArguments;
use crate::output::{Failure, Format, peak_rss_mb, rounded};
use measure::{Exam, Score};
use stage::Stage;
use user::SimulatedUser;

#[derive(clap::Args)]
pub struct Arguments {
    /// Which user
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    format: Format,
    /// Train in this folder, a step at a time, until killed
    #[arg(long, hide = true, value_name = "DIR")]
    train_in: Option<PathBuf>,
    /// Print which adapter is in force in this folder
    #[arg(long, hide = true, value_name = "DIR")]
    look_in: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(dir) = &arguments.train_in {
        return interrupt::train_until_killed(dir, arguments.seed, arguments.device);
    }
    if let Some(dir) = &arguments.look_in {
        return interrupt::print_adapter_in_force(dir, arguments.seed, arguments.device);
    }
    let folder = Folder::new()?;
    let mut stage = Stage::open(&folder.0.join("store"), arguments.seed, arguments.device)?;
    let value = perform(&mut stage, arguments)?;
    arguments.format.print(&value, || {
        "The loop is closed: see the figures above, or run with --json.".to_owned()
    })
}

/// A temporary folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, Failure> {
        let name = format!("sapwood-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed now, the system removes later.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn score_json(score: &Score) -> Value {
    json!({
        "overall": rounded(score.overall(), 4),
        "new_categories": rounded(score.new_categories.rate(), 4),
        "old_categories": rounded(score.old_categories.rate(), 4),
        "preferences": rounded(score.preferences.rate(), 4),
    })
}

/// The acts of the demo, in order.
fn perform(stage: &mut Stage, arguments: &Arguments) -> Result<Value, Failure> {
    let mut user = SimulatedUser::new(arguments.seed);
    user.introduce();
    let exam = Exam::new(&user.grammar, arguments.seed);

    stage.title("1. The base model, before it knows its user");
    stage.learner().set_retrieval(false);
    let base = exam.take(stage)?;
    stage.learner().set_retrieval(true);

    stage.title("2. The user works with it");
    user.work(stage, user::DAYS)?;
    stage.say(&user.summary());

    stage.title("3. At once: past corrections are shown in the next prompt");
    let with_retrieval = exam.take(stage)?;

    stage.title("4. At night: idle slices train an adapter; one is killed");
    let resume = interrupt::kill_and_resume(stage, arguments)?;

    stage.title("5. The gate judges the candidate, and a reply is under way as it is swapped in");
    let trained = stage.finish_training(&user)?;

    stage.title("6. The model after learning");
    let after = exam.take(stage)?;
    user.work(stage, 1)?;
    stage.confirm(&mut user)?;

    stage.title("7. Harm: an adapter trained on shuffled labels");
    let harm = harm::act(stage, &mut user, arguments.seed)?;

    stage.title("8. The process is restarted");
    let expected = hex(&trained.adapter);
    let in_force = interrupt::adapter_in_force_elsewhere(stage, arguments)?;
    stage.say(&format!("in force in a new process: {:.12}", in_force));

    Ok(json!({
        "seed": arguments.seed,
        "base": score_json(&base),
        "with_retrieval": score_json(&with_retrieval),
        "after": score_json(&after),
        "gate": trained.gate,
        "rejected_candidate": harm.rejected,
        "rollback": harm.rollback,
        "resume": resume,
        "swap": trained.swap,
        "restart": {
            "in_force": in_force,
            "right_adapter": in_force == expected,
        },
        "train": {
            "tokens_per_second": rounded(stage.tokens_per_second(), 1),
            "peak_rss_mb": peak_rss_mb().map(|mb| rounded(mb, 1)),
            "examples": trained.examples,
            "steps": trained.steps,
        },
        "loop_latency_seconds": rounded(
            trained.in_force_at.duration_since(user.first_failure.unwrap_or(trained.in_force_at))
                .as_secs_f64(),
            2,
        ),
        "seconds": rounded(stage.started.elapsed().as_secs_f64(), 1),
    }))
}
