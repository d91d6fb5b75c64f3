//! Manifest, keyring and checkpoints.

use std::sync::{Arc, LazyLock};

use arbitrary::{Arbitrary, Unstructured};
use sapwood::disk::Disk;
use sapwood::disk::sim::{Image, SimDisk};
use sapwood::fuzz;
use sapwood::seal::Seal;
use sapwood::store::{Generation, Meta, Metric, State, Store, StoreError, digest_of};
use sapwood::vault::{HostKey, Vault};

use crate::mutate::short;

static SEAL: LazyLock<Arc<Seal>> = LazyLock::new(|| Arc::new(Seal::new([5; 32])));
static CHECKPOINT: LazyLock<Vec<u8>> = LazyLock::new(fuzz::small_checkpoint);
/// A disk with an empty store.
static EMPTY: LazyLock<Image> = LazyLock::new(|| {
    let disk = SimDisk::new();
    Store::open(Arc::new(disk.clone()), Arc::clone(&SEAL), BASE).expect("an empty disk");
    disk.image()
});
const BASE: [u8; 32] = [6; 32];
const STATES: [State; 8] = [
    State::Staged,
    State::Probation,
    State::Active,
    State::Fallback,
    State::Retired,
    State::Bad,
    State::Revoked,
    State::Dormant,
];

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    disk.create(name).expect("new");
    disk.append(name, bytes).expect("there");
}

/// The first byte: a slot as it is, a slot with a sealed text, a keyring, a sealed file of refused
/// digests.
pub fn manifest(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, slot)) => open(slot, None),
        Some((1, file)) => keyring(file, false),
        Some((2, file)) => keyring(file, true),
        Some((3, list)) => {
            let file = fuzz::sealed_file(&SEAL, 3, 0, list).expect("randomness");
            let archive = fuzz::manifest(1, 0, Vec::new());
            open(&fuzz::slot(&SEAL, 1, &archive).expect("randomness"), Some(&file));
        }
        Some((4, list)) => {
            let archive = fuzz::manifest(1, 0, Vec::new());
            open(&fuzz::slot(&SEAL, 1, &archive).expect("randomness"), Some(list));
        }
        Some((_, rest)) => drop(sealed(&mut Unstructured::new(rest))),
        None => {}
    }
}

fn generation(input: &mut Unstructured) -> arbitrary::Result<Generation> {
    let number = u64::from(u8::arbitrary(input)?);
    let has_file = bool::arbitrary(input)?;
    // An adapter's file is there for one of them.
    let digest = if has_file { digest_of(b"adapter") } else { [number as u8; 32] };
    Ok(Generation {
        number,
        digest,
        base: if input.ratio(1, 4)? { [7; 32] } else { BASE },
        state: *input.choose(&STATES)?,
        returns_to: if bool::arbitrary(input)? { Some(*input.choose(&STATES)?) } else { None },
        meta: Meta {
            metrics: vec![Metric { name: "nll".into(), value: f64::arbitrary(input)? }],
            ..Meta::default()
        },
    })
}

fn sealed(input: &mut Unstructured) -> arbitrary::Result<()> {
    let sequence = input.int_in_range(0..=3)?;
    let mut generations = Vec::new();
    for _ in 0..input.int_in_range(0..=4)? {
        generations.push(generation(input)?);
    }
    let mut archive = fuzz::manifest(sequence, u8::arbitrary(input)?, generations);
    if bool::arbitrary(input)? {
        for _ in 0..input.int_in_range(1..=3)? {
            let at = input.choose_index(archive.len())?;
            archive[at] = u8::arbitrary(input)?;
        }
    }
    let mut slot = fuzz::slot(&SEAL, sequence, &archive).expect("randomness");
    if input.ratio(1, 4)? {
        let at = input.choose_index(slot.len())?;
        slot[at] ^= 1 << input.int_in_range(0..=7)?;
    }
    open(&slot, None);
    Ok(())
}

