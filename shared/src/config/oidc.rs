//! `OIDC_PROVIDERS`: whose ID tokens are accepted, as JSON.

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;

use super::{ConfigError, Environment, Found};

const NAME: &str = "OIDC_PROVIDERS";
const EXPECTED: &str = r#"JSON like [{"name":"google","client_ids":["<id>"]},{"name":"acme","issuer":"https://login.example.com","client_ids":["<id>"]}]"#;

/// An OpenID provider, and which of its ID tokens are for us.
#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// The name that its identities go by: lower-case letters, digits and `-`.
    pub name: String,
    /// The `iss` of its tokens, character by character; with `{tenantid}` in it, one for each tenant.
    pub issuer: String,
    /// The tenants that may sign in, where the issuer has one for each.
    pub tenants: Vec<String>,
    /// Our own client ids there: one of them must be in `aud`.
    pub client_ids: Vec<String>,
    /// Other clients whose tokens for us are good too (`azp`): the provider's own mobile app, for instance.
    pub trusted_azp: Vec<String>,
    /// What its tokens may be signed with; never a symmetric algorithm.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys may be, beside the issuer's own host.
    pub jwks_hosts: Vec<String>,
}

/// A provider as it is written down.
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
    #[serde(default)]
    jwks_hosts: Vec<String>,
}

/// The issuers that are the same for everybody, and the hosts of their keys where these are others.
const PRESETS: [(&str, &str, &[&str]); 7] = [
    ("apple", "https://appleid.apple.com", &[]),
    ("gitlab", "https://gitlab.com", &[]),
    (
        "google",
        "https://accounts.google.com",
        &["www.googleapis.com"],
    ),
    ("linkedin", "https://www.linkedin.com/oauth", &[]),
    (
        "microsoft",
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        &[],
    ),
    ("slack", "https://slack.com", &[]),
    ("twitch", "https://id.twitch.tv/oauth2", &[]),
];

pub(super) fn providers(env: &Environment) -> Result<Vec<OidcProvider>, ConfigError> {
    let Some(value) = env.optional(NAME) else {
        return Ok(Vec::new());
    };
    let written: Vec<Written> = serde_json::from_str(&value).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        refused(format!("wrong at line {line} column {column}"))
    })?;
    let mut providers: Vec<OidcProvider> = Vec::new();
    for written in written {
        let provider = written.checked(env)?;
        if providers
            .iter()
            .any(|other| other.name == provider.name || other.issuer == provider.issuer)
        {
            let name = provider.name;
            return Err(refused(format!("{name} is there twice, by name or issuer")));
        }
        providers.push(provider);
    }
    Ok(providers)
}

impl Written {
    fn checked(self, env: &Environment) -> Result<OidcProvider, ConfigError> {
        let name = self.name;
        let wrong = |problem: &str| refused(format!("{name}: {problem}"));
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) || name == "github" {
            return Err(refused(
                "a name is not 1 to 32 lower-case letters, digits and '-', or is github".to_owned(),
            ));
        }
        let preset = PRESETS.iter().find(|(preset, ..)| *preset == name);
        let issuer = self
            .issuer
            .or(preset.map(|(_, issuer, _)| (*issuer).to_owned()));
        let issuer = issuer.ok_or_else(|| wrong("its issuer is missing"))?;
        let has_tenants = issuer.contains("{tenantid}");
        if has_tenants == self.tenants.is_empty() {
            return Err(wrong(
                "tenants go with an issuer with {tenantid} in it, and only with that",
            ));
        }
        let is_tenant = |tenant: &String| !tenant.is_empty() && tenant.bytes().all(plain);
        if !self.tenants.iter().all(is_tenant) {
            return Err(wrong("a tenant is not named by its id"));
        }
        // Some issuers end with a slash, which is part of their name.
        let base = issuer.replace("{tenantid}", "common");
        let base = base.strip_suffix('/').unwrap_or(&base);
        env.base_url(NAME, base, EXPECTED)?;
        let algorithms = self.algorithms.unwrap_or_else(|| vec![Algorithm::RS256]);
        let symmetric = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
        if algorithms.is_empty() || algorithms.iter().any(symmetric) {
            return Err(wrong("algorithms must be asymmetric, and at least one"));
        }
        if self.client_ids.is_empty() || self.client_ids.iter().any(String::is_empty) {
            return Err(wrong("client_ids must name your app's client ids there"));
        }
        let mut jwks_hosts = self.jwks_hosts;
        jwks_hosts.extend(
            preset
                .iter()
                .flat_map(|(.., hosts)| hosts.iter().map(ToString::to_string)),
        );
        Ok(OidcProvider {
            tenants: self.tenants,
            client_ids: self.client_ids,
            trusted_azp: self.trusted_azp,
            algorithms,
            jwks_hosts,
            issuer,
            name,
        })
    }
}

fn refused(problem: String) -> ConfigError {
    ConfigError {
        name: NAME,
        found: Found::Secret(problem),
        expected: EXPECTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Vec<OidcProvider>, ConfigError> {
        providers(&Environment::of([(NAME, value)]))
    }

    #[test]
    fn one_line_is_enough_for_a_provider_that_everybody_knows() {
        for (name, issuer, _) in PRESETS {
            let tenants = if name == "microsoft" {
                r#","tenants":["9188040d-6c67-4c5b-b112-36a304b66dad"]"#
            } else {
                ""
            };
            let read = read(&format!(
                r#"[{{"name":"{name}","client_ids":["a"]{tenants}}}]"#
            ))
            .unwrap();
            assert_eq!(read[0].issuer, issuer);
            assert_eq!(read[0].algorithms, [Algorithm::RS256]);
        }
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn an_issuer_of_ones_own_may_end_with_a_slash() {
        let read = read(r#"[{"name":"auth0","issuer":"https://acme.eu.auth0.com/","client_ids":["a"],"algorithms":["ES256"]}]"#).unwrap();
        assert_eq!(read[0].issuer, "https://acme.eu.auth0.com/");
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
            r#"[{"name":"google","client_ids":["a"],"tenants":["t"]}]"#,
            r#"[{"name":"microsoft","client_ids":["a"]}]"#,
            r#"[{"name":"microsoft","client_ids":["a"],"tenants":["../x"]}]"#,
            r#"[{"name":"google","client_ids":["a"]},{"name":"google","client_ids":["b"]}]"#,
        ] {
            assert!(read(value).is_err(), "{value}");
        }
    }
}
