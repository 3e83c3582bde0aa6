//! The attacks on the OAuth endpoints: odd forms, and wrong clients.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, header};

use super::{
    Credentials,
    api::{Answer, Api, form_encoded, secret_value},
    documents::IMPOSTORS,
    report::{Report, Trials},
};

const FORM: &str = "application/x-www-form-urlencoded";
/// The text of a token that does not exist.
const NO_TOKEN: &str = "cambio-doctor";
/// The id of a client that does not exist.
const NO_CLIENT: &str = "cambio-doctor";
/// A text that no answer and no log may repeat.
const MADE_UP_SECRET: &str = "gho_cambioDoctorMadeUpSecret0000000000";

/// Sends forms that are refused whoever sends them. With a client, nothing else is wrong with them.
pub(super) async fn examine(client: Option<&Credentials>, api: &Api, report: &mut Report) {
    missing_token(api, report).await;
    let post = |path: &str| {
        let request = api.request(Method::POST, path);
        match client {
            Some(client) => request.basic_auth(
                form_encoded(&client.id),
                Some(form_encoded(client.secret())),
            ),
            None => request,
        }
    };
    let form = |body: String| post("/token").header(header::CONTENT_TYPE, FORM).body(body);

    let mut trials = Trials::of("form.url-parameters");
    for query in ["grant_type=refresh_token", "client_id=cambio-doctor", "a=1"] {
        let request = post(&format!("/token?{query}"));
        let request = request
            .header(header::CONTENT_TYPE, FORM)
            .body("grant_type=none");
        let reply = api.send(request).await;
        trials.expect(&format!("?{query}"), &reply, 400, "invalid_request");
    }
    report.close(trials);

    let mut trials = Trials::of("form.repeated");
    for body in [
        "grant_type=none&grant_type=none",
        "grant_type=none&grant%5ftype=other",
    ] {
        let reply = api.send(form(body.to_owned())).await;
        trials.expect(body, &reply, 400, "invalid_request");
    }
    report.close(trials);

    let mut trials = Trials::of("form.control-characters");
    for value in ["%0d%0aX-Cambio-Doctor:%201", "%00", "%0a", "%7f", "%c0%af"] {
        let body = format!("grant_type=none{value}");
        let reply = api.send(form(body.clone())).await;
        trials.expect_that(&body, &reply, |answer| {
            let is_injected = answer.headers.contains_key("x-cambio-doctor");
            answer.status == 400 && answer.code() == "invalid_request" && !is_injected
        });
    }
    report.close(trials);

    let mut trials = Trials::of("form.content-type");
    for kind in [
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=a",
    ] {
        let request = post("/token").header(header::CONTENT_TYPE, kind);
        let reply = api.send(request.body("grant_type=none")).await;
        trials.expect(kind, &reply, 415, "");
    }
    report.close(trials);

    let mut trials = Trials::of("form.size");
    let body = format!("grant_type=none&a={}", "a".repeat(64 * 1024));
    let reply = api.send(form(body)).await;
    trials.expect("64 KiB and more", &reply, 413, "");
    report.close(trials);

    let mut trials = Trials::of("form.no-echo");
    api.hidden().insert_token(MADE_UP_SECRET);
    let body = format!("{MADE_UP_SECRET}=1&{MADE_UP_SECRET}=1");
    let reply = api.send(form(body)).await;
    trials.expect_that("a secret as a name", &reply, |answer| {
        let is_shown = answer.text.contains(MADE_UP_SECRET);
        answer.status == 400 && answer.code() == "invalid_request" && !is_shown
    });
    report.close(trials);

    unknown_client(api, report).await;
    if let Some(client) = client {
        clients(client, api, report).await;
    }
}

async fn missing_token(api: &Api, report: &mut Report) {
    let mut trials = Trials::of("token.missing");
    let is_refusal = |answer: &Answer| {
        answer.status == 401 && answer.header("www-authenticate").starts_with("Bearer")
    };
    for path in ["/me", "/me/sessions", "/me/identities"] {
        let reply = api.send(api.request(Method::GET, path)).await;
        trials.expect_that(path, &reply, is_refusal);
    }
    for (name, value) in IMPOSTORS {
        let request = api.request(Method::GET, "/me").header(name.clone(), value);
        let reply = api.send(request).await;
        trials.expect_that(&format!("/me with {name}"), &reply, is_refusal);
    }
    // An access token in the URL reaches logs (RFC 9700 §4.3.2), so no route reads one there.
    let request = api.request(Method::GET, "/me?access_token=a.b.c");
    trials.expect_that("/me?access_token=…", &api.send(request).await, is_refusal);
    report.close(trials);
}

