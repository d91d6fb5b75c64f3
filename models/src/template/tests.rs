//! Real templates in short against Jinja2's own renderings (`testdata/make.py`), and hostile ones.

use std::time::{Duration, Instant};

use super::render::{BUDGET, MAX_OUTPUT_BYTES};
use super::*;

/// The chats of `testdata/make.py`.
fn chats() -> [(Vec<Message>, bool); 4] {
    let system = || Message::new(Role::System, "Be brief.");
    let user = || Message::new(Role::User, "  Hi, what's \"2 + 2\"?\n<b>é🦙</b> ");
    let assistant = || Message::new(Role::Assistant, "<think>\nadd\n</think>\n\nFour.\n");
    [
        (vec![user()], true),
        (vec![system(), user(), assistant(), user()], true),
        (vec![user(), assistant()], false),
        (vec![user(), user()], true),
    ]
}

fn renders_like_jinja2(source: &str, expected: &str) {
    let template = Template::new(source, "<s>", "</s>").unwrap();
    let expected: Vec<&str> = expected.split("\n=====\n").collect();
    assert_eq!(expected.len(), 4);
    for ((messages, prompt), expected) in chats().iter().zip(expected) {
        let found = match template.render(messages, *prompt) {
            Err(TemplateError::Refused { reason, .. }) => format!("REFUSED {reason}"),
            other => other.unwrap(),
        };
        assert_eq!(found, expected);
    }
}

macro_rules! like_jinja2 {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() {
            renders_like_jinja2(
                include_str!(concat!("testdata/", $name, ".jinja")),
                include_str!(concat!("testdata/", $name, ".out")),
            );
        })*
    };
}

like_jinja2! {
    llama_3: "llama3",
    llama_3_2: "llama32",
    qwen_2_5: "qwen25",
    qwen_3: "qwen3",
    gemma_2: "gemma2",
    gemma_3: "gemma3",
    smollm_2: "smollm2",
    phi_3: "phi3",
    white_space: "whitespace",
    expressions: "expressions",
}

fn render(source: &str) -> Result<String, TemplateError> {
    let user = Message::new(Role::User, "secret words");
    Template::new(source, "<s>", "</s>")?.render(&[user], true)
}

/// Refused, and soon.
fn hostile(source: &str) -> TemplateError {
    let start = Instant::now();
    let error = render(source).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20), "{error}: {:?}", start.elapsed());
    assert!(!error.to_string().contains("secret"), "{error}");
    error
}

const BROKE: TemplateError = TemplateError::Budget { line: 1, max: BUDGET };

#[test]
fn loops_without_end_run_out_of_budget() {
    let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert_eq!(hostile(nested), BROKE);
    assert_eq!(hostile("{{ range(999999999999) }}"), BROKE);
    let error = hostile("{% for i in range(0, 9, -0) %}{% endfor %}");
    assert!(matches!(error, TemplateError::Type { line: 1, .. }), "{error}");
}

#[test]
fn what_doubles_runs_out_of_budget() {
    let twice = |body: &str| {
        format!("{{% set n = namespace(x='ab') %}}{{% for i in range(64) %}}{body}{{% endfor %}}")
    };
    assert_eq!(hostile(&twice("{% set n.x = n.x ~ n.x %}")), BROKE);
    assert_eq!(hostile(&twice("{% set n.x = n.x + n.x %}")), BROKE);
    assert_eq!(hostile(&twice("{% set n.x = n.x * 1000000000 %}")), BROKE);
    assert_eq!(hostile(&twice("{% set n.x = n.x.replace('', n.x) %}")), BROKE);
    assert_eq!(hostile(&twice("{% set n.x = n.x | replace('a', n.x) %}")), BROKE);
    assert_eq!(hostile(&twice("{% set n.x = [n.x, n.x] | join(n.x) %}")), BROKE);
    assert_eq!(hostile(&twice("{% set n.x = n.x | indent(64, true) ~ '\n' ~ n.x %}")), BROKE);
    let error = hostile(&twice("{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}"));
    assert!(matches!(error, BROKE | TemplateError::OutputTooLarge { .. }), "{error}");
    // A list that holds itself twice, over and over: short to write, endless to print or compare.
    let pairs = twice("{% set n.x = [n.x, n.x] %}");
    assert_eq!(hostile(&pairs), TemplateError::TooDeep { line: 1, max: 32 });
    let few = pairs.replace("64", "31");
    assert_eq!(hostile(&format!("{few}{{{{ n.x }}}}")), BROKE);
    assert_eq!(hostile(&format!("{few}{{{{ n.x | tojson }}}}")), BROKE);
    assert_eq!(hostile(&format!("{few}{{{{ n.x == n.x }}}}")), BROKE);
}

