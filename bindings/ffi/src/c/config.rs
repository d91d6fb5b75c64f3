//! What a learner is opened with, and how the device is.

use std::ffi::c_char;
use std::time::Duration;

use super::keys::{provider, sapwood_key_provider};
use super::memory::{Sized32, optional_text, read, text, write};
use super::status::status;
use crate::config::{Config, IdlePolicy, TrainPolicy};
use crate::device::{Device, DeviceState, Thermal};
use crate::error::LearnerError;

/// Everything a learner is opened with: a folder, and one of `key`, `passphrase` and
/// `key_provider` to seal it. Set the rest to 0 for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_config {
    /// sizeof(sapwood_config)
    pub size: u32,
    /// Most tokens of prompt and reply together; 0: 2048.
    pub context_tokens: u32,
    /// Folder of all that is kept; made if it is absent. Keep it out of backups.
    pub folder: *const c_char,
    /// 32 random bytes, the same every time; or NULL. Keep them secret, outside the folder.
    pub key: *const u8,
    /// A GGUF model file; NULL: the model in the library.
    pub model: *const c_char,
    /// Compute threads; 0: one per core.
    pub threads: u32,
    /// Not 0: past exchanges are not shown to the model again.
    pub no_retrieval: u32,
    /// When and how it trains; NULL: the defaults.
    pub training: *const sapwood_training,
    /// What the device must be like for it; NULL: the defaults.
    pub idle: *const sapwood_idle_policy,
    /// How long what the user did is kept, in milliseconds, twelve hours at least; 0: 90 days. What
    /// was learned from it stays.
    pub keep_ms: u64,
    /// Most bytes of it on disk: beyond, the oldest goes; 0: 32 MiB.
    pub keep_bytes: u64,
    /// What somebody types, for desktops and tests; or NULL.
    pub passphrase: *const c_char,
    /// The platform's key store; or NULL. Only with it can what was forgotten be shredded.
    pub key_provider: *const sapwood_key_provider,
    /// Where the model computes: one of SAPWOOD_DEVICE_.
    pub device: u32,
}

/// When and how a learner trains. 0 stands for the default wherever no other meaning is named.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_training {
    /// sizeof(sapwood_training)
    pub size: u32,
    /// Examples that one kind of request needs before it is worth a run; 0: 12.
    pub examples: u32,
    /// Conversations that they come from, at least; 0: 2.
    pub conversations: u32,
    /// Most updates in a run; 0: 200.
    pub steps: u32,
    /// Examples per update; 0: 8.
    pub batch: u32,
    /// Rank of the adapter, 1 to 256; 0: 8.
    pub rank: u32,
    /// Peak learning rate; 0: 0.001.
    pub learning_rate: f32,
    /// Updates between two checkpoints; 0: 10.
    pub checkpoint_steps: u32,
    /// Not 0: replies have one right text (labels, JSON), and a candidate is held to it.
    pub exact: u32,
    /// Not 0: no rest between two runs.
    pub no_cooldown: u32,
    /// Rest between two runs in milliseconds; 0: a day.
    pub cooldown_ms: u64,
    /// Most times that a run sees one example; 0: 3.
    pub passes: u32,
}

/// What the device must be like for training, and how much of it training may take. Begin with
/// `sapwood_idle_policy_init`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_idle_policy {
    /// sizeof(sapwood_idle_policy)
    pub size: u32,
    /// 0: also on battery.
    pub need_charging: u32,
    /// 0: also while somebody uses the device.
    pub need_idle: u32,
    /// Not below this charge, where it is known.
    pub least_battery_percent: u32,
    /// Not when it is hotter: one of SAPWOOD_THERMAL_.
    pub hottest: u32,
    /// Most memory that training may take beside the model's file; 0: half of `free_memory_bytes`,
    /// if that is known. A slice that would take more does not begin.
    pub memory_bytes: u64,
    /// Share of one core, unless the device is charging and cool. Above 0; 2 is two cores.
    pub cpu_share: f64,
    /// Rest after the second slice in a row that was killed; four times as long after each further
    /// one, a day at most.
    pub back_off_ms: u64,
}

