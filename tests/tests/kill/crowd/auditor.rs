//! The parent's memory, and what it proves when all processes are dead and somebody has looked.
//!
//! Nothing says which of two acts came first whose spans overlap. So everything is excused that has
//! an explanation in any order, and only what has none in all of them breaks a promise.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Act, Time};

type Proof = Result<(), String>;

/// A turn as somebody found it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Turn {
    conversation: String,
    token: String,
    edits: BTreeSet<String>,
}

/// All that a process finds that nobody disturbs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    turns: BTreeMap<String, Turn>,
    consent: String,
    in_force: String,
    /// Adapters that have a file, with their states.
    adapters: BTreeMap<String, String>,
}

impl Found {
    pub fn parse(lines: &str) -> Result<Found, String> {
        let mut found = Found::default();
        for line in lines.lines().filter_map(|line| Some(line.split_once('@')?.1)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["turn", id, conversation, token, ref edits @ ..] => {
                    let edits = edits.iter().map(|edit| (*edit).to_owned()).collect();
                    let (conversation, token) = (conversation.to_owned(), token.to_owned());
                    let turn = Turn { conversation, token, edits };
                    if found.turns.insert(id.to_owned(), turn).is_some() {
                        return Err(format!("twice there: {line}"));
                    }
                }
                ["adapter", _, "Retired" | "Bad" | "Revoked"] => {}
                ["adapter", digest, state] => {
                    found.adapters.insert(digest.to_owned(), state.to_owned());
                }
                ["consent", word] => word.clone_into(&mut found.consent),
                ["force", digest] => digest.clone_into(&mut found.in_force),
                _ => return Err(format!("what is {line}?")),
            }
        }
        Ok(found)
    }

    fn state(&self, digest: &str) -> &str {
        self.adapters.get(digest).map_or("-", String::as_str)
    }

    /// One of each role at most, and in force is the candidate or what is active; after a refusal
    /// nothing but the base.
    fn is_sound(&self) -> bool {
        let in_role = |role: &str| -> Vec<&str> {
            let those = self.adapters.iter().filter(|(_, state)| *state == role);
            those.map(|(digest, _)| digest.as_str()).collect()
        };
        let roles = ["Active", "Fallback", "Probation"].map(in_role);
        let [active, _, candidate] = &roles;
        let unique = roles.iter().all(|those| those.len() <= 1);
        let in_force = self.in_force.as_str();
        let right = match self.consent.as_str() {
            "Refused" => in_force == "base",
            _ => in_force == *active.first().unwrap_or(&"base") || candidate.contains(&in_force),
        };
        unique && right
    }
}

#[derive(Default)]
pub struct Auditor {
    /// What was done since the last look.
    acts: Vec<Act>,
    last: Found,
    /// Replies that are not to come back, and since when nobody who looks may see them.
    forgotten: BTreeMap<String, Time>,
    /// Adapters that are not to come back, and since when.
    refused: BTreeMap<String, Time>,
    /// For which base model each adapter was made.
    bases: BTreeMap<String, String>,
}

impl Auditor {
    /// Takes in what a process did that is dead now.
    pub fn hears(&mut self, acts: impl IntoIterator<Item = Act>) -> Proof {
        for act in acts {
            self.takes_in(&act)?;
            self.acts.push(act);
        }
        Ok(())
    }

    /// What nobody may undo any more.
    fn takes_in(&mut self, act: &Act) -> Proof {
        let done = act.answer();
        match (&act.asked()[..], done.as_deref()) {
            (["stage" | "again", digest, base], _) => self.belongs(digest, base)?,
            (["reply", _, base], Some([_, _, _, adapter, ..])) if *adapter != "base" => {
                self.belongs(adapter, base)?;
            }
            (["forget", ..], Some(gone)) => {
                let (adapters, replies) = parted(gone);
                note(&mut self.refused, adapters, act.end);
                note(&mut self.forgotten, replies, act.end);
            }
            (["rollback"], Some([digest])) | (["refuse", digest], Some([])) => {
                note(&mut self.refused, &[digest], act.end);
            }
            _ => {}
        }
        Ok(())
    }