#[test]
fn output_is_bounded() {
    let error = hostile("{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}");
    assert!(matches!(error, BROKE | TemplateError::OutputTooLarge { max: MAX_OUTPUT_BYTES }));
    let source = "{{ 'x' * 4200000 }}";
    assert_eq!(hostile(source), TemplateError::OutputTooLarge { max: MAX_OUTPUT_BYTES });
}

#[test]
fn depth_is_bounded_while_reading_and_while_rendering() {
    let too_deep = |source: &str| {
        let error = hostile(source);
        assert!(matches!(error, TemplateError::TooDeep { line: 1, .. }), "{error}");
    };
    too_deep(&format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)));
    too_deep(&format!("{{{{ {}1 }}}}", "not ".repeat(10_000)));
    too_deep(&format!("{{{{ {}1 }}}}", "- ".repeat(10_000)));
    too_deep(&format!("{{{{ {}1{} }}}}", "[".repeat(10_000), "]".repeat(10_000)));
    too_deep(&"{% if 1 %}".repeat(10_000));
    too_deep(&format!("{{{{ {}2 }}}}", "1 if 1 else ".repeat(10_000)));
    too_deep("{% macro f(s) %}{{ f(s ~ 1) }}{% endmacro %}{{ f('x') }}");
    assert_eq!(hostile("{% macro f(s) %}{{ f(s ~ s) }}{% endmacro %}{{ f('x') }}"), BROKE);
    too_deep(
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    );
    // Long is not deep.
    assert_eq!(render(&format!("{{{{ 0{} }}}}", " + 1".repeat(10_000))).unwrap(), "10000");
    assert_eq!(render(&format!("{{{{ 'x'{} }}}}", "|trim".repeat(10_000))).unwrap(), "x");
}

#[test]
fn a_small_stack_is_enough() {
    let worst = [
        format!("{{{{ {}1{} }}}}", "[".repeat(31), "]".repeat(31)),
        "{% macro f(s) %}{{ f([(s)]) }}{% endmacro %}{{ f('x') }}".to_owned(),
        "{% if 1 %}".repeat(10_000),
    ];
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let thread = thread.spawn(move || worst.iter().filter(|source| render(source).is_ok()).count());
    assert_eq!(thread.unwrap().join().unwrap(), 1);
}

