//! Each rule on examples, what holds on any text, the work on the worst ones, and false alarms.

use std::path::Path;

use proptest::prelude::*;

use super::scan::Text;
use super::*;

/// Texts with the secret in `«»`: exactly that has to go.
const SECRETS: &[&str] = &[
    // Cards: test numbers of the schemes.
    "My card is «4111 1111 1111 1111», valid until 12/27.",
    "«4111111111111111»",
    "pay with «5500-0000-0000-0004» please",
    "amex «3400 000000 00009»",
    "«6011000000000004»; and «3530 1113 3330 0000»!",
    "thirteen: «4222222222222», nineteen: «6304 0000 0000 0000 000»",
    "«4111\u{a0}1111\u{a0}1111\u{a0}1111» and «4111–1111–1111–1111»",
    "full width «４１１１１１１１１１１１１１１１»",
    "spelled out «4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1»",
    "keycaps «4\u{fe0f}\u{20e3}111\u{200b}1111 1111 1111»",
    // Accounts: examples of the IBAN registry.
    "IBAN «DE89 3704 0044 0532 0130 00» bitte",
    "«GB29NWBK60161331926819»",
    "«FR14 2004 1010 0505 0001 3M02 606», merci",
    "konto «no93 8601 1117 947»",
    "«ES91 2100 0418 4502 0005 1332» is mine",
    // One-time codes.
    "Your verification code is «482913».",
    "«482913» is your login code",
    "G-«482913» is your Google verification code.",
    "Code: «123 456». Don't share it.",
    "The OTP «9921» expires in 10 minutes",
    "PIN: «1984»",
    "my card's pin is «1234»",
    "Ihre TAN lautet «735 201»",
    "Ihr Bestätigungscode lautet: «884412»",
    "Dein Aktivierungscode: «55 66 77»",
    "Votre code de vérification est «204816»",
    "Su código de verificación es «7788»",
    "Seu código é «456123»",
    "Il tuo codice è «998877»",
    "Je verificatiecode is «331122»",
    "Twój kod weryfikacyjny to «642135»",
    "Din kod är «112358»",
    "Ваш код подтверждения: «590817»",
    "您的验证码是«482913»，请勿泄露",
    "認証コード：«482913»",
    "인증번호는 «482913» 입니다",
    "رمز التحقق الخاص بك هو «٤٨٢٩١٣»",
    "CVV «123», then «4111 1111 1111 1111»",
    "2FA backup codes: «1234-5678» «2345-6789» «3456-7890»",
    // Passwords.
    "password: «hunter2»",
    "Password = \"«correct»\"",
    "user: ann, pwd: «Tr0ub4dor&3», ok?",
    "the password is «hunter2».",
    "Passwort: «geheim»",
    "mot de passe : «soleil»",
    "contraseña: «Madrid»",
    "пароль: «секрет»",
    "密码：«abc»",
    "myPassword=«x»",
    "{\"password\": \"«x y»\"}",
    "https://ann:«s3cret»@example.org/x",
    // Keys.
    "Authorization: Bearer «abcdef0123456789»",
    "api_key=«0123456789abcdef»",
    "the API key is «a1b2c3d4e5f6g7h8»",
    "client_secret: '«q8Zk3v0bLmPq»'",
    "use «sk-proj-abc123DEF456ghi789» here",
    "token «ghp_16C7e42F292c6912E7710c838347Ae178B4a»",
    "«AKIAIOSFODNN7EXAMPLE»",
    "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U»",
    "«-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\nx==\n-----END RSA PRIVATE KEY-----» that's it",
    "«-----BEGIN OPENSSH PRIVATE KEY-----\ncut off»",
];

/// Texts in which nothing is secret.
const ORDINARY: &[&str] = &[
    "",
    "See you on 12.05.2026 at 14:30, or on 2026-05-12.",
    "Call +49 170 1234567 or 555-0199 or 0171 234567.",
    "The order 1234567 costs 1,299.00 EUR, 1299 $ or $1299.",
    "Order number 20260512001, tracking 1Z999AA10123456784",
    "ISBN 978-3-16-148410-0, EAN 4006381333931 is 13 digits but passes no card test? no: 9012345678902",
    "4111 1111 1111 1112 has a wrong check digit, 411111111111 is short",
    "DE88 3704 0044 0532 0130 00 has wrong check digits",
    "The zip code is 94110, the area code 0415, the error code 1234.",
    "Fehlercode 5012, Postleitzahl 10115",
    "This code from 2023 still runs. We sold 4500 pieces.",
    "Pin it to the wall at 1530 mm. Tan boots, 4500 pairs.",
    "The password is wrong and has to be reset.",
    "I forgot my password, please help",
    "The key is under the mat; the token of my love.",
    "the bearer of this letter, basic training",
    "Unicode has 149813 characters",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "http://example.org:8080/x@y and ann@example.org",
    "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "ask-anything-123456789012",
];

