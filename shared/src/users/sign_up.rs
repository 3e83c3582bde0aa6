//! The rules for new users and for verified addresses.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    config::{AllowedSignUps, Listed, SameEmail, SignUps},
    provider::{Email, EmailAnswer, Identity},
};

/// The key of a verified address: SHA-256 of its normalized form, so that the table holds the address itself only in
/// the profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmailKey(String);

impl EmailKey {
    fn of(address: &str) -> Self {
        // Addresses are case-insensitive in ASCII only. Unicode's folding merges more letters: U+212A, the kelvin
        // sign, becomes k, but that is the address of another person.
        let hash = digest(&SHA256, address.to_ascii_lowercase().as_bytes());
        Self(URL_SAFE_NO_PAD.encode(hash))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl SignUps {
    /// Returns the verified address of `identity`, if its provider is trusted for addresses.
    pub(super) fn proven_email(&self, identity: &Identity) -> Option<EmailKey> {
        let counts = self.same_email != SameEmail::Off
            && self
                .email_providers
                .iter()
                .any(|name| name == identity.provider());
        let email = verified(identity).filter(|_| counts)?;
        Some(EmailKey::of(&email.address))
    }
}

impl AllowedSignUps {
    /// Returns whether `identity` may become a user.
    pub(super) fn admit(&self, identity: &Identity) -> bool {
        match self {
            Self::Everyone => true,
            Self::Nobody => false,
            Self::Listed(listed) => listed.has(identity),
        }
    }
}

impl Listed {
    fn has(&self, identity: &Identity) -> bool {
        // ASCII only, for the reason in `EmailKey::of`.
        let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
        let by_email = verified(identity).is_some_and(|email| {
            let domain = email
                .address
                .rsplit_once('@')
                .map_or("", |(_, domain)| domain);
            self.emails.iter().any(|entry| is(entry, &email.address))
                || self.email_domains.iter().any(|entry| is(entry, domain))
        });
        let is_member = |organization: &String| {
            let mut of = identity.organizations().iter();
            of.any(|other| is(organization, other))
        };
        let name = format!("{}:{}", identity.provider(), identity.subject());
        // An entry that begins with `app:` names the user of an app, and never one at a provider of the name `app`.
        let is_ambiguous = identity.provider() == "app" && identity.subject().contains(':');
        by_email
            || self.github_organizations.iter().any(is_member)
            || (!is_ambiguous && self.identities.contains(&name))
    }
}

/// Returns the verified address, if it is ASCII. Mail systems treat other letters differently, so such an address
/// proves nothing.
fn verified(identity: &Identity) -> Option<&Email> {
    match &identity.profile().email {
        EmailAnswer::Some(email) if email.verified && email.address.is_ascii() => Some(email),
        EmailAnswer::Some(_) | EmailAnswer::NotTold | EmailAnswer::None => None,
    }
}
