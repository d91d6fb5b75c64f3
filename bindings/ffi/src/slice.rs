//! What a training slice came to.

use std::time::Duration;

use runtime::learn::trigger;
use runtime::policy::Obstacle;

use crate::id;

/// Something that speaks against training now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Hold {
    /// Nothing fails more often than usual.
    NoNeed,
    /// Too little to learn from.
    FewExamples,
    /// The examples come from too few conversations.
    FewConversations,
    /// It trained a short while ago.
    Cooldown,
    /// Not on external power.
    NotCharging,
    /// Somebody is using the device.
    InUse,
    /// Too little charge.
    LowBattery,
    /// The user asked the system to save power.
    LowPowerMode,
    /// The device is hot.
    TooHot,
    /// Training takes more memory than there is for it.
    TooLittleMemory,
    /// The last slices were killed: it waits longer each time.
    AfterKills,
    /// The user refused to be learned from.
    Refused,
}

impl From<&trigger::Hold> for Hold {
    fn from(hold: &trigger::Hold) -> Hold {
        match hold {
            trigger::Hold::NoNeed => Hold::NoNeed,
            trigger::Hold::FewExamples { .. } => Hold::FewExamples,
            trigger::Hold::FewSessions { .. } => Hold::FewConversations,
            trigger::Hold::Cooldown { .. } => Hold::Cooldown,
            trigger::Hold::Device(obstacle) => obstacle.into(),
            trigger::Hold::Refused => Hold::Refused,
        }
    }
}

impl From<&Obstacle> for Hold {
    fn from(obstacle: &Obstacle) -> Hold {
        match obstacle {
            Obstacle::NotCharging => Hold::NotCharging,
            Obstacle::InUse => Hold::InUse,
            Obstacle::LowBattery { .. } => Hold::LowBattery,
            Obstacle::LowPowerMode => Hold::LowPowerMode,
            Obstacle::TooHot { .. } => Hold::TooHot,
            Obstacle::TooLittleMemory { .. } => Hold::TooLittleMemory,
            Obstacle::AfterKills { .. } => Hold::AfterKills,
        }
    }
}

/// What a slice came to.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Outcome {
    /// Nothing was done.
    Waiting {
        /// Why not.
        holds: Vec<Hold>,
    },
    /// The next slice goes on.
    Paused {
        /// What of the device ended it; empty: time was over, or a stop was asked for.
        holds: Vec<Hold>,
    },
    /// A new adapter is in force, on probation.
    Promoted {
        /// Which.
        adapter: String,
    },
    /// A new adapter was made and was not good enough.
    Rejected,
}

/// What a slice did.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct SliceReport {
    /// What it came to.
    pub outcome: Outcome,
    /// The same in one English line with figures, for logs and developers.
    pub summary: String,
    /// Updates that the run has made, in all slices.
    pub step: u32,
    /// Updates that the run takes.
    pub steps: u32,
    /// Mean loss of each update so far.
    pub losses: Vec<f32>,
    /// Tokens trained on in this slice.
    pub tokens: u64,
    /// Examples that the run learns from.
    pub examples: u32,
    /// Examples that it can't learn from: too long for the context, or refused by the template.
    pub left_out: u32,
    /// Time spent training in this slice.
    pub train_time: Duration,
}

impl From<runtime::SliceReport> for SliceReport {
    fn from(report: runtime::SliceReport) -> SliceReport {
        let summary = summary(&report);
        let outcome = match report.outcome {
            runtime::Outcome::Waiting(decision) => {
                Outcome::Waiting { holds: decision.hold.iter().map(Hold::from).collect() }
            }
            runtime::Outcome::Paused => {
                Outcome::Paused { holds: report.obstacles.iter().map(Hold::from).collect() }
            }
            runtime::Outcome::Promoted { adapter, .. } => {
                Outcome::Promoted { adapter: id::adapter_text(&adapter) }
            }
            runtime::Outcome::Rejected { .. } => Outcome::Rejected,
        };
        SliceReport {
            outcome,
            summary,
            step: report.step,
            steps: report.steps,
            losses: report.losses,
            tokens: report.tokens,
            examples: report.examples,
            left_out: report.left_out,
            train_time: report.train_time,
        }
    }
}

/// One line: a verdict is a table otherwise.
fn summary(report: &runtime::SliceReport) -> String {
    match &report.outcome {
        runtime::Outcome::Waiting(_) | runtime::Outcome::Paused => report.to_string(),
        runtime::Outcome::Promoted { verdict, .. } => format!("promoted: {}", verdict.guarantee()),
        runtime::Outcome::Rejected { verdict } => {
            let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
            format!("rejected: {}", reasons.join("; "))
        }
    }
}
