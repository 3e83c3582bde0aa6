//! The client secret of a provider: the secret itself, or the ARN of the place that holds it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{ConfigError, DynamoDb, Environment};

/// A client secret of a provider, as a setting has it. A value that begins with `arn:` is never the secret itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "SecretString")]
pub enum ProviderSecret {
    /// The secret itself.
    Value(SecretString),
    /// The place that holds the secret.
    At(SecretArn),
}

/// The ARN of a secret in Secrets Manager or of a parameter in SSM Parameter Store, and the member of its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretArn {
    /// The service that answers for the ARN.
    pub service: SecretService,
    /// The ARN alone.
    pub arn: String,
    /// The member that is the secret, if the value is a JSON object.
    pub key: Option<String>,
    /// The region of the ARN.
    pub region: String,
    /// The domain of AWS in the partition of the ARN.
    domain: &'static str,
}

/// A service that keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretService {
    /// AWS Secrets Manager.
    SecretsManager,
    /// AWS Systems Manager Parameter Store.
    ParameterStore,
}

/// The partitions of AWS with their domains.
const PARTITIONS: [(&str, &str); 4] = [
    ("aws", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-eusc", "amazonaws.eu"),
    ("aws-us-gov", "amazonaws.com"),
];

const NOT_AN_ARN: &str = "it begins with arn: and is the ARN of neither a secret (arn:aws:secretsmanager:<region>:<account>:secret:<name>-<suffix>) nor a parameter (arn:aws:ssm:<region>:<account>:parameter/<name>)";
const NOT_PLAIN: &str =
    "the key behind the ARN has a space or is not ASCII: give the member of the JSON another name";
const NOT_CURRENT: &str = "it names a version of the secret, and Cambio reads the current one: remove what follows the key";

impl TryFrom<SecretString> for ProviderSecret {
    type Error = &'static str;

    fn try_from(value: SecretString) -> Result<Self, &'static str> {
        if value.expose_secret().starts_with("arn:") {
            SecretArn::parse(value.expose_secret()).map(Self::At)
        } else {
            Ok(Self::Value(value))
        }
    }
}

impl SecretArn {
    /// Reads `<ARN>`, or for a secret with JSON `<ARN>:<key>`, with or without the `::` that ends it in a task
    /// definition of Amazon ECS.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = text.split(':').collect();
        let [_, partition, service, region, account, rest @ ..] = parts.as_slice() else {
            return Err(NOT_AN_ARN);
        };
        let domain = PARTITIONS.iter().find(|(known, _)| known == partition);
        let is_region = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let (Some((_, domain)), false, true, true) = (
            domain,
            region.is_empty(),
            region.bytes().all(is_region),
            account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit()),
        ) else {
            return Err(NOT_AN_ARN);
        };
        let (service, key) = match (*service, rest) {
            ("secretsmanager", ["secret", name, rest @ ..]) if is_name(name) => {
                let key = match rest {
                    [] => None,
                    [key, ..] if !is_plain(key) => return Err(NOT_PLAIN),
                    [key] | [key, ""] | [key, "", ""] => Some(*key),
                    _ => return Err(NOT_CURRENT),
                };
                (SecretService::SecretsManager, key)
            }
            ("ssm", [name]) if name.strip_prefix("parameter/").is_some_and(is_name) => {
                (SecretService::ParameterStore, None)
            }
            _ => return Err(NOT_AN_ARN),
        };
        let of_arn = match service {
            SecretService::SecretsManager => 7,
            SecretService::ParameterStore => 6,
        };
        Ok(Self {
            service,
            arn: parts[..of_arn].join(":"),
            key: key.filter(|key| !key.is_empty()).map(str::to_owned),
            region: (*region).to_owned(),
            domain,
        })
    }

    /// Returns the URL of the service in the region of the ARN.
    pub fn usual_endpoint(&self) -> String {
        let Self { region, domain, .. } = self;
        format!("https://{}.{region}.{domain}", self.service.name())
    }
}

/// Returns whether `key` can be shown as it is.
fn is_plain(key: &str) -> bool {
    key.bytes().all(|c| c.is_ascii_graphic())
}

/// Returns whether `name` has the characters that the names of secrets and parameters have.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"/_+=.@-".contains(&c);
    !name.is_empty() && name.bytes().all(plain)
}

impl fmt::Display for SecretArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)?;
        match &self.key {
            Some(key) => write!(f, ":{key}"),
            None => Ok(()),
        }
    }
}

impl SecretService {
    /// Returns the name of the service in its host and in signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::ParameterStore => "ssm",
        }
    }
}

/// The addresses of the services that keep secrets, and the credentials for them.
#[derive(Clone, Debug)]
pub struct SecretStores {
    /// The credentials, which are those for DynamoDB.
    pub credentials: DynamoDb,
    secrets_manager: Option<Url>,
    parameter_store: Option<Url>,
}

