//! The verified identity of a user at a provider.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    text::{MAX_CHARS, composed, is_blank, is_plain, picture, presentable},
};

/// The longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
const MAX_EMAIL: usize = 254;

/// A verified identity, which is permission to sign in as it.
///
/// Only the modules of providers can make one.
#[derive(Clone, Debug)]
pub struct Identity {
    provider: String,
    issuer: String,
    subject: String,
    profile: Profile,
    organizations: Vec<String>,
    signed_in_at: Option<Timestamp>,
    once: Option<Once>,
}

/// The name of a token that proves an identity once, by its `jti`.
#[derive(Clone, Debug)]
pub struct Once {
    /// The namespace of the `jti`.
    pub(crate) issuer: String,
    pub(crate) jti: String,
    /// The time from which the token is refused anyway.
    pub(crate) expires_at: Timestamp,
}

/// The provider's profile of the user, cleaned for storage and display.
///
/// A member that the provider did not report is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The login, which can change and be reused, so it is never a key.
    pub username: Option<String>,
    /// The display name, or the login of a user without one.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: EmailAnswer,
    /// An `https` URL of a picture.
    pub picture: Option<String>,
}

/// The provider's statement about the e-mail address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmailAnswer {
    /// Unknown: the token may not read it.
    #[default]
    NotTold,
    /// No usable address: a stored one is out of date.
    None,
    /// This address.
    Some(Email),
}

/// An e-mail address, and whether the provider has verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The address.
    pub address: String,
    /// True if the provider has verified it.
    pub verified: bool,
}

/// The storage key of an identity: the provider and SHA-256 of issuer and subject, so that no spelling of a subject
/// equals the key of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityKey(String);

impl IdentityKey {
    /// Returns the key as text: `<provider>#<43 characters of base64url>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Identity {
    pub(super) fn new(
        provider: impl Into<String>,
        issuer: impl Into<String>,
        subject: impl Into<String>,
        profile: Profile,
    ) -> Self {
        Self {
            provider: provider.into(),
            issuer: issuer.into(),
            subject: subject.into(),
            profile: profile.made_fit(),
            organizations: Vec::new(),
            signed_in_at: None,
            once: None,
        }
    }

    /// Makes an identity for the model of users, which asks no provider.
    #[cfg(test)]
    pub(crate) fn in_model(provider: &str, subject: &str, email: EmailAnswer) -> Self {
        let profile = Profile {
            email,
            ..Profile::default()
        };
        Self::new(provider, "https://issuer.example", subject, profile)
    }

    /// Sets the name of the token, which a sign-in or a link then uses up.
    pub(super) fn proven_once(self, once: Once) -> Self {
        Self {
            once: Some(once),
            ..self
        }
    }

    /// Returns the name of the token, if the token has a `jti` that must be used up.
    pub(crate) fn once(&self) -> Option<&Once> {
        self.once.as_ref()
    }

    /// Sets the time of the sign-in at the provider, if the provider reports it.
    pub(super) fn signed_in(self, at: Option<Timestamp>) -> Self {
        Self {
            signed_in_at: at,
            ..self
        }
    }

    /// Sets the organizations with an active membership.
    pub(super) fn member_of(self, organizations: Vec<String>) -> Self {
        Self {
            organizations,
            ..self
        }
    }

    /// Returns the time of the sign-in by the provider's clock; `None` if the provider does not report it.
    pub fn signed_in_at(&self) -> Option<Timestamp> {
        self.signed_in_at
    }

    /// Returns the organizations with an active membership, among the requested ones.
    pub fn organizations(&self) -> &[String] {
        &self.organizations
    }

    /// Returns the configured name of the provider.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Returns the unchanging id at the provider.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns the storage key of the identity.
    pub fn key(&self) -> IdentityKey {
        let mut hash = Context::new(&SHA256);
        hash.update(self.issuer.as_bytes());
        // An issuer is a configured URL or the name of an app, which contain no such byte.
        hash.update(&[0]);
        hash.update(self.subject.as_bytes());
        let hash = URL_SAFE_NO_PAD.encode(hash.finish());
        IdentityKey(format!("{}#{hash}", self.provider))
    }
}

