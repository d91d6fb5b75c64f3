//! See `crate::fuzz`.

use rkyv::rancor;

use super::manifest::Manifest;
use super::slots::seal_slot;
use super::{Course, Generation, Probation};
use crate::seal::{Seal, SealError};

pub(crate) fn slot(seal: &Seal, sequence: u64, archive: &[u8]) -> Result<Vec<u8>, SealError> {
    seal_slot(seal, sequence, archive)
}

pub(crate) fn manifest(sequence: u64, tries_left: u8, generations: Vec<Generation>) -> Vec<u8> {
    let next_number = generations.len() as u64 + 1;
    let base = generations.first().map_or([0; 32], |known| known.base);
    let probation = Probation { tries_left, ..Probation::default() };
    let courses = vec![Course { probation, ..Course::of(base) }];
    let manifest = Manifest { sequence, next_number, generations, courses, ..Manifest::default() };
    let archive = rkyv::to_bytes::<rancor::Error>(&manifest);
    archive.expect("plain data always archives").into_vec()
}
