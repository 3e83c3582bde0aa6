//! `OIDC_PROVIDERS`: the OpenID providers whose ID tokens are accepted, as JSON.

use std::{ops::RangeInclusive, time::Duration};

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;

use super::{ConfigError, Environment, is_provider_name, too_many_providers};
use crate::json;

const NAME: &str = "OIDC_PROVIDERS";
const EXPECTED: &str = r#"JSON like [{"name":"google","client_ids":["<id>"]},{"name":"acme","issuer":"https://login.example.com","client_ids":["<id>"]}]"#;

/// The default of the largest accepted age of an ID token, in seconds. An app exchanges its ID token at once.
const DEFAULT_AGE: Duration = Duration::from_mins(5);
/// The accepted values of `max_age`. The table must remember a used ID token for longer than the largest.
const AGES: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(1);

/// An OpenID provider, and the accepted ID tokens of it.
#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// The name in identities: lower-case letters, digits and `-`.
    pub name: String,
    /// The exact `iss` of its tokens; with `{tenantid}` in it, one for each tenant.
    pub issuer: String,
    /// The tenants that may sign in, for an issuer with `{tenantid}`.
    pub tenants: Vec<String>,
    /// The client ids of your apps, one of which must be in `aud`.
    pub client_ids: Vec<String>,
    /// Other clients (`azp`) whose tokens for your apps are accepted, such as a mobile app.
    pub trusted_azp: Vec<String>,
    /// The accepted signature algorithms, never a symmetric one.
    pub algorithms: Vec<Algorithm>,
    /// The greatest age of a sign-in.
    pub max_age: Duration,
    /// The accepted hosts of its keys besides the issuer's host.
    pub jwks_hosts: Vec<String>,
    /// The endpoint of the provider that verifies its ID tokens, if they are signed with the app's secret.
    pub verify_url: Option<String>,
}

/// A provider in the JSON of the setting.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    issuer: Option<String>,
    client_ids: Vec<String>,
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default)]
    trusted_azp: Vec<String>,
    algorithms: Option<Vec<Algorithm>>,
    max_age: Option<u64>,
    #[serde(default)]
    jwks_hosts: Vec<String>,
    verify_url: Option<String>,
}

/// A provider with one issuer for all customers: its name, its issuer, the hosts of its keys if these differ, and the
/// algorithm of its ID tokens.
type Preset = (
    &'static str,
    &'static str,
    &'static [&'static str],
    Algorithm,
);

const ENTRA: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";

/// The providers with one issuer for all customers. The issuers are those of next-auth's providers.
const PRESETS: [Preset; 16] = [
    ("apple", "https://appleid.apple.com", &[], Algorithm::RS256),
    ("azure-ad", ENTRA, &[], Algorithm::RS256),
    (
        "bankid-no",
        "https://auth.bankid.no/auth/realms/prod",
        &[],
        Algorithm::RS256,
    ),
    ("gitlab", "https://gitlab.com", &[], Algorithm::RS256),
    (
        "google",
        "https://accounts.google.com",
        &["www.googleapis.com"],
        Algorithm::RS256,
    ),
    (
        "huggingface",
        "https://huggingface.co",
        &[],
        Algorithm::RS256,
    ),
    ("line", "https://access.line.me", &[], Algorithm::RS256),
    (
        "linkedin",
        "https://www.linkedin.com/oauth",
        &[],
        Algorithm::RS256,
    ),
    ("microsoft", ENTRA, &[], Algorithm::RS256),
    ("microsoft-entra-id", ENTRA, &[], Algorithm::RS256),
    // https://create.roblox.com/docs/cloud/reference/oauth2#openid-configuration
    (
        "roblox",
        "https://apis.roblox.com/oauth/",
        &[],
        Algorithm::ES256,
    ),
    (
        "salesforce",
        "https://login.salesforce.com",
        &[],
        Algorithm::RS256,
    ),
    (
        "simplelogin",
        "https://app.simplelogin.io",
        &[],
        Algorithm::RS256,
    ),
    ("slack", "https://slack.com", &[], Algorithm::RS256),
    (
        "twitch",
        "https://id.twitch.tv/oauth2",
        &[],
        Algorithm::RS256,
    ),
    (
        "vipps",
        "https://api.vipps.no/access-management-1.0/access/",
        &[],
        Algorithm::RS256,
    ),
];

