//! Facebook: an opaque token, for which `debug_token` names the application
//! (<https://developers.facebook.com/docs/facebook-login/guides/%20access-tokens/debugging>).

use aws_lc_rs::hmac;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Email, EmailAnswer, Identity, Outbound, Profile, Provider, ProviderError, SubjectToken,
    opaque::{self, Opaque},
    outbound::ProviderResponse,
};
use crate::config::{ConfigError, OAuthProvider};

pub(super) const KIND: &str = "facebook";
const API: &str = "https://graph.facebook.com";

/// Proves Facebook's tokens.
#[derive(Debug)]
struct Facebook {
    opaque: Opaque,
    /// By which Facebook knows the application itself: its id and its secret.
    app_token: SecretString,
    secret: SecretString,
}

#[derive(Deserialize)]
struct Debugged {
    data: TokenData,
}

/// What `debug_token` says; of a token that is not valid, little more than that.
#[derive(Deserialize)]
struct TokenData {
    is_valid: bool,
    app_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    user_id: Option<String>,
    /// When the token was made. Facebook says it of long-lived tokens only.
    issued_at: Option<Value>,
}

/// An error, which comes with 400 or 403
/// (<https://developers.facebook.com/docs/graph-api/guides/error-handling>).
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
/// "Invalid parameter": of `debug_token`, that the token is of another application than the one that asks.
const OTHER_APP: u64 = 100;
/// "Invalid OAuth access token": expired, revoked or malformed.
const BAD_TOKEN: u64 = 190;

/// The code of an answer that is an error of one request.
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

pub(super) fn provider(
    config: OAuthProvider,
    outbound: &Outbound,
) -> Result<Box<dyn Provider>, ConfigError> {
    let secret = config.client_secret.clone();
    let (false, Some(secret)) = (config.client_id.is_empty(), secret) else {
        return Err(config.refused("its client_id or client_secret is missing"));
    };
    let app_token = format!("{}|{}", config.client_id, secret.expose_secret());
    Ok(Box::new(Facebook {
        app_token: app_token.into(),
        secret,
        opaque: Opaque::new(config, API, outbound),
    }))
}

impl Provider for Facebook {
    fn name(&self) -> &str {
        &self.opaque.config.name
    }

    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        let asked = self.ask(&subject.token);
        Box::pin(self.opaque.verification(&subject.token, asked))
    }
}

impl Facebook {
    async fn ask(&self, token: &SecretString) -> Result<Identity, ProviderError> {
        let opaque = &self.opaque;
        let input = [("input_token", token.expose_secret())];
        let answer = opaque.ask_for_app("/debug_token", &input, &self.app_token);
        let answer = answer.await?;
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
            return Err(ProviderError::Rejected("it stands for no person"));
        };
        let proof = self.proof(token);
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
            return Err(ProviderError::unavailable("answered two different users"));
        }
        let profile = Profile {
            name: user.name,
            username: None,
            // Facebook does not say whether it has verified the address.
            email: user.email.map_or(EmailAnswer::NotTold, |address| {
                let verified = false;
                EmailAnswer::Some(Email { address, verified })
            }),
            picture: user.picture.and_then(|picture| picture.data.url),
        };
        let identity = opaque.identity(&user_id, profile)?;
        Ok(identity.signed_in(signed_in_at))
    }

    /// What an answer of `debug_token` means that says nothing of the token's data.
    fn refusal(&self, answer: &ProviderResponse) -> ProviderError {
        match error_code(answer) {
            Some(OTHER_APP) => opaque::FOREIGN,
            Some(BAD_TOKEN) => {
                // Facebook says the same of the application's own token, which is its id and its secret.
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

    /// That the one who asks has the application's secret
    /// (<https://developers.facebook.com/docs/graph-api/guides/secure-requests>).
    fn proof(&self, token: &SecretString) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose_secret().as_bytes());
        let proof = hmac::sign(&key, token.expose_secret().as_bytes());
        proof.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }
}
