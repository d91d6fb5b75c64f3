//! The least program that keeps a log with this engine.

use sapwood_beside::{Log, Redb};

fn main() {
    let dir = std::env::args().nth(1).expect("a folder");
    let mut log = Redb::open(dir.as_ref(), false);
    log.append("a text");
    log.commit();
    println!("{}", log.read());
}
