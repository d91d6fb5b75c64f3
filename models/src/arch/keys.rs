//! Hyper-parameters by the name they have in one architecture, each within its range.

use std::ops::RangeInclusive;

use super::error::ArchError;
use crate::gguf::Gguf;

/// The keys of a file that start with the architecture's name.
pub(super) struct Keys<'a> {
    pub gguf: &'a Gguf,
    pub architecture: &'static str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A count within `range`; the key must exist.
    pub fn count(&self, key: &str, range: RangeInclusive<u64>) -> Result<usize, ArchError> {
        let found = self.gguf.u32(&self.full(key))?;
        self.within(key, found, range)
    }

    /// A count within `range`, if the key exists.
    pub fn opt_count(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<usize>, ArchError> {
        let found = self.gguf.opt_u32(&self.full(key))?;
        found.map(|found| self.within(key, found, range)).transpose()
    }

    fn within(
        &self,
        key: &str,
        found: u32,
        range: RangeInclusive<u64>,
    ) -> Result<usize, ArchError> {
        let found = u64::from(found);
        if range.contains(&found) {
            return Ok(found as usize);
        }
        let (min, max) = range.into_inner();
        Err(ArchError::OutOfRange { key: self.full(key), found, min, max })
    }

    /// A finite float above zero, if the key exists.
    pub fn opt_positive(&self, key: &str) -> Result<Option<f32>, ArchError> {
        match self.gguf.opt_f32(&self.full(key))? {
            Some(found) if !(found.is_finite() && found > 0.0) => {
                let wanted = "finite and above zero";
                Err(ArchError::BadFloat { key: self.full(key), found, wanted })
            }
            other => Ok(other),
        }
    }

    /// A float strictly between zero and `below`; the key must exist.
    pub fn fraction(&self, key: &str, below: f32) -> Result<f32, ArchError> {
        let found = self.gguf.f32(&self.full(key))?;
        if found > 0.0 && found < below {
            return Ok(found);
        }
        let wanted = "above zero and below 0.1";
        Err(ArchError::BadFloat { key: self.full(key), found, wanted })
    }

    /// A text, if the key exists.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, ArchError> {
        Ok(self.gguf.opt_str(&self.full(key))?)
    }

    /// That a key asks for what we do not compute.
    pub fn unsupported(&self, key: &str, feature: impl Into<String>) -> ArchError {
        ArchError::UnsupportedFeature { key: self.full(key), feature: feature.into() }
    }
}
