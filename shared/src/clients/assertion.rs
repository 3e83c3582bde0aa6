//! Client assertions: a client authenticates by a JWT that it signs, without a shared secret (RFC 7523 §2.2,
//! "private_key_jwt").
//!
//! Each assertion is valid once ([`crate::dynamodb::Use`]). A request without an outcome (503) releases its assertion,
//! so that the same request can be sent again.

use std::time::Duration;

use aws_lc_rs::rand;
use aws_sdk_dynamodb::Client;
use serde::Deserialize;
use thiserror::Error;

use super::registered::Registered;
use crate::{
    clock::Clock,
    config::{self, ConfigError, Environment, Server},
    dynamodb::{StoreError, Table, Use},
    http::{ApiError, ClientError},
    jws::{self, Audience, CLIENT_ALGORITHMS, ForeignHeader, Inspected},
    one_time::{Lifetime, OneTime},
};

/// The longest lifetime of an assertion, counted from now, because libraries differ: most give it a minute, Authlib an
/// hour.
const LIFETIME: Lifetime = Lifetime {
    longest: Duration::from_hours(1),
    exceeded: "it lives longer than an hour",
};

/// The one text for an unknown client and for a wrong signature, so that the answer does not reveal which clients
/// exist.
const NO_KEY: &str = "no key of such a client has its kid and alg and made its signature";

/// Reasons that an assertion is not accepted.
#[derive(Debug, Error)]
pub(super) enum AssertionError {
    /// The assertion is not valid.
    #[error("{0}")]
    Rejected(&'static str),
    /// No key of the client made the assertion, or there is no such client.
    #[error("{NO_KEY}")]
    NoKey(#[source] ClientError),
    /// The table cannot be used, so whether the assertion was used before is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AssertionError> for ApiError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Rejected(why) => Self::ClientAssertion { why, cause: None },
            AssertionError::NoKey(cause) => Self::ClientAssertion {
                why: NO_KEY,
                cause: Some(cause),
            },
            AssertionError::Store(error) => Self::StoreUnavailable(error),
        }
    }
}

/// Verifies client assertions.
#[derive(Clone, Debug)]
pub struct Assertions {
    us: Server,
    table: Table,
    clock: Clock,
}

/// A well-formed assertion that is not verified.
pub(super) struct Claimed<'a> {
    assertion: Inspected<'a, ForeignHeader>,
    /// The client that it claims to be of: the client is chosen by it, and then the assertion is verified.
    pub(super) client_id: String,
}

/// The claims of an assertion (RFC 7523 §3).
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    #[serde(flatten)]
    once: OneTime,
}

fn rejected<T>(why: &'static str) -> Result<T, AssertionError> {
    Err(AssertionError::Rejected(why))
}

/// Checks the form of `assertion`. The outcome does not depend on the client.
pub(super) fn inspect(assertion: &str) -> Result<Claimed<'_>, AssertionError> {
    let inspected = jws::inspect::<ForeignHeader>(assertion);
    let read = inspected.and_then(|assertion| Ok((assertion.unverified::<Claims>()?, assertion)));
    let (claims, assertion) = read.or(rejected(
        "it is no plain JWT with alg, and with iss, sub, aud, exp and jti",
    ))?;
    if assertion
        .header
        .typ
        .as_deref()
        .is_some_and(|typ| !is_assertion_type(typ))
    {
        return rejected("its typ is not JWT");
    }
    Ok(Claimed {
        assertion,
        client_id: claims.sub,
    })
}

impl Assertions {
    /// Reads `ISSUER_URL` and `API_URL`, the accepted audiences, and `TABLE_NAME`, the table of used assertions.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(
        env: &Environment,
        client: &Client,
        clock: &Clock,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            us: Server::from_env(env)?,
            table: Table::new(client.clone(), config::table_name(env)?),
            clock: clock.clone(),
        })
    }

    /// Proves that the assertion was made by `client`, for this issuer and for this moment, and uses it up.
    pub(super) async fn prove(
        &self,
        claimed: &Claimed<'_>,
        client: &Registered,
    ) -> Result<Use, AssertionError> {
        let assertion = &claimed.assertion;
        let header = &assertion.header;
        let key = client.jwks.find(header.kid.as_deref(), header.alg);
        let key = key.filter(|_| CLIENT_ALGORITHMS.contains(&header.alg));
        let client_id = || client.client_id.clone();
        let Some(key) = key else {
            return Err(AssertionError::NoKey(ClientError::NoKey(client_id())));
        };
        let verified = assertion.verify(key);
        let claims: Claims = verified
            .map_err(|_| AssertionError::NoKey(ClientError::WrongSignature(client_id())))?;
        self.check(&claims, &client.client_id)?;
        self.use_up(&claims).await
    }

    fn check(&self, claims: &Claims, client_id: &str) -> Result<(), AssertionError> {
        if claims.iss != client_id || claims.sub != client_id {
            return rejected("its iss and sub are not both the client");
        }
        // The endpoints as well, because clients differ (RFC 7523 §3, OpenID Connect Core 1.0 §9).
        let is_us = |audience: &str| self.us.is(audience, &["/token", "/revoke", "/introspect"]);
        if !claims.aud.is_only(is_us) {
            return rejected("its aud is not this issuer");
        }
        claims
            .once
            .check(&LIFETIME, self.clock.now())
            .map_err(AssertionError::Rejected)
    }

    async fn use_up(&self, claims: &Claims) -> Result<Use, AssertionError> {
        // Recognises this request's own write, which the SDK may have repeated after a lost answer.
        let mut attempt = [0; 16];
        rand::fill(&mut attempt).map_err(StoreError::from)?;
        let once = &claims.once;
        let used = Use::new(&claims.sub, &once.jti, attempt, once.forgotten_at());
        match self.table.use_up(&used).await {
            Ok(true) => Ok(used),
            Ok(false) => rejected("it was used before: each request takes a new one"),
            Err(error) => {
                // The write may have been applied.
                self.give_back(&used).await;
                Err(error.into())
            }
        }
    }

    /// Releases an assertion whose request had no outcome. If this write fails, the assertion stays used and the
    /// client makes a new one.
    pub(super) async fn give_back(&self, used: &Use) {
        if let Err(error) = self.table.give_back(used).await {
            tracing::warn!(event = "assertion.not_given_back", error.cause = %error);
        }
    }
}

/// Accepts the `typ` of common libraries and of RFC 7523's successor. Refuses `at+jwt`, which marks access tokens.
fn is_assertion_type(typ: &str) -> bool {
    ["JWT", "client-authentication+jwt"]
        .iter()
        .any(|known| typ.eq_ignore_ascii_case(known))
}
