//! Rephrase, follow-up, or duplicate: what a request is to the one before it.
//!
//! A rephrase says that the reply failed, a follow-up that it was of use; mixing them up would turn
//! a satisfied user into a complaint.

use super::text;

/// How two turns in a row are alike; the cosines are of mean-removed, IDF-weighted embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Cosine of the two requests.
    pub cos_requests: f64,
    /// Cosine of the second request and the first reply.
    pub cos_reply: f64,
    /// Jaccard of the words of the two requests.
    pub jaccard: f64,
    /// Whether the second request has a cue of discontent: see [`has_cue`].
    pub cue: bool,
    /// Seconds between them.
    pub gap_s: f64,
}

/// What the next request is to the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// The same, sent twice.
    Duplicate,
    /// The same in other words: the reply failed.
    Rephrase {
        /// P(rephrase).
        p: f64,
    },
    /// Builds on the reply.
    FollowUp,
    /// Something else.
    NewTopic,
}

/// `z = -3.5 + 4 cos12 + 1.5 jac + 1.2 cue - 2 max(0, cosA - cos12) + 0.8 exp(-dt / 120)`; a
/// rephrase from sigmoid(z) = 0.6 on. The weights are defaults to be fitted.
pub fn next_request(l: &Likeness) -> Next {
    if l.jaccard > 0.95 && l.gap_s < 5.0 {
        return Next::Duplicate;
    }
    let towards_reply = (l.cos_reply - l.cos_requests).max(0.0);
    let z = -3.5 + 4.0 * l.cos_requests + 1.5 * l.jaccard + 1.2 * f64::from(u8::from(l.cue))
        - 2.0 * towards_reply
        + 0.8 * (-l.gap_s / 120.0).exp();
    let p = 1.0 / (1.0 + (-z).exp());
    if p >= 0.6 {
        Next::Rephrase { p }
    } else if towards_reply > 0.0 && !l.cue {
        Next::FollowUp
    } else {
        Next::NewTopic
    }
}

/// Phrases that open a second attempt, as words; English, German, French and Spanish.
const CUES: [&str; 22] = [
    "i mean",
    "i meant",
    "not what",
    "no i",
    "again",
    "instead",
    "wrong",
    "i said",
    "ich meine",
    "ich meinte",
    "nicht das",
    "nochmal",
    "noch einmal",
    "stattdessen",
    "falsch",
    "je veux dire",
    "pas ce que",
    "plutôt",
    "quise decir",
    "no es lo que",
    "otra vez",
    "mejor dicho",
];

/// True if a request has a phrase with which people ask again.
pub fn has_cue(request: &str) -> bool {
    let padded = format!(" {} ", text::normalised(request));
    CUES.iter().any(|cue| padded.contains(&format!(" {cue} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rephrases_follow_ups_and_duplicates_are_told_apart() {
        let base =
            Likeness { cos_requests: 0.9, cos_reply: 0.3, jaccard: 0.5, cue: false, gap_s: 20.0 };
        assert!(matches!(next_request(&base), Next::Rephrase { p } if p > 0.6));
        let twice = Likeness { jaccard: 1.0, gap_s: 2.0, ..base };
        assert_eq!(next_request(&twice), Next::Duplicate);
        let follow = Likeness { cos_requests: 0.2, cos_reply: 0.6, jaccard: 0.1, ..base };
        assert_eq!(next_request(&follow), Next::FollowUp);
        let new = Likeness { cos_requests: 0.1, cos_reply: 0.0, jaccard: 0.0, ..base };
        assert_eq!(next_request(&new), Next::NewTopic);
        assert!(has_cue("No, I meant Friday") && has_cue("Nicht das, bitte"));
        assert!(!has_cue("Tell me about the meaning of against"));
    }
}
