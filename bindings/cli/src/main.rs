//! The `sapwood` command: a language model that learns from its user, in a terminal.
//!
//! Progress goes to stderr, results to stdout; `--json` prints one object; the exit status is 0
//! only when what was asked was done.

mod commands;
mod demo;
mod model;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    bench, chat, doctor, eval, export, generate, import, inspect, perplexity, store, tokenize,
    train,
};

#[derive(Parser)]
#[command(version, about = "A language model that learns from its user, on the device")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch the embedded model learn from a simulated user, safely
    Demo(demo::Arguments),
    /// Complete a prompt
    Generate(generate::Arguments),
    /// Talk to the model; edits, ratings and stops teach it
    Chat(chat::Arguments),
    /// Show the tokens of a text
    Tokenize(tokenize::Arguments),
    /// Show what a GGUF file holds and what it needs
    Inspect(inspect::Arguments),
    /// Bring a model into a folder where it stays as it is
    Import(import::Arguments),
    /// Measure how well the model predicts a text
    Perplexity(perplexity::Arguments),
    /// Measure speed and memory
    Bench(bench::Arguments),
    /// Train a LoRA adapter on a file of examples
    Train(train::Arguments),
    /// Measure exact answers and likelihood on a file of examples
    Eval(eval::Arguments),
    /// List the adapters of a store
    Adapters(store::Arguments),
    /// Take the adapter in force back
    Rollback(store::Arguments),
    /// List what the user did with the replies
    Signals(store::Arguments),
    /// Write all that a store keeps where anybody can read it
    Export(export::Arguments),
    /// Check processor, model and store
    Doctor(doctor::Arguments),
}

/// Where there is no display, Mesa's layer that picks a GPU for programs complains about that on the
/// error output. This program ranks GPUs itself.
fn pick_no_gpu_by_display() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first line of `main`: no other thread is there to read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn main() -> ExitCode {
    pick_no_gpu_by_display();
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Chat(arguments) => chat::run(&arguments),
        Command::Tokenize(arguments) => tokenize::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Perplexity(arguments) => perplexity::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Adapters(arguments) => store::adapters(&arguments),
        Command::Rollback(arguments) => store::rollback(&arguments),
        Command::Signals(arguments) => store::signals(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sapwood: {error}");
            ExitCode::FAILURE
        }
    }
}
