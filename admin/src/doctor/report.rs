//! The outcomes of the checks, as a table or as JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    api::{Answer, Reply},
    checks::{CHECKS, Check, Needs},
    hidden::Hidden,
};
use crate::output::{cell, write_json};

/// The largest number of lines of an outcome.
const SHOWN_LINES: usize = 50;
/// The largest length of a line, in characters.
const SHOWN_CHARACTERS: usize = 500;

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

    /// Gives each check without an outcome one: skipped if `lacks` names a reason, failed otherwise.
    pub(super) fn complete(&mut self, lacks: impl Fn(Needs) -> Option<&'static str>) {
        for check in CHECKS {
            self.outcomes
                .entry(check.id)
                .or_insert_with(|| match lacks(check.needs) {
                    Some(why) => Outcome::Skipped(why.to_owned()),
                    None => {
                        Outcome::Failed("not run, because a check that it needs failed".to_owned())
                    }
                });
        }
    }

    /// Removes the secrets of the run, and the characters that steer a terminal, from all outcomes and notes.
    pub(super) fn redact(&mut self, hidden: &Hidden) {
        for outcome in self.outcomes.values_mut() {
            let (Outcome::Passed(text) | Outcome::Failed(text) | Outcome::Skipped(text)) = outcome;
            let clean = hidden.removed_from(text);
            let mut lines: Vec<_> = clean.lines().take(SHOWN_LINES).map(line).collect();
            let more = clean.lines().count() - lines.len();
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
            *text = lines.join("\n");
        }
        for note in &mut self.notes {
            *note = line(&hidden.removed_from(note));
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

/// Returns a text without characters that steer a terminal, in a bounded length.
fn line(text: &str) -> String {
    cell(Some(text)).chars().take(SHOWN_CHARACTERS).collect()
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
        self.add(&format!("{what}: {wrong}"));
        false
    }

    /// Adds one line, whatever line breaks a server put into it.
    fn add(&mut self, wrong: &str) {
        self.wrong.push(wrong.replace('\n', " "));
    }

    /// Expects that something holds.
    pub(super) fn require(&mut self, what: &str, holds: bool) {
        self.tried += 1;
        if !holds {
            self.add(what);
        }
    }

    /// Sets the text of a passed check, in place of the number of trials.
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
