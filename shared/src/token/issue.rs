//! Issuing access tokens.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::Header;
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

/// A [`TokenIssuer`] that has a key.
pub struct ReadyIssuer<'a>(&'a TokenIssuer);

/// A [`TokenIssuer`] with the key that signs now.
pub struct ConfirmedIssuer<'a> {
    issuer: &'a TokenIssuer,
    signing: Arc<SigningKey>,
}

/// What a token is issued for, beside the user.
#[derive(Debug)]
pub struct Grant<'a> {
    /// The authenticated client.
    pub client_id: &'a str,
    /// The sign-in.
    pub session: SessionRef,
    /// When the user signed in with the provider, if the provider says so.
    pub signed_in_at: Option<Timestamp>,
    /// The API that the token is for.
    pub audience: &'a str,
    /// The granted scope, if any (RFC 6749 §3.3).
    pub scope: Option<&'a str>,
}

/// A signed access token.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token, for the client alone.
    pub token: SecretString,
    /// How long it is valid.
    pub expires_in: Duration,
}

impl TokenIssuer {
    /// Issues in the name of `issuer`.
    pub fn new(signer: Signer, issuer: Issuer, ttl: AccessTokenTtl, clock: Clock) -> Self {
        Self {
            signer,
            issuer,
            ttl: ttl.0,
            clock,
        }
    }

    /// Gets the key ready, so that nothing is written for a token that could then not be signed.
    ///
    /// # Errors
    /// There is no key to sign with.
    pub async fn ready(&self) -> Result<ReadyIssuer<'_>, TokenError> {
        self.signer.ready().await?;
        Ok(ReadyIssuer(self))
    }
}

impl<'a> ReadyIssuer<'a> {
    /// Makes sure that the key was not revoked in the meantime, which may take a call: it can be made in parallel with those of
    /// the request.
    ///
    /// # Errors
    /// The key may sign no more, and there is no other.
    pub async fn confirm(self) -> Result<ConfirmedIssuer<'a>, TokenError> {
        Ok(ConfirmedIssuer {
            issuer: self.0,
            signing: self.0.signer.current().await?,
        })
    }
}

impl ConfirmedIssuer<'_> {
    /// An access token for `user`.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn issue(&self, user: &User, grant: &Grant<'_>) -> Result<IssuedToken, TokenError> {
        let TokenIssuer {
            issuer, ttl, clock, ..
        } = self.issuer;
        let signing = &self.signing;
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
        let mut header = Header::new(signing.key_type.algorithm());
        header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
        header.kid = Some(signing.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &signing.key);
        Ok(IssuedToken {
            token: token.map_err(|_| TokenError::Signing)?.into(),
            expires_in: *ttl,
        })
    }
}