/// LINE's endpoint for ID tokens, which it signs with the channel secret for web logins
/// (<https://developers.line.biz/en/reference/line-login/#verify-id-token>).
const LINE_VERIFIES: &str = "https://api.line.me/oauth2/v2.1/verify";

/// The providers with an issuer for each customer, with an example of it, the text of next-auth's `issuer` option, and
/// the algorithm of their ID tokens.
const OWN_ISSUERS: [(&str, &str, Algorithm); 5] = [
    ("auth0", "https://acme.eu.auth0.com", Algorithm::RS256),
    (
        "cognito",
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI",
        Algorithm::RS256,
    ),
    (
        "keycloak",
        "https://login.example.com/realms/acme",
        Algorithm::RS256,
    ),
    // https://docs.logto.io/developers/signing-keys: an elliptic curve by default, which is P-384.
    ("logto", "https://acme.logto.app/oidc", Algorithm::ES384),
    (
        "okta",
        "https://acme.okta.com/oauth2/default",
        Algorithm::RS256,
    ),
];

/// Reads `OIDC_PROVIDERS`: the OpenID providers whose ID tokens are accepted, as JSON; none by default.
///
/// # Errors
/// The value is not valid, or a URL in it could lead to another host than a provider's.
pub fn oidc_providers(env: &Environment) -> Result<Vec<OidcProvider>, ConfigError> {
    let Some(value) = env.optional(NAME) else {
        return Ok(Vec::new());
    };
    let written: Vec<Written> = json::parse(&value).map_err(refused)?;
    if let Some(problem) = too_many_providers(written.len()) {
        return Err(refused(problem));
    }
    let mut providers: Vec<OidcProvider> = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let provider = written.checked(index, env)?;
        if providers
            .iter()
            .any(|other| other.name == provider.name || other.issuer == provider.issuer)
        {
            let name = provider.name;
            return Err(refused(format!(
                "{name} is there twice, by name or issuer: write each provider once, with all its client_ids"
            )));
        }
        providers.push(provider);
    }
    Ok(providers)
}

