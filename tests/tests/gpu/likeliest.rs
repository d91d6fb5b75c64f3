//! Replies at temperature 0: the GPU goes on with a token before anybody has read it.

use std::sync::Mutex;

use sapwood_tests::stop_after;

use super::*;

/// A prompt of the built-in model, in F32: both devices say the same, to the token.
struct Setting {
    device: Device,
    cpu: Model,
    gpu: Model,
    prompt: Vec<u32>,
}

impl Setting {
    fn new() -> Option<Setting> {
        let device = gpu()?;
        let file = in_f32(EMBEDDED);
        let (cpu, gpu) = (on_cpu(&file), on_gpu(&file, &device));
        let prompt = prompt(&cpu, TEXTS[0]);
        Some(Setting { device, cpu, gpu, prompt })
    }

    fn reads(&self) -> u64 {
        let Device::Gpu(gpu) = &self.device else { unreachable!("opened as one") };
        gpu.reads()
    }

    /// So many tokens, each asked for when the one before is known.
    fn step_by_step(&self, count: usize) -> Vec<u32> {
        greedy(&self.cpu, &self.prompt, count, likeliest)
    }

    fn cache(&self, count: usize) -> Cache {
        self.gpu.cache(self.prompt.len() + count + 1)
    }

    fn reply<'a>(&'a self, cache: &'a mut Cache, most: usize, stop: &'a Stop) -> Reply<'a> {
        self.gpu.likeliest(cache, None, &self.prompt, most, stop).unwrap()
    }

    /// A cache that holds the prompt and `said` goes on as if that had been given to it.
    fn assert_holds(&self, cache: &mut Cache, said: &[u32], what: &str) {
        let held = [&self.prompt, said].concat();
        assert_eq!(cache.len(), held.len(), "{what}");
        let got = self.gpu.step(cache, None, &[7]).unwrap();
        let all = [&held[..], &[7]].concat();
        let error = nmse(&got, &self.cpu.step(&mut self.cpu.cache(all.len()), None, &all).unwrap());
        assert!(error <= F32, "{what}: {error:.1e}");
    }
}

type Reply<'a> = sapwood_models::Likeliest<'a>;

fn all(reply: Reply<'_>) -> Vec<u32> {
    reply.map(Result::unwrap).collect()
}

#[test]
fn tokens_are_those_of_step_by_step() {
    let Some(setting) = Setting::new() else { return };
    let Setting { gpu, prompt, .. } = &setting;
    let expected = setting.step_by_step(60);
    for most in [0, 1, 2, 3, 60] {
        let mut cache = setting.cache(most);
        assert_eq!(all(setting.reply(&mut cache, most, &Stop::new())), expected[..most]);
        setting.assert_holds(&mut cache, &expected[..most.saturating_sub(1)], "{most} tokens");
    }
    // To the bit: the same kernels, whoever gives them the token.
    let adapter = random_adapter(gpu);
    let (mut cache, stop) = (gpu.cache(prompt.len() + 61), Stop::new());
    let reply = gpu.likeliest(&mut cache, Some(&adapter), prompt, 60, &stop).unwrap();
    let said = all(reply);
    let got = gpu.step(&mut cache, Some(&adapter), &said[59..]).unwrap();
    let mut cache = gpu.cache(prompt.len() + 61);
    let mut logits = gpu.step(&mut cache, Some(&adapter), prompt).unwrap();
    for &token in &said {
        assert_eq!(likeliest(&logits), token);
        logits = gpu.step(&mut cache, Some(&adapter), &[token]).unwrap();
    }
    assert_eq!(got, logits);
    assert_eq!(gpu.gpu_fault(), None);
}

#[test]
fn a_step_is_on_its_way_before_its_token_is_read() {
    let Some(setting) = Setting::new() else { return };
    let mut cache = setting.cache(20);
    // Kernels are tried the first time.
    all(setting.reply(&mut cache, 20, &Stop::new()));
    let before = setting.reads();
    let (seen, device) = (Arc::new(Mutex::new(Vec::new())), setting.device.clone());
    let looks = seen.clone();
    // Looked at before every layer.
    let stop = Stop::governed(move || {
        let Device::Gpu(gpu) = &device else { unreachable!("opened as one") };
        looks.lock().unwrap().push(gpu.reads() - before);
        false
    });
    cache.truncate(0);
    all(setting.reply(&mut cache, 20, &stop));
    assert_eq!(setting.reads() - before, 20, "each token is read once");
    // The prompt, then a step for each token but the last: token n is the n-th that is read.
    let seen = seen.lock().unwrap();
    let steps: Vec<u64> = seen.chunks(setting.gpu.arch().layers).map(|step| step[0]).collect();
    let expected: Vec<u64> = std::iter::once(0).chain(0..19).collect();
    assert_eq!(steps, expected, "tokens read when each step began");
}

