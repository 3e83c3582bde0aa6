//! The settings of the functions on this machine: the variables of `template.yaml`.

use aws_lc_rs::digest::{SHA256, digest};
use shared::config::Environment;

use crate::openid;

/// The client id of the Next.js app on this machine.
pub const CLIENT_ID: &str = "nextjs";
/// The client's secret. It is of use only for a server on the loopback address of this machine.
pub const CLIENT_SECRET: &str = "local-client-secret-not-for-production";
/// The client id of the OAuth app that is registered at the stand-in GitHub and at the stand-in OpenID provider.
pub const GITHUB_CLIENT_ID: &str = "cambio-local";
/// The secret of that app.
pub const GITHUB_CLIENT_SECRET: &str = "cambio-local-secret";

/// The usual port of the API.
pub const PORT: u16 = 9000;
/// The usual port of the stand-in providers.
pub const GITHUB_PORT: u16 = 9001;

/// Settings that the functions get unchanged from the shell.
pub const PASSED_ON: [&str; 15] = [
    "ACCESS_TOKEN_TTL",
    "ALLOWED_SIGNUPS",
    "CLIENT_RATE_LIMIT",
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
    "USER_RATE_LIMIT",
];

/// The DynamoDB of the functions.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    /// The URL at which it listens.
    pub url: String,
    /// The id of the access key that it accepts.
    pub access_key_id: String,
}

/// The GitHub of the functions.
#[derive(Clone, Debug)]
pub enum GitHub {
    /// The stand-in at this URL.
    StandIn(String),
    /// The real GitHub, with the `GITHUB_…` variables of the shell.
    Real,
}

/// Returns the variables of the embedded DynamoDB.
pub fn aws_variables(dynamodb: &DynamoDb) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url.clone()),
        ("AWS_REGION", "us-east-1".to_owned()),
        // The embedded DynamoDB compares the id of the access key and accepts any signature.
        ("AWS_ACCESS_KEY_ID", dynamodb.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
    ]
}

/// Returns the issuer of the stand-in OpenID provider, which is at the URL of the stand-in GitHub.
pub fn openid_issuer(github: &str) -> String {
    format!("{github}{}", openid::PATH)
}

/// Returns the value of `CLIENTS` for clients with these ids and secrets.
pub(crate) fn clients(clients: &[(&str, &str)]) -> String {
    let client = |(id, secret): &(&str, &str)| {
        let hash = digest(&SHA256, secret.as_bytes());
        let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!(r#"{{"client_id":"{id}","secret_sha256":["{hash}"]}}"#)
    };
    let clients: Vec<String> = clients.iter().map(client).collect();
    format!("[{}]", clients.join(","))
}

/// Returns the environment variables of the functions as names and values.
pub fn variables(
    shell: &Environment,
    issuer_url: &str,
    dynamodb: &DynamoDb,
    github: &GitHub,
) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("ISSUER_URL", issuer_url.to_owned()),
        ("TOKEN_AUDIENCE", issuer_url.to_owned()),
        ("TABLE_NAME", crate::dynamodb::TABLE.to_owned()),
        ("KEYS_TABLE_NAME", crate::dynamodb::KEYS_TABLE.to_owned()),
        ("CLIENTS", clients(&[(CLIENT_ID, CLIENT_SECRET)])),
    ];
    variables.extend(aws_variables(dynamodb));
    match github {
        GitHub::StandIn(url) => variables.extend([
            (
                "OIDC_PROVIDERS",
                format!(
                    r#"[{{"name":"oidc","issuer":"{}","client_ids":["{GITHUB_CLIENT_ID}"]}}]"#,
                    openid_issuer(url)
                ),
            ),
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
