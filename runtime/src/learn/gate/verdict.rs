//! What the gate says: the verdict with its reasons and figures, as a table for people.

use std::fmt;

use super::Thresholds;
use crate::learn::bet::Wealth;
use crate::learn::exposure::Exposure;
use crate::learn::posterior::Outcomes;

/// A bet on the mean difference of likelihood over conversations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bet {
    /// The mean difference observed, in -1..=1.
    pub mean: f64,
    /// What was bet against: a mean at or below (for harm: at or above) this.
    pub against: f64,
    /// The wealth won; `n` counts conversations.
    pub wealth: Wealth,
    /// What the wealth has to reach.
    pub needed: f64,
}

impl Bet {
    /// True if the hypothesis is rejected.
    pub fn won(&self) -> bool {
        self.wealth.peak >= self.needed
    }
}

/// Pass rates of the three arms over one group of checked items.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Items.
    pub n: u32,
    /// Passed by production.
    pub production: u32,
    /// Passed by production with retrieval, and of how many items.
    pub retrieval: (u32, u32),
    /// Passed by the candidate.
    pub candidate: u32,
}

/// One category's checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// Its name.
    pub name: String,
    /// Paired outcomes.
    pub outcomes: Outcomes,
    /// P(fell by `category_drop`); `None`: too few items, unknown.
    pub p_fell: Option<f64>,
}

/// Why a candidate is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// A likelihood is not a number, or no likelihood at all was measured.
    NotMeasured,
    /// Not certified as not worse.
    MaybeWorse,
    /// Certified as worse on what worked before.
    Worse,
    /// No regression item was checked.
    NoRegressionSuite,
    /// The regression suite's pass rate may have fallen: P(it has not) is below the threshold.
    RegressionUnclear {
        /// P(not worse).
        p: f64,
    },
    /// Losses outnumber wins beyond chance.
    Losses {
        /// McNemar's p.
        p: f64,
    },
    /// Too many regression items turned wrong.
    Flips {
        /// How many.
        losses: u32,
        /// Of how many.
        n: u32,
    },
    /// A category fell.
    CategoryFell {
        /// Which.
        name: String,
        /// P(fell by more than the rule allows).
        p: f64,
    },
    /// Not certified as better on the user's own new text.
    NoBenefit,
    /// Generated text on new items is not clearly better.
    NoBenefitGenerated {
        /// P(better).
        p: f64,
    },
    /// The comparison with retrieval is missing.
    RetrievalNotMeasured,
    /// Retrieval alone does as well or better.
    RetrievalBetter {
        /// P(not worse than retrieval).
        p: f64,
    },
    /// It can repeat numbers that only the user can know.
    Remembers {
        /// How many.
        numbers: u32,
        /// The reply whose edit holds the one that it gives away most of: an app that has it
        /// forgotten makes room for the next run.
        reply: u128,
        /// That one's exposure, at least.
        bits: f64,
    },
}

/// The decision, with every number that it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Promote.
    pub promote: bool,
    /// Why not; empty exactly when `promote` is true.
    pub reasons: Vec<Reason>,
    /// Bound on a false promotion on this try.
    pub alpha: f64,
    /// Which try.
    pub attempt: u32,
    /// Bet against "worse by the margin", all held-out text.
    pub not_worse: Bet,
    /// Bet against "no benefit", new text that the user wrote.
    pub better: Bet,
    /// Bet for "worse by the margin", old text: a veto.
    pub harm: Bet,
    /// Checks that guard what works.
    pub regression: Outcomes,
    /// P(regression pass rate has not fallen by the margin).
    pub regression_p: f64,
    /// McNemar's p on the regression suite.
    pub mcnemar: f64,
    /// Checks on new items and P(better), if there are any.
    pub new: Option<(Outcomes, f64)>,
    /// P(not worse than production with retrieval), if measured.
    pub retrieval_p: Option<f64>,
    /// What it remembers.
    pub exposure: Exposure,
    /// Every category.
    pub categories: Vec<Category>,
    /// Pass rates over all, new and old items.
    pub rates: [Rates; 3],
    /// The settings.
    pub thresholds: Thresholds,
}
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotMeasured => write!(f, "likelihoods are missing or not finite"),
            Reason::MaybeWorse => write!(f, "not certified as not worse"),
            Reason::Worse => write!(f, "certified as worse on what worked before"),
            Reason::NoRegressionSuite => write!(f, "no regression item was checked"),
            Reason::RegressionUnclear { p } => {
                write!(f, "regression suite may be worse: P(not worse) = {p:.2}")
            }
            Reason::Losses { p } => write!(f, "more losses than chance allows (p = {p:.3})"),
            Reason::Flips { losses, n } => write!(f, "{losses} of {n} items turned wrong"),
            Reason::CategoryFell { name, p } => write!(f, "{name} fell (P = {p:.2})"),
            Reason::NoBenefit => write!(f, "no certified benefit on the user's own text"),
            Reason::NoBenefitGenerated { p } => {
                write!(f, "new items are not clearly better: P(better) = {p:.2}")
            }
            Reason::RetrievalNotMeasured => write!(f, "not compared with retrieval"),
            Reason::RetrievalBetter { p } => {
                write!(f, "retrieval does as well: P(not worse) = {p:.2}")
            }
            Reason::Remembers { numbers, reply, bits } => write!(
                f,
                "{numbers} of the user's numbers learned by heart (exposure of {bits:.0} bits; the \
                 worst is in reply {reply:032x})"
            ),
        }
    }
}

