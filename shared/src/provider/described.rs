//! Providers that the settings describe: a request that names the application of a token, and one for the profile.
//!
//! A provider without the first request is refused, except if the settings explicitly accept tokens of any application.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use reqwest::{Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{
    Email, EmailAnswer, Identity, OpaqueSettings, Outbound, Profile, Provider, ProviderError,
    SubjectToken,
    opaque::{self, Opaque},
    outbound::ProviderResponse,
};
use crate::{
    config::{Check, ConfigError, OAuthProvider, TokenPlace, UserInfo},
    secrets::Secret,
};

/// Verifies tokens with the requests of the settings.
#[derive(Debug)]
struct Described {
    opaque: Opaque,
    secret: Option<Secret>,
    /// Absent only with `unsafe_no_app_binding`.
    check: Option<Check>,
    userinfo: UserInfo,
}

/// The member of an introspection response that tells whether the token is valid (RFC 7662 §2.2).
const ACTIVE: &str = "/active";

const TWO_USERS: &str = "the provider named two different users";

pub(super) fn settings(mut config: OAuthProvider) -> Result<OpaqueSettings, ConfigError> {
    let check = config.check.take();
    if check.is_none() && !config.unsafe_no_app_binding {
        return Err(config.refused(
            "Cambio has no way to verify for which application its tokens are; check describes one, and unsafe_no_app_binding accepts the tokens of any application",
        ));
    }
    let Some(userinfo) = config.userinfo.take() else {
        return Err(config.refused("userinfo is missing"));
    };
    Ok(OpaqueSettings::Described(
        config,
        Box::new((check, userinfo)),
    ))
}

pub(super) fn provider(
    config: OAuthProvider,
    secret: Option<Secret>,
    check: Option<Check>,
    userinfo: UserInfo,
    outbound: &Outbound,
) -> Box<dyn Provider> {
    if check.is_none() {
        tracing::warn!(
            provider = config.name,
            "tokens of any application at this provider sign in (unsafe_no_app_binding)"
        );
    }
    let url = check.as_ref().map_or(&userinfo.url, |check| &check.url);
    let opaque = Opaque::new(config, url, outbound);
    opaque.allow(url);
    opaque.allow(&userinfo.url);
    Box::new(Described {
        opaque,
        secret,
        check,
        userinfo,
    })
}

impl Provider for Described {
    fn name(&self) -> &str {
        &self.opaque.config.name
    }

    fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(async {
            opaque::check_form(&subject.token)?;
            // Before the verification, whose failures count against the provider.
            let secret = match &self.secret {
                Some(secret) => secret.get().await?,
                None => Arc::default(),
            };
            let asked = self.ask(&subject.token, secret);
            self.opaque.verification(asked).await
        })
    }
}

impl Described {
    async fn ask(
        &self,
        token: &SecretString,
        mut secret: Arc<SecretString>,
    ) -> Result<Identity, ProviderError> {
        let checked = match &self.check {
            Some(check) => self.check(check, token, &mut secret).await?,
            None => Value::Null,
        };
        let info = &self.userinfo;
        let person = if info.url.is_empty() {
            checked.clone()
        } else {
            let request = |secret: &SecretString| {
                self.request(&info.url, info.auth, &info.query, token, secret)
            };
            let is_refused = |answer: &ProviderResponse| info.has_secret() && is_refusal(answer);
            let answer = self.send(request, false, &mut secret, is_refused).await?;
            self.opaque.read(answer)?
        };
        let Some(subject) = person.pointer(&info.subject).and_then(id) else {
            return Err(ProviderError::unavailable(
                "the provider returned no user id",
            ));
        };
        let of_check = self
            .check
            .as_ref()
            .and_then(|check| check.subject.as_deref());
        if of_check.is_some_and(|at| checked.pointer(at).and_then(id).as_ref() != Some(&subject)) {
            return Err(ProviderError::unavailable(TWO_USERS));
        }
        let text = |pointer: &Option<String>| {
            let value = person.pointer(pointer.as_ref()?)?;
            Some(value.as_str()?.to_owned())
        };
        let is_true = |pointer: &String| person.pointer(pointer) == Some(&Value::Bool(true));
        let verified = info.email_verified.as_ref().is_some_and(is_true);
        let profile = Profile {
            name: text(&info.name),
            username: text(&info.username),
            email: text(&info.email).map_or(EmailAnswer::NotTold, |address| {
                EmailAnswer::Some(Email { address, verified })
            }),
            picture: text(&info.picture),
        };
        self.opaque.identity(&subject, profile)
    }

