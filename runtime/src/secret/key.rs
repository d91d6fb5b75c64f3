//! Passwords and keys: what stands behind a label, and tokens that name themselves.

use std::ops::Range;

use super::PRIVATE;
use super::scan::Text;

/// What stands behind one of these is secret whatever it looks like, folded.
const PASSWORD: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passwort",
    "kennwort",
    "passe",
    "contrasena",
    "senha",
    "wachtwoord",
    "losenord",
    "salasana",
    "adgangskode",
    "parola",
    "sifre",
    "haslo",
    "heslo",
    "jelszo",
    "пароль",
    "пароля",
    "密码",
    "密碼",
    "パスワード",
    "비밀번호",
    "passphrase",
    "passcode",
];
/// What stands behind one of these is secret if it looks like a key.
const KEY: &[&str] = &["key", "token", "secret", "credential"];
/// Beginnings of tokens, in their own case.
const PREFIX: &[&str] = &[
    "sk-",
    "sk_",
    "pk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "npm_",
    "pypi-",
    "hf_",
    "SG.",
    "shpat_",
    "dop_v1_",
    "AGE-SECRET-KEY-1",
];
/// Fewest characters of a token behind its prefix.
const TOKEN: usize = 12;

/// Characters by which a value is judged; the rest goes with them.
const JUDGED: usize = 64;

/// Passwords, tokens and private keys.
pub fn spans(text: &Text) -> Vec<Range<usize>> {
    let mut found = blocks(text);
    let mut done = 0;
    for word in text.words(32) {
        if word.start < done {
            continue;
        }
        let name = text.word(word.clone());
        // Written together with what stands before: myPassword, API_KEY.
        let ends = |label: &&str| name.ends_with(*label);
        let label = if PASSWORD.iter().any(ends) {
            Label::Password
        } else if matches!(name.as_str(), "bearer" | "basic") {
            Label::Scheme
        } else if KEY.iter().any(ends) {
            Label::Key
        } else {
            continue;
        };
        if let Some(span) = behind(text, word.end, label) {
            done = span.end;
            found.push(span);
        }
    }
    done = 0;
    for at in 0..text.len() {
        let before = text.before(at);
        if at >= done
            && !before.is_alphanumeric()
            && let Some(span) = token(text, at)
        {
            done = span.end;
            found.push(span);
        }
        if before == '/' && at > 2 && text.get(at - 2) == '/' && text.get(at - 3) == ':' {
            found.extend(credentials(text, at));
        }
    }
    found
}

/// What stands in front of a value.
#[derive(Clone, Copy, PartialEq)]
enum Label {
    Password,
    Key,
    /// `Bearer`, `Basic`: the value follows without a sign.
    Scheme,
}

/// The value behind a label that ends at `at`: `: value`, `= "value"`, `is value`.
fn behind(text: &Text, at: usize, label: Label) -> Option<Range<usize>> {
    let blank = |c: char| c == ' ' || c == '\t';
    let quote = |c: char| matches!(c, '"' | '\'' | '`' | '“' | '”' | '„' | '«' | '»' | '*');
    let sign = text.skip(text.skip(at, 2, quote), 8, blank);
    let mut value = text.skip(sign, 3, |c| matches!(c, ':' | '=' | '>'));
    let said = value > sign;
    if !said && label != Label::Scheme {
        let verb = VERBS.iter().find(|verb| text.goes_on(sign, verb))?;
        value += verb.chars().count();
    }
    value = text.skip(value, 8, |c| blank(c) || c == '\n');
    let quoted = quote(text.get(value));
    value = text.skip(value, 2, quote);
    if text.goes_on(value, PRIVATE) {
        return None;
    }
    let part = |c: char| !c.is_whitespace() && !quote(c);
    let judged = value..text.skip(value, JUDGED, part);
    let sure = label == Label::Password && (said || quoted);
    if !sure && !is_random(text, judged, label != Label::Password) {
        return None;
    }
    let mut end = trimmed(text, value, text.skip(value, usize::MAX, part));
    if quoted {
        // With its spaces, if the quotation ends in this line.
        let close = text.skip(value, JUDGED, |c| !quote(c) && c != '\n');
        end = if quote(text.get(close)) { end.max(close) } else { end };
    }
    (end > value).then_some(value..end)
}