/// A store with this slot and an adapter, opened twice: what the first opening made of it has to
/// stand.
fn open(slot: &[u8], refused: Option<&[u8]>) {
    let disk = Arc::new(SimDisk::new());
    put(&disk, "M0", slot);
    disk.make_dir("a").expect("new");
    disk.make_dir("c").expect("new");
    let adapter = fuzz::sealed_file(&SEAL, 1, 0, b"adapter").expect("randomness");
    put(&disk, &format!("a/{}", sapwood::store::hex(&digest_of(b"adapter"))), &adapter);
    if let Some(refused) = refused {
        put(&disk, "c/refused", refused);
    }
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let open = || Store::open(Arc::clone(&shared), Arc::clone(&SEAL), BASE);
    let Ok(store) = open() else { return };
    let (sequence, in_force) = (store.sequence(), store.in_force().map(|known| known.digest));
    for known in store.generations() {
        let _ = (store.adapter_bytes(&known.digest), store.is_refused(&known.digest));
    }
    if let Some(digest) = in_force {
        store.adapter_bytes(&digest).expect("what is in force can be loaded");
        assert!(!store.is_refused(&digest), "what is in force is not refused");
    }
    drop(store);
    let mut again = open().expect("it was opened before");
    assert_eq!(
        (again.sequence(), again.in_force().map(|known| known.digest)),
        (sequence, in_force)
    );
    again.set_time(5);
    match again.stage(b"another", Meta::default()) {
        Ok(digest) => drop(again.propose(&digest)),
        Err(StoreError::ManifestFull { .. } | StoreError::Refused { .. }) => {}
        Err(error) => panic!("an adapter can't be staged: {error}"),
    }
}

/// A keyring, with its checksum put right or not.
fn keyring(bytes: &[u8], mend: bool) {
    let mut file = bytes.to_vec();
    if mend {
        fuzz::mend(&mut file, 36);
    }
    let disk = Arc::new(SimDisk::new());
    disk.make_dir("k").expect("new");
    put(&disk, "k/0", &file);
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    if let Ok(mut vault) = Vault::open(shared, Arc::new(HostKey::new([9; 32]))) {
        let _ = (vault.left(), vault.check());
        let _ = vault.clean();
    }
    assert_eq!(disk.read("k/0").expect("never removed"), file, "only replaced when it was opened");
}

/// The first byte: the file, a checkpoint's text to be sealed, or changes of a proper one.
pub fn checkpoint(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    match choice {
        0 => drop(load(rest)),
        1 => text(rest),
        _ => {
            let mut input = Unstructured::new(rest);
            let mut proper = CHECKPOINT.clone();
            if change(&mut proper, &mut input).is_ok() {
                text(&proper);
            }
        }
    }
}

fn change(text: &mut Vec<u8>, input: &mut Unstructured) -> arbitrary::Result<()> {
    for _ in 0..input.int_in_range(0..=3)? {
        let at = input.choose_index(text.len().max(1))?.min(text.len());
        match input.int_in_range(0..=4)? {
            0 => text.truncate(at),
            1 => text.extend(short(input)?),
            _ if at < text.len() => text[at] = u8::arbitrary(input)?,
            _ => {}
        }
    }
    Ok(())
}

fn text(text: &[u8]) {
    // Sealing is dear: one in sixteen goes all the way.
    if text.len().is_multiple_of(16) {
        let file = fuzz::sealed_file(&SEAL, 2, 1, text).expect("randomness");
        assert_eq!(load(&file).as_deref(), Some(text), "what was sealed comes back");
    }
    let Some(understood) = fuzz::checkpoint(text) else { return };
    // Floats that are not numbers are equal to nothing: compare what is written.
    let again = fuzz::checkpoint(&understood).expect("what we write is understood");
    assert_eq!(again, understood);
}

/// Through the store.
fn load(file: &[u8]) -> Option<Vec<u8>> {
    let disk = Arc::new(SimDisk::from_image(EMPTY.clone()));
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let mut store = Store::open(shared, Arc::clone(&SEAL), BASE).expect("an empty store");
    put(&disk, "c/1", file);
    let loaded = store.load_checkpoint().expect("the disk does not fail");
    store.save_checkpoint(b"next").expect("the disk does not fail");
    assert_eq!(store.load_checkpoint().expect("no failure").as_deref(), Some(&b"next"[..]));
    loaded
}
