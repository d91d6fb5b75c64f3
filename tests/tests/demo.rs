//! The whole loop, as its user sees it: `sapwood demo --json` and the bars that it must reach.
//!
//! Takes minutes and a release build, so only `tests/run` asks for it. `SAPWOOD_DEMO_SEEDS` names
//! the simulated users, separated by spaces.

#![allow(clippy::unwrap_used)]

use sapwood_tests::sapwood;
use serde_json::Value;

fn bars(seed: &str) {
    let output = sapwood().args(["demo", "--json", "--seed", seed]).output().unwrap();
    let story = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {story}");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let score = |when: &str, what: &str| value[when][what].as_f64().unwrap();
    let (base, after) = (score("base", "new_categories"), score("after", "new_categories"));
    println!(
        "MEASURED: seed {seed}: new categories {base:.3} to {after:.3}, old {:.3} to {:.3}, overall \
         {:.3}, with retrieval {:.3}, after {:.3}; {} s",
        score("base", "old_categories"),
        score("after", "old_categories"),
        score("base", "overall"),
        score("with_retrieval", "overall"),
        score("after", "overall"),
        value["seconds"],
    );
    assert!(after >= 0.85 && after >= base + 0.40, "seed {seed}: {value:#}");
    assert!(
        score("after", "old_categories") >= score("base", "old_categories") - 0.02,
        "{value:#}"
    );
    assert!(score("after", "overall") >= score("with_retrieval", "overall"), "{value:#}");
    assert_eq!(value["resume"]["killed"], true, "{value:#}");
    assert_eq!(value["resume"]["bit_identical"], true, "{value:#}");
    assert_eq!(value["swap"]["in_flight_adapter_unchanged"], true, "{value:#}");
    assert_eq!(value["restart"]["right_adapter"], true, "{value:#}");
    assert_eq!(value["gate"]["verdict"], "promote", "{value:#}");
    assert_eq!(value["rejected_candidate"]["rejected"], true, "{value:#}");
    assert_eq!(value["rollback"]["rolled_back"], true, "{value:#}");
}

#[test]
#[ignore = "long: tests/run --only demo"]
fn the_demo_reaches_its_bars() {
    let seeds = std::env::var("SAPWOOD_DEMO_SEEDS").unwrap_or_else(|_| "1 2 3".to_owned());
    for seed in seeds.split_whitespace() {
        bars(seed);
    }
}