/// The device as the program sees it now. All 0: a device on battery that is in use.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_device_state {
    /// sizeof(sapwood_device_state)
    pub size: u32,
    /// Not 0: on external power.
    pub charging: u32,
    /// Not 0: nobody is using the device.
    pub idle: u32,
    /// Not 0: the user asked the system to save power.
    pub low_power_mode: u32,
    /// One of SAPWOOD_THERMAL_.
    pub thermal: u32,
    /// Charge of the battery, 1 to 100; 0: unknown, or there is none.
    pub battery_percent: u32,
    /// What the system would let the process take in addition; 0: unknown.
    pub free_memory_bytes: u64,
    /// Not 0: the GPU may not be used now; work goes on with the processor.
    pub gpu_forbidden: u32,
}

/// Where each kind of work is faster, if the library was built with GPU support; else the processor.
pub const SAPWOOD_DEVICE_AUTO: u32 = 0;
/// The processor.
pub const SAPWOOD_DEVICE_CPU: u32 = 1;
/// The GPU, even one that the processor emulates; without one, opening fails.
pub const SAPWOOD_DEVICE_GPU: u32 = 2;

/// Cool.
pub const SAPWOOD_THERMAL_NOMINAL: u32 = 0;
/// Warm; nothing is throttled yet.
pub const SAPWOOD_THERMAL_FAIR: u32 = 1;
/// Hot: the system slows down.
pub const SAPWOOD_THERMAL_SERIOUS: u32 = 2;
/// Too hot.
pub const SAPWOOD_THERMAL_CRITICAL: u32 = 3;

// SAFETY: numbers and raw pointers behind the size.
unsafe impl Sized32 for sapwood_config {}
// SAFETY: numbers behind the size.
unsafe impl Sized32 for sapwood_training {}
// SAFETY: numbers behind the size.
unsafe impl Sized32 for sapwood_idle_policy {}
// SAFETY: numbers behind the size.
unsafe impl Sized32 for sapwood_device_state {}

/// # Safety
/// As the header says of `sapwood_open`.
pub(super) unsafe fn config(given: *const sapwood_config) -> Result<Config, LearnerError> {
    let null = std::ptr::null();
    let defaults = sapwood_config {
        size: 0,
        context_tokens: 0,
        folder: null,
        key: std::ptr::null(),
        model: null,
        threads: 0,
        no_retrieval: 0,
        training: std::ptr::null(),
        idle: std::ptr::null(),
        keep_ms: 0,
        keep_bytes: 0,
        passphrase: null,
        key_provider: std::ptr::null(),
        device: SAPWOOD_DEVICE_AUTO,
    };
    // SAFETY: the caller's promise, here and for every pointer in it.
    unsafe {
        let given = read(given, defaults, "sapwood_config")?;
        let key = given.key;
        Ok(Config {
            folder: text(given.folder, "folder")?,
            key: (!key.is_null()).then(|| std::slice::from_raw_parts(key, 32).to_vec()),
            passphrase: optional_text(given.passphrase, "passphrase")?,
            key_provider: if given.key_provider.is_null() {
                None
            } else {
                Some(provider(given.key_provider)?)
            },
            model: optional_text(given.model, "model")?,
            context_tokens: if given.context_tokens == 0 { 2048 } else { given.context_tokens },
            threads: (given.threads != 0).then_some(given.threads),
            device: Some(wanted(given.device)?),
            retrieval: given.no_retrieval == 0,
            anchors: Vec::new(),
            training: if given.training.is_null() { None } else { Some(training(given.training)?) },
            idle: if given.idle.is_null() { None } else { Some(idle(given.idle)?) },
            keep_for: (given.keep_ms > 0).then_some(Duration::from_millis(given.keep_ms)),
            keep_bytes: (given.keep_bytes > 0).then_some(given.keep_bytes),
        })
    }
}

/// # Safety
/// `given` points to as many bytes as it says.
unsafe fn training(given: *const sapwood_training) -> Result<TrainPolicy, LearnerError> {
    let defaults = sapwood_training {
        size: 0,
        examples: 0,
        conversations: 0,
        steps: 0,
        batch: 0,
        rank: 0,
        learning_rate: 0.0,
        checkpoint_steps: 0,
        exact: 0,
        no_cooldown: 0,
        cooldown_ms: 0,
        passes: 0,
    };
    // SAFETY: the caller's promise.
    let given = unsafe { read(given, defaults, "sapwood_training") }?;
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let known = TrainPolicy::default();
    let rest = Duration::from_millis(given.cooldown_ms);
    Ok(TrainPolicy {
        examples: or(given.examples, known.examples),
        conversations: or(given.conversations, known.conversations),
        cooldown: (given.no_cooldown != 0 || given.cooldown_ms != 0)
            .then_some(if given.no_cooldown != 0 { Duration::ZERO } else { rest }),
        steps: or(given.steps, known.steps),
        passes: or(given.passes, known.passes),
        batch: or(given.batch, known.batch),
        rank: or(given.rank, known.rank),
        learning_rate: if given.learning_rate == 0.0 {
            known.learning_rate
        } else {
            given.learning_rate
        },
        checkpoint_steps: or(given.checkpoint_steps, known.checkpoint_steps),
        exact: given.exact != 0,
    })
}