impl SecretStores {
    /// Reads `AWS_ENDPOINT_URL_SECRETS_MANAGER` and `AWS_ENDPOINT_URL_SSM`, addresses other than those of the region as
    /// the AWS SDKs define them, and the credentials.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const ENDPOINT: &str = "an https URL, or an http URL on this machine like http://127.0.0.1:9004, without a slash at the end";
        let endpoint = |name| {
            let value = env.optional(name);
            value
                .map(|value| env.base_url(name, &value, ENDPOINT))
                .transpose()
        };
        Ok(Self {
            credentials: DynamoDb::from_env(env)?,
            secrets_manager: endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER")?,
            parameter_store: endpoint("AWS_ENDPOINT_URL_SSM")?,
        })
    }

    /// Returns the URL that answers for `secret`.
    pub fn endpoint(&self, secret: &SecretArn) -> Option<Url> {
        let set = match secret.service {
            SecretService::SecretsManager => &self.secrets_manager,
            SecretService::ParameterStore => &self.parameter_store,
        };
        let usual = || Url::parse(&secret.usual_endpoint()).ok();
        set.clone().or_else(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str =
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:cambio/github-AbCdEf";
    const PARAMETER: &str = "arn:aws:ssm:us-gov-west-1:111122223333:parameter/cambio/github";

    fn read(text: &str) -> Result<ProviderSecret, &'static str> {
        ProviderSecret::try_from(SecretString::from(text))
    }

    fn arn(text: &str) -> SecretArn {
        match read(text) {
            Ok(ProviderSecret::At(arn)) => arn,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_that_is_no_arn_is_the_secret_itself() {
        for text in ["hunter2", "", "ARN:hunter2", " arn:hunter2"] {
            let read = read(text).unwrap();
            assert!(!format!("{read:?}").contains("hunter2"));
            let ProviderSecret::Value(value) = read else {
                panic!("{read:?}");
            };
            assert_eq!(value.expose_secret(), text);
        }
    }

    #[test]
    fn an_arn_leads_to_its_service_and_region() {
        let secret = arn(SECRET);
        assert_eq!(secret.service, SecretService::SecretsManager);
        assert_eq!((secret.arn.as_str(), &secret.key), (SECRET, &None));
        let endpoint = "https://secretsmanager.eu-west-1.amazonaws.com";
        assert_eq!(secret.usual_endpoint(), endpoint);

        let parameter = arn(PARAMETER);
        assert_eq!(parameter.service, SecretService::ParameterStore);
        assert_eq!(parameter.to_string(), PARAMETER);
        let endpoint = "https://ssm.us-gov-west-1.amazonaws.com";
        assert_eq!(parameter.usual_endpoint(), endpoint);

        for (partition, domain) in PARTITIONS {
            let arn = arn(&PARAMETER.replace("arn:aws:", &format!("arn:{partition}:")));
            assert!(arn.usual_endpoint().ends_with(domain), "{arn}");
        }
    }

    #[test]
    fn a_key_follows_the_arn_as_in_a_task_definition() {
        for end in ["", ":", "::"] {
            let secret = arn(&format!("{SECRET}:client_secret{end}"));
            assert_eq!(secret.arn, SECRET);
            assert_eq!(secret.key.as_deref(), Some("client_secret"));
            assert_eq!(secret.to_string(), format!("{SECRET}:client_secret"));
        }
        assert_eq!(arn(&format!("{SECRET}:::")).key, None);
    }

    #[test]
    fn t188_an_arn_that_leads_elsewhere_is_refused() {
        for text in [
            "arn:",
            "arn:aws:iam::111122223333:role/cambio",
            &SECRET.replace("arn:aws:", "arn:other:"),
            &SECRET.replace("eu-west-1", ""),
            &SECRET.replace("eu-west-1", "evil.example/"),
            &SECRET.replace("eu-west-1", "eu-west-1@evil.example#"),
            &SECRET.replace("111122223333", "1"),
            &SECRET.replace("111122223333", "11112222333x"),
            &SECRET.replace("cambio/", "cambio "),
            &SECRET.replace("secret:cambio/github-AbCdEf", "secret:"),
            &SECRET.replace("secretsmanager", "ssm"),
            &PARAMETER.replace("parameter/cambio/github", "parameter/"),
            &PARAMETER.replace("parameter/cambio/github", "document/cambio"),
            &format!("{PARAMETER}:3"),
            &format!("{PARAMETER}\n"),
        ] {
            assert_eq!(read(text).map(drop), Err(NOT_AN_ARN), "{text}");
        }
        for version in [":AWSPREVIOUS:", "::EXAMPLE1-90ab-cdef", ":a:b:c"] {
            let text = format!("{SECRET}:key{version}");
            assert_eq!(read(&text).map(drop), Err(NOT_CURRENT), "{text}");
        }
    }

    #[test]
    fn an_endpoint_of_the_environment_takes_the_place_of_the_usual_one() {
        let env = Environment::of([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "a"),
            ("AWS_ENDPOINT_URL_SSM", "https://vpce-1.example.com"),
        ]);
        let stores = SecretStores::from_env(&env).unwrap();
        let endpoint = |text| stores.endpoint(&arn(text)).unwrap().to_string();
        assert_eq!(endpoint(PARAMETER), "https://vpce-1.example.com/");
        let usual = "https://secretsmanager.eu-west-1.amazonaws.com/";
        assert_eq!(endpoint(SECRET), usual);

        for name in ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_SSM"] {
            let env = env.with(name, "http://127.0.0.1:9004");
            let error = SecretStores::from_env(&env).unwrap_err();
            assert_eq!(error.name(), name);
        }
    }
}
