//! Calls of the C interface in any order: handles that are NULL or whose learner is closed, structs
//! of any size, texts that are none.
//!
//! What the header forbids is not tried: no handle is used after it was given back, and every
//! struct has as many bytes as it says.

mod c;

use std::ffi::{CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use sapwood_ffi_rlib as _;

use crate::hostile::adapters::adapter;
use crate::hostile::small::Shape;
use crate::mutate::short;

/// Most calls of one program.
const CALLS: usize = 24;

/// The folder and the model file of this process.
struct Place {
    folder: PathBuf,
    model: CString,
    folder_name: CString,
    adapter: Vec<u8>,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    // In memory where the system has that: every program begins with an empty folder.
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let root = root.join(format!("sapwood-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("a folder of our own");
    let model = root.join("model.gguf");
    std::fs::write(&model, Shape::fixed("llama").describe().write()).expect("a small file");
    let name = |path: &PathBuf| CString::new(path.to_str().expect("ASCII")).expect("no NUL");
    let folder = root.join("kept");
    Place { model: name(&model), folder_name: name(&folder), folder, adapter: adapter().write() }
});

/// Everything that a program of calls holds.
struct Program {
    learners: [c::Handle; 2],
    chats: [c::Handle; 2],
    stop: c::Handle,
    /// 33 bytes that a reply's id was copied to.
    reply: [c_char; 33],
    /// 65 bytes that an adapter's digest was copied to.
    digest: [c_char; 65],
}

/// The bytes are the calls.
pub fn ffi(bytes: &[u8]) {
    let _ = std::fs::remove_dir_all(&PLACE.folder);
    let mut program = Program {
        learners: [ptr::null_mut(); 2],
        chats: [ptr::null_mut(); 2],
        stop: ptr::null_mut(),
        reply: [0; 33],
        digest: [0; 65],
    };
    let mut input = Unstructured::new(bytes);
    for _ in 0..CALLS {
        let Ok(status) = program.call(&mut input) else { break };
        assert!((0..=8).contains(&status), "status {status}: {}", last_error());
    }
    program.end();
}

/// A struct of the caller's: its first four bytes say how many there are.
struct Sized(Vec<u64>);

impl Sized {
    /// `known` is its size in the header.
    fn new(input: &mut Unstructured, known: usize) -> arbitrary::Result<Self> {
        let size = match input.int_in_range(0..=9)? {
            0 => input.int_in_range(0..=known + 16)?,
            1 => *input.choose(&[0, 4, 8, 4096, 4097])?,
            _ => known,
        };
        let mut words = vec![0u64; size.clamp(8, 4096).div_ceil(8)];
        words[0] = size as u64;
        Ok(Self(words))
    }

    /// Writes a field, if the struct has it.
    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        let place: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut place = place;
        if at + bytes.len() <= place.len() {
            place[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let words = place.as_chunks::<8>().0;
        self.0 = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        self
    }

    fn put_pointer<T>(self, at: usize, pointer: *const T) -> Self {
        self.put(at, &(pointer.expose_provenance() as u64).to_le_bytes())
    }

    fn as_ptr(&mut self) -> c::Struct {
        self.0.as_mut_ptr().cast()
    }

    fn bytes(&self, at: usize, len: usize) -> Option<Vec<u8>> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let size = (self.0[0] as u32) as usize;
        (at + len <= size.min(bytes.len())).then(|| bytes[at..at + len].to_vec())
    }
}

/// A text, or bytes that are none, or NULL.
fn text(input: &mut Unstructured) -> arbitrary::Result<Option<CString>> {
    if input.ratio(1, 16)? {
        return Ok(None);
    }
    let bytes: Vec<u8> = short(input)?.iter().copied().filter(|&byte| byte != 0).collect();
    let bytes = if input.ratio(15, 16)? {
        String::from_utf8_lossy(&bytes).into_owned().into_bytes()
    } else {
        bytes
    };
    Ok(CString::new(bytes).ok())
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

fn last_error() -> String {
    let mut text = [0u8; 400];
    // SAFETY: there is room for 400 bytes.
    unsafe { c::sapwood_last_error(text.as_mut_ptr().cast(), text.len()) };
    String::from_utf8_lossy(&text).into_owned()
}

/// Counts down, and asks for an end at zero; calls the library from inside the call.
unsafe extern "C" fn on_text(text: *const c_char, user: *mut c_void) -> i32 {
    assert!(!text.is_null());
    let left = user.cast::<i32>();
    // SAFETY: every caller of this file hands over a pointer to an i32 of its own.
    unsafe {
        *left -= 1;
        c::sapwood_flush(ptr::null_mut());
        i32::from(*left < 0)
    }
}

unsafe extern "C" fn on_struct(item: *const c_void, user: *mut c_void) -> i32 {
    assert!(!item.is_null());
    let left = user.cast::<i32>();
    // SAFETY: every caller of this file hands over a pointer to an i32 of its own.
    unsafe {
        *left -= 1;
        i32::from(*left < 0)
    }
}

impl Program {
    fn learner(&self, input: &mut Unstructured) -> arbitrary::Result<c::Handle> {
        // Mostly the first, which is mostly open.
        Ok(self.learners[usize::from(input.ratio(1, 8)?)])
    }

    fn call(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        if input.is_empty() {
            return Err(arbitrary::Error::NotEnoughData);
        }
        match input.int_in_range(0..=19)? {
            0 | 1 => self.open(input),
            2 => self.close(input),
            3 | 4 => self.chat_open(input),
            5 => {
                let at = input.choose_index(2)?;
                // SAFETY: made by the library, and not given back before.
                unsafe {
                    c::sapwood_chat_close(std::mem::replace(&mut self.chats[at], ptr::null_mut()))
                };
                Ok(0)
            }
            6..=9 => self.respond(input),
            10 | 11 => self.signal(input),
            12 | 13 => self.switch(input),
            14 => self.train(input),
            15 | 16 => self.adapter(input),
            17 => self.forget(input),
            18 => self.list(input),
            _ => self.other(input),
        }
    }

    fn open(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let at = usize::from(input.ratio(1, 8)?);
        let key = [u8::from(input.ratio(1, 16)?); 32];
        let mut training = Sized::new(input, 48)?
            .put(4, &2u32.to_le_bytes())
            .put(12, &(input.int_in_range(0..=3u32)?).to_le_bytes())
            .put(20, &(input.int_in_range(0..=300u32)?).to_le_bytes())
            .put(24, &f32::arbitrary(input)?.to_le_bytes());
        let mut idle = Sized::new(input, 48)?
            .put(16, &(u32::arbitrary(input)? % 6).to_le_bytes())
            .put(32, &f64::arbitrary(input)?.to_le_bytes());
        let folder = if input.ratio(1, 16)? { ptr::null() } else { PLACE.folder_name.as_ptr() };
        let context = input.int_in_range(0..=300u32)?;
        let mut config = Sized::new(input, 72)?
            .put(4, &context.to_le_bytes())
            .put_pointer(8, folder)
            .put_pointer(16, key.as_ptr())
            .put_pointer(24, PLACE.model.as_ptr())
            .put(32, &1u32.to_le_bytes())
            .put(36, &u32::from(bool::arbitrary(input)?).to_le_bytes());
        if bool::arbitrary(input)? {
            config = config.put_pointer(40, training.as_ptr());
        }
        if bool::arbitrary(input)? {
            config = config.put_pointer(48, idle.as_ptr());
        }
        // Without the model's name the built-in one is meant, which is not built in here.
        let mut learner = ptr::null_mut();
        // SAFETY: structs have the bytes that they say, and texts end.
        let status = unsafe { c::sapwood_open(config.as_ptr(), &mut learner) };
        assert_eq!(status == 0, !learner.is_null(), "a handle exactly when it worked");
        if status == 0 {
            let before = std::mem::replace(&mut self.learners[at], learner);
            // SAFETY: made by the library, and not given back before.
            unsafe { c::sapwood_close(before) };
        }
        Ok(status)
    }

    fn close(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let at = input.choose_index(2)?;
        // SAFETY: made by the library, and not given back before. Chats may outlive it.
        unsafe { c::sapwood_close(std::mem::replace(&mut self.learners[at], ptr::null_mut())) };
        Ok(0)
    }

    fn chat_open(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let (surface, instructions, content) = (text(input)?, text(input)?, text(input)?);
        let count = input.int_in_range(0..=2usize)?;
        let role = u32::arbitrary(input)? % 4;
        let mut turns = Vec::new();
        for _ in 0..count {
            turns.extend(16u32.to_le_bytes());
            turns.extend(role.to_le_bytes());
            turns.extend((pointer(&content).expose_provenance() as u64).to_le_bytes());
        }
        let mut turns: Vec<u64> =
            turns.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let at = input.choose_index(2)?;
        let learner = self.learner(input)?;
        let mut chat = ptr::null_mut();
        // SAFETY: there are `count` structs of 16 bytes, texts end, the handle is open or NULL.
        let status = unsafe {
            let (surface, instructions) = (pointer(&surface), pointer(&instructions));
            let turns = turns.as_mut_ptr().cast();
            c::sapwood_chat_open(learner, surface, instructions, turns, count, &mut chat)
        };
        assert_eq!(status == 0, !chat.is_null(), "a handle exactly when it worked");
        if status == 0 {
            let before = std::mem::replace(&mut self.chats[at], chat);
            // SAFETY: made by the library, and not given back before.
            unsafe { c::sapwood_chat_close(before) };
        }
        Ok(status)
    }

    fn respond(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let chat = self.chats[usize::from(input.ratio(1, 4)?)];
        let prompt = text(input)?;
        let mut sampling = Sized::new(input, 40)?;
        // SAFETY: as many bytes as it says.
        unsafe { c::sapwood_sampling_init(sampling.as_ptr()) };
        sampling = sampling.put(32, &input.int_in_range(0..=4u32)?.to_le_bytes());
        if input.ratio(1, 4)? {
            let at = *input.choose(&[4, 12, 16, 20])?;
            sampling = sampling.put(at, &f32::arbitrary(input)?.to_le_bytes());
        }
        let mut reply = Sized::new(input, 128)?;
        let mut left = input.int_in_range(0..=6i32)?;
        let stop = if input.ratio(1, 4)? { self.stop } else { ptr::null_mut() };
        let on_text: c::OnText = if bool::arbitrary(input)? { Some(on_text) } else { None };
        let user = ptr::from_mut(&mut left).cast();
        // SAFETY: structs have the bytes that they say, texts end, handles are open or NULL.
        let status = unsafe {
            let (sampling, reply) = (sampling.as_ptr(), reply.as_ptr());
            if input.ratio(1, 4)? {
                c::sapwood_regenerate(chat, sampling, stop, on_text, user, reply)
            } else {
                c::sapwood_respond(chat, pointer(&prompt), sampling, stop, on_text, user, reply)
            }
        };
        // A pointer that was not written whole was not handed over.
        if let Some(text) = reply.bytes(8, 8) {
            let text = u64::from_le_bytes(text.try_into().expect("8 bytes")) as usize;
            // SAFETY: NULL, or from the library.
            unsafe { c::sapwood_string_free(ptr::with_exposed_provenance_mut(text)) };
        }
        if let Some(id) = reply.bytes(28, 33) {
            self.reply = std::array::from_fn(|at| id[at] as c_char);
            assert_eq!(self.reply[32], 0, "an id ends");
        }
        Ok(status)
    }

    fn signal(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let (told, wrong) = (text(input)?, text(input)?);
        let id = if input.ratio(1, 4)? { pointer(&wrong) } else { self.reply.as_ptr() };
        let kind = input.int_in_range(0..=11u32)?;
        let told = if input.ratio(1, 4)? { self.reply.as_ptr() } else { pointer(&told) };
        let learner = self.learner(input)?;
        // SAFETY: texts end, the handle is open or NULL.
        Ok(unsafe { c::sapwood_signal(learner, id, kind, told, u32::arbitrary(input)? % 9) })
    }

    fn switch(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let learner = self.learner(input)?;
        let mut state = Sized::new(input, 32)?
            .put(4, &u32::from(bool::arbitrary(input)?).to_le_bytes())
            .put(8, &u32::from(bool::arbitrary(input)?).to_le_bytes())
            .put(16, &(u32::arbitrary(input)? % 5).to_le_bytes())
            .put(20, &(u32::arbitrary(input)? % 102).to_le_bytes());
        let mut consent = 9;
        // SAFETY: structs have the bytes that they say, the handle is open or NULL.
        Ok(unsafe {
            match input.int_in_range(0..=6)? {
                0..=2 => c::sapwood_set_consent(learner, input.int_in_range(0..=3)?),
                3 => c::sapwood_consent(learner, &mut consent),
                4 => c::sapwood_device_changed(learner, state.as_ptr()),
                5 => c::sapwood_set_retrieval(learner, u32::arbitrary(input)?),
                _ => c::sapwood_exit_was_benign(learner),
            }
        })
    }

    fn train(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let learner = self.learner(input)?;
        let mut report = Sized::new(input, 368)?;
        let stop = if input.ratio(1, 4)? { self.stop } else { ptr::null_mut() };
        let budget = input.int_in_range(0..=2)?;
        // SAFETY: the struct has the bytes that it says, handles are open or NULL.
        Ok(unsafe { c::sapwood_train_slice(learner, budget, stop, report.as_ptr()) })
    }

    fn adapter(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let learner = self.learner(input)?;
        let wrong = text(input)?;
        let mut file = PLACE.adapter.clone();
        if input.ratio(1, 4)? {
            let at = input.choose_index(file.len())?;
            file[at] = u8::arbitrary(input)?;
        }
        let length = if input.ratio(1, 8)? { input.choose_index(file.len())? } else { file.len() };
        // SAFETY: there are `length` bytes, room for 65 characters, and texts end.
        Ok(unsafe {
            match input.int_in_range(0..=6)? {
                0..=2 => c::sapwood_stage(learner, file.as_ptr(), length, self.digest.as_mut_ptr()),
                3 => c::sapwood_stage(learner, ptr::null(), length, self.digest.as_mut_ptr()),
                4 => c::sapwood_activate(learner, self.digest.as_ptr()),
                5 => c::sapwood_activate(learner, pointer(&wrong)),
                _ => c::sapwood_rollback(learner, self.digest.as_mut_ptr()),
            }
        })
    }

    fn forget(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let learner = self.learner(input)?;
        let wrong = text(input)?;
        let name = if input.ratio(1, 4)? { pointer(&wrong) } else { self.reply.as_ptr() };
        let scope = input.int_in_range(0..=5)?;
        let (from, until) = (u64::arbitrary(input)?, u64::arbitrary(input)?);
        let mut receipt = Sized::new(input, 88)?;
        // SAFETY: the struct has the bytes that it says, texts end, the handle is open or NULL.
        Ok(unsafe { c::sapwood_forget(learner, scope, name, from, until, receipt.as_ptr()) })
    }

    fn list(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let learner = self.learner(input)?;
        let mut left = input.int_in_range(0..=4i32)?;
        let user = ptr::from_mut(&mut left).cast();
        let on_struct: c::OnStruct = if input.ratio(7, 8)? { Some(on_struct) } else { None };
        // SAFETY: the callback takes `user`, the handle is open or NULL.
        Ok(unsafe {
            if bool::arbitrary(input)? {
                c::sapwood_adapters(learner, on_struct, user)
            } else {
                c::sapwood_samples(learner, on_struct, user)
            }
        })
    }

    fn other(&mut self, input: &mut Unstructured) -> arbitrary::Result<i32> {
        let mut policy = Sized::new(input, 48)?;
        let mut error = vec![0u8; input.int_in_range(0..=64)?];
        // SAFETY: the struct has the bytes that it says, the buffer has its capacity, the stop was
        // made by the library and is not used after it was given back.
        Ok(unsafe {
            match input.int_in_range(0..=5)? {
                0 => c::sapwood_idle_policy_init(policy.as_ptr()),
                1 => {
                    c::sapwood_last_error(error.as_mut_ptr().cast(), error.len());
                    0
                }
                2 => {
                    let before = std::mem::replace(&mut self.stop, c::sapwood_stop_new());
                    c::sapwood_stop_free(before);
                    0
                }
                3 => c::sapwood_stop_request(self.stop),
                4 => c::sapwood_flush(self.learner(input)?),
                _ => i32::from(c::sapwood_abi_version() != 1),
            }
        })
    }

    /// Gives everything back, chats behind their learners or before.
    fn end(&mut self) {
        // SAFETY: made by the library, and not given back before; NULL is allowed.
        unsafe {
            c::sapwood_chat_close(self.chats[0]);
            self.learners.into_iter().for_each(|learner| c::sapwood_close(learner));
            c::sapwood_chat_close(self.chats[1]);
            c::sapwood_stop_free(self.stop);
        }
    }
}
