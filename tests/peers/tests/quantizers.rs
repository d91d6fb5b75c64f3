//! Our quantizers and dequantizers against llama.cpp's, on files that both write and read.

use std::collections::BTreeMap;

use sapwood_kernels::Quant;
use sapwood_models::Gguf;
use sapwood_peers::quantize::{Recipe, quantize};
use sapwood_peers::random::{BYTE_TOKENS, Shape, write_model};

/// Data of every matrix by name.
fn matrices(bytes: &[u8], quant: Quant) -> BTreeMap<String, Vec<u8>> {
    let gguf = Gguf::parse(bytes).unwrap();
    let of_type = gguf.tensors().iter().filter(|t| t.quant == quant && t.rows > 1);
    of_type.map(|t| (t.name.clone(), bytes[t.range.clone()].to_vec())).collect()
}

/// Both quantize the same F32 model. The files must agree byte for byte, but for the rare block
/// where a compiler that fuses multiply and add rounds the other way: that block's values must
/// then still be within one step of the type.
#[test]
fn our_quantizers_write_what_llama_cpp_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, theirs) = (folder.path().join("f32.gguf"), folder.path().join("theirs.gguf"));
    let shape = Shape::SMALL[0].1;
    write_model(&source, &shape, BYTE_TOKENS, Quant::F32, 1).unwrap();
    for quant in Quant::ALL.into_iter().filter(|q| q.can_quantize() && *q != Quant::F32) {
        quantize(&source, &theirs, Recipe::Pure(quant.name())).unwrap();
        let ours = folder.path().join("ours.gguf");
        write_model(&ours, &shape, BYTE_TOKENS, quant, 1).unwrap();
        let theirs = matrices(&std::fs::read(&theirs).unwrap(), quant);
        let ours = matrices(&std::fs::read(&ours).unwrap(), quant);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        let (mut blocks, mut differ) = (0, 0);
        for (name, ours) in &ours {
            let pairs =
                ours.chunks(quant.block_bytes()).zip(theirs[name].chunks(quant.block_bytes()));
            for (a, b) in pairs {
                blocks += 1;
                if a != b {
                    differ += 1;
                    assert!(close(quant, a, b), "{} {name}: a block is wrong", quant.name());
                }
            }
        }
        println!("MEASURED: {}: {differ} of {blocks} blocks differ from ggml's", quant.name());
        assert!(differ * 200 <= blocks, "{}: too many blocks differ", quant.name());
    }
}

fn close(quant: Quant, a: &[u8], b: &[u8]) -> bool {
    let values = |bytes: &[u8]| {
        let mut out = vec![0.0; quant.block_len()];
        quant.dequantize(bytes, &mut out);
        out
    };
    let (a, b) = (values(a), values(b));
    let largest = a.iter().chain(&b).fold(0.0_f32, |m, x| m.max(x.abs()));
    a.iter().zip(&b).all(|(x, y)| (x - y).abs() <= largest / 7.0)
}

/// What ggml wrote in each block type is, dequantized by us, near what it was made from.
#[test]
fn our_dequantizers_read_what_llama_cpp_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, coded) = (folder.path().join("f32.gguf"), folder.path().join("coded.gguf"));
    write_model(&source, &Shape::SMALL[0].1, BYTE_TOKENS, Quant::F32, 2).unwrap();
    let exact = matrices(&std::fs::read(&source).unwrap(), Quant::F32);
    // Relative error that the bits of the type leave on gaussian weights, with a third to spare.
    let bounds = [
        (Quant::F16, 3e-4),
        (Quant::BF16, 2.3e-3),
        (Quant::Q8_0, 7e-3),
        (Quant::Q6_K, 0.023),
        (Quant::Q5_K, 0.045),
        (Quant::Q5_1, 0.048),
        (Quant::Q5_0, 0.055),
        (Quant::Q4_K, 0.09),
        (Quant::Q4_1, 0.1),
        (Quant::Q4_0, 0.12),
    ];
    assert_eq!(bounds.len(), Quant::ALL.len() - 1, "a block type without a bound");
    for (quant, bound) in bounds {
        quantize(&source, &coded, Recipe::Pure(quant.name())).unwrap();
        let coded = matrices(&std::fs::read(&coded).unwrap(), quant);
        assert_eq!(coded.len(), exact.len(), "{}: llama.cpp fell back", quant.name());
        let (mut error, mut power) = (0.0, 0.0);
        for (name, want) in &exact {
            let want = want.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let want: Vec<f32> = want.collect();
            let mut got = vec![0.0; want.len()];
            quant.dequantize(&coded[name], &mut got);
            for (g, w) in got.iter().zip(&want) {
                error += f64::from(g - w).powi(2);
                power += f64::from(*w).powi(2);
            }
        }
        let relative = (error / power).sqrt();
        println!("MEASURED: {}: relative error {relative:.2e} (bound {bound:.1e})", quant.name());
        assert!(relative < bound, "{}: {relative} > {bound}", quant.name());
        assert!(relative > bound / 3.0, "{}: {relative}: too good to be this type", quant.name());
    }
}
