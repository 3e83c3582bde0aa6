//! The life of a session: sign-in, use, refresh and end, with an attack at each step.
//!
//! All attacks are on sessions that this run opened. Each ends at the end of the run.

use std::time::Duration;

use reqwest::header::{self, HeaderName};
use secrecy::ExposeSecret;
use shared::{config::AccessTokenTtl, http::ACCESS_TOKEN_TYPE};

use super::{
    Credentials, Doctor, Subject,
    api::{Api, Reply, is_private, secret_value},
    documents::Documents,
    forge::Parts,
    report::{Outcome, Report, Trials},
    tokens,
};

/// A scope that no client has.
const NO_SCOPE: &str = "cambio:doctor";
/// An audience that no client has.
const NO_AUDIENCE: &str = "https://cambio-doctor.invalid";
const REFRESH_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const SAML_TYPE: &str = "urn:ietf:params:oauth:token-type:saml2";

/// The tokens of a session.
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
    user: String,
    expires_in: u64,
}

impl Tokens {
    fn of(reply: &Reply) -> Option<Self> {
        let answer = reply.as_ref().ok().filter(|answer| answer.status == 200)?;
        let text =
            |pointer| Some(answer.text_at(pointer).to_owned()).filter(|text| !text.is_empty());
        Some(Self {
            access: text("/access_token")?,
            refresh: text("/refresh_token")?,
            user: text("/user/id")?,
            expires_in: answer.body["expires_in"].as_u64()?,
        })
    }
}

/// The parties of a run with a sign-in.
pub(super) struct Life<'a> {
    pub(super) doctor: &'a Doctor,
    pub(super) api: &'a Api,
    pub(super) client: &'a Credentials,
    pub(super) subject: &'a Subject,
    pub(super) documents: &'a Documents,
}

