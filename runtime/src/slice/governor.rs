//! Stands between a slice and the device while it runs: before every program that training would
//! run, it asks `rhythm` whether that may begin, and waits while it may not: for replies, which go
//! first, and for the rest that the policy wants. When the device is no longer free, the slice ends.
//!
//! A slice that is killed leaves its mark behind, a small file with no word of the user in it. From
//! the marks of dead slices follows how long the next one waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sapwood_models::{Stop, Work};

use crate::disk::{Disk, at};
use crate::error::LearnerError;
use crate::policy::{Kills, Obstacle};
use crate::shared::Shared;
use crate::store::{Digest, StoreError, digest_of};

use super::rhythm::{Next, Rhythm, Seen};

/// Waiting looks for a reason to end it this often.
const LOOK: Duration = Duration::from_millis(5);

/// Watches one slice.
pub(super) struct Governor {
    shared: Arc<Shared>,
    asked: Stop,
    kills: Kills,
    /// Whether this slice has left its mark.
    marked: AtomicBool,
    began: Instant,
    rhythm: Mutex<Rhythm>,
    /// What ended the slice.
    obstacles: Mutex<Vec<Obstacle>>,
}

impl Governor {
    /// For a slice that ends after `time` or when `asked`; or what forbids it now.
    pub fn new(
        shared: &Arc<Shared>,
        asked: &Stop,
        time: Duration,
    ) -> Result<Result<Arc<Governor>, Vec<Obstacle>>, LearnerError> {
        let needed_bytes = needed_bytes(shared);
        let now_ms = shared.now_ms();
        let mut kills = Mark::read(&*shared.disk).map_or(Ok(Kills::default()), |mark| {
            let progress = progress(shared)?;
            // The slice that left the mark died. Had it got on, it was the first to.
            let count = if progress == mark.progress { mark.kills.saturating_add(1) } else { 1 };
            Ok::<_, LearnerError>(Kills { count, last_ms: mark.began_ms })
        })?;
        if kills.last_ms > now_ms {
            // The clock was put back: the wait begins now, and its end must not move again.
            kills.last_ms = now_ms;
            Mark { kills: kills.count - 1, began_ms: now_ms, progress: progress(shared)? }
                .write(&*shared.disk)?;
        }
        let policy = shared.config.learning.policy;
        let mut obstacles = policy.obstacles(&shared.device(), needed_bytes);
        obstacles.extend(policy.after_kills(kills, now_ms));
        if !obstacles.is_empty() {
            return Ok(Err(obstacles));
        }
        Ok(Ok(Arc::new(Governor {
            shared: shared.clone(),
            asked: asked.clone(),
            kills,
            marked: AtomicBool::new(false),
            began: Instant::now(),
            rhythm: Mutex::new(Rhythm::new(
                policy,
                needed_bytes,
                shared.model.device(Work::Training).threads(),
                time,
            )),
            obstacles: Mutex::default(),
        })))
    }

    /// The stop that the slice works under.
    pub fn stop(self: &Arc<Governor>) -> Stop {
        let governor = self.clone();
        Stop::governed(move || governor.must_end())
    }

