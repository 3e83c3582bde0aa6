//! Refresh tokens: their form and the derivation of the successor.
//!
//! Clients hold secrets, the table holds hashes and nonces. Each secret is derived from the previous one and a stored
//! nonce. So a client that presents a secret again gets the same successor, and a dump of the table is of no use for
//! making tokens.

use std::fmt;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    hmac, rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::Presented;
use crate::{
    dynamodb::StoreError,
    ids::{SessionId, UserId},
};

/// The prefix of every refresh token, for secret scanners.
const PREFIX: &str = "cbr_";
const VERSION: u8 = 1;
const FAMILY: usize = 16;
const SECRET: usize = 32;
/// The length of a decoded token: version, user, session, generation, family, secret.
const PAYLOAD: usize = 1 + 16 + SessionId::LENGTH + 4 + FAMILY + SECRET;
const CHECKSUM: usize = 4;

/// A text is not a refresh token.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a refresh token")]
pub struct NotARefreshToken;

/// A well-formed refresh token of a client. Only the table can confirm it.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    /// The user of the session.
    pub user_id: UserId,
    /// The session.
    pub session_id: SessionId,
    /// The number of refreshes before the token was issued.
    pub generation: u32,
    /// The secret that all tokens of the session share.
    pub family: Family,
    /// The secret of this generation.
    pub secret: Secret,
}

/// The secret that all tokens of a session share. Without it, a caller cannot even end the session.
#[derive(Clone)]
pub struct Family([u8; FAMILY]);

/// The secret of one generation of a session's tokens.
#[derive(Clone)]
pub struct Secret([u8; SECRET]);

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// SHA-256 of a family secret or of a generation secret, as the table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    fn of(secret: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(hash)
    }

    /// Returns whether both are equal, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// Random bytes from which, together with a secret, the next secret is derived. Of no use alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    /// Generates a nonce with the operating system's random number generator.
    ///
    /// # Errors
    /// [`StoreError::NoRandomness`].
    pub fn generate() -> Result<Self, StoreError> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Family {
    /// Returns the hash for the table.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl Secret {
    /// Returns the hash for the table.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// Returns the secret of the next generation, always the same for the same nonce.
    fn next(&self, nonce: Nonce) -> Self {
        Self(derive(&self.0, b"cambio next\0", nonce))
    }
}

fn derive(key: &[u8], purpose: &[u8], nonce: Nonce) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose);
    context.update(&nonce.0);
    let mut derived = [0; 32];
    derived.copy_from_slice(context.sign().as_ref());
    derived
}

impl RefreshToken {
    /// Returns the first token of the session that `subject_token` opened with `nonce`. The same subject token yields
    /// the same token again, and the table, which does not contain the subject token, is not sufficient to derive it.
    pub fn first(
        user_id: UserId,
        session_id: SessionId,
        subject_token: &SecretString,
        nonce: Nonce,
    ) -> Self {
        let key = subject_token.expose_secret().as_bytes();
        let mut family = [0; FAMILY];
        family.copy_from_slice(&derive(key, b"cambio family\0", nonce)[..FAMILY]);
        let secret = derive(key, b"cambio first\0", nonce);
        Self {
            user_id,
            session_id,
            generation: 0,
            family: Family(family),
            secret: Secret(secret),
        }
    }

    /// Returns the successor of this token; `None` after the last generation.
    pub fn successor(&self, nonce: Nonce) -> Option<Self> {
        Some(Self {
            user_id: self.user_id,
            session_id: self.session_id,
            generation: self.generation.checked_add(1)?,
            family: self.family.clone(),
            secret: self.secret.next(nonce),
        })
    }

    /// The token as [`decide`] compares it with the table, presented by this client.
    ///
    /// [`decide`]: super::decide
    pub(super) fn presented(&self, client_id: &str) -> Presented {
        Presented {
            client_id: client_id.to_owned(),
            family: self.family.hash(),
            generation: self.generation,
            secret: self.secret.hash(),
        }
    }