fn is_unknown(answer: &Answer) -> bool {
    let is_basic = answer.header("www-authenticate").starts_with("Basic");
    answer.status == 401 && answer.code() == "invalid_client" && is_basic
}

async fn unknown_client(api: &Api, report: &mut Report) {
    let mut trials = Trials::of("client.unknown");
    let about = [("token", NO_TOKEN)];
    let bare = api.request(Method::POST, "/introspect").form(&about);
    trials.expect_that("no client", &api.send(bare).await, is_unknown);
    for secret in [NO_CLIENT, ""] {
        let stranger = Credentials::new(NO_CLIENT, secret.to_owned());
        let reply = api
            .send(api.about(&stranger, "/introspect", NO_TOKEN))
            .await;
        trials.expect_that("an unknown client", &reply, is_unknown);
    }
    let posted = api.request(Method::POST, "/introspect").form(&[
        ("token", NO_TOKEN),
        ("client_id", NO_CLIENT),
        ("client_secret", NO_CLIENT),
    ]);
    let reply = api.send(posted).await;
    trials.expect_that("an unknown client in the form", &reply, is_unknown);
    report.close(trials);
}

async fn clients(client: &Credentials, api: &Api, report: &mut Report) {
    let mut trials = Trials::of("client.known");
    let reply = api.send(api.about(client, "/introspect", NO_TOKEN)).await;
    trials.expect_that("POST /introspect", &reply, |answer| {
        answer.status == 200 && answer.body["active"] == false
    });
    let reply = api.send(api.about(client, "/revoke", NO_TOKEN)).await;
    trials.expect("POST /revoke", &reply, 200, "");
    report.close(trials);

    let mut trials = Trials::of("client.wrong-secret");
    let secret = client.secret();
    let longer = format!("{secret}x");
    let shorter: String = secret.chars().skip(1).collect();
    for (what, wrong) in [
        ("another secret", NO_CLIENT),
        ("the client id as the secret", client.id.as_str()),
        ("no secret", ""),
        ("the secret and a character more", &longer),
        ("the secret without its first character", &shorter),
    ] {
        let wrong = Credentials::new(&client.id, wrong.to_owned());
        let reply = api.send(api.about(&wrong, "/introspect", NO_TOKEN)).await;
        trials.expect_that(what, &reply, is_unknown);
    }
    report.close(trials);

    let mut trials = Trials::of("client.two-methods");
    for (what, more) in [
        ("the secret twice", ("client_secret", secret)),
        ("a secret and an assertion", ("client_assertion", "a.b.c")),
    ] {
        let form = [("token", NO_TOKEN), ("client_id", &client.id), more];
        let reply = api.send(api.as_client(client, "/introspect", &form)).await;
        trials.expect(what, &reply, 400, "invalid_request");
    }
    report.close(trials);

    let mut trials = Trials::of("client.two-ids");
    let form = [("token", NO_TOKEN), ("client_id", NO_CLIENT)];
    let reply = api.send(api.as_client(client, "/introspect", &form)).await;
    trials.expect("another client_id", &reply, 401, "invalid_client");
    report.close(trials);

    let mut trials = Trials::of("client.scheme");
    let both = format!("{}:{}", form_encoded(&client.id), form_encoded(secret));
    let both = STANDARD.encode(both);
    for scheme in ["Bearer", "Digest", "Basic2"] {
        let request = api.request(Method::POST, "/introspect");
        let Some(value) = secret_value(format!("{scheme} {both}")) else {
            continue;
        };
        let request = request.header(header::AUTHORIZATION, value);
        let reply = api.send(request.form(&[("token", NO_TOKEN)])).await;
        trials.expect(scheme, &reply, 401, "invalid_client");
    }
    report.close(trials);
}
