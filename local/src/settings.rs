//! The settings that the functions get on this machine: the same variables as in `template.yaml`.

use aws_lc_rs::digest::{SHA256, digest};
use shared::config::Environment;

/// The client that the Next.js app is, on this machine.
pub const CLIENT_ID: &str = "nextjs";
/// Its secret. It opens nothing but a server on this machine's loopback address.
pub const CLIENT_SECRET: &str = "local-client-secret-not-for-production";
/// The OAuth app that the stand-in GitHub knows.
pub const GITHUB_CLIENT_ID: &str = "cambio-local";
/// Its secret at the stand-in.
pub const GITHUB_CLIENT_SECRET: &str = "cambio-local-secret";

/// Settings that a developer may set in the shell, and that go on to the functions as they are.
const PASSED_ON: [&str; 13] = [
    "ACCESS_TOKEN_TTL",
    "ALLOWED_SIGNUPS",
    "CLIENTS",
    "LINK_BY_VERIFIED_EMAIL",
    "LINK_EMAIL_PROVIDERS",
    "LOG_LEVEL",
    "OAUTH_PROVIDERS",
    "OIDC_PROVIDERS",
    "REFRESH_REUSE_WINDOW",
    "SESSION_ABSOLUTE_TTL",
    "SESSION_IDLE_TTL",
    "SIGNING_KEY_TTL",
    "SIGNING_KEY_TYPE",
];

/// The DynamoDB to talk to.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    /// Where it listens.
    pub url: String,
    /// The access key that it wants to see.
    pub access_key_id: String,
}

/// The GitHub to talk to.
#[derive(Clone, Debug)]
pub enum GitHub {
    /// The stand-in, at this URL.
    StandIn(String),
    /// Another, with the `GITHUB_…` variables of the shell.
    Real,
}

/// The variables of the functions, by name.
pub fn variables(
    shell: &Environment,
    issuer_url: &str,
    dynamodb: &DynamoDb,
    github: &GitHub,
) -> Vec<(&'static str, String)> {
    let hash = digest(&SHA256, CLIENT_SECRET.as_bytes());
    let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let mut variables = vec![
        ("ISSUER_URL", issuer_url.to_owned()),
        ("TOKEN_AUDIENCE", issuer_url.to_owned()),
        ("TABLE_NAME", crate::dynamodb::TABLE.to_owned()),
        ("KEYS_TABLE_NAME", crate::dynamodb::KEYS_TABLE.to_owned()),
        (
            "CLIENTS",
            format!(r#"[{{"client_id":"{CLIENT_ID}","secret_sha256":["{hash}"]}}]"#),
        ),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url.clone()),
        ("AWS_REGION", "us-east-1".to_owned()),
        // The embedded DynamoDB knows its callers by the first, and takes any signature.
        ("AWS_ACCESS_KEY_ID", dynamodb.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
    ];
    match github {
        GitHub::StandIn(url) => variables.extend([
            ("GITHUB_CLIENT_ID", GITHUB_CLIENT_ID.to_owned()),
            ("GITHUB_CLIENT_SECRET", GITHUB_CLIENT_SECRET.to_owned()),
            ("GITHUB_API_URL", url.clone()),
        ]),
        GitHub::Real => {
            let names = ["GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "GITHUB_API_URL"];
            let set = names.map(|name| shell.optional(name).map(|value| (name, value)));
            variables.extend(set.into_iter().flatten());
        }
    }
    for name in PASSED_ON {
        if let Some(value) = shell.optional(name) {
            variables.retain(|(other, _)| *other != name);
            variables.push((name, value));
        }
    }
    variables
}
