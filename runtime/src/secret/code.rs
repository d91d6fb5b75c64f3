//! One-time codes: a few digits near a word that says so.
//!
//! A number of 4 to 8 digits, in one piece or in two or three equal groups, is a code if a word for
//! codes stands at most [`BEFORE`] characters before or [`AFTER`] behind it. Clear words (OTP, TAN,
//! verification …) always count. "Code" alone means many things: it does not count as part of a
//! known other one (zip code, error code), for a year, or across the end of a sentence in its line. Dates,
//! times, prices and numbers with a decimal point are none.

use std::ops::Range;

use super::scan::Text;

/// Characters between a word and the digits behind it.
const BEFORE: usize = 40;
/// Characters between the digits and a word behind them: "482913 is your login code".
const AFTER: usize = 24;

/// Words that mean a one-time code or a secret number whatever stands around them, folded.
const CLEAR: &[&str] = &[
    "otp",
    "totp",
    "2fa",
    "mfa",
    "passcode",
    "onetime",
    "verification",
    "authentication",
    "authenticator",
    "einmalcode",
    "einmalkennwort",
    "einmalpasswort",
    "bestatigungscode",
    "sicherheitscode",
    "verifizierungscode",
    "zugangscode",
    "freischaltcode",
    "anmeldecode",
    "verificacion",
    "verificacao",
    "verifica",
    "verificatiecode",
    "beveiligingscode",
    "weryfikacyjny",
    "potwierdzenia",
    "autoryzacyjny",
    "overovaci",
    "dogrulama",
    "onay",
    "bekraftelsekod",
    "engangskod",
    "engangskode",
    "vahvistuskoodi",
    "ellenorzo",
    "подтверждения",
    "проверочныи",
    "проверочный",
    "одноразовый",
    "pincode",
    "pinkode",
    "التحقق",
    "ओटीपी",
];
/// Words for a code of any kind, folded.
const PLAIN: &[&str] = &[
    "code",
    "codes",
    "codigo",
    "codice",
    "kod",
    "kode",
    "koodi",
    "код",
    "код",
    "कोड",
    "رمز",
    "pin",
];
/// Written together with what stands around them.
const UNSPACED: &[&str] = &[
    "验证码",
    "驗證碼",
    "校验码",
    "認証コード",
    "認証番号",
    "인증번호",
    "인증코드",
    "確認コード",
    "รหัส",
];
/// What makes a verb of "pin".
const OBJECTS: &[&str] = &["it", "them", "this", "that", "the", "a", "an", "up", "down"];
/// What makes of "code" something that is no secret.
const OTHER: &[&str] = &[
    "zip",
    "post",
    "postal",
    "area",
    "country",
    "error",
    "exit",
    "status",
    "http",
    "return",
    "dress",
    "source",
    "qr",
    "bar",
    "product",
    "promo",
    "discount",
    "coupon",
    "voucher",
    "order",
    "tracking",
    "item",
    "colour",
    "color",
    "sort",
    "dialling",
    "dialing",
    "flight",
    "course",
    "building",
    "tax",
    "morse",
    "machine",
    "penal",
    "civil",
    "postale",
    "postal",
    "fehler",
    "produkt",
    "rabatt",
    "aktions",
    "gutschein",
    "quell",
    "lander",
];

#[derive(Clone, Copy, PartialEq)]
enum Means {
    /// A secret code.
    Clear,
    /// Some code.
    Plain,
    /// A card's check number, of three digits or four.
    Card,
}

struct Mark {
    at: Range<usize>,
    means: Means,
}

/// One-time codes, PINs and card check numbers.
pub fn spans(text: &Text) -> Vec<Range<usize>> {
    let marks = marks(text);
    if marks.is_empty() {
        return Vec::new();
    }
    let mut next = 0;
    let mut found = Vec::new();
    for cluster in clusters(text) {
        while next < marks.len() && marks[next].at.start < cluster.span.start {
            next += 1;
        }
        // A few words can stand in reach; the nearest ones say what it is.
        let before = marks[..next].iter().rev().take(3);
        let after = marks[next..].iter().take(2);
        if before.chain(after).any(|mark| says(text, mark, &cluster)) {
            found.push(cluster.span);
        }
    }
    found
}

/// Whether a word makes a number a code.
fn says(text: &Text, mark: &Mark, cluster: &Cluster) -> bool {
    let (between, reach) = if mark.at.start < cluster.span.start {
        (mark.at.end.min(cluster.span.start)..cluster.span.start, BEFORE)
    } else {
        (cluster.span.end..mark.at.start, AFTER)
    };
    if between.len() > reach {
        return false;
    }
    match mark.means {
        Means::Clear => (4..=8).contains(&cluster.digits),
        Means::Card => (3..=4).contains(&cluster.digits) && between.len() <= 12,
        Means::Plain => {
            (4..=8).contains(&cluster.digits) && !cluster.year && !ends_sentence(text, between)
        }
    }
}