impl Written {
    fn checked(self, index: usize, env: &Environment) -> Result<OidcProvider, ConfigError> {
        let name = self.name;
        let wrong = |problem: &str| refused(format!("{name}: {problem}"));
        if !is_provider_name(&name) || name == "github" {
            return Err(if name == "github" {
                wrong(
                    "it issues no ID tokens: remove this entry, and set GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET",
                )
            } else {
                refused(format!(
                    "[{index}].name must be 1 to 32 lower-case letters, digits and '-'"
                ))
            });
        }
        let preset = PRESETS.iter().find(|(preset, ..)| *preset == name);
        let own = OWN_ISSUERS.iter().find(|(own, ..)| *own == name);
        let issuer = self
            .issuer
            .or(preset.map(|(_, issuer, ..)| (*issuer).to_owned()));
        let Some(mut issuer) = issuer else {
            let like = own.map_or("https://login.example.com", |(_, like, _)| like);
            return Err(wrong(&format!(
                "its issuer is missing; it looks like {like}"
            )));
        };
        // next-auth's option omits the slash at the end of Auth0's issuer; the tokens have it.
        if name == "auth0" && !issuer.ends_with('/') {
            issuer.push('/');
        }
        let has_tenants = issuer.contains("{tenantid}");
        if has_tenants == self.tenants.is_empty() {
            return Err(wrong(if has_tenants {
                r#"tenants is missing: write the ids of the tenants whose users may sign in, like "tenants":["9188040d-6c67-4c5b-b112-36a304b66dad"]"#
            } else {
                "tenants is for an issuer with {tenantid} in it only: remove tenants"
            }));
        }
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let is_tenant = |tenant: &String| !tenant.is_empty() && tenant.bytes().all(plain);
        if !self.tenants.iter().all(is_tenant) {
            return Err(wrong(
                "tenants must be the ids of tenants, which are UUIDs, not their names",
            ));
        }
        // A slash at the end is part of an issuer.
        let base = issuer.replace("{tenantid}", "common");
        let base = base.strip_suffix('/').unwrap_or(&base);
        env.trusted_url(base)
            .map_err(|hint| wrong(&format!("its issuer: {hint}")))?;
        let usual = preset.map(|(.., usual)| *usual);
        let usual = usual.or(own.map(|(.., usual)| *usual));
        let usual = usual.unwrap_or(Algorithm::RS256);
        let algorithms = self.algorithms.unwrap_or_else(|| vec![usual]);
        let symmetric = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
        if algorithms.is_empty() || algorithms.iter().any(symmetric) {
            return Err(wrong(
                "algorithms must be one or more of RS256, PS256, ES256, EdDSA and their like, and no HS256, HS384 or HS512",
            ));
        }
        if self.client_ids.is_empty() || self.client_ids.iter().any(String::is_empty) {
            return Err(wrong(
                "client_ids must contain the client ids of your apps at the provider",
            ));
        }
        let max_age = self.max_age.map_or(DEFAULT_AGE, Duration::from_secs);
        if !AGES.contains(&max_age) {
            return Err(wrong("max_age must be 60 to 3600 seconds"));
        }
        let line = (name == "line").then(|| LINE_VERIFIES.to_owned());
        let verify_url = self.verify_url.or(line);
        if let Some(url) = &verify_url {
            env.trusted_url(url)
                .map_err(|hint| wrong(&format!("verify_url: {hint}")))?;
            if self.client_ids.len() != 1 {
                return Err(wrong(
                    "client_ids must contain one client id, which verify_url is asked about",
                ));
            }
        }
        let mut jwks_hosts = self.jwks_hosts;
        jwks_hosts.extend(
            preset
                .iter()
                .flat_map(|(.., hosts, _)| hosts.iter().map(ToString::to_string)),
        );
        Ok(OidcProvider {
            tenants: self.tenants,
            client_ids: self.client_ids,
            trusted_azp: self.trusted_azp,
            algorithms,
            max_age,
            jwks_hosts,
            verify_url,
            issuer,
            name,
        })
    }
}

