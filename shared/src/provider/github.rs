//! GitHub: opaque tokens, verified to belong to the configured OAuth app by GitHub's check-a-token API.

use std::sync::Arc;

use futures_util::future::{BoxFuture, try_join_all};
use reqwest::{Request, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Email, EmailAnswer, Identity, OpaqueSettings, Outbound, Profile, Provider, ProviderError,
    SubjectToken, outbound::ProviderResponse,
};
use crate::{
    clock::parse_rfc3339,
    config::{self, ConfigError, OAuthProvider},
    secrets::Secret,
    telemetry,
};

/// The `subject_issuer` of github.com, the provider's name in the table, and the kind of every other GitHub.
pub(super) const NAME: &str = "github";

/// The longest accepted token, in bytes. GitHub promises no length, so this leaves room to grow.
const MAX_TOKEN: usize = 4096;

/// Verifies GitHub's tokens.
#[derive(Debug)]
pub(super) struct GitHub {
    config: config::GitHub,
    secret: Secret,
    /// The organizations that `ALLOWED_SIGNUPS` names.
    organizations: Vec<String>,
    outbound: Outbound,
}

/// The used members of check-a-token's answer
/// (<https://docs.github.com/en/rest/apps/oauth-applications#check-a-token>).
#[derive(Deserialize)]
struct CheckedToken {
    app: App,
    user: Option<Account>,
    scopes: Option<Vec<String>>,
    /// The time of issue, which is the time of the authorization.
    created_at: Option<Value>,
}

#[derive(Deserialize)]
struct App {
    client_id: String,
}

/// An account in the answers of `GET /user` and check-a-token.
#[derive(Deserialize)]
struct Account {
    /// The subject of the identity. The login can pass to another account, the id cannot.
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct EmailAddress {
    email: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Membership {
    state: String,
}

/// The kinds of token that a sign-in of a user returns, by prefix
/// (<https://github.blog/engineering/behind-githubs-new-authentication-token-formats/>).
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    /// `gho_`: a token of an OAuth app.
    OAuthApp,
    /// `ghu_`: a token of a GitHub App, on behalf of a user.
    AppUser,
}

/// A GitHub Enterprise server.
pub(super) fn enterprise(config: OAuthProvider) -> Result<OpaqueSettings, ConfigError> {
    let (Some(api_url), Some(client_secret)) = (&config.api_url, &config.client_secret) else {
        return Err(config.refused("api_url or client_secret is missing"));
    };
    if config.client_id.is_empty() {
        return Err(config.refused("client_id is missing"));
    }
    let github = config::GitHub {
        client_secret: client_secret.clone(),
        api_url: api_url.clone(),
        client_id: config.client_id,
        name: config.name,
    };
    Ok(OpaqueSettings::GitHub(github, Vec::new()))
}

impl Provider for GitHub {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn secret(&self) -> Option<&Secret> {
        Some(&self.secret)
    }

    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(self.prove(&subject.token))
    }
}

impl GitHub {
    /// Makes a verifier for tokens of the OAuth app in `config`.
    pub(super) fn new(
        config: config::GitHub,
        secret: Secret,
        organizations: Vec<String>,
        outbound: &Outbound,
    ) -> Self {
        Self {
            outbound: outbound.to(&config.api_url),
            config,
            secret,
            organizations,
        }
    }

    async fn prove(&self, token: &SecretString) -> Result<Identity, ProviderError> {
        let kind = kind_of(token.expose_secret()).ok_or(ProviderError::Rejected(
            "it does not have the form of a token of a GitHub sign-in",
        ))?;
        // Before the verification, whose failures count against GitHub.
        let secret = self.secret.get().await?;
        let asked = self.ask(token, kind, secret);
        self.outbound.verification(asked).await
    }

    async fn ask(
        &self,
        token: &SecretString,
        kind: TokenKind,
        secret: Arc<SecretString>,
    ) -> Result<Identity, ProviderError> {
        let checked = self.check(token, secret).await?;
        let Some(account) = checked.user else {
            return Err(ProviderError::Rejected("it is not a token of a user"));
        };
        if !is_account_id(account.id) {
            return Err(ProviderError::unavailable(
                "the provider returned an invalid user id",
            ));
        }
        let (user, email, organizations) = tokio::try_join!(
            self.user(token, account.id),
            self.email(token, kind, checked.scopes.as_deref()),
            self.memberships(token),
        )?;
        let profile = Profile {
            name: user.name,
            username: Some(user.login),
            email,
            picture: user.avatar_url,
        };
        let issuer = self.config.api_url.clone();
        let name = self.config.name.clone();
        let identity = Identity::new(name, issuer, account.id.to_string(), profile);
        let created_at = checked.created_at.as_ref().and_then(Value::as_str);
        let signed_in_at = created_at.and_then(parse_rfc3339);
        Ok(identity.member_of(organizations).signed_in(signed_in_at))
    }

