//! Hands libFuzzer's bytes to `sapwood_fuzz::tokenizer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sapwood_fuzz::tokenizer(bytes));
