//! The page's controls that an app does not have: they change the data behind the API, and show it.

use std::time::Duration;

use axum::http::StatusCode;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use dynoxide::Database;
use rotate_keys::{Order, RotateKeys, When};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    clock::{Clock, Timestamp},
    config::{AccessTokenTtl, Environment, Issuer},
    keys::{KeyStore, Signer},
    sessions::{SessionId, SessionRef},
    start::{Start, StartError},
    token::{Grant, TokenIssuer},
    users::{UserId, Users},
};

use super::Problem;
use crate::{
    dynamodb::{TABLE, plain},
    next_app::ApiResponse,
};

/// The time for which a key must be published before it signs, with a margin.
const PUBLISHED_LONG_AGO: u64 = 25 * 60 * 60;
/// The age of the tokens that have expired.
const AN_HOUR: u64 = 60 * 60;

/// The controls. Clones share the database.
#[derive(Clone)]
pub(crate) struct Controls {
    users: Users,
    keys: KeyStore,
    signer: Signer,
    issuer: Issuer,
    rotation: RotateKeys,
    database: Database,
    clock: Clock,
}

/// The claims of an access token that its expired copy repeats.
#[derive(Deserialize)]
struct Claims {
    sub: UserId,
    aud: String,
    client_id: String,
    sid: SessionId,
    session_version: u64,
    scope: Option<String>,
    auth_time: Option<Timestamp>,
}

impl Claims {
    fn of(access_token: &str) -> Option<Self> {
        let payload = access_token.split('.').nth(1)?;
        let json = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

impl Controls {
    /// Connects to the functions' tables.
    pub(crate) async fn start(
        env: &Environment,
        clock: Clock,
        database: Database,
    ) -> Result<Self, StartError> {
        let start = Start::new(env, clock.clone())?;
        Ok(Self {
            users: start.users()?,
            keys: start.key_store()?,
            signer: Signer::start(start.keys().await?).await?,
            issuer: Issuer::from_env(env)?,
            rotation: RotateKeys::new(env, clock.clone())?,
            database,
            clock,
        })
    }

    /// Returns an access token for the same session, which expired an hour ago.
    pub(super) async fn expired(&self, access_token: &str) -> Result<String, Problem> {
        let claims = Claims::of(access_token).ok_or(Problem::NotSignedIn)?;
        let user = self.users.find(claims.sub).await.map_err(failed)?;
        let user = user.ok_or(Problem::NotSignedIn)?;
        let then = self.clock.now().saturating_sub(AN_HOUR);
        let ttl = AccessTokenTtl(Duration::from_mins(1));
        let (signer, issuer) = (self.signer.clone(), self.issuer.clone());
        let issuer = TokenIssuer::new(signer, issuer, ttl, Clock::new(move || then));
        let ready = issuer.ready().await.map_err(failed)?;
        let ready = ready.confirm().await.map_err(failed)?;
        let grant = Grant {
            client_id: &claims.client_id,
            session: SessionRef {
                id: claims.sid,
                version: claims.session_version,
            },
            signed_in_at: claims.auth_time,
            audience: &claims.aud,
            scope: claims.scope.as_deref(),
        };
        let issued = ready.issue(&user, &grant).map_err(failed)?;
        Ok(issued.token.expose_secret().to_owned())
    }

    /// Disables the user of this token, or enables the user again.
    pub(super) async fn enable(
        &self,
        access_token: &str,
        is_enabled: bool,
    ) -> Result<ApiResponse, Problem> {
        let id = Claims::of(access_token).ok_or(Problem::NotSignedIn)?.sub;
        let (changed, status) = if is_enabled {
            (self.users.enable(id).await, "active")
        } else {
            (self.users.disable(id).await, "disabled")
        };
        let changed = changed.map_err(failed)?;
        changed.ok_or(Problem::NotSignedIn)?;
        Ok(done(json!({ "user": id.to_string(), "status": status })))
    }

    /// Lets the next key sign at once, and returns the report of `rotate-keys`.
    pub(super) async fn rotate(&self) -> Result<ApiResponse, Problem> {
        let set = self.keys.find_set().await.map_err(failed)?;
        if let Some(mut set) = set {
            let current = set.current(self.clock.now()).map(|key| key.sign_from);
            // The next turn begins after the second in which that of the current key began.
            while current.is_some_and(|turn| turn >= self.clock.now()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // A key signs a day after its publication at the earliest, so the published keys become a day older.
            let replaced = set.version;
            set.version += 1;
            let then = self.clock.now().saturating_sub(PUBLISHED_LONG_AGO);
            for key in &mut set.keys {
                key.published_at = key.published_at.min(then);
            }
            let aged = self.keys.replace(Some(replaced), &set, &[], &[]);
            aged.await.map_err(failed)?;
        }
        let order = Order {
            rotate: When::Now,
            revoke: None,
        };
        let report = self.rotation.run(&order).await.map_err(failed)?;
        Ok(done(json!(report)))
    }

    /// Returns the items of the main table. The table of the private keys is never read.
    pub(super) fn items(&self) -> Result<Vec<Value>, Problem> {
        let request = serde_json::from_value(json!({ "TableName": TABLE })).map_err(failed)?;
        let answer = self.database.scan(request).map_err(failed)?;
        let answer = serde_json::to_value(answer).map_err(failed)?;
        let items = answer["Items"].as_array();
        let items = items.into_iter().flatten();
        Ok(items
            .map(|item| json!({ "M": item }))
            .map(|item| plain(&item))
            .collect())
    }
}

fn done(body: Value) -> ApiResponse {
    ApiResponse {
        status: StatusCode::OK,
        body,
    }
}

fn failed(error: impl std::fmt::Display) -> Problem {
    tracing::warn!(error.cause = %error, "a control of the page failed");
    Problem::Database
}
