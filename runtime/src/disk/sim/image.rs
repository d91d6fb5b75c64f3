//! Files of a simulated disk: what is durable, what is only cached, and what may remain.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Bytes that a device writes whole or not at all.
const SECTOR: usize = 512;
/// Combinations of unsynced effects listed in full; beyond, they are drawn by a seed.
const EXHAUSTIVE_BITS: usize = 6;

#[derive(Debug, Clone, Default)]
struct File {
    /// Bytes on the medium.
    stable: Arc<Vec<u8>>,
    /// Bytes that readers see.
    cached: Arc<Vec<u8>>,
    /// Sectors that were written and not synced.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set { name: String, file: u64 },
    Remove { name: String },
    Rename { from: String, to: String, file: u64 },
}

impl NameChange {
    fn folder(&self) -> &str {
        let (NameChange::Set { name, .. }
        | NameChange::Remove { name }
        | NameChange::Rename { to: name, .. }) = self;
        folder(name)
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Set { name, file } => {
                names.insert(name.clone(), *file);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
            NameChange::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// What stands where an appended sector was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    Zero,
    Garbage,
    /// The first half of the sector made it.
    Torn,
}

/// How thoroughly to look at a power loss.
#[derive(Debug, Clone, Copy)]
pub struct Power {
    /// Images to draw where there are too many to list.
    pub samples: usize,
    /// Seed of the drawing.
    pub seed: u64,
}

/// Everything on a simulated disk at one moment. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Image {
    files: BTreeMap<u64, File>,
    stable_names: BTreeMap<String, u64>,
    names: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
    next: u64,
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Image {
    fn file(&self, name: &str) -> io::Result<&File> {
        self.names.get(name).and_then(|id| self.files.get(id)).ok_or_else(absent)
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut File> {
        let id = self.names.get(name).ok_or_else(absent)?;
        self.files.get_mut(id).ok_or_else(absent)
    }

    fn rename_now(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.next;
        self.next += 1;
        self.files.insert(file, File::default());
        self.rename_now(NameChange::Set { name: name.to_owned(), file });
        Ok(())
    }

    pub(super) fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let file = self.file_mut(name)?;
        let cached = Arc::make_mut(&mut file.cached);
        let end = offset + bytes.len();
        // The gap that a write beyond the end leaves is written too.
        let first = offset.min(cached.len()) / SECTOR;
        if cached.len() < end {
            cached.resize(end, 0);
        }
        cached[offset..end].copy_from_slice(bytes);
        file.dirty.extend(first..end.div_ceil(SECTOR));
        Ok(())
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.file(name)?.cached.to_vec())
    }

    pub(super) fn len(&self, name: &str) -> io::Result<usize> {
        Ok(self.file(name)?.cached.len())
    }

    pub(super) fn sync(&mut self, name: &str) -> io::Result<()> {
        let file = self.file_mut(name)?;
        if file.dirty.is_empty() {
            return Ok(());
        }
        let all = file.dirty.clone();
        file.stable = Arc::new(file.remains(&all, true, Hole::Zero, 0));
        file.dirty.clear();
        Ok(())
    }

    /// A sync that failed: the pages count as clean although they never reached the medium.
    pub(super) fn lose(&mut self, name: &str) -> io::Result<()> {
        self.file_mut(name)?.dirty.clear();
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        assert_eq!(folder(from), folder(to), "renames stay in their folder");
        let file = *self.names.get(from).ok_or_else(absent)?;
        self.rename_now(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    pub(super) fn unlink(&mut self, name: &str) -> io::Result<()> {
        if !self.names.contains_key(name) {
            return Err(absent());
        }
        self.rename_now(NameChange::Remove { name: name.to_owned() });
        Ok(())
    }

    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let inside = self.names.keys().filter(|name| folder(name) == dir);
        inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect()
    }

    pub(super) fn sync_dir(&mut self, dir: &str) {
        let (now, later) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.folder() == dir);
        now.iter().for_each(|change| change.apply(&mut self.stable_names));
        self.pending = later;
        self.collect();
    }

    pub(super) fn corrupt(&mut self, name: &str, offset: usize, xor: u8) -> io::Result<()> {
        let file = self.file_mut(name)?;
        let mut bytes = file.cached.to_vec();
        *bytes.get_mut(offset).ok_or_else(absent)? ^= xor;
        *file = File::durable(bytes);
        Ok(())
    }

    pub(super) fn truncate(&mut self, name: &str, bytes: usize) -> io::Result<()> {
        let file = self.file_mut(name)?;
        *file = File::durable(file.cached[..bytes.min(file.cached.len())].to_vec());
        Ok(())
    }

    /// Drops files that no name can lead to any more.
    fn collect(&mut self) {
        let mut reachable: BTreeSet<u64> = self.stable_names.values().copied().collect();
        reachable.extend(self.names.values());
        for change in &self.pending {
            if let NameChange::Set { file, .. } | NameChange::Rename { file, .. } = change {
                reachable.insert(*file);
            }
        }
        self.files.retain(|id, _| reachable.contains(id));
    }

    /// Unsynced effects, each of which persists or not: names, then lengths and sectors.
    fn effects(&self) -> usize {
        self.pending.len() + self.files.values().map(File::effects).sum::<usize>()
    }

    /// What a loss of power at this moment may leave. All combinations where they are few,
    /// otherwise the corners (nothing, everything, all but one, only one) and a seeded sample.
    pub fn after_power(&self, power: Power) -> Vec<Image> {
        let bits = self.effects();
        let mut chosen: Vec<(Vec<bool>, Hole)> = Vec::new();
        if bits <= EXHAUSTIVE_BITS {
            for mask in 0..1_usize << bits {
                let keep: Vec<bool> = (0..bits).map(|bit| mask >> bit & 1 == 1).collect();
                for hole in [Hole::Zero, Hole::Garbage, Hole::Torn] {
                    chosen.push((keep.clone(), hole));
                }
            }
        } else {
            chosen.push((vec![false; bits], Hole::Zero));
            chosen.push((vec![true; bits], Hole::Zero));
            let mut rng = power.seed;
            for sample in 0..power.samples {
                let keep: Vec<bool> = match sample % 4 {
                    0 => flipped(bits, draw(&mut rng), true),
                    1 => flipped(bits, draw(&mut rng), false),
                    _ => (0..bits).map(|_| draw(&mut rng) & 1 == 1).collect(),
                };
                let holes = [Hole::Zero, Hole::Garbage, Hole::Torn];
                chosen.push((keep, holes[draw(&mut rng) as usize % 3]));
            }
        }
        let mut seen = BTreeSet::new();
        let images = chosen.iter().map(|(keep, hole)| self.remains(keep, *hole, power.seed));
        images.filter(|image| seen.insert(image.contents())).collect()
    }

    /// Names and bytes that a reader finds: equal contents behave equally after a restart.
    fn contents(&self) -> Vec<(String, Arc<Vec<u8>>)> {
        let name = |(name, id): (&String, &u64)| (name.clone(), Arc::clone(&self.files[id].cached));
        self.names.iter().map(name).collect()
    }

    fn remains(&self, keep: &[bool], hole: Hole, seed: u64) -> Image {
        let mut names = self.stable_names.clone();
        let (name_bits, mut rest) = keep.split_at(self.pending.len());
        for (change, _) in self.pending.iter().zip(name_bits).filter(|(_, kept)| **kept) {
            change.apply(&mut names);
        }
        let mut files = BTreeMap::new();
        for (id, file) in &self.files {
            let (mine, others) = rest.split_at(file.effects());
            rest = others;
            let sectors = if file.grows() { &mine[1..] } else { mine };
            let kept = file.dirty.iter().zip(sectors).filter(|(_, kept)| **kept);
            let kept: BTreeSet<usize> = kept.map(|(sector, _)| *sector).collect();
            let grown = file.grows() && mine[0];
            let bytes = if file.dirty.is_empty() {
                Arc::clone(&file.stable)
            } else {
                Arc::new(file.remains(&kept, grown, hole, seed ^ id))
            };
            files
                .insert(*id, File { stable: Arc::clone(&bytes), cached: bytes, ..File::default() });
        }
        let stable_names = names.clone();
        let mut image = Image { files, stable_names, names, pending: Vec::new(), next: self.next };
        image.collect();
        image
    }
}

impl File {
    fn durable(bytes: Vec<u8>) -> File {
        let bytes = Arc::new(bytes);
        File { stable: Arc::clone(&bytes), cached: bytes, dirty: BTreeSet::new() }
    }

