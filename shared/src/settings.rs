//! The check of the settings of all functions, before one of them starts.
//!
//! The check calls the parsers that the functions start with, and no provider. [`check_stored`] alone reads a table.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};

use crate::{
    clients::ClientProviders,
    config::{
        self, AccessTokenTtl, Bucket, ConfigError, DynamoDb, Environment, Group, Issuer, Process,
        ProviderSecret, RateLimits, SecretStores, Server, SessionLifetimes, SignUps,
    },
    keys::KeySettings,
    provider::Providers,
    route_scopes::RouteScopes,
    stored::{self, SettingsStore, StoredError},
    text::hex,
};

pub(crate) type Parser = fn(&Environment) -> Result<(), ConfigError>;

/// The parsers of all functions.
pub(crate) const PARSERS: [Parser; 18] = [
    |env| Process::from_env(env).map(drop),
    |env| DynamoDb::from_env(env).map(drop),
    |env| Issuer::from_env(env).map(drop),
    |env| Server::from_env(env).map(drop),
    |env| config::audiences(env).map(drop),
    |env| config::is_live(env).map(drop),
    |env| RouteScopes::from_env(env).map(drop),
    |env| config::table_name(env).map(drop),
    |env| config::keys_table_name(env).map(drop),
    |env| unless_stored(Group::Clients, env),
    |env| unless_stored(Group::Providers, env),
    |env| SignUps::from_env(env).map(drop),
    |env| RateLimits::from_env(env).map(drop),
    |env| AccessTokenTtl::from_env(env).map(drop),
    |env| SessionLifetimes::from_env(env).map(drop),
    |env| KeySettings::from_env(env).map(drop),
    |env| Bucket::from_env(env).map(drop),
    |env| SecretStores::from_env(env).map(drop),
];

/// Parses the settings of `group`, unless they come from the keys table. [`check_stored`] reads those.
fn unless_stored(group: Group, env: &Environment) -> Result<(), ConfigError> {
    if group.is_stored(env)? {
        return Ok(());
    }
    parse_group(group, env)
}

fn parse_group(group: Group, env: &Environment) -> Result<(), ConfigError> {
    match group {
        Group::Clients => ClientProviders::from_env(env).map(drop),
        Group::Providers => Providers::check(env),
    }
}

/// A valid value of each setting, which takes the place of a wrong one, so that the parser goes on to the next setting.
const VALID: [(&str, &str); 33] = [
    ("ACCESS_TOKEN_TTL", "900"),
    ("ALLOWED_SIGNUPS", "everyone"),
    ("API_URL", "https://api.example.com"),
    ("AUDIENCES", "api"),
    (
        "AWS_ENDPOINT_URL_DYNAMODB",
        "https://dynamodb.us-east-1.amazonaws.com",
    ),
    ("AWS_ENDPOINT_URL_S3", "https://s3.us-east-1.amazonaws.com"),
    (
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "https://secretsmanager.us-east-1.amazonaws.com",
    ),
    (
        "AWS_ENDPOINT_URL_SSM",
        "https://ssm.us-east-1.amazonaws.com",
    ),
    ("AWS_LAMBDA_LOG_LEVEL", "info"),
    ("AWS_REGION", "us-east-1"),
    ("CLIENT_RATE_LIMIT", "0"),
    (
        "CLIENTS",
        r#"[{"client_id":"a","secret_sha256":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]"#,
    ),
    ("GITHUB_API_URL", "https://api.github.com"),
    ("GITHUB_CLIENT_ID", "a"),
    ("GITHUB_CLIENT_SECRET", "a"),
    ("ISSUER_URL", "https://api.example.com"),
    ("KEYS_TABLE_NAME", "cambio-keys"),
    ("LINK_BY_VERIFIED_EMAIL", "off"),
    ("LINK_EMAIL_PROVIDERS", "app:a"),
    ("LIVE", "false"),
    ("LOG_LEVEL", "info"),
    (
        "OIDC_PROVIDERS",
        r#"[{"name":"google","client_ids":["a"]}]"#,
    ),
    ("OAUTH_PROVIDERS", "[]"),
    ("PROVIDERS", ""),
    ("REFRESH_REUSE_WINDOW", ""),
    ("ROUTE_SCOPES", ""),
    ("SESSION_ABSOLUTE_TTL", "60"),
    ("SESSION_IDLE_TTL", "60"),
    ("SIGNING_KEY_TTL", "172800"),
    ("SIGNING_KEY_TYPE", "P-256"),
    ("TABLE_NAME", "cambio"),
    ("TOKEN_AUDIENCE", "api"),
    ("USER_RATE_LIMIT", "0"),
];

