//! Whether anything may be kept, and learned from.

use crate::journal;

/// Whether the user allowed the library to keep what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nobody asked yet: nothing is stored.
    #[default]
    Unasked,
    /// Interactions and signals are stored, sealed, on this device.
    Granted,
    /// Nothing is stored, nothing that was kept is shown to the model or trained on, and replies
    /// are the base model's. What was kept and learned stays, for a later `Granted`.
    Refused,
}

impl Consent {
    /// As the last word in the journal says it.
    pub(crate) fn of(said: Option<journal::Consent>) -> Consent {
        match said {
            Some(journal::Consent { granted: true, .. }) => Consent::Granted,
            Some(journal::Consent { granted: false, .. }) => Consent::Refused,
            None => Consent::Unasked,
        }
    }
}
