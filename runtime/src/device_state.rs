//! What the host tells about the device. `policy` decides what follows from it.

use std::fmt;

/// How hot the device is, in the platforms' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thermal {
    /// Cool.
    #[default]
    Nominal,
    /// Warm; nothing is throttled yet.
    Fair,
    /// Hot: the system slows down.
    Serious,
    /// Too hot.
    Critical,
}

impl fmt::Display for Thermal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Thermal::Nominal => "nominal",
            Thermal::Fair => "fair",
            Thermal::Serious => "serious",
            Thermal::Critical => "critical",
        })
    }
}

/// The device as the host sees it now. The default is a desktop at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// On external power.
    pub charging: bool,
    /// Nobody is using the device.
    pub idle: bool,
    /// The user asked the system to save power.
    pub low_power_mode: bool,
    /// How hot it is.
    pub thermal: Thermal,
    /// Charge of the battery, 0 to 100; `None`: unknown, or there is none.
    pub battery_percent: Option<u8>,
    /// What the system would let the process take in addition before it kills it; `None`: unknown.
    pub free_memory_bytes: Option<u64>,
    /// The GPU may be used: not so in the background of systems that end an app for it.
    pub gpu_allowed: bool,
}

impl Default for DeviceState {
    fn default() -> Self {
        DeviceState {
            charging: true,
            idle: true,
            low_power_mode: false,
            thermal: Thermal::Nominal,
            battery_percent: None,
            free_memory_bytes: None,
            gpu_allowed: true,
        }
    }
}

impl DeviceState {
    /// Whether the system lets the processor run as fast as it can.
    pub fn is_at_full_speed(&self) -> bool {
        !self.low_power_mode && self.thermal < Thermal::Serious
    }
}

/// A device that may train: on power, unused, cool.
#[cfg(test)]
pub(crate) const NIGHT: DeviceState = DeviceState {
    charging: true,
    idle: true,
    low_power_mode: false,
    thermal: Thermal::Nominal,
    battery_percent: Some(80),
    free_memory_bytes: Some(1 << 30),
    gpu_allowed: true,
};
