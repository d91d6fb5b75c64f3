//! The calls, as the header declares them. Structs are given as bytes, handles are opaque.

use std::ffi::{c_char, c_void};

pub type Struct = *mut c_void;
pub type Handle = *mut c_void;
// SAFETY: as the header declares them, here and below; `tests/c` compiles that header itself.
pub type OnText = Option<unsafe extern "C" fn(*const c_char, *mut c_void) -> i32>;
pub type OnStruct = Option<unsafe extern "C" fn(*const c_void, *mut c_void) -> i32>;

unsafe extern "C" {
    pub fn sapwood_abi_version() -> u32;
    pub fn sapwood_last_error(text: *mut c_char, capacity: usize) -> usize;
    pub fn sapwood_idle_policy_init(policy: Struct) -> i32;
    pub fn sapwood_open(config: Struct, learner: *mut Handle) -> i32;
    pub fn sapwood_close(learner: Handle);
    pub fn sapwood_signal(
        learner: Handle,
        reply_id: *const c_char,
        kind: u32,
        text: *const c_char,
        shown_tokens: u32,
    ) -> i32;
    pub fn sapwood_set_consent(learner: Handle, consent: u32) -> i32;
    pub fn sapwood_consent(learner: Handle, consent: *mut u32) -> i32;
    pub fn sapwood_device_changed(learner: Handle, state: Struct) -> i32;
    pub fn sapwood_set_retrieval(learner: Handle, enabled: u32) -> i32;
    pub fn sapwood_exit_was_benign(learner: Handle) -> i32;
    pub fn sapwood_flush(learner: Handle) -> i32;
    pub fn sapwood_stop_new() -> Handle;
    pub fn sapwood_stop_request(stop: Handle) -> i32;
    pub fn sapwood_stop_free(stop: Handle);
    pub fn sapwood_train_slice(
        learner: Handle,
        budget_ms: u64,
        stop: Handle,
        report: Struct,
    ) -> i32;
    pub fn sapwood_chat_open(
        learner: Handle,
        surface: *const c_char,
        instructions: *const c_char,
        turns: Struct,
        count: usize,
        chat: *mut Handle,
    ) -> i32;
    pub fn sapwood_chat_close(chat: Handle);
    pub fn sapwood_sampling_init(sampling: Struct) -> i32;
    pub fn sapwood_respond(
        chat: Handle,
        prompt: *const c_char,
        sampling: Struct,
        stop: Handle,
        on_text: OnText,
        user: *mut c_void,
        reply: Struct,
    ) -> i32;
    pub fn sapwood_regenerate(
        chat: Handle,
        sampling: Struct,
        stop: Handle,
        on_text: OnText,
        user: *mut c_void,
        reply: Struct,
    ) -> i32;
    pub fn sapwood_adapters(learner: Handle, on_adapter: OnStruct, user: *mut c_void) -> i32;
    pub fn sapwood_stage(
        learner: Handle,
        file: *const u8,
        length: usize,
        adapter: *mut c_char,
    ) -> i32;
    pub fn sapwood_activate(learner: Handle, adapter: *const c_char) -> i32;
    pub fn sapwood_rollback(learner: Handle, adapter: *mut c_char) -> i32;
    pub fn sapwood_samples(learner: Handle, on_sample: OnStruct, user: *mut c_void) -> i32;
    pub fn sapwood_forget(
        learner: Handle,
        scope: u32,
        name: *const c_char,
        from_ms: u64,
        until_ms: u64,
        receipt: Struct,
    ) -> i32;
    pub fn sapwood_string_free(text: *mut c_char);
}
