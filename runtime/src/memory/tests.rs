//! What the memory recalls, on small cases and on real requests.

use super::*;
use crate::rng::Rng;
use proptest::prelude::*;
use std::path::Path;

/// Words as tokens: the hash of the word (FNV-1a).
fn ids(text: &str) -> Vec<u32> {
    let hash = |w: &str| {
        w.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
    };
    text.split_whitespace().map(hash).collect()
}

/// A random vector for each token: what is measured then is the method, not an embedding.
fn random(id: u32, row: &mut [f32]) {
    let mut rng = Rng::at(1, &[u64::from(id)]);
    row.iter_mut().for_each(|x| *x = rng.normal() as f32);
}

fn entry(id: u128, request: &str, answer: &str) -> Entry {
    Entry {
        taught: true,
        lineage: vec![id],
        surface: "mail".into(),
        order: id as u64,
        request: request.into(),
        answer: answer.into(),
        ids: ids(request),
        cost_tokens: 10,
    }
}

fn ask(memory: &Memory, request: &str, k: usize, budget_tokens: usize) -> Vec<u128> {
    let ids = ids(request);
    let query = Query { ids: &ids, surface: "mail", excluded: &[], k, budget_tokens, least: 0.05 };
    memory.nearest(&query, &mut random).iter().map(|r| r.entry.lineage[0]).collect()
}

fn some() -> Vec<Entry> {
    vec![
        entry(1, "reply that the parcel is late", "Sorry, it is late."),
        entry(2, "what is the weather in bern", "Sunny."),
        entry(3, "reply that the parcel has arrived", "It is here."),
        entry(4, "book a table for two", "Done."),
    ]
}

#[test]
fn the_best_example_stands_last_and_the_rest_stay_away() {
    let m = Memory::new(some(), 64, &mut random);
    assert_eq!(ask(&m, "reply that the parcel is very late", 2, 100), [3, 1]);
    assert_eq!(ask(&m, "reply that the parcel is very late", 2, 19), [1]);
    assert_eq!(ask(&m, "zebra", 5, 100), [0u128; 0]);
    assert!(ask(&Memory::new(vec![], 64, &mut random), "zebra", 5, 100).is_empty());
    // The very first entry is found, too.
    let one = Memory::new(some()[..1].to_vec(), 64, &mut random);
    assert_eq!(ask(&one, "is the parcel late", 3, 100), [1]);
    // By tokens alone.
    let lexical = Memory::new(some(), 0, &mut random);
    assert_eq!(ask(&lexical, "weather in bern", 1, 100), [2]);
}

#[test]
fn an_entry_that_does_not_fit_makes_room_for_a_smaller_one() {
    let mut entries = some();
    entries[0].cost_tokens = 500;
    let m = Memory::new(entries, 64, &mut random);
    assert_eq!(ask(&m, "reply that the parcel is late", 1, 100), [3]);
}

#[test]
fn the_newest_correction_wins_and_forgetting_it_brings_the_older_back() {
    let mut entries = some();
    entries.push(entry(9, "reply that the parcel is late", "Late. Cheers!"));
    let m = Memory::new(entries, 64, &mut random);
    assert_eq!(ask(&m, "reply that the parcel is late", 1, 100), [9]);
    assert!(!ask(&m, "reply that the parcel is late", 9, 100).contains(&1));
    let mut m = m;
    m.update(some(), &mut random);
    assert_eq!(ask(&m, "reply that the parcel is late", 1, 100), [1]);
    assert_eq!(m, Memory::new(some(), 64, &mut random));
}

#[test]
fn surfaces_do_not_mix() {
    let m = Memory::new(some(), 64, &mut random);
    let ids = ids("book a table for two");
    let query =
        Query { ids: &ids, surface: "chat", excluded: &[], k: 3, budget_tokens: 100, least: -1.0 };
    assert!(m.nearest(&query, &mut random).is_empty());
}

