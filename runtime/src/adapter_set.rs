//! An adapter that replies can be made with.

use sapwood_models::{Adapter, AdapterFile, Model};

use crate::consent::Consent;
use crate::digest::Digest;
use crate::error::LearnerError;
use crate::store::{Reason, Store};

/// The adapter that replies are made with.
pub(crate) struct AdapterSet {
    /// `None` is the bare base model.
    pub adapter: Option<Adapter>,
    /// SHA-256 of the adapter's file, which names its generation.
    pub digest: Option<Digest>,
}

pub(crate) fn load(model: &Model, bytes: &[u8]) -> Result<Adapter, LearnerError> {
    Ok(model.load_adapter(&AdapterFile::parse(bytes, model.arch())?)?)
}

/// The adapter that was confirmed, or the base model.
pub(crate) fn load_confirmed(model: &Model, store: &Store) -> Result<AdapterSet, LearnerError> {
    let digest = store.active().map(|active| active.digest);
    let bytes = digest.map(|digest| store.adapter_bytes(&digest)).transpose()?;
    let adapter = bytes.map(|bytes| load(model, &bytes)).transpose()?;
    Ok(AdapterSet { adapter, digest })
}

/// The adapter that the store names. One that can't be loaded is taken back, and the next best is
/// tried: a broken adapter must not keep the app from its base model. Who refuses to be learned from
/// gets the base model.
pub(crate) fn load_in_force(
    model: &Model,
    store: &mut Store,
    consent: Consent,
) -> Result<AdapterSet, LearnerError> {
    let named = |store: &Store| store.in_force().map(|g| g.digest);
    while let Some(digest) = named(store).filter(|_| consent != Consent::Refused) {
        let loaded = store.adapter_bytes(&digest).map_err(LearnerError::from);
        match loaded.and_then(|bytes| load(model, &bytes)) {
            Ok(adapter) => {
                return Ok(AdapterSet { adapter: Some(adapter), digest: Some(digest) });
            }
            Err(error) => {
                log::error!("an adapter is taken back because it can't be loaded: {error}");
                store.rollback(Reason::Damaged)?;
            }
        }
    }
    Ok(AdapterSet { adapter: None, digest: None })
}

/// An adapter that is loaded is applied: its logits on a fixed probe are finite and differ from
/// the base model's.
pub(crate) fn probe(model: &Model, adapter: &Adapter) -> Result<(), LearnerError> {
    let vocab = model.arch().vocab as u32;
    let ids = [1 % vocab, 7 % vocab, 11 % vocab, 13 % vocab];
    let logits = |adapter| model.step(&mut model.cache(ids.len()), adapter, &ids);
    let (with, without) = (logits(Some(adapter))?, logits(None)?);
    if with.iter().any(|l| !l.is_finite()) {
        return Err(LearnerError::AdapterNotFinite);
    }
    if with == without {
        return Err(LearnerError::AdapterChangesNothing);
    }
    Ok(())
}