/// The required variables that Lambda sets, so that no file of settings has them.
const BY_LAMBDA: [(&str, &str); 3] = [
    ("AWS_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "a"),
    ("AWS_SECRET_ACCESS_KEY", "a"),
];

const LINK_EMAIL_PROVIDERS: &str = "LINK_EMAIL_PROVIDERS";

const LISTED: &str =
    "ARNs of SecretArns alone in place of secrets: the functions may read no other secret";

/// Returns the problem of each setting in `env` that is missing or wrong, in the words with which a function would
/// stop at its start. Two settings that contradict each other are one problem.
pub fn problems(env: &Environment) -> Vec<ConfigError> {
    let mut env = env.clone();
    for (name, value) in BY_LAMBDA {
        if env.optional(name).is_none() {
            env = env.with(name, value);
        }
    }
    let mut found: Vec<ConfigError> = Vec::new();
    for parser in PARSERS {
        while let Err(error) = parser(&env) {
            let name = error.name();
            if found.iter().any(|other| other.name() == name) {
                break;
            }
            found.push(error);
            let Some((_, valid)) = VALID.iter().find(|(known, _)| *known == name) else {
                break;
            };
            if name == "GITHUB_CLIENT_ID" && env.optional(name).is_none() {
                // No provider is configured, so the secret is not missing.
                env = env.with("GITHUB_CLIENT_SECRET", "a");
            }
            env = env.with(name, valid);
            let is_of_providers =
                name == "GITHUB_API_URL" || Group::Providers.settings().contains(&name);
            if is_of_providers && env.optional(LINK_EMAIL_PROVIDERS).is_some() {
                // A name of a provider that cannot be read is not unknown.
                env = env.with(LINK_EMAIL_PROVIDERS, "app:a");
            }
        }
    }
    found
}

/// Reads the settings that `env` says are in the keys table, and parses them as a function does at its start. The
/// functions may read the secrets of `readable`, a list of ARNs, and no others.
///
/// # Errors
/// The first item that cannot be read, is missing, or is not valid.
pub async fn check_stored(
    env: &Environment,
    store: &SettingsStore,
    readable: &[&str],
) -> Result<(), StoredError> {
    for group in [Group::Clients, Group::Providers] {
        if !matches!(group.is_stored(env), Ok(true)) {
            continue;
        }
        let parse = |env: &Environment| {
            parse_group(group, env)?;
            match group {
                Group::Clients => Ok(()),
                Group::Providers => check_secrets(env, readable),
            }
        };
        stored::check(group, store, env, parse).await?;
    }
    Ok(())
}

/// Checks that each ARN in place of a provider's secret is one of `readable`, which the functions may read.
///
/// # Errors
/// Names the setting with another ARN, or the one that cannot be parsed.
pub fn check_secrets(env: &Environment, readable: &[&str]) -> Result<(), ConfigError> {
    let check = |name, secret: &ProviderSecret| match secret {
        ProviderSecret::At(at) if !readable.contains(&&*at.arn) => {
            let problem = format!("the parameter SecretArns does not list {}", at.arn);
            Err(ConfigError::secret(name, problem, LISTED))
        }
        _ => Ok(()),
    };
    if let Some(github) = config::GitHub::from_env(env)? {
        check("GITHUB_CLIENT_SECRET", &github.client_secret)?;
    }
    let others = config::oauth_providers(env)?;
    let secrets = others
        .iter()
        .filter_map(|provider| provider.client_secret.as_ref());
    { secrets }.try_for_each(|secret| check("OAUTH_PROVIDERS", secret))
}

/// Returns a text that is another one for other settings, and does not reveal them: a SHA-256 in hexadecimal digits.
pub fn fingerprint(settings: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in settings {
        // With the lengths, so that no two lists of settings have the same text.
        text.push_str(&format!("{}:{name}{}:{value}", name.len(), value.len()));
    }
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: &str = r#"[{"client_id":"nextjs","secret_sha256":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]"#;

    /// The names of the settings with a problem, with `changed` in place of valid settings.
    fn names(changed: &[(&str, &str)]) -> Vec<&'static str> {
        let good = [
            ("ISSUER_URL", "https://auth.example.com"),
            ("TOKEN_AUDIENCE", "api"),
            ("TABLE_NAME", "users"),
            ("KEYS_TABLE_NAME", "keys"),
            ("CLIENTS", CLIENTS),
            ("GITHUB_CLIENT_ID", "a"),
            ("GITHUB_CLIENT_SECRET", "CANARY"),
        ];
        let env = Environment::of(good.iter().chain(changed).copied());
        let problems = problems(&env);
        for problem in &problems {
            assert!(!problem.to_string().contains("CANARY"), "{problem}");
        }
        problems.iter().map(ConfigError::name).collect()
    }

    #[test]
    fn t166_valid_settings_have_no_problem() {
        assert_eq!(names(&[]), [""; 0]);
        for (name, value) in VALID {
            assert_eq!(names(&[(name, value)]), [""; 0], "{name}");
        }
    }

    #[test]
    fn t166_each_wrong_setting_is_reported_not_only_the_first() {
        let wrong = [
            "LOG_LEVEL",
            "AWS_REGION",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "TOKEN_AUDIENCE",
            "ISSUER_URL",
            "API_URL",
            "AUDIENCES",
            "LIVE",
            "ROUTE_SCOPES",
            "TABLE_NAME",
            "KEYS_TABLE_NAME",
            "CLIENTS",
            "GITHUB_CLIENT_ID",
            "GITHUB_API_URL",
            "OIDC_PROVIDERS",
            "OAUTH_PROVIDERS",
            "ALLOWED_SIGNUPS",
            "LINK_BY_VERIFIED_EMAIL",
            "ACCESS_TOKEN_TTL",
            "SESSION_IDLE_TTL",
            "SESSION_ABSOLUTE_TTL",
            "REFRESH_REUSE_WINDOW",
            "SIGNING_KEY_TYPE",
            "SIGNING_KEY_TTL",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            "AWS_ENDPOINT_URL_SSM",
            "PROVIDERS",
            "CLIENT_RATE_LIMIT",
            "USER_RATE_LIMIT",
        ];
        let mut changed = wrong.map(|name| (name, "@ ")).to_vec();
        changed.push(("DOCUMENTS_BUCKET", "documents"));

        let mut reported = names(&changed);

        let mut wrong = wrong.to_vec();
        reported.sort_unstable();
        wrong.sort_unstable();
        assert_eq!(reported, wrong);
    }

    #[test]
    fn an_arn_takes_the_place_of_a_secret_and_leads_to_a_secret() {
        let arn = "arn:aws:ssm:eu-west-1:111122223333:parameter/cambio/github";
        let with = |secret: &str| {
            let provider =
                format!(r#"[{{"name":"facebook","client_id":"1","client_secret":"{secret}"}}]"#);
            names(&[
                ("GITHUB_CLIENT_SECRET", secret),
                ("OAUTH_PROVIDERS", &provider),
            ])
        };
        assert_eq!(with(arn), [""; 0]);
        let wrong = ["GITHUB_CLIENT_SECRET", "OAUTH_PROVIDERS"];
        assert_eq!(with("arn:aws:iam::111122223333:role/CANARY"), wrong);
    }

    #[test]
    fn t166_settings_in_the_keys_table_are_not_missing() {
        let stored = [
            ("CLIENTS", "table"),
            ("PROVIDERS", "table"),
            ("GITHUB_CLIENT_ID", ""),
            ("GITHUB_CLIENT_SECRET", ""),
        ];
        assert_eq!(names(&stored), [""; 0]);
        assert_eq!(names(&stored[..2]), ["PROVIDERS"]);
    }

    #[test]
    fn t166_a_setting_that_depends_on_a_wrong_one_is_not_reported() {
        let linked = [
            ("LINK_BY_VERIFIED_EMAIL", "link"),
            ("LINK_EMAIL_PROVIDERS", "google"),
        ];
        let with = |providers: &'static str| {
            names(&[linked.as_slice(), &[("OIDC_PROVIDERS", providers)]].concat())
        };
        assert_eq!(with(r#"[{"name":"google"}]"#), ["OIDC_PROVIDERS"]);
        assert_eq!(with(""), ["LINK_EMAIL_PROVIDERS"]);
        let none = [("GITHUB_CLIENT_ID", ""), ("GITHUB_CLIENT_SECRET", "")];
        assert_eq!(names(&none), ["GITHUB_CLIENT_ID"]);
        assert_eq!(names(&none[1..]), ["GITHUB_CLIENT_SECRET"]);
        assert_eq!(
            names(&[("GITHUB_CLIENT_ID", "/"), ("GITHUB_CLIENT_SECRET", "")]),
            ["GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"]
        );
    }
}
