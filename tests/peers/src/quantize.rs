//! llama.cpp's quantizer: a model file in one block type becomes the same model in another.

use std::ffi::CString;
use std::path::Path;

use llama_cpp_sys_2 as sys;

use crate::Result;

/// How to quantize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// Every matrix in this one type, the embedding and the head too.
    Pure(&'static str),
    /// llama.cpp's own mixture of that name.
    Mixture(&'static str),
}

/// Writes `to` as `from` quantized by `recipe`. Matrices whose rows do not fit the block type get
/// the type that llama.cpp falls back to.
///
/// # Errors
/// If the recipe's name is unknown or llama.cpp fails.
pub fn quantize(from: &Path, to: &Path, recipe: Recipe) -> Result<()> {
    let (name, pure) = match recipe {
        Recipe::Pure(name) => (name, true),
        Recipe::Mixture(name) => (name, false),
    };
    let ftype = match name {
        "F32" => sys::LLAMA_FTYPE_ALL_F32,
        "F16" => sys::LLAMA_FTYPE_MOSTLY_F16,
        "BF16" => sys::LLAMA_FTYPE_MOSTLY_BF16,
        "Q4_0" => sys::LLAMA_FTYPE_MOSTLY_Q4_0,
        "Q4_1" => sys::LLAMA_FTYPE_MOSTLY_Q4_1,
        "Q5_0" => sys::LLAMA_FTYPE_MOSTLY_Q5_0,
        "Q5_1" => sys::LLAMA_FTYPE_MOSTLY_Q5_1,
        "Q8_0" => sys::LLAMA_FTYPE_MOSTLY_Q8_0,
        "Q4_K" | "Q4_K_M" => sys::LLAMA_FTYPE_MOSTLY_Q4_K_M,
        "Q5_K" => sys::LLAMA_FTYPE_MOSTLY_Q5_K_M,
        "Q6_K" => sys::LLAMA_FTYPE_MOSTLY_Q6_K,
        _ => return Err(format!("no recipe is called {name}").into()),
    };
    // It logs a line for each tensor unless it was told not to.
    crate::llama::backend();
    let c_path = |p: &Path| CString::new(p.to_string_lossy().as_bytes());
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: the function takes nothing and returns a plain struct by value.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.nthread = 2;
    params.ftype = ftype;
    params.pure_ = pure;
    params.allow_requantize = true;
    // SAFETY: both paths are NUL-terminated and outlive the call, `params` is a valid struct whose
    // pointers are null (its defaults), and the function keeps none of them.
    let status =
        unsafe { sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const params) };
    match status {
        0 => Ok(()),
        _ => Err(format!("llama.cpp could not quantize to {name} (status {status})").into()),
    }
}
