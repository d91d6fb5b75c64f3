//! Attacks with hyper-parameters, and with chat templates.

use super::file::Encoded;
use super::small::Shape;
use super::{Case, case};

/// A small model with one key changed.
fn changed(key: &str, value: Encoded) -> Vec<u8> {
    let mut file = Shape::fixed("llama").describe();
    file.set(key, value);
    file.write()
}

fn without(key: &str) -> Vec<u8> {
    let mut file = Shape::fixed("llama").describe();
    file.keys.retain(|(known, _)| known != key.as_bytes());
    file.write()
}

pub fn cases() -> Vec<Case> {
    let mut missing = Shape::fixed("llama").describe();
    missing.tensors.retain(|tensor| tensor.name != b"blk.0.ffn_up.weight");
    let mut shape = Shape::fixed("llama").describe();
    for tensor in shape.tensors.iter_mut().filter(|tensor| tensor.name == b"blk.0.ffn_up.weight") {
        tensor.dims.reverse();
    }
    let mut table = Shape::fixed("llama").describe();
    for tensor in table.tensors.iter_mut().filter(|tensor| tensor.name == b"token_embd.weight") {
        tensor.dims[1] -= 1;
        tensor.data.truncate(tensor.data.len() - 64);
    }
    let mut gemma = Shape::fixed("gemma3").describe();
    gemma.set("gemma3.attention.sliding_window_pattern", Encoded::u32(0));
    let nan = Encoded::f32(f32::NAN);
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    vec![
        case(
            "513 layers in a table of 512",
            "ggml-org/llama.cpp#25821",
            changed("llama.block_count", Encoded::u32(513)),
            ("OutOfRange", "llama.block_count"),
        ),
        case(
            "no query heads: a division by zero",
            "no number: SIGFPE in several loaders",
            changed("llama.attention.head_count", Encoded::u32(0)),
            ("OutOfRange", "attention.head_count"),
        ),
        case(
            "no key heads: a division by zero",
            "no number: SIGFPE in several loaders",
            changed("llama.attention.head_count_kv", Encoded::u32(0)),
            ("OutOfRange", "attention.head_count_kv"),
        ),
        case(
            "an array where a number is read",
            "CVE-2025-0312 (ollama); CVE-2025-62609 (mlx)",
            changed("llama.block_count", Encoded::i32s(&[1])),
            ("WrongType", "llama.block_count"),
        ),
        case(
            "no architecture",
            "CVE-2025-0312 (ollama)",
            without("general.architecture"),
            ("MissingKey", "general.architecture"),
        ),
        case(
            "an architecture that nobody knows",
            "ollama/ollama: nil map",
            changed("general.architecture", Encoded::text(b"x")),
            ("UnknownArchitecture", "x"),
        ),
        case(
            "heads wider than the rotation's table",
            "no number: rope of more columns than a head",
            changed("llama.rope.dimension_count", Encoded::u32(10)),
            ("OutOfRange", "rope.dimension_count"),
        ),
        case(
            "an odd number of columns that turn",
            "no number: pairs of columns",
            changed("llama.rope.dimension_count", Encoded::u32(3)),
            ("NotAMultiple", "3"),
        ),
        case(
            "an epsilon that is no number",
            "no number: NaN in every activation",
            changed(epsilon, nan),
            ("BadFloat", "layer_norm_rms_epsilon"),
        ),
        case(
            "a sliding window of a pattern of none: modulo zero",
            "no number: SIGFPE",
            gemma.write(),
            ("OutOfRange", "sliding_window_pattern"),
        ),
        case(
            "more experts than there are",
            "no number: expert_used_count beyond its table",
            changed("llama.expert_count", Encoded::u32(u32::MAX)),
            ("UnsupportedFeature", "expert_count"),
        ),
        case(
            "a tensor that is missing",
            "CVE-2025-0312 (ollama): null pointer",
            missing.write(),
            ("MissingTensor", "ffn_up.weight"),
        ),
        case(
            "a tensor of another shape than the model's",
            "no number: shapes believed",
            shape.write(),
            ("TensorShape", "ffn_up.weight"),
        ),
        case(
            "fewer rows than tokens",
            "no number: get_rows behind the table",
            table.write(),
            ("Vocabulary", "token_embd.weight"),
        ),
    ]
}

pub fn templates() -> Vec<Case> {
    let template =
        |source: &str| changed("tokenizer.chat_template", Encoded::text(source.as_bytes()));
    let doubled = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}\
        {% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}";
    let nested = format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000));
    vec![
        case(
            "code that a template runs",
            "CVE-2024-34359 (llama-cpp-python)",
            template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
            ("", "chat template"),
        ),
        case(
            "a text that doubles sixty times",
            "CVE-2025-52566 (llama.cpp, a text of 2^31 tokens from a template)",
            template(doubled),
            ("", "chat template"),
        ),
        case(
            "a loop without end",
            "no number: templates as programs",
            template("{% for i in range(10 ** 12) %}x{% endfor %}"),
            ("", "chat template"),
        ),
        case(
            "ten thousand brackets: the parser's own stack",
            "no number: recursion",
            template(&format!("{{{{ {nested} }}}}")),
            ("TooDeep", "deep"),
        ),
        case(
            "a template that never ends",
            "no number: parsers at the end of the text",
            template("{% for m in messages %}{{ m"),
            ("Syntax", "expected"),
        ),
        case(
            "a template that is a number",
            "ggml-org/llama.cpp#26318 (types not asked for)",
            changed("tokenizer.chat_template", Encoded::u32(1)),
            ("WrongType", "tokenizer.chat_template"),
        ),
    ]
}