fn ends_sentence(text: &Text, between: Range<usize>) -> bool {
    between
        .into_iter()
        .any(|i| matches!(text.get(i), '.' | '!' | '?' | ';') && text.get(i + 1) == ' ')
}

/// All words for codes, in order.
fn marks(text: &Text) -> Vec<Mark> {
    let words = text.words(24);
    let mut marks = Vec::new();
    for (n, span) in words.iter().enumerate() {
        let word = text.word(span.clone());
        let last = n.checked_sub(1).map(|n| words[n].clone());
        let close = last.filter(|last| span.start - last.end == 1);
        let qualifier = close.map(|last| text.word(last)).unwrap_or_default();
        // "Pin it to the wall."
        let next = words.get(n + 1).map(|next| text.word(next.clone()));
        if word == "pin" && next.is_some_and(|next| OBJECTS.contains(&next.as_str())) {
            continue;
        }
        if let Some(means) = meaning(text, span, &word, &qualifier) {
            marks.push(Mark { at: span.clone(), means });
        }
    }
    for at in 0..text.len() {
        // All of them are outside ASCII.
        if !text.get(at).is_ascii() {
            let found = UNSPACED.iter().find(|word| text.goes_on(at, word));
            marks.extend(
                found.map(|word| Mark { at: at..at + word.chars().count(), means: Means::Clear }),
            );
        }
    }
    marks.sort_by_key(|mark| mark.at.start);
    marks
}

fn meaning(text: &Text, span: &Range<usize>, word: &str, qualifier: &str) -> Option<Means> {
    let capital = span.clone().all(|i| text.get(i).is_uppercase());
    let any = |ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    if matches!(word, "cvv" | "cvc" | "cvv2" | "cvc2") {
        return Some(Means::Card);
    }
    // "Pin it to the wall", "tan boots": these are meant when they shout, or end a compound.
    let shouts = matches!(word, "pin" | "tan") && capital;
    let compound = matches!(word, "mtan" | "smstan" | "phototan" | "chiptan");
    if shouts || compound || CLEAR.contains(&word) {
        return Some(Means::Clear);
    }
    let other = |start: &str| OTHER.contains(&start);
    if PLAIN.contains(&word) {
        return (!other(qualifier)).then_some(Means::Plain);
    }
    let stem = word.strip_suffix("code").or_else(|| word.strip_suffix("kod"));
    match stem {
        Some(stem) if !stem.is_empty() && any(&["code", "kod"]) => {
            let known = OTHER.iter().any(|other| stem.starts_with(other));
            // "Decode", "unicode", "barcode" name no number.
            let verb = matches!(stem, "de" | "en" | "uni" | "byte" | "geo" | "trans" | "op");
            (!known && !verb).then_some(Means::Plain)
        }
        _ => None,
    }
}

/// A number that could be a code.
struct Cluster {
    span: Range<usize>,
    digits: usize,
    /// Looks like a year.
    year: bool,
}

/// Numbers of up to eight digits, in one piece or in equal groups.
fn clusters(text: &Text) -> Vec<Cluster> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if !text.get(at).is_ascii_digit() {
            at += 1;
            continue;
        }
        let (start, mut groups) = (at, Vec::new());
        loop {
            let end = text.skip(at, usize::MAX, |c| c.is_ascii_digit());
            groups.push(end - at);
            let few = end - at < 4;
            at = end;
            // Longer groups with a space between them are numbers of their own.
            let joins = text.get(at) == '-' || (text.get(at) == ' ' && few);
            if !joins || !text.get(at + 1).is_ascii_digit() {
                break;
            }
            at += 1;
        }
        let digits: usize = groups.iter().sum();
        let equal = groups.len() <= 3 && groups.iter().all(|size| *size == groups[0]);
        if equal && (3..=8).contains(&digits) && stands_alone(text, start..at) {
            let year = groups == [4]
                && matches!((text.get(start), text.get(start + 1)), ('1', '9') | ('2', '0'));
            found.push(Cluster { span: start..at, digits, year });
        }
    }
    found
}

/// Neither part of a word nor of a date, a time, an amount or a decimal number.
fn stands_alone(text: &Text, span: Range<usize>) -> bool {
    let (first, last) = (text.before(span.start), text.get(span.end));
    let joint = |c: char| matches!(c, '.' | ',' | ':' | '/' | '\'');
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let goes_on = joint(last) && text.get(span.end + 1).is_ascii_digit();
    let came_on = joint(first) && span.start > 1 && text.get(span.start - 2).is_ascii_digit();
    let money = |c: char| matches!(c, '$' | '€' | '£' | '¥' | '₹' | '%' | '°');
    let behind = if last == ' ' { text.get(span.end + 1) } else { last };
    let ahead = if first == ' ' { text.before(span.start - 1) } else { first };
    !(part(first) || part(last) || goes_on || came_on || money(behind) || money(ahead))
}
