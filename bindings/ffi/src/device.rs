//! How the device is, and how to stop what runs on it.

use std::sync::Arc;

use sapwood_models::Stop;

/// How hot the device is, in the platforms' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Thermal {
    /// Cool.
    Nominal,
    /// Warm; nothing is throttled yet.
    Fair,
    /// Hot: the system slows down.
    Serious,
    /// Too hot.
    Critical,
}

impl From<Thermal> for runtime::Thermal {
    fn from(thermal: Thermal) -> runtime::Thermal {
        match thermal {
            Thermal::Nominal => runtime::Thermal::Nominal,
            Thermal::Fair => runtime::Thermal::Fair,
            Thermal::Serious => runtime::Thermal::Serious,
            Thermal::Critical => runtime::Thermal::Critical,
        }
    }
}

/// Where a model computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, uniffi::Enum)]
pub enum Device {
    /// Where each kind of work is faster, if this library was built with GPU support; else `Cpu`.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU, even one that the processor emulates; without one, opening fails.
    Gpu,
}

impl From<Device> for runtime::placement::Wanted {
    fn from(device: Device) -> runtime::placement::Wanted {
        match device {
            Device::Auto => runtime::placement::Wanted::Auto,
            Device::Cpu => runtime::placement::Wanted::Cpu,
            Device::Gpu => runtime::placement::Wanted::Gpu,
        }
    }
}

/// The device as the app sees it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct DeviceState {
    /// On external power.
    pub charging: bool,
    /// Nobody is using the device.
    pub idle: bool,
    /// The user asked the system to save power.
    #[uniffi(default = false)]
    pub low_power_mode: bool,
    /// How hot it is.
    pub thermal: Thermal,
    /// Charge of the battery, 0 to 100; none: unknown, or there is no battery.
    #[uniffi(default = None)]
    pub battery_percent: Option<u8>,
    /// What the system would let the app take in addition before it kills it; none: unknown.
    #[uniffi(default = None)]
    pub free_memory_bytes: Option<u64>,
    /// The GPU may be used: say no while the app is in the background of a system that ends it for
    /// that, as iOS does. Work goes on with the processor.
    #[uniffi(default = true)]
    pub gpu_allowed: bool,
}

impl From<DeviceState> for runtime::DeviceState {
    fn from(state: DeviceState) -> runtime::DeviceState {
        runtime::DeviceState {
            charging: state.charging,
            idle: state.idle,
            low_power_mode: state.low_power_mode,
            thermal: state.thermal.into(),
            battery_percent: state.battery_percent,
            free_memory_bytes: state.free_memory_bytes,
            gpu_allowed: state.gpu_allowed,
        }
    }
}

/// Asks a slice to end early. It obeys at its next program (a layer of the model over one sequence)
/// and loses nothing that was saved.
#[derive(Debug, uniffi::Object)]
pub struct StopToken {
    pub(crate) stop: Stop,
}

#[uniffi::export]
impl StopToken {
    /// A request that nobody has made yet.
    #[uniffi::constructor]
    pub fn new() -> Arc<StopToken> {
        Arc::new(StopToken { stop: Stop::new() })
    }

    /// Asks for the stop. Can't be taken back: the next slice takes a new token.
    pub fn request(&self) {
        self.stop.request();
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.stop.is_requested()
    }
}
