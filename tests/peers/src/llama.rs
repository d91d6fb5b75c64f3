//! llama.cpp through its Rust bindings: logits, greedy texts, perplexity, speed.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};

use crate::Result;
use crate::compare::argmax;
use crate::data::THREADS;

/// llama.cpp may be initialized once in a process.
pub(crate) fn backend() -> &'static LlamaBackend {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    BACKEND.get_or_init(|| {
        let mut backend = LlamaBackend::init().expect("llama.cpp starts");
        if std::env::var_os("LLAMA_LOG").is_none() {
            backend.void_logs();
        }
        backend
    })
}

/// More layers than any model has, with its head.
const ALL_LAYERS: u32 = 1000;

/// A model in llama.cpp, with at most one adapter.
pub struct Llama {
    model: LlamaModel,
    adapter: Option<(LlamaLoraAdapter, f32)>,
    threads: i32,
    gpu: Option<String>,
}

/// Speed in tokens per second.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// A prompt in one batch.
    pub prefill: f64,
    /// One token at a time.
    pub decode: f64,
}

impl Llama {
    /// Opens a model file, to compute on [`THREADS`] threads.
    ///
    /// # Errors
    /// If llama.cpp refuses it. `LLAMA_LOG=1` shows why.
    pub fn open(path: &Path) -> Result<Self> {
        let params = LlamaModelParams::default().with_n_gpu_layers(0);
        let model = LlamaModel::load_from_file(backend(), path, &params)?;
        Ok(Llama { model, adapter: None, threads: THREADS as i32, gpu: None })
    }

    /// Opens a model file with all its layers on llama.cpp's first GPU.
    ///
    /// # Errors
    /// If llama.cpp sees no GPU, or refuses the file.
    pub fn open_on_gpu(path: &Path) -> Result<Self> {
        let backend = backend();
        let mut devices = list_llama_ggml_backend_devices().into_iter();
        let gpu = devices.find(|device| {
            use LlamaBackendDeviceType::{Gpu, IntegratedGpu};
            matches!(device.device_type, Gpu | IntegratedGpu)
        });
        let gpu = gpu.ok_or(
            "llama.cpp sees no GPU: build it with the feature `vulkan`, and where the processor \
             emulates the GPU say GGML_VK_VISIBLE_DEVICES=0",
        )?;
        let params = LlamaModelParams::default().with_n_gpu_layers(ALL_LAYERS);
        let params = params.with_devices(&[gpu.index])?;
        let model = LlamaModel::load_from_file(backend, path, &params)?;
        Ok(Llama { model, adapter: None, threads: 1, gpu: Some(gpu.description) })
    }

    /// Opens the vocabulary of a file alone.
    ///
    /// # Errors
    /// If llama.cpp refuses it.
    pub fn open_vocabulary(path: &Path) -> Result<Self> {
        let params = LlamaModelParams::default().with_vocab_only(true);
        let model = LlamaModel::load_from_file(backend(), path, &params)?;
        Ok(Llama { model, adapter: None, threads: 1, gpu: None })
    }

    /// Opens a model file and an adapter for it, which every session will apply at `scale`.
    ///
    /// # Errors
    /// If llama.cpp refuses either.
    pub fn open_with_adapter(path: &Path, adapter: &Path, scale: f32) -> Result<Self> {
        let mut llama = Llama::open(path)?;
        // llama.cpp demands that an adapter be loaded before the first context exists.
        llama.adapter = Some((llama.model.lora_adapter_init(adapter)?, scale));
        Ok(llama)
    }

    /// The name of the GPU that it was opened on.
    pub fn gpu(&self) -> Option<&str> {
        self.gpu.as_deref()
    }

    /// The number of compute threads of later sessions.
    #[must_use]
    pub fn with_threads(mut self, threads: i32) -> Self {
        self.threads = threads;
        self
    }

    /// Token ids of a text. `add` allows BOS and EOS, `parse` recognizes special tokens.
    pub fn tokenize(&self, text: &[u8], add: bool, parse: bool) -> Vec<u32> {
        let tokens = self.model.vocab().tokenize(text, add, parse);
        tokens.into_iter().map(|t| t.0 as u32).collect()
    }

