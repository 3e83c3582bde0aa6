//! Facebook: an opaque token, for which `debug_token` names the application
//! (<https://developers.facebook.com/docs/facebook-login/guides/%20access-tokens/debugging>).

use aws_lc_rs::hmac;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    Email, EmailAnswer, Identity, Outbound, Profile, Provider, ProviderError, SubjectToken,
    opaque::{self, Opaque},
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
        let answer = opaque.ask("/debug_token", &input, &self.app_token).await?;
        if !answer.status.is_success() {
            // Of a bad token it says that, with 200: this is about the application.
            return Err(ProviderError::unavailable(format!(
                "debug_token answered {}: are client_id and client_secret right?",
                answer.status
            )));
        }
        let Debugged { data } = answer.json()?;
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
        let user: User = opaque.read(opaque.ask("/me", &fields, token).await?)?;
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
        opaque.identity(&user_id, profile)
    }

    /// That the one who asks has the application's secret
    /// (<https://developers.facebook.com/docs/graph-api/guides/secure-requests>).
    fn proof(&self, token: &SecretString) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose_secret().as_bytes());
        let proof = hmac::sign(&key, token.expose_secret().as_bytes());
        proof.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }
}
