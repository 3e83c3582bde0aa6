//! The visits of browsers, which the page's server keeps in memory.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{grant::Grant, view::ShownAnswer};
use crate::github::random_characters;

/// The largest number of visits; beyond it the oldest one is dropped.
const KEPT: usize = 100;

/// The lifetime of an attempt, which is that of GitHub's codes.
const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// A sign-in that waits for the browser to return from GitHub.
pub(super) struct Attempt {
    /// The `state` parameter, which proves that the callback belongs to this attempt (RFC 6749 §10.12).
    pub(super) state: String,
    /// The PKCE verifier, which proves that the code is redeemed by its requester (RFC 7636).
    pub(super) verifier: String,
    started: Instant,
}

impl Attempt {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            state: random_characters(64),
            verifier: random_characters(64),
            started,
        }
    }
}

/// The message for a browser that returns without a grant.
pub(super) struct Notice {
    pub(super) words: String,
    pub(super) answer: Option<ShownAnswer>,
}

impl From<String> for Notice {
    fn from(words: String) -> Self {
        Self {
            words,
            answer: None,
        }
    }
}

/// The visit of one browser, identified by its cookie.
struct Visit {
    name: String,
    attempt: Option<Attempt>,
    grant: Option<Grant>,
    notice: Option<Notice>,
}

/// All visits.
#[derive(Default)]
pub(super) struct Visits(VecDeque<Visit>);

impl Visits {
    /// Records the attempt of a browser that leaves to sign in, and returns the id of its visit.
    pub(super) fn begin(&mut self, name: Option<&str>, attempt: Attempt) -> String {
        let known = name.and_then(|name| self.find(name));
        if let Some(visit) = known {
            visit.attempt = Some(attempt);
            return visit.name.clone();
        }
        self.add(Some(attempt), None)
    }

    /// Removes and returns the attempt of this browser, so that a callback works once.
    pub(super) fn take_attempt(
        &mut self,
        name: &str,
        state: &str,
        now: Instant,
    ) -> Option<Attempt> {
        let is_it = |attempt: &mut Attempt| {
            attempt.state == state && now.duration_since(attempt.started) < ATTEMPT_LIFETIME
        };
        self.find(name)?.attempt.take_if(is_it)
    }

    /// Signs a browser in under a new id, so that knowledge of the old one is of no use.
    pub(super) fn sign_in(&mut self, old_name: &str, grant: Grant) -> String {
        self.forget(old_name);
        self.add(None, Some(grant))
    }

    /// Returns the grant of a signed-in browser.
    pub(super) fn grant(&mut self, name: &str) -> Option<Grant> {
        self.find(name)?.grant.clone()
    }

    /// Stores the result of a refresh, except when a parallel refresh was first.
    pub(super) fn renew(&mut self, name: &str, presented: &str, next: Grant) {
        let Some(grant) = self.find(name).and_then(|visit| visit.grant.as_mut()) else {
            return;
        };
        if grant.refresh_token == presented {
            let is_new_user = grant.is_new_user;
            *grant = Grant {
                is_new_user,
                ..next
            };
        }
    }

    /// Signs a browser out.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.retain(|visit| visit.name != name);
    }

    pub(super) fn leave_notice(&mut self, name: &str, notice: Notice) {
        if let Some(visit) = self.find(name) {
            visit.notice = Some(notice);
        }
    }

    /// Removes and returns the notice.
    pub(super) fn take_notice(&mut self, name: &str) -> Option<Notice> {
        self.find(name)?.notice.take()
    }

    fn find(&mut self, name: &str) -> Option<&mut Visit> {
        self.0.iter_mut().find(|visit| visit.name == name)
    }

    fn add(&mut self, attempt: Option<Attempt>, grant: Option<Grant>) -> String {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let name = random_characters(64);
        self.0.push_back(Visit {
            name: name.clone(),
            attempt,
            grant,
            notice: None,
        });
        name
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::next_app::ApiResponse;

    fn grant(refresh_token: &str) -> Grant {
        Grant::of(&ApiResponse {
            status: StatusCode::OK,
            body: json!({ "access_token": "a", "refresh_token": refresh_token, "is_new_user": true }),
        })
        .unwrap()
    }

    #[test]
    fn an_attempt_comes_back_once_in_time_and_with_its_own_state() {
        let start = Instant::now();
        let mut visits = Visits::default();
        let attempt = Attempt::new(start);
        let state = attempt.state.clone();
        let name = visits.begin(None, attempt);
        let late = start + ATTEMPT_LIFETIME;

        assert!(visits.take_attempt(&name, "", start).is_none());
        assert!(visits.take_attempt("other", &state, start).is_none());
        assert!(visits.take_attempt(&name, &state, late).is_none());
        assert!(visits.take_attempt(&name, &state, start).is_some());
        assert!(visits.take_attempt(&name, &state, start).is_none());
    }

    #[test]
    fn a_sign_in_gives_the_visit_another_name() {
        let mut visits = Visits::default();
        let before = visits.begin(None, Attempt::new(Instant::now()));

        let after = visits.sign_in(&before, grant("1"));

        assert_ne!(before, after);
        assert!(visits.grant(&before).is_none());
        assert!(visits.grant(&after).is_some());
    }

    #[test]
    fn of_two_refreshes_the_later_one_does_not_undo_the_first() {
        let mut visits = Visits::default();
        let name = visits.sign_in("", grant("1"));

        visits.renew(&name, "1", grant("2"));
        visits.renew(&name, "1", grant("stale"));

        let kept = visits.grant(&name).unwrap();
        assert_eq!(kept.refresh_token, "2");
        assert_eq!(kept.is_new_user, Some(true));
    }

    #[test]
    fn the_first_visit_makes_room() {
        let mut visits = Visits::default();

        let names: Vec<_> = (0..=KEPT).map(|_| visits.sign_in("", grant("1"))).collect();

        assert_eq!(visits.0.len(), KEPT);
        assert!(visits.grant(&names[0]).is_none());
        assert!(visits.grant(&names[1]).is_some());
    }
}