fn refused(problem: String) -> ConfigError {
    ConfigError::secret(NAME, problem, EXPECTED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::MAX_PROVIDERS, *};

    fn read(value: &str) -> Result<Vec<OidcProvider>, ConfigError> {
        oidc_providers(&Environment::of([(NAME, value)]))
    }

    #[test]
    fn t161_a_setting_has_a_bounded_number_of_providers() {
        let providers = |count: usize| {
            let one = |nth| {
                let issuer = format!("https://{nth}.example.com");
                json!({ "name": format!("p-{nth}"), "issuer": issuer, "client_ids": ["a"] })
            };
            let all: Vec<_> = (0..count).map(one).collect();
            read(&json!(all).to_string())
        };
        assert_eq!(providers(MAX_PROVIDERS).unwrap().len(), MAX_PROVIDERS);
        let error = providers(MAX_PROVIDERS + 1).unwrap_err().to_string();
        assert!(error.contains("more than 50 providers"), "{error}");
    }

    #[test]
    fn one_line_is_enough_for_a_provider_that_everybody_knows() {
        for (name, issuer, _, algorithm) in PRESETS {
            let tenants = if issuer == ENTRA {
                r#","tenants":["9188040d-6c67-4c5b-b112-36a304b66dad"]"#
            } else {
                ""
            };
            let read = read(&format!(
                r#"[{{"name":"{name}","client_ids":["a"]{tenants}}}]"#
            ))
            .unwrap();
            assert_eq!(read[0].issuer, issuer);
            assert_eq!(read[0].algorithms, [algorithm]);
        }
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn an_issuer_of_ones_own_may_end_with_a_slash() {
        let read = read(r#"[{"name":"auth0","issuer":"https://acme.eu.auth0.com/","client_ids":["a"],"algorithms":["ES256"]}]"#).unwrap();
        assert_eq!(read[0].issuer, "https://acme.eu.auth0.com/");
    }

    #[test]
    fn what_next_auth_has_as_issuer_is_good_here_as_well() {
        for (name, issuer, algorithm) in OWN_ISSUERS {
            let config = format!(r#"[{{"name":"{name}","issuer":"{issuer}","client_ids":["a"]}}]"#);
            let expected = if name == "auth0" {
                "https://acme.eu.auth0.com/"
            } else {
                issuer
            };
            let read_config = &read(&config).unwrap()[0];
            assert_eq!(read_config.issuer, expected);
            assert_eq!(read_config.algorithms, [algorithm]);
            let missing = read(&format!(r#"[{{"name":"{name}","client_ids":["a"]}}]"#));
            let missing = missing.unwrap_err().to_string();
            assert!(missing.contains(issuer), "{missing}");
        }
    }

    #[test]
    fn a_sign_in_may_be_as_old_as_an_hour() {
        let with = |age: u64| {
            read(&format!(
                r#"[{{"name":"google","client_ids":["a"],"max_age":{age}}}]"#
            ))
        };
        assert_eq!(with(3600).unwrap()[0].max_age.as_secs(), 3600);
        assert_eq!(
            read(r#"[{"name":"google","client_ids":["a"]}]"#).unwrap()[0]
                .max_age
                .as_secs(),
            300
        );
        assert!(with(3601).is_err() && with(59).is_err());
    }

    #[test]
    fn t47_t84_whatever_could_lead_elsewhere_is_refused() {
        for value in [
            "{}",
            "[1]",
            r#"[{"name":"acme","client_ids":["a"]}]"#,
            r#"[{"name":"github","issuer":"https://github.com","client_ids":["a"]}]"#,
            r#"[{"name":"Acme","issuer":"https://a.example","client_ids":["a"]}]"#,
            r#"[{"name":"acme","issuer":"http://a.example","client_ids":["a"]}]"#,
            r#"[{"name":"acme","issuer":"https://169.254.169.254","client_ids":["a"]}]"#,
            r#"[{"name":"acme","issuer":"https://localhost","client_ids":["a"]}]"#,
            r#"[{"name":"acme","issuer":"https://u:p@a.example","client_ids":["a"]}]"#,
            r#"[{"name":"acme","issuer":"https://a.example//","client_ids":["a"]}]"#,
            r#"[{"name":"google","client_ids":[]}]"#,
            r#"[{"name":"google","client_ids":[""]}]"#,
            r#"[{"name":"google","client_ids":["a"],"algorithms":["HS256"]}]"#,
            r#"[{"name":"google","client_ids":["a"],"algorithms":["none"]}]"#,
            r#"[{"name":"google","client_ids":["a"],"algorithms":[]}]"#,
            r#"[{"name":"google","client_ids":["a"],"unknown":1}]"#,
            r#"[{"name":"line","client_ids":["a","b"]}]"#,
            r#"[{"name":"line","client_ids":["a"],"verify_url":"http://api.line.me/verify"}]"#,
            r#"[{"name":"line","client_ids":["a"],"verify_url":"https://localhost/verify"}]"#,
            r#"[{"name":"google","client_ids":["a"],"tenants":["t"]}]"#,
            r#"[{"name":"microsoft","client_ids":["a"]}]"#,
            r#"[{"name":"microsoft","client_ids":["a"],"tenants":["../x"]}]"#,
            r#"[{"name":"google","client_ids":["a"]},{"name":"google","client_ids":["b"]}]"#,
        ] {
            assert!(read(value).is_err(), "{value}");
        }
    }
}
