//! Requests about opaque tokens to the API of a provider.

use reqwest::{Client, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::{Identity, Outbound, Profile, ProviderError, outbound::ProviderResponse, rate_limit};
use crate::config::OAuthProvider;

/// The longest accepted token, in bytes. No provider promises a length, so this leaves room to grow.
const MAX_TOKEN: usize = 4096;
/// The longest accepted id, in bytes. Ids are numbers, UUIDs or similar.
pub(super) const MAX_SUBJECT: usize = 255;

pub(super) const UNKNOWN: ProviderError =
    ProviderError::Rejected("it is unknown to the provider, or has expired");
pub(super) const FOREIGN: ProviderError =
    ProviderError::Rejected("it was issued to another application");

/// The API of one provider.
#[derive(Debug)]
pub(super) struct Opaque {
    pub(super) config: OAuthProvider,
    api_url: String,
    outbound: Outbound,
}

impl Opaque {
    /// Makes the API at `api_url`, or at the URL of the settings.
    pub(super) fn new(mut config: OAuthProvider, api_url: &str, outbound: &Outbound) -> Self {
        let api_url = config.api_url.take().unwrap_or_else(|| api_url.to_owned());
        Self {
            config,
            outbound: outbound.to(&api_url),
            api_url,
        }
    }

    /// Allows the host of another URL of the provider.
    pub(super) fn allow(&self, url: &str) {
        let url = Url::parse(url).ok();
        if let Some(host) = url.as_ref().and_then(Url::host_str) {
            self.outbound.allow(host);
        }
    }

    pub(super) fn client(&self) -> Client {
        self.outbound.client()
    }

    /// Sends a request with the application's credentials, or with a user's token, and returns the answer.
    pub(super) async fn send(
        &self,
        request: Request,
        for_app: bool,
    ) -> Result<ProviderResponse, ProviderError> {
        if for_app {
            self.outbound.send_for_app(request).await
        } else {
            self.outbound.send_for_person(request).await
        }
    }

    /// Runs the verification `asked` in bounded time.
    pub(super) async fn verification(
        &self,
        asked: impl Future<Output = Result<Identity, ProviderError>>,
    ) -> Result<Identity, ProviderError> {
        self.outbound.verification(asked).await
    }

    /// Returns the answer to `GET path` with `token` as bearer token.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &SecretString,
    ) -> Result<T, ProviderError> {
        self.read(self.ask_for_person(path, &[], token).await?)
    }

    /// Sends a request with a user's token and returns the answer.
    pub(super) async fn ask_for_person(
        &self,
        path: &str,
        query: &[(&str, &str)],
        token: &SecretString,
    ) -> Result<ProviderResponse, ProviderError> {
        let request = self.request(path, query, token)?;
        self.outbound.send_for_person(request).await
    }

    /// Sends a request with the application's credentials and returns the answer.
    pub(super) async fn ask_for_app(
        &self,
        path: &str,
        query: &[(&str, &str)],
        token: &SecretString,
    ) -> Result<ProviderResponse, ProviderError> {
        let request = self.request(path, query, token)?;
        self.outbound.send_for_app(request).await
    }

    fn request(
        &self,
        path: &str,
        query: &[(&str, &str)],
        token: &SecretString,
    ) -> Result<Request, ProviderError> {
        let none = |_| ProviderError::unavailable("a URL of the provider is not valid");
        let mut url = Url::parse(&format!("{}{path}", self.api_url)).map_err(none)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.outbound.client().get(url);
        let request = request
            .bearer_auth(token.expose_secret())
            .header("accept", "application/json")
            .build();
        request.map_err(|_| ProviderError::unavailable("a URL of the provider is not valid"))
    }

    /// Records a rate limit of the provider for the application.
    pub(super) fn app_is_limited(&self, answer: &ProviderResponse) -> ProviderError {
        let status = answer.status.as_u16();
        self.outbound.app_is_limited(status, rate_limit::USUAL_WAIT)
    }

    /// Returns the body of an answer to a request with the user's token.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        answer: ProviderResponse,
    ) -> Result<T, ProviderError> {
        match answer.status {
            StatusCode::OK => answer.json(),
            StatusCode::UNAUTHORIZED => Err(UNKNOWN),
            _ => Err(answer.unexpected("the API")),
        }
    }

    pub(super) fn identity(
        &self,
        subject: &str,
        profile: Profile,
    ) -> Result<Identity, ProviderError> {
        if !is_subject(subject) {
            return Err(ProviderError::unavailable(
                "the provider returned an invalid user id",
            ));
        }
        let issuer = issuer(&self.api_url)
            .ok_or_else(|| ProviderError::unavailable("a URL of the provider is not valid"))?;
        Ok(Identity::new(
            self.config.name.clone(),
            issuer,
            subject,
            profile,
        ))
    }
}

/// Returns the issuer of the identities of the API at `api_url`: its host and not the whole URL, because another
/// version of the API has the same accounts.
pub(super) fn issuer(api_url: &str) -> Option<String> {
    let url = Url::parse(api_url).ok()?;
    Some(url.origin().ascii_serialization())
}

/// Returns whether a provider with opaque tokens can have this subject.
pub(super) fn is_subject(subject: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic();
    !subject.is_empty() && subject.len() <= MAX_SUBJECT && subject.bytes().all(plain)
}

/// Refuses a text that does not have the form of a token.
pub(super) fn check_form(token: &SecretString) -> Result<(), ProviderError> {
    if !is_token(token.expose_secret()) {
        return Err(ProviderError::Rejected(
            "it does not have the form of a token of the provider",
        ));
    }
    Ok(())
}

/// Refuses a text that a header cannot contain (RFC 6750 §2.1).
fn is_token(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=|".contains(&byte);
    !token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t04_a_subject_is_a_short_plain_text() {
        for subject in ["1", "user:1", &"x".repeat(MAX_SUBJECT)] {
            assert!(is_subject(subject), "{subject}");
        }
        for subject in ["", "a b", "é", "a\n", &"x".repeat(MAX_SUBJECT + 1)] {
            assert!(!is_subject(subject), "{subject}");
        }
    }

    #[test]
    fn what_could_be_no_header_is_no_token() {
        for token in ["a", "EAAB-._~+/=", &"x".repeat(MAX_TOKEN)] {
            assert!(is_token(token), "{token}");
        }
        for token in [
            "",
            "a b",
            "a\r\nHost: evil.example",
            "é",
            &"x".repeat(MAX_TOKEN + 1),
        ] {
            assert!(!is_token(token), "{token}");
        }
    }
}
