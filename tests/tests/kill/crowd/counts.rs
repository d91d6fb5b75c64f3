//! What was done, for the report.

use std::fmt;
use std::ops::AddAssign;

use super::history::Act;

#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub looks: u64,
    records: u64,
    words: u64,
    forgets: u64,
    updates: u64,
    taken_back: u64,
    moves: u64,
    unknown: u64,
}

impl Counts {
    pub fn take_in(&mut self, acts: &[Act]) {
        let mut base = "";
        let asked: Vec<_> = acts.iter().map(|act| (act.asked(), act.answer())).collect();
        for (asked, answer) in &asked {
            let Some(answer) = answer else {
                self.unknown += 1;
                continue;
            };
            match (&asked[..], &answer[..]) {
                (["reply", ..], [_, _, "true", ..]) | (["signal", ..], ["known"]) => {
                    self.records += 1;
                }
                (["consent", _], _) => self.words += 1,
                (["forget", ..], _) => self.forgets += 1,
                (["slice"], ["1"]) => self.updates += 1,
                (["rollback"] | ["refuse", _], _) => self.taken_back += 1,
                (["open", now], _) => {
                    self.moves += u64::from(!base.is_empty() && base != *now);
                    base = now;
                }
                _ => {}
            }
        }
    }

    /// Whether enough happened that it would have shown what is wrong.
    pub fn assert_enough(&self, kills: u64) {
        assert!(self.records > kills && self.unknown > kills / 3, "{self}");
        let rare = [self.words, self.forgets, self.updates, self.taken_back, self.moves];
        assert!(rare.iter().all(|count| *count > 0) && self.looks == kills / 10, "{self}");
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.looks += more.looks;
        self.records += more.records;
        self.words += more.words;
        self.forgets += more.forgets;
        self.updates += more.updates;
        self.taken_back += more.taken_back;
        self.moves += more.moves;
        self.unknown += more.unknown;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records acknowledged, {} words on consent, {} requests to forget, {} updates, {} \
             adapters taken back, {} changes of the base model; {} calls killed or overtaken, {} \
             looks",
            self.records,
            self.words,
            self.forgets,
            self.updates,
            self.taken_back,
            self.moves,
            self.unknown,
            self.looks,
        )
    }
}
