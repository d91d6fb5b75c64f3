//! Bringing a model into the app's own folder.

use sapwood_models::import::{self, ImportError};

use crate::error::LearnerError;
use crate::fence::Fence;
use crate::id;

/// How a model comes into the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Take {
    /// Under a second name for the same bytes, which takes no room: for a file that the app itself
    /// has downloaded. It is read-only then under its old name too. Where that can't be, it is
    /// copied.
    Link,
    /// By copying it: for a file that belongs to somebody else.
    Copy,
}

impl From<Take> for import::Take {
    fn from(take: Take) -> import::Take {
        match take {
            Take::Link => import::Take::Link,
            Take::Copy => import::Take::Copy,
        }
    }
}

/// A model in the app's folder.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ImportedModel {
    /// What `Config.model` should say.
    pub path: String,
    /// SHA-256 of all its bytes.
    pub digest: String,
}

/// Brings the GGUF file at `source` into `folder` (a folder for models alone, on the file system of
/// the device), named by its digest, read-only, durable when this returns. It is read whole, so this
/// takes a while. What is there already is left alone if it is whole. Opening it later notices
/// whether anybody has written to it.
#[uniffi::export]
pub fn import_model(
    source: String,
    folder: String,
    take: Take,
) -> Result<ImportedModel, LearnerError> {
    Fence::default().call(|| {
        let imported = import::import(source, folder, take.into())?;
        let path = imported.path.into_os_string().into_string();
        let path = path.map_err(|_| LearnerError::invalid("folder is not UTF-8"))?;
        Ok::<_, LearnerError>(ImportedModel { path, digest: id::adapter_text(&imported.digest) })
    })
}

impl From<ImportError> for LearnerError {
    fn from(error: ImportError) -> LearnerError {
        let detail = error.to_string();
        match error {
            ImportError::Map(_) | ImportError::Gguf(_) => LearnerError::Model { detail },
            _ => LearnerError::Storage { detail },
        }
    }
}
