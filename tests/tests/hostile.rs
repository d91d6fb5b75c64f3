//! Published attacks on readers of models, adapters, vocabularies and templates: each ends in a
//! typed error that names what is wrong.

#![allow(clippy::unwrap_used)]

#[path = "../hostile/mod.rs"]
mod hostile;

use std::fmt::{Debug, Display};

use hostile::adapters::adapter;
use hostile::cases;
use hostile::file::Encoded;
use hostile::small::{ARCHITECTURES, Shape};
use sapwood_kernels::Device;
use sapwood_models::{AdapterFile, Arch, Gguf, Mapped, Message, Model, Role, Template, Tokenizer};

/// An error as a program sees it and as a person does.
#[derive(Debug)]
struct Refusal {
    variant: String,
    message: String,
}

impl<E: Debug + Display> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { variant: format!("{error:?}"), message: error.to_string() }
    }
}

/// Everything that opening a model, a vocabulary or an adapter looks at, one after the other.
fn read(file: &[u8]) -> Result<(), Refusal> {
    let gguf = Gguf::parse(file)?;
    if gguf.opt_str("general.type")? == Some("adapter") {
        let base = Arch::from_gguf(&Gguf::parse(&Shape::fixed("llama").describe().write())?)?;
        AdapterFile::parse(file, &base)?;
        return Ok(());
    }
    Arch::from_gguf(&gguf)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let template = Template::from_gguf(&gguf, &tokenizer)?;
    template.render(&[Message::new(Role::User, "hello")], true)?;
    Ok(())
}

#[test]
fn every_published_attack_is_refused_by_name() {
    let cases = cases();
    let mut complaints = Vec::new();
    for case in &cases {
        let (variant, named) = case.error;
        match read(&case.file) {
            Ok(()) => complaints.push(format!("{}: accepted", case.name)),
            Err(refusal) => {
                let right = refusal.variant.contains(variant) && refusal.message.contains(named);
                if !right {
                    let Refusal { variant, message } = refusal;
                    complaints.push(format!("{}: {variant}: {message}", case.name));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    let mut sources: Vec<&str> = cases.iter().map(|case| case.source).collect();
    sources.sort_unstable();
    sources.dedup();
    println!("MEASURED: {} attacks of {} sources refused", cases.len(), sources.len());
    assert!(cases.len() >= 30);
}

/// No error of a reader is made of more than a name that the file chose.
#[test]
fn no_message_is_longer_than_a_line_or_two() {
    for case in cases() {
        let message = read(&case.file).unwrap_err().message;
        assert!(message.len() < 700, "{}: {message}", case.name);
    }
}

/// Without their change the files are proper: it is the change that is refused.
#[test]
fn what_the_attacks_are_made_from_is_accepted() {
    let device = Device::cpu(Some(1));
    for architecture in ARCHITECTURES {
        for sentence_piece in [false, true] {
            let shape = Shape { sentence_piece, ..Shape::fixed(architecture) };
            let file = shape.describe().write();
            assert!(read(&file).is_ok(), "{architecture}: {:?}", read(&file));
            let model = Model::from_mapped(Mapped::from_vec(file), &device).unwrap();
            let mut cache = model.cache(4);
            let logits = model.step(&mut cache, None, &[1, 2]).unwrap();
            assert!(logits.iter().all(|logit| logit.is_finite()), "{architecture}");
        }
    }
    read(&adapter().write()).unwrap();
}

/// A header is read from a copy, so no page size matters there; weights are taken from wherever
/// they lie. With the data on no page's boundary, and the file of no whole number of pages, they
/// are the same.
#[test]
fn a_mapping_assumes_no_size_of_pages() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu(Some(1));
    let logits = |mapped: Mapped| {
        let model = Model::from_mapped(mapped, &device).unwrap();
        let mut cache = model.cache(4);
        model.step(&mut cache, None, &[1, 2]).unwrap()
    };
    let mut file = Shape::fixed("llama").describe();
    let path = folder.path().join("model.gguf");
    for pad in [0, 1, 4096, 16_384 - 7] {
        file.set("general.name", Encoded::text(&vec![b'x'; pad]));
        let bytes = file.write();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(mapped.bytes().len(), bytes.len());
        assert_eq!(logits(mapped), logits(Mapped::from_vec(bytes)), "{pad} bytes of a name");
        std::fs::remove_file(&path).unwrap();
    }
}