    fn belongs(&mut self, digest: &str, base: &str) -> Proof {
        let known = self.bases.entry(digest.to_owned()).or_insert_with(|| base.to_owned());
        if known != base {
            return Err(format!("adapter {digest} of base {known} met base {base}"));
        }
        Ok(())
    }

    /// Compares what is there with all that was heard, and begins anew from that.
    pub fn looks(&mut self, found: Found, first_base: &str, now: Time) -> Proof {
        let proof = self
            .proves_words(&found)
            .and_then(|()| self.proves_replies())
            .and_then(|()| self.proves_turns(&found))
            .and_then(|()| self.proves_adapters(&found, first_base));
        for id in self.known_turns().into_keys().filter(|id| !found.turns.contains_key(id)) {
            self.forgotten.entry(id).or_insert(now);
        }
        self.acts.clear();
        if found.consent != "Unasked" {
            self.acts.push(Act::settled(&["consent", &found.consent], now));
        }
        self.last = found;
        proof
    }

    /// Whether this may have been the last word for somebody who looked within this span.
    fn may_count(&self, word: &str, begin: Time, end: Time) -> bool {
        let said = || self.acts.iter().filter(|act| act.asked()[0] == "consent");
        let outdated = |since: Time| {
            said().any(|act| act.is_acknowledged() && act.begin > since && act.end < begin)
        };
        match word {
            "Unasked" => !outdated(0) && !said().any(|act| act.begin == 0),
            _ => said().any(|act| act.asked()[1] == word && act.begin < end && !outdated(act.end)),
        }
    }

    fn proves_words(&self, found: &Found) -> Proof {
        if !self.may_count(&found.consent, Time::MAX, Time::MAX) {
            return Err(format!("{} is not the last word on consent", found.consent));
        }
        for act in self.acts.iter().filter(|act| act.asked()[0] == "hear") {
            let word = act.answer().map(|words| words[0]).unwrap_or_default();
            if !word.is_empty() && !self.may_count(word, act.begin, act.end) {
                return Err(format!("{word} was heard after another word: {act}"));
            }
        }
        Ok(())
    }

    /// What replies were made with, whether they could be kept, and what their processes saw.
    fn proves_replies(&self) -> Proof {
        for act in &self.acts {
            let Some(answer) = act.answer() else { continue };
            let (Act { begin, .. }, may) = (act, |word| self.may_count(word, act.begin, act.end));
            let seen = match (act.asked()[0], &answer[..]) {
                ("open", seen) => seen,
                ("reply", [_, _, kept, adapter, rest @ ..]) => {
                    if *kept == "true" && !may("Granted") {
                        return Err(format!("recorded in spite of a refusal: {act}"));
                    }
                    if *adapter != "base" && !may("Granted") && !may("Unasked") {
                        return Err(format!("an adapter in spite of a refusal: {act}"));
                    }
                    if self.refused.get(*adapter).is_some_and(|since| since < begin) {
                        return Err(format!("made with what was taken back: {act}"));
                    }
                    rest.get(1..).unwrap_or_default()
                }
                _ => continue,
            };
            let gone = |id: &&&str| self.forgotten.get(**id).is_some_and(|since| since < begin);
            if let Some(id) = seen.iter().find(gone) {
                return Err(format!("forgotten {id}, and seen again: {act}"));
            }
        }
        Ok(())
    }

    /// Turns that were acknowledged or found before, as they must be there now.
    fn known_turns(&self) -> BTreeMap<String, Turn> {
        let mut turns = self.last.turns.clone();
        for act in &self.acts {
            let answer = act.answer().unwrap_or_default();
            if let (["reply", token, _], [id, conversation, "true", ..]) =
                (&act.asked()[..], &answer[..])
            {
                let (conversation, token) = ((*conversation).to_owned(), (*token).to_owned());
                let turn = Turn { conversation, token, edits: BTreeSet::new() };
                turns.insert((*id).to_owned(), turn);
            }
        }
        for act in self.acts.iter().filter(|act| self.must_be_kept(act)) {
            if let ["signal", id, _, text] = act.asked()[..]
                && let Some(turn) = turns.get_mut(id)
            {
                turn.edits.insert(text.to_owned());
            }
        }
        turns
    }