/// The text without its marks, and what is to become of it.
fn marked(text: &str) -> (String, String) {
    let (mut plain, mut wanted) = (String::new(), String::new());
    for (n, part) in text.split(['«', '»']).enumerate() {
        plain.push_str(part);
        wanted.push_str(if n % 2 == 1 { PRIVATE } else { part });
    }
    (plain, wanted)
}

#[test]
fn a_placeholder_goes_whole_or_stays_whole() {
    let text = "DE89sk-4111\u{a0}1111\u{a0}1111\u{a0}1111 and 4111–1111–1111–1111";
    assert_eq!(redact_after("api key = ", text), format!("{PRIVATE} and {PRIVATE}"));
}

#[test]
fn each_secret_goes_and_nothing_else() {
    let wrong: Vec<_> = SECRETS
        .iter()
        .map(|text| marked(text))
        .filter(|(plain, wanted)| redact(plain) != *wanted)
        .map(|(plain, wanted)| (redact(&plain).into_owned(), wanted))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for text in ORDINARY {
        assert_eq!(redact(text), *text);
    }
}

#[test]
fn the_text_before_says_what_a_bare_number_is() {
    assert_eq!(redact("482913"), "482913");
    assert_eq!(redact_after("What is the code that you got?", "482913"), PRIVATE);
    assert_eq!(redact_after("Please enter the verification code", "482913"), PRIVATE);
    assert_eq!(redact_after("Your password:", "hunter2 thanks"), "[private] thanks");
    assert_eq!(redact_after("password: hunter2", "nothing here"), "nothing here");
    let long = "é".repeat(500) + " code";
    assert_eq!(redact_after(&long, "4711"), PRIVATE);
}

