//! Whether llama.cpp's reader of GGUF takes the files named on standard input: a line with
//! `accept` or `refuse` for each.
//!
//! A process of its own, because a file may end it.

use std::ffi::CString;
use std::io::{BufRead, Write};

use llama_cpp_sys_2 as sys;

fn main() {
    // SAFETY: without a callback nothing is logged where it matters; the pointer is never used.
    unsafe { sys::ggml_log_set(Some(silence), std::ptr::null_mut()) };
    for path in std::io::stdin().lock().lines() {
        let path = path.expect("a line for each file");
        let verdict = if accepts(&path) { "accept" } else { "refuse" };
        println!("{verdict}");
        std::io::stdout().flush().expect("somebody reads");
    }
}

unsafe extern "C" fn silence(
    _: sys::ggml_log_level,
    _: *const std::ffi::c_char,
    _: *mut std::ffi::c_void,
) {
}

/// Reads the header alone, and makes the tensors without their data, as loading a model does.
fn accepts(path: &str) -> bool {
    let path = CString::new(path).expect("no NUL in a path");
    let mut tensors = std::ptr::null_mut();
    let params = sys::gguf_init_params { no_alloc: true, ctx: &mut tensors };
    // SAFETY: the path ends with NUL, `tensors` outlives the call, and both results are given back.
    unsafe {
        let header = sys::gguf_init_from_file(path.as_ptr(), params);
        if header.is_null() {
            return false;
        }
        sys::gguf_free(header);
        sys::ggml_free(tensors);
    }
    true
}