    /// Whether a new length is waiting to become durable.
    fn grows(&self) -> bool {
        !self.dirty.is_empty() && self.cached.len() > self.stable.len()
    }

    fn effects(&self) -> usize {
        self.dirty.len() + usize::from(self.grows())
    }

    /// The bytes when the sectors of `kept` persist, and the new length does if `grown`.
    fn remains(&self, kept: &BTreeSet<usize>, grown: bool, hole: Hole, seed: u64) -> Vec<u8> {
        let length = if grown { self.cached.len() } else { self.stable.len() };
        let mut bytes = self.stable[..length.min(self.stable.len())].to_vec();
        bytes.resize(length, 0);
        let mut rng = seed;
        for &sector in &self.dirty {
            let start = (sector * SECTOR).min(length);
            let mut end = ((sector + 1) * SECTOR).min(length);
            if !kept.contains(&sector) {
                match hole {
                    Hole::Zero => continue,
                    Hole::Garbage => {
                        for byte in &mut bytes[start.max(self.stable.len()).min(end)..end] {
                            *byte = draw(&mut rng) as u8;
                        }
                        continue;
                    }
                    Hole::Torn => end = start + (end - start) / 2,
                }
            }
            let end = end.min(self.cached.len());
            bytes[start..end].copy_from_slice(&self.cached[start..end]);
        }
        bytes
    }
}

fn flipped(bits: usize, at: u64, base: bool) -> Vec<bool> {
    let at = (at % bits as u64) as usize;
    (0..bits).map(|bit| (bit == at) != base).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