/// What stands between a label and its value in a sentence, with the space behind.
const VERBS: &[&str] = &["is ", "ist ", "est ", "es ", "e ", "var ", "lautet ", "to ", "- "];

/// Where a value ends without the punctuation of its sentence; a password may end in `!`.
fn trimmed(text: &Text, start: usize, mut end: usize) -> usize {
    while end > start && matches!(text.before(end), '.' | ',' | ';' | ')' | '}' | ']') {
        end -= 1;
    }
    end
}

/// Whether it looks like no word: letters with digits or signs among them, or letters of both
/// cases mixed; and, where so `long` a thing is asked for, twelve characters of it.
fn is_random(text: &Text, span: Range<usize>, long: bool) -> bool {
    let (mut digits, mut upper, mut lower, mut signs) = (0, 0, 0, 0);
    for i in span.clone() {
        let c = text.get(i);
        digits += usize::from(c.is_ascii_digit());
        // A capital at the beginning is a word's.
        upper += usize::from(c.is_uppercase() && i > span.start);
        lower += usize::from(c.is_lowercase());
        signs +=
            usize::from(matches!(c, '!'..='/' | ':'..='@' | '['..='`' | '{'..='~') && c != '-');
    }
    let length = span.len();
    if long {
        return length >= TOKEN && lower + upper > 0 && digits > 0;
    }
    length >= 4 && (digits > 0 || signs > 0 || (upper > 0 && lower > 0))
}

/// A token with a known beginning.
fn token(text: &Text, start: usize) -> Option<Range<usize>> {
    let is = |prefix: &str| prefix.chars().enumerate().all(|(i, c)| text.get(start + i) == c);
    let prefix = PREFIX.iter().find(|prefix| is(prefix))?;
    let body = start + prefix.len();
    let of = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '+' | '/');
    let judged = text.skip(body, JUDGED, of);
    if judged - body < TOKEN || !(body..judged).any(|i| text.get(i).is_ascii_digit()) {
        return None;
    }
    Some(start..trimmed(text, judged, text.skip(judged, usize::MAX, of)))
}

/// The password in `//user:password@host`, where `start` is behind the slashes.
fn credentials(text: &Text, start: usize) -> Option<Range<usize>> {
    let part = |c: char| !c.is_whitespace() && !matches!(c, ':' | '@' | '/' | '\0');
    let colon = text.skip(start, 256, part);
    let end = text.skip(colon + 1, 256, part);
    let kept = text.goes_on(colon + 1, PRIVATE);
    (text.get(colon) == ':' && text.get(end) == '@' && end > colon + 1 && !kept)
        .then_some(colon + 1..end)
}

/// Private keys in PEM: to the end of the block, or of the text if it has none.
fn blocks(text: &Text) -> Vec<Range<usize>> {
    const BEGIN: &str = "-----begin ";
    const END: &str = "-----end ";
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text.get(at) != '-' || !text.goes_on(at, BEGIN) {
            at += 1;
            continue;
        }
        let name = at + BEGIN.len()..text.skip(at + BEGIN.len(), 48, |c| c != '-' && c != '\n');
        if !text.word(name.clone()).contains("private key") {
            at = name.end;
            continue;
        }
        let close = (name.end..text.len()).find(|&i| text.get(i) == '-' && text.goes_on(i, END));
        let end = close.map_or(text.len(), |i| {
            let name = text.skip(i + END.len(), 64, |c| c != '-' && c != '\n');
            text.skip(name, 5, |c| c == '-')
        });
        found.push(at..end);
        at = end;
    }
    found
}
