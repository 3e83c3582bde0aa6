//! The checks of the public documents, the clock and TLS.

use std::collections::BTreeSet;

use reqwest::{Method, header};
use serde_json::Value;
use shared::{
    clock::{Timestamp, rfc3339},
    documents::Document,
    keys::KeySet,
};
use url::Url;

use super::{
    Doctor,
    api::{Answer, Api, Reply},
    report::{Outcome, Report, Trials},
};

const METADATA: [&str; 2] = [
    Document::OpenIdConfiguration.path(),
    Document::AuthorizationServer.path(),
];
const KEYS: &str = Document::Jwks.path();
/// The greatest difference of two clocks: the leeway with which an access token of the future is accepted.
const CLOCK_LEEWAY: u64 = 5;
/// The members of a private key (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The documents of the deployment.
pub(super) struct Documents {
    pub(super) issuer: String,
    /// The published keys.
    pub(super) keys: Vec<Value>,
}

pub(super) async fn examine(doctor: &Doctor, api: &Api, report: &mut Report) -> Documents {
    let expected = doctor.issuer();
    let get = |path: &'static str| api.request(Method::GET, path);
    let first = api.send(get(METADATA[0])).await;
    clock(&first, doctor.clock.now(), report);
    let second = api.send(get(METADATA[1])).await;
    tls(api, &doctor.target.url, &first, report).await;

    let mut trials = Trials::of("discovery.documents");
    for (path, reply) in METADATA.iter().zip([&first, &second]) {
        let what = format!("GET {path}");
        if !trials.expect(&what, reply, 200, "") {
            continue;
        }
        let Ok(answer) = reply else { continue };
        let issuer = answer.text_at("/issuer");
        trials.require(
            &format!("{what}: issuer is \"{issuer}\", expected \"{expected}\""),
            issuer == expected,
        );
        for member in [
            "token_endpoint",
            "revocation_endpoint",
            "introspection_endpoint",
            "jwks_uri",
        ] {
            let url = Url::parse(answer.text_at(&format!("/{member}")));
            let is_sound = |url: Url| url.scheme() == "https" || api.is_local();
            trials.require(
                &format!("{what}: {member} is missing, or is no https URL"),
                url.is_ok_and(is_sound),
            );
        }
    }
    if let (Ok(first), Ok(second)) = (&first, &second) {
        let same = |name: &str| first.body.get(name) == second.body.get(name);
        trials.require(
            "the two documents differ in issuer, token_endpoint or jwks_uri",
            ["issuer", "token_endpoint", "jwks_uri"]
                .into_iter()
                .all(same),
        );
    }
    trials.found(format!("issuer {expected}"));
    report.close(trials);

    forwarded_host(api, &first, report).await;
    let keys = key_set(&api.send(get(KEYS)).await, report);
    Documents {
        issuer: expected,
        keys,
    }
}

async fn tls(api: &Api, url: &Url, first: &Reply, report: &mut Report) {
    if api.is_local() {
        return;
    }
    report.set(
        "tls.https",
        match first {
            _ if !api.is_https() => Outcome::Failed("the URL begins with http://".to_owned()),
            Ok(_) => Outcome::Passed("a valid certificate for the host name".to_owned()),
            Err(error) => Outcome::Failed(error.clone()),
        },
    );
    let mut plain = url.clone();
    if plain.set_scheme("http").is_err() {
        return;
    }
    plain.set_path(&format!(
        "{}{}",
        url.path().trim_end_matches('/'),
        METADATA[0]
    ));
    let answer = api.send_elsewhere(api.request_to(plain)).await;
    let is_served = |answer: &Answer| answer.status < 300 && !answer.text_at("/issuer").is_empty();
    report.set(
        "tls.plain-http",
        match answer {
            Ok(answer) if is_served(&answer) => {
                Outcome::Failed(format!("{} with the document", answer.status))
            }
            Ok(answer) => Outcome::Passed(format!("{} without the document", answer.status)),
            Err(_) => Outcome::Passed("no connection".to_owned()),
        },
    );
}