impl Life<'_> {
    /// Opens a session with the first token of the provider, attacks it, and ends it.
    pub(super) async fn first(&self, report: &mut Report) {
        let Some(token) = self.subject.tokens.first() else {
            return;
        };
        let token = token.expose_secret();
        self.refused_exchanges(token, report).await;
        let Some(mut tokens) = self.sign_in(token, report).await else {
            return;
        };
        self.profile(&tokens, report).await;
        self.introspection(&tokens, report).await;
        if let Some(parts) = Parts::of(&tokens.access) {
            tokens::signatures(self.api, &tokens.access, &parts, self.documents, report).await;
            tokens::headers(self.api, &parts, self.documents, report).await;
        }
        self.substituted(&tokens, token, report).await;
        self.places(&tokens.access, report).await;
        self.refreshes(&mut tokens, report).await;
        self.replayed(token, &tokens, report).await;
        self.authorizer(&tokens, report).await;
        self.expired(&mut tokens, report).await;
        self.other_client(&tokens, report).await;
        self.revoked(&tokens, report).await;
    }

    /// Sends tokens that the provider never issued.
    pub(super) async fn made_up_subjects(&self, report: &mut Report) {
        let mut trials = Trials::of("exchange.subject");
        let none = Parts::made_up(
            &self.documents.issuer,
            "one",
            "none",
            self.doctor.clock.now(),
        );
        let unsigned = format!("{}.", none.message(&none.header));
        for (what, token) in [
            (
                "a token of the usual form",
                "gho_cambioDoctorMadeUpToken000000000000",
            ),
            (
                "a personal token",
                "ghp_cambioDoctorMadeUpToken000000000000",
            ),
            ("an unsigned JWT", &unsigned),
            ("a text", "a"),
        ] {
            let reply = self.exchange(token, &[]).await;
            trials.expect(what, &reply, 400, "invalid_request");
        }
        report.close(trials);
    }

    async fn exchange(&self, token: &str, more: &[(&str, &str)]) -> Reply {
        let request = self.api.exchange(self.client, self.subject, token, more);
        self.api.send(request).await
    }

    async fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Reply {
        let request = self.api.refresh(self.client, token, more);
        self.api.send(request).await
    }

    async fn me(&self, token: &str) -> Reply {
        self.api.send(self.api.me(token)).await
    }

    /// Makes exchanges whose only fault is a parameter.
    async fn refused_exchanges(&self, token: &str, report: &mut Report) {
        type Pair<'a> = [(&'a str, &'a str); 2];
        let all: [(_, _, &[Pair<'_>]); 4] = [
            (
                "exchange.actor",
                "invalid_request",
                &[
                    [
                        ("actor_token", token),
                        ("actor_token_type", ACCESS_TOKEN_TYPE),
                    ],
                    [("actor_token", "a"), ("a", "a")],
                ],
            ),
            (
                "exchange.token-type",
                "invalid_request",
                &[
                    [("requested_token_type", REFRESH_TOKEN_TYPE), ("a", "a")],
                    [("requested_token_type", SAML_TYPE), ("a", "a")],
                ],
            ),
            (
                "exchange.scope",
                "invalid_scope",
                &[[("scope", NO_SCOPE), ("a", "a")]],
            ),
            (
                "exchange.audience",
                "invalid_target",
                &[
                    [("audience", NO_AUDIENCE), ("a", "a")],
                    [("resource", NO_AUDIENCE), ("a", "a")],
                ],
            ),
        ];
        for (id, code, forms) in all {
            let mut trials = Trials::of(id);
            for form in forms {
                let reply = self.exchange(token, form).await;
                trials.expect(form[0].0, &reply, 400, code);
            }
            report.close(trials);
        }
    }

    async fn sign_in(&self, token: &str, report: &mut Report) -> Option<Tokens> {
        let reply = self.exchange(token, &[]).await;
        let mut trials = Trials::of("exchange.sign-in");
        trials.expect("POST /token", &reply, 200, "");
        let tokens = Tokens::of(&reply);
        if let (Ok(answer), Some(tokens)) = (&reply, &tokens) {
            let parts = Parts::of(&tokens.access);
            let claim = |name: &str| parts.as_ref().and_then(|parts| parts.claims[name].as_str());
            let kid = parts.as_ref().map(|parts| parts.header["kid"].clone());
            let mut keys = self.documents.keys.iter();
            trials.require(
                "the access token names another issuer than the metadata",
                claim("iss") == Some(&self.documents.issuer),
            );
            trials.require(
                "the key of the access token is not published",
                keys.any(|key| Some(&key["kid"]) == kid.as_ref()),
            );
            let is_new = answer.body["is_new_user"] == true;
            let what = if is_new { "a new user" } else { "the user" };
            trials.found(format!(
                "{what} {}, for {} s",
                tokens.user, tokens.expires_in
            ));
            if is_new {
                report
                    .notes
                    .push(format!("The user {} was new, and stays.", tokens.user));
            }
        } else {
            let is_grant = matches!(&reply, Ok(answer) if answer.status == 200);
            trials.require("the answer lacks a token or the user", !is_grant);
        }
        report.close(trials);
        tokens
    }

    async fn profile(&self, tokens: &Tokens, report: &mut Report) {
        let mut trials = Trials::of("session.profile");
        let reply = self.me(&tokens.access).await;
        trials.expect_that("GET /me", &reply, |answer| {
            answer.status == 200 && answer.text_at("/id") == tokens.user
        });
        let parts = Parts::of(&tokens.access);
        let sid = parts
            .as_ref()
            .and_then(|parts| parts.claims["sid"].as_str());
        let request = self.api.request(reqwest::Method::GET, "/me/sessions");
        let reply = self.api.send(request.bearer_auth(&tokens.access)).await;
        trials.expect_that("GET /me/sessions", &reply, |answer| {
            let sessions = answer.body["sessions"].as_array();
            sessions.is_some_and(|all| all.iter().any(|one| one["id"].as_str() == sid))
        });
        let request = self.api.request(reqwest::Method::GET, "/me/identities");
        let reply = self.api.send(request.bearer_auth(&tokens.access)).await;
        trials.expect("GET /me/identities", &reply, 200, "");
        report.close(trials);
    }

    async fn is_active(&self, client: &Credentials, token: &str) -> Reply {
        self.api
            .send(self.api.about(client, "/introspect", token))
            .await
    }

    async fn introspection(&self, tokens: &Tokens, report: &mut Report) {
        let mut trials = Trials::of("session.introspection");
        for (what, token) in [
            ("the access token", &tokens.access),
            ("the refresh token", &tokens.refresh),
        ] {
            let reply = self.is_active(self.client, token).await;
            trials.expect_that(what, &reply, |answer| {
                answer.body["active"] == true && answer.text_at("/sub") == tokens.user
            });
        }
        report.close(trials);
    }

    /// Sends other tokens and secrets of the run as an access token.
    async fn substituted(&self, tokens: &Tokens, subject_token: &str, report: &mut Report) {
        let mut trials = Trials::of("token.substituted");
        for (what, text) in [
            ("the refresh token", tokens.refresh.as_str()),
            ("the provider's token", subject_token),
            ("the client's secret", self.client.secret()),
            ("the access token twice", &format!("{0} {0}", tokens.access)),
        ] {
            let reply = self.me(text).await;
            trials.expect(what, &reply, 401, "invalid_token");
        }
        // Unlike the others, the id is no secret.
        let request = self.api.request(reqwest::Method::GET, "/me");
        let reply = self.api.send(request.bearer_auth(&tokens.user)).await;
        trials.expect("the id of the user", &reply, 401, "invalid_token");
        report.close(trials);
    }

    /// Sends the real access token in places where no route reads one.
    async fn places(&self, access: &str, report: &mut Report) {
        let me = || self.api.request(reqwest::Method::GET, "/me");
        let mut trials = Trials::of("header.two-authorizations");
        for (what, first, second) in [
            ("the real token first", access, "a.b.c"),
            ("the real token last", "a.b.c", access),
            ("the real token twice", access, access),
        ] {
            let request = me().bearer_auth(first).bearer_auth(second);
            trials.expect(what, &self.api.send(request).await, 401, "");
        }
        report.close(trials);

        let mut trials = Trials::of("header.scheme");
        for scheme in ["Basic", "Token", "DPoP", "Bearer2"] {
            let Some(value) = secret_value(format!("{scheme} {access}")) else {
                continue;
            };
            let request = me().header(header::AUTHORIZATION, value);
            trials.expect(scheme, &self.api.send(request).await, 401, "");
        }
        report.close(trials);

        let mut trials = Trials::of("header.other-place");
        for (name, value) in [
            (
                HeaderName::from_static("x-authorization"),
                format!("Bearer {access}"),
            ),
            (header::PROXY_AUTHORIZATION, format!("Bearer {access}")),
            (
                header::COOKIE,
                format!("access_token={access}; __Host-token={access}"),
            ),
        ] {
            let Some(value) = secret_value(value) else {
                continue;
            };
            let request = me().header(name.clone(), value);
            trials.expect(name.as_str(), &self.api.send(request).await, 401, "");
        }
        report.close(trials);
    }

    async fn refreshes(&self, tokens: &mut Tokens, report: &mut Report) {
        let used = tokens.refresh.clone();
        let mut trials = Trials::of("refresh.substituted");
        for (what, text) in [
            ("the access token", tokens.access.clone()),
            ("another last character", flipped(&used, used.len() - 1)),
            (
                "another character in the middle",
                flipped(&used, used.len() / 2),
            ),
            ("another first character", flipped(&used, 4)),
            ("without its prefix", used.chars().skip(4).collect()),
            (
                "a part of it",
                used.chars().take(used.len().saturating_sub(4)).collect(),
            ),
        ] {
            let reply = self.refresh(&text, &[]).await;
            trials.expect(what, &reply, 400, "invalid_grant");
        }
        let reply = self.me(&tokens.access).await;
        trials.expect("GET /me afterwards", &reply, 200, "");
        report.close(trials);

        let mut trials = Trials::of("refresh.scope");
        let reply = self.refresh(&used, &[("scope", NO_SCOPE)]).await;
        trials.expect("more scope", &reply, 400, "invalid_scope");
        report.close(trials);

        let mut trials = Trials::of("refresh.rotation");
        let reply = self.refresh(&used, &[]).await;
        let next = Tokens::of(&reply);
        let is_same_user = |next: &Tokens| next.user == tokens.user && next.refresh != used;
        trials.expect_that("a refresh", &reply, |_| {
            next.as_ref().is_some_and(is_same_user)
        });
        report.close(trials);
        let Some(next) = next else { return };

        let mut trials = Trials::of("refresh.lost-answer");
        let reply = self.refresh(&used, &[]).await;
        trials.expect_that("the same refresh", &reply, |answer| {
            answer.status == 200 && answer.text_at("/refresh_token") == next.refresh
        });
        report.close(trials);
        *tokens = next;
    }

    /// Sends the provider's token, whose session was refreshed, once more.
    async fn replayed(&self, token: &str, tokens: &Tokens, report: &mut Report) {
        let mut trials = Trials::of("exchange.replay");
        let reply = self.exchange(token, &[]).await;
        trials.expect("the provider's token again", &reply, 400, "invalid_request");
        let reply = self.exchange(&tokens.access, &[]).await;
        trials.expect("Cambio's access token", &reply, 400, "invalid_request");
        report.close(trials);
    }

    async fn authorizer(&self, tokens: &Tokens, report: &mut Report) {
        let url = self.doctor.target.authorizer_url.as_ref();
        let Some(url) = url.filter(|url| is_private(url)) else {
            return;
        };
        let get = || self.api.request_to(url.clone());
        let mut trials = Trials::of("authorizer.refuses");
        let forged = tokens::one_forged(&tokens.access);
        for (what, request) in [
            ("no token", get()),
            ("a text that is no token", get().bearer_auth("a.b.c")),
            ("a changed token", get().bearer_auth(forged)),
            ("the refresh token", get().bearer_auth(&tokens.refresh)),
            (
                "two headers",
                get().bearer_auth(&tokens.access).bearer_auth("a.b.c"),
            ),
        ] {
            let reply = self.api.send_elsewhere(request).await;
            trials.expect_that(what, &reply, |answer| matches!(answer.status, 401 | 403));
        }
        report.close(trials);
        let mut trials = Trials::of("authorizer.admits");
        let reply = self
            .api
            .send_elsewhere(get().bearer_auth(&tokens.access))
            .await;
        trials.expect_that("the real token", &reply, |answer| {
            answer.status < 500 && !matches!(answer.status, 401 | 403)
        });
        report.close(trials);
    }

    /// Waits until the access token has expired, if there is time for it.
    async fn expired(&self, tokens: &mut Tokens, report: &mut Report) {
        let wait = self.doctor.target.wait;
        if wait.is_zero() {
            return;
        }
        let lifetime = Duration::from_secs(tokens.expires_in);
        if lifetime > AccessTokenTtl::MAX {
            let longest = AccessTokenTtl::MAX.as_secs();
            let why = format!("expires_in is {}, and at most {longest}", tokens.expires_in);
            return report.set("token.expired", Outcome::Failed(why));
        }
        if lifetime > wait {
            let why = format!(
                "the access token lives for {0} seconds: give --wait {0} or more",
                tokens.expires_in
            );
            return report.set("token.expired", Outcome::Skipped(why));
        }
        self.doctor
            .pause
            .wait(lifetime + Duration::from_secs(1))
            .await;
        let mut trials = Trials::of("token.expired");
        let reply = self.me(&tokens.access).await;
        trials.expect("GET /me", &reply, 401, "invalid_token");
        let reply = self.is_active(self.client, &tokens.access).await;
        trials.expect_that("POST /introspect", &reply, |answer| {
            answer.body["active"] == false
        });
        let reply = self.refresh(&tokens.refresh, &[]).await;
        trials.expect("a refresh", &reply, 200, "");
        report.close(trials);
        if let Some(next) = Tokens::of(&reply) {
            *tokens = next;
        }
    }

    async fn other_client(&self, tokens: &Tokens, report: &mut Report) {
        let Some(other) = &self.doctor.target.other_client else {
            return;
        };
        let mut trials = Trials::of("session.other-client");
        for (what, token) in [
            ("the access token", &tokens.access),
            ("the refresh token", &tokens.refresh),
        ] {
            let reply = self.is_active(other, token).await;
            trials.expect_that(
                &format!("POST /introspect about {what}"),
                &reply,
                |answer| answer.status == 200 && answer.body["active"] == false,
            );
        }
        let request = self.api.refresh(other, &tokens.refresh, &[]);
        let reply = self.api.send(request).await;
        trials.expect("a refresh", &reply, 400, "invalid_grant");
        for (what, token) in [
            ("the access token", &tokens.access),
            ("the refresh token", &tokens.refresh),
        ] {
            let reply = self.api.send(self.api.about(other, "/revoke", token)).await;
            trials.expect(&format!("POST /revoke of {what}"), &reply, 200, "");
            let reply = self.me(&tokens.access).await;
            trials.expect("GET /me afterwards", &reply, 200, "");
        }
        report.close(trials);
    }

    async fn revoked(&self, tokens: &Tokens, report: &mut Report) {
        let mut trials = Trials::of("session.revoked");
        let about = |path, token| self.api.about(self.client, path, token);
        let reply = self.api.send(about("/revoke", &tokens.refresh)).await;
        let is_over = trials.expect("POST /revoke", &reply, 200, "");
        let reply = self.me(&tokens.access).await;
        trials.expect("GET /me", &reply, 401, "invalid_token");
        for (what, token) in [
            ("the access token", &tokens.access),
            ("the refresh token", &tokens.refresh),
        ] {
            let reply = self.is_active(self.client, token).await;
            trials.expect_that(
                &format!("POST /introspect about {what}"),
                &reply,
                |answer| answer.status == 200 && answer.body["active"] == false,
            );
        }
        let reply = self.refresh(&tokens.refresh, &[]).await;
        trials.expect("a refresh", &reply, 400, "invalid_grant");
        let reply = self.api.send(about("/revoke", &tokens.refresh)).await;
        trials.expect("POST /revoke again", &reply, 200, "");
        report.close(trials);
        report.notes.push(if is_over {
            "The session of this run has ended.".to_owned()
        } else {
            format!(
                "A session of this run may go on: end it in the list of the user {}.",
                tokens.user
            )
        });
    }

    /// Opens a session with the second token of the provider, and uses a refresh token of it after its successor.
    pub(super) async fn second(&self, report: &mut Report) {
        let Some(token) = self.subject.tokens.get(1) else {
            return;
        };
        let mut trials = Trials::of("refresh.reuse");
        let reply = self.exchange(token.expose_secret(), &[]).await;
        trials.expect("POST /token", &reply, 200, "");
        let Some(opened) = Tokens::of(&reply) else {
            return report.close(trials);
        };
        let mut newest = opened.refresh.clone();
        for _ in 0..2 {
            let reply = self.refresh(&newest, &[]).await;
            trials.expect("a refresh", &reply, 200, "");
            if let Some(tokens) = Tokens::of(&reply) {
                newest = tokens.refresh;
            }
        }
        let reply = self.refresh(&opened.refresh, &[]).await;
        trials.expect(
            "the first refresh token again",
            &reply,
            400,
            "invalid_grant",
        );
        let reply = self.refresh(&newest, &[]).await;
        trials.expect("the newest refresh token", &reply, 400, "invalid_grant");
        report.close(trials);
        // The session has ended already, unless the check failed.
        let request = self.api.about(self.client, "/revoke", &newest);
        let ended = self.api.send(request).await;
        report.notes.push(match ended {
            Ok(answer) if answer.status == 200 => {
                "The second session has ended. The log and the metric ReuseDetected have its reuse."
                    .to_owned()
            }
            _ => format!(
                "The second session may go on: end it in the list of the user {}.",
                opened.user
            ),
        });
    }
}

/// Returns `text` with another letter at this place.
fn flipped(text: &str, at: usize) -> String {
    let other = |(place, c): (usize, char)| match c {
        _ if place != at => c,
        'A' => 'B',
        _ => 'A',
    };
    text.chars().enumerate().map(other).collect()
}
