//! The state of a visit as the browser sees it, without the tokens.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::{SignIn, grant::Grant};
use crate::next_app::ApiResponse;

/// The state of the page, except for the requests.
#[derive(Serialize)]
pub(super) struct View {
    /// The reason that the page does not sign in itself; absent if it does.
    no_sign_in: Option<&'static str>,
    /// A message about the last action.
    words: Option<String>,
    answer: Option<ShownAnswer>,
    grant: Option<ShownGrant>,
    /// True if the next answer of `POST /token` will be lost.
    is_next_lost: bool,
}

impl View {
    pub(super) fn of(sign_in: &SignIn, grant: Option<&Grant>, is_next_lost: bool) -> Self {
        Self {
            no_sign_in: match sign_in {
                SignIn::Here(_) => None,
                SignIn::Elsewhere(why) => Some(why),
            },
            words: None,
            answer: None,
            grant: grant.map(ShownGrant::new),
            is_next_lost,
        }
    }

    pub(super) fn saying(self, words: String, answer: Option<ShownAnswer>) -> Self {
        Self {
            words: Some(words),
            answer,
            ..self
        }
    }
}

/// An answer of the API.
#[derive(Serialize)]
pub(super) struct ShownAnswer {
    request: String,
    status: u16,
    body: Value,
}

impl ShownAnswer {
    pub(super) fn new(request: &str, answer: ApiResponse) -> Self {
        let mut body = answer.body;
        for (name, start) in [("access_token", "eyJ"), ("refresh_token", "cbr_")] {
            if let Some(token) = body.get_mut(name) {
                *token = format!("{start}… (stays on the server)").into();
            }
        }
        Self {
            request: request.to_owned(),
            status: answer.status.as_u16(),
            body,
        }
    }
}

/// The result of a sign-in.
#[derive(Serialize)]
struct ShownGrant {
    user: Value,
    is_new_user: Option<bool>,
    refresh_token_expires_in: Value,
    /// The header of the access token.
    header: Value,
    /// The claims of the access token.
    claims: Value,
}

impl ShownGrant {
    fn new(grant: &Grant) -> Self {
        let (header, claims) = grant.shown();
        Self {
            header,
            claims,
            user: grant.user.clone(),
            is_new_user: grant.is_new_user,
            refresh_token_expires_in: grant.refresh_token_expires_in.clone(),
        }
    }
}

/// Returns a message for an answer: `success` if the request succeeded, an explanation otherwise.
pub(super) fn words_for<'a>(answer: &ApiResponse, success: &'a str) -> &'a str {
    let code = answer.body["error"].as_str().unwrap_or_default();
    match (answer.status, code) {
        (status, _) if status.is_success() => success,
        (status, _) if status.is_server_error() => {
            "The API cannot answer at the moment. Your session is not affected: try again."
        }
        (_, "access_denied") => {
            "GitHub confirmed your account, but ALLOWED_SIGNUPS does not admit it as a new user."
        }
        (_, "invalid_grant") => "The session has ended. Sign in again.",
        (StatusCode::UNAUTHORIZED, _) => {
            "The access token is no longer valid. Refresh it; if the session has ended, the refresh says so."
        }
        (StatusCode::NOT_FOUND, _) => "The session no longer exists.",
        _ => "The API refused the request. Its answer has the reason.",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> ApiResponse {
        ApiResponse {
            status: StatusCode::from_u16(status).unwrap(),
            body,
        }
    }

    #[test]
    fn no_token_is_shown() {
        let grant = answer(
            200,
            json!({
                "access_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1In0.CANARY",
                "refresh_token": "cbr_CANARY",
                "user": { "id": "u" },
            }),
        );

        let view = View::of(&SignIn::OWN_CLIENTS, Grant::of(&grant).as_ref(), false);
        let view = view.saying(String::new(), Some(ShownAnswer::new("POST /token", grant)));
        let shown = serde_json::to_value(&view).unwrap();

        assert_eq!(shown["grant"]["header"], json!({ "alg": "none" }));
        assert_eq!(shown["grant"]["claims"], json!({ "sub": "u" }));
        assert_eq!(shown["answer"]["body"]["user"]["id"], "u");
        let text = shown.to_string();
        assert!(!text.contains("CANARY"), "{text}");
    }

    #[test]
    fn an_api_that_cannot_answer_is_not_taken_for_one_that_refuses() {
        let down = answer(503, json!({ "error": "temporarily_unavailable" }));
        let refused = answer(403, json!({ "error": "access_denied" }));

        assert!(words_for(&down, "").contains("try again"));
        assert!(words_for(&refused, "").contains("ALLOWED_SIGNUPS"));
        assert_eq!(words_for(&answer(204, Value::Null), "done"), "done");
    }
}