/// What a text is made of here: pieces of secrets, words that announce them, and anything.
fn piece() -> impl Strategy<Value = String> {
    let known: Vec<String> = SECRETS.iter().chain(ORDINARY).map(|t| marked(t).0).collect();
    prop_oneof![
        3 => prop::sample::select(known),
        3 => "[0-9 -]{1,24}",
        2 => prop::sample::select(vec![
            "code ", "PIN", " password: ", " is ", "Bearer ", "sk-", "://", ":x@", PRIVATE,
            "-----BEGIN PRIVATE KEY-----", "-----END ", ". ", "\n", "api key = ", "DE89", "[",
        ]).prop_map(str::to_owned),
        2 => any::<String>(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Twice is once; what stays stands in the text in its order; nothing is added but placeholders.
    #[test]
    fn redacting_is_idempotent_and_only_takes_away(before in text(), text in text()) {
        let clean = redact_after(&before, &text).into_owned();
        prop_assert_eq!(&redact_after(&before, &clean), &clean);
        let mut rest = text.as_str();
        for kept in clean.split(PRIVATE) {
            let at = rest.find(kept);
            prop_assert!(at.is_some(), "{:?} is not in {:?}", kept, text);
            rest = &rest[at.unwrap_or(0) + kept.len()..];
        }
    }

    /// Any number with a right check digit goes, whatever stands around it.
    #[test]
    fn every_card_and_account_goes(
        before in "[a-zA-Z ,.]{0,20} ", after in "[ ,.][a-z ]{0,20}",
        digits in "[2-6][0-9]{11,17}", sep in prop::sample::select(vec!["", " ", "-"]),
        account in "[0-9A-Z]{11,30}",
    ) {
        let check = (0..10).find(|c| {
            let all = format!("{digits}{c}");
            let sum: u32 = all.bytes().rev().enumerate().map(|(i, b)| {
                let d = u32::from(b - b'0') * if i % 2 == 1 { 2 } else { 1 };
                d / 10 + d % 10
            }).sum();
            sum.is_multiple_of(10)
        });
        let number = format!("{digits}{}", check.unwrap());
        let groups: Vec<&str> = (0..number.len())
            .step_by(4)
            .map(|at| &number[at..number.len().min(at + 4)])
            .collect();
        let card = groups.join(sep);
        let text = format!("{before}{card}{after}");
        prop_assert!(!redact(&text).contains(&card), "{}", text);

        let rest = format!("{account}DE00").chars().fold(0u32, |rest, c| {
            let value = c.to_digit(36).unwrap();
            (rest * if value >= 10 { 100 } else { 10 } + value) % 97
        });
        let iban = format!("DE{:02}{account}", 98 - rest);
        let text = format!("{before}{iban}{after}");
        prop_assert!(!redact(&text).contains(&iban), "{}", text);
    }
}

/// Characters looked at, for each character of the text.
fn looks_per_character(text: &str) -> f64 {
    let text = Text::new(text);
    spans(&text);
    text.looks.get() as f64 / text.len() as f64
}

#[test]
fn time_is_linear_on_the_worst_texts() {
    let worst = [
        "4",
        "4 ",
        "4-",
        "4444 ",
        "1234 ",
        "12 34 56 ",
        "code ",
        "code 1234 ",
        "code 1",
        "PIN1 ",
        "code code code 123456 ",
        "DE89",
        "DE89 ",
        "DE893704 ",
        "de89 a1b2 ",
        "password:",
        "password: ",
        "key:",
        "key:a",
        "key=key",
        "token ",
        "sk-",
        "sk-a",
        "sk-a1",
        "eyJ",
        "://",
        "://a:",
        "://a:b@",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY",
        "-----BEGIN PRIVATE KEY-----",
        "-",
        "-----END ",
        "----",
        "password is ",
        "password:.",
        "Bearer ",
        "Bearer a1",
        "é",
        "验证码1",
        "\"",
        "password\"\"\"\" ",
        " ",
        "a",
        "A1-",
        "\u{200b}4",
        "CVV 1 ",
        "https://a:b",
    ];
    let mut most: f64 = 0.0;
    for unit in worst {
        let of = |bytes: usize| looks_per_character(&unit.repeat(bytes / unit.len()));
        let (short, long) = (of(4 << 10), of(64 << 10));
        // Sixteen times the text, the same work for each character.
        assert!(long < short * 1.5 + 4.0, "{unit:?}: {short:.0} looks, then {long:.0}");
        most = most.max(long);
    }
    println!("MEASURED: at most {most:.0} looks at a character in 64 KiB of the worst texts");
    assert!(most < 100.0, "{most}");
}

/// The strings of a file, one for each text of a person.
fn texts(name: &str) -> Option<Vec<String>> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let Ok(file) = std::fs::read_to_string(shared.join(name)) else {
        println!("SKIPPED: {name} is not at ../shared/data; false alarms not measured");
        return None;
    };
    if !name.ends_with(".jsonl") {
        return Some(file.lines().map(str::to_owned).collect());
    }
    let mut texts = Vec::new();
    for line in file.lines() {
        strings(&serde_json::from_str(line).expect("JSON lines"), &mut texts);
    }
    Some(texts)
}

fn strings(value: &serde_json::Value, out: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => out.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| strings(field, out)),
        _ => {}
    }
}

/// Where nobody speaks of PINs, fewer than one text in a thousand may lose anything. Telling
/// one's PIN is one of the intents of CLINC150.
#[test]
fn ordinary_text_is_left_alone() {
    let corpora = [
        "sgd-dialogues/dev.jsonl",
        "intent-clinc150/train.jsonl",
        "iterater/human_sent_train.jsonl",
        "instruct-prompts/mt_bench_question.jsonl",
        "instruct-prompts/self_instruct_seed_tasks.jsonl",
        "gsm8k/train.jsonl",
        "wikitext-2/valid.txt",
    ];
    for name in corpora {
        let Some(texts) = texts(name) else { continue };
        let numbers = texts.iter().filter(|text| text.contains(|c: char| c.is_ascii_digit()));
        let lost = |text: &&String| redact(text) != **text && !text.to_lowercase().contains("pin");
        let changed: Vec<&String> = texts.iter().filter(lost).collect();
        println!(
            "MEASURED: {name}: {} of {} texts, {} with digits, lose something",
            changed.len(),
            texts.len(),
            numbers.count()
        );
        assert!(changed.len() * 1000 < texts.len(), "{name}: {}", changed.len());
    }
}
