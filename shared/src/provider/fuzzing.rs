//! An OpenID provider and an app that vouches for its users, with one known key and without a network, for the fuzz
//! targets.

#![expect(
    clippy::expect_used,
    reason = "a target without its provider proves nothing"
)]

use std::{io, sync::Arc};

use serde_json::{Value, json};

use super::{
    Identity, ProviderError, SubjectToken, SubjectTokenType, Voucher,
    hosts::Hosts,
    oidc::{self, Oidc},
    outbound::{Outbound, Timeouts},
    vouched::Vouched,
};
use crate::{
    clock::Clock,
    config::{self, Environment},
    jwk, jws,
};

/// The issuer of the provider's ID tokens.
pub(crate) const ISSUER: &str = "https://login.example.com";
/// The host of its keys that the settings name.
pub(crate) const JWKS_HOST: &str = "keys.example.com";

/// A provider whose one key is known.
pub(crate) struct Known {
    oidc: Oidc,
    vouched: Vouched,
    voucher: Voucher,
}

impl Known {
    /// Makes the provider and the app, whose only key is `jwk`. Their clock is `clock`; the API is at `api`.
    pub(crate) async fn new(jwk: Value, clock: &Clock, api: &str) -> Self {
        let settings = json!([{
            "name": "acme", "issuer": ISSUER, "client_ids": ["app"], "algorithms": ["EdDSA", "ES256", "RS256"],
            "jwks_hosts": [JWKS_HOST],
        }]);
        let settings = settings.to_string();
        let env = Environment::of([("OIDC_PROVIDERS", settings.as_str()), ("ISSUER_URL", api)]);
        let config = config::oidc_providers(&env).expect("settings").remove(0);
        let lookup = |_| Box::pin(async { Err(io::Error::other("no address")) }) as _;
        let hosts = Hosts::new(Arc::new(lookup), env.is_local());
        let outbound = Outbound::new(clock.clone(), Timeouts::default(), hosts).expect("a client");
        let keys = [jwk];
        let oidc = Oidc::new(config, &outbound, clock.clone());
        oidc.publish(jwk::usable(&keys)).await;
        Self {
            oidc,
            vouched: Vouched::from_env(&env, clock).expect("settings"),
            voucher: Voucher::new("nextjs", None, &keys).expect("a voucher"),
        }
    }

    /// Verifies an ID token of the provider.
    pub(crate) async fn id_token(&self, token: &str) -> Result<Identity, ProviderError> {
        let (inspected, _) = oidc::inspect(token)?;
        self.oidc.verify(&inspected, &subject(token)).await
    }

    /// Verifies a JWT by which the app vouches for its user.
    pub(crate) fn vouched(&self, token: &str) -> Result<Identity, ProviderError> {
        let inspected =
            jws::inspect(token).map_err(|_| ProviderError::Rejected("it is not a plain JWT"))?;
        self.vouched
            .verify(&self.voucher, &inspected, &subject(token))
    }

    /// Returns the address of the keys that a discovery document of the provider names.
    pub(crate) fn discovered(&self, document: &[u8]) -> Option<String> {
        self.oidc.discovered(document)
    }
}

fn subject(token: &str) -> SubjectToken {
    SubjectToken {
        token: token.into(),
        kind: SubjectTokenType::Jwt,
        issuer: None,
        nonce: None,
        access_token: None,
    }
}
