//! Providers that return a profile for a token but do not name its application. Refused, except if the settings
//! explicitly accept tokens of any application.

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    Email, EmailAnswer, Identity, Outbound, Profile, Provider, ProviderError, SubjectToken,
    opaque::Opaque,
};
use crate::config::{ConfigError, OAuthProvider, UserInfo};

/// Accepts every token of the provider.
#[derive(Debug)]
struct Unbound {
    opaque: Opaque,
    userinfo: UserInfo,
}

pub(super) fn provider(
    mut config: OAuthProvider,
    outbound: &Outbound,
) -> Result<Box<dyn Provider>, ConfigError> {
    if !config.unsafe_no_app_binding {
        return Err(config.refused(
            "Cambio has no way to verify for which application its tokens are; unsafe_no_app_binding accepts the tokens of any application",
        ));
    }
    let Some(userinfo) = config.userinfo.take() else {
        return Err(config.refused("userinfo is missing"));
    };
    tracing::warn!(
        provider = config.name,
        "tokens of any application at this provider sign in (unsafe_no_app_binding)"
    );
    let opaque = Opaque::new(config, &userinfo.url, outbound);
    Ok(Box::new(Unbound { opaque, userinfo }))
}

impl Provider for Unbound {
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

impl Unbound {
    async fn ask(&self, token: &SecretString) -> Result<Identity, ProviderError> {
        let person: Value = self.opaque.get("", token).await?;
        let Some(subject) = person.pointer(&self.userinfo.subject).and_then(id) else {
            return Err(ProviderError::unavailable(
                "the provider returned no user id",
            ));
        };
        let text = |pointer: &Option<String>| {
            let value = person.pointer(pointer.as_ref()?)?;
            Some(value.as_str()?.to_owned())
        };
        let profile = Profile {
            name: text(&self.userinfo.name),
            username: text(&self.userinfo.username),
            email: text(&self.userinfo.email).map_or(EmailAnswer::NotTold, |address| {
                let verified = false;
                EmailAnswer::Some(Email { address, verified })
            }),
            picture: text(&self.userinfo.picture),
        };
        self.opaque.identity(&subject, profile)
    }
}

/// A number that a parser may have rounded cannot be an id.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}
