//! Histories that keep every promise, and histories that break one each: the auditor tells them
//! apart.

use super::auditor::{Auditor, Found};
use super::history::{Act, Time, acts};

/// Acts of one round lie below this, those of the second one above.
const ROUND: Time = 100;

/// `1..2 what = answer`, or `1..2 what` if nobody knows whether it happened.
fn act(line: &str) -> Act {
    let (span, what) = line.split_once(' ').unwrap();
    let (begin, end) = span.split_once("..").unwrap();
    let lines = match what.split_once(" =") {
        Some((asked, answer)) => format!("@{begin} 0 begin {asked}\n@{end} 0 done {answer}\n"),
        None => format!("@{begin} 0 begin {what}\n"),
    };
    acts(&lines, end.parse().unwrap()).unwrap().remove(0)
}

/// What a history leads to: its last act, or look.
fn after(history: &str) -> Result<(), String> {
    let (mut auditor, mut last, mut looks) = (Auditor::default(), Ok(()), 0);
    for line in history.split("; ") {
        assert!(last.is_ok(), "{history}: already before {line}: {last:?}");
        last = match line.strip_prefix("look ") {
            Some(there) => {
                looks += ROUND;
                let lines: Vec<_> = there.split(", ").map(|line| format!("@{line}\n")).collect();
                Found::parse(&lines.concat()).and_then(|found| auditor.looks(found, "32", looks))
            }
            None => auditor.hears([act(line)]),
        };
    }
    last
}

fn are_right(histories: &[String]) {
    for history in histories {
        assert_eq!(after(history), Ok(()), "{history}");
    }
}

fn are_wrong(histories: &[(String, &str)]) {
    for (history, why) in histories {
        let told = after(history);
        assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{history}: {told:?}");
    }
}

const SAID: &str = "1..2 consent Granted =; 3..4 reply t 32 = a c true base Granted";
const NOTHING: &str = "look consent Granted, force base";
const THERE: &str = "look turn a c t, consent Granted, force base";

#[test]
fn a_record_that_is_lost_or_that_nobody_made_is_noticed() {
    are_right(&[
        format!("{SAID}; {THERE}; {THERE}"),
        format!("1..2 consent Granted =; 3..9 reply t 32; {NOTHING}"),
        format!("1..2 consent Granted =; 3..9 reply t 32; {THERE}"),
        format!("{SAID}; 5..6 signal a c e; {THERE}"),
        format!("{SAID}; 5..6 signal a c e; look turn a c t e, consent Granted, force base"),
        format!("{SAID}; 5..6 forget reply c; {NOTHING}; {NOTHING}"),
        format!("{SAID}; 2..4 forget everything b; {NOTHING}"),
        format!("{SAID}; 5..6 forget reply c = x / a; {NOTHING}"),
        // Whoever signals may not know yet that there is a no.
        format!(
            "{SAID}; 5..8 consent Refused =; 6..7 signal a c e = known; \
             look turn a c t, consent Refused, force base"
        ),
    ]);
    are_wrong(&[
        (format!("{SAID}; {NOTHING}"), "lost"),
        (format!("{SAID}; {THERE}; {NOTHING}"), "lost"),
        (format!("{SAID}; look turn a c other, consent Granted, force base"), "acknowledged"),
        (format!("{SAID}; 5..6 signal a c e = known; {THERE}"), "acknowledged"),
        (format!("{SAID}; 5..6 signal a c e = unknown; {THERE}"), "unknown to another"),
        (format!("{SAID}; 2..3 forget everything b; {NOTHING}"), "lost"),
        (format!("{SAID}; 5..6 forget reply b; {NOTHING}"), "lost"),
        (format!("1..2 consent Granted =; {THERE}"), "nobody made a"),
        (format!("{SAID}; look turn a c t e, consent Granted, force base"), "nobody made the"),
        (format!("{SAID}; look turn a c t, turn a c t"), "twice"),
    ]);
}

#[test]
fn what_is_forgotten_and_here_again_is_noticed() {
    let forget = format!("{SAID}; 5..6 forget reply c = / a");
    let forget = forget.as_str();
    are_right(&[
        format!("{forget}; {NOTHING}; 101..102 open 32 =; {NOTHING}"),
        // Opened before it was forgotten.
        format!("{forget}; 4..7 open 32 = a; {NOTHING}"),
        format!("{SAID}; 5..6 forget reply c; 7..8 open 32 = a; {NOTHING}"),
    ]);
    are_wrong(&[
        (format!("{forget}; {THERE}"), "again"),
        (format!("{forget}; {NOTHING}; {THERE}"), "again"),
        (format!("{forget}; 7..8 open 32 = a; {NOTHING}"), "seen again"),
        (format!("{forget}; 7..8 reply u 32 = b c false base Granted a; {NOTHING}"), "seen again"),
        (format!("{SAID}; 5..6 forget reply c; {NOTHING}; {THERE}"), "again"),
        (format!("{forget}; {NOTHING}; 101..102 open 32 = a; {NOTHING}"), "seen again"),
    ]);
}

