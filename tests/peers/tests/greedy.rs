//! Greedy texts of both engines: 200 tokens after each of twenty prompts.

use std::path::Path;

use sapwood_kernels::Device;
use sapwood_models::Model;
use sapwood_peers::compare::{Agreement, argmax, greedy_agreement};
use sapwood_peers::data;
use sapwood_peers::llama::Llama;

const TOKENS: usize = 200;

/// Where the texts part, the oracle must have been undecided: its two best logits closer than
/// this share of the spread (standard deviation) of its logits there. Rounding activations to
/// 8 bits, as llama.cpp does for quantized weights, moves a logit by about a hundredth of that.
const MARGIN: f32 = 0.05;

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

fn ours(model: &Model, prompt: &[u32]) -> Vec<u32> {
    let mut cache = model.cache(prompt.len() + TOKENS);
    let mut next = prompt.to_vec();
    let mut ids = Vec::new();
    for _ in 0..TOKENS {
        let id = argmax(&model.step(&mut cache, None, &next).unwrap());
        ids.push(id);
        next = vec![id];
    }
    ids
}

/// Says how many of the texts are identical, and returns the differences that no margin explains.
fn compare(path: &Path, prompts: &[Vec<u8>]) -> Vec<String> {
    let model = Model::open(path, &Device::cpu(Some(2))).unwrap();
    let mut llama = Llama::open(path).unwrap();
    let (mut identical, mut unexplained) = (0, Vec::new());
    for (number, prompt) in prompts.iter().enumerate() {
        let prompt = llama.tokenize(prompt, true, true);
        let (want, steps) = llama.greedy(&prompt, TOKENS).unwrap();
        let agreement = greedy_agreement(&ours(&model, &prompt), &want, &steps);
        let name = data::name(path);
        match agreement {
            Agreement::Identical => identical += 1,
            Agreement::Differs { step, margin } => {
                let share = margin / spread(&steps[step]);
                let line = format!(
                    "{name}, prompt {number}: parts at step {step}, margin {margin:.4} \
                     ({share:.4} of the spread, bound {MARGIN})"
                );
                println!("MEASURED: {line}");
                if share > MARGIN {
                    unexplained.push(line);
                }
            }
        }
    }
    println!("MEASURED: {}: {identical} of {} texts identical", data::name(path), prompts.len());
    unexplained
}

/// Standard deviation of the logits.
fn spread(logits: &[f32]) -> f32 {
    let n = logits.len() as f32;
    let mean = logits.iter().sum::<f32>() / n;
    (logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt()
}

#[test]
fn trained_models_write_the_same_stories() {
    let prompts = STORIES.map(|p| p.as_bytes().to_vec());
    let all = data::trained_models();
    let unexplained: Vec<String> = all.iter().flat_map(|path| compare(path, &prompts)).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

#[test]
fn the_embedded_model_writes_the_same_answers() {
    let path = data::embedded_model();
    let model = Model::open(&path, &Device::cpu(Some(2))).unwrap();
    let template = model.template().unwrap();
    let prompts = REQUESTS.map(|text| {
        let message = sapwood_models::Message { role: "user".into(), content: text.into() };
        template.render(&[message], true).unwrap().into_bytes()
    });
    let unexplained = compare(&path, &prompts);
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

/// The text that the model's own author expects.
#[test]
fn stories260k_writes_the_expected_text() {
    let Some(folder) = data::shared("models/stories260k") else { return };
    let expected = std::fs::read_to_string(folder.join("expected_greedy_200.txt")).unwrap();
    let model = Model::open(&folder.join("stories260K-F32.gguf"), &Device::cpu(Some(2))).unwrap();
    let ids = ours(&model, &[1]);
    let text = model.tokenizer().decode(&ids);
    let text = String::from_utf8(text).unwrap();
    // The file ends with its 200th position; the space before the first word belongs to BOS.
    assert!(text.trim_start().starts_with(expected.trim_end()), "{text}");
}
