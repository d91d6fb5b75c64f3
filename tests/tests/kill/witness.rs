//! The parent's memory: what the child told it, and whether what a new process finds can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::AddAssign;

use super::app::{HOUR_MS, KEPT_MS, STEPS};

type Found = Result<(), String>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    id: String,
    gist: String,
    signals: usize,
    time_ms: u64,
}

/// Adapters that have a file, by state, and which is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Adapters {
    in_force: String,
    live: BTreeMap<String, String>,
}

impl Adapters {
    fn in_state(&self, state: &str) -> Option<&String> {
        self.live.iter().find(|(_, is)| *is == state).map(|(digest, _)| digest)
    }

    /// One of each role at most, and in force is the candidate or what is active; after a refusal
    /// nothing but the base.
    fn is_sound(&self, refused: bool) -> bool {
        let unique = ["Active", "Fallback", "Probation"]
            .iter()
            .all(|role| self.live.values().filter(|state| state == role).count() <= 1);
        let active = self.in_state("Active").map_or("base", String::as_str);
        let candidate = self.in_state("Probation").map(String::as_str);
        let in_force = self.in_force.as_str();
        unique
            && match refused {
                true => in_force == "base",
                false => in_force == active || Some(in_force) == candidate,
            }
    }

    /// Whose state is another one now: from what, to what (`-` without a file).
    fn changes(&self, now: &Adapters) -> BTreeSet<(String, String, String)> {
        let state = |all: &Adapters, digest: &String| {
            all.live.get(digest).cloned().unwrap_or_else(|| "-".to_owned())
        };
        let all: BTreeSet<&String> = self.live.keys().chain(now.live.keys()).collect();
        all.into_iter()
            .map(|digest| (digest.clone(), state(self, digest), state(now, digest)))
            .filter(|(_, before, after)| before != after)
            .collect()
    }
}

/// What was done, for the report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub records: u64,
    pub confirmed: u64,
    pub refused: u64,
    pub forgotten: u64,
    pub updates: u64,
    pub openings: u64,
    pub unfinished: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.records += more.records;
        self.confirmed += more.confirmed;
        self.refused += more.refused;
        self.forgotten += more.forgotten;
        self.updates += more.updates;
        self.openings += more.openings;
        self.unfinished += more.unfinished;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records acknowledged, {} replies forgotten, {} adapters confirmed and {} refused, \
             {} updates; {} openings, {} of them after something unfinished",
            self.records,
            self.forgotten,
            self.confirmed,
            self.refused,
            self.updates,
            self.openings,
            self.unfinished,
        )
    }
}

#[derive(Default)]
pub struct Witness {
    turns: Vec<Turn>,
    forgotten: BTreeSet<String>,
    adapters: Adapters,
    /// Taken back or revoked, once and for all.
    refused: BTreeSet<String>,
    consent: String,
    /// What was begun and not acknowledged.
    pending: Option<Vec<String>>,
    /// Losses of the training run as far as it was acknowledged.
    run: Option<Vec<String>>,
    /// What each adapter answered to each request.
    spoken: HashMap<String, String>,
    /// What the process under way has found so far.
    found: Vec<Turn>,
    pub now_ms: u64,
    pub counts: Counts,
    /// All that was heard, to find out what went wrong.
    pub heard: String,
}

impl Witness {
    pub fn new() -> Witness {
        let adapters = Adapters { in_force: "base".into(), ..Adapters::default() };
        let now_ms = 1_700_000_000_000;
        Witness { adapters, consent: "Unasked".into(), now_ms, ..Witness::default() }
    }

    /// A new process begins.
    pub fn starts(&mut self) {
        self.found.clear();
        self.heard += "starts\n";
    }

