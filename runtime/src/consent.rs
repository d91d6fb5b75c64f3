//! Whether anything may be kept.

/// Whether the user allowed the library to keep what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nobody asked yet: nothing is stored.
    #[default]
    Unasked,
    /// Interactions and signals are stored, sealed, on this device.
    Granted,
    /// Nothing is stored.
    Refused,
}

impl Consent {
    /// As the newest record in the journal says it.
    pub(crate) fn of(granted: Option<bool>) -> Consent {
        match granted {
            Some(true) => Consent::Granted,
            Some(false) => Consent::Refused,
            None => Consent::Unasked,
        }
    }
}
