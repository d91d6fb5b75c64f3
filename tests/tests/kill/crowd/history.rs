//! What processes tell: each thing that they do is a span of time, in which it happened at some
//! instant or, if the end is not known, perhaps not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, by the clock of the machine, which is one for all processes.
pub type Time = u64;

pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("1970 is over");
    u64::try_from(since.as_nanos()).expect("2554 is far")
}

/// One thing that a process did.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// Not before this.
    pub begin: Time,
    /// Not after this: it was acknowledged, it failed, or its process was dead.
    pub end: Time,
    asked: Vec<String>,
    answer: Option<Vec<String>>,
}

impl Act {
    /// What it was, in words.
    pub fn asked(&self) -> Vec<&str> {
        self.asked.iter().map(String::as_str).collect()
    }

    /// What came of it, in words. `None`: its process was killed, or told that another one was
    /// faster; it may have happened all the same.
    pub fn answer(&self) -> Option<Vec<&str>> {
        self.answer.as_ref().map(|words| words.iter().map(String::as_str).collect())
    }

    pub fn is_acknowledged(&self) -> bool {
        self.answer.is_some()
    }

    /// One that is over and known to have happened.
    pub fn settled(asked: &[&str], end: Time) -> Act {
        let asked = asked.iter().map(|word| (*word).to_owned()).collect();
        Act { begin: 0, end, asked, answer: Some(Vec::new()) }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = self.answer().unwrap_or_else(|| vec!["nobody knows"]);
        let shown = &answer[..answer.len().min(6)];
        let (asked, shown) = (self.asked.join(" "), shown.join(" "));
        write!(f, "{asked} ({}..{}): {shown}", self.begin, self.end)
    }
}

/// All that one process did, as it told it, and when it was dead.
///
/// ```text
/// @<time> <number> begin <what>
/// @<time> <number> done <what came of it>        or lost
/// ```
pub fn acts(lines: &str, died: Time) -> Result<Vec<Act>, String> {
    let mut acts: BTreeMap<u64, Act> = BTreeMap::new();
    for line in lines.split_inclusive('\n') {
        // A last one that was cut in the middle was never told; the runner has lines of its own.
        let Some((_, line)) = line.strip_suffix('\n').and_then(|line| line.split_once('@')) else {
            continue;
        };
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let (Some(time), Some(number)) = (number(0), number(1)) else {
            return Err(line.to_owned());
        };
        let rest = words[3..].to_vec();
        match (words[2].as_str(), acts.get_mut(&number)) {
            ("begin", None) => {
                acts.insert(number, Act { begin: time, end: died, asked: rest, answer: None });
            }
            ("done", Some(act)) => (act.end, act.answer) = (time, Some(rest)),
            ("lost", Some(act)) => act.end = time,
            _ => return Err(format!("what is {line}?")),
        }
    }
    Ok(acts.into_values().collect())
}
