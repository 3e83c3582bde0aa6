//! Every setting that this crate parses.

use std::str;

use serde_json::json;

use super::{Target, tokens::jwk};
use crate::{
    config::{self, Environment},
    settings::{PARSERS, Parser},
};

pub(super) const SETTINGS: Target = Target {
    name: "settings",
    seeds,
    run: settings,
};

/// A text in each secret of the seeds. No error shows it.
const CANARY: &str = "CANARY";
/// The settings whose value no error shows.
const SECRET: [&str; 3] = ["CLIENTS", "GITHUB_CLIENT_SECRET", "OAUTH_PROVIDERS"];

/// Parsers whose results are checked.
const CHECKED: [Parser; 2] = [
    |env| {
        let providers = config::oidc_providers(env)?;
        for provider in providers {
            assert!(provider.issuer.starts_with("https://") || env.is_local());
            assert!(!provider.client_ids.is_empty() && !provider.algorithms.is_empty());
        }
        Ok(())
    },
    |env| {
        let lifetimes = config::SessionLifetimes::from_env(env)?;
        assert!(lifetimes.idle.as_secs() >= 60 && lifetimes.absolute.as_secs() >= 60);
        Ok(())
    },
];

/// An input is a list of settings, `NAME=value` in each line.
fn seeds() -> Vec<String> {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let usual = "AWS_REGION=eu-central-1\nAWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nTABLE_NAME=main\n\
                 KEYS_TABLE_NAME=keys\nISSUER_URL=https://api.example.com\nGITHUB_CLIENT_ID=app\n\
                 GITHUB_CLIENT_SECRET=CANARY";
    let keys = json!({ "keys": [jwk()] });
    let clients = json!([
        {
            "client_id": "nextjs", "secret_sha256": [hash], "scopes": ["orders:read"], "audiences": ["api"],
            "providers": ["github", "app:nextjs"], "grants": ["token-exchange"], "vouches": keys,
        },
        { "client_id": "lambda", "jwks": keys, "introspects": true },
    ]);
    let described = json!([{
        "name": "described", "client_id": "1", "client_secret": "CANARY",
        "check": { "url": "https://a.example/info", "auth": "bearer", "client_id": "/app/id", "active": "/ok" },
        "userinfo": {
            "url": "https://a.example/me", "id": "/id", "name": "/name", "email": "/email",
            "email_verified": "/verified",
        },
    }, { "name": "gitlab", "client_id": "2" }]);
    let oidc = json!([
        { "name": "google", "client_ids": ["a"] },
        {
            "name": "acme", "issuer": "https://login.example.com", "client_ids": ["a"], "algorithms": ["ES256"],
            "max_age": 300, "jwks_hosts": ["keys.example.com"], "trusted_azp": ["b"],
        },
        { "name": "azure-ad", "client_ids": ["a"], "tenants": ["8eaef023-2b34-4da1-9baa-8bc8c9d6a490"] },
    ]);
    let sign_ups = json!({ "email_domains": ["example.com"], "github_organizations": ["acme"] });
    let mut seeds = vec![
        usual.to_owned(),
        format!(
            "{usual}\nCLIENTS={clients}\nOAUTH_PROVIDERS={described}\nOIDC_PROVIDERS={oidc}\nACCESS_TOKEN_TTL=900\n\
             ALLOWED_SIGNUPS={sign_ups}\nLINK_BY_VERIFIED_EMAIL=link\nLINK_EMAIL_PROVIDERS=github,google\n\
             SESSION_IDLE_TTL=60\nSESSION_ABSOLUTE_TTL=3600\nREFRESH_REUSE_WINDOW=0\nTOKEN_AUDIENCE=api\n\
             AUDIENCES=a,b\nAPI_URL=https://auth.example.com/prod\nLOG_LEVEL=info"
        ),
        String::new(),
    ];
    for line in [
        r#"CLIENTS=[{"client_id":"a","secret":"CANARY"}]"#,
        r#"CLIENTS=[{"client_id":"a","secret_sha256":["CANARY"]}]"#,
        r#"OAUTH_PROVIDERS=[{"name":"x","client_secret":"CANARY","api_url":"http://x"}]"#,
        r#"OIDC_PROVIDERS=[{"name":"x","client_ids":["a"],"algorithms":["HS256"]}]"#,
        "ISSUER_URL=http://api.example.com",
        "ISSUER_URL=https://user:CANARY@api.example.com",
        "ISSUER_URL='https://api.example.com'",
        "ISSUER_URL=https://api.example.com/",
        "ACCESS_TOKEN_TTL=59",
        "ACCESS_TOKEN_TTL=3601",
        "CLIENT_RATE_LIMIT=12000\nUSER_RATE_LIMIT=0",
        "CLIENT_RATE_LIMIT=200/s",
        "SESSION_IDLE_TTL=99999999999999999999",
        "GITHUB_CLIENT_ID=../x",
        "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:9002",
        "LINK_BY_VERIFIED_EMAIL=on",
        "ALLOWED_SIGNUPS=nobody",
        "LOG_LEVEL=loud",
    ] {
        seeds.push(format!("{usual}\n{line}"));
    }
    seeds
}

/// An error is one line, names a setting, and shows no secret.
fn settings(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else {
        return false;
    };
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let env = Environment::of(lines.iter().copied());
    let mut errors = 0;
    for parse in PARSERS.into_iter().chain(CHECKED) {
        let Err(error) = parse(&env) else { continue };
        errors += 1;
        let error = error.to_string();
        assert!(!error.contains(['\n', '\r']), "more than a line: {error}");
        let name = error.split(' ').next().unwrap_or_default();
        let is_name = |byte: u8| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte);
        assert!(
            !name.is_empty() && name.bytes().all(is_name),
            "no name: {error}"
        );
        if SECRET.contains(&name) {
            assert!(!error.contains(CANARY), "a secret shows: {error}");
        }
    }
    errors == 0
}