#[test]
fn an_older_word_that_counts_is_noticed() {
    let no = format!("{SAID}; {THERE}; 101..102 consent Refused =");
    let refused = "look turn a c t, consent Refused, force base";
    let both = "look turn a c t, turn b c u, consent Refused, force base";
    are_right(&[
        "1..2 consent Granted; look consent Unasked, force base".to_owned(),
        format!("{no}; {refused}"),
        format!("{SAID}; 5..8 consent Refused =; 6..9 consent Granted =; {refused}"),
        format!("{SAID}; 5..8 consent Refused =; 6..9 consent Granted =; {THERE}"),
        format!("{SAID}; 5..6 consent Refused; {THERE}"),
        format!("{no}; 101..103 reply u 32 = b c true base Granted; {both}"),
        format!("{no}; 104..105 hear = Refused; 106..107 consent Granted; {refused}"),
        format!("{no}; 104..105 reply u 32 = b c false base Refused; {refused}"),
    ]);
    are_wrong(&[
        (format!("{no}; {THERE}"), "not the last word"),
        (format!("{SAID}; look turn a c t, consent Unasked, force base"), "not the last word"),
        (format!("{SAID}; look turn a c t, consent Refused, force base"), "not the last word"),
        (format!("{no}; 103..104 hear = Granted; {refused}"), "after another word"),
        (format!("{no}; 103..104 reply u 32 = b c true base Granted; {both}"), "in spite"),
        (format!("{no}; 103..104 reply u 32; {both}"), "in spite"),
        (format!("{no}; 103..104 reply u 32 = b c false x Refused; {refused}"), "in spite"),
        ("1..2 reply t 32 = a c true base Unasked; look force base".to_owned(), "not the last"),
    ]);
}

#[test]
fn a_wrong_adapter_is_noticed() {
    let begun = "1..2 stage x 32 =; 3..4 activate x =; 5..6 reply t 32 = a c false x Unasked";
    let look = |rest: &str| format!("look consent Unasked, {rest}");
    let active = look("force x, adapter x Active");
    let gone = look("force base, adapter x Bad");
    are_right(&[
        format!("{begun}; {active}; {active}"),
        format!("{begun}; {}", look("force x, adapter x Probation")),
        format!("{begun}; 7..8 rollback = x; {gone}"),
        format!("{begun}; 7..8 rollback; {gone}"),
        format!("{begun}; {active}; 101..102 open 64 =; {active}"),
        format!("{begun}; {active}; 103..104 stage y 64 =; {active}, adapter y Dormant"),
        // Not yet told to who had begun.
        format!("{begun}; 7..9 refuse x =; 8..10 reply u 32 = b c false x Unasked; {gone}"),
        format!("{begun}; {active}; 101..102 forget everything b; {gone}"),
        format!("{begun}; 1..2 stage y 32; {active}, adapter y Staged"),
    ]);
    let late = "8..9 reply u 32 = b c false x Unasked";
    are_wrong(&[
        (format!("{begun}; 6..7 rollback = x; {late}; {gone}"), "taken back"),
        (format!("{begun}; 6..7 refuse x =; {late}; {gone}"), "taken back"),
        (format!("{begun}; 6..7 forget reply d = x / e; {late}; {gone}"), "taken back"),
        (format!("{begun}; 6..7 forget reply d = x / e; {active}"), "here again"),
        (format!("{begun}; 7..8 rollback = x; {active}"), "here again"),
        (format!("{begun}; {active}; 101..102 rollback = x; {gone}; {active}"), "here again"),
        (format!("{begun}; {active}; {gone}"), "can only be"),
        (format!("{begun}; {active}; {}", look("force base, adapter x Staged")), "can only be"),
        (format!("{begun}; {active}; 101..102 refuse y =; {gone}"), "can only be"),
        ("1..2 stage x 32 =; look consent Unasked, force base".to_owned(), "can only be"),
        (format!("{begun}; {}", look("force base, adapter x Staged")), "can only be"),
        (format!("{begun}; {}", look("force base, adapter x Dormant")), "Dormant"),
        (format!("{begun}; {}", look("force x, adapter x Active, adapter y Active")), "wrong"),
        (format!("{begun}; {active}; {}", look("force y, adapter x Active")), "wrong"),
        (format!("{begun}; {active}; {}", look("force base, adapter x Active")), "wrong"),
        (format!("{begun}; 7..8 reply u 64 = b c false x Unasked"), "met base 64"),
        ("1..2 stage y 64 =; look consent Unasked, force base, adapter y Staged".to_owned(), "64"),
    ]);
}

#[test]
fn what_a_process_says_of_its_end_is_heard() {
    let told = "@1 0 begin flush\n@2 failed in flush: the disk is gone\n";
    assert!(acts(told, 9).is_err_and(|told| told.contains("gone")));
    let cut = acts("running 1 test\n@1 0 begin flush\n@2 0 do", 9).unwrap();
    assert_eq!((cut.len(), cut[0].end, cut[0].is_acknowledged()), (1, 9, false));
}