#[test]
fn what_was_computed_beyond_the_end_leaves_no_trace() {
    let Some(setting) = Setting::new() else { return };
    let expected = setting.step_by_step(200);
    for taken in [1, 2, 9] {
        let mut cache = setting.cache(60);
        let stop = Stop::new();
        let said: Vec<u32> =
            setting.reply(&mut cache, 60, &stop).take(taken).map(Result::unwrap).collect();
        assert_eq!(said, expected[..taken]);
        setting.assert_holds(&mut cache, &expected[..taken - 1], "dropped");
    }
    let tokenizer = setting.cpu.tokenizer();
    let end = expected.iter().position(|&token| tokenizer.is_end(token)).expect("it ends");
    let mut stream = tokenizer.stream(true);
    let mut text: String = expected[..end].iter().map(|&token| stream.push(token)).collect();
    text += &stream.finish();
    for model in [&setting.gpu, &setting.cpu] {
        let said = model.greedy(None, &setting.prompt, 200, &Stop::new()).unwrap();
        assert_eq!(said, text);
    }
    println!("MEASURED: a reply ends after {end} tokens");
}

#[test]
fn it_stops_and_it_is_full_where_it_would_be_step_by_step() {
    let Some(setting) = Setting::new() else { return };
    let expected = setting.step_by_step(10);
    let layers = setting.gpu.arch().layers as u64;
    for looks in [layers, layers + 1, 2 * layers, 5 * layers + 3] {
        let mut cache = setting.cache(10);
        let stop = stop_after(looks);
        let mut said: Vec<_> = setting.reply(&mut cache, 10, &stop).collect();
        assert!(matches!(said.pop(), Some(Err(ModelError::Stopped))), "{looks}: {said:?}");
        let held = cache.len() - setting.prompt.len();
        assert!((said.len().saturating_sub(1)..=said.len()).contains(&held), "{looks}: {held}");
        setting.assert_holds(&mut cache, &expected[..held], "stopped");
    }
    let room = setting.prompt.len() + 4;
    for model in [&setting.gpu, &setting.cpu] {
        let (mut cache, stop) = (model.cache(room), Stop::new());
        let mut said: Vec<_> =
            model.likeliest(&mut cache, None, &setting.prompt, 10, &stop).unwrap().collect();
        let full = said.pop().unwrap();
        assert!(matches!(full, Err(ModelError::ContextFull { needed, .. }) if needed == room + 1));
        assert_eq!(said.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected[..5]);
    }
}

/// In the middle of the prompt, of the first step and of later ones, and between two tokens.
#[test]
fn a_gpu_that_is_lost_or_forbidden_costs_no_token_and_gives_none_twice() {
    let Some(Setting { cpu, gpu: model, prompt, .. }) = Setting::new() else { return };
    let expected = greedy(&cpu, &prompt, 24, likeliest);
    let layers = model.arch().layers;
    drop(model);
    let file = in_f32(EMBEDDED);
    for lost in [true, false] {
        for at in [0, 2, layers, layers + 1, 2 * layers, 9 * layers - 1, 9 * layers] {
            let device = gpu().unwrap();
            let gpu = Arc::new(on_gpu(&file, &device));
            let end = move |gpu: &Model| if lost { lose(&device) } else { gpu.allow_gpu(false) };
            let (looks, ended) = (Mutex::new(0), gpu.clone());
            let stop = Stop::governed(move || {
                let mut looks = looks.lock().unwrap();
                if *looks == at {
                    end(&ended);
                }
                *looks += 1;
                false
            });
            let mut cache = gpu.cache(prompt.len() + 25);
            let said = all(gpu.likeliest(&mut cache, None, &prompt, 24, &stop).unwrap());
            assert_eq!(said, expected, "{at}, {lost}");
            assert_eq!(cache.len(), prompt.len() + 23);
            assert_eq!(gpu.gpu_fault().is_some(), lost);
            assert!(!gpu.device(Work::Decode).is_gpu());
        }
    }
}

#[test]
fn a_gpu_lost_between_two_tokens_costs_none() {
    for taken in [0, 1, 2, 11, 23] {
        let Some(setting) = Setting::new() else { return };
        let expected = setting.step_by_step(24);
        let mut cache = setting.cache(24);
        let stop = Stop::new();
        let mut reply = setting.reply(&mut cache, 24, &stop);
        let mut said: Vec<u32> = reply.by_ref().take(taken).map(Result::unwrap).collect();
        lose(&setting.device);
        said.extend(reply.map(Result::unwrap));
        assert_eq!(said, expected, "lost behind {taken}");
        setting.assert_holds(&mut cache, &expected[..23], "lost");
    }
}

#[test]
fn prompt_and_reply_may_be_computed_on_two_devices() {
    let Some(setting) = Setting::new() else { return };
    let expected = setting.step_by_step(30);
    for (prefill, decode) in [(Place::Cpu, Place::Gpu), (Place::Gpu, Place::Cpu)] {
        setting.gpu.assign(Work::Prefill, prefill);
        setting.gpu.assign(Work::Decode, decode);
        let (mut cache, stop) = (setting.cache(30), Stop::new());
        assert_eq!(all(setting.reply(&mut cache, 30, &stop)), expected);
        setting.assert_holds(&mut cache, &expected[..29], "on two devices");
    }
}