    /// Whether a signal was acknowledged while the last word was yes: without it, it is nothing.
    fn must_be_kept(&self, signal: &Act) -> bool {
        let no = |word| !self.may_count(word, signal.begin, signal.end);
        signal.answer().is_some_and(|answer| answer == ["known"]) && no("Refused") && no("Unasked")
    }

    /// Whether something was, or may have been, forgotten that was not there before `since`.
    fn may_be_gone(&self, id: &str, conversation: &str, since: Time) -> bool {
        self.acts.iter().filter(|act| act.end > since).any(|act| {
            let ["forget", what, of] = act.asked()[..] else { return false };
            match act.answer() {
                Some(gone) => parted(&gone).1.contains(&id),
                None => what == "everything" || of == conversation,
            }
        })
    }

    fn proves_turns(&self, found: &Found) -> Proof {
        if let Some(id) = found.turns.keys().find(|id| self.forgotten.contains_key(*id)) {
            return Err(format!("forgotten and here again: {id}"));
        }
        let known = self.known_turns();
        let replied: BTreeMap<&str, &Act> = self.acts.iter().filter_map(token).collect();
        let signalled: BTreeSet<&str> = self.acts.iter().filter_map(edit).collect();
        for (id, turn) in &known {
            let since = replied.get(turn.token.as_str()).map_or(0, |act| act.begin);
            match found.turns.get(id) {
                None if self.may_be_gone(id, &turn.conversation, since) => {}
                None => return Err(format!("acknowledged and lost: {id} {turn:?}")),
                Some(there)
                    if there.token == turn.token && there.edits.is_superset(&turn.edits) => {}
                Some(there) => return Err(format!("{turn:?} was acknowledged, not {there:?}")),
            }
        }
        for (id, turn) in &found.turns {
            let before = self.last.turns.get(id);
            let act = replied.get(turn.token.as_str());
            match act {
                None if before.is_none() => return Err(format!("nobody made {id} {turn:?}")),
                Some(act) if !self.may_count("Granted", act.begin, act.end) => {
                    return Err(format!("recorded in spite of a refusal: {id} {act}"));
                }
                _ => {}
            }
            let new = turn.edits.iter().filter(|text| !signalled.contains(text.as_str()));
            if let Some(text) = new.clone().find(|t| !before.is_some_and(|b| b.edits.contains(*t)))
            {
                return Err(format!("nobody made the signal {text} on {id}"));
            }
        }
        for act in &self.acts {
            if let (["signal", id, of, _], Some(["unknown"])) =
                (&act.asked()[..], act.answer().as_deref())
                && known.contains_key(*id)
                && !self.may_be_gone(id, of, 0)
            {
                return Err(format!("acknowledged, and unknown to another process: {act}"));
            }
        }
        Ok(())
    }

    fn proves_adapters(&mut self, found: &Found, first_base: &str) -> Proof {
        for (digest, state) in &found.adapters {
            let base = self.bases.get(digest).map(String::as_str);
            let here = base.map_or(state != "Dormant", |base| base == first_base);
            if self.refused.contains_key(digest) {
                return Err(format!("adapter {digest} was taken back and is here again"));
            }
            if here == (state == "Dormant") {
                return Err(format!("adapter {digest} of base {base:?} is {state}"));
            }
            if here {
                self.belongs(digest, first_base)?;
            }
        }
        if !found.is_sound() {
            return Err(format!("a wrong adapter is in force: {found:?}"));
        }
        for digest in self.bases.iter().filter(|(_, base)| *base == first_base).map(|(d, _)| d) {
            let (can, is) = (self.possible(digest), found.state(digest));
            if !can.contains(is) {
                return Err(format!("adapter {digest} is {is}, and can only be {can:?}"));
            }
        }
        Ok(())
    }

