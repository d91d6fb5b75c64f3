//! What the host tells about the device, and whether it may be used for training.

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
}

impl Default for DeviceState {
    fn default() -> Self {
        DeviceState { charging: true, idle: true, low_power_mode: false, thermal: Thermal::Nominal }
    }
}

impl DeviceState {
    /// Whether the system lets the processor run as fast as it can.
    pub fn is_at_full_speed(&self) -> bool {
        !self.low_power_mode && self.thermal < Thermal::Serious
    }

    /// Training is for devices that are plugged in, unused and cool.
    pub fn allows_training(&self) -> bool {
        self.charging && self.idle && self.is_at_full_speed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_obstacle_forbids_training() {
        let ready = DeviceState::default();
        assert!(ready.allows_training());
        let obstacles = [
            DeviceState { charging: false, ..ready },
            DeviceState { idle: false, ..ready },
            DeviceState { low_power_mode: true, ..ready },
            DeviceState { thermal: Thermal::Serious, ..ready },
            DeviceState { thermal: Thermal::Critical, ..ready },
        ];
        assert!(obstacles.iter().all(|state| !state.allows_training()));
    }
}
