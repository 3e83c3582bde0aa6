//! Discord: opaque tokens, for which Discord names the application
//! (<https://discord.com/developers/docs/topics/oauth2#get-current-authorization-information>).

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Email, EmailAnswer, Identity, OpaqueSettings, Outbound, Profile, Provider, ProviderError,
    SubjectToken,
    opaque::{self, Opaque},
};
use crate::{
    config::{ConfigError, OAuthProvider},
    secrets::Secret,
};

pub(super) const KIND: &str = "discord";
pub(super) const API: &str = "https://discord.com/api";

/// Verifies Discord's tokens.
#[derive(Debug)]
struct Discord(Opaque);

/// The answer of `GET /oauth2/@me`.
#[derive(Deserialize)]
struct Authorization {
    application: Application,
    scopes: Vec<String>,
    /// Present with the scope `identify` only.
    user: Option<User>,
}

#[derive(Deserialize)]
struct Application {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    username: String,
    global_name: Option<String>,
    avatar: Option<String>,
    /// Present in `GET /users/@me` with the scope `email` only, as is the next member.
    email: Option<String>,
    verified: Option<bool>,
}

pub(super) fn settings(config: OAuthProvider) -> Result<OpaqueSettings, ConfigError> {
    if config.client_id.is_empty() {
        return Err(config.refused("client_id is missing"));
    }
    Ok(OpaqueSettings::Discord(config))
}

pub(super) fn provider(config: OAuthProvider, outbound: &Outbound) -> Box<dyn Provider> {
    Box::new(Discord(Opaque::new(config, API, outbound)))
}

impl Provider for Discord {
    fn name(&self) -> &str {
        &self.0.config.name
    }

    fn secret(&self) -> Option<&Secret> {
        None
    }

    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(async {
            opaque::check_form(&subject.token)?;
            self.0.verification(self.ask(&subject.token)).await
        })
    }
}

impl Discord {
    async fn ask(&self, token: &SecretString) -> Result<Identity, ProviderError> {
        let Self(opaque) = self;
        let granted: Authorization = opaque.get("/oauth2/@me", token).await?;
        if granted.application.id != opaque.config.client_id {
            return Err(opaque::FOREIGN);
        }
        let Some(mut user) = granted.user else {
            return Err(ProviderError::Rejected("it lacks the scope identify"));
        };
        if granted.scopes.iter().any(|scope| scope == "email") {
            let full: User = opaque.get("/users/@me", token).await?;
            if full.id != user.id {
                return Err(ProviderError::unavailable(
                    "the provider named two different users",
                ));
            }
            user = full;
        } else {
            user.email = None;
        }
        let picture = user.avatar.map(|hash| {
            let id = &user.id;
            format!("https://cdn.discordapp.com/avatars/{id}/{hash}.png")
        });
        let profile = Profile {
            name: user.global_name,
            username: Some(user.username),
            email: user.email.map_or(EmailAnswer::NotTold, |address| {
                EmailAnswer::Some(Email {
                    address,
                    verified: user.verified == Some(true),
                })
            }),
            picture,
        };
        opaque.identity(&user.id, profile)
    }
}
