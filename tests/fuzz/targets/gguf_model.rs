//! Hands libFuzzer's bytes to `sapwood_fuzz::gguf_model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sapwood_fuzz::gguf_model(bytes));
