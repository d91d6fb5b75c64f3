//! All that is kept, in the user's hands.

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Exported {
    /// Replies in `turns.json`.
    pub turns: u32,
    /// Files in `adapters/`.
    pub adapters: u32,
    /// Records that only a later version of the library can read; they are not among the turns.
    pub unreadable_records: u32,
}

impl From<runtime::Exported> for Exported {
    fn from(exported: runtime::Exported) -> Exported {
        Exported {
            turns: exported.turns as u32,
            adapters: exported.adapters as u32,
            unreadable_records: exported.unreadable_records as u32,
        }
    }
}