    /// Asks GitHub whether `token` belongs to the app. Until then, the token is sent to no other address.
    async fn check(
        &self,
        token: &SecretString,
        mut secret: Arc<SecretString>,
    ) -> Result<CheckedToken, ProviderError> {
        let ask = |secret| self.send_check(token, secret);
        let answer = self.secret.ask_with(&mut secret, ask, is_refused).await?;
        match answer.status.as_u16() {
            200 => {}
            404 => {
                return Err(ProviderError::Rejected(
                    "GitHub knows no such token of this application",
                ));
            }
            _ if is_refused(&answer) => {
                return Err(ProviderError::unavailable(
                    "GitHub refuses GITHUB_CLIENT_ID with GITHUB_CLIENT_SECRET",
                ));
            }
            _ => return Err(answer.unexpected("check-a-token")),
        }
        let checked: CheckedToken = answer.json()?;
        if checked.app.client_id != self.config.client_id {
            return Err(ProviderError::Rejected(
                "it was issued to another application",
            ));
        }
        Ok(checked)
    }

    async fn send_check(
        &self,
        token: &SecretString,
        secret: Arc<SecretString>,
    ) -> Result<ProviderResponse, ProviderError> {
        let path = format!("/applications/{}/token", self.config.client_id);
        let request = self
            .outbound
            .client()
            .post(self.url(&path))
            .basic_auth(&self.config.client_id, Some(secret.expose_secret()))
            .json(&serde_json::json!({ "access_token": token.expose_secret() }));
        self.outbound.send_for_app(built(request)?).await
    }

    async fn user(&self, token: &SecretString, id: u64) -> Result<Account, ProviderError> {
        let answer = self.get("/user", token).await?;
        match answer.status.as_u16() {
            200 => {}
            // The token was valid a moment ago, so it was revoked in between.
            401 => return Err(ProviderError::Rejected("GitHub no longer accepts it")),
            _ => return Err(answer.unexpected("/user")),
        }
        let user: Account = answer.json()?;
        if user.id != id {
            return Err(ProviderError::unavailable(
                "the provider named two different users",
            ));
        }
        Ok(user)
    }

    /// Reads the primary address, if it is verified and the token may read it.
    async fn email(
        &self,
        token: &SecretString,
        kind: TokenKind,
        scopes: Option<&[String]>,
    ) -> Result<EmailAnswer, ProviderError> {
        if !may_read_email(kind, scopes) {
            return Ok(EmailAnswer::NotTold);
        }
        let answer = self.get("/user/emails", token).await?;
        match answer.status.as_u16() {
            200 => {}
            401 => return Err(ProviderError::Rejected("GitHub no longer accepts it")),
            // A GitHub App has permissions instead of scopes; this one may not read addresses.
            403 | 404 if kind == TokenKind::AppUser => return Ok(EmailAnswer::NotTold),
            _ => return Err(answer.unexpected("/user/emails")),
        }
        let addresses: Vec<EmailAddress> = answer.json()?;
        let primary = addresses
            .into_iter()
            .find(|address| address.primary && address.verified);
        Ok(primary.map_or(EmailAnswer::None, |address| {
            EmailAnswer::Some(Email {
                address: address.email,
                verified: true,
            })
        }))
    }