    /// Parses a token. Its form is fixed to the bit, so that a typo never reaches the table.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, NotARefreshToken> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotARefreshToken)?;
        let mut bytes = [0; PAYLOAD + CHECKSUM];
        let length = URL_SAFE_NO_PAD
            .decode_slice(encoded, &mut bytes)
            .map_err(|_| NotARefreshToken)?;
        let (payload, checksum) = bytes.split_at(PAYLOAD);
        let intact = crc32fast::hash(payload).to_be_bytes() == checksum;
        if length != bytes.len() || !intact {
            return Err(NotARefreshToken);
        }
        let mut rest = payload;
        if take(&mut rest)? != [VERSION] {
            return Err(NotARefreshToken);
        }
        Ok(Self {
            user_id: UserId::from_bytes(take(&mut rest)?).ok_or(NotARefreshToken)?,
            session_id: SessionId::from_bytes(take(&mut rest)?),
            generation: u32::from_be_bytes(take(&mut rest)?),
            family: Family(take(&mut rest)?),
            secret: Secret(take(&mut rest)?),
        })
    }

    /// Returns the token as the client gets it.
    pub fn to_text(&self) -> SecretString {
        let mut bytes = Vec::with_capacity(PAYLOAD + CHECKSUM);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.user_id.as_bytes());
        bytes.extend_from_slice(self.session_id.as_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.family.0);
        bytes.extend_from_slice(&self.secret.0);
        let checksum = crc32fast::hash(&bytes).to_be_bytes();
        bytes.extend_from_slice(&checksum);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], NotARefreshToken> {
    let (first, rest) = bytes.split_first_chunk().ok_or(NotARefreshToken)?;
    *bytes = rest;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> RefreshToken {
        let subject_token = "gho_a".to_owned().into();
        let session_id = SessionId::of_subject_token(&subject_token);
        RefreshToken::first(
            UserId::generate(),
            session_id,
            &subject_token,
            Nonce([7; 32]),
        )
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        let token = token().successor(Nonce([1; 32])).unwrap();
        let text = token.to_text();
        let read = RefreshToken::parse(text.expose_secret()).unwrap();
        assert_eq!(text.expose_secret().len(), 4 + 119);
        assert_eq!(read.user_id, token.user_id);
        assert_eq!(read.session_id, token.session_id);
        assert_eq!(read.generation, 1);
        assert_eq!(read.family.hash(), token.family.hash());
        assert_eq!(read.secret.hash(), token.secret.hash());
    }

    #[test]
    fn t38_a_token_with_any_one_character_changed_is_refused() {
        let text = token().to_text();
        let text = text.expose_secret();
        for position in 0..text.len() {
            for other in ['A', 'z', '_'] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[position] == other {
                    continue;
                }
                changed[position] = other;
                let changed: String = changed.into_iter().collect();
                assert!(RefreshToken::parse(&changed).is_err(), "{position} {other}");
            }
        }
    }

    #[test]
    fn the_same_secret_and_nonce_have_one_successor_and_others_have_others() {
        let token = token();
        let successor = |nonce| token.successor(nonce).unwrap().secret.hash();
        assert_eq!(successor(Nonce([1; 32])), successor(Nonce([1; 32])));
        assert_ne!(successor(Nonce([1; 32])), successor(Nonce([2; 32])));
        assert_eq!(
            token.successor(Nonce([1; 32])).unwrap().family.hash(),
            token.family.hash()
        );
    }

    #[test]
    fn t45_no_nonce_comes_twice() {
        let nonces: std::collections::HashSet<_> =
            (0..1_000_000).map(|_| Nonce::generate().unwrap()).collect();
        assert_eq!(nonces.len(), 1_000_000);
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let token = token();
        let debug = format!("{token:?}");
        let text = token.to_text();
        assert!(!debug.contains(text.expose_secret()));
        assert_eq!(debug.matches("[REDACTED]").count(), 2, "{debug}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", encoded in "cbr_[-_A-Za-z0-9]{110,125}") {
            let _ = RefreshToken::parse(&text);
            let _ = RefreshToken::parse(&encoded);
        }

        #[test]
        fn t46_what_the_table_holds_is_no_secret(nonce in any::<[u8; 32]>(), next in any::<[u8; 32]>()) {
            let subject_token: SecretString = "gho_a".to_owned().into();
            let session_id = SessionId::of_subject_token(&subject_token);
            let first = RefreshToken::first(UserId::generate(), session_id, &subject_token, Nonce(nonce));
            let second = first.successor(Nonce(next)).unwrap();
            let stored = [first.family.hash().0, first.secret.hash().0, second.secret.hash().0, nonce, next];
            let secrets: [&[u8]; 3] = [
                &first.family.0,
                &first.secret.0,
                &second.secret.0,
            ];
            for stored in stored {
                for secret in secrets {
                    prop_assert!(!stored.windows(secret.len()).any(|window| window == secret));
                }
            }
        }
    }
}
