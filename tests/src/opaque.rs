//! A stand-in for Discord, Facebook, and a provider whose API does not name the application of a token.
//!
//! A token is `<application>~<user>~<scopes, separated by dots>`.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use axum::{
    Json, Router,
    extract::Query,
    http::{HeaderMap, StatusCode, header},
    routing::get,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::proxy::Proxy;

/// The client id of the app at each of them.
pub const APP: &str = "our-app";
/// The secret of the app at Facebook.
pub const SECRET: &str = "CANARY-facebook-secret";

/// The three providers behind a proxy that can fail.
pub struct Opaque {
    /// The proxy between the functions and the providers.
    pub proxy: Proxy,
    _running: JoinSet<()>,
}

impl Opaque {
    /// Starts the providers.
    pub async fn start() -> Self {
        let router = Router::new()
            .route("/discord/oauth2/@me", get(discord_authorization))
            .route("/discord/users/@me", get(discord_user))
            .route("/facebook/debug_token", get(facebook_debug))
            .route("/facebook/me", get(facebook_user))
            .route("/userinfo", get(userinfo));
        let mut running = JoinSet::new();
        let proxy = Proxy::start(&crate::serve(&mut running, router).await).await;
        Self {
            proxy,
            _running: running,
        }
    }

    /// Returns the value of `OAUTH_PROVIDERS` for them.
    pub fn settings(&self) -> String {
        let url = self.proxy.url();
        json!([
            { "name": "discord", "client_id": APP, "api_url": format!("{url}/discord") },
            { "name": "facebook", "client_id": APP, "client_secret": SECRET, "api_url": format!("{url}/facebook") },
            {
                "name": "loose", "unsafe_no_app_binding": true,
                "userinfo": { "url": format!("{url}/userinfo"), "subject": "/id", "name": "/names/0", "email": "/email" },
            },
        ])
        .to_string()
    }
}

struct Token {
    application: String,
    person: String,
    scopes: Vec<String>,
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn read(token: &str) -> Option<Token> {
    let mut parts = token.split('~').map(str::to_owned);
    Some(Token {
        application: parts.next()?,
        person: parts.next()?,
        scopes: parts.next()?.split('.').map(str::to_owned).collect(),
    })
}

fn token_of(headers: &HeaderMap) -> Result<Token, StatusCode> {
    let token = bearer(headers).and_then(read);
    token.ok_or(StatusCode::UNAUTHORIZED)
}

fn has(token: &Token, scope: &str) -> bool {
    token.scopes.iter().any(|other| other == scope)
}

fn discord_person(token: &Token) -> Value {
    json!({ "id": "80351110224678912", "username": token.person, "global_name": null, "avatar": "8342729096ea3675442027381ff50dfe" })
}

async fn discord_authorization(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let token = token_of(&headers)?;
    let mut answer = json!({
        "application": { "id": token.application, "name": "An application" },
        "scopes": token.scopes,
        "expires": "2030-01-01T00:00:00.000000+00:00",
    });
    if has(&token, "identify") {
        answer["user"] = discord_person(&token);
    }
    Ok(Json(answer))
}

async fn discord_user(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let token = token_of(&headers)?;
    let mut person = discord_person(&token);
    if has(&token, "email") {
        person["email"] = format!("{}@example.com", token.person).into();
        person["verified"] = true.into();
    }
    Ok(Json(person))
}

/// Returns an error of Facebook's Graph API, which has status 400 for every problem with a token.
type GraphError = (StatusCode, Json<Value>);

fn graph_error(code: u64, kind: &str, message: &str) -> GraphError {
    let error = json!({ "message": message, "type": kind, "code": code, "fbtrace_id": "AnExampleOfATrace" });
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error })))
}

async fn facebook_debug(
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, GraphError> {
    if bearer(&headers) != Some(&format!("{APP}|{SECRET}")) {
        let message = "Invalid OAuth access token signature.";
        return Err(graph_error(190, "OAuthException", message));
    }
    let Some(token) = query.get("input_token").and_then(|token| read(token)) else {
        let error = json!({ "code": 190, "message": "Invalid OAuth access token - Cannot parse access token" });
        return Ok(Json(
            json!({ "data": { "error": error, "is_valid": false, "scopes": [] } }),
        ));
    };
    if token.application != APP {
        let message = "(#100) The App_id in the input_token did not match the Viewing App";
        return Err(graph_error(100, "OAuthException", message));
    }
    if token.person == "malformed" {
        let message = "Malformed access token";
        return Err(graph_error(190, "OAuthException", message));
    }
    let kind = if token.person == "page" {
        "PAGE"
    } else {
        "USER"
    };
    // For an expired token, Facebook still names the user.
    let is_valid = token.person != "expired";
    let mut data = json!({
        "app_id": token.application, "type": kind, "is_valid": is_valid, "user_id": "10", "scopes": token.scopes,
    });
    // Facebook reports it for long-lived tokens only.
    let issued_at = token.person.strip_prefix("issued-");
    if let Some(issued_at) = issued_at.and_then(|time| time.parse::<u64>().ok()) {
        data["issued_at"] = issued_at.into();
    }
    Ok(Json(json!({ "data": data })))
}

async fn facebook_user(
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, GraphError> {
    let Some(token) = bearer(&headers).and_then(read) else {
        let message = "Invalid OAuth access token - Cannot parse access token";
        return Err(graph_error(190, "OAuthException", message));
    };
    if token.person == "logged-out" {
        let message =
            "Error validating access token: The session is invalid because the user logged out.";
        return Err(graph_error(190, "OAuthException", message));
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let proof = hmac::sign(&key, bearer(&headers).unwrap_or_default().as_bytes());
    let proof: String = proof.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    if query.get("appsecret_proof") != Some(&proof) {
        let message = "Invalid appsecret_proof provided in the API argument";
        return Err(graph_error(100, "GraphMethodException", message));
    }
    let email = format!("{}@example.com", token.person);
    let picture = json!({ "data": { "url": "https://example.com/ada.png" } });
    Ok(Json(
        json!({ "id": "10", "name": "Ada Lovelace", "email": email, "picture": picture }),
    ))
}

async fn userinfo(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let token = token_of(&headers)?;
    let email = format!("{}@example.com", token.person);
    Ok(Json(
        json!({ "id": 7, "names": ["Ada"], "email": email, "email_verified": true }),
    ))
}
