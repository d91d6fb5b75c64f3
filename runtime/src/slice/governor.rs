//! Stands between a slice and the device while it runs: before every program that training would
//! run, it lets replies go first, keeps to the policy's pace, and ends the slice when the device is
//! no longer free for it.
//!
//! A slice that is killed leaves its mark behind, a small file with no word of the user in it. From
//! the marks of dead slices follows how long the next one waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sapwood_kernels::Device;
use sapwood_models::Stop;

use crate::disk::{Disk, at};
use crate::error::LearnerError;
use crate::policy::{Kills, Obstacle};
use crate::shared::Shared;
use crate::store::{Digest, StoreError, digest_of};

/// How long after a reply's last token training stays away: shorter pauses are the next token's.
const QUIET: Duration = Duration::from_millis(200);
/// Waiting looks for a reason to end it this often.
const LOOK: Duration = Duration::from_millis(5);
/// Less rest than this is saved up.
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// Replies that are being computed.
#[derive(Default)]
pub(crate) struct Foreground(Mutex<Replies>);

#[derive(Default)]
struct Replies {
    under_way: usize,
    last: Option<Instant>,
}

/// Computes for a reply: training makes way as long as this lives.
pub(crate) struct Ahead<'a>(&'a Foreground);

impl Foreground {
    /// A reply is about to compute.
    pub fn enter(&self) -> Ahead<'_> {
        self.replies(|replies| replies.under_way += 1);
        Ahead(self)
    }

    /// Whether anybody is inside.
    fn is_entered(&self) -> bool {
        self.replies(|replies| replies.under_way > 0)
    }

    fn is_busy(&self) -> bool {
        self.replies(|replies| {
            replies.under_way > 0 || replies.last.is_some_and(|last| last.elapsed() < QUIET)
        })
    }

    fn replies<T>(&self, look: impl FnOnce(&mut Replies) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.replies(|replies| {
            replies.under_way -= 1;
            replies.last = Some(Instant::now());
        });
    }
}

/// Watches one slice.
pub(super) struct Governor {
    shared: Arc<Shared>,
    asked: Stop,
    deadline: Option<Instant>,
    needed_bytes: u64,
    kills: Kills,
    /// Whether this slice has left its mark.
    marked: AtomicBool,
    pace: Mutex<Pace>,
    /// What ended the slice.
    obstacles: Mutex<Vec<Obstacle>>,
}

struct Pace {
    /// Since when it has been working.
    since: Instant,
    /// Rest that is due.
    owed: Duration,
}

impl Governor {
    /// For a slice that ends at `deadline` or when `asked`; or what forbids it now.
    pub fn new(
        shared: &Arc<Shared>,
        asked: &Stop,
        deadline: Option<Instant>,
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
        let policy = &shared.config.learning.policy;
        let mut obstacles = policy.obstacles(&shared.device(), needed_bytes);
        obstacles.extend(policy.after_kills(kills, now_ms));
        if !obstacles.is_empty() {
            return Ok(Err(obstacles));
        }
        Ok(Ok(Arc::new(Governor {
            shared: shared.clone(),
            asked: asked.clone(),
            deadline,
            needed_bytes,
            kills,
            marked: AtomicBool::new(false),
            pace: Mutex::new(Pace { since: Instant::now(), owed: Duration::ZERO }),
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
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let worked = pace.since.elapsed();
        if !self.marked.load(Ordering::Relaxed) {
            self.mark();
        }
        pace.owed += self.rest_after(worked);
        let rested = Instant::now();
        let over = loop {
            let forgetting = self.shared.forgetting.is_entered();
            if self.asked.is_requested() || forgetting || self.is_forbidden() {
                break true;
            }
            let due = pace.owed >= SHORTEST_REST && rested.elapsed() < pace.owed;
            if !due && !self.shared.foreground.is_busy() {
                break false;
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break true;
            }
            std::thread::sleep(LOOK);
        };
        let rested = rested.elapsed();
        pace.owed = pace.owed.saturating_sub(rested);
        pace.since = Instant::now();
        over
    }

    fn is_forbidden(&self) -> bool {
        let policy = &self.shared.config.learning.policy;
        let found = policy.obstacles(&self.shared.device(), self.needed_bytes);
        let forbidden = !found.is_empty();
        if forbidden {
            *self.obstacles.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        forbidden
    }

    fn rest_after(&self, worked: Duration) -> Duration {
        let Device::Cpu(cpu) = self.shared.model.device();
        let policy = &self.shared.config.learning.policy;
        let worked_us = worked.as_micros() as u64;
        // The rule is the same in any unit.
        Duration::from_micros(policy.rest_ms(&self.shared.device(), worked_us, cpu.threads()))
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
