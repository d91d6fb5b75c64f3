//! Every input that is kept, through its target: what was found once does not come back.
//!
//! ```text
//! cargo test -p sapwood-fuzz
//! ```

use std::fs;
use std::path::Path;

use sapwood_fuzz::{TARGETS, Target, seeds};

/// Runs a target on every file of a folder; a panic names the file.
fn replay(folder: &Path, target: Target) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    for path in &paths {
        let bytes = fs::read(path).expect("listed");
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("{} is a finding again", path.display());
        }
    }
    paths.len()
}

fn replay_all(top: &str) -> Vec<(&'static str, usize)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join(top);
    TARGETS.map(|(name, target)| (name, replay(&top.join(name), target))).to_vec()
}

#[test]
fn the_corpora_pass() {
    let replayed = replay_all("corpus");
    println!("MEASURED: inputs replayed: {replayed:?}");
    assert!(replayed.iter().all(|(_, files)| *files > 10), "{replayed:?}");
}

#[test]
fn what_was_found_stays_fixed() {
    let replayed = replay_all("regressions");
    println!("MEASURED: findings replayed: {replayed:?}");
    assert!(replayed.iter().map(|(_, files)| files).sum::<usize>() >= 3, "where are they?");
}

#[test]
fn the_seeds_are_in_the_corpora() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, name, bytes) in seeds() {
        let path = corpus.join(target).join(format!("seed-{name}"));
        assert!(
            fs::read(&path).is_ok_and(|kept| kept == bytes),
            "{}: write the seeds",
            path.display()
        );
    }
}
