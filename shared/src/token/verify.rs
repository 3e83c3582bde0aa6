//! The verification of access tokens, as strict as RFC 9068 §4 and RFC 8725 require.

use std::{sync::Arc, time::Duration};

use super::{ACCESS_TOKEN_TYPE, Claims, TokenError};
use crate::{
    clock::{Clock, Timestamp},
    config::AccessTokenTtl,
    jws::{self, Header, Refused},
    keys::Keys,
};

/// The greatest accepted lead of the clock of the function that issued a token. Expiry has no leeway.
const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

/// Verifies Cambio's access tokens.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    keys: Keys,
    issuer_url: Arc<str>,
    /// The accepted audiences.
    audiences: Arc<[String]>,
    clock: Clock,
}

impl TokenVerifier {
    /// Makes a verifier for tokens of the issuer that are for one of `audiences`, signed by one of `keys`.
    pub fn new(keys: Keys, issuer_url: Arc<str>, audiences: Vec<String>, clock: Clock) -> Self {
        Self {
            keys,
            issuer_url,
            audiences: audiences.into(),
            clock,
        }
    }

    /// Verifies `token` and returns its claims.
    ///
    /// # Errors
    /// The token is not valid, or the keys cannot be read ([`TokenError::KeysUnavailable`]).
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.verify_also_for(|_| false, token).await
    }

    /// Verifies `token` of an audience that `is_accepted` as well, for functions that handle tokens of other APIs.
    ///
    /// # Errors
    /// Those of [`Self::verify`].
    pub async fn verify_also_for(
        &self,
        is_accepted: impl Fn(&str) -> bool,
        token: &str,
    ) -> Result<Claims, TokenError> {
        let token = jws::inspect::<Header>(token)?;
        let header = &token.header;
        if !header.typ.as_deref().is_some_and(is_access_token_type) {
            return Err(TokenError::Foreign("typ"));
        }
        // The key id is only compared with those in memory.
        let key = self.keys.find(&header.kid).await?;
        let key = key.ok_or(TokenError::UnknownKey)?;
        let verified = token.verify::<Claims>(&key.key);
        let claims = verified.map_err(|refused| match refused {
            Refused::Algorithm => TokenError::Foreign("alg"),
            Refused::Signature => TokenError::Forged("signature"),
            Refused::Claims => TokenError::Forged("claims"),
        })?;
        if !self.audiences.contains(&claims.aud) && !is_accepted(&claims.aud) {
            return Err(TokenError::Foreign("aud"));
        }
        check(&claims, &self.issuer_url, self.clock.now())?;
        Ok(claims)
    }
}

fn check(claims: &Claims, issuer_url: &str, now: Timestamp) -> Result<(), TokenError> {
    if claims.iss != issuer_url {
        return Err(TokenError::Foreign("iss"));
    }
    if now >= claims.exp {
        return Err(TokenError::Expired);
    }
    if claims.iat > now + CLOCK_LEEWAY.as_secs() {
        return Err(TokenError::Untimely("issued in the future"));
    }
    if claims
        .nbf
        .is_some_and(|nbf| nbf > now + CLOCK_LEEWAY.as_secs())
    {
        return Err(TokenError::Untimely("not valid yet"));
    }
    // Cambio never issues such a lifetime, so the token is forged or the result of a bug.
    let lifetime = claims.exp.checked_sub(claims.iat);
    if lifetime.is_none_or(|lifetime| lifetime > AccessTokenTtl::MAX.as_secs()) {
        return Err(TokenError::Untimely("of an impossible lifetime"));
    }
    Ok(())
}

/// Returns whether `typ` is `at+jwt` (RFC 9068 §4), with or without `application/`, in any case (RFC 7515 §4.1.9).
fn is_access_token_type(typ: &str) -> bool {
    let (prefix, name) = typ.rsplit_once('/').unwrap_or(("application", typ));
    prefix.eq_ignore_ascii_case("application") && name.eq_ignore_ascii_case(ACCESS_TOKEN_TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_000_000;
    const LEEWAY: u64 = CLOCK_LEEWAY.as_secs();

    fn checked(change: impl FnOnce(&mut Claims)) -> Result<(), TokenError> {
        let mut claims: Claims = serde_json::from_value(serde_json::json!({
            "iss": "https://api.example.com",
            "aud": "api",
            "sub": "01a208bb-db28-776e-8b0c-7dfd69859e79",
            "client_id": "nextjs",
            "iat": NOW - 60,
            "exp": NOW + 840,
            "auth_time": NOW - 60,
            "jti": "a-token",
            "sid": "AAAAAAAAAAAAAAAAAAAAAA",
            "session_version": 0,
        }))
        .unwrap();
        change(&mut claims);
        check(&claims, "https://api.example.com", NOW)
    }

    #[test]
    fn t26_t27_each_edge_of_time_is_exact() {
        assert!(checked(|_| {}).is_ok());
        assert!(checked(|claims| claims.exp = NOW + 1).is_ok());
        assert!(checked(|claims| claims.exp = NOW).is_err());
        assert!(checked(|claims| claims.iat = NOW + LEEWAY).is_ok());
        assert!(checked(|claims| claims.iat = NOW + LEEWAY + 1).is_err());
        assert!(checked(|claims| claims.nbf = Some(NOW + LEEWAY)).is_ok());
        assert!(checked(|claims| claims.nbf = Some(NOW + LEEWAY + 1)).is_err());
        assert!(checked(|claims| claims.exp = claims.iat + 3600).is_ok());
        assert!(checked(|claims| claims.exp = claims.iat + 3601).is_err());
        assert!(checked(|claims| claims.exp = u64::MAX).is_err());
    }
}