impl Profile {
    /// Cuts or drops values that do not fit: a hostile profile must neither stop a sign-in nor reach a page.
    fn made_fit(self) -> Self {
        let username = self.username.and_then(text);
        Self {
            // The login replaces a missing name.
            name: self.name.and_then(text).or_else(|| username.clone()),
            username,
            email: match self.email {
                EmailAnswer::Some(email) if !is_email(&email.address) => EmailAnswer::None,
                email => email,
            },
            picture: self.picture.as_deref().and_then(picture),
        }
    }
}

/// Returns the visible part of a text, up to the longest length.
fn text(raw: String) -> Option<String> {
    let presentable = presentable(&raw);
    let composed = composed(&presentable);
    let text: String = composed.trim().chars().take(MAX_CHARS).collect();
    let text = text.trim_end();
    (!is_blank(text)).then(|| text.to_owned())
}

fn is_email(address: &str) -> bool {
    let well_formed = address
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    well_formed && address.len() <= MAX_EMAIL && is_plain(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(provider: &'static str, issuer: &str, subject: &str) -> Identity {
        Identity::new(provider, issuer, subject, Profile::default())
    }

    #[test]
    fn t06_the_same_subject_at_two_issuers_is_two_identities() {
        assert_ne!(
            identity("oidc", "https://a.example", "1").key(),
            identity("oidc", "https://b.example", "1").key()
        );
    }

    #[test]
    fn t69_no_spelling_of_issuer_and_subject_reaches_anothers_key() {
        let key = |issuer, subject| identity("p", issuer, subject).key();
        assert_ne!(key("a", "b#c"), key("a#b", "c"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(key("a", "b\0c"), key("a", "c\0b"));
        let long = "#".repeat(255);
        assert_eq!(key("a", &long).as_str().len(), "p#".len() + 43);
    }

    #[test]
    fn t64_a_hostile_profile_is_made_fit() {
        let profile = Profile {
            username: Some("\u{0}\n".to_owned()),
            name: Some(format!(" a\u{202e}b\u{7}{}", "x".repeat(10_000_000))),
            email: EmailAnswer::Some(Email {
                address: "a@b\r\nBcc: c@d".to_owned(),
                verified: true,
            }),
            picture: Some("javascript:alert(1)".to_owned()),
        }
        .made_fit();

        assert_eq!(profile.username, None);
        let name = profile.name.unwrap();
        assert!(name.starts_with("abx"), "{name}");
        assert_eq!(name.chars().count(), MAX_CHARS);
        assert_eq!(profile.email, EmailAnswer::None);
        assert_eq!(profile.picture, None);
    }

    #[test]
    fn names_of_all_the_world_stay_as_they_are() {
        assert_eq!(text("\u{202e} a".to_owned()).as_deref(), Some("a"));
        for address in ["a\u{202e}b@c", "a\u{200b}@c", "\u{3164}@c", "a b@c"] {
            assert!(!is_email(address), "{address}");
        }
        let of_size = |size: usize| format!("{}@example.com", "x".repeat(size - 12));
        assert!(is_email(&of_size(MAX_EMAIL)) && !is_email(&of_size(MAX_EMAIL + 1)));
        for name in ["José", "李小龙", "محمد", "👩‍👩‍👧", "Ó Briain"] {
            assert_eq!(text(name.to_owned()).as_deref(), Some(name));
        }
    }

    proptest! {
        #[test]
        fn fit_text_is_within_its_bounds_and_stays_fit(raw in "\\PC{0,400}|.{0,400}") {
            if let Some(fit) = text(raw) {
                prop_assert!(!fit.is_empty() && fit.chars().count() <= MAX_CHARS);
                prop_assert_eq!(text(fit.clone()), Some(fit));
            }
        }
    }
}
