//! What makes a model that model, in 32 bytes.

use ring::digest::{Context, SHA256};

use super::Gguf;

/// SHA-256 over all that decides what the model of a file computes: architecture,
/// hyper-parameters, tokenizer and chat template, tensor table, tensor data.
///
/// Names, licences, alignment and padding do not count: two files with the same fingerprint are
/// the same base for an adapter. Reads all of `file`, about a second per gigabyte or two.
///
/// # Panics
/// If `gguf` was not parsed from `file`.
pub fn fingerprint(gguf: &Gguf, file: &[u8]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(b"sapwood base 1");
    let architecture = gguf.opt_str("general.architecture").ok().flatten().unwrap_or_default();
    let prefix = format!("{architecture}.");
    let mut metadata: Vec<_> = gguf
        .metadata()
        .filter(|(key, _)| {
            *key == "general.architecture"
                || key.starts_with(&prefix)
                || key.starts_with("tokenizer.")
        })
        .collect();
    metadata.sort_by_key(|(key, _)| *key);
    number(&mut hash, metadata.len());
    for (key, value) in metadata {
        text(&mut hash, key);
        value.encode(&mut |bytes| hash.update(bytes));
    }
    number(&mut hash, gguf.tensors().len());
    for tensor in gguf.tensors() {
        text(&mut hash, &tensor.name);
        hash.update(&tensor.quant.ggml_type().to_le_bytes());
        number(&mut hash, tensor.dims.len());
        tensor.dims.iter().for_each(|&dim| number(&mut hash, dim));
    }
    for tensor in gguf.tensors() {
        hash.update(&file[tensor.range.clone()]);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

fn number(hash: &mut Context, value: usize) {
    hash.update(&(value as u64).to_le_bytes());
}

/// With its length, so that no two lists of texts have the same bytes.
fn text(hash: &mut Context, text: &str) {
    number(hash, text.len());
    hash.update(text.as_bytes());
}
