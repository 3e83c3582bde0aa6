//! Scopes: the rights of a client in a session (RFC 6749 §3.3).

use std::{collections::BTreeSet, fmt, str::FromStr};

use thiserror::Error;

/// The largest number of scopes in one grant.
pub const MAX_SCOPES: usize = 64;
/// The longest scope as a text, in bytes. Each access token contains it, and tokens over 8 KiB are refused.
pub const MAX_LENGTH: usize = 1024;

/// The scope of a grant: one or more scope tokens, each once, in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(BTreeSet<String>);

/// A text is not a scope that can be granted.
#[derive(Debug, Error)]
#[error(
    "a scope must be 1 to {MAX_SCOPES} scope-tokens (RFC 6749, section 3.3), separated by spaces, in at most {MAX_LENGTH} bytes"
)]
pub struct NotAScope;

impl Scope {
    /// Makes a scope of these scope tokens.
    ///
    /// # Errors
    /// There is no scope token, there are too many, or one is malformed.
    pub fn of<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Self, NotAScope> {
        let tokens: BTreeSet<String> = tokens.into_iter().map(str::to_owned).collect();
        let is_sound =
            tokens.len() <= MAX_SCOPES && tokens.iter().all(|token| is_scope_token(token));
        let scope = Self::stored(tokens).filter(|scope| is_sound && scope.length() <= MAX_LENGTH);
        scope.ok_or(NotAScope)
    }

    /// Makes the scope of a session's item, which was checked when it was granted.
    pub(crate) fn stored(tokens: impl IntoIterator<Item = String>) -> Option<Self> {
        let tokens: BTreeSet<String> = tokens.into_iter().collect();
        (!tokens.is_empty()).then_some(Self(tokens))
    }

    /// Returns the scope tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns whether `granted` contains each scope token.
    pub fn is_within(&self, granted: Option<&Self>) -> bool {
        granted.is_some_and(|granted| self.0.is_subset(&granted.0))
    }

    /// Returns the scope tokens of both.
    pub fn shared_with(&self, other: &Self) -> Option<Self> {
        Self::stored(self.0.intersection(&other.0).cloned())
    }

    fn length(&self) -> usize {
        let spaces = self.0.len().saturating_sub(1);
        self.tokens().map(str::len).sum::<usize>() + spaces
    }
}

/// Parses a client's text, in which repeated spaces and repeated scope tokens are harmless.
impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        if text.len() > MAX_LENGTH {
            return Err(NotAScope);
        }
        Self::of(text.split(' ').filter(|token| !token.is_empty()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, token) in self.tokens().enumerate() {
            let space = if nth == 0 { "" } else { " " };
            write!(f, "{space}{token}")?;
        }
        Ok(())
    }
}

/// Returns whether `scope` is one of the granted scopes, which are separated by spaces (RFC 6749 §3.3).
pub fn has_scope(granted: Option<&str>, scope: &str) -> bool {
    granted
        .unwrap_or_default()
        .split(' ')
        .any(|granted| granted == scope)
}

/// Returns whether `text` is a scope-token (RFC 6749, Appendix A.4).
pub fn is_scope_token(text: &str) -> bool {
    let allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        text.parse::<Scope>().ok().map(|scope| scope.to_string())
    }

    #[test]
    fn t116_a_scope_has_one_spelling() {
        for text in ["a b", "b a", " a  b ", "a b a b", "b a "] {
            assert_eq!(read(text).as_deref(), Some("a b"), "{text:?}");
        }
    }

    #[test]
    fn t116_what_is_no_scope_token_is_refused() {
        for text in ["", " ", "   ", "a \"b\"", "a\\b", "a\tb", "é", "a\u{7f}"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert!(read("!#[]~").is_some());
    }

    #[test]
    fn t116_a_scope_has_a_largest_length_and_number_of_tokens() {
        let tokens = |count: usize| {
            let tokens: Vec<String> = (0..count).map(|nth| nth.to_string()).collect();
            tokens.join(" ")
        };
        assert!(read(&tokens(MAX_SCOPES)).is_some());
        assert!(read(&tokens(MAX_SCOPES + 1)).is_none());
        assert!(read(&"x".repeat(MAX_LENGTH)).is_some());
        assert!(read(&"x".repeat(MAX_LENGTH + 1)).is_none());
        assert!(
            read(&"x ".repeat(MAX_LENGTH)).is_none(),
            "before it is split"
        );
        let long = ["x".repeat(MAX_LENGTH / 2), "y".repeat(MAX_LENGTH / 2)];
        assert!(Scope::of(long.iter().map(String::as_str)).is_err());
    }

    #[test]
    fn a_scope_is_within_another_only_with_all_its_tokens() {
        let scope = |text: &str| text.parse::<Scope>().unwrap();
        assert!(scope("a").is_within(Some(&scope("a b"))));
        assert!(!scope("a c").is_within(Some(&scope("a b"))));
        assert!(!scope("a").is_within(Some(&scope("ab"))));
        assert!(!scope("a").is_within(None));
        assert_eq!(scope("a b").shared_with(&scope("b c")), Some(scope("b")));
        assert_eq!(scope("a").shared_with(&scope("b")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[a-c ]{0,40}") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
            }
        }
    }
}