impl Verdict {
    /// What is promised about a promotion, in words.
    pub fn guarantee(&self) -> String {
        format!(
            "false promotion ≤ {:.1}% on try {} (≤ {:.0}% over all tries): of a candidate whose \
             mean likelihood is lower by {} or more, or that is no better on the user's own text",
            100.0 * self.alpha,
            self.attempt,
            100.0 * self.thresholds.alpha,
            self.thresholds.margin,
        )
    }

    fn row(f: &mut fmt::Formatter<'_>, name: &str, r: &Rates) -> fmt::Result {
        let percent = |passed: u32, n: u32| match n {
            0 => "–".to_owned(),
            n => format!("{:.1}%", 100.0 * f64::from(passed) / f64::from(n)),
        };
        let change = match r.n {
            0 => "–".to_owned(),
            n => format!(
                "{:+.1}",
                100.0 * (f64::from(r.candidate) - f64::from(r.production)) / f64::from(n)
            ),
        };
        writeln!(
            f,
            "{name:<18}{:>6}{:>12}{:>16}{:>11}{change:>9}",
            r.n,
            percent(r.production, r.n),
            percent(r.retrieval.0, r.retrieval.1),
            percent(r.candidate, r.n),
        )
    }

    fn bet_row(f: &mut fmt::Formatter<'_>, name: &str, b: &Bet) -> fmt::Result {
        writeln!(
            f,
            "{name:<42}{:+.3} over {} conversations; evidence {:.1}, needed {:.1}: {}",
            b.mean,
            b.wealth.n,
            b.wealth.peak,
            b.needed,
            if b.won() { "yes" } else { "no" },
        )
    }
}

/// The side-by-side table.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["items", "production", "with retrieval", "candidate", "change"];
        let [a, b, c, d, e] = columns;
        writeln!(f, "{:<18}{a:>6}{b:>12}{c:>16}{d:>11}{e:>9}", "")?;
        for (name, rates) in ["overall", "new categories", "old categories"].iter().zip(&self.rates)
        {
            Verdict::row(f, name, rates)?;
        }
        writeln!(
            f,
            "{:<18}{} of {} ({:.1}%, at most {:.1}%)",
            "negative flips",
            self.regression.losses,
            self.regression.n,
            100.0 * self.regression.negative_flip_rate(),
            100.0 * self.thresholds.flips_max,
        )?;
        for c in self.categories.iter().filter(|c| c.p_fell.is_some_and(|p| p >= 0.5)) {
            writeln!(f, "  {}: P(fell) = {:.2}", c.name, c.p_fell.unwrap_or(0.0))?;
        }
        Verdict::bet_row(f, "likelihood not worse (all text)", &self.not_worse)?;
        Verdict::bet_row(f, "likelihood better (user's own new text)", &self.better)?;
        if let Some(most) = self.exposure.most {
            writeln!(
                f,
                "{:<42}{} of {}; exposure at least {:.1} bits, refused from {:.1}",
                "the user's numbers learned by heart",
                self.exposure.remembered,
                self.exposure.numbers,
                most.bits.max(0.0),
                self.exposure.needed,
            )?;
        }
        if self.promote {
            return write!(f, "verdict: PROMOTE; {}", self.guarantee());
        }
        let reasons: Vec<String> = self.reasons.iter().map(Reason::to_string).collect();
        write!(f, "verdict: KEEP PRODUCTION; {}", reasons.join("; "))
    }
}
