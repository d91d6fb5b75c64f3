//! The least program that keeps a log with this engine.

use sapwood_beside::{Log, Ours};

fn main() {
    let dir = std::env::args().nth(1).expect("a folder");
    let mut log = Ours::open(dir.as_ref());
    log.append("a text");
    log.commit();
    println!("{}", log.read());
}
