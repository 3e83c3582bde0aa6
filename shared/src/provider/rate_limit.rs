//! Rate limits of providers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;

use crate::clock::Timestamp;

/// The wait after an answer that names none. GitHub requires at least a minute
/// (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>).
pub(super) const USUAL_WAIT: Duration = Duration::from_secs(60);
/// The longest wait. A provider that asks for more is called again after an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The time before which a provider is not called again.
#[derive(Debug, Default)]
pub(super) struct NotBefore(Option<Timestamp>);

impl NotBefore {
    /// Returns whether the provider may be called now, or the time to wait.
    pub(super) fn admit(&self, now: Timestamp) -> Result<(), Duration> {
        match self.0 {
            // A clock that went backwards must not extend the wait beyond the longest one.
            Some(until) if now < until && until - now <= LONGEST_WAIT.as_secs() => {
                Err(Duration::from_secs(until - now))
            }
            _ => Ok(()),
        }
    }

    /// Records a wait that the provider asked for.
    pub(super) fn set(&mut self, now: Timestamp, wait: Duration) {
        self.0 = Some(now + wait.as_secs());
    }
}

/// Returns the wait of an answer that is a rate limit: 429, or at GitHub 403 with one of these headers
/// (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>).
pub(super) fn of(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let is_limit = match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => {
            remaining(headers) == Some("0") || headers.contains_key(RETRY_AFTER)
        }
        _ => false,
    };
    is_limit.then(|| wait(headers, now).unwrap_or(USUAL_WAIT))
}

/// Returns whether the body of a 403 says that it is a rate limit. GitHub names a secondary limit in the text, and not
/// always in a header.
pub(super) fn is_named_in(body: &[u8]) -> bool {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem["message"].as_str().is_some_and(|message| {
        let message = message.to_ascii_lowercase();
        message.contains("rate limit") || message.contains("abuse detection")
    })
}

/// Returns the wait that the headers ask for: `Retry-After`, or `x-ratelimit-reset`, which is a time in seconds since
/// the Unix epoch.
///
/// While requests remain, the reset is that of another limit: an answer of a secondary limit has the headers of the
/// primary one.
fn wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    retry_after(headers, now).or_else(|| {
        if remaining(headers).is_some_and(|remaining| remaining != "0") {
            return None;
        }
        let reset = headers.get("x-ratelimit-reset")?.to_str().ok()?;
        until(reset.trim().parse().ok()?, now)
    })
}

/// Returns the number of requests that remain in the present hour.
fn remaining(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-ratelimit-remaining")?.to_str().ok()
}

/// Returns the bounded wait of `Retry-After`, a number of seconds or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(bounded(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            until(seconds_of(date)?, now)
        }
    }
}

/// A time in the past asks for no wait.
fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    time.checked_sub(now).filter(|wait| *wait > 0).map(bounded)
}

fn bounded(seconds: u64) -> Duration {
    Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST_WAIT)
}

fn seconds_of(time: SystemTime) -> Option<Timestamp> {
    let elapsed = time.duration_since(UNIX_EPOCH).ok()?;
    Some(elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 §5.6.7.
    const THEN: Timestamp = 784_111_777;

    fn asked(name: &'static str, value: &str) -> Option<u64> {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        wait(&headers, THEN - 30).map(|wait| wait.as_secs())
    }

    #[test]
    fn t53_each_way_to_ask_for_a_wait_is_read() {
        for (name, value, seconds) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "0", Some(1)),
            ("retry-after", "86400", Some(3600)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("retry-after", "Sun Nov  6 08:49:37 1994", Some(30)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT", None),
            ("retry-after", "Sun, 06 Nov 1994 12:49:37 GMT", Some(3600)),
            ("retry-after", "tomorrow", None),
            ("retry-after", "-1", None),
            ("x-ratelimit-reset", "784111777", Some(30)),
            ("x-ratelimit-reset", "784111747", None),
            ("x-ratelimit-reset", "1", None),
            ("x-ratelimit-reset", "99999999999999999999", None),
            ("x-ratelimit-reset", "9999999999", Some(3600)),
        ] {
            assert_eq!(asked(name, value), seconds, "{name}: {value}");
        }
    }

    #[test]
    fn t53_the_reset_counts_only_where_no_request_remains() {
        let limited = |status: u16, remaining: &str, retry_after: Option<&str>| {
            let mut headers = HeaderMap::from_iter([
                (
                    "x-ratelimit-remaining".parse().unwrap(),
                    remaining.parse().unwrap(),
                ),
                (
                    "x-ratelimit-reset".parse().unwrap(),
                    "784111777".parse().unwrap(),
                ),
            ]);
            if let Some(value) = retry_after {
                headers.insert(RETRY_AFTER, value.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            of(status, &headers, THEN - 1800).map(|wait| wait.as_secs())
        };
        for (status, remaining, retry_after, seconds) in [
            (403, "0", None, Some(1800)),
            (429, "0", None, Some(1800)),
            (429, "4321", None, Some(60)),
            (429, "-1", None, Some(60)),
            (429, "nonsense", None, Some(60)),
            (403, "4321", Some("7"), Some(7)),
            (403, "0", Some("7"), Some(7)),
            (403, "0", Some("nonsense"), Some(1800)),
            (403, "4321", Some("nonsense"), Some(60)),
            (403, "4321", None, None),
            (200, "0", None, None),
            (401, "0", Some("7"), None),
        ] {
            let found = limited(status, remaining, retry_after);
            assert_eq!(found, seconds, "{status}, {remaining}, {retry_after:?}");
        }
    }

    #[test]
    fn t53_a_text_that_names_a_rate_limit_is_one() {
        for message in [
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            "API rate limit exceeded for user ID 1.",
            "You have triggered an abuse detection mechanism. Please wait a few minutes before you try again.",
        ] {
            let body = serde_json::json!({ "message": message, "documentation_url": "https://docs.github.com/rest" });
            assert!(is_named_in(body.to_string().as_bytes()), "{message}");
        }
        for body in [
            "",
            "{}",
            "rate limit",
            r#""rate limit""#,
            r#"["rate limit"]"#,
            r#"{"message":["rate limit"]}"#,
            r#"{"message":"Resource not accessible by integration","name":"rate limit"}"#,
            r#"{"message":"Bad credentials"}"#,
        ] {
            assert!(!is_named_in(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn t53_the_wait_ends_on_its_last_second_and_never_lasts_longer_than_an_hour() {
        let mut not_before = NotBefore::default();
        assert!(not_before.admit(THEN).is_ok());
        not_before.set(THEN, Duration::from_secs(600));
        assert_eq!(not_before.admit(THEN + 1), Err(Duration::from_secs(599)));
        assert_eq!(not_before.admit(THEN + 599), Err(Duration::from_secs(1)));
        assert!(not_before.admit(THEN + 600).is_ok());
        assert!(not_before.admit(100).is_ok(), "the clock went backwards");
    }
}
