//! The reader of GGUF on any bytes.

use sapwood_models::gguf::{Value, fingerprint};
use sapwood_models::{Arch, Gguf, GgufWriter, Template, Tokenizer};

/// The bytes are the file.
pub fn gguf(file: &[u8]) {
    let read = Gguf::parse(file);
    match (&read, Gguf::parse(file)) {
        (Err(error), again) => {
            assert_eq!(again.as_ref().err(), Some(error), "the same bytes, the same answer");
            // Messages are made of names that the file chose.
            assert!(error.to_string().len() < 4096, "a message of any length");
        }
        (Ok(gguf), Ok(_)) => whole(gguf, file),
        (Ok(_), Err(error)) => panic!("accepted, then refused: {error}"),
    }
}

/// Everything that is read of an accepted file.
pub fn whole(gguf: &Gguf, file: &[u8]) {
    for (key, value) in gguf.metadata() {
        if let Value::Array(array) = value {
            for index in [0, array.len() / 2, array.len()] {
                let inside = index < array.len();
                assert!(array.get(index).is_none() || inside, "{key}: element {index}");
            }
        }
        let _ = (gguf.opt_u32(key), gguf.opt_u64(key), gguf.opt_f32(key), gguf.opt_bool(key));
        let _ = (gguf.opt_str(key), gguf.opt_f32s(key).map(|values| values.map(Iterator::count)));
        let _ = gguf.opt_strings(key).map(|texts| texts.map(Iterator::count));
    }
    let mut end = gguf.data_start();
    for tensor in gguf.tensors() {
        assert_eq!(tensor.range.start, end.next_multiple_of(gguf.alignment()), "a hole");
        end = tensor.range.end;
        let row = tensor.quant.row_bytes(tensor.cols).expect("whole blocks");
        assert_eq!(tensor.range.len(), row * tensor.rows, "{}", tensor.name);
    }
    fingerprint(gguf, file);
    // What was accepted can be written again, and is the same when it is read back. (As bytes:
    // a float that is not a number is equal to nothing.)
    let copy = written(gguf, file);
    let again = Gguf::parse(&copy).expect("what our writer writes is accepted");
    assert!(written(&again, &copy) == copy, "read back as something else");
    if let Ok(arch) = Arch::from_gguf(gguf) {
        for (name, (rows, cols)) in arch.tensors() {
            let tensor = gguf.tensor(&name).expect("checked");
            assert_eq!((tensor.rows, tensor.cols), (rows, cols), "{name}");
        }
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(gguf) {
        let _ = Template::from_gguf(gguf, &tokenizer);
    }
}

/// Every key and every tensor, through our writer.
fn written(gguf: &Gguf, file: &[u8]) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    gguf.metadata().for_each(|(key, value)| writer.put(key, value));
    for tensor in gguf.tensors() {
        writer.tensor(&tensor.name, tensor.quant, &tensor.dims, &file[tensor.range.clone()]);
    }
    writer.to_bytes()
}