proptest! {
    #[test]
    fn a_memory_that_grew_is_the_memory_of_its_entries(
        texts in prop::collection::vec("[a-f]( [a-f]){0,6}", 1..150),
        steps in prop::collection::vec((0usize..150, any::<u64>()), 1..5),
    ) {
        let entries: Vec<Entry> =
            texts.iter().zip(1u128..).map(|(t, i)| entry(i, t, t)).collect();
        let mut grown = Memory::new(Vec::new(), 8, &mut random);
        for (most, seed) in steps {
            // Mostly the oldest, with one answered anew and one forgotten.
            let mut rng = Rng::new(seed);
            let mut now: Vec<Entry> = entries[..most.min(entries.len())].to_vec();
            if !now.is_empty() {
                let at = (rng.bits() % now.len() as u64) as usize;
                now[at].answer.push_str(" anew");
                now.remove((rng.bits() % now.len() as u64) as usize);
            }
            grown.update(now.clone(), &mut random);
            prop_assert_eq!(&grown, &Memory::new(now, 8, &mut random));
        }
    }

    #[test]
    fn recall_depends_on_the_entries_alone(
        texts in prop::collection::vec("[abcd]( [abcd]){0,5}", 1..12),
        query in "[abcd]( [abcd]){0,5}", seed in any::<u64>(), k in 0usize..5,
        budget in 0usize..60,
    ) {
        let mut entries: Vec<Entry> =
            texts.iter().zip(1u128..).map(|(t, i)| entry(i, t, t)).collect();
        let first = Memory::new(entries.clone(), 16, &mut random);
        Rng::new(seed).shuffle(&mut entries);
        let second = Memory::new(entries, 16, &mut random);
        prop_assert_eq!(&first, &second);
        let ids = ids(&query);
        let q = Query { ids: &ids, surface: "mail", excluded: &[], k, budget_tokens: budget, least: -1.0 };
        let found = first.nearest(&q, &mut random);
        prop_assert!(found.len() <= k && found.len() * 10 <= budget);
        prop_assert!(found.windows(2).all(|w| w[0].similarity <= w[1].similarity));
        prop_assert!(found.iter().all(|r| (-1.001..=1.001).contains(&r.similarity)));
    }
}

fn requests(path: &Path) -> Option<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path).ok()?;
    let field = |line: &str, key: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value[key].as_str().unwrap().to_owned()
    };
    Some(text.lines().map(|l| (field(l, "text"), field(l, "intent"))).collect())
}

/// Nearest neighbours of real requests have the same intent: ten remembered per intent.
#[test]
fn real_requests_recall_their_own_intent() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    for (name, stated) in [("intent-clinc150", 0.63), ("intent-hwu64", 0.52)] {
        let folder = shared.join(name);
        let (Some(mut train), Some(mut test)) =
            (requests(&folder.join("train.jsonl")), requests(&folder.join("test.jsonl")))
        else {
            println!(
                "SKIPPED: {name} is not at ../shared/data; recall on real requests not measured"
            );
            continue;
        };
        Rng::new(1).shuffle(&mut train);
        Rng::new(2).shuffle(&mut test);
        let mut per_intent: HashMap<String, u32> = HashMap::new();
        let mut intents = Vec::new();
        let mut entries = Vec::new();
        for (text, intent) in train {
            let n = per_intent.entry(intent.clone()).or_insert(0);
            *n += 1;
            if *n <= 10 {
                entries.push(entry(intents.len() as u128, &text, ""));
                intents.push(intent);
            }
        }
        let recall = |dim: usize| {
            let m = Memory::new(entries.clone(), dim, &mut random);
            let mut right = [0.0f64; 2];
            for (text, intent) in &test[..400] {
                let found = ask(&m, text, 3, 1000);
                let same = |i: &u128| intents[*i as usize] == *intent;
                right[0] += f64::from(u8::from(found.last().is_some_and(same)));
                right[1] += f64::from(u8::from(found.iter().any(same)));
            }
            right.map(|r| r / 400.0)
        };
        let (both, lexical) = (recall(128), recall(0));
        println!(
            "{name}: {} intents, {} remembered; same intent in the nearest {:.3}, in three {:.3}; \
             by tokens alone {:.3}, {:.3}",
            per_intent.len(),
            entries.len(),
            both[0],
            both[1],
            lexical[0],
            lexical[1],
        );
        assert!(both[0] >= stated && lexical[0] >= stated);
    }
}
