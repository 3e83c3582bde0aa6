//! The public documents.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{ISSUER, Service};

const METADATA: [&str; 2] = [
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
];
const KEYS: &str = "/.well-known/jwks.json";

#[tokio::test]
async fn the_metadata_says_what_there_is_and_nothing_empty() {
    let service = Service::start().await;
    for path in METADATA {
        let answer = service.send(service.request("GET", path)).await;

        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.text("/issuer"), ISSUER);
        assert_eq!(answer.text("/token_endpoint"), format!("{ISSUER}/token"));
        assert_eq!(
            answer.text("/revocation_endpoint"),
            format!("{ISSUER}/revoke")
        );
        assert_eq!(answer.text("/jwks_uri"), format!("{ISSUER}{KEYS}"));
        assert_eq!(
            answer.body["grant_types_supported"],
            json!([
                "urn:ietf:params:oauth:grant-type:token-exchange",
                "refresh_token"
            ])
        );
        // Required, and a type that returns neither a code nor a token.
        assert_eq!(answer.body["response_types_supported"], json!(["none"]));
        assert_eq!(answer.body.get("authorization_endpoint"), None);
        for (name, value) in answer.body.as_object().unwrap() {
            assert_ne!(*value, json!([]), "{name}");
        }
    }
}

#[tokio::test]
async fn the_metadata_says_how_clients_prove_themselves_and_what_we_sign_with() {
    for (key_type, algorithm) in [("RSA-3072", "RS256"), ("Ed25519", "EdDSA")] {
        let service = Service::start_with(&[("SIGNING_KEY_TYPE", key_type)]).await;
        for path in METADATA {
            let answer = service.send(service.request("GET", path)).await;
            for endpoint in ["token", "revocation", "introspection"] {
                let methods = &answer.body[format!("{endpoint}_endpoint_auth_methods_supported")];
                assert_eq!(
                    *methods,
                    json!([
                        "client_secret_basic",
                        "client_secret_post",
                        "private_key_jwt"
                    ])
                );
                let algorithms =
                    &answer.body[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
                assert_eq!(*algorithms, json!(["RS256", "PS256", "ES256", "EdDSA"]));
            }
            let signed = &answer.body["id_token_signing_alg_values_supported"];
            let is_openid = path == METADATA[0];
            assert_eq!(
                *signed,
                if is_openid {
                    json!([algorithm])
                } else {
                    Value::Null
                }
            );
        }
    }
}

#[tokio::test]
async fn the_endpoints_may_be_elsewhere_than_the_documents() {
    let api = "https://api.example.com";
    let service = Service::start_with(&[("API_URL", api)]).await;
    let answer = service.send(service.request("GET", METADATA[1])).await;
    assert_eq!(answer.text("/issuer"), ISSUER);
    assert_eq!(answer.text("/jwks_uri"), format!("{ISSUER}{KEYS}"));
    for (name, path) in [
        ("token", "token"),
        ("revocation", "revoke"),
        ("introspection", "introspect"),
    ] {
        assert_eq!(
            answer.text(&format!("/{name}_endpoint")),
            format!("{api}/{path}")
        );
    }
}

#[tokio::test]
async fn openapi_describes_every_route_and_no_other() {
    let service = Service::start_with(&[("API_URL", "https://auth.example.org")]).await;

    let answer = service.send(service.request("GET", "/openapi.json")).await;

    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.text("/servers/0/url"), "https://auth.example.org");
    assert_eq!(answer.text("/info/version"), env!("CARGO_PKG_VERSION"));
    let mut described = BTreeSet::new();
    for (path, operations) in answer.body["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    // The paths of `cargo lambda watch`, which tests/template holds against those of API Gateway, with the methods that
    // their functions take.
    let cargo = include_str!("../../Cargo.toml");
    let mut routes = BTreeSet::new();
    for line in cargo.lines().filter(|line| line.starts_with("\"/")) {
        let path = line.split('"').nth(1).unwrap();
        let refused = service.send(service.request("BREW", &path.replace(['{', '}'], "")));
        let refused = refused.await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let methods = refused.header("allow").split(',');
        // Like GET, without a body.
        let methods = methods.filter(|method| *method != "HEAD");
        routes.extend(methods.map(|method| format!("{method} {path}")));
    }
    assert!(routes.len() > 10, "{routes:?}");
    assert_eq!(described, routes);
}

#[tokio::test]
async fn the_keys_are_public_and_only_public() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;

    let answer = service.send(service.request("GET", KEYS)).await;

    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    let keys = answer.body["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "one that signs, and the next one");
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
        assert_eq!(key["use"], "sig");
        assert_eq!(key["alg"], "ES256");
    }
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(keys[0]["kid"], header.kid.unwrap());
}

#[tokio::test]
async fn t78_the_documents_may_be_kept_and_read_by_any_page() {
    let service = Service::start().await;
    for path in [METADATA[0], METADATA[1], KEYS] {
        let first = service.send(service.request("GET", path)).await;
        assert_eq!(first.header("cache-control"), "public, max-age=300");
        assert_eq!(first.header("access-control-allow-origin"), "*");
        let etag = first.header("etag");

        let head = service.send(service.request("HEAD", path)).await;
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.header("etag"), etag);

        for (tag, status) in [
            (etag.to_owned(), StatusCode::NOT_MODIFIED),
            (format!("W/{etag}"), StatusCode::NOT_MODIFIED),
            (format!("\"other\", {etag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let request = service.request("GET", path).header("if-none-match", &tag);
            let answer = service.send(request).await;
            assert_eq!(answer.status, status, "{tag}");
            assert_eq!(answer.header("etag"), etag);
            assert_eq!(
                answer.body == Value::Null,
                status == StatusCode::NOT_MODIFIED
            );
        }
    }
}

#[tokio::test]
async fn an_outage_is_not_kept_by_anybody() {
    let service = Service::start().await;
    service.dynamodb.down().await;
    service.time.pass(25 * 60 * 60);

    let answer = service.send(service.request("GET", KEYS)).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("retry-after"), "1");
    let metadata = service.send(service.request("GET", METADATA[1])).await;
    assert_eq!(metadata.status, StatusCode::OK, "it names no keys");
}
