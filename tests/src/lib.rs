//! What tests that need more than one crate share.

pub mod random;
pub mod tiny;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood_models::Stop;

/// A file of the golden training runs, which lie in the checkout.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/peft").join(name)
}

/// A request that makes itself when it has been looked at `looks` times: it cuts work at a place that
/// can be repeated, which no clock can do.
pub fn stop_after(looks: u64) -> Stop {
    let left = AtomicU64::new(looks);
    Stop::governed(move || left.fetch_sub(1, Ordering::Relaxed) == 0)
}

/// The `sapwood` command: in the folder that `SAPWOOD_BUILT` names, else built as these tests were.
///
/// # Panics
/// If it does not build.
pub fn sapwood() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| match std::env::var_os("SAPWOOD_BUILT") {
        Some(folder) => PathBuf::from(folder).join("sapwood"),
        None => build(),
    });
    let mut command = Command::new(binary);
    // Mesa's choice of a GPU prints to the error output where there is no display.
    command.env("NODEVICE_SELECT", "1");
    command
}

/// Builds the command and asks cargo where it is.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "sapwood-cli", "--message-format=json"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.rsplit_once("\"executable\":\"").and_then(|(_, end)| end.split_once('"'));
    PathBuf::from(path.expect("cargo names the executable").0)
}
