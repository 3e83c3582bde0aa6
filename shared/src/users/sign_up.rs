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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(provider: &str, subject: &str, address: &str, verified: bool) -> Identity {
        let address = address.to_owned();
        let email = EmailAnswer::Some(Email { address, verified });
        Identity::in_model(provider, subject, email)
    }

    #[test]
    fn each_entry_of_the_lists_admits_what_it_names_and_nothing_else() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let listed = AllowedSignUps::Listed(Listed {
            email_domains: names(&["example.com"]),
            emails: names(&["ada@example.org"]),
            github_organizations: Vec::new(),
            identities: names(&["github:1", "google:a:b", "app:7", "app:shop:8"]),
        });
        for (provider, subject, address, verified, is_listed) in [
            ("google", "9", "eve@example.com", true, true),
            ("google", "9", "eve@EXAMPLE.com", true, true),
            ("google", "9", "eve@example.com", false, false),
            ("google", "9", "eve@sub.example.com", true, false),
            ("google", "9", "Ada@example.org", true, true),
            ("google", "9", "bob@example.org", true, false),
            ("google", "9", "bob@example.net", true, false),
            ("github", "1", "bob@example.net", true, true),
            ("github", "2", "bob@example.net", true, false),
            ("google", "1", "bob@example.net", true, false),
            ("google", "a:b", "bob@example.net", true, true),
            ("app", "7", "bob@example.net", true, true),
            ("app:shop", "8", "bob@example.net", true, true),
            ("app", "shop:8", "bob@example.net", true, false),
        ] {
            let identity = identity(provider, subject, address, verified);
            assert_eq!(listed.admit(&identity), is_listed, "{identity:?}");
            assert!(AllowedSignUps::Everyone.admit(&identity));
            assert!(!AllowedSignUps::Nobody.admit(&identity));
        }
    }

    #[test]
    fn an_address_counts_if_it_is_verified_by_a_listed_provider_and_the_settings_use_addresses() {
        let key_of = |same_email, provider, address, verified| {
            let sign_ups = SignUps {
                allowed: AllowedSignUps::Everyone,
                same_email,
                email_providers: vec!["google".to_owned(), "acme".to_owned()],
            };
            sign_ups.proven_email(&identity(provider, "1", address, verified))
        };
        let key = key_of(SameEmail::Link, "google", "ada@example.com", true).unwrap();
        assert_eq!(key.as_str().len(), 43);
        for (same_email, provider, address, verified, is_same) in [
            (SameEmail::Ask, "google", "ada@example.com", true, true),
            (SameEmail::Link, "acme", "Ada@EXAMPLE.com", true, true),
            (SameEmail::Off, "google", "ada@example.com", true, false),
            (SameEmail::Link, "github", "ada@example.com", true, false),
            (SameEmail::Link, "google", "ada@example.com", false, false),
        ] {
            let found = key_of(same_email, provider, address, verified);
            assert_eq!(
                found,
                is_same.then(|| key.clone()),
                "{same_email:?}, {address}"
            );
        }
        let other = key_of(SameEmail::Link, "google", "bob@example.com", true);
        assert!(other.is_some_and(|other| other != key));
    }
}