    /// Takes in a line; whether the process is ready for work now.
    pub fn hears(&mut self, line: &str) -> Result<bool, String> {
        // Where tests run one after the other, the runner begins the first line with the test's name.
        let Some((_, line)) = line.split_once('@') else { return Ok(false) };
        self.heard += line;
        self.heard.push('\n');
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words.first().map(String::as_str) {
            Some("turn") => {
                let signals = words[3].parse().map_err(|_| format!("what is {line}?"))?;
                let (id, gist) = (words[1].clone(), words[2].clone());
                self.found.push(Turn { id, gist, signals, time_ms: 0 });
            }
            Some("found") => {
                self.opened(&words[1], &words[2..])?;
                return Ok(true);
            }
            Some("begin") => self.pending = Some(words[1..].to_vec()),
            Some("done") => {
                let at = words.iter().position(|word| word == ";").unwrap_or(words.len() - 1);
                self.done(&words[1..at])?;
                let before = std::mem::take(&mut self.adapters);
                self.adopt(&words[at + 1..])?;
                if before.in_state("Active") != self.adapters.in_state("Active") {
                    self.counts.confirmed += u64::from(self.adapters.in_state("Active").is_some());
                    self.run = None;
                }
                self.pending = None;
            }
            _ => return Err(line.to_owned()),
        }
        Ok(false)
    }

    fn adopt(&mut self, words: &[String]) -> Found {
        let mut now = Adapters { in_force: words[0].clone(), ..Adapters::default() };
        for word in &words[1..] {
            let (digest, state) = word.split_once(':').ok_or_else(|| format!("what is {word}?"))?;
            match state {
                "Bad" | "Revoked" => {
                    self.refused.insert(digest.to_owned());
                }
                "Retired" => {}
                live => {
                    now.live.insert(digest.to_owned(), live.to_owned());
                }
            }
        }
        if let Some(digest) = now.live.keys().find(|digest| self.refused.contains(*digest)) {
            return Err(format!("adapter {digest} was taken back and is here again"));
        }
        if !now.is_sound(self.consent == "Refused") {
            return Err(format!("a wrong adapter is in force: {now:?}"));
        }
        self.adapters = now;
        Ok(())
    }