#[test]
fn errors_name_the_line_and_never_the_messages() {
    let fails = |source: &str| render(source).unwrap_err();
    let line = 2;
    let error = fails("a\n{{ nothing.at.all }}");
    assert_eq!(error, TemplateError::Undefined { line, name: "nothing".into() });
    let error = fails("a\n{{ messages[9].role }}");
    assert_eq!(error, TemplateError::Undefined { line, name: "messages".into() });
    let error = fails("\n{{ strftime_now('%Y') }}");
    assert_eq!(error, TemplateError::Undefined { line, name: "strftime_now".into() });
    let error = fails("\n{{ raise_exception('no ' ~ messages[0].content) }}");
    assert!(matches!(error, TemplateError::Refused { line: 2, .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let error = fails("\n{{ 1 + messages[0].content }}");
    assert!(matches!(error, TemplateError::Type { line: 2, .. }), "{error}");
    for (source, what) in [
        ("{% include 'x' %}", "{% include %}"),
        ("{% call f() %}{% endcall %}", "{% call %}"),
        ("{{ 1 | pprint }}", "pprint"),
        ("{{ 'x'.zfill(3) }}", "zfill"),
        ("{{ 1 is sorted }}", "sorted"),
        ("{{ 1 / 2 }}", "/"),
        ("{{ ''.__class__() }}", "__class__"),
    ] {
        assert_eq!(fails(source), TemplateError::Unsupported { line: 1, what: what.into() });
    }
    for source in [
        "{{",
        "{{ 1",
        "{% if %}{% endif %}",
        "{% if 1 %}",
        "{% endif %}",
        "{{ 'x }}",
        "{# x",
        "{{ 1 + }}",
        "{{ [1 }}",
        "{{ {'a'} }}",
        "{{ a[ }}",
        "{{ a.1b }}",
        "{{ 1 2 }}",
        "{% set %}",
        "{% for in x %}{% endfor %}",
        "{{ \"\\ud800\" }}",
        "{{ 99999999999999999999 }}",
        "{{ @ }}",
    ] {
        let error = fails(source);
        assert!(matches!(error, TemplateError::Syntax { line: 1, .. }), "{source}: {error}");
    }
}

#[test]
fn unused_parts_that_we_do_not_have_do_no_harm() {
    let source = "{% if tools %}{{ tools | pprint | xmlattr }}{{ 1 / 2 }}{% endif %}ok";
    assert_eq!(render(source).unwrap(), "ok");
}

#[test]
fn the_digest_is_that_of_the_text() {
    let digest = Template::new("abc", "", "").unwrap().digest();
    assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf], "SHA-256 of abc");
    let too_large = " ".repeat(MAX_TEMPLATE_BYTES + 1);
    let error = Template::new(&too_large, "", "").err().unwrap();
    assert!(matches!(error, TemplateError::TooLarge { .. }));
}

proptest::proptest! {
    #[test]
    fn no_template_panics(
        source in "[{}%#\\-+ \n'\"a-c0-2\\[\\]().,|~=<>!:*/\\\\]{0,60}",
        tail in ".*",
    ) {
        let _ = render(&source);
        let _ = render(&format!("{{{{ {source} }}}}{tail}"));
        let _ = render(&format!("{{% for a in {source} %}}{{{{ a.b | trim }}}}{{% endfor %}}"));
    }

    #[test]
    fn messages_come_through_unchanged(content in ".*") {
        let template = Template::new("{{ messages[0].content }}", "", "").unwrap();
        let message = Message::new(Role::User, content.clone());
        proptest::prop_assert_eq!(template.render(&[message], false).unwrap(), content);
    }
}

/// The template of one of llama.cpp's vocabulary files, or a loud skip.
fn renders_the_file(name: &str, expected: &str) {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(format!("../../shared/data/vocab/ggml-vocab-{name}.gguf"));
    let Ok(bytes) = std::fs::read(&path) else {
        println!("SKIPPED: {} is not there, nothing compared", path.display());
        return;
    };
    let gguf = Gguf::parse(&bytes).unwrap();
    renders_like_jinja2(gguf.str("tokenizer.chat_template").unwrap(), expected);
}

#[test]
fn whole_templates_of_published_models_render_like_jinja2() {
    renders_the_file("qwen2", include_str!("testdata/file-qwen2.out"));
    renders_the_file("phi-3", include_str!("testdata/file-phi-3.out"));
    renders_the_file("gemma-4", include_str!("testdata/file-gemma-4.out"));
}

/// A model file's metadata with a few SentencePiece tokens and perhaps a template.
fn file(with_chat_ml: bool, template: Option<&str>) -> Gguf {
    let marker = if with_chat_ml { "<|im_start|>" } else { "<|other|>" };
    let mut writer = crate::gguf::GgufWriter::new();
    writer.put("tokenizer.ggml.model", "llama");
    writer.put_strings("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "▁", "a", marker]);
    writer.put_f32s("tokenizer.ggml.scores", &[0.0; 6]);
    writer.put_i32s("tokenizer.ggml.token_type", &[2, 3, 3, 1, 1, 3]);
    if let Some(template) = template {
        writer.put("tokenizer.chat_template", template);
    }
    Gguf::parse(&writer.to_bytes()).unwrap()
}

#[test]
fn a_file_without_template_gets_the_usual_one_or_none() {
    let open = |gguf: &Gguf| Template::from_gguf(gguf, &Tokenizer::from_gguf(gguf).unwrap());
    let chat = [Message::new(Role::System, "S"), Message::new(Role::User, "U")];
    let usual = open(&file(true, None)).unwrap().render(&chat, true).unwrap();
    let expected = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n\
                    <|im_start|>assistant\n";
    assert_eq!(usual, expected);
    assert_eq!(open(&file(false, None)).err(), Some(TemplateError::Missing));
    let own = open(&file(true, Some("{{ bos_token }}{{ eos_token }}{{ messages | length }}")));
    assert_eq!(own.unwrap().render(&chat, true).unwrap(), "<s></s>2");
}