    /// What of the device ended the slice.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Before every program. May wait.
    fn must_end(&self) -> bool {
        if !self.marked.load(Ordering::Relaxed) {
            self.mark();
        }
        let mut rhythm = self.rhythm.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match rhythm.next(&self.look()) {
                Next::Work => return false,
                Next::Wait => std::thread::sleep(LOOK),
                Next::End(obstacles) => {
                    *self.obstacles.lock().unwrap_or_else(PoisonError::into_inner) = obstacles;
                    return true;
                }
            }
        }
    }

    fn look(&self) -> Seen {
        Seen {
            now: self.began.elapsed(),
            device: self.shared.device(),
            replying: self.shared.foreground.is_busy(),
            asked: self.asked.is_requested()
                || self.shared.forgetting.is_entered()
                || self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Says that a slice is under way. A disk that takes no mark doesn't keep it from training.
    fn mark(&self) {
        self.marked.store(true, Ordering::Relaxed);
        let began_ms = self.shared.now_ms();
        let marked = progress(&self.shared).and_then(|progress| {
            let mark = Mark { kills: self.kills.count, began_ms, progress };
            Ok(mark.write(&*self.shared.disk)?)
        });
        if let Err(error) = marked {
            log::warn!("a slice could not leave its mark: {error}");
        }
    }
}

impl Drop for Governor {
    /// The slice has ended by itself, well or badly, but alive.
    fn drop(&mut self) {
        if self.marked.load(Ordering::Relaxed)
            && let Err(error) = self.shared.disk.unlink(MARK)
        {
            log::warn!("a slice could not take its mark back: {error}");
        }
    }
}

/// What training takes beside the model's file, which the system can drop and read again.
fn needed_bytes(shared: &Shared) -> u64 {
    let config = &shared.config;
    let asked = config.learning.policy.memory_bytes.is_some();
    if !asked && shared.device().free_memory_bytes.is_none() {
        return 0;
    }
    let plan = shared.model.plan_training(&config.learning.train.lora, config.context_tokens);
    (plan.total_bytes() - plan.weights) as u64
}

/// Changes whenever training gets on.
fn progress(shared: &Shared) -> Result<Digest, LearnerError> {
    let checkpoint = shared.kept().store.load_checkpoint()?;
    Ok(checkpoint.map_or([0; 32], |bytes| digest_of(&bytes)))
}

const MARK: &str = "slice";

/// What a slice leaves behind when it is killed.
struct Mark {
    /// Slices in a row that had been killed before it.
    kills: u32,
    began_ms: u64,
    /// The checkpoint that it began with.
    progress: Digest,
}

impl Mark {
    /// A torn one is read as far as it goes: something was killed there.
    fn read(disk: &dyn Disk) -> Option<Mark> {
        let mut bytes = disk.read(MARK).ok()?;
        bytes.resize(44, 0);
        let (kills, rest) = bytes.split_first_chunk::<4>()?;
        let (began_ms, progress) = rest.split_first_chunk::<8>()?;
        Some(Mark {
            kills: u32::from_le_bytes(*kills),
            began_ms: u64::from_le_bytes(*began_ms),
            progress: progress.try_into().ok()?,
        })
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        let mut bytes = self.kills.to_le_bytes().to_vec();
        bytes.extend(self.began_ms.to_le_bytes());
        bytes.extend(self.progress);
        match disk.create(MARK) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => at("create", MARK, created)?,
        }
        at("write", MARK, disk.write_at(MARK, 0, &bytes))?;
        at("sync", MARK, disk.sync(MARK))?;
        at("sync folder", "", disk.sync_dir(""))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use sapwood_kernels::Device;
    use sapwood_models::{EMBEDDED, Mapped, Model};

    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::{Config, Learner};

    /// Whatever a machine is busy with: while somebody is inside, the next program doesn't begin.
    #[test]
    fn no_program_begins_while_a_reply_is_computed() {
        let model = Mapped::from_static(EMBEDDED);
        let model = Model::from_mapped(model, &Device::cpu(Some(1))).unwrap();
        let disk = Arc::new(SimDisk::new());
        let learner = Learner::open_on(disk, model, Config::new("unused", [7; 32])).unwrap();
        let looks = Arc::new(AtomicU64::new(0));
        let counted = looks.clone();
        let asked = Stop::governed(move || counted.fetch_add(1, Ordering::SeqCst) == u64::MAX);
        let hour = Duration::from_secs(3600);
        let governor = Governor::new(&learner.shared, &asked, hour).unwrap().unwrap();
        let stop = governor.stop();
        assert!(!stop.is_requested(), "the device is free");
        for _ in 0..3 {
            let ahead = learner.shared.foreground.enter();
            let before = looks.load(Ordering::SeqCst);
            std::thread::scope(|scope| {
                let program = scope.spawn(|| stop.is_requested());
                while looks.load(Ordering::SeqCst) < before + 5 {
                    assert!(!program.is_finished(), "a program began beside a reply");
                    std::thread::yield_now();
                }
                drop(ahead);
                assert!(!program.join().unwrap(), "it goes on, and does not end");
            });
        }
        // Without a reply nothing is waited for, and what ends a slice does so while it waits.
        let _ahead = learner.shared.foreground.enter();
        std::thread::scope(|scope| {
            let program = scope.spawn(|| stop.is_requested());
            let in_use = crate::DeviceState { idle: false, ..Default::default() };
            learner.device_changed(in_use);
            assert!(program.join().unwrap());
        });
        assert_eq!(governor.obstacles(), [Obstacle::InUse]);
    }
}
