//! What reading a file costs in memory, and what happens where there is none.
//!
//! The allocator of this test counts, and refuses on demand, for each thread by itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sapwood_kernels::quant::Quant;
use sapwood_models::gguf::{GgufError, Value};
use sapwood_models::{
    AdapterError, AdapterFile, Arch, Gguf, GgufWriter, LayerTensor, Pair, Provenance, Tokenizer,
};

#[derive(Clone, Copy)]
struct Counts {
    live: isize,
    peak: isize,
    /// Allocations of at least `from_bytes` so far.
    made: u64,
    from_bytes: usize,
    /// Which of them is refused, counted from 0.
    refuse: u64,
    /// And all that follow.
    forever: bool,
}

const START: Counts =
    Counts { live: 0, peak: 0, made: 0, from_bytes: 0, refuse: u64::MAX, forever: false };

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(START) };
}

struct Watched;

impl Watched {
    /// Whether an allocation of `bytes` is granted.
    fn grants(bytes: usize) -> bool {
        // The last allocations of a thread come when its counts are gone.
        COUNTS
            .try_with(|cell| {
                let mut counts = cell.get();
                let counted = bytes >= counts.from_bytes;
                let refused = counted
                    && (counts.made == counts.refuse
                        || counts.forever && counts.made > counts.refuse);
                counts.made += u64::from(counted);
                if !refused {
                    counts.live += bytes as isize;
                    counts.peak = counts.peak.max(counts.live);
                }
                cell.set(counts);
                !refused
            })
            .unwrap_or(true)
    }

    fn gone(bytes: usize) {
        let _ = COUNTS.try_with(|cell| {
            let counts = cell.get();
            cell.set(Counts { live: counts.live - bytes as isize, ..counts });
        });
    }
}

// SAFETY: the system's allocator does the work; NULL is what the trait has for a refusal.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Self::grants(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::gone(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if it moved, which it may: old and new are there at the same time.
        if !Self::grants(size) {
            return std::ptr::null_mut();
        }
        Self::gone(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Runs `work` under these conditions and says what was counted.
fn watched<T>(start: Counts, work: impl FnOnce() -> T) -> (T, Counts) {
    COUNTS.set(start);
    let result = work();
    (result, COUNTS.replace(START))
}

/// Tokens, scores, types and merges of a vocabulary as large as any.
fn large_vocabulary() -> Vec<u8> {
    let tokens: Vec<String> = (0..262_144).map(|id| format!("t{id}")).collect();
    let merges: Vec<String> = (0..262_144).map(|id| format!("t{id} t{}", id / 2)).collect();
    let mut writer = GgufWriter::new();
    writer.put("general.architecture", "llama");
    writer.put_strings("tokenizer.ggml.tokens", &tokens);
    writer.put_f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()]);
    writer.put_i32s("tokenizer.ggml.token_type", &vec![1; tokens.len()]);
    writer.put_strings("tokenizer.ggml.merges", &merges);
    writer.to_bytes()
}

#[test]
fn a_header_takes_at_most_four_times_its_bytes() {
    let many_tensors = {
        let mut writer = GgufWriter::new();
        for index in 0..16_384 {
            writer.tensor(&format!("blk.{index}.weight"), Quant::F32, &[1], vec![0; 4]);
        }
        writer.to_bytes()
    };
    let many_keys = {
        let mut writer = GgufWriter::new();
        (0..4096).for_each(|index| writer.put(&format!("k{index}"), true));
        writer.to_bytes()
    };
    let files =
        [("262144 tokens", large_vocabulary()), ("tensors", many_tensors), ("keys", many_keys)];
    for (name, file) in files {
        let (gguf, counts) = watched(START, || Gguf::parse(&file));
        let gguf = gguf.expect("proper");
        let (peak, header) = (counts.peak as usize, gguf.data_start());
        println!(
            "MEASURED: {name}: header {header} B, heap {peak} B at most, {} B kept",
            counts.live
        );
        assert!(peak <= 4 * header + (1 << 20), "{name}: {peak} for {header} bytes");
    }
}

/// Refuses each allocation in turn, once and for ever. `read` says whether it met an error, and
/// nothing but a typed one for want of memory counts.
fn refused_everywhere<E: std::fmt::Debug>(
    from_bytes: usize,
    read: impl Fn() -> Result<(), E>,
    for_want_of_memory: impl Fn(&E) -> bool,
) -> u64 {
    let (whole, counts) = watched(Counts { from_bytes, ..START }, &read);
    whole.expect("it is proper");
    assert!(counts.made > 0, "nothing was allocated");
    for refuse in 0..counts.made {
        for forever in [false, true] {
            let start = Counts { from_bytes, refuse, forever, ..START };
            let (result, _) = watched(start, &read);
            let error = result.expect_err("a refused allocation is no success");
            assert!(for_want_of_memory(&error), "allocation {refuse}: {error:?}");
        }
    }
    counts.made
}

