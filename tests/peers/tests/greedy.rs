//! Greedy texts of both engines: 200 tokens after each of twenty prompts.

use std::path::Path;

use sapwood_kernels::Device;
use sapwood_models::Model;
use sapwood_peers::compare::Choices;
use sapwood_peers::data;
use sapwood_peers::llama::Llama;
use sapwood_peers::quantize::{Recipe, quantize};

const TOKENS: usize = 200;

/// Where the engines choose differently, the oracle must have been undecided: its two tokens
/// closer than this share of the standard deviation of its logits. With F32 weights only the keys
/// and values are rounded (ours are f16). With quantized ones llama.cpp also rounds activations to
/// 8 bits, which moves a logit by two or three hundredths of it; three times that is the bound.
const MARGIN_F32: f32 = 0.002;
const MARGIN_QUANTIZED: f32 = 0.1;

const STORIES: [&str; 20] = [
    "Once upon a time",
    "One day, a little girl named Lily",
    "The big dog",
    "Tom and Sam",
    "There was a red ball",
    "In the park",
    "Mom said",
    "The sun was",
    "A bird flew",
    "He wanted to",
    "She was sad because",
    "They played",
    "The cat",
    "It was a cold day",
    "Ben had a toy car",
    "\"Can I help you?\"",
    "Once there was a boat",
    "The old man",
    "Anna likes to",
    "At night",
];

/// For the embedded model: what an app asks of it.
const REQUESTS: [&str; 20] = [
    "Classify: My order has not arrived yet.",
    "Which category? I was charged twice this month.",
    "Extract the fields as JSON: meet Anna on Friday at 10.",
    "Write a short reply: Can we move our call to Monday?",
    "Rewrite politely: Send me the file now.",
    "What is a refund?",
    "I can't log in to my account.",
    "Please cancel my subscription.",
    "The app crashes when I open it.",
    "Summarize: the meeting is moved to Tuesday.",
    "Hello",
    "Thank you for your help!",
    "When does the shop open?",
    "My password does not work",
    "Translate this into a friendly tone: No.",
    "order 4471 has the wrong size",
    "How do I change my address?",
    "JSON please: 3 boxes to 5 Main Street",
    "Draft an answer that apologizes for the delay.",
    "?",
];

/// Our logits after the prompt and after each token of `text` but the last.
fn ours(model: &Model, prompt: &[u32], text: &[u32]) -> Vec<Vec<f32>> {
    let mut cache = model.cache(prompt.len() + text.len());
    let mut logits = vec![model.step(&mut cache, None, prompt).unwrap()];
    for &id in &text[..text.len() - 1] {
        logits.push(model.step(&mut cache, None, &[id]).unwrap());
    }
    logits
}

/// Along the oracle's greedy text after each prompt: does our engine choose the same token at each
/// step? Going on along its text, a first difference hides none of those behind it.
fn compare(path: &Path, oracle: &Path, prompts: &[Vec<u8>]) -> Choices {
    let model = Model::open(path, &Device::cpu(Some(data::THREADS))).unwrap();
    let mut llama = Llama::open(oracle).unwrap();
    let (mut all, mut identical) = (Choices::default(), 0);
    for prompt in prompts {
        let prompt = llama.tokenize(prompt, true, true);
        let (text, theirs) = llama.greedy(&prompt, TOKENS).unwrap();
        let mut choices = Choices::default();
        for (ours, theirs) in ours(&model, &prompt, &text).iter().zip(&theirs) {
            choices.add(ours, theirs);
        }
        identical += usize::from(choices.differ == 0);
        all = all.and(choices);
    }
    let Choices { steps, differ, margin } = all;
    println!(
        "MEASURED: {} to llama.cpp on {}: {identical} of {} texts identical, {differ} of {steps} \
         tokens differ, where its margin was at most {margin:.4} deviations",
        data::name(path),
        data::name(oracle),
        prompts.len(),
    );
    all
}

/// Compares with llama.cpp on the file, and if that is quantized also on the same weights in f32,
/// where llama.cpp rounds nothing. Returns what no margin explains.
fn check(path: &Path, prompts: &[Vec<u8>]) -> Vec<String> {
    let float = data::name(path).contains("F32");
    let bound = if float { MARGIN_F32 } else { MARGIN_QUANTIZED };
    let mut results = vec![compare(path, path, prompts)];
    if !float {
        let folder = tempfile::tempdir().unwrap();
        let exact = folder.path().join("same-weights-F32.gguf");
        quantize(path, &exact, Recipe::Pure("F32")).unwrap();
        results.push(compare(path, &exact, prompts));
    }
    let decided = results.iter().filter(|r| r.margin > bound);
    decided.map(|r| format!("{}: {r:?}, bound {bound}", data::name(path))).collect()
}

#[test]
fn trained_models_write_the_same_stories() {
    let prompts = STORIES.map(|p| p.as_bytes().to_vec());
    let all = data::trained_models();
    let unexplained: Vec<String> = all.iter().flat_map(|path| check(path, &prompts)).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

#[test]
fn the_embedded_model_writes_the_same_answers() {
    let path = data::embedded_model();
    let model = Model::open(&path, &Device::cpu(Some(data::THREADS))).unwrap();
    let template = model.template().unwrap();
    let prompts = REQUESTS.map(|text| {
        let message =
            sapwood_models::Message { role: sapwood_models::Role::User, content: text.into() };
        template.render(&[message], true).unwrap().into_bytes()
    });
    let unexplained = check(&path, &prompts);
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