    /// The number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.model.n_vocab() as usize
    }

    /// The token that begins a text, if the model wants one.
    pub fn bos(&self) -> Option<u32> {
        let vocab = self.model.vocab();
        vocab.should_add_bos().then(|| vocab.bos().0 as u32)
    }

    /// The bytes of a text of token ids.
    pub fn text(&self, ids: &[u32]) -> Vec<u8> {
        let vocab = self.model.vocab();
        let piece = |&id: &u32| vocab.token_to_piece(LlamaToken(id as i32), true, None);
        ids.iter().flat_map(piece).collect()
    }

    /// A session as exact as llama.cpp can be: keys and values in f32.
    ///
    /// # Errors
    /// If llama.cpp can't make the context or apply the adapter.
    pub fn session(&mut self, context: usize) -> Result<Session<'_>> {
        let params = self
            .params(context)
            .with_type_k(KvCacheType::F32)
            .with_type_v(KvCacheType::F32)
            .with_flash_attention_policy(0);
        self.session_with(params)
    }

    /// A session as users of llama.cpp have it.
    ///
    /// # Errors
    /// As [`Llama::session`].
    pub fn default_session(&mut self, context: usize) -> Result<Session<'_>> {
        let params = self.params(context);
        self.session_with(params)
    }

    fn params(&self, context: usize) -> LlamaContextParams {
        LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(context as u32))
            .with_n_batch(context as u32)
            .with_n_ubatch(512)
            .with_n_threads(self.threads)
            .with_n_threads_batch(self.threads)
    }

    fn session_with(&mut self, params: LlamaContextParams) -> Result<Session<'_>> {
        let mut context = self.model.new_context(backend(), params)?;
        if let Some((adapter, scale)) = &mut self.adapter {
            context.lora_adapter_set(adapter, *scale)?;
        }
        Ok(Session { context, position: 0 })
    }

    /// `n` greedy tokens after a prompt, and the logits before each of them. End-of-text tokens
    /// do not stop it: what comes after is a fair comparison too.
    ///
    /// # Errors
    /// If llama.cpp fails to decode.
    pub fn greedy(&mut self, prompt: &[u32], n: usize) -> Result<(Vec<u32>, Vec<Vec<f32>>)> {
        let mut session = self.session(prompt.len() + n)?;
        let mut logits = session.feed(prompt)?;
        let (mut ids, mut steps) = (Vec::new(), Vec::new());
        for step in 0..n {
            let id = argmax(&logits);
            ids.push(id);
            steps.push(logits);
            if step + 1 == n {
                break;
            }
            logits = session.feed(&[id])?;
        }
        Ok((ids, steps))
    }

    /// Perplexity of a text and the number of tokens scored, as llama.cpp's own tool defines it:
    /// the text in windows of `window` tokens, the first replaced by BOS where the model adds one,
    /// the second half of each window scored.
    ///
    /// # Errors
    /// If the text is shorter than a window, or llama.cpp fails to decode.
    pub fn perplexity(&mut self, text: &[u8], window: usize) -> Result<(f64, usize)> {
        let ids = self.tokenize(text, true, false);
        let bos = self.bos();
        if ids.len() < window {
            return Err(format!("{} tokens are less than a window of {window}", ids.len()).into());
        }
        let (mut nll, mut count) = (0.0, 0);
        let mut session = self.session(window)?;
        for chunk in ids.chunks_exact(window) {
            let mut chunk = chunk.to_vec();
            if let Some(bos) = bos {
                chunk[0] = bos;
            }
            session.clear();
            let logits = session.feed_all(&chunk)?;
            for i in window / 2..window - 1 {
                nll -= log_probability(&logits[i], chunk[i + 1]);
                count += 1;
            }
        }
        Ok(((nll / count as f64).exp(), count))
    }

    /// Best of `repeats` runs, in llama.cpp's default settings: a prompt of `prompt` tokens in one
    /// batch, and `decode` tokens one by one, both into an empty cache.
    ///
    /// # Errors
    /// If llama.cpp fails to decode.
    pub fn bench(&mut self, prompt: usize, decode: usize, repeats: usize) -> Result<Speed> {
        let vocab = self.vocab_size() as u32;
        let id = |i: usize| (i as u32).wrapping_mul(2_654_435_761) % vocab;
        let ids: Vec<u32> = (0..prompt).map(id).collect();
        let mut session = self.default_session(prompt.max(decode).max(1))?;
        session.feed(&[0])?;
        let mut best = Speed { prefill: 0.0, decode: 0.0 };
        for _ in 0..repeats {
            session.clear();
            let start = Instant::now();
            if prompt > 0 {
                session.feed(&ids)?;
            }
            best.prefill = best.prefill.max(prompt as f64 / start.elapsed().as_secs_f64());
            session.clear();
            let start = Instant::now();
            for i in 0..decode {
                session.feed(&[id(i)])?;
            }
            best.decode = best.decode.max(decode as f64 / start.elapsed().as_secs_f64());
        }
        Ok(best)
    }
}

/// Natural logarithm of the probability of a token.
fn log_probability(logits: &[f32], id: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(logits[id as usize] - max) - sum.ln()
}

/// One sequence and its keys and values.
pub struct Session<'m> {
    context: LlamaContext<'m>,
    position: usize,
}

impl Session<'_> {
    /// Appends tokens and returns the logits of the last.
    ///
    /// # Errors
    /// If the context is full or llama.cpp fails.
    pub fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let last = self.decode(ids, false)?;
        Ok(self.context.get_logits_ith(last).to_vec())
    }

    /// Appends tokens and returns the logits of each.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_all(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let last = self.decode(ids, true)?;
        Ok((0..=last).map(|i| self.context.get_logits_ith(i).to_vec()).collect())
    }

    /// Forgets the sequence.
    pub fn clear(&mut self) {
        self.context.clear_kv_cache();
        self.position = 0;
    }

    fn decode(&mut self, ids: &[u32], all: bool) -> Result<i32> {
        let last = ids.len().checked_sub(1).ok_or("no tokens to decode")?;
        let mut batch = LlamaBatch::new(ids.len(), 1);
        for (i, &id) in ids.iter().enumerate() {
            let position = (self.position + i) as i32;
            batch.add(LlamaToken(id as i32), position, &[0], all || i == last)?;
        }
        self.context.decode(&mut batch)?;
        self.position += ids.len();
        Ok(last as i32)
    }
}