    /// Returns the answer about a valid token of the configured application. A newer secret takes the place of one that
    /// the provider refuses.
    async fn check(
        &self,
        check: &Check,
        token: &SecretString,
        secret: &mut Arc<SecretString>,
    ) -> Result<Value, ProviderError> {
        let request = |secret: &SecretString| {
            self.request(&check.url, check.auth, &check.query, token, secret)
        };
        let for_app = check.is_for_app();
        let is_refused = |answer: &ProviderResponse| for_app && is_refusal(answer);
        let answer = self.send(request, for_app, secret, is_refused).await?;
        if is_refused(&answer) {
            return Err(ProviderError::unavailable(
                "the provider refuses client_id with client_secret",
            ));
        }
        if check.unknown_token.contains(&answer.status.as_u16()) {
            return Err(opaque::UNKNOWN);
        }
        let checked: Value = self.opaque.read(answer)?;
        let introspection = check.auth.is_introspection().then_some(ACTIVE);
        let active = introspection.or(check.active.as_deref());
        if active.is_some_and(|active| checked.pointer(active) != Some(&Value::Bool(true))) {
            return Err(opaque::UNKNOWN);
        }
        let Some(application) = checked.pointer(&check.client_id).and_then(id) else {
            // Not an outage: a token without an application, such as a personal access token, is one person's.
            return Err(ProviderError::Rejected(
                "the provider names no application that it was issued to",
            ));
        };
        if application != self.opaque.config.client_id {
            return Err(opaque::FOREIGN);
        }
        Ok(checked)
    }

    /// Sends a request, and once more with a newer secret if the answer refuses the one in it.
    async fn send(
        &self,
        request: impl Fn(&SecretString) -> Result<Request, ProviderError>,
        for_app: bool,
        secret: &mut Arc<SecretString>,
        is_refused: impl Fn(&ProviderResponse) -> bool,
    ) -> Result<ProviderResponse, ProviderError> {
        let ask = |secret: Arc<SecretString>| {
            let request = request(&secret);
            async move { self.opaque.send(request?, for_app).await }
        };
        match &self.secret {
            Some(stored) => stored.ask_with(secret, ask, is_refused).await,
            None => ask(secret.clone()).await,
        }
    }

    fn request(
        &self,
        url: &str,
        auth: TokenPlace,
        query: &BTreeMap<String, String>,
        token: &SecretString,
        secret: &SecretString,
    ) -> Result<Request, ProviderError> {
        let not_valid = || ProviderError::unavailable("a URL of the provider is not valid");
        let config = &self.opaque.config;
        let secret = secret.expose_secret();
        let token = token.expose_secret();
        let mut url = Url::parse(url).map_err(|_| not_valid())?;
        if auth == TokenPlace::Path {
            // A relative segment would lead to another path.
            if [".", ".."].contains(&token) {
                return Err(opaque::UNKNOWN);
            }
            let mut segments = url.path_segments_mut().map_err(|()| not_valid())?;
            segments.push(token);
        }
        for (name, value) in query {
            let value = match value.as_str() {
                "{token}" => token,
                "{client_id}" => &config.client_id,
                "{client_secret}" => secret,
                value => value,
            };
            url.query_pairs_mut().append_pair(name, value);
        }
        let method = if auth.is_introspection() {
            Method::POST
        } else {
            Method::GET
        };
        let request = self.opaque.client().request(method, url);
        let request = match auth {
            TokenPlace::Bearer => request.bearer_auth(token),
            TokenPlace::Oauth => request.header("authorization", format!("OAuth {token}")),
            TokenPlace::Query | TokenPlace::Path => request,
            TokenPlace::ClientSecretBasic => request
                .basic_auth(form_encoded(&config.client_id), Some(form_encoded(secret)))
                .form(&[("token", token), ("token_type_hint", "access_token")]),
            TokenPlace::ClientSecretPost => request.form(&[
                ("token", token),
                ("token_type_hint", "access_token"),
                ("client_id", &config.client_id),
                ("client_secret", secret),
            ]),
        };
        let request = request.header("accept", "application/json").build();
        request.map_err(|_| not_valid())
    }
}

/// Returns whether an answer to a request with the secret may refuse the secret.
fn is_refusal(answer: &ProviderResponse) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
}

/// Returns credentials as HTTP Basic has them (RFC 6749 §2.3.1).
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Returns an id that is a text or an integer. A number that a parser may have rounded cannot be an id.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}
