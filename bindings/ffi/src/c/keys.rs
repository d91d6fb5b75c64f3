//! The program's key store.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use runtime::vault::Zeroizing;

use super::memory::{Sized32, given, read};
use crate::error::LearnerError;
use crate::keys::{KeyProvider, KeyProviderError};

/// A key provider's answer: done. What is none of SAPWOOD_KEYS_ is a mistake of the program, and
/// the call that asked fails with SAPWOOD_INVALID. No answer ever wipes anything.
pub const SAPWOOD_KEYS_DONE: i32 = 0;
/// Not now: the device is locked, or its key store is busy. The call that asked fails with
/// SAPWOOD_BUSY, and works later.
pub const SAPWOOD_KEYS_UNAVAILABLE: i32 = 1;
/// Never again: the key was destroyed, or belongs to another device. The call that asked fails with
/// SAPWOOD_KEY.
pub const SAPWOOD_KEYS_PERMANENT: i32 = 2;
/// The user or the system refused. The call that asked fails with SAPWOOD_BUSY.
pub const SAPWOOD_KEYS_DENIED: i32 = 3;

/// Room for a wrapped secret, in bytes.
pub const SAPWOOD_WRAPPED_BYTES: usize = 4096;

/// A key store of the program's: a TPM, a secure element, the system's. Each epoch has a key of its
/// own there; what is forgotten is shredded by destroying the key of an epoch that was left.
///
/// The struct is copied. `user` stays the program's and has to live until the learner and all its
/// conversations are closed, or until `sapwood_open` has failed. The functions are called on the
/// thread of the call that needs them, from any thread, for two learners also at once; never while
/// a reply is computed. They must not call the learner, jump or throw out. What they are handed is
/// gone when they return, and they must keep no copy of a secret. They return one of
/// SAPWOOD_KEYS_. None may be NULL.
// SAFETY: of the functions: what they are handed is as large as each says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sapwood_key_provider {
    /// sizeof(sapwood_key_provider)
    pub size: u32,
    /// Handed to each function.
    pub user: *mut c_void,
    /// Makes the key of an epoch, in place of one of that number that a crash may have left.
    pub create_epoch: Option<unsafe extern "C" fn(epoch: u64, user: *mut c_void) -> i32>,
    /// Seals the 32 bytes of `secret` under the key of an epoch, so that they open as that epoch's
    /// only. Writes at most SAPWOOD_WRAPPED_BYTES to `wrapped` and their number to `length`.
    pub wrap: Option<
        unsafe extern "C" fn(
            epoch: u64,
            secret: *const u8,
            wrapped: *mut u8,
            length: *mut usize,
            user: *mut c_void,
        ) -> i32,
    >,
    // SAFETY: of the functions: as above.
    /// Opens the `length` bytes that `wrap` made for the same epoch, and writes 32 to `secret`.
    /// Without its key, or if they were changed: SAPWOOD_KEYS_PERMANENT.
    pub unwrap: Option<
        unsafe extern "C" fn(
            epoch: u64,
            wrapped: *const u8,
            length: usize,
            secret: *mut u8,
            user: *mut c_void,
        ) -> i32,
    >,
    /// Destroys the key of an epoch for good; if there is none, it is done. A receipt says
    /// SAPWOOD_ERASURE_SHREDDED on its word.
    pub destroy_epoch: Option<unsafe extern "C" fn(epoch: u64, user: *mut c_void) -> i32>,
}

// SAFETY: a number, and pointers that may be null, behind the size.
unsafe impl Sized32 for sapwood_key_provider {}

/// The four functions, all there.
// SAFETY: of the functions: as in the struct that they come from.
struct Functions {
    user: *mut c_void,
    create_epoch: unsafe extern "C" fn(u64, *mut c_void) -> i32,
    wrap: unsafe extern "C" fn(u64, *const u8, *mut u8, *mut usize, *mut c_void) -> i32,
    unwrap: unsafe extern "C" fn(u64, *const u8, usize, *mut u8, *mut c_void) -> i32,
    destroy_epoch: unsafe extern "C" fn(u64, *mut c_void) -> i32,
}

// SAFETY: the program promised that its functions may be called from any thread with `user`.
unsafe impl Send for Functions {}
// SAFETY: as above, also at once.
unsafe impl Sync for Functions {}

/// # Safety
/// `provider` points to as many bytes as it says, and its functions may be called as it says.
pub(super) unsafe fn provider(
    provider: *const sapwood_key_provider,
) -> Result<Arc<dyn KeyProvider>, LearnerError> {
    let nothing = sapwood_key_provider {
        size: 0,
        user: ptr::null_mut(),
        create_epoch: None,
        wrap: None,
        unwrap: None,
        destroy_epoch: None,
    };
    // SAFETY: the caller's promise.
    let theirs = unsafe { read(provider, nothing, "sapwood_key_provider") }?;
    Ok(Arc::new(Functions {
        user: theirs.user,
        create_epoch: given(theirs.create_epoch, "key_provider.create_epoch")?,
        wrap: given(theirs.wrap, "key_provider.wrap")?,
        unwrap: given(theirs.unwrap, "key_provider.unwrap")?,
        destroy_epoch: given(theirs.destroy_epoch, "key_provider.destroy_epoch")?,
    }))
}

fn answer(answer: i32) -> Result<(), KeyProviderError> {
    match answer {
        SAPWOOD_KEYS_DONE => Ok(()),
        SAPWOOD_KEYS_UNAVAILABLE => Err(KeyProviderError::Unavailable),
        SAPWOOD_KEYS_PERMANENT => Err(KeyProviderError::Permanent),
        SAPWOOD_KEYS_DENIED => Err(KeyProviderError::Denied),
        _ => Err(KeyProviderError::Failed),
    }
}

impl KeyProvider for Functions {
    fn create_epoch(&self, epoch: u64) -> Result<(), KeyProviderError> {
        // SAFETY: the program's own function and `user`.
        answer(unsafe { (self.create_epoch)(epoch, self.user) })
    }

    fn wrap(&self, epoch: u64, secret: Vec<u8>) -> Result<Vec<u8>, KeyProviderError> {
        let secret = Zeroizing::new(secret);
        let mut wrapped = vec![0; SAPWOOD_WRAPPED_BYTES];
        let mut length = 0;
        // SAFETY: the program's own function and `user`; the secret has 32 bytes, and the room is
        // as large as the header says.
        answer(unsafe {
            let (from, to) = (secret.as_ptr(), wrapped.as_mut_ptr());
            (self.wrap)(epoch, from, to, &raw mut length, self.user)
        })?;
        if length > wrapped.len() {
            return Err(KeyProviderError::Failed);
        }
        wrapped.truncate(length);
        Ok(wrapped)
    }

    fn unwrap(&self, epoch: u64, wrapped: Vec<u8>) -> Result<Vec<u8>, KeyProviderError> {
        let mut secret = vec![0; 32];
        // SAFETY: as above.
        answer(unsafe {
            let (from, to) = (wrapped.as_ptr(), secret.as_mut_ptr());
            (self.unwrap)(epoch, from, wrapped.len(), to, self.user)
        })?;
        Ok(secret)
    }

    fn destroy_epoch(&self, epoch: u64) -> Result<(), KeyProviderError> {
        // SAFETY: the program's own function and `user`.
        answer(unsafe { (self.destroy_epoch)(epoch, self.user) })
    }
}
