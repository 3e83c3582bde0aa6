//! The form of an OAuth request with the client that sends it, and the body of `PATCH /me`.

#![expect(
    clippy::expect_used,
    reason = "a target without its clients proves nothing"
)]

use std::sync::OnceLock;

use axum::extract::FromRequest;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request, header};
use serde_json::{Map, Value, json};

use super::{
    ISSUER, NOW, Target, block_on, clock,
    tokens::{header as jose_header, jwk, sign},
};
use crate::{
    clients::{Assertions, Clients},
    config::{self, Environment},
    dynamodb,
    http::{Form, MergePatch},
    ids::UserId,
    users::{Metadata, Patch, User},
};

pub(super) const CLIENT: Target = Target {
    name: "client",
    seeds: client_seeds,
    run: client,
};

pub(super) const MERGE_PATCH: Target = Target {
    name: "merge-patch",
    seeds: patch_seeds,
    run: merge_patch,
};

/// The SHA-256 of `test`, the secret of the client.
const SECRET_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/// The SHA-256 of `test2`.
const OTHER_SHA256: &str = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An input is the value of the `Authorization` header (an empty one is none), a line break, and a form.
fn client_seeds() -> Vec<String> {
    let basic = |credentials: &str| format!("Basic {}\n", STANDARD.encode(credentials));
    let grant = "grant_type=refresh_token&refresh_token=cbr_a&scope=orders%3Aread";
    // Its audience is another server, so it is never used up.
    let claims = json!({
        "iss": "lambda", "sub": "lambda", "aud": "https://other.example", "iat": NOW, "exp": NOW + 60, "jti": "a",
    });
    let assertion = sign(&jose_header("JWT").to_string(), &claims.to_string());
    let signed = format!("\nclient_assertion_type={ASSERTION_TYPE}&client_assertion={assertion}");
    vec![
        format!("{}{grant}", basic("nextjs:test")),
        format!("{}{grant}&client_id=nextjs", basic("next%6As:t%65st")),
        format!("\n{grant}&client_id=nextjs&client_secret=test"),
        format!("\n{grant}&client_id=nextjs&client_secret=test2"),
        format!("{}{grant}", basic("nextjs:")),
        format!("{}{grant}", basic("nextjs:te st")),
        format!("{}{grant}", basic("lambda:test")),
        format!("{}client_secret=test", basic("nextjs:test")),
        format!("Bearer abc\n{grant}"),
        format!("\n{grant}&grant_type=refresh_token"),
        format!("\n{grant}&a=%00"),
        format!("{signed}&{grant}"),
        format!("{signed}&client_id=nextjs"),
        format!("\nclient_assertion_type=x&client_assertion={assertion}"),
        "\n".to_owned(),
        String::new(),
    ]
}

/// The clients of the target, and the same with other secrets.
fn registered() -> &'static [Clients; 2] {
    static CLIENTS: OnceLock<[Clients; 2]> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        [SECRET_SHA256, OTHER_SHA256].map(|secret| {
            let all = json!([
                { "client_id": "nextjs", "secret_sha256": [secret], "scopes": ["orders:read"] },
                { "client_id": "lambda", "jwks": { "keys": [jwk()] } },
            ]);
            let env = Environment::of([
                ("AWS_REGION", "local"),
                ("AWS_ACCESS_KEY_ID", "local"),
                ("AWS_SECRET_ACCESS_KEY", "local"),
                ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1"),
                ("TABLE_NAME", "main"),
                ("ISSUER_URL", ISSUER),
                ("CLIENTS", &*all.to_string()),
            ]);
            let config = config::DynamoDb::from_env(&env).expect("settings");
            let table = dynamodb::client(&config);
            let assertions = Assertions::from_env(&env, &table, &clock()).expect("settings");
            Clients::from_env(&env, assertions).expect("clients")
        })
    })
}

