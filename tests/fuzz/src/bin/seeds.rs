//! Writes what the fuzzer begins with into `corpus/`: `cargo run --bin seeds`.
//!
//! Small, made here, the same every time.

use std::fs;
use std::path::Path;

use sapwood_fuzz::seeds;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, name, bytes) in seeds() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{name}")), bytes)?;
    }
    Ok(())
}
