//! Facebook: opaque tokens, for which `debug_token` names the application
//! (<https://developers.facebook.com/docs/facebook-login/guides/%20access-tokens/debugging>).

use std::sync::Arc;

use aws_lc_rs::hmac;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Email, EmailAnswer, Identity, OpaqueSettings, Outbound, Profile, Provider, ProviderError,
    SubjectToken,
    opaque::{self, Opaque},
    outbound::ProviderResponse,
};
use crate::{
    config::{ConfigError, OAuthProvider},
    secrets::Secret,
    text::hex,
};

pub(super) const KIND: &str = "facebook";
pub(super) const API: &str = "https://graph.facebook.com";

/// Verifies Facebook's tokens.
#[derive(Debug)]
struct Facebook {
    opaque: Opaque,
    secret: Secret,
}

#[derive(Deserialize)]
struct Debugged {
    data: TokenData,
}

/// The answer of `debug_token`, which has few members for an invalid token.
#[derive(Deserialize)]
struct TokenData {
    is_valid: bool,
    app_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    user_id: Option<String>,
    /// The time of issue. Facebook reports it for long-lived tokens only.
    issued_at: Option<Value>,
}

/// An error, which has status 400 or 403 (<https://developers.facebook.com/docs/graph-api/guides/error-handling>).
#[derive(Deserialize)]
struct GraphError {
    error: ErrorDetails,
}

#[derive(Deserialize)]
struct ErrorDetails {
    code: u64,
}

/// "Application request limit reached".
const APP_LIMIT: u64 = 4;
/// "Invalid parameter": for `debug_token`, the token belongs to another application than the caller.
const OTHER_APP: u64 = 100;
/// "Invalid OAuth access token": expired, revoked or malformed.
const BAD_TOKEN: u64 = 190;

/// Returns the error code of an answer.
fn error_code(answer: &ProviderResponse) -> Option<u64> {
    let error: GraphError = answer.json().ok()?;
    answer.status.is_client_error().then_some(error.error.code)
}

#[derive(Deserialize)]
struct User {
    id: String,
    name: Option<String>,
    email: Option<String>,
    picture: Option<Picture>,
}

#[derive(Deserialize)]
struct Picture {
    data: PictureData,
}

#[derive(Deserialize)]
struct PictureData {
    url: Option<String>,
}

pub(super) fn settings(config: OAuthProvider) -> Result<OpaqueSettings, ConfigError> {
    let secret = config.client_secret.clone();
    let (false, Some(secret)) = (config.client_id.is_empty(), secret) else {
        return Err(config.refused("client_id or client_secret is missing"));
    };
    Ok(OpaqueSettings::Facebook(config, secret))
}

pub(super) fn provider(
    config: OAuthProvider,
    secret: Secret,
    outbound: &Outbound,
) -> Box<dyn Provider> {
    Box::new(Facebook {
        secret,
        opaque: Opaque::new(config, API, outbound),
    })
}

impl Provider for Facebook {
    fn name(&self) -> &str {
        &self.opaque.config.name
    }

    fn secret(&self) -> Option<&Secret> {
        Some(&self.secret)
    }

    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(async {
            opaque::check_form(&subject.token)?;
            // Before the verification, whose failures count against the provider.
            let secret = self.secret.get().await?;
            let asked = self.ask(&subject.token, secret);
            self.opaque.verification(asked).await
        })
    }
}

impl Facebook {
    async fn ask(
        &self,
        token: &SecretString,
        mut secret: Arc<SecretString>,
    ) -> Result<Identity, ProviderError> {
        let opaque = &self.opaque;
        let ask = |secret| self.debug(token, secret);
        // The answer for a wrong token of the application as well.
        let is_refused = |answer: &ProviderResponse| error_code(answer) == Some(BAD_TOKEN);
        let answer = self.secret.ask_with(&mut secret, ask, is_refused).await?;
        if !answer.status.is_success() {
            return Err(self.refusal(&answer));
        }
        let Debugged { data } = answer.json()?;
        let signed_in_at = data.issued_at.as_ref().and_then(Value::as_u64);
        if !data.is_valid {
            return Err(opaque::UNKNOWN);
        }
        if data.app_id.as_ref() != Some(&opaque.config.client_id) {
            return Err(opaque::FOREIGN);
        }
        let user_id = data
            .user_id
            .filter(|_| data.kind.as_deref() == Some("USER"));
        let Some(user_id) = user_id else {
            return Err(ProviderError::Rejected("it is not a token of a user"));
        };
        let proof = proof(token, &secret);
        let fields = [
            ("fields", "id,name,email,picture.type(large){url}"),
            ("appsecret_proof", &proof),
        ];
        let answer = opaque.ask_for_person("/me", &fields, token).await?;
        if error_code(&answer) == Some(BAD_TOKEN) {
            return Err(opaque::UNKNOWN);
        }
        let user: User = opaque.read(answer)?;
        if user.id != user_id {
            return Err(ProviderError::unavailable(
                "the provider named two different users",
            ));
        }
        let profile = Profile {
            name: user.name,
            username: None,
            // Facebook does not report whether the address is verified.
            email: user.email.map_or(EmailAnswer::NotTold, |address| {
                let verified = false;
                EmailAnswer::Some(Email { address, verified })
            }),
            picture: user.picture.and_then(|picture| picture.data.url),
        };
        let identity = opaque.identity(&user_id, profile)?;
        Ok(identity.signed_in(signed_in_at))
    }

    /// Asks about `token` with the application's own token, which is its id and its secret.
    async fn debug(
        &self,
        token: &SecretString,
        secret: Arc<SecretString>,
    ) -> Result<ProviderResponse, ProviderError> {
        let client_id = &self.opaque.config.client_id;
        let app_token = format!("{client_id}|{}", secret.expose_secret()).into();
        let input = [("input_token", token.expose_secret())];
        let asked = self.opaque.ask_for_app("/debug_token", &input, &app_token);
        asked.await
    }

    /// Returns the error for an answer of `debug_token` without data of the token.
    fn refusal(&self, answer: &ProviderResponse) -> ProviderError {
        match error_code(answer) {
            Some(OTHER_APP) => opaque::FOREIGN,
            Some(BAD_TOKEN) => {
                // Facebook answers the same for a wrong token of the application, which is its id and its secret.
                tracing::warn!(
                    provider = self.opaque.config.name,
                    "Facebook accepts no such token; if it accepts none at all, client_id or client_secret is wrong"
                );
                opaque::UNKNOWN
            }
            Some(APP_LIMIT) => self.opaque.app_is_limited(answer),
            _ => answer.unexpected("debug_token"),
        }
    }
}

/// Returns the proof that the caller has the application's secret
/// (<https://developers.facebook.com/docs/graph-api/guides/secure-requests>).
fn proof(token: &SecretString, secret: &SecretString) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let proof = hmac::sign(&key, token.expose_secret().as_bytes());
    hex(proof.as_ref())
}
