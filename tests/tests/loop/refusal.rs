//! Everything that can be wrong with a file, a disk, a folder or a key: a typed error that says
//! what to do, no panic, and all that was acknowledged is still there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sapwood::disk::Disk;
use sapwood::disk::sim::{Fault, FaultKind, SimDisk};
use sapwood::journal::JournalError;
use sapwood::learn::example::Turn;
use sapwood::signal::Signal;
use sapwood::store::StoreError;
use sapwood::vault::{HostKey, KeyError, VaultError};
use sapwood::{Config, Consent, Learner, LearnerError};
use sapwood_kernels::rng::SplitMix64;
use sapwood_kernels::{Device, Quant};
use sapwood_models::{
    AdapterError, ArchError, EMBEDDED, Gguf, GgufError, GgufWriter, Mapped, Model, ModelError,
};

use super::{adapter_bytes, config, greedy, model, open};

fn open_model(bytes: Vec<u8>) -> Result<Model, ModelError> {
    let open = || Model::from_mapped(Mapped::from_vec(bytes), &Device::cpu(Some(1)));
    catch_unwind(AssertUnwindSafe(open)).expect("no file may cause a panic")
}

/// Where `text` ends in the embedded model's header.
fn after(text: &str) -> usize {
    let found = EMBEDDED.windows(text.len()).position(|window| window == text.as_bytes());
    found.unwrap() + text.len()
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = EMBEDDED.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// The model with one weight changed: of the same shape, but not the same.
fn other_base() -> Model {
    let middle = EMBEDDED.len() - 1000;
    open_model(with(middle, &[EMBEDDED[middle] ^ 1])).unwrap()
}

/// A learner that has kept one reply and its correction.
fn with_one_turn(disk: &SimDisk) -> (Learner, Vec<Turn>) {
    let learner = open(disk, config());
    learner.set_consent(Consent::Granted).unwrap();
    let id = reply(&learner).unwrap();
    learner.signal(id, Signal::Edited { text: "delivery".into() }).unwrap();
    let turns = learner.turns();
    (learner, turns)
}

fn reply(learner: &Learner) -> Result<u128, LearnerError> {
    let chat = learner.chat("mail", None, Vec::new())?;
    Ok(chat.respond("Triage: my parcel is late", greedy(4))?.finish()?.id)
}

/// After a kill, a restart finds exactly these turns.
fn finds(disk: &SimDisk, turns: &[Turn]) {
    assert_eq!(open(&SimDisk::from_image(disk.image()), config()).turns(), turns);
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let other = other_base();
    let foreign = adapter_bytes(&other, 1);
    let disk = SimDisk::new();
    let (learner, turns) = with_one_turn(&disk);
    let own = learner.stage(&adapter_bytes(learner.model(), 1)).unwrap();
    learner.activate(&own).unwrap();
    let error = learner.stage(&foreign).unwrap_err();
    assert!(matches!(error, LearnerError::Adapter(AdapterError::WrongBase { .. })), "{error}");
    assert!(error.to_string().contains("use its own base"), "{error}");
    assert_eq!(learner.adapter_in_force(), Some(own));
    finds(&disk, &turns);
}

#[test]
fn an_adapter_sleeps_while_another_base_is_used() {
    let disk = SimDisk::new();
    let (learner, turns) = with_one_turn(&disk);
    let own = learner.stage(&adapter_bytes(learner.model(), 1)).unwrap();
    learner.activate(&own).unwrap();
    drop(learner);
    let elsewhere = Learner::open_on(disk_of(&disk), other_base(), config()).unwrap();
    assert_eq!(elsewhere.adapter_in_force(), None);
    let error = elsewhere.activate(&own).unwrap_err();
    assert!(matches!(error, LearnerError::Store(StoreError::WrongState { .. })), "{error}");
    drop(elsewhere);
    let back = open(&disk, config());
    assert_eq!(back.turns(), turns);
    assert_eq!(back.adapter_in_force(), Some(own), "on probation, as before");
    drop(back);
    // The app stays with the other base: what was kept for this one goes.
    let elsewhere = Learner::open_on(disk_of(&disk), other_base(), config()).unwrap();
    elsewhere.confirm_base().unwrap();
    assert!(disk.list("e1/a").unwrap().is_empty());
    drop(elsewhere);
    assert_eq!(open(&disk, config()).adapter_in_force(), None);
}

fn disk_of(disk: &SimDisk) -> Arc<SimDisk> {
    Arc::new(disk.clone())
}

#[test]
fn a_file_that_is_no_adapter_is_refused() {
    let disk = SimDisk::new();
    let (learner, turns) = with_one_turn(&disk);
    let good = adapter_bytes(learner.model(), 1);
    let mut random = SplitMix64(5);
    let cuts = (0..60).map(|_| good[..random.below(good.len())].to_vec());
    let nothing = sapwood_models::LoraConfig::default();
    let untrained = learner.model().new_adapter(&nothing, 1);
    let untrained = learner.model().adapter_file(&untrained, None).to_bytes();
    for file in cuts.chain([Vec::new(), EMBEDDED.to_vec(), untrained]) {
        let staged = catch_unwind(AssertUnwindSafe(|| learner.stage(&file)));
        let error = staged.expect("no file may cause a panic").unwrap_err();
        let typed = matches!(error, LearnerError::Adapter(_) | LearnerError::AdapterChangesNothing);
        assert!(typed, "{error}");
    }
    assert!(learner.adapters().is_empty());
    finds(&disk, &turns);
}

#[test]
fn a_model_file_cut_anywhere_is_refused() {
    let mut random = SplitMix64(3);
    let header = after("output_norm.weight");
    let mut cuts: Vec<usize> = (0..32).chain([EMBEDDED.len() - 1, EMBEDDED.len() / 2]).collect();
    cuts.extend((0..40).map(|_| random.below(header)));
    cuts.extend((0..20).map(|_| random.below(EMBEDDED.len())));
    for cut in cuts {
        let error = open_model(EMBEDDED[..cut].to_vec()).err().expect("a part is not a model");
        assert!(matches!(error, ModelError::Gguf(_)), "cut at {cut}: {error}");
    }
    let error = open_model(EMBEDDED[..EMBEDDED.len() - 1].to_vec()).err().unwrap();
    assert!(error.to_string().contains("download it again"), "{error}");
}

#[test]
fn a_hostile_header_neither_panics_nor_takes_memory() {
    let huge = u64::MAX.to_le_bytes();
    let counts = [(8, "tensors"), (16, "keys")];
    for (at, what) in counts {
        let error = open_model(with(at, &huge)).err().expect(what);
        assert!(matches!(error, ModelError::Gguf(_)), "{what}: {error}");
    }
    // The length of the first key, and of the first string value.
    for at in [24, after("general.architecture") + 4] {
        for length in [u64::MAX, 1 << 40, 1 << 31] {
            let error = open_model(with(at, &length.to_le_bytes())).err().unwrap();
            assert!(matches!(error, ModelError::Gguf(_)), "{error}");
        }
    }
    let error = open_model(b"PK\x03\x04 not a model at all, but long enough".to_vec());
    let error = error.err().unwrap();
    assert!(error.to_string().contains("convert the model to GGUF"), "{error}");

    // Any byte of the header may be anything; what still opens has to compute without a panic.
    let end = after("output_norm.weight") + 64;
    let (mut random, mut refused) = (SplitMix64(9), 0);
    for _ in 0..150 {
        let file = with(random.below(end), &[random.bits() as u8]);
        match open_model(file) {
            Err(_) => refused += 1,
            Ok(model) => {
                let step = || model.step(&mut model.cache(4), None, &[1, 2]).map(drop);
                let _ = catch_unwind(AssertUnwindSafe(step)).expect("no panic");
            }
        }
    }
    println!("MEASURED: {refused} of 150 random bytes in the header are refused, none panics");
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_work() {
    // Key, value type, length of the value, value.
    let at = after("general.architecture") + 4 + 8;
    let error = open_model(with(at, b"qwenX")).err().unwrap();
    let known = matches!(&error, ModelError::Arch(ArchError::UnknownArchitecture { found, .. })
        if found == "qwenX");
    assert!(known, "{error}");
    let text = error.to_string();
    assert!(text.contains("use a model of one of") && text.contains("qwen3"), "{text}");
}

/// Whether a tensor norms single heads, which llama doesn't.
fn is_head_norm(name: &str) -> bool {
    name.ends_with("attn_q_norm.weight") || name.ends_with("attn_k_norm.weight")
}

/// The embedded model as a llama with rope frequency factors, which are llama's alone.
fn with_rope_factors(factors: &[f32]) -> Vec<u8> {
    let gguf = Gguf::parse(EMBEDDED).unwrap();
    let mut copy = GgufWriter::new();
    for (key, value) in gguf.metadata().filter(|(key, _)| *key != "general.architecture") {
        copy.put(&key.replace("qwen3.", "llama."), value);
    }
    copy.put("general.architecture", "llama");
    for t in gguf.tensors().iter().filter(|t| !is_head_norm(&t.name)) {
        copy.tensor(&t.name, t.quant, &t.dims, &EMBEDDED[t.range.clone()]);
    }
    let bytes: Vec<u8> = factors.iter().flat_map(|f| f.to_le_bytes()).collect();
    copy.tensor("rope_freqs.weight", Quant::F32, &[factors.len()], &bytes);
    copy.to_bytes()
}

#[test]
fn rope_factors_that_give_no_frequency_are_refused() {
    let model = model();
    let good = vec![1.0; model.arch().rope.dims / 2];
    assert!(open_model(with_rope_factors(&good)).is_ok());
    for wrong in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut factors = good.clone();
        *factors.last_mut().unwrap() = wrong;
        let error = open_model(with_rope_factors(&factors)).err().unwrap();
        assert!(matches!(error, ModelError::Arch(ArchError::BadFloat { .. })), "{error}");
        assert!(error.to_string().contains("rope_freqs.weight"), "{error}");
    }
}

#[test]
fn an_unknown_block_type_is_named_with_those_that_work() {
    // Name, number of dimensions, two dimensions, block type.
    let at = after("token_embd.weight") + 4 + 16;
    for number in [16u32, 38, 999, u32::MAX] {
        let error = open_model(with(at, &number.to_le_bytes())).err().unwrap();
        let ModelError::Gguf(GgufError::UnknownBlockType { tensor, ggml_type, .. }) = &error else {
            panic!("{error}");
        };
        assert_eq!((tensor.as_str(), *ggml_type), ("token_embd.weight", number));
        assert!(error.to_string().contains("quantize the model to one of"), "{error}");
    }
}

fn from_now_on(disk: &SimDisk, kind: FaultKind) {
    disk.fail(Some(Fault { at: disk.operations(), kind, forever: true }));
}

#[test]
fn a_full_disk_loses_nothing_and_says_so() {
    let disk = SimDisk::new();
    let (learner, turns) = with_one_turn(&disk);
    let own = learner.stage(&adapter_bytes(learner.model(), 1)).unwrap();
    learner.activate(&own).unwrap();
    from_now_on(&disk, FaultKind::StorageFull);
    let kept = turns[0].reply_id;
    let errors = [
        learner.signal(kept, Signal::Accepted).unwrap_err(),
        learner.stage(&adapter_bytes(learner.model(), 2)).unwrap_err(),
        learner.set_consent(Consent::Granted).unwrap_err(),
    ];
    for error in errors {
        let full = match &error {
            LearnerError::Journal(JournalError::Disk(error)) => error.is_full(),
            LearnerError::Store(StoreError::Disk(error)) => error.is_full(),
            _ => false,
        };
        assert!(full, "{error}");
        assert!(error.to_string().contains("Free some space and try again"), "{error}");
    }
    let reply_id = reply(&learner).unwrap();
    let unknown = learner.signal(reply_id, Signal::Accepted).unwrap_err();
    assert!(matches!(unknown, LearnerError::UnknownReply { .. }), "it was made, and is not kept");
    finds(&disk, &turns);
    // A bad adapter can be taken back all the same.
    assert_eq!(learner.rollback().unwrap(), own);
    disk.fail(None);
    learner.signal(kept, Signal::Accepted).unwrap();
    reply(&learner).unwrap();
    assert_eq!(learner.turns()[0].signals.len(), 2);
    finds(&disk, &learner.turns());
}

#[test]
fn a_disk_that_refuses_or_fails_loses_nothing() {
    for kind in [FaultKind::Denied, FaultKind::Io] {
        let disk = SimDisk::new();
        let (learner, turns) = with_one_turn(&disk);
        from_now_on(&disk, kind);
        let error = learner.signal(turns[0].reply_id, Signal::Accepted).unwrap_err();
        assert!(matches!(error, LearnerError::Vault(VaultError::Disk(_))), "{error}");
        if kind == FaultKind::Denied {
            assert!(error.to_string().contains("write access to its own folder"), "{error}");
        }
        let reopened = Learner::open_on(disk_of(&disk), model(), config());
        assert!(matches!(reopened.err(), Some(LearnerError::Vault(VaultError::Disk(_)))));
        disk.fail(None);
        finds(&disk, &turns);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = std::env::temp_dir().join(format!("sapwood-loop-{}", std::process::id()));
    std::fs::write(&file, "a file, not a folder").unwrap();
    let mut config = config();
    config.dir = file.join("store");
    let error = Learner::open(model(), config).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, LearnerError::Folder { .. }), "{text}");
    assert!(text.contains("give the app write access") && text.contains("sapwood-loop-"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file, not a folder");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_wrong_key_changes_nothing() {
    let disk = SimDisk::new();
    let (learner, turns) = with_one_turn(&disk);
    drop(learner);
    let before = format!("{:?}", disk.image());
    let mut other = super::KEY;
    other[31] ^= 1;
    let wrong = Config { keys: Arc::new(HostKey::new(other)), ..config() };
    let error = Learner::open_on(disk_of(&disk), model(), wrong).err().unwrap();
    let key = LearnerError::Vault(VaultError::Key(KeyError::Permanent));
    assert_eq!(error.to_string(), key.to_string());
    assert!(error.to_string().contains("is another one"), "{error}");
    assert!(format!("{:?}", disk.image()) == before);
    finds(&disk, &turns);
}
