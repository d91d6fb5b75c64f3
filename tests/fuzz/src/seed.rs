//! What the fuzzer begins with.

use crate::hostile;
use crate::hostile::file::{Description, Encoded, Tensor};
use crate::hostile::small::Shape;

/// Target, name and bytes of every seed.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for architecture in ["llama", "qwen2", "qwen3", "gemma3"] {
        let shape =
            Shape { sentence_piece: architecture == "gemma3", ..Shape::fixed(architecture) };
        let mut file = shape.describe();
        if architecture == "qwen3" {
            seeds.push(("gguf", architecture.to_owned(), file.write()));
        }
        // The tokenizer alone: most of the file is tensors otherwise.
        file.tensors.clear();
        seeds.push(("gguf", format!("{architecture}-vocabulary"), file.write()));
    }
    seeds.push(("gguf", "types".to_owned(), value_types().write()));
    seeds.push(("gguf", "blocks".to_owned(), block_types().write()));
    for (at, case) in hostile::cases().into_iter().enumerate() {
        if case.file.len() < 2048 {
            seeds.push(("gguf", format!("attack-{at}"), case.file));
        }
    }
    for (at, source) in TEMPLATES.into_iter().enumerate() {
        let seed = [b"\x02hello\x01there\x01again\0".as_slice(), source.as_bytes()].concat();
        seeds.push(("template", at.to_string(), seed));
    }
    // What these take is read as a list of choices.
    let choices = [
        ("gguf_model", 300),
        ("adapter", 200),
        ("tokenizer", 500),
        ("segment", 300),
        ("manifest", 300),
        ("checkpoint", 100),
        ("ffi", 600),
    ];
    for (target, len) in choices {
        for seed in 0..24 {
            seeds.push((target, seed.to_string(), noise(seed, len)));
        }
    }
    for first in 0..=1 {
        seeds.push(("checkpoint", format!("file-{first}"), checkpoint(first)));
        seeds.push(("adapter", format!("file-{first}"), vec![first, b'G', b'G', b'U', b'F']));
    }
    seeds
}

fn checkpoint(first: u8) -> Vec<u8> {
    [&[first][..], &sapwood::fuzz::small_checkpoint()].concat()
}

/// Bytes of a linear congruential generator (Knuth's MMIX).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A key of every type, alone and in an array.
fn value_types() -> Description {
    let mut file = Description::default();
    for value_type in (0..=12u32).filter(|&value_type| value_type != 9) {
        let bytes: &[u8] = match value_type {
            0 | 1 | 7 => &[1],
            2 | 3 => &[1, 2],
            4..=6 => &[1, 2, 3, 4],
            8 => b"\x02\0\0\0\0\0\0\0ab",
            _ => &[1, 2, 3, 4, 5, 6, 7, 8],
        };
        file.set(&format!("k{value_type}"), Encoded { value_type, bytes: bytes.to_vec() });
        file.set(
            &format!("a{value_type}"),
            Encoded::array(value_type, 2, &[bytes, bytes].concat()),
        );
    }
    file
}

/// A tensor of every block type: ggml's number, values and bytes of a block.
fn block_types() -> Description {
    let mut file = Description::default();
    file.set("general.alignment", Encoded::u32(64));
    file.alignment = 64;
    for (ggml_type, values, bytes) in [
        (0, 1, 4),
        (1, 1, 2),
        (2, 32, 18),
        (3, 32, 20),
        (6, 32, 22),
        (7, 32, 24),
        (8, 32, 34),
        (12, 256, 144),
        (13, 256, 176),
        (14, 256, 210),
        (30, 1, 2),
    ] {
        let name = format!("t{ggml_type}").into_bytes();
        let tensor = Tensor {
            name,
            dims: vec![values, 2],
            ggml_type,
            offset: None,
            data: vec![7; 2 * bytes],
        };
        file.tensors.push(tensor);
    }
    file
}

const TEMPLATES: [&str; 8] = [
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != \
     (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}{{ message.content | trim }}\
     {{ eos_token }}{% endfor %}",
    "{%- set ns = namespace(n=0, last='') -%}{%- for m in messages[1:] -%}{%- set ns.n = ns.n + 1 \
     -%}{%- if not loop.first %}, {% endif -%}{{- m.content[:3] | upper -}}{%- endfor -%}{{ ns.n }}",
    "{% macro turn(m, end='\\n') %}<{{ m.role }}>{{ m.content }}{{ end }}{% endmacro %}\
     {% for m in messages %}{{ turn(m) }}{% endfor %}",
    "{{ messages | map(attribute='content') | join('|') }}{{ messages | length }}\
     {{ messages[-1]['content'].split(' ')[0] }}{{ 'a' ~ 1 ~ true ~ none }}",
    "{% if tools is defined and tools is not none %}{{ tools | tojson }}{% elif messages[0].role in \
     ['system', 'user'] %}{{ range(3) | list }}{% else %}{{ {'a': [1, 2.5, (3,)]} }}{% endif %}",
    "{% for i in range(100000) %}{{ 'x' * 100 }}{% endfor %}",
    "{{ ((1 + 2) * -3 // 2 ** 2 % 5) is odd }}{{ 'abc' | replace('b', '') | capitalize }}\
     {{ strftime_now('%Y') if strftime_now is defined else '' }}{# comment #}",
];