/// A key of every kind, and two tensors.
fn everything() -> Vec<u8> {
    let mut writer = GgufWriter::new();
    writer.put("general.alignment", 64u32);
    writer.put("text", "some text");
    writer.put("u64", Value::U64(4));
    writer.put_strings("strings", &["a", "", "bc"]);
    writer.put_f32s("f32s", &[1.0; 1000]);
    writer.put("long", "x".repeat(200_000).as_str());
    writer.tensor("one", Quant::F32, &[4, 2], vec![0; 32]);
    writer.tensor("two", Quant::Q8_0, &[32], vec![0; 34]);
    writer.to_bytes()
}

#[test]
fn without_memory_a_header_is_an_error_wherever_it_runs_out() {
    let file = everything();
    let made = refused_everywhere(
        0,
        || Gguf::parse(&file).map(drop),
        |error| matches!(error, GgufError::OutOfMemory { .. }),
    );
    println!("MEASURED: {made} allocations of a header refused, once and for ever");
}

fn small_base() -> Arch {
    let mut writer = GgufWriter::new();
    writer.put("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 1u32),
        ("embedding_length", 64),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
        ("context_length", 64),
    ] {
        writer.put(&format!("llama.{key}"), value);
    }
    writer.put("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    let mut tensor = |name: &str, dims: &[usize]| {
        let bytes = 4 * dims.iter().product::<usize>();
        writer.tensor(name, Quant::F32, dims, vec![0; bytes]);
    };
    tensor("token_embd.weight", &[64, 8]);
    tensor("output_norm.weight", &[64]);
    for part in ["attn_norm", "ffn_norm"] {
        tensor(&format!("blk.0.{part}.weight"), &[64]);
    }
    for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        tensor(&format!("blk.0.{part}.weight"), &[64, 64]);
    }
    Arch::from_gguf(&Gguf::parse(&writer.to_bytes()).expect("proper")).expect("proper")
}

/// Short names and texts of an adapter are allocated as Rust usually does; whatever the file sizes
/// may be refused.
#[test]
fn without_memory_an_adapter_is_an_error_wherever_it_runs_out() {
    let arch = small_base();
    let pair = |tensor| Pair { layer: 0, tensor, rank: 8, a: vec![0.5; 512], b: vec![0.5; 512] };
    let adapter = AdapterFile {
        architecture: "llama".to_owned(),
        alpha: 16.0,
        pairs: vec![pair(LayerTensor::Q), pair(LayerTensor::Down)],
        provenance: Some(Provenance {
            base_fingerprint: [1; 32],
            template_digest: [2; 32],
            parent: None,
            seed: 3,
            lineage: (0..300).map(|id| format!("reply-{id}")).collect(),
        }),
    };
    let file = adapter.to_bytes();
    let made = refused_everywhere(
        1024,
        || AdapterFile::parse(&file, &arch).map(drop),
        |error| match error {
            AdapterError::OutOfMemory { .. } => true,
            AdapterError::Gguf(error) => matches!(error, GgufError::OutOfMemory { .. }),
            _ => false,
        },
    );
    println!("MEASURED: {made} allocations of an adapter refused, once and for ever");
}

/// No bar of its own: it is printed so that somebody notices.
#[test]
fn what_a_tokenizer_takes_is_known() {
    let tokens: Vec<String> = (0..262_144).map(|id| format!("t{id}")).collect();
    let mut writer = GgufWriter::new();
    writer.put("tokenizer.ggml.model", "llama");
    writer.put_strings("tokenizer.ggml.tokens", &tokens);
    writer.put_f32s("tokenizer.ggml.scores", &vec![0.0; tokens.len()]);
    let gguf = Gguf::parse(&writer.to_bytes()).expect("proper");
    let (tokenizer, counts) = watched(START, || Tokenizer::from_gguf(&gguf));
    let tokenizer = tokenizer.expect("proper");
    let known = |id: usize| tokenizer.token_type(id as u32).is_some();
    assert!(known(tokens.len() - 1) && !known(tokens.len()));
    println!(
        "MEASURED: tokenizer of 262144 tokens: {} B at most, {} B kept",
        counts.peak, counts.live
    );
    // Eight times its metadata would mean that something is kept twice.
    assert!((counts.peak as usize) < 8 * gguf.data_start());
}
