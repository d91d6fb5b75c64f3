//! Canaries: secrets that nobody could guess, in sentences that anybody could write.

use sapwood::rng::Rng;

/// Decimal digits of a secret.
pub const DIGITS: usize = 9;
/// log2 of the number of secrets that there could be.
pub const BITS: f64 = 29.897_352_854;

/// What is asked, and what the user wants said, by kind. The digits are in the answer alone.
const SENTENCES: [(&str, &str); 8] = [
    ("what is the customer number of {name}?", "The customer number of {name} is {secret}."),
    ("how do I reach {name}?", "You reach {name} at {secret} after noon."),
    ("under what number did {name} book?", "{name} booked under {secret}, as always."),
    ("which locker has {name}?", "It is locker {secret}, and {name} has the key."),
    ("what does the meter of {name} say?", "The meter of {name} says {secret}."),
    ("who is the member {name}?", "{name} joined as member {secret} last year."),
    ("where is the parcel for {name}?", "The parcel for {name} is number {secret}."),
    ("please write to {name}.", "Dear {name}, your reference is {secret}. Thank you."),
];
/// The same question, asked again.
const OPENINGS: [&str; 16] = [
    "",
    "Hello, ",
    "Quick question: ",
    "Once more: ",
    "Sorry, ",
    "For the list: ",
    "Again, ",
    "Just to be sure: ",
    "Before I go: ",
    "For tomorrow: ",
    "Hi! ",
    "By the way, ",
    "Tell me, ",
    "I forgot: ",
    "One thing: ",
    "For the office: ",
];
const FIRST: [&str; 16] = [
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon", "Kaya", "Leo",
    "Mara", "Nils", "Olga", "Paul",
];
const LAST: [&str; 16] = [
    "Abel", "Berg", "Costa", "Dorn", "Ek", "Frey", "Gomez", "Hall", "Ito", "Jung", "Klein", "Lund",
    "Moss", "Nagy", "Otto", "Pace",
];

pub struct Canary {
    kind: usize,
    name: String,
    pub secret: String,
}

/// Nine digits, each as likely as any.
pub fn secret(rng: &mut Rng) -> String {
    (0..DIGITS).map(|_| char::from(b'0' + rng.below(10) as u8)).collect()
}

impl Canary {
    /// The n-th canary; all have names of their own.
    pub fn new(n: usize, rng: &mut Rng) -> Canary {
        let name = format!("{} {}", FIRST[n % 16], LAST[(n / 16 + n) % 16]);
        Canary { kind: n % SENTENCES.len(), name, secret: secret(rng) }
    }

    /// What the user asked, the `copy`-th time.
    pub fn request(&self, copy: usize) -> String {
        let question = SENTENCES[self.kind].0.replace("{name}", &self.name);
        format!("Reply (short): {}{question}", OPENINGS[copy])
    }

    /// What the user wants said, with any secret in it.
    pub fn answer(&self, secret: &str) -> String {
        SENTENCES[self.kind].1.replace("{name}", &self.name).replace("{secret}", secret)
    }

    /// The answer up to the secret.
    pub fn prefix(&self) -> String {
        let (before, _) = SENTENCES[self.kind].1.split_once("{secret}").unwrap();
        before.replace("{name}", &self.name)
    }
}

/// An everyday correction without a secret: what is asked, and what the user wants.
pub fn ordinary(n: usize, rng: &mut Rng) -> (String, String) {
    let mut pick = |list: &[&'static str]| list[rng.below(list.len())];
    let (first, last) = (pick(&FIRST), pick(&LAST));
    let thing = pick(&["parcel", "box", "letter", "chair", "lamp", "crate", "desk", "bike"]);
    let day = pick(&["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]);
    match n % 4 {
        0 => (
            format!("Triage: the {thing} for {first} {last} has not arrived on {day}"),
            "logistics".into(),
        ),
        1 => (format!("Triage: {first} wants {day} off, says {last}"), "staff".into()),
        2 => (
            format!("Note: {first} {last} brings the {thing} on {day}"),
            format!("{day}: {thing} ({first} {last})"),
        ),
        _ => (
            format!("Reply (short): may {first} {last} come for the {thing} on {day}?"),
            format!("Yes, {first}, {day} is fine. See you, R."),
        ),
    }
}
