//! Compiled kernels, kept in a file from one start to the next where the back end can: Vulkan.
//! Metal, Direct3D and OpenGL drivers keep them by themselves.
//!
//! The file is only ever a saving of time. It is written anew as a whole under its name, one that
//! is damaged or of other origin is not used, and where it can't be written nothing is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The cache of one adapter and driver.
pub(super) struct DiskCache {
    pub cache: wgpu::PipelineCache,
    path: PathBuf,
    /// Digest of what the file holds.
    saved: Mutex<Option<u64>>,
}

impl DiskCache {
    /// What was kept in `folder`, if anything. The device needs the feature `PIPELINE_CACHE`.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, folder: &Path) -> DiskCache {
        let path = folder.join(file_name(info));
        let kept = fs::read(&path).ok();
        let data = kept.as_deref().and_then(data);
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data, fallback: true };
        // SAFETY: the data is what `get_data` gave an earlier start, to the byte: its digest was
        // compared. wgpu compares adapter, driver and its own version.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        DiskCache { cache, path, saved: Mutex::new(data.map(digest)) }
    }

    /// Writes what has been compiled, if that is more than the file holds.
    pub fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let now = digest(&data);
        if *saved != Some(now) && write(&self.path, &data).is_ok() {
            *saved = Some(now);
            forget_older(&self.path);
        }
    }
}

const MAGIC: &[u8; 8] = b"sapwood1";

const SUFFIX: &str = ".pipelines";

/// Adapter, then driver and the version of our kernels.
fn file_name(info: &wgpu::AdapterInfo) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let driver = format!("{} {} {version}", info.driver, info.driver_info);
    format!("{:x}-{:x}-{:016x}{SUFFIX}", info.vendor, info.device, digest(driver.as_bytes()))
}

/// Magic, digest, data.
fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Another process may write the same.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let bytes = [&MAGIC[..], &digest(data).to_le_bytes(), data].concat();
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // Nothing more can be done about it.
        let _ = fs::remove_file(&new);
    })
}

/// The data in a file's bytes, unless they are not whole.
fn data(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, data) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*sum) == digest(data)).then_some(data)
}

/// Removes what earlier drivers and versions left for this adapter.
fn forget_older(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return;
    };
    let adapter = &name[..name.len() - SUFFIX.len() - 16];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let other = entry.file_name();
        let other = other.to_string_lossy();
        if other.starts_with(adapter) && other.ends_with(SUFFIX) && other != name {
            // A file that stays costs its room only.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// FNV-1a: against accidents, not against people.
fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sapwood-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = folder("cache");
        let path = folder.join("1-2-0123456789abcdef.pipelines");
        for written in [&b"compiled"[..], b"more of it", b""] {
            write(&path, written).unwrap();
            assert_eq!(data(&fs::read(&path).unwrap()), Some(written));
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_damaged_or_foreign_is_not_used() {
        let folder = folder("damaged");
        let path = folder.join("1-2-0123456789abcdef.pipelines");
        write(&path, b"compiled").unwrap();
        let sound = fs::read(&path).unwrap();
        for len in 0..sound.len() {
            assert_eq!(data(&sound[..len]), None, "cut to {len}");
        }
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            assert_eq!(data(&damaged), None, "byte {at}");
        }
        assert_eq!(data(&[&sound[..], b"!"].concat()), None, "longer");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_this_adapters_older_files_go() {
        let folder = folder("older");
        fs::create_dir_all(&folder).unwrap();
        let [ours, old, other] = ["1-2-0123456789abcdef", "1-2-0000000000000000", "1-23-00"]
            .map(|name| folder.join(format!("{name}.pipelines")));
        let foreign = folder.join("1-2-notes.txt");
        for path in [&ours, &old, &other, &foreign] {
            fs::write(path, b"").unwrap();
        }
        forget_older(&ours);
        let stays = [&ours, &old, &other, &foreign].map(|path| path.exists());
        assert_eq!(stays, [true, false, true, true]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn another_driver_has_another_file() {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Vulkan);
        let before = file_name(&info);
        info.driver_info = "25.1".into();
        assert_ne!(file_name(&info), before);
    }
}
