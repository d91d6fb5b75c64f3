//! Files of examples: JSON lines with `prompt` and `completion`, or with `messages`.

use std::path::Path;

use sapwood::Prompt;
use sapwood_models::{Message, Role};
use serde_json::Value;

use crate::output::Failure;

/// A prompt with the answer that is wanted.
pub struct Example {
    pub prompt: Prompt,
    pub answer: String,
    pub category: Option<String>,
}

/// Reads a file of JSON lines. Errors name the line, never its content.
pub fn read(path: &Path) -> Result<Vec<Example>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let examples: Vec<Example> = lines
        .map(|(i, line)| {
            let value: Value = serde_json::from_str(line)
                .map_err(|error| format!("{} line {}: {error}", path.display(), i + 1))?;
            example(&value).ok_or_else(|| {
                let need =
                    "needs `prompt` and `completion`, or `messages` ending with the assistant";
                Failure::from(format!("{} line {} {need}", path.display(), i + 1))
            })
        })
        .collect::<Result<_, Failure>>()?;
    if examples.is_empty() {
        return Err(format!("{} holds no examples", path.display()).into());
    }
    Ok(examples)
}

fn example(value: &Value) -> Option<Example> {
    let category = value["category"].as_str().map(str::to_owned);
    let mut prompt = Prompt::default();
    if let Some(messages) = value["messages"].as_array() {
        let (last, turns) = messages.split_last()?;
        let answer = last["content"].as_str().filter(|_| last["role"] == "assistant")?;
        for turn in turns {
            let content = turn["content"].as_str()?.to_owned();
            match turn["role"].as_str()? {
                "system" => prompt.instructions = Some(content),
                "user" => prompt.turns.push(Message { role: Role::User, content }),
                "assistant" => prompt.turns.push(Message { role: Role::Assistant, content }),
                _ => return None,
            }
        }
        return Some(Example { prompt, answer: answer.to_owned(), category });
    }
    let content = value["prompt"].as_str()?.to_owned();
    prompt.turns.push(Message { role: Role::User, content });
    Some(Example { prompt, answer: value["completion"].as_str()?.to_owned(), category })
}
