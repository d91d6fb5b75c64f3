//! Texts, sized structs and handles, from C and to C.

use std::ffi::{CStr, CString, c_char};
use std::mem::{MaybeUninit, size_of};
use std::ptr;

use crate::error::LearnerError;

fn missing(name: &str) -> LearnerError {
    LearnerError::invalid(format!("{name} is NULL"))
}

/// A handle or an out pointer that must not be NULL.
pub(super) fn given<T>(pointer: Option<T>, name: &str) -> Result<T, LearnerError> {
    pointer.ok_or_else(|| missing(name))
}

/// A text that may be NULL.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that lives as long as the call.
pub(super) unsafe fn optional_text(
    pointer: *const c_char,
    name: &str,
) -> Result<Option<String>, LearnerError> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    let text = text.map_err(|_| LearnerError::invalid(format!("{name} is not UTF-8")))?;
    Ok(Some(text.to_owned()))
}

/// A text that must be there.
///
/// # Safety
/// As [`optional_text`].
pub(super) unsafe fn text(pointer: *const c_char, name: &str) -> Result<String, LearnerError> {
    // SAFETY: the caller's promise.
    unsafe { optional_text(pointer, name) }?.ok_or_else(|| missing(name))
}

/// A text for C, to be given back with `sapwood_string_free`. A NUL inside would end it early.
pub(super) fn give_text(text: &str) -> *mut c_char {
    let text = CString::new(text.replace('\0', "")).expect("no NUL is left");
    text.into_raw()
}

/// Copies a text, cut between characters and NUL-terminated.
///
/// # Safety
/// `to` has room for `capacity` bytes.
pub(super) unsafe fn copy_text(text: &str, to: *mut c_char, capacity: usize) {
    if to.is_null() || capacity == 0 {
        return;
    }
    let end = text.floor_char_boundary(capacity - 1);
    // SAFETY: end < capacity, and the two never overlap: `text` is ours.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr().cast(), to, end);
        *to.add(end) = 0;
    }
}

/// Fills a fixed field, cut between characters and NUL-terminated.
pub(super) fn fill<const N: usize>(field: &mut [c_char; N], text: &str) {
    // SAFETY: the field has N bytes.
    unsafe { copy_text(text, field.as_mut_ptr(), N) };
}

/// A plain struct of the interface: begins with its size as u32, and every pattern of bytes is one.
///
/// # Safety
/// `#[repr(C)]`, first field `size: u32`, and no field that some bytes are no value of.
pub(super) unsafe trait Sized32: Copy {}

/// Reads a struct of the caller's over `defaults`.
///
/// # Safety
/// `pointer` is NULL or points to as many bytes as its first four say.
pub(super) unsafe fn read<T: Sized32>(
    pointer: *const T,
    defaults: T,
    name: &str,
) -> Result<T, LearnerError> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_struct(pointer, name) }?;
    let known = size.min(size_of::<T>());
    let bytes = pointer.cast::<u8>();
    for at in known..size {
        // SAFETY: at < size.
        if unsafe { bytes.add(at).read() } != 0 {
            let detail =
                format!("{name} sets something that this library does not know: update it");
            return Err(LearnerError::invalid(detail));
        }
    }
    let mut value = MaybeUninit::new(defaults);
    // SAFETY: `known` bytes are there on both sides, and any bytes make a T.
    unsafe {
        ptr::copy_nonoverlapping(bytes, value.as_mut_ptr().cast::<u8>(), known);
        Ok(value.assume_init())
    }
}

/// Writes as much of `value` as the caller's struct has room for, and leaves its size.
///
/// # Safety
/// As [`read`], and the bytes may be written.
pub(super) unsafe fn write<T: Sized32>(
    value: &T,
    to: *mut T,
    name: &str,
) -> Result<(), LearnerError> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_struct(to, name) }?;
    let known = size.min(size_of::<T>());
    let head = size_of::<u32>();
    let from = ptr::from_ref(value).cast::<u8>();
    // SAFETY: bytes 4 to `known` are there on both sides, and `value` is ours.
    unsafe {
        ptr::copy_nonoverlapping(from.add(head), to.cast::<u8>().add(head), known - head);
    }
    Ok(())
}

/// # Safety
/// As [`read`].
unsafe fn size_of_struct<T>(pointer: *const T, name: &str) -> Result<usize, LearnerError> {
    if pointer.is_null() {
        return Err(missing(name));
    }
    // SAFETY: the struct begins with its size.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    // A page of settings: beyond that it is no size but something that was never set. And every
    // version's size is a multiple of its alignment: another would end inside a field.
    let plausible = (size_of::<u32>() * 2..=4096).contains(&size);
    if !plausible || !size.is_multiple_of(align_of::<T>()) {
        return Err(LearnerError::invalid(format!("{name}.size must be sizeof({name})")));
    }
    Ok(size)
}

/// Gives back a text that the library returned. NULL is no text.
// SAFETY: `text` came from this library and was not given back before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sapwood_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: made by `give_text`.
        drop(unsafe { CString::from_raw(text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Old {
        size: u32,
        a: u32,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct New {
        size: u32,
        a: u32,
        b: u32,
    }

    // SAFETY: plain integers behind the size.
    unsafe impl Sized32 for Old {}
    // SAFETY: plain integers behind the size.
    unsafe impl Sized32 for New {}

    #[test]
    fn older_and_newer_callers_are_both_read() {
        let defaults = New { size: 0, a: 1, b: 2 };
        let old = Old { size: 8, a: 7 };
        // SAFETY: 8 bytes are there, as the struct says.
        let read_old = unsafe { read(ptr::from_ref(&old).cast::<New>(), defaults, "x") };
        assert_eq!(read_old.unwrap(), New { size: 8, a: 7, b: 2 });
        for (b, known) in [(0, true), (1, false)] {
            let new = New { size: 12, a: 7, b };
            let defaults = Old { size: 0, a: 1 };
            // SAFETY: 12 bytes are there, as the struct says.
            let read_new = unsafe { read(ptr::from_ref(&new).cast::<Old>(), defaults, "x") };
            assert_eq!(read_new.is_ok(), known, "beyond what is known: {b}");
        }
    }

    #[test]
    fn a_smaller_struct_is_not_overrun_and_keeps_its_size() {
        let mut pair = [Old { size: 8, a: 0 }, Old { size: 12, a: 9 }];
        // SAFETY: 8 bytes are there, as the struct says.
        unsafe { write(&New { size: 99, a: 5, b: 6 }, pair.as_mut_ptr().cast::<New>(), "x") }
            .unwrap();
        assert_eq!(pair, [Old { size: 8, a: 5 }, Old { size: 12, a: 9 }]);
    }

    #[test]
    fn sizes_that_were_never_set_are_refused() {
        for size in [0, 4, 7, 9, 10, 4097, u32::MAX] {
            let value = Old { size, a: 0 };
            // SAFETY: refused before anything beyond the size is read.
            assert!(unsafe { read(&value, value, "x") }.is_err(), "{size}");
        }
        // SAFETY: NULL is refused.
        assert!(unsafe { read(ptr::null(), Old { size: 8, a: 0 }, "x") }.is_err());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let mut field = [1; 4];
        fill(&mut field, "aäö");
        assert_eq!(field.map(|c| c as u8), [b'a', 0xc3, 0xa4, 0]);
        fill(&mut field, "aaä");
        assert_eq!(field.map(|c| c as u8)[..3], [b'a', b'a', 0]);
    }
}
