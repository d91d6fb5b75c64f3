//! Adapter files against a small base.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use sapwood_models::{AdapterFile, LayerTensor, Mapped, Model};

use crate::hostile::file::{Description, Encoded};
use crate::hostile::small::Shape;
use crate::model::DEVICE;
use crate::mutate::mutate;

static BASE: LazyLock<Model> = LazyLock::new(|| {
    let file = Shape::fixed("llama").describe().write();
    Model::from_mapped(Mapped::from_vec(file), &*DEVICE).expect("nothing is wrong with it")
});

/// The first byte: the rest is the file, or describes one.
pub fn adapter(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, file)) => read(file),
        Some((_, rest)) => {
            if let Ok(file) = describe(&mut Unstructured::new(rest)) {
                read(&file);
            }
        }
        None => {}
    }
}

fn describe(input: &mut Unstructured) -> arbitrary::Result<Vec<u8>> {
    let mut file = proper(input)?;
    for _ in 0..input.int_in_range(0..=3)? {
        mutate(&mut file, input)?;
    }
    Ok(file.write())
}

fn proper(input: &mut Unstructured) -> arbitrary::Result<Description> {
    let mut file = Description::default();
    file.set("general.type", Encoded::text(b"adapter"));
    file.set("general.architecture", Encoded::text(b"llama"));
    file.set("adapter.type", Encoded::text(b"lora"));
    file.set("adapter.lora.alpha", Encoded::f32(16.0));
    if bool::arbitrary(input)? {
        let digest = Encoded::text(&[b'a'; 64]);
        file.set("sapwood.base_fingerprint", digest.clone());
        file.set("sapwood.template_digest", digest.clone());
        file.set("sapwood.parent", digest);
        file.set("sapwood.lineage", Encoded::strings(&["e1", "e2"]));
    }
    let rank = input.int_in_range(1..=4)?;
    for tensor in LayerTensor::ALL.into_iter().filter(|tensor| tensor.is_linear()) {
        if !bool::arbitrary(input)? {
            continue;
        }
        let (outputs, inputs) = tensor.shape(BASE.arch());
        let name = tensor.full_name(0);
        file.floats(&format!("{name}.lora_a"), &[inputs as u64, rank]);
        file.floats(&format!("{name}.lora_b"), &[rank, outputs as u64]);
    }
    Ok(file)
}

fn read(file: &[u8]) {
    let base = &*BASE;
    let Ok(adapter) = AdapterFile::parse(file, base.arch()) else { return };
    let written = adapter.to_bytes();
    let again = AdapterFile::parse(&written, base.arch()).expect("what we write is accepted");
    assert_eq!(again, adapter, "written and read back");
    assert!(
        adapter.check_base(|| [0; 32]).is_ok()
            == adapter.provenance.is_none_or(|known| { known.base_fingerprint == [0; 32] })
    );
    let adapter = AdapterFile { provenance: None, ..again };
    let adapter = base.load_adapter(&adapter).expect("it fits, and names no base");
    let mut cache = base.cache(4);
    let step = base.step(&mut cache, Some(&adapter), &[1, 2]);
    assert_eq!(step.expect("two tokens of the vocabulary").len(), base.arch().vocab);
}