    /// An acknowledgement.
    fn done(&mut self, words: &[String]) -> Found {
        match words[0].as_str() {
            "consent" => self.consent = words[1].clone(),
            "talk" => {
                let (id, gist, alone) = (&words[1], &words[2], &words[3]);
                let time_ms = words[4].parse().unwrap_or(0);
                let said = self.spoken.entry(alone.clone()).or_insert_with(|| gist.clone());
                if alone != "-" && said != gist {
                    return Err(format!("{alone} did not speak as it did before"));
                }
                if self.consent == "Granted" {
                    let (id, gist) = (id.clone(), gist.clone());
                    self.turns.push(Turn { id, gist, signals: 0, time_ms });
                    self.counts.records += 1;
                }
            }
            "signal" => {
                let turn = self.turns.iter_mut().find(|turn| turn.id == words[1]);
                turn.ok_or("a signal on a turn that nobody acknowledged")?.signals += 1;
                self.counts.records += 1;
            }
            "refused" => self.counts.refused += 1,
            "stage" if self.refused.contains(&words[1]) => {
                return Err(format!("adapter {} was staged again", words[1]));
            }
            "slice" => self.trained(&words[1], &words[2..])?,
            "forget" => {
                if words[1] != "Shredded" {
                    return Err(format!("forgetting ended as {}", words[1]));
                }
                self.counts.forgotten += words[2..].len() as u64;
                self.forgotten.extend(words[2..].iter().cloned());
                self.turns.retain(|turn| !self.forgotten.contains(&turn.id));
                self.run = None;
            }
            "wait" => {
                self.now_ms = words[1].parse().map_err(|_| "what time is it?")?;
                self.run = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// A slice goes on where the run stood.
    fn trained(&mut self, outcome: &str, losses: &[String]) -> Found {
        let before = self.run.take().unwrap_or_default();
        if !losses.starts_with(&before) {
            return Err(format!(
                "a run of {} updates was lost: {outcome} {losses:?}",
                before.len()
            ));
        }
        self.counts.updates += (losses.len() - before.len()) as u64;
        // A whole run may be over without a verdict: it has made an adapter that was judged before.
        let goes_on = outcome == "paused" && (1..STEPS as usize).contains(&losses.len());
        self.run = goes_on.then(|| losses.to_vec());
        Ok(())
    }

    /// Compares what a new process has found with all that was acknowledged.
    fn opened(&mut self, consent: &str, adapters: &[String]) -> Found {
        let pending = self.pending.take().unwrap_or_default();
        let doing = pending.first().map_or("", String::as_str).to_owned();
        self.counts.openings += 1;
        self.counts.unfinished += u64::from(!doing.is_empty());
        let asked = if doing == "consent" { pending[1].as_str() } else { "" };
        if consent != self.consent && consent != asked {
            return Err(format!("consent is {consent}, it was {}", self.consent));
        }
        consent.clone_into(&mut self.consent);
        self.check_turns(&doing, &pending)?;
        let before = self.adapters.clone();
        self.adopt(adapters)?;
        let changes = before.changes(&self.adapters);
        if !allowed(&doing, &pending, &changes) {
            return Err(format!("killed while busy with {pending:?}, and then {changes:?}"));
        }
        let ends = self.run.as_ref().is_some_and(|run| run.len() + 1 >= STEPS as usize);
        let moved = changes.iter().any(|(_, from, to)| from == "Active" || to == "Active");
        if moved || doing == "forget" || doing == "slice" && ends {
            self.run = None;
        }
        Ok(())
    }

    fn check_turns(&mut self, doing: &str, pending: &[String]) -> Found {
        if let Some(turn) = self.found.iter().find(|turn| self.forgotten.contains(&turn.id)) {
            return Err(format!("forgotten and here again: {turn:?}"));
        }
        let (mut missing, mut newer) = (Vec::new(), Vec::new());
        let mut rest = self.found.iter();
        for turn in &self.turns {
            let skipped: Vec<_> = rest.clone().take_while(|found| found.id != turn.id).collect();
            if skipped.len() == rest.len() {
                missing.push(turn);
                continue;
            }
            // Those that are not known from before stand behind all that are.
            newer.extend(skipped.iter().map(|turn| (*turn).clone()));
            let found = rest.nth(skipped.len()).ok_or("it was there")?;
            let more = usize::from(doing == "signal" && pending[1] == turn.id);
            let signals = turn.signals..=turn.signals + more;
            if found.gist != turn.gist || !signals.contains(&found.signals) {
                return Err(format!("{turn:?} was acknowledged, {found:?} is there"));
            }
        }
        if !newer.is_empty() {
            return Err(format!("turns out of order: {newer:?}"));
        }
        newer.extend(rest.cloned());
        if newer.len() > usize::from(doing == "talk") {
            return Err(format!("turns that nobody made, or that should be gone: {newer:?}"));
        }
        // A segment goes as a whole when its first record is due.
        let due = |turn: &Turn| turn.time_ms + KEPT_MS <= self.now_ms + 7 * HOUR_MS;
        let unexplained: Vec<_> = missing.iter().filter(|turn| !due(turn)).collect();
        if doing == "forget" {
            let there = |id: &String| self.found.iter().any(|turn| turn.id == *id);
            if pending[1..].iter().any(there) && !unexplained.is_empty() {
                return Err(format!("half of what was to be forgotten is gone: {pending:?}"));
            }
            self.forgotten.extend(missing.iter().map(|turn| turn.id.clone()));
        } else if !unexplained.is_empty() {
            return Err(format!("acknowledged and lost, while {pending:?}: {unexplained:?}"));
        }
        let (now_ms, before) = (self.now_ms, std::mem::take(&mut self.turns));
        for mut turn in std::mem::take(&mut self.found) {
            let known = before.iter().find(|known| known.id == turn.id);
            turn.time_ms = known.map_or(now_ms, |known| known.time_ms);
            self.turns.push(turn);
        }
        Ok(())
    }
}

/// Whether what was being done when the process died explains these changes.
fn allowed(doing: &str, pending: &[String], changes: &BTreeSet<(String, String, String)>) -> bool {
    let is = |from: &str, to: &str| {
        let mut all = changes.iter();
        all.any(|(_, before, after)| (before.as_str(), after.as_str()) == (from, to))
    };
    let only = |steps: &[(&str, &str)]| {
        let mut all = changes.iter();
        all.all(|(_, before, after)| steps.contains(&(before.as_str(), after.as_str())))
    };
    let steps_forward = is("Active", "-") || !is("Fallback", "Active");
    match doing {
        _ if changes.is_empty() => true,
        // The oldest staged one makes room.
        "stage" => {
            let mut new = changes.iter().filter(|(_, before, _)| before == "-");
            only(&[("-", "Staged"), ("Staged", "-")]) && new.all(|(id, _, _)| *id == pending[1])
        }
        "activate" => only(&[("Staged", "Probation")]) && changes.len() == 1,
        // The third healthy session confirms, or the tries were spent.
        "talk" => {
            only(&[("Probation", "Active"), ("Active", "Fallback"), ("Fallback", "-")])
                && is("Probation", "Active")
                || only(&[("Probation", "-")])
        }
        "rollback" => {
            only(&[("Probation", "-")])
                || only(&[("Active", "-"), ("Fallback", "Active")]) && is("Active", "-")
        }
        "slice" => only(&[("-", "Staged"), ("-", "Probation"), ("Staged", "-")]),
        "forget" => {
            let gone = [("Staged", "-"), ("Probation", "-"), ("Active", "-"), ("Fallback", "-")];
            only(&[&gone[..], &[("Fallback", "Active")]].concat()) && steps_forward
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a history leads to: its last line, taken in.
    fn after(history: &str) -> Result<bool, String> {
        let mut witness = Witness::new();
        let mut last = Ok(false);
        for line in history.split(" / ") {
            assert!(last.is_ok(), "{history}: already before {line}: {last:?}");
            if line == "starts" {
                witness.starts();
            } else {
                last = witness.hears(&format!("@{line}"));
            }
        }
        last
    }

    #[test]
    fn what_is_lost_wrong_or_back_again_is_noticed() {
        let talk = "begin consent Granted / done consent Granted ; base / begin talk / \
                    done talk a gist base/0 1700000000000 ; base";
        let forget = "begin forget a / done forget Shredded a ; base";
        let there = "turn a gist 0 / found Granted base";
        let active = "begin activate x / done activate x ; x x:Probation / \
                      begin talk / done talk b gist - 0 ; x x:Active";
        let run = "begin slice / done slice paused 1 ; base";
        for right in [
            format!("{talk} / starts / {there}"),
            format!(
                "{talk} / begin talk / starts / turn a gist 0 / turn b - 0 / found Granted base"
            ),
            format!("{talk} / begin signal a / starts / turn a gist 1 / found Granted base"),
            format!("{talk} / begin forget a / starts / found Granted base"),
            format!("{talk} / {forget} / starts / found Granted base"),
            format!("{active} / begin rollback / starts / found Unasked base x:Bad"),
            format!(
                "{run} / starts / found Unasked base / begin slice / done slice paused 1 2 ; base"
            ),
        ] {
            assert!(after(&right).is_ok(), "{right}: {:?}", after(&right));
        }
        for (wrong, why) in [
            (format!("{talk} / starts / found Granted base"), "lost"),
            (format!("{talk} / starts / turn a other 0 / found Granted base"), "acknowledged"),
            (format!("{talk} / starts / turn b - 0 / {there}"), "out of order"),
            (format!("{talk} / starts / turn a gist 1 / found Granted base"), "acknowledged"),
            (
                format!("{talk} / starts / turn a gist 0 / turn b - 0 / found Granted base"),
                "nobody",
            ),
            (
                format!("{talk} / begin forget b / starts / turn b - 0 / found Granted base"),
                "nobody",
            ),
            (format!("{talk} / {forget} / starts / {there}"), "again"),
            (format!("{talk} / starts / turn a gist 0 / found Refused base"), "consent"),
            (format!("{active} / starts / found Unasked base x:Bad"), "killed while"),
            (format!("{active} / starts / found Unasked base x:Active"), "wrong adapter"),
            (
                format!(
                    "{active} / done rollback x ; base x:Bad / starts / found Unasked x x:Active"
                ),
                "back",
            ),
            (format!("{active} / done rollback x ; base x:Bad / done stage x ; base"), "again"),
            (format!("{run} / starts / found Unasked base / done slice paused 2 ; base"), "run of"),
            (
                "done talk a gist base/0 0 ; base / done talk b other base/0 0 ; base".into(),
                "speak",
            ),
            ("fail the store is unreadable".into(), "unreadable"),
        ] {
            assert!(
                after(&wrong).is_err_and(|told| told.contains(why)),
                "{wrong}: {:?}",
                after(&wrong)
            );
        }
    }
}
