//! The calls of a Next.js app's server to GitHub and to the API. The demo and the page take the place of that server,
//! with the settings that `cargo run` prints and no others.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, header, redirect::Policy};
use serde_json::Value;
use shared::http::{ACCESS_TOKEN_TYPE, GRANT_TYPE_REFRESH_TOKEN, GRANT_TYPE_TOKEN_EXCHANGE};
use url::Url;

use crate::settings::{CLIENT_ID, CLIENT_SECRET, GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET};

/// Longer than the API's own time limit for a request, so that its error arrives.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The server of an app that signs users in.
#[derive(Clone)]
pub(crate) struct NextApp {
    http: Client,
    github: String,
    api: String,
}

/// The answer to a request.
pub(crate) struct ApiResponse {
    pub(crate) status: StatusCode,
    /// The body; `null` if it is empty.
    pub(crate) body: Value,
}

impl NextApp {
    /// Makes an app that signs users in at `github` and exchanges the tokens at `api`.
    pub(crate) fn new(github: &str, api: &str) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            github: github.to_owned(),
            api: api.to_owned(),
        })
    }

    /// Returns the URL of the authorize page, with these additional parameters.
    pub(crate) fn authorize_url(&self, more: &[(&str, &str)]) -> Result<Url, url::ParseError> {
        let mut url = Url::parse(&format!("{}/login/oauth/authorize", self.github))?;
        url.query_pairs_mut()
            .append_pair("client_id", GITHUB_CLIENT_ID)
            .append_pair("scope", "read:user user:email")
            .extend_pairs(more);
        Ok(url)
    }

    /// Requests a page as a browser does, without following redirects.
    pub(crate) async fn visit(&self, url: Url) -> Result<reqwest::Response, reqwest::Error> {
        self.http.get(url).send().await
    }

    /// Trades the code of the callback for GitHub's access token. A refusal is a 200, as at GitHub.
    pub(crate) async fn redeem(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<ApiResponse, reqwest::Error> {
        let mut form = vec![
            ("client_id", GITHUB_CLIENT_ID),
            ("client_secret", GITHUB_CLIENT_SECRET),
            ("code", code),
            ("redirect_uri", redirect_uri),
        ];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        let request = self
            .http
            .post(format!("{}/login/oauth/access_token", self.github))
            .header(header::ACCEPT, "application/json")
            .form(&form);
        answer(request).await
    }

    /// Returns a new access token of the stand-in GitHub for `login`.
    pub(crate) async fn stand_in_token(&self, login: &str) -> Result<String, reqwest::Error> {
        let url = format!("{}/stand-in/tokens?login={login}", self.github);
        let answer = self.http.post(url).send().await?;
        answer.error_for_status()?.text().await
    }

    /// Exchanges GitHub's access token for a token of the API.
    pub(crate) async fn exchange(
        &self,
        github_token: &str,
        user_agent: Option<&str>,
    ) -> Result<ApiResponse, reqwest::Error> {
        let request = self.as_client("/token").form(&[
            ("grant_type", GRANT_TYPE_TOKEN_EXCHANGE),
            ("subject_token", github_token),
            ("subject_token_type", ACCESS_TOKEN_TYPE),
            ("subject_issuer", "github"),
        ]);
        let request = match user_agent {
            Some(user_agent) => request.header(header::USER_AGENT, user_agent),
            None => request,
        };
        answer(request).await
    }

    /// Trades a refresh token for its successor and a new access token.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<ApiResponse, reqwest::Error> {
        let request = self.as_client("/token").form(&[
            ("grant_type", GRANT_TYPE_REFRESH_TOKEN),
            ("refresh_token", refresh_token),
        ]);
        answer(request).await
    }

    /// Ends the session of a token.
    pub(crate) async fn revoke(&self, token: &str) -> Result<ApiResponse, reqwest::Error> {
        answer(self.as_client("/revoke").form(&[("token", token)])).await
    }

    /// Sends a request with this access token, and returns the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        access_token: &str,
    ) -> Result<ApiResponse, reqwest::Error> {
        let url = format!("{}{path}", self.api);
        answer(self.http.request(method, url).bearer_auth(access_token)).await
    }

    fn as_client(&self, path: &str) -> RequestBuilder {
        self.http
            .post(format!("{}{path}", self.api))
            .basic_auth(CLIENT_ID, Some(CLIENT_SECRET))
    }
}

async fn answer(request: RequestBuilder) -> Result<ApiResponse, reqwest::Error> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    // The answer to a deletion has no body.
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(ApiResponse { status, body })
}
