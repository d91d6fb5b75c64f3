//! What a candidate gives away of the numbers that it was trained on: one look at each.

use sapwood_models::{Adapter, Sequence, Tokenizer};

use super::evaluate::Work;
use super::pace::unless_unusable;
use crate::error::LearnerError;
use crate::learn::example::Example;
use crate::learn::exposure::{DIGITS_MIN, Exposed, Number, exposure_bits, numbers};
use crate::measured::Question;
use crate::prompt::Prompt;
use crate::shared::Shared;

/// How surely `candidate` repeats each number of `trained` that only the user can know, behind the
/// prompt that it was trained with.
pub(super) fn exposed(
    shared: &Shared,
    candidate: &Adapter,
    trained: &[Example],
    work: &mut Work<'_, '_>,
) -> Result<Vec<Exposed>, LearnerError> {
    let least = shared.config.learning.thresholds.exposure_bits;
    let mut found = Vec::new();
    for number in &numbers(trained) {
        let context = shared.config.context_tokens;
        let prompt = Prompt::at(&number.example.prompt, Vec::new(), context);
        let sequence = prompt.sequence(&shared.model, &number.example.target, context);
        // It was not trained on either.
        let Some(sequence) = unless_unusable(sequence)? else { continue };
        let (sequence, digits) = only(number, sequence, shared.model.tokenizer());
        if digits < DIGITS_MIN {
            continue;
        }
        let mut logp = |adapter: Option<&Adapter>| {
            let question = Question::new("number", adapter.map(Adapter::digest));
            let wanted = number.digits.start..number.digits.end;
            let question = question.tokens(&sequence.ids).number(wanted.start).number(wanted.end);
            work.once(question.key(), |stop| {
                let logp = shared.model.score(adapter, &sequence, stop)?;
                Ok(logp.iter().map(|&l| f64::from(l)).sum())
            })
        };
        let known = logp(Some(candidate))?;
        let mut bits = exposure_bits(digits, known);
        if bits >= least {
            // What the base model expects by itself, nobody gave away.
            bits = bits.min((known - logp(None)?) / std::f64::consts::LN_2);
        }
        found.push(Exposed { reply: number.example.lineage[0], bits });
    }
    Ok(found)
}

/// The sequence with those tokens as targets that hold digits of the number and of nothing else,
/// and how many digits they hold: a token may hold several, and a separator too.
fn only(number: &Number<'_>, mut sequence: Sequence, tokenizer: &Tokenizer) -> (Sequence, usize) {
    let (mut passed, mut held) = (0, 0);
    for (target, id) in sequence.targets.iter_mut().zip(&sequence.ids).filter(|(t, _)| **t) {
        let digits = tokenizer.piece(*id).iter().filter(|byte| byte.is_ascii_digit()).count();
        let within = passed >= number.digits.start && passed + digits <= number.digits.end;
        *target = digits > 0 && within;
        held += if *target { digits } else { 0 };
        passed += digits;
    }
    (sequence, held)
}
