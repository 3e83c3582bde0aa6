//! The texts of start errors: each one names the setting and the place in it, says what to write, and shows no secret.
//!
//! A row is a mistake that an operator makes, and a part of the text that says how to correct it.

use authorizer::Authorizer;
use identities::IdentitiesOfMe;
use local::requests::RequestLog;
use local::server::{Options, Services};
use rotate_keys::RotateKeys;
use shared::{
    clock::Clock,
    config::{Environment, Process},
    settings,
};
use token_exchange::TokenExchange;

/// The SHA-256 of a secret.
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Valid settings of every function.
fn good() -> Vec<(&'static str, String)> {
    let clients = format!(r#"[{{"client_id":"nextjs","secret_sha256":["{HASH}"]}}]"#);
    [
        ("ISSUER_URL", "https://api.example.com"),
        ("TOKEN_AUDIENCE", "https://api.example.com"),
        ("TABLE_NAME", "cambio"),
        ("KEYS_TABLE_NAME", "cambio-keys"),
        ("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef"),
        ("GITHUB_CLIENT_SECRET", "CANARY"),
        ("CLIENTS", &clients),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "CANARY"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// Returns the environment with these values instead; an empty value is a missing setting.
fn with(changed: &[(&'static str, &str)]) -> Environment {
    let mut settings = good();
    settings.retain(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let changed = changed
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    Environment::of(settings.into_iter().chain(changed))
}

#[derive(Clone, Copy, Debug)]
enum Function {
    TokenExchange,
    Identities,
    Authorizer,
    RotateKeys,
    Log,
}
use Function::{Authorizer as Auth, Identities, Log, RotateKeys as Rotate, TokenExchange as Token};

/// Returns the text with which the function stops, through its own start.
async fn start(function: Function, env: &Environment) -> String {
    let clock = Clock::system();
    let error = match function {
        Token => TokenExchange::start(env, clock)
            .await
            .err()
            .map(|error| error.to_string()),
        Identities => IdentitiesOfMe::start(env, clock)
            .await
            .err()
            .map(|error| error.to_string()),
        Auth => Authorizer::start(env, clock)
            .await
            .err()
            .map(|error| error.to_string()),
        Rotate => RotateKeys::new(env, clock)
            .err()
            .map(|error| error.to_string()),
        Log => Process::from_env(env).err().map(|error| error.to_string()),
    };
    error.unwrap_or_default()
}

#[tokio::test]
async fn t126_a_start_error_names_the_setting_and_what_to_write_and_no_secret() {
    let client = |members: &str| format!(r#"[{{"client_id":"a",{members}}}]"#);
    let hashed = |members: &str| client(&format!(r#""secret_sha256":["{HASH}"],{members}"#));
    let twice = format!(
        r#"[{{"client_id":"a","secret_sha256":["{HASH}"]}},{{"client_id":"a","secret_sha256":["{HASH}"]}}]"#
    );
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"one","d":"CANARY"}"#;
    let rows: Vec<(Function, &'static str, String, &str)> = [
        // Missing, or not what the name promises.
        (Token, "ISSUER_URL", "", "is not set; expected the https URL of this API"),
        (Token, "TABLE_NAME", "", "is not set; expected the name of the main DynamoDB table"),
        (Token, "CLIENTS", "", "is not set; expected JSON like"),
        (Token, "GITHUB_CLIENT_ID", "", "because GITHUB_CLIENT_SECRET is set"),
        (Token, "GITHUB_CLIENT_SECRET", "", "because GITHUB_CLIENT_ID is set"),
        (Token, "AWS_REGION", "", "expected AWS Lambda to set it"),
        // URLs.
        (Token, "ISSUER_URL", "http://api.example.com", "write https instead of http"),
        (Token, "ISSUER_URL", "https://api.example.com/", "remove the slash at the end"),
        (Token, "ISSUER_URL", "api.example.com", "write https:// in front of the host name"),
        (Token, "ISSUER_URL", "https://user:CANARY@api.example.com", "remove the user name and the password"),
        (Token, "ISSUER_URL", "https://192.0.2.1", "write a host name instead of an IP address"),
        (Token, "ISSUER_URL", "https://localhost", "write a host name instead of an IP address or localhost"),
        (Token, "ISSUER_URL", "https://api.example.com:443", "write https://api.example.com;"),
        (Token, "ISSUER_URL", "https://API.example.com", "write https://api.example.com;"),
        (Token, "ISSUER_URL", "https://api.example.com?stage=prod", "remove the part that begins with ? or #"),
        (Token, "ISSUER_URL", "ftp://api.example.com", "write https in front of ://"),
        (Token, "ISSUER_URL", "https://api.example.com:port", "write a URL with a valid host name and port"),
        (Token, "ISSUER_URL", " https://api.example.com", "remove the white space around it"),
        (Token, "API_URL", "\"https://api.example.com\"", "remove the quotation marks around it"),
        (Token, "GITHUB_API_URL", "https://api.github.com/", "remove the slash at the end"),
        (Token, "AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb.example.com", "write https instead of http"),
        // Names.
        (Token, "TOKEN_AUDIENCE", "\"https://api.example.com\"", "remove the quotation marks around it"),
        (Token, "TOKEN_AUDIENCE", "https://api.example.com\n", "remove the white space around it"),
        (Token, "TABLE_NAME", "'cambio'", "remove the quotation marks around it"),
        (Token, "KEYS_TABLE_NAME", "cambio keys", "expected the name of the DynamoDB table of signing keys"),
        (Token, "GITHUB_CLIENT_ID", "Iv1.0123 ", "remove the white space around it"),
        (Auth, "AUDIENCES", "https://a.example,,https://b.example", "remove the comma without a name"),
        (Auth, "AUDIENCES", "https://a.example, https://b.example", "such as a space"),
        // Numbers and words.
        (Token, "ACCESS_TOKEN_TTL", "15 minutes", "write digits only, without a sign and a unit; expected a number of seconds from 60 to 3600"),
        (Token, "ACCESS_TOKEN_TTL", "86400", "expected a number of seconds from 60 to 3600"),
        (Token, "SESSION_IDLE_TTL", "30d", "write digits only, without a sign and a unit"),
        (Token, "CLIENT_RATE_LIMIT", "200/s", "write digits only, without a sign and a unit; expected a number of requests within a minute"),
        (Token, "USER_RATE_LIMIT", "10000001", "expected a number of requests within a minute up to 10000000, or 0"),
        (Token, "REFRESH_REUSE_WINDOW", "-1", "expected a number of seconds from 0"),
        (Rotate, "SIGNING_KEY_TTL", "3600", "expected a number of seconds from 172800 (2 days)"),
        (Rotate, "SIGNING_KEY_TYPE", "rsa", "expected RSA-2048, RSA-3072, P-256 or Ed25519"),
        (Token, "LINK_BY_VERIFIED_EMAIL", "true", "expected off, ask or link"),
        (Auth, "LIVE", "yes", "expected true or false"),
        (Log, "LOG_LEVEL", "verbose", "expected error, warn, info, debug or trace"),
        // Lists of providers.
        (Token, "LINK_EMAIL_PROVIDERS", "x", r#"no provider has the name "x"; the configured names are github"#),
        (Token, "LINK_EMAIL_PROVIDERS", "github,", "remove the comma without a name"),
        // JSON.
        (Token, "CLIENTS", "nextjs:CANARY", "it is not JSON: expected ident at line 1 column 2"),
        (Token, "CLIENTS", "[]", "it contains no client: write one"),
        (Token, "CLIENTS", r#"{"client_id":"a"}"#, "it must be a list"),
        (Token, "CLIENTS", r#"[{"client_id":"a"}]"#, "[0] has neither secret_sha256 nor jwks: write one of them"),
        (Identities, "OIDC_PROVIDERS", "{}", "it must be a list"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"acme","issuer":"http://a.example","client_ids":["a"]}]"#, "acme: its issuer: write https instead of http"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"acme","issuer":"https://u:CANARY@a.example","client_ids":["a"]}]"#, "acme: its issuer: remove the user name and the password"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"okta","client_ids":["a"]}]"#, "okta: its issuer is missing; it looks like https://acme.okta.com"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"microsoft","client_ids":["a"]}]"#, r#"microsoft: tenants is missing: write the ids of the tenants whose users may sign in, like "tenants":["#),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"microsoft","client_ids":["a"],"tenants":["contoso.com"]}]"#, "microsoft: tenants must be the ids of tenants, which are UUIDs"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":["a"],"tenants":["t"]}]"#, "google: tenants is for an issuer with {tenantid} in it only: remove tenants"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_id":"a"}]"#, "[0].client_id is unknown: did you mean client_ids?"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":"a"}]"#, "[0].client_ids must be a list"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google"}]"#, "[0].client_ids is missing"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":[]}]"#, "google: client_ids must contain the client ids of your apps"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":["a"]},]"#, "it is not JSON: trailing comma at line 1 column 39"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"Google","client_ids":["a"]}]"#, "[0].name must be 1 to 32 lower-case letters, digits and '-'"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"github","client_ids":["a"]}]"#, "github: it issues no ID tokens: remove this entry, and set GITHUB_CLIENT_ID"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":["a"]},{"name":"google","client_ids":["b"]}]"#, "google is there twice, by name or issuer: write each provider once"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":["a"],"algorithms":["HS256"]}]"#, "google: algorithms must be one or more of RS256"),
        (Token, "OIDC_PROVIDERS", r#"[{"name":"google","client_ids":["a"],"max_age":"5m"}]"#, "[0].max_age must be a number"),
        (Token, "OAUTH_PROVIDERS", r#"[{"name":"discord"}]"#, "discord: client_id is missing"),
        (Token, "OAUTH_PROVIDERS", r#"[{"name":"discord","client_id":"a","secret":"CANARY"}]"#, "[0].secret is unknown: did you mean client_secret?"),
        (Token, "OAUTH_PROVIDERS", r#"[{"name":"acme","client_id":"a"}]"#, "acme: Cambio has no way to verify for which application its tokens are"),
        (Token, "OAUTH_PROVIDERS", r#"[{"name":"github","kind":"github","client_id":"a","client_secret":"CANARY","api_url":"https://ghe.example.com/api/v3"}]"#, "github: another provider has this name"),
        (Token, "ALLOWED_SIGNUPS", "all", "it is not JSON: expected value at line 1 column 1"),
        (Token, "ALLOWED_SIGNUPS", r#"{"email":["CANARY@example.com"]}"#, "email is unknown: did you mean emails?"),
        (Token, "ALLOWED_SIGNUPS", r#"{"emails":"CANARY@example.com"}"#, "emails must be a list"),
        (Token, "ALLOWED_SIGNUPS", "{}", "every list is empty: fill one, or write nobody"),
        (Token, "ALLOWED_SIGNUPS", r#"{"identities":["583231"]}"#, "write it like github:583231"),
        (Auth, "ROUTE_SCOPES", r#"{"get /orders":"orders:read"}"#, r#""get /orders" is no route key: write a method in capitals, a space and a path"#),
        (Auth, "ROUTE_SCOPES", r#"{"GET /orders":"a  b"}"#, r#"write scopes with one space between them at "GET /orders""#),
        (Auth, "ROUTE_SCOPES", r#"{"GET /orders":["a"]}"#, "must be a text"),
        (Auth, "ROUTE_SCOPES", "{}", "name a route, or leave the setting empty"),
    ]
    .map(|(function, name, value, text)| (function, name, value.to_owned(), text))
    .into_iter()
    .chain([
        (Token, "CLIENTS", client(&format!(r#""secret_sha":["{HASH}"]"#)), "[0].secret_sha is unknown: did you mean secret_sha256?"),
        (Token, "CLIENTS", client(r#""secret":"CANARY""#), "[0].secret is unknown: did you mean secret_sha256?"),
        (Token, "CLIENTS", client(r#""secret_sha256":["CANARY"]"#), "[0].secret_sha256: write the SHA-256 of one or two secrets, 64 hex digits each"),
        (Token, "CLIENTS", client(&format!(r#""secret_sha256":"{HASH}""#)), "[0].secret_sha256 must be a list"),
        (Token, "CLIENTS", client(&format!(r#""secret_sha256":["{NOTHING}"]"#)), "nor the hash of an empty text"),
        (Token, "CLIENTS", client(&format!(r#""jwks":{{"keys":[{key}]}}"#)), "[0].jwks: write public keys only"),
        (Token, "CLIENTS", hashed(r#""scope":"orders:read""#), "[0].scope is unknown: did you mean scopes?"),
        (Token, "CLIENTS", hashed(r#""scopes":"orders:read""#), "[0].scopes must be a list"),
        (Token, "CLIENTS", hashed(r#""scopes":["a b"]"#), "write one scope in each entry, without spaces"),
        (Token, "CLIENTS", hashed(r#""grants":["refresh-token"]"#), "[0] has a name in grants that is neither token-exchange nor refresh_token"),
        (Token, "CLIENTS", hashed(r#""introspects":"yes""#), "[0].introspects must be true or false"),
        (Identities, "CLIENTS", twice, "[1].client_id is the one of another client: write each client once"),
    ])
    .collect();
    assert!(rows.len() >= 30);

    for (function, name, value, text) in rows {
        let env = with(&[(name, &value)]);
        let error = start(function, &env).await;
        // The check before a deployment says the same. It runs elsewhere, where Lambda sets no variable.
        if name != "AWS_REGION" {
            let problems = settings::problems(&env);
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [&*error], "{name}={value}");
        }
        assert!(
            error.starts_with(&format!("{name} ")),
            "{name}={value}: {error}"
        );
        assert!(error.contains(text), "{name}={value}: {error}");
        assert!(error.contains("; expected "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        for secret in ["CANARY", HASH, NOTHING] {
            assert!(!error.contains(secret), "{error}");
        }
    }
}

#[tokio::test]
async fn no_provider_at_all_is_an_error_that_names_all_three_settings() {
    let env = with(&[("GITHUB_CLIENT_ID", ""), ("GITHUB_CLIENT_SECRET", "")]);
    let error = start(Token, &env).await;
    assert_eq!(
        error,
        "GITHUB_CLIENT_ID is not set; expected the client id of your OAuth app at GitHub, or another provider in \
         OIDC_PROVIDERS or OAUTH_PROVIDERS"
    );
}

/// The local server has a GitHub of its own, which must not hide that half of the app's settings is missing.
#[tokio::test]
async fn a_github_secret_without_its_id_stops_the_local_server_too() {
    let shell = Environment::of([("GITHUB_CLIENT_SECRET", "CANARY")]);
    let options = Options {
        folder: None,
        dynamodb_port: 0,
        github_port: 0,
    };
    let mut services = Services::start(&options, &shell).await.unwrap();
    let requests = RequestLog::new(Clock::system());

    let error = services.start_api(0, &shell, requests).await.unwrap_err();

    assert!(
        error
            .to_string()
            .starts_with("GITHUB_CLIENT_ID is not set; expected "),
        "{error}"
    );
}
