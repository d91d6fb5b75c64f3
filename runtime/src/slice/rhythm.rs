//! When a slice may run its next program. Pure: the device, what else goes on and the time in, a
//! decision out, so that whole nights can be played through in a test. `governor` asks before every
//! program, and waits as long as the answer is to wait.

use std::time::Duration;

use crate::device_state::DeviceState;
use crate::policy::{Obstacle, Policy};

/// Less rest than this is saved up.
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// What there is to see before a program.
pub(super) struct Seen {
    /// Time since the slice began.
    pub now: Duration,
    pub device: DeviceState,
    /// A reply is computed, or its next token is about to be.
    pub replying: bool,
    /// A stop or the end of what it learns from was asked for.
    pub asked: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Run the program.
    Work,
    /// Look again in a moment.
    Wait,
    /// End the slice: because of the device, or, without obstacles, because it was asked for or the
    /// time is over.
    End(Vec<Obstacle>),
}

/// The rules of one slice, and how it has worked so far.
pub(super) struct Rhythm {
    policy: Policy,
    needed_bytes: u64,
    threads: usize,
    time: Duration,
    state: State,
    /// Rest that is due.
    owed: Duration,
}

/// What it has been doing, and since when.
enum State {
    Working(Duration),
    Waiting(Duration),
}

impl Rhythm {
    /// For a slice that begins now, takes `needed_bytes` and lasts for `time`.
    pub fn new(policy: Policy, needed_bytes: u64, threads: usize, time: Duration) -> Rhythm {
        let state = State::Working(Duration::ZERO);
        Rhythm { policy, needed_bytes, threads, time, state, owed: Duration::ZERO }
    }

    /// Decides.
    pub fn next(&mut self, seen: &Seen) -> Next {
        let since = match self.state {
            State::Waiting(since) => since,
            State::Working(since) => {
                self.owed += self.rest_after(seen.now.saturating_sub(since), &seen.device);
                self.state = State::Waiting(seen.now);
                seen.now
            }
        };
        if seen.asked {
            return Next::End(Vec::new());
        }
        let obstacles = self.obstacles(seen.device);
        if !obstacles.is_empty() {
            return Next::End(obstacles);
        }
        let rested = seen.now.saturating_sub(since);
        let due = self.owed >= SHORTEST_REST && rested < self.owed;
        if !due && !seen.replying {
            self.owed = self.owed.saturating_sub(rested);
            self.state = State::Working(seen.now);
            return Next::Work;
        }
        if seen.now >= self.time { Next::End(Vec::new()) } else { Next::Wait }
    }

    /// What forbids going on. The host counts as taken what training took; the policy asks whether
    /// it may be taken.
    fn obstacles(&self, mut device: DeviceState) -> Vec<Obstacle> {
        let taken = self.needed_bytes;
        device.free_memory_bytes = device.free_memory_bytes.map(|free| free.saturating_add(taken));
        self.policy.obstacles(&device, self.needed_bytes)
    }

    fn rest_after(&self, worked: Duration, device: &DeviceState) -> Duration {
        // The rule is the same in any unit.
        let worked_us = worked.as_micros() as u64;
        Duration::from_micros(self.policy.rest_ms(device, worked_us, self.threads))
    }
}
