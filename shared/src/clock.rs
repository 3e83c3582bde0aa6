//! The injected clock: tests move it, a Lambda uses the system's.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since the Unix epoch, the unit of JWTs (RFC 7519 `NumericDate`) and of DynamoDB's TTL.
pub type Timestamp = u64;

/// Formats a time as RFC 3339, in UTC. A time outside of the calendar becomes an empty text.
pub fn rfc3339(time: Timestamp) -> String {
    let time = i64::try_from(time).ok();
    time.and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Parses a time of RFC 3339; returns `None` for any other text and for a time before the epoch.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    time.unix_timestamp().try_into().ok()
}

/// A source of the current time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine"
    )]
    pub fn system() -> Self {
        Self::new(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs())
        })
    }

    /// Returns a clock whose time is the result of `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the current time, in seconds since the Unix epoch.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_as_rfc_3339_writes_it() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_315_329_987), "2011-09-06T17:26:27Z");
        assert_eq!(rfc3339(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn a_time_of_rfc_3339_is_read_as_it_is_written() {
        for (text, time) in [
            ("2011-09-06T17:26:27Z", Some(1_315_329_987)),
            ("2011-09-06T19:26:27+02:00", Some(1_315_329_987)),
            ("2011-09-06T17:26:27.9Z", Some(1_315_329_987)),
            ("1969-12-31T23:59:59Z", None),
            ("2011-09-06", None),
            ("2011-09-06T17:26:27", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339(text), time, "{text}");
        }
        assert_eq!(parse_rfc3339(&rfc3339(1_315_329_987)), Some(1_315_329_987));
    }
}
