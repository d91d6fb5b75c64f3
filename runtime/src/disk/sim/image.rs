//! Files of a simulated disk: what is durable, what is only cached, and what may remain.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use sapwood_kernels::rng::SplitMix64;

/// Bytes that a device writes whole or not at all: the least that there is.
const SECTOR: usize = 512;
/// What devices write whole, in sectors: 512 B and 4 KiB.
const UNITS: [usize; 2] = [1, 8];
/// Stands for a folder where others have the number of a file.
const FOLDER: u64 = u64::MAX;
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

/// A change of names. A folder has a name, too.
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
    /// Zeros; and a new length that did not make it ends behind the last sector that did.
    Cut,
}

const HOLES: [Hole; 4] = [Hole::Zero, Hole::Garbage, Hole::Torn, Hole::Cut];

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

/// One way in which a power loss may turn out.
struct Loss {
    /// Sectors that are written together.
    unit: usize,
    /// Which effects persist.
    keep: Vec<bool>,
    hole: Hole,
    seed: u64,
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
        if !self.is_folder(folder(name)) {
            return Err(absent());
        }
        let file = self.next;
        self.next += 1;
        self.files.insert(file, File::default());
        self.rename_now(NameChange::Set { name: name.to_owned(), file });
        Ok(())
    }

    pub(super) fn is_folder(&self, dir: &str) -> bool {
        dir.is_empty() || self.names.get(dir) == Some(&FOLDER)
    }

    pub(super) fn make_dir(&mut self, dir: &str) -> io::Result<()> {
        if !self.is_folder(folder(dir)) {
            return Err(absent());
        }
        if !self.is_folder(dir) {
            self.rename_now(NameChange::Set { name: dir.to_owned(), file: FOLDER });
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, dir: &str) -> io::Result<()> {
        if self.names.keys().any(|name| folder(name) == dir) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if self.is_folder(dir) {
            self.rename_now(NameChange::Remove { name: dir.to_owned() });
        }
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

    /// What all files that have a name take, each in whole blocks.
    pub(super) fn used(&self, block: usize) -> u64 {
        let files = self.names.values().filter_map(|id| self.files.get(id));
        files.map(|file| file.cached.len().next_multiple_of(block) as u64).sum()
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
        let whole = Loss { unit: 1, keep: Vec::new(), hole: Hole::Zero, seed: 0 };
        file.stable = Arc::new(file.remains(&all, true, &whole));
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

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        if !self.is_folder(dir) {
            return Err(absent());
        }
        let files = self.names.iter().filter(|(_, id)| **id != FOLDER).map(|(name, _)| name);
        let inside = files.filter(|name| folder(name) == dir);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
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
    fn effects(&self, unit: usize) -> usize {
        self.pending.len() + self.files.values().map(|file| file.effects(unit)).sum::<usize>()
    }

    /// What a loss of power at this moment may leave, on devices of both sector sizes. All
    /// combinations where they are few, otherwise the corners (nothing, everything, all but one,
    /// only one) and a seeded sample.
    pub fn after_power(&self, power: Power) -> Vec<Image> {
        let mut seen = BTreeSet::new();
        let mut images = Vec::new();
        let mut rng = SplitMix64(power.seed);
        for unit in UNITS {
            let few = self.effects(unit) <= EXHAUSTIVE_BITS;
            for loss in self.losses(unit, power.samples, &mut rng) {
                let image = self.remains(&loss);
                if seen.insert(image.contents()) {
                    images.push(image);
                }
            }
            if few {
                break; // whatever a larger sector leaves was among them
            }
        }
        images
    }

    fn losses(&self, unit: usize, samples: usize, rng: &mut SplitMix64) -> Vec<Loss> {
        let bits = self.effects(unit);
        let seed = rng.0;
        let loss = |keep, hole| Loss { unit, keep, hole, seed };
        if bits <= EXHAUSTIVE_BITS && unit == 1 {
            let masks = (0..1_usize << bits).flat_map(|mask| HOLES.map(|hole| (mask, hole)));
            let keep = |mask: usize| (0..bits).map(|bit| mask >> bit & 1 == 1).collect();
            return masks.map(|(mask, hole)| loss(keep(mask), hole)).collect();
        }
        let mut losses =
            vec![loss(vec![false; bits], Hole::Zero), loss(vec![true; bits], Hole::Zero)];
        for sample in 0..samples.div_ceil(unit) {
            let keep: Vec<bool> = match sample % 4 {
                0 => flipped(bits, rng.bits(), true),
                1 => flipped(bits, rng.bits(), false),
                _ => (0..bits).map(|_| rng.bits() & 1 == 1).collect(),
            };
            losses.push(loss(keep, HOLES[rng.below(HOLES.len())]));
        }
        losses
    }

    /// Names and bytes that a reader finds: equal contents behave equally after a restart.
    fn contents(&self) -> Vec<(String, Arc<Vec<u8>>)> {
        let bytes = |id| self.files.get(id).map_or_else(Arc::default, |file| file.cached.clone());
        self.names.iter().map(|(name, id)| (name.clone(), bytes(id))).collect()
    }

    fn remains(&self, loss: &Loss) -> Image {
        let mut names = self.stable_names.clone();
        let (name_bits, mut rest) = loss.keep.split_at(self.pending.len());
        for (change, _) in self.pending.iter().zip(name_bits).filter(|(_, kept)| **kept) {
            change.apply(&mut names);
        }
        let mut files = BTreeMap::new();
        for (id, file) in &self.files {
            let (mine, others) = rest.split_at(file.effects(loss.unit));
            rest = others;
            let groups = if file.grows() { &mine[1..] } else { mine };
            let kept = file.groups(loss.unit).into_iter().zip(groups).filter(|(_, kept)| **kept);
            let kept: BTreeSet<usize> = kept.map(|(group, _)| group).collect();
            let grown = file.grows() && mine[0];
            let bytes = if file.dirty.is_empty() {
                Arc::clone(&file.stable)
            } else {
                let loss = Loss { keep: Vec::new(), seed: loss.seed ^ id, ..*loss };
                Arc::new(file.remains(&kept, grown, &loss))
            };
            files
                .insert(*id, File { stable: Arc::clone(&bytes), cached: bytes, ..File::default() });
        }
        // What a lost folder holds is lost with it. Folders sort before what they hold.
        let mut folders = BTreeSet::from([String::new()]);
        names.retain(|name, id| {
            let there = folders.contains(folder(name));
            if there && *id == FOLDER {
                folders.insert(name.clone());
            }
            there
        });
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

    /// Unsynced sectors, in groups of `unit` that are written together.
    fn groups(&self, unit: usize) -> BTreeSet<usize> {
        self.dirty.iter().map(|sector| sector / unit).collect()
    }

    fn effects(&self, unit: usize) -> usize {
        self.groups(unit).len() + usize::from(self.grows())
    }

    /// The bytes when the groups of `kept` persist, and the new length does if `grown`.
    fn remains(&self, kept: &BTreeSet<usize>, grown: bool, loss: &Loss) -> Vec<u8> {
        let (stable, cached) = (self.stable.len(), self.cached.len());
        let group_bytes = loss.unit * SECTOR;
        let length = match (grown, loss.hole, kept.last()) {
            (true, ..) => cached,
            (false, Hole::Cut, Some(last)) => stable.max(cached.min((last + 1) * group_bytes)),
            _ => stable,
        };
        let mut bytes = self.stable[..length.min(stable)].to_vec();
        bytes.resize(length, 0);
        let mut rng = SplitMix64(loss.seed);
        for &sector in &self.dirty {
            let group = sector / loss.unit;
            let start = (sector * SECTOR).min(length);
            let mut end = ((sector + 1) * SECTOR).min(length);
            if !kept.contains(&group) {
                match loss.hole {
                    Hole::Zero | Hole::Cut => continue,
                    Hole::Garbage => {
                        for byte in &mut bytes[start.max(stable).min(end)..end] {
                            *byte = rng.bits() as u8;
                        }
                        continue;
                    }
                    Hole::Torn => {
                        let last = ((group + 1) * group_bytes).min(length);
                        end = end.min((group * group_bytes + last) / 2).max(start);
                    }
                }
            }
            let end = end.min(cached);
            bytes[start..end].copy_from_slice(&self.cached[start..end]);
        }
        bytes
    }
}

fn flipped(bits: usize, at: u64, base: bool) -> Vec<bool> {
    let at = (at % bits as u64) as usize;
    (0..bits).map(|bit| (bit == at) != base).collect()
}
