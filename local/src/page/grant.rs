//! The grant: what a browser that is signed in may use.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::next_app::ApiResponse;

/// The tokens and the user that the API gave for a sign-in. Not `Debug`: the tokens are real.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) refresh_token_expires_in: Value,
    pub(super) user: Value,
    /// Absent after a refresh.
    pub(super) is_new_user: Option<bool>,
}

impl Grant {
    /// Returns the grant in an answer of `POST /token`, if it has one.
    pub(super) fn of(answer: &ApiResponse) -> Option<Self> {
        let text = |name: &str| Some(answer.body[name].as_str()?.to_owned());
        Some(Self {
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
            refresh_token_expires_in: answer.body["refresh_token_expires_in"].clone(),
            user: answer.body["user"].clone(),
            is_new_user: answer.body["is_new_user"].as_bool(),
        })
    }

    /// Returns the header and the claims of the access token, `null` where there are none.
    ///
    /// For display only; no decision depends on them. An API must verify a token before it trusts the claims.
    pub(super) fn shown(&self) -> (Value, Value) {
        let mut parts = self.access_token.split('.').map(|part| {
            let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice(&json).ok()
        });
        let mut next = || parts.next().flatten().unwrap_or(Value::Null);
        (next(), next())
    }

    /// Returns the session of the access token.
    pub(super) fn session(&self) -> Option<String> {
        let (_, claims) = self.shown();
        Some(claims["sid"].as_str()?.to_owned())
    }
}