    /// Returns the organizations among those of `ALLOWED_SIGNUPS` in which the user is an active member
    /// (<https://docs.github.com/en/rest/orgs/members#get-an-organization-membership-for-the-authenticated-user>).
    async fn memberships(&self, token: &SecretString) -> Result<Vec<String>, ProviderError> {
        let asked = self.organizations.iter().map(|organization| async move {
            let is_member = self.is_member(token, organization).await?;
            Ok::<_, ProviderError>(is_member.then(|| organization.clone()))
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    async fn is_member(
        &self,
        token: &SecretString,
        organization: &str,
    ) -> Result<bool, ProviderError> {
        let path = format!("/user/memberships/orgs/{organization}");
        let answer = self.get(&path, token).await?;
        match answer.status.as_u16() {
            200 => Ok(answer.json::<Membership>()?.state == "active"),
            401 => Err(ProviderError::Rejected("GitHub no longer accepts it")),
            404 => Ok(false),
            403 => {
                tracing::warn!(
                    organization,
                    "GitHub does not say who is a member: the sign-in lacks the scope read:org, or the organization has not approved the app"
                );
                Ok(false)
            }
            _ => Err(answer.unexpected("/user/memberships/orgs")),
        }
    }

    async fn get(
        &self,
        path: &str,
        token: &SecretString,
    ) -> Result<ProviderResponse, ProviderError> {
        let request = self
            .outbound
            .client()
            .get(self.url(path))
            .bearer_auth(token.expose_secret());
        self.outbound.send_for_person(built(request)?).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.config.api_url)
    }
}

/// Returns whether an answer to check-a-token refuses the credentials of the app.
fn is_refused(answer: &ProviderResponse) -> bool {
    matches!(answer.status.as_u16(), 401 | 403)
}

/// Makes a request with the headers that GitHub's API requires.
fn built(request: RequestBuilder) -> Result<Request, ProviderError> {
    request
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28")
        .build()
        .map_err(|error| ProviderError::unavailable(telemetry::causes(&error.without_url())))
}

/// Returns the kind of a token. Personal, server and refresh tokens have other prefixes (`ghp_`, `github_pat_`,
/// `ghs_`, `ghr_`) and never result from a sign-in. A text of any other form is sent to no address.
fn kind_of(token: &str) -> Option<TokenKind> {
    let (kind, rest) = token
        .strip_prefix("gho_")
        .map(|rest| (TokenKind::OAuthApp, rest))
        .or_else(|| {
            token
                .strip_prefix("ghu_")
                .map(|rest| (TokenKind::AppUser, rest))
        })?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (!rest.is_empty() && token.len() <= MAX_TOKEN && rest.bytes().all(plain)).then_some(kind)
}

/// Returns whether the token may read this. The token of an OAuth app names its scopes; a GitHub App has permissions
/// instead, which only an attempt reveals.
fn may_read_email(kind: TokenKind, scopes: Option<&[String]>) -> bool {
    let in_scope = |scope: &String| scope == "user:email" || scope == "user";
    kind == TokenKind::AppUser || scopes.is_some_and(|scopes| scopes.iter().any(in_scope))
}

pub(super) fn is_account_id(id: u64) -> bool {
    (1..=i64::MAX as u64).contains(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t03_only_tokens_of_a_sign_in_are_sent_to_github() {
        for token in [
            "gho_16C7e42F292c6912E7710c838347Ae178B4a",
            "ghu_a",
            "gho_a_b.c-d",
        ] {
            assert!(kind_of(token).is_some(), "{token}");
        }
        for token in [
            "",
            "gho_",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "github_pat_11ABCDEFG0",
            "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
            "ghr_16C7e42F292c6912E7710c838347Ae178B4a",
            "16c7e42f292c6912e7710c838347ae178b4a1234",
            "gho_a b",
            "gho_a\r\nHost: evil.example",
            "gho_é",
            " gho_a",
            "GHO_a",
        ] {
            assert!(kind_of(token).is_none(), "{token}");
        }
        let of_size = |size: usize| format!("gho_{}", "a".repeat(size - 4));
        assert!(kind_of(&of_size(MAX_TOKEN)).is_some());
        assert!(kind_of(&of_size(MAX_TOKEN + 1)).is_none());
    }

    #[test]
    fn t04_an_account_id_is_a_positive_64_bit_number() {
        let account = |id: &str| {
            serde_json::from_str::<Account>(&format!(r#"{{"id":{id},"login":"a"}}"#))
                .is_ok_and(|account| is_account_id(account.id))
        };
        assert!(account("1"));
        assert!(account("9223372036854775807"));
        for id in [
            "\"1\"",
            "0",
            "-1",
            "1.5",
            "1e3",
            "9223372036854775808",
            "1e30",
            "null",
            "[1]",
        ] {
            assert!(!account(id), "{id}");
        }
    }

    #[test]
    fn addresses_are_read_only_where_the_scope_allows() {
        let scopes = |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            may_read_email(TokenKind::OAuthApp, Some(&scopes))
        };
        assert!(scopes(&["read:user", "user:email"]));
        assert!(scopes(&["user"]));
        assert!(!scopes(&["read:user"]));
        assert!(!may_read_email(TokenKind::OAuthApp, None));
        assert!(may_read_email(TokenKind::AppUser, Some(&[])));
    }
}