/// Fills in the defaults.
// SAFETY: `policy` is as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_idle_policy_init(policy: *mut sapwood_idle_policy) -> i32 {
    status(|| {
        // SAFETY: the caller's promise.
        unsafe { write(&idle_defaults(), policy, "sapwood_idle_policy") }
    })
}

fn idle_defaults() -> sapwood_idle_policy {
    let known = runtime::policy::Policy::default();
    sapwood_idle_policy {
        size: 0,
        need_charging: u32::from(known.need_charging),
        need_idle: u32::from(known.need_idle),
        least_battery_percent: u32::from(known.least_battery_percent),
        hottest: known.hottest as u32,
        memory_bytes: known.memory_bytes.unwrap_or(0),
        cpu_share: known.cpu_share,
        back_off_ms: known.back_off_ms,
    }
}

/// # Safety
/// `given` points to as many bytes as it says.
unsafe fn idle(given: *const sapwood_idle_policy) -> Result<IdlePolicy, LearnerError> {
    // SAFETY: the caller's promise.
    let given = unsafe { read(given, idle_defaults(), "sapwood_idle_policy") }?;
    let least = u8::try_from(given.least_battery_percent)
        .map_err(|_| LearnerError::invalid("least_battery_percent is above 100"))?;
    Ok(IdlePolicy {
        need_charging: given.need_charging != 0,
        need_idle: given.need_idle != 0,
        least_battery_percent: least,
        hottest: Some(thermal(given.hottest, "hottest")?),
        memory_bytes: (given.memory_bytes > 0).then_some(given.memory_bytes),
        cpu_share: given.cpu_share,
        back_off: Some(Duration::from_millis(given.back_off_ms)),
    })
}

fn wanted(number: u32) -> Result<Device, LearnerError> {
    match number {
        SAPWOOD_DEVICE_AUTO => Ok(Device::Auto),
        SAPWOOD_DEVICE_CPU => Ok(Device::Cpu),
        SAPWOOD_DEVICE_GPU => Ok(Device::Gpu),
        _ => Err(LearnerError::invalid("device is none of SAPWOOD_DEVICE_")),
    }
}

fn thermal(number: u32, name: &str) -> Result<Thermal, LearnerError> {
    match number {
        SAPWOOD_THERMAL_NOMINAL => Ok(Thermal::Nominal),
        SAPWOOD_THERMAL_FAIR => Ok(Thermal::Fair),
        SAPWOOD_THERMAL_SERIOUS => Ok(Thermal::Serious),
        SAPWOOD_THERMAL_CRITICAL => Ok(Thermal::Critical),
        _ => Err(LearnerError::invalid(format!("{name} is none of SAPWOOD_THERMAL_"))),
    }
}

/// # Safety
/// `given` points to as many bytes as it says.
pub(super) unsafe fn device(
    given: *const sapwood_device_state,
) -> Result<DeviceState, LearnerError> {
    let defaults = sapwood_device_state {
        size: 0,
        charging: 0,
        idle: 0,
        low_power_mode: 0,
        thermal: 0,
        battery_percent: 0,
        free_memory_bytes: 0,
        gpu_forbidden: 0,
    };
    // SAFETY: the caller's promise.
    let given = unsafe { read(given, defaults, "sapwood_device_state") }?;
    if given.battery_percent > 100 {
        return Err(LearnerError::invalid("battery_percent is above 100"));
    }
    Ok(DeviceState {
        charging: given.charging != 0,
        idle: given.idle != 0,
        low_power_mode: given.low_power_mode != 0,
        thermal: thermal(given.thermal, "thermal")?,
        battery_percent: (given.battery_percent > 0).then_some(given.battery_percent as u8),
        free_memory_bytes: (given.free_memory_bytes > 0).then_some(given.free_memory_bytes),
        gpu_allowed: given.gpu_forbidden == 0,
    })
}