fn clock(first: &Reply, now: Timestamp, report: &mut Report) {
    let date = first.as_ref().ok().and_then(|answer| {
        let date = httpdate::parse_http_date(answer.header("date")).ok()?;
        date.duration_since(std::time::UNIX_EPOCH).ok()
    });
    report.set(
        "clock.skew",
        match date.map(|date| date.as_secs()) {
            None => Outcome::Failed("no Date header".to_owned()),
            Some(date) if date.abs_diff(now) <= CLOCK_LEEWAY => {
                Outcome::Passed(format!("{} seconds apart", date.abs_diff(now)))
            }
            Some(date) => Outcome::Failed(format!(
                "the server's clock is at {}, this machine's at {}",
                rfc3339(date),
                rfc3339(now)
            )),
        },
    );
}

/// Sends headers that must not change the URLs which other clients use.
async fn forwarded_host(api: &Api, first: &Reply, report: &mut Report) {
    let mut trials = Trials::of("discovery.forwarded-host");
    let Ok(first) = first else { return };
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-original-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=http"),
    ] {
        let request = api.request(Method::GET, METADATA[0]);
        let reply = api.send(request.header(name, value)).await;
        trials.expect_that(name, &reply, |answer| {
            answer.status >= 400 || answer.text == first.text
        });
    }
    report.close(trials);
}

fn key_set(reply: &Reply, report: &mut Report) -> Vec<Value> {
    let mut trials = Trials::of("keys.set");
    let mut keys = Vec::new();
    if trials.expect(&format!("GET {KEYS}"), reply, 200, "")
        && let Ok(answer) = reply
    {
        keys = answer.body["keys"].as_array().cloned().unwrap_or_default();
    }
    let mut kids = BTreeSet::new();
    for key in &keys {
        let text = |name: &str| key[name].as_str().unwrap_or_default();
        let kid = text("kid");
        trials.require("a key has no kid", !kid.is_empty());
        trials.require(&format!("two keys have the kid {kid}"), kids.insert(kid));
        trials.require(
            &format!("the key {kid} has a private member"),
            PRIVATE.iter().all(|name| key.get(name).is_none()),
        );
        let is_known = matches!(text("alg"), "RS256" | "ES256" | "EdDSA");
        trials.require(&format!("the key {kid} has no known algorithm"), is_known);
        trials.require(
            &format!("the key {kid} is not for signatures"),
            matches!(text("use"), "" | "sig"),
        );
    }
    trials.require(
        &format!("{} keys, so no next key waits for its turn", keys.len()),
        keys.len() >= 2,
    );
    let algorithm = keys
        .first()
        .map_or("", |key| key["alg"].as_str().unwrap_or(""));
    trials.found(format!("{} keys, {algorithm}", keys.len()));
    report.close(trials);
    keys
}

/// Compares the key set of the table with the published keys.
pub(super) fn key_ages(
    set: Option<&KeySet>,
    published: &[Value],
    now: Timestamp,
    report: &mut Report,
) {
    let mut trials = Trials::of("keys.age");
    let current = set.and_then(|set| set.current(now));
    let next = set.and_then(|set| set.next(now));
    trials.require("no key signs", current.is_some());
    trials.require(
        "no next key waits, so rotate-keys does not run",
        next.is_some(),
    );
    if let Some(set) = set {
        let of_table: BTreeSet<&str> = set.published(now).map(|key| &*key.kid).collect();
        let of_document = published.iter().filter_map(|key| key["kid"].as_str());
        trials.require(
            "the published keys are not those of the table",
            of_document.collect::<BTreeSet<_>>() == of_table,
        );
    }
    if let (Some(current), Some(next)) = (current, next) {
        let days = now.saturating_sub(current.sign_from) / (24 * 60 * 60);
        let turn = if next.has_turn() {
            rfc3339(next.sign_from)
        } else {
            "its files are written".to_owned()
        };
        trials.found(format!(
            "the key has signed for {days} days; the next one waits until {turn}"
        ));
    }
    report.close(trials);
}

/// The headers by which some servers name a user, for a request without a token.
pub(super) const IMPOSTORS: [(header::HeaderName, &str); 4] = [
    (header::HeaderName::from_static("x-user-id"), "1"),
    (header::HeaderName::from_static("x-forwarded-user"), "admin"),
    (
        header::HeaderName::from_static("x-amzn-oidc-identity"),
        "admin",
    ),
    (header::HeaderName::from_static("x-original-url"), KEYS),
];
