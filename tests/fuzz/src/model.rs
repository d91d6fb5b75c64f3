//! Models that are proper but for one to three fields, through to the logits.

use std::sync::LazyLock;

use arbitrary::Unstructured;
use sapwood_kernels::Device;
use sapwood_models::{Mapped, Model};

use crate::mutate::{mutate, shape};

/// One thread: a fuzzer runs one input at a time.
pub static DEVICE: LazyLock<Device> = LazyLock::new(|| Device::cpu(Some(1)));

/// The bytes describe a shape and what is changed.
pub fn gguf_model(bytes: &[u8]) {
    let Ok(file) = describe(&mut Unstructured::new(bytes)) else { return };
    run(file);
}

fn describe(input: &mut Unstructured) -> arbitrary::Result<Vec<u8>> {
    let mut file = shape(input)?.describe();
    for _ in 0..input.int_in_range(0..=3)? {
        mutate(&mut file, input)?;
    }
    Ok(file.write())
}

/// A model that was accepted computes, whatever its values are.
fn run(file: Vec<u8>) {
    let Ok(model) = Model::from_mapped(Mapped::from_vec(file), &*DEVICE) else { return };
    let vocab = model.arch().vocab;
    let ids = model.tokenizer().encode("hello a", Default::default());
    assert!(ids.iter().all(|&id| (id as usize) < vocab), "{ids:?} of {vocab}");
    // Memory follows from the shapes, which follow from the file; a long table or a wide layer
    // is a large file.
    let mut cache = model.cache(8);
    let step = model.step(&mut cache, None, &[0, vocab as u32 - 1]);
    assert_eq!(step.expect("two tokens of the vocabulary").len(), vocab);
}
