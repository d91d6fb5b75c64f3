//! The manifest as format 1 had it: without courses, which are found again in its log of events.

#![allow(missing_docs, reason = "rkyv derives resolver fields that cannot carry documentation")]

use rkyv::{Archive, Deserialize, Serialize, rancor};

use super::course::{Course, Probation};
use super::manifest::{Change, Event, Generation, Manifest, Reason, State};

#[derive(Archive, Serialize, Deserialize, Debug, Default)]
struct Manifest1 {
    sequence: u64,
    store_id: [u8; 16],
    next_number: u64,
    tries_left: u8,
    healthy: u8,
    trial_open: bool,
    generations: Vec<Generation>,
    bad: Vec<[u8; 32]>,
    revoked: Vec<[u8; 32]>,
    pinned: Vec<String>,
    events: Vec<Event>,
}

/// The manifest of an archive of format 1, whose bytes are aligned to 16.
pub(super) fn read(archive: &[u8]) -> Option<Manifest> {
    rkyv::from_bytes::<Manifest1, rancor::Error>(archive).ok().map(Manifest::from)
}

impl From<Manifest1> for Manifest {
    fn from(old: Manifest1) -> Manifest {
        let mut courses: Vec<Course> = Vec::new();
        for generation in &old.generations {
            if courses.iter().all(|course| course.base != generation.base) {
                courses.push(Course::of(generation.base));
            }
        }
        let base_of = |digest| old.generations.iter().find(|g| g.digest == digest).map(|g| g.base);
        for event in &old.events {
            let base = base_of(event.digest);
            if let Some(course) = courses.iter_mut().find(|course| Some(course.base) == base) {
                course.replay(event);
            }
        }
        let candidate = old.generations.iter().find(|known| known.state == State::Probation);
        if let Some(course) =
            candidate.and_then(|candidate| courses.iter_mut().find(|c| c.base == candidate.base))
        {
            let Manifest1 { tries_left, healthy, trial_open, .. } = old;
            course.probation = Probation { tries_left, healthy, trial_open };
        }
        Manifest {
            sequence: old.sequence,
            store_id: old.store_id,
            next_number: old.next_number,
            generations: old.generations,
            bad: old.bad,
            revoked: old.revoked,
            courses,
            events: old.events,
            ..Manifest::default()
        }
    }
}

impl Course {
    /// What an event of the log says about the course. Records of that time have their time as
    /// their place in the journal's order.
    fn replay(&mut self, event: &Event) {
        match event.change {
            Change::Confirmed => self.promoted(event.time_ms),
            Change::Proposed => self.judged_ms = Some(event.time_ms),
            Change::RolledBack(Reason::Gate) => {
                self.judged_ms = Some(event.time_ms);
                self.turned_down += 1;
            }
            Change::RolledBack(_) | Change::Revoked | Change::BaseChanged => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Meta;
    use super::*;

    #[test]
    fn what_the_log_of_events_said_becomes_the_course_of_its_base() {
        let generation = |n: u8, base: u8, state| Generation {
            number: n.into(),
            digest: [n; 32],
            base: [base; 32],
            state,
            returns_to: None,
            meta: Meta::default(),
        };
        let event = |time_ms, n: u8, change| Event { time_ms, digest: [n; 32], change };
        let old = Manifest1 {
            sequence: 7,
            tries_left: 2,
            healthy: 1,
            trial_open: true,
            generations: vec![
                generation(1, 1, State::Active),
                generation(2, 1, State::Bad),
                generation(3, 1, State::Probation),
                generation(4, 2, State::Dormant),
            ],
            events: vec![
                event(10, 1, Change::Proposed),
                event(20, 1, Change::Confirmed),
                event(25, 4, Change::Confirmed),
                event(30, 2, Change::RolledBack(Reason::Gate)),
                event(35, 9, Change::RolledBack(Reason::Gate)),
                event(40, 3, Change::Proposed),
            ],
            ..Manifest1::default()
        };
        let archive = rkyv::to_bytes::<rancor::Error>(&old).unwrap();
        let new = read(&archive).unwrap();
        assert!(new.can_be_ours() && new.sequence == 7 && new.generations.len() == 4);
        let [one, two] = &new.courses[..] else { panic!("{:?}", new.courses) };
        assert_eq!((&one.promotions[..], one.turned_down, one.judged_ms), (&[20][..], 1, Some(40)));
        assert_eq!(one.probation, Probation { tries_left: 2, healthy: 1, trial_open: true });
        assert_eq!((&two.promotions[..], two.probation), (&[25][..], Probation::default()));
        assert!(read(&archive[16..]).is_none());
    }
}
