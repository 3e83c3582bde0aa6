//! User ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Uuid, Version};

/// The id of a user: a UUID of version 7 (RFC 9562 §5.7), in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserId(Uuid);

/// An error for a text that is not a user id.
#[derive(Debug, Error)]
#[error("not a user id")]
pub struct NotAUserId;

impl UserId {
    /// Makes a new id.
    pub(crate) fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id with these bytes, if it is a UUID of version 7.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let id = Uuid::from_bytes(bytes);
        (id.get_version() == Some(Version::SortRand)).then_some(Self(id))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for UserId {
    type Err = NotAUserId;

    fn from_str(text: &str) -> Result<Self, NotAUserId> {
        let id = Uuid::parse_str(text).map_err(|_| NotAUserId)?;
        // `Uuid` also accepts braces, URNs and capitals, but two spellings of one id would be two keys.
        let canonical = id.get_version() == Some(Version::SortRand) && id.to_string() == text;
        canonical.then_some(Self(id)).ok_or(NotAUserId)
    }
}

impl TryFrom<String> for UserId {
    type Error = NotAUserId;

    fn try_from(text: String) -> Result<Self, NotAUserId> {
        text.parse()
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        let id = UserId::generate();
        assert_eq!(id.to_string().parse::<UserId>().unwrap(), id);
    }

    #[test]
    fn t31_other_spellings_and_other_uuids_are_refused() {
        let id = UserId::generate().to_string();
        for text in [
            String::new(),
            id.to_uppercase(),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            id.replace('-', ""),
            format!("{id} "),
            format!("{id}#SESSION"),
            "9b2b2f4e-6f0e-4f63-9b0e-0a3f0d2a7c55".to_owned(),
            Uuid::nil().to_string(),
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}") {
            prop_assert_eq!(text.parse::<UserId>().unwrap().to_string(), text);
        }
    }
}
