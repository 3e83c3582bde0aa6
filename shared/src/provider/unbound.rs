//! Any provider that says whose a token is, and not for which application: refused, unless the settings say in as many words
//! that tokens of any application are good.

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    Email, EmailAnswer, Identity, Outbound, Profile, Provider, ProviderError, SubjectToken,
    opaque::Opaque,
};
use crate::config::{ConfigError, OAuthProvider, UserInfo};

/// Believes whoever has a token of the provider.
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
            "nothing is known of how it proves which application a token is for; with unsafe_no_app_binding the tokens of any application sign in",
        ));
    }
    let Some(userinfo) = config.userinfo.take() else {
        return Err(config.refused("its userinfo is missing"));
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
            return Err(ProviderError::unavailable("answered without an id"));
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

/// A number that a computer may have rounded is nobody's id.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}