    /// All states that an adapter can be in, from what is known of it and by what was done.
    fn possible(&self, digest: &str) -> BTreeSet<&str> {
        let (mut begin, mut since) = (self.last.state(digest), 0);
        for act in self.acts.iter().filter(|act| act.is_acknowledged()) {
            let state = match act.asked()[..] {
                ["stage", it, _] if it == digest => "Staged",
                ["activate", it] if it == digest => "Probation",
                _ => continue,
            };
            if act.begin >= since {
                (begin, since) = (state, act.begin);
            }
        }
        // What was being forgotten when somebody died is done by who opens the store next.
        let ends =
            |act: &&Act| act.end > since || act.asked()[0] == "forget" && !act.is_acknowledged();
        let steps: BTreeSet<_> =
            self.acts.iter().filter(ends).flat_map(|act| steps(act, digest)).collect();
        let mut possible = BTreeSet::from([begin]);
        loop {
            let from =
                |(from, to): &(&'static str, &'static str)| possible.contains(from).then_some(*to);
            let more: BTreeSet<&str> = steps.iter().filter_map(from).collect();
            if more.is_subset(&possible) {
                return possible;
            }
            possible.extend(more);
        }
    }
}

/// What becomes of an adapter by something that was done: from which state to which (`-` without
/// a file).
fn steps(act: &Act, digest: &str) -> Vec<(&'static str, &'static str)> {
    const GONE: [(&str, &str); 4] =
        [("Staged", "-"), ("Probation", "-"), ("Active", "-"), ("Fallback", "-")];
    const FORWARD: (&str, &str) = ("Fallback", "Active");
    let answer = act.answer();
    match (&act.asked()[..], answer.as_deref()) {
        (["stage" | "again", it, _], _) if *it == digest => vec![("-", "Staged")],
        // The oldest staged one makes room.
        (["stage" | "again", ..], _) => vec![("Staged", "-")],
        (["activate", it], _) if *it == digest => vec![("Staged", "Probation")],
        // One that has used up its tries.
        (["activate", ..], _) => vec![("Probation", "-")],
        // The third healthy session confirms, or the tries were spent.
        (["reply", ..], _) => vec![
            ("Probation", "Active"),
            ("Probation", "-"),
            ("Active", "Fallback"),
            ("Fallback", "-"),
        ],
        (["rollback"], Some([taken])) if *taken != digest => vec![FORWARD],
        (["rollback"], _) => vec![("Probation", "-"), ("Active", "-"), FORWARD],
        (["refuse", it], _) if *it == digest => GONE.to_vec(),
        (["refuse", ..], _) => vec![FORWARD],
        (["forget", ..], Some(gone)) if !parted(gone).0.contains(&digest) => vec![FORWARD],
        (["forget", ..], _) => [&GONE[..], &[FORWARD]].concat(),
        (["slice"], _) => {
            vec![("-", "Staged"), ("Staged", "-"), ("Staged", "Probation"), ("Probation", "-")]
        }
        _ => Vec::new(),
    }
}

/// A receipt: adapters that are gone, and replies.
fn parted<'a, 'b>(gone: &'a [&'b str]) -> (&'a [&'b str], &'a [&'b str]) {
    let bar = gone.iter().position(|word| *word == "/").unwrap_or(gone.len());
    (&gone[..bar], gone.get(bar + 1..).unwrap_or_default())
}

fn note(since: &mut BTreeMap<String, Time>, what: &[&str], time: Time) {
    for one in what {
        let first = since.entry((*one).to_owned()).or_insert(time);
        *first = time.min(*first);
    }
}

fn token(act: &Act) -> Option<(&str, &Act)> {
    match act.asked()[..] {
        ["reply", token, _] => Some((token, act)),
        _ => None,
    }
}

fn edit(act: &Act) -> Option<&str> {
    match act.asked()[..] {
        ["signal", _, _, text] => Some(text),
        _ => None,
    }
}
