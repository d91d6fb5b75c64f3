//! Chat templates as a file may have them, on any messages.

use arbitrary::{Arbitrary, Unstructured};
use sapwood_models::{Message, Role, Template};

/// Longest source: what the product accepts has no shorter programs in it.
const SOURCE_BYTES: usize = 1 << 14;

/// A byte for what is said, up to a NUL what is said, and the rest is the template.
pub fn template(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let (texts, source) = match rest.iter().position(|&byte| byte == 0) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (&b"hello\x01 <|im_end|> world"[..], rest),
    };
    let source = String::from_utf8_lossy(source);
    let source = &source[..source.floor_char_boundary(SOURCE_BYTES)];
    let Ok(template) = Template::new(source, "<s>", "</s>") else { return };
    let messages = messages(choice, texts).unwrap_or_default();
    let rendered = template.render(&messages, choice & 1 == 0);
    match (&rendered, template.render(&messages, choice & 1 == 0)) {
        (Ok(text), again) => assert_eq!(again.as_ref(), Ok(text)),
        (Err(error), again) => {
            assert_eq!(again.as_ref().err(), Some(error));
            assert!(error.to_string().len() < 2048, "a message of any length");
        }
    }
}

fn messages(choice: u8, texts: &[u8]) -> arbitrary::Result<Vec<Message>> {
    let mut roles = Unstructured::new(std::slice::from_ref(&choice));
    let first = u8::arbitrary(&mut roles)? >> 1;
    let texts = texts.split(|&byte| byte == 1).take(8).enumerate();
    Ok(texts
        .map(|(at, text)| {
            let role = match (usize::from(first) + at) % 3 {
                0 => Role::User,
                1 => Role::Assistant,
                _ => Role::System,
            };
            Message::new(role, String::from_utf8_lossy(text))
        })
        .collect())
}
