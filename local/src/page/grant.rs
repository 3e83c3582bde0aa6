//! The grant: what a browser that is signed in may use.

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
}
