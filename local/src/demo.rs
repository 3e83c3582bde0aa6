//! `cargo run -- demo`: runs the whole flow once over HTTP and prints each step.
#![expect(clippy::print_stdout, reason = "this is what the demo is for")]

use reqwest::{Method, StatusCode, header};
use serde_json::Value;
use shared::{clock::Clock, config::Environment};
use thiserror::Error;
use url::Url;

use crate::{
    next_app::{ApiResponse, NextApp},
    requests::RequestLog,
    server::{Options, ServerError, Services},
    settings::{GITHUB_CLIENT_ID, GitHub},
};

/// Reasons that the demo fails.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The servers do not start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A request failed before it was answered.
    #[error("a request failed: {0}")]
    Http(#[from] reqwest::Error),
    /// An answer differs from the expected one.
    #[error("the demo failed; expected: {0}")]
    Broken(String),
}

/// Signs in at the stand-in, exchanges the token, reads `/me`, refreshes, signs in again, and signs out everywhere.
///
/// # Errors
/// A step failed, or its answer differs from the expected one.
pub async fn run() -> Result<(), DemoError> {
    let options = Options {
        folder: None,
        dynamodb_port: 0,
        github_port: 0,
    };
    // The demo must run on any machine, so it ignores the settings of the shell.
    let shell = Environment::of::<String, String>([]);
    let mut services = Services::start(&options, &shell).await?;
    let GitHub::StandIn(github) = services.github.clone() else {
        return Err(broken("no stand-in GitHub"));
    };
    let requests = RequestLog::new(Clock::system());
    let api = services.start_api(0, &shell, requests).await?;
    let app = NextApp::new(&github, &api)?;

    println!("1. Sign in at the stand-in GitHub as octocat, as next-auth would");
    let first_token = sign_in_at_github(&app).await?;
    println!("   GitHub returned an access token for the app {GITHUB_CLIENT_ID}\n");

    println!("2. POST {}/token with that token", api);
    let first = exchange(&app, &first_token).await?;
    show(&first, "/user/id", "user")?;
    show(&first, "/user/name", "name")?;
    show(&first, "/user/email", "e-mail")?;
    show(&first, "/expires_in", "seconds valid")?;
    require(
        first["is_new_user"] == true,
        "the first sign-in creates the user",
    )?;
    println!("   a new user, and an access token of your own\n");

    println!("3. GET {}/me with the access token", api);
    let me = as_user(&app, Method::GET, "/me", &first).await?.body;
    require(
        me["id"] == first["user"]["id"],
        "GET /me shows the user of the sign-in",
    )?;
    println!("   the same user\n");

    println!(
        "4. POST {}/token with the refresh token, twice, as after a lost answer",
        api
    );
    let refresh_token = text(&first, "/refresh_token")?;
    let refreshed = app.refresh(refresh_token).await?.body;
    let again = app.refresh(refresh_token).await?.body;
    require(
        refreshed["user"] == first["user"],
        "a refresh keeps the user",
    )?;
    require(
        refreshed["refresh_token"] != first["refresh_token"]
            && refreshed["refresh_token"] == again["refresh_token"],
        "both requests get the same successor",
    )?;
    println!("   the same successor each time: the user stays signed in\n");

    println!("5. Sign in again");
    let second = exchange(&app, &sign_in_at_github(&app).await?).await?;
    require(
        second["is_new_user"] == false,
        "the second sign-in creates no user",
    )?;
    require(
        second["user"]["id"] == first["user"]["id"],
        "the second sign-in is the same user",
    )?;
    println!("   the same user, not a second one\n");

    println!("6. A made-up GitHub token");
    let refused = app.exchange("gho_madeup", None).await?;
    require(
        refused.status == StatusCode::BAD_REQUEST && refused.body["error"] == "invalid_request",
        "a made-up token is refused",
    )?;
    println!(
        "   refused: {}\n",
        text(&refused.body, "/error_description")?
    );

    println!(
        "7. DELETE {}/me/sessions: sign out everywhere with one write",
        api
    );
    let list = as_user(&app, Method::GET, "/me/sessions", &second)
        .await?
        .body;
    let count = list["sessions"].as_array().map_or(0, Vec::len);
    require(count == 2, "each of the two sign-ins has a session")?;
    as_user(&app, Method::DELETE, "/me/sessions", &second).await?;
    let status = as_user(&app, Method::GET, "/me", &first).await?.status;
    require(
        status == StatusCode::UNAUTHORIZED,
        "GET /me refuses the other access token at once",
    )?;
    let refresh_token = text(&refreshed, "/refresh_token")?;
    let status = app.refresh(refresh_token).await?.status;
    require(
        status == StatusCode::BAD_REQUEST,
        "the other session cannot be refreshed",
    )?;
    println!("   both sessions have ended, and GET /me refuses their tokens at once\n");

    services.stop().await;
    println!("Every step gave the expected answer.");
    Ok(())
}

/// Does the part of the browser and of next-auth: authorize, receive the code by the redirect, and trade it for a
/// token.
async fn sign_in_at_github(app: &NextApp) -> Result<String, DemoError> {
    let redirect_uri = "http://localhost:3000/api/auth/callback/github";
    let authorize = app
        .authorize_url(&[
            ("redirect_uri", redirect_uri),
            ("state", "demo"),
            ("login", "octocat"),
        ])
        .map_err(|_| broken("the URL of the stand-in"))?;
    let sent_back = app.visit(authorize).await?;
    let code = sent_back
        .headers()
        .get(header::LOCATION)
        .and_then(|location| Url::parse(location.to_str().ok()?).ok())
        .and_then(|url| {
            let mut query = url.query_pairs();
            Some(query.find(|(name, _)| name == "code")?.1.into_owned())
        })
        .ok_or_else(|| broken("the stand-in sends the browser back with a code"))?;
    let answer = app.redeem(&code, redirect_uri, None).await?;
    Ok(text(&answer.body, "/access_token")?.to_owned())
}

async fn exchange(app: &NextApp, github_token: &str) -> Result<Value, DemoError> {
    let answer = app.exchange(github_token, None).await?;
    require(answer.status == StatusCode::OK, "POST /token answers 200")?;
    Ok(answer.body)
}

/// Sends a request with the access token of a sign-in, and returns the answer.
async fn as_user(
    app: &NextApp,
    method: Method,
    path: &str,
    signed_in: &Value,
) -> Result<ApiResponse, DemoError> {
    let access_token = text(signed_in, "/access_token")?;
    Ok(app.call(method, path, access_token).await?)
}

fn broken(what: &str) -> DemoError {
    DemoError::Broken(what.to_owned())
}

fn require(holds: bool, what: &str) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(broken(what)) }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, DemoError> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| broken(&format!("the answer has {pointer}")))
}

fn show(value: &Value, pointer: &str, label: &str) -> Result<(), DemoError> {
    let value = value
        .pointer(pointer)
        .ok_or_else(|| broken(&format!("the answer has {pointer}")))?;
    println!(
        "   {label:<14}{}",
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_demo_holds() {
        crate::scene::all_threads_listen();

        super::run().await.unwrap();
    }
}