/// No credentials are those of a client and also those of a client with another secret; and none is a failure of the
/// server.
fn client(input: &[u8]) -> bool {
    let split = input.iter().position(|byte| *byte == b'\n');
    let (authorization, body) = input.split_at(split.unwrap_or(0));
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let Ok(value) = HeaderValue::from_bytes(authorization) else {
        return false;
    };
    let accepted = registered().each_ref().map(|clients| {
        let mut request = Request::post("/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if !authorization.is_empty() {
            request = request.header(header::AUTHORIZATION, &value);
        }
        let request = request.body(body.to_vec().into()).expect("a request");
        block_on(async {
            let mut form = Form::from_request(request, &()).await.ok()?;
            match clients.authenticate(&mut form).await {
                Ok(client) => Some(client.id().to_owned()),
                Err(error) => {
                    assert!(!error.may_be_repeated(), "{error}");
                    None
                }
            }
        })
    });
    match accepted {
        [None, None] => false,
        [Some(id), None] | [None, Some(id)] => {
            assert_eq!(id, "nextjs");
            true
        }
        [Some(_), Some(_)] => unreachable!("two secrets of one client"),
    }
}

fn patch_seeds() -> Vec<String> {
    [
        r#"{"name":"Ada Lovelace","picture":"https://example.com/ada.png","metadata":{"theme":"dark"}}"#,
        r#"{"name":null,"picture":null,"metadata":null}"#,
        r#"{"metadata":{"theme":null,"a":{"b":null,"c":[1,2.5,"x"]}}}"#,
        r#"{"metadata":{"kept":{"deep":{"deeper":1e300}}}}"#,
        r#"{"name":"  Zo\u0065\u0308 "}"#,
        r#"{"name":"\ud83d\udc69\u200d\ud83d\ude80"}"#,
        r#"{"name":""}"#,
        r#"{"name":"a\nb"}"#,
        r#"{"name":"\u202eadmin"}"#,
        r#"{"name":7}"#,
        r#"{"picture":"http://example.com/"}"#,
        r#"{"picture":"https://a:b@example.com/"}"#,
        r#"{"picture":"https://EXAMPLE.com/\u200b"}"#,
        r#"{"metadata":[]}"#,
        r#"{"email":"ada@example.com"}"#,
        r#"{"name":"a","name":"b"}"#,
        "[]",
        "null",
        "{",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn user() -> User {
    let id: UserId = "01a208bb-db28-776e-8b0c-7dfd69859e79"
        .parse()
        .expect("a user id");
    serde_json::from_value(json!({
        "id": id, "status": "active", "profile": { "name": "Ada" }, "identities": {}, "session_version": 0,
        "created_at": 0, "metadata": r#"{"theme":"light","kept":{"deep":{"a":1}}}"#,
    }))
    .expect("a user")
}

/// An accepted patch is within the limits, changes what it names and nothing else, and changes nothing if it is applied
/// again.
fn merge_patch(input: &[u8]) -> bool {
    let request = Request::patch("/me")
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(input.to_vec().into())
        .expect("a request");
    let read = block_on(MergePatch::<Patch>::from_request(request, &()));
    let Ok(MergePatch(patch)) = read else {
        return false;
    };
    let before = user();
    let Ok((edited, metadata)) = patch.apply(&before) else {
        return false;
    };
    if let Some(name) = edited.name.iter().flatten().next() {
        assert!((1..=256).contains(&name.chars().count()), "{name:?}");
        assert!(
            !name.contains(['\n', '\r', '\u{202e}', '\u{200b}']),
            "{name:?}"
        );
    }
    if let Some(picture) = edited.picture.iter().flatten().next() {
        assert!(picture.starts_with("https://") && picture.len() <= 2048);
        assert!(picture.is_ascii(), "{picture:?}");
    }
    assert_eq!(edited.name.is_some(), patch.name.is_some());
    assert_eq!(edited.picture.is_some(), patch.picture.is_some());
    assert!(Value::Object(metadata.0.clone()).to_string().len() <= 4096);
    assert_eq!(metadata, merged(&before.metadata, &patch));
    let after = User {
        edited: edited.clone(),
        metadata: metadata.clone(),
        ..before
    };
    assert_eq!(patch.apply(&after).ok(), Some((edited, metadata)));
    true
}

/// The metadata after the patch, as RFC 7396 §2 describes it.
fn merged(metadata: &Metadata, patch: &Patch) -> Metadata {
    match &patch.metadata {
        None => metadata.clone(),
        Some(None) => Metadata::default(),
        Some(Some(patch)) => {
            let mut merged = metadata.0.clone();
            merge(&mut merged, patch);
            Metadata(merged)
        }
    }
}

fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(patch) => {
                let inner = target.entry(name).or_insert(Value::Null);
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, patch);
                }
            }
            value => {
                target.insert(name.clone(), value.clone());
            }
        }
    }
}
