//! The outcomes of the checks, as a table or as JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    api::{Answer, Reply},
    checks::{CHECKS, Check, Needs},
};
use crate::output::write_json;

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "came", rename_all = "lowercase")]
pub enum Outcome {
    /// The answer was the expected one.
    Passed(String),
    /// Another answer came.
    Failed(String),
    /// The check did not run, for this reason.
    Skipped(String),
}

/// The outcomes of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    outcomes: BTreeMap<&'static str, Outcome>,
    /// The traces of the run.
    pub(super) notes: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    check: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
    sent: &'a str,
    expected: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'a str>,
    page: &'a str,
}

impl Report {
    pub(super) fn set(&mut self, id: &'static str, outcome: Outcome) {
        debug_assert!(CHECKS.iter().any(|check| check.id == id), "{id}");
        self.outcomes.insert(id, outcome);
    }

    /// Records the outcome of all trials of a check.
    pub(super) fn close(&mut self, trials: Trials) {
        let (id, outcome) = (trials.id, trials.outcome());
        self.set(id, outcome);
    }

    /// Gives each check without an outcome one: skipped if something is not `given`, failed otherwise.
    pub(super) fn complete(&mut self, given: impl Fn(Needs) -> bool) {
        for check in CHECKS {
            self.outcomes.entry(check.id).or_insert_with(|| {
                if given(check.needs) {
                    Outcome::Failed("not run, because a check that it needs failed".to_owned())
                } else {
                    Outcome::Skipped(check.needs.option().to_owned())
                }
            });
        }
    }

    /// Returns the ids of the checks with another answer than the expected one.
    pub fn failed(&self) -> Vec<&'static str> {
        self.with(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// Returns the ids of the checks that did not run.
    pub fn skipped(&self) -> Vec<&'static str> {
        self.with(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    fn with(&self, is: impl Fn(&Outcome) -> bool) -> Vec<&'static str> {
        let all = self.lines().filter(|(_, outcome)| is(outcome));
        all.map(|(check, _)| check.id).collect()
    }

    /// Returns the outcome of a check.
    pub fn outcome(&self, id: &str) -> Option<&Outcome> {
        self.outcomes.get(id)
    }

    fn lines(&self) -> impl Iterator<Item = (&'static Check, &Outcome)> {
        CHECKS
            .iter()
            .filter_map(|check| Some((check, self.outcomes.get(check.id)?)))
    }

    /// Writes one line for each check, and what to do for those that failed; or one line of JSON for each check.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, out: &mut dyn Write, json: bool, colours: bool) -> io::Result<()> {
        if json {
            let lines: Vec<_> = self
                .lines()
                .map(|(check, outcome)| Line {
                    check: check.id,
                    outcome,
                    sent: check.sent,
                    expected: check.expected,
                    advice: matches!(outcome, Outcome::Failed(_)).then_some(check.advice),
                    page: check.page,
                })
                .collect();
            return write_json(out, &lines);
        }
        let paint = Paint { colours };
        for (check, outcome) in self.lines() {
            let (mark, text) = match outcome {
                Outcome::Passed(text) => (paint.green("ok  "), text),
                Outcome::Failed(text) => (paint.red("FAIL"), text),
                Outcome::Skipped(text) => (paint.dim("skip"), text),
            };
            let text = text.lines().next().unwrap_or_default();
            writeln!(out, "{mark}  {:26}{text}", check.id)?;
        }
        for (check, outcome) in self.lines() {
            let Outcome::Failed(came) = outcome else {
                continue;
            };
            writeln!(out, "\n{}", paint.red(check.id))?;
            writeln!(out, "  sent      {}", check.sent)?;
            writeln!(out, "  expected  {}", check.expected)?;
            writeln!(out, "  came      {}", came.replace('\n', "\n            "))?;
            writeln!(out, "  to do     {}", check.advice)?;
            writeln!(out, "  page      {}", check.page)?;
        }
        writeln!(out)?;
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        let count = |ids: Vec<_>| ids.len();
        let (failed, skipped) = (count(self.failed()), count(self.skipped()));
        let passed = self.outcomes.len() - failed - skipped;
        writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The colours of a terminal.
pub(super) struct Paint {
    pub(super) colours: bool,
}

impl Paint {
    pub(super) fn green(&self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn red(&self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The trials of one check. It passes if each had the expected answer.
pub(super) struct Trials {
    id: &'static str,
    tried: usize,
    wrong: Vec<String>,
    found: Option<String>,
}

impl Trials {
    pub(super) fn of(id: &'static str) -> Self {
        Self {
            id,
            tried: 0,
            wrong: Vec::new(),
            found: None,
        }
    }

    /// Expects this status, and this code of Cambio's error unless it is empty.
    pub(super) fn expect(&mut self, what: &str, reply: &Reply, status: u16, code: &str) -> bool {
        self.expect_that(what, reply, |answer| {
            answer.status == status && (code.is_empty() || answer.code() == code)
        })
    }

    /// Expects an answer that `fits`.
    pub(super) fn expect_that(
        &mut self,
        what: &str,
        reply: &Reply,
        fits: impl FnOnce(&Answer) -> bool,
    ) -> bool {
        self.tried += 1;
        let wrong = match reply {
            Ok(answer) if fits(answer) => return true,
            Ok(answer) => answer.brief(),
            Err(error) => error.clone(),
        };
        self.wrong.push(format!("{what}: {wrong}"));
        false
    }

    /// Expects that something holds.
    pub(super) fn require(&mut self, what: &str, holds: bool) {
        self.tried += 1;
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    /// Says what was found, in place of the number of trials.
    pub(super) fn found(&mut self, found: impl Into<String>) {
        self.found = Some(found.into());
    }

    fn outcome(self) -> Outcome {
        if !self.wrong.is_empty() {
            return Outcome::Failed(self.wrong.join("\n"));
        }
        let count = || match self.tried {
            1 => "as expected".to_owned(),
            tried => format!("{tried} times as expected"),
        };
        Outcome::Passed(self.found.unwrap_or_else(count))
    }
}
