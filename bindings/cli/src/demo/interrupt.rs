//! A training slice is killed in another process, and goes on here as if nothing had happened.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sapwood::Budget;
use sapwood::store::hex;
use sapwood_models::Stop;
use serde_json::{Value, json};

use super::Arguments;
use super::stage::Stage;
use crate::model::DeviceArguments;
use crate::output::Failure;

/// Steps after which the interrupted and the uninterrupted run are compared.
const COMPARED_STEPS: u32 = 16;
/// The child is killed after this step was saved and the next one begun.
const KILLED_AT: u32 = 7;
/// No slice of a few steps takes longer.
const LONG: Duration = Duration::from_secs(600);

/// Begins the run, lets a child process train it and kills the child with SIGKILL; then resumes,
/// and compares with a copy that was never interrupted: parameters, optimizer and all, bit by bit.
pub fn kill_and_resume(stage: &mut Stage, arguments: &Arguments) -> Result<Value, Failure> {
    let begun = stage.slice(Budget { time: LONG, steps: Some(0) })?;
    if begun.steps == 0 {
        return Err(format!("no training run was begun: {begun}").into());
    }
    stage.say(&format!("a run of {} steps on {} examples begins", begun.steps, begun.examples));
    stage.close();
    let copy = stage.dir().with_file_name("uninterrupted");
    copy_folder(stage.dir(), &copy)?;
    let uninterrupted = {
        let learner = stage.open_on(&copy)?;
        learner.train_slice(Budget { time: LONG, steps: Some(COMPARED_STEPS) }, &Stop::new())?
    };
    let killed_at = train_and_kill(stage.dir(), arguments)?;
    stage.reopen()?;
    let left = COMPARED_STEPS - stage.slice(Budget { time: LONG, steps: Some(0) })?.step;
    let resumed = stage.slice(Budget { time: LONG, steps: Some(left) })?;
    let bit_identical = resumed.state == uninterrupted.state;
    stage.say(&format!(
        "SIGKILL in step {}; resumed; at step {COMPARED_STEPS} {} an uninterrupted run",
        killed_at + 1,
        if bit_identical { "bit-identical to" } else { "DIFFERENT from" }
    ));
    Ok(json!({ "killed": true, "killed_in_step": killed_at + 1, "bit_identical": bit_identical }))
}

fn train_and_kill(dir: &Path, arguments: &Arguments) -> Result<u32, Failure> {
    let mut child = this_program(arguments, "--train-in", dir)?.stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut step = 0;
    for line in lines {
        step = line?.trim().parse()?;
        if step >= KILLED_AT {
            break;
        }
    }
    // Into the middle of the next step.
    std::thread::sleep(Duration::from_millis(30));
    child.kill()?;
    child.wait()?;
    if step < KILLED_AT {
        return Err("the training process ended by itself before it could be killed".into());
    }
    Ok(step)
}

/// The demo's own program, to be started again on the same store.
fn this_program(arguments: &Arguments, flag: &str, dir: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--seed", &arguments.seed.to_string(), flag]).arg(dir);
    command.args(["--device", arguments.device.device.name()]);
    if let Some(threads) = arguments.device.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    Ok(command)
}

/// Closes the store and asks a new process which adapter is in force there.
pub fn adapter_in_force_elsewhere(
    stage: &mut Stage,
    arguments: &Arguments,
) -> Result<String, Failure> {
    stage.close();
    let output = this_program(arguments, "--look-in", stage.dir())?.output()?;
    if !output.status.success() {
        return Err("the store could not be opened by a new process".into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The new process.
pub fn print_adapter_in_force(
    dir: &Path,
    seed: u64,
    device: DeviceArguments,
) -> Result<(), Failure> {
    let stage = Stage::open(dir, seed, device)?;
    println!("{}", stage.learner().adapter_in_force().as_ref().map_or_else(String::new, hex));
    Ok(())
}

/// The child: one step a slice, each reported, until somebody kills it.
pub fn train_until_killed(dir: &Path, seed: u64, device: DeviceArguments) -> Result<(), Failure> {
    let mut stage = Stage::open(dir, seed, device)?;
    loop {
        let report = stage.slice(Budget { time: LONG, steps: Some(1) })?;
        println!("{}", report.step);
        if report.step >= report.steps {
            return Ok(());
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
