//! See `crate::fuzz`.

use super::Record;
use super::segment::{Item, begin};
use crate::seal::{Seal, SealError};

pub(crate) fn segment(
    seal: &Seal,
    frames: &[(u8, u16, Vec<u8>)],
    footer: bool,
) -> Result<Vec<u8>, SealError> {
    let (_, mut encoder) = begin(seal, 77, 77)?;
    let mut bytes = encoder.header().to_vec();
    for (kind, schema, archive) in frames {
        encoder.frame(&Item::new(*kind, *schema, archive)?, &mut bytes);
    }
    if footer {
        encoder.footer(&mut bytes);
    }
    Ok(bytes)
}

pub(crate) fn archive(record: &Record) -> (u8, u16, Vec<u8>) {
    (record.kind(), record.schema(), record.archive().to_vec())
}
