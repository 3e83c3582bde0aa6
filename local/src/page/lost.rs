//! The loss of an answer on purpose: the API does its work, and the connection closes without an answer.
//!
//! A network loses answers at times. The control of the page loses the next answer of `POST /token`, of any app that
//! uses this server, so that the developer sees the repeated request get the same successor.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
};
use futures_util::stream;
use serde_json::Value;
use tracing::Instrument as _;

use super::grant::Grant;
use crate::{lock::lock, next_app::ApiResponse, requests::LOST_ANSWER};

/// More than an answer of `POST /token` has, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The answers to lose, and the last one that was lost. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostAnswers(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    is_next_lost: bool,
    last: Option<Lost>,
}

/// An answer that was lost.
#[derive(Clone, Debug)]
struct Lost {
    session: String,
    /// SHA-256 of its refresh token.
    refresh_token: Vec<u8>,
}

impl LostAnswers {
    /// Loses the next answer of `POST /token`, or does so no more.
    pub(super) fn set_next_lost(&self, is_next_lost: bool) {
        self.answers().is_next_lost = is_next_lost;
    }

    /// Returns whether the next answer of `POST /token` will be lost.
    pub(super) fn is_next_lost(&self) -> bool {
        self.answers().is_next_lost
    }

    /// Returns whether the last answer of this session was lost, and nothing was repeated since.
    pub(super) fn is_of(&self, session: &str) -> bool {
        let answers = self.answers();
        let last = answers.last.as_ref();
        last.is_some_and(|lost| lost.session == session)
    }

    /// Returns whether `grant` repeats the lost answer: it has the same refresh token. Forgets the answer.
    pub(super) fn is_repeated_by(&self, grant: &Grant) -> bool {
        let mut answers = self.answers();
        let session = grant.session();
        let is_of = |lost: &mut Lost| Some(&lost.session) == session.as_ref();
        let lost = answers.last.take_if(is_of);
        lost.is_some_and(|lost| lost.refresh_token == sha256(&grant.refresh_token))
    }

    /// Returns whether to lose the answer of a request that arrives now, and does so once.
    fn take(&self) -> bool {
        std::mem::take(&mut self.answers().is_next_lost)
    }

    async fn keep(&self, response: Response) {
        let status = response.status();
        let body = to_bytes(response.into_body(), MAX_ANSWER).await;
        let body: Option<Value> = body
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok());
        let grant = body.and_then(|body| Grant::of(&ApiResponse { status, body }));
        let lost = grant.and_then(|grant| {
            Some(Lost {
                session: grant.session()?,
                refresh_token: sha256(&grant.refresh_token),
            })
        });
        self.answers().last = lost;
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        lock(&self.0)
    }
}

fn sha256(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

/// Loses answers of the API's routes as `answers` says.
pub(crate) fn lose_answers(routes: Router, answers: LostAnswers) -> Router {
    routes.layer(middleware::from_fn_with_state(answers, lose))
}

async fn lose(State(answers): State<LostAnswers>, request: Request, next: Next) -> Response {
    let is_for_tokens = request.method() == Method::POST && request.uri().path() == "/token";
    if !is_for_tokens || !answers.take() {
        return next.run(request).await;
    }
    let span = tracing::info_span!(LOST_ANSWER);
    let response = next.run(request).instrument(span).await;
    if !response.status().is_success() {
        // A refusal changes nothing, so there is nothing to repeat.
        answers.set_next_lost(true);
        return response;
    }
    answers.keep(response).await;
    // The server closes the connection at an error of the body, before it sends the first byte.
    let error = io::Error::other("the answer is lost on purpose");
    Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(error)])))
}
