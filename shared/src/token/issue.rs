//! The issue of access tokens.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use uuid::Uuid;

use super::{ACCESS_TOKEN_TYPE, Claims, TokenError};
use crate::{
    clock::{Clock, Timestamp},
    config::{AccessTokenTtl, Issuer},
    ids::SessionRef,
    keys::{Signer, SigningKey},
    users::User,
};

/// Issues access tokens with the current signing key.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    signer: Signer,
    issuer: Issuer,
    ttl: Duration,
    clock: Clock,
}

/// A [`TokenIssuer`] with a key in memory.
pub struct ReadyIssuer<'a>(&'a TokenIssuer);

/// A [`TokenIssuer`] with the key that signs now.
pub struct ConfirmedIssuer<'a> {
    issuer: &'a TokenIssuer,
    signing: Arc<SigningKey>,
}

/// The data of a token besides the user.
#[derive(Debug)]
pub struct Grant<'a> {
    /// The authenticated client.
    pub client_id: &'a str,
    /// The session.
    pub session: SessionRef,
    /// The time of the sign-in at the provider, if the provider reports it.
    pub signed_in_at: Option<Timestamp>,
    /// The audience.
    pub audience: &'a str,
    /// The granted scope, if any (RFC 6749 §3.3).
    pub scope: Option<&'a str>,
}

/// A signed access token.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: SecretString,
    /// The lifetime.
    pub expires_in: Duration,
}

impl TokenIssuer {
    /// Makes an issuer of tokens with this `iss` and `aud`.
    pub fn new(signer: Signer, issuer: Issuer, ttl: AccessTokenTtl, clock: Clock) -> Self {
        Self {
            signer,
            issuer,
            ttl: ttl.0,
            clock,
        }
    }

    /// Prepares the key, so that no data is written for a token that cannot be signed.
    ///
    /// # Errors
    /// There is no key to sign with.
    pub async fn ready(&self) -> Result<ReadyIssuer<'_>, TokenError> {
        self.signer.ready().await?;
        Ok(ReadyIssuer(self))
    }
}

impl<'a> ReadyIssuer<'a> {
    /// Checks that the key has not been revoked meanwhile. It may read the table, in parallel with the request's own
    /// calls.
    ///
    /// # Errors
    /// The key may not sign any more, and there is no other.
    pub async fn confirm(self) -> Result<ConfirmedIssuer<'a>, TokenError> {
        Ok(ConfirmedIssuer {
            issuer: self.0,
            signing: self.0.signer.current().await?,
        })
    }
}

impl ConfirmedIssuer<'_> {
    /// Issues an access token for `user`.
    ///
    /// # Errors
    /// Signing fails.
    pub fn issue(&self, user: &User, grant: &Grant<'_>) -> Result<IssuedToken, TokenError> {
        let TokenIssuer {
            issuer, ttl, clock, ..
        } = self.issuer;
        let now = clock.now();
        let claims = Claims {
            iss: issuer.url.to_string(),
            aud: grant.audience.to_owned(),
            sub: user.id,
            client_id: grant.client_id.to_owned(),
            iat: now,
            auth_time: grant.signed_in_at,
            exp: now + ttl.as_secs(),
            nbf: None,
            jti: Uuid::now_v7().to_string(),
            sid: grant.session.id,
            session_version: grant.session.version,
            scope: grant.scope.map(str::to_owned),
            roles: user.roles.clone(),
            own: user.claims.as_map().clone(),
        };
        let token = self.signing.sign(ACCESS_TOKEN_TYPE, &claims);
        Ok(IssuedToken {
            token: token.map_err(|_| TokenError::Signing)?,
            expires_in: *ttl,
        })
    }
}
