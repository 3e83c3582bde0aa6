//! Sign-ins that an app vouches for: a JWT that a client signs for a user whom no provider can prove, such as one of an
//! e-mail link, a password or a passkey.
//!
//! The `typ` of such a JWT is [`TYP`], which no client assertion and no ID token has. So neither passes as the other,
//! even if a client uses one key for both (RFC 8725 §3.11).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Identity, Once, ProviderError, SubjectToken, oidc::is_subject, person};
use crate::{
    clock::{Clock, Timestamp},
    config::{self, ConfigError, Environment, Server},
    jwk::{self, KeySet},
    jws::{Audience, CLIENT_ALGORITHMS, ForeignHeader, Inspected, Refused},
    one_time::{Lifetime, OneTime},
};

/// The `typ` of a JWT by which an app vouches for a user.
const TYP: &str = "vouch+jwt";
/// The longest lifetime of such a JWT, which the app signs for one request.
const LIFETIME: Lifetime = Lifetime {
    longest: Duration::from_mins(5),
    exceeded: "it lives longer than 5 minutes",
};

/// A client that vouches for its own users.
#[derive(Clone, Debug)]
pub struct Voucher {
    /// The name that the identities go by: `app:<client_id>`, which is the name of no provider.
    name: String,
    issuer: String,
    keys: KeySet,
}

/// Verifies the JWTs of apps.
#[derive(Clone, Debug)]
pub(super) struct Vouched {
    us: Server,
    clock: Clock,
}

/// The claims of such a JWT.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    #[serde(flatten)]
    once: OneTime,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Voucher {
    /// Makes the voucher of a client. Its tokens name `issuer`, by default the client id.
    ///
    /// # Errors
    /// The problem with a member.
    pub(crate) fn new(
        client_id: &str,
        issuer: Option<String>,
        keys: &[Value],
    ) -> Result<Self, &'static str> {
        let name = config::app_name(client_id).ok_or(
            "has vouches, and a client_id that is longer than 64 characters or has others than letters, digits, '-', '.', '_' and '~'",
        )?;
        let issuer = issuer.unwrap_or_else(|| client_id.to_owned());
        let is_text = !issuer.is_empty() && issuer.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_text {
            return Err(
                "has an issuer in vouches that is empty or has characters other than visible ASCII",
            );
        }
        let usable = jwk::usable(keys);
        let named = usable.ids().count();
        if named == 0 || named != keys.len() {
            return Err(
                "has no key in the keys of vouches, or one that is symmetric, private or weak, or has no unique kid",
            );
        }
        Ok(Self {
            name,
            issuer,
            keys: usable,
        })
    }

    /// Returns the name that the identities go by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a request that names the issuer `named` can mean this client.
    pub(super) fn is_named(&self, named: Option<&str>) -> bool {
        named.is_none_or(|named| named == self.name || named == self.issuer)
    }
}

/// Returns whether a JWT is to be verified as one of an app: its `typ` says so, or it names the app that sends it.
pub(super) fn is_vouched(header: &ForeignHeader, issuer: &str, voucher: Option<&Voucher>) -> bool {
    is_typed(header) || voucher.is_some_and(|voucher| voucher.issuer == issuer)
}

fn is_typed(header: &ForeignHeader) -> bool {
    let typ = header.typ.as_deref();
    typ.is_some_and(|typ| typ.eq_ignore_ascii_case(TYP))
}

impl Vouched {
    /// Reads the names of this server, which the tokens must be for.
    pub(super) fn from_env(env: &Environment, clock: &Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            us: Server::from_env(env)?,
            clock: clock.clone(),
        })
    }

    /// Verifies a JWT by the keys of the client that sent it.
    pub(super) fn verify(
        &self,
        voucher: &Voucher,
        inspected: &Inspected<'_, ForeignHeader>,
        subject: &SubjectToken,
    ) -> Result<Identity, ProviderError> {
        let header = &inspected.header;
        let refuse = |why| Err(ProviderError::Rejected(why));
        if !is_typed(header) {
            return refuse("its typ is not vouch+jwt");
        }
        if subject.nonce.is_some() || subject.access_token.is_some() {
            return refuse("nonce and subject_access_token are for ID tokens only");
        }
        if !CLIENT_ALGORITHMS.contains(&header.alg) {
            return refuse("its algorithm is none of RS256, PS256, ES256 and EdDSA");
        }
        let Some(key) = voucher.keys.find(header.kid.as_deref(), header.alg) else {
            return refuse(
                "no key, or more than one key, in vouches of the client fits its header",
            );
        };
        let claims: Claims = inspected.verify(key).map_err(|refused| {
            ProviderError::Rejected(match refused {
                Refused::Algorithm => "its algorithm is not that of its key",
                Refused::Signature => "its signature is not valid for the keys of the client",
                Refused::Claims => {
                    "a claim of iss, sub, aud, exp and jti is missing, or a claim has another type"
                }
            })
        })?;
        self.check(&claims, voucher, self.clock.now())?;
        Ok(identity(claims, voucher))
    }

    fn check(
        &self,
        claims: &Claims,
        voucher: &Voucher,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let refuse = |why| Err(ProviderError::Rejected(why));
        if claims.iss != voucher.issuer {
            return refuse("its iss is not the issuer of the client");
        }
        if !claims
            .aud
            .is_only(|audience| self.us.is(audience, &["/token"]))
        {
            return refuse("its aud is not this issuer");
        }
        claims
            .once
            .check(&LIFETIME, now)
            .map_err(ProviderError::Rejected)?;
        if claims.once.outlives(LIFETIME.longest) {
            return refuse(LIFETIME.exceeded);
        }
        if !is_subject(&claims.sub) {
            return refuse("its sub is not 1 to 255 ASCII characters");
        }
        Ok(())
    }
}

/// The identity of an app's user. It does not depend on the issuer, which the operator may change.
fn identity(mut claims: Claims, voucher: &Voucher) -> Identity {
    let name = &voucher.name;
    // The app is trusted to verify addresses: it is trusted to name the user.
    let profile = person::profile(&mut claims.others, true);
    let signed_in_at = person::signed_in_at(&mut claims.others);
    let once = Once {
        issuer: name.clone(),
        expires_at: claims.once.forgotten_at(),
        jti: claims.once.jti,
    };
    Identity::new(name.clone(), name.clone(), claims.sub, profile)
        .signed_in(signed_in_at)
        .proven_once(once)
}
