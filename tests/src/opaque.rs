//! Discord, Facebook, and somebody whose API does not say which application a token is for, in one.
//!
//! A token of theirs is `<application>~<person>~<scopes, with dots between them>`; everything else is no token.

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

/// Our client id at each of them.
pub const APP: &str = "our-app";
/// Its secret at Facebook.
pub const SECRET: &str = "CANARY-facebook-secret";

/// The three of them, behind a proxy that can fail.
pub struct Opaque {
    /// Between the functions and the providers.
    pub proxy: Proxy,
    _running: JoinSet<()>,
}

impl Opaque {
    /// Starts them.
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

    /// The value of `OAUTH_PROVIDERS` that trusts them.
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

async fn facebook_debug(
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    if bearer(&headers) != Some(&format!("{APP}|{SECRET}")) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let token = query.get("input_token").and_then(|token| read(token));
    let data = token.map_or(
        json!({ "error": { "code": 190, "message": "Invalid OAuth access token." }, "is_valid": false, "scopes": [] }),
        |token| {
            let kind = if token.person == "page" { "PAGE" } else { "USER" };
            // Of one that expired, Facebook still says whose it was.
            let is_valid = token.person != "expired";
            json!({ "app_id": token.application, "type": kind, "is_valid": is_valid, "user_id": "10", "scopes": token.scopes })
        },
    );
    Ok(Json(json!({ "data": data })))
}

async fn facebook_user(
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    let token = token_of(&headers)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let proof = hmac::sign(&key, bearer(&headers).unwrap_or_default().as_bytes());
    let proof: String = proof.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    if query.get("appsecret_proof") != Some(&proof) {
        return Err(StatusCode::BAD_REQUEST);
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
