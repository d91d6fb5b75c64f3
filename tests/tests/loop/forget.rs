//! What is forgotten is gone, with everything that learned from it: at once, at every later opening,
//! and whatever the process dies of meanwhile.

use std::time::Duration;

use sapwood::disk::sim::SimDisk;
use sapwood::store::{Digest, State};
use sapwood::{Budget, Learner, Outcome, Scope};
use sapwood_kernels::rng::SplitMix64;
use sapwood_models::{LoraConfig, Model, Provenance, Stop, Target};

use super::training::{LONG, resume, slice, taught};
use super::{config, open};

/// An adapter with a history: random, but with `parent` and `lineage` in its provenance.
pub(super) fn adapter(
    model: &Model,
    seed: u64,
    parent: Option<Digest>,
    lineage: &[u128],
) -> Vec<u8> {
    let lora = LoraConfig { rank: 1, alpha: 1.0, targets: vec![Target::O] };
    let mut random = SplitMix64(seed);
    let values = model.new_adapter(&lora, seed).values();
    let values: Vec<f32> = values.iter().map(|_| random.signed() * 0.1).collect();
    let provenance = Provenance {
        base_fingerprint: model.fingerprint(),
        template_digest: model.template().unwrap().digest(),
        parent,
        seed,
        lineage: lineage.iter().map(|id| format!("{id:032x}")).collect(),
    };
    model.adapter_file(&model.adapter(&lora, &values), Some(provenance)).to_bytes()
}

fn replies(learner: &Learner) -> Vec<u128> {
    learner.turns().iter().map(|turn| turn.reply_id).collect()
}

fn state(learner: &Learner, digest: &Digest) -> Option<State> {
    let known = learner.adapters();
    known.iter().find(|known| known.digest == *digest).map(|known| known.state)
}

#[test]
fn every_scope_takes_what_it_names_and_nothing_else() {
    let image = taught();
    let check = |scope: &dyn Fn(&Learner) -> Scope, left: usize| {
        let disk = SimDisk::from_image(image.clone());
        let learner = open(&disk, config());
        let before = replies(&learner);
        let receipt = learner.forget(&scope(&learner)).unwrap();
        let after = replies(&learner);
        assert_eq!(after.len(), left, "{:?}", scope(&learner));
        assert_eq!(before.len() - receipt.replies.len(), left);
        assert!(receipt.replies.iter().all(|id| before.contains(id) && !after.contains(id)));
        // Another process sees the same, and asking again does nothing.
        drop(learner);
        let again = open(&SimDisk::from_image(disk.image()), config());
        assert_eq!(replies(&again), after);
        assert!(again.forget(&Scope::Reply(receipt.time_ms.into())).unwrap().replies.is_empty());
    };
    check(&|learner| Scope::Reply(learner.turns()[3].reply_id), 9);
    check(&|learner| Scope::Conversation(learner.turns()[4].session), 9);
    check(&|_| Scope::Surface("mail".into()), 0);
    check(&|_| Scope::Surface("other".into()), 10);
    check(&|_| Scope::Everything, 0);
    let now = 1_700_000_000_000;
    check(&|_| Scope::Time { from_ms: now, until_ms: now }, 10);
    check(&|_| Scope::Time { from_ms: now, until_ms: now + 1 }, 0);
}

#[test]
fn an_adapter_that_learned_from_it_goes_with_its_descendants_and_others_stay() {
    let disk = SimDisk::from_image(taught());
    let learner = open(&disk, config());
    let ids = replies(&learner);
    let clean = learner.stage(&adapter(learner.model(), 1, None, &ids[..1])).unwrap();
    let tainted = adapter(learner.model(), 2, None, &ids[..3]);
    let taught = learner.stage(&tainted).unwrap();
    let child = learner.stage(&adapter(learner.model(), 3, Some(taught), &ids[..1])).unwrap();
    learner.activate(&taught).unwrap();
    assert_eq!(learner.adapter_in_force(), Some(taught));

    let receipt = learner.forget(&Scope::Reply(ids[2])).unwrap();
    assert_eq!((receipt.adapters, receipt.in_force), (vec![taught, child], None));
    assert_eq!(learner.adapter_in_force(), None);
    assert_eq!(state(&learner, &taught), Some(State::Revoked));
    assert_eq!(state(&learner, &child), Some(State::Revoked));
    assert_eq!(state(&learner, &clean), Some(State::Staged));
    assert!(learner.stage(&tainted).is_err(), "what was revoked never comes back");
    assert!(learner.activate(&clean).is_ok());
}

#[test]
fn a_run_that_sees_it_is_dropped_even_while_it_trains() {
    let (disk, learner) = resume(&taught(), 100_000);
    slice(&learner, Some(2));
    let session = learner.turns()[5].session;
    let receipt = std::thread::scope(|scope| {
        let training =
            scope.spawn(|| learner.train_slice(Budget::time(LONG), &Stop::new()).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let receipt = learner.forget(&Scope::Conversation(session)).unwrap();
        assert_eq!(training.join().unwrap().outcome, Outcome::Paused);
        receipt
    });
    assert!(receipt.run_dropped);
    let (_, learner) = resume(&disk.image(), 100_000);
    let fresh = slice(&learner, Some(1));
    assert!(fresh.step <= 1, "the run begins anew: {fresh}");
}

#[test]
fn a_crash_while_forgetting_leaves_all_or_nothing() {
    let disk = SimDisk::from_image(taught());
    let learner = open(&disk, config());
    let ids = replies(&learner);
    let knows = learner.stage(&adapter(learner.model(), 1, None, &ids[..3])).unwrap();
    let descends = learner.stage(&adapter(learner.model(), 2, Some(knows), &ids[1..2])).unwrap();
    learner.activate(&knows).unwrap();
    learner.flush().unwrap();
    disk.record();
    learner.forget(&Scope::Reply(ids[0])).unwrap();
    let moments = disk.take_moments();
    let mut forgotten = 0;
    for moment in &moments {
        let learner = open(&SimDisk::from_image(moment.image.clone()), config());
        let gone = !replies(&learner).contains(&ids[0]);
        forgotten += usize::from(gone);
        let revoked = [knows, descends].map(|a| state(&learner, &a) == Some(State::Revoked));
        assert_eq!(revoked, [gone; 2], "killed before {}", moment.under_way);
        let in_force = (!gone).then_some(knows);
        assert_eq!(learner.adapter_in_force(), in_force, "killed before {}", moment.under_way);
        assert_eq!(replies(&learner).len(), 10 - usize::from(gone));
    }
    assert!(forgotten > 0 && forgotten < moments.len(), "{forgotten} of {}", moments.len());
    println!("MEASURED: {} instants to be killed at while forgetting", moments.len());
}
