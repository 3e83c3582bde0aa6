//! Requests to Secrets Manager and to SSM Parameter Store: `GetSecretValue` and `GetParameter`, and no other.

use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use url::Url;

use super::Problem;
use crate::{
    clock::Clock,
    config::{SecretArn, SecretService, SecretStores, wrapping},
    dynamodb, telemetry,
};

/// The time for one attempt, with its connection.
const TRY_TIMEOUT: Duration = Duration::from_millis(1000);
/// The pauses before the attempts.
const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(50)];

const CONTENT_TYPE: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
const TARGET: &str = "x-amz-target";

/// The errors that do not pass by themselves, with what to do.
const REFUSALS: [(&str, &str); 9] = [
    ("AccessDeniedException", NOT_ALLOWED),
    ("DecryptionFailure", NOT_ALLOWED),
    ("InvalidKeyId", NOT_ALLOWED),
    ("InvalidParameterException", NO_SUCH),
    ("InvalidRequestException", NO_SUCH),
    ("ParameterNotFound", NO_SUCH),
    ("ParameterVersionNotFound", NO_SUCH),
    ("ResourceNotFoundException", NO_SUCH),
    ("ValidationException", NO_SUCH),
];
const NOT_ALLOWED: &str = "the function may not read it: add its ARN to the stack's parameter SecretArns, and that of its key to SecretsKmsKeyArn if the key is your own";
const NO_SUCH: &str = "there is no such secret with a current value: make it, or correct the ARN";

/// The services that keep secrets.
pub(super) struct Store {
    stores: SecretStores,
    clock: Clock,
}

/// The used members of the answers of both services.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    secret_string: Option<SecretString>,
    parameter: Option<Parameter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    value: SecretString,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "__type")]
    kind: String,
}

impl Store {
    pub(super) fn new(stores: SecretStores, clock: Clock) -> Self {
        Self { stores, clock }
    }

    /// Reads the secret that `arn` leads to.
    pub(super) async fn read(&self, arn: &SecretArn) -> Result<SecretString, Problem> {
        let url = self.stores.endpoint(arn);
        let url = url.ok_or_else(|| Problem::Refused(NO_SUCH.to_owned()))?;
        let mut cause = String::new();
        for pause in PAUSES {
            sleep(pause).await;
            let answer = timeout(TRY_TIMEOUT, self.ask(&url, arn)).await;
            match answer.unwrap_or_else(|_| Err(unreachable("no answer within a second"))) {
                Err(Problem::Unreachable(again)) => cause = again,
                answer => return client_secret(answer?, arn.key.as_deref()),
            }
        }
        Err(Problem::Unreachable(cause))
    }

    /// Returns the value of the secret or of the parameter.
    async fn ask(&self, url: &Url, arn: &SecretArn) -> Result<SecretString, Problem> {
        let request = self.request(url, arn)?;
        // A new connection, since one of five minutes ago is closed.
        let answer = dynamodb::connector(url).call(request).await;
        let answer = answer.map_err(|error| unreachable(telemetry::causes(&error)))?;
        let status = answer.status().as_u16();
        let body = ByteStream::new(answer.into_body()).collect().await;
        let body = body
            .map_err(|error| unreachable(telemetry::causes(&error)))?
            .to_vec();
        if status != 200 {
            return Err(refusal(status, &body));
        }
        // Without serde's message, which may quote the secret.
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| unreachable("the answer does not have the expected form"))?;
        let parameter = answer.parameter.map(|parameter| parameter.value);
        let value = answer.secret_string.or(parameter);
        value.ok_or_else(|| Problem::Refused("it is binary: store it as a text".to_owned()))
    }

    fn request(&self, url: &Url, arn: &SecretArn) -> Result<HttpRequest, Problem> {
        let (target, body) = match arn.service {
            SecretService::SecretsManager => (
                "secretsmanager.GetSecretValue",
                json!({ "SecretId": arn.arn }),
            ),
            SecretService::ParameterStore => (
                "AmazonSSM.GetParameter",
                json!({ "Name": arn.arn, "WithDecryption": true }),
            ),
        };
        let body = body.to_string();
        let mut request = HttpRequest::new(SdkBody::from(body.as_str()));
        let set = request.set_method("POST");
        set.and(request.set_uri(url.as_str()))
            .map_err(|error| unreachable(telemetry::causes(&error)))?;
        let headers = request.headers_mut();
        for (name, value) in [CONTENT_TYPE, (TARGET, target)] {
            headers.insert(name, value);
        }
        for (name, value) in self.signature(url, arn, target, body.as_bytes())? {
            headers.insert(name, value);
        }
        Ok(request)
    }

    /// Returns the headers with the signature of a request.
    fn signature(
        &self,
        url: &Url,
        arn: &SecretArn,
        target: &str,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Problem> {
        let identity = dynamodb::credentials(&self.stores.credentials).into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&arn.region)
            .name(arn.service.name())
            .time(UNIX_EPOCH + Duration::from_secs(self.clock.now()))
            .settings(SigningSettings::default())
            .build()
            .map_err(not_signed)?;
        let headers = [CONTENT_TYPE, (TARGET, target)].into_iter();
        let body = SignableBody::Bytes(body);
        let request =
            SignableRequest::new("POST", url.as_str(), headers, body).map_err(not_signed)?;
        let signed = sign(request, &parameters.into()).map_err(not_signed)?;
        let (headers, _) = signed.into_parts().0.into_parts();
        let headers = headers.iter();
        let headers = headers.map(|header| (header.name().to_owned(), header.value().to_owned()));
        Ok(headers.collect())
    }
}

fn not_signed<E>(_: E) -> Problem {
    unreachable("the request cannot be signed")
}

fn unreachable(cause: impl Into<String>) -> Problem {
    Problem::Unreachable(cause.into())
}

/// Returns the problem that an answer names. Its message is not shown, only its kind.
fn refusal(status: u16, body: &[u8]) -> Problem {
    let kind = serde_json::from_slice(body).map(|error: ErrorAnswer| error.kind);
    let kind = kind.unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let known = REFUSALS.iter().find(|(known, _)| *known == kind);
    match known {
        Some((kind, advice)) if (400..500).contains(&status) => {
            Problem::Refused(format!("{advice} ({kind})"))
        }
        _ if is_kind(kind) => unreachable(format!("status {status} ({kind})")),
        _ => unreachable(format!("status {status}")),
    }
}

/// Returns whether a text has the form of the names of AWS's errors.
fn is_kind(text: &str) -> bool {
    let plain = text.len() <= 64 && text.bytes().all(|c| c.is_ascii_alphanumeric());
    plain && (text.ends_with("Exception") || text.ends_with("Error"))
}

/// Returns the client secret in the value of a secret or a parameter.
fn client_secret(value: SecretString, key: Option<&str>) -> Result<SecretString, Problem> {
    let refused = |problem: &str| Err(Problem::Refused(problem.to_owned()));
    let members = serde_json::from_str(value.expose_secret()).ok();
    let members = members.filter(Value::is_object);
    let secret = match (members, key) {
        (None, None) => value,
        (Some(_), None) => {
            return refused(
                "it is a JSON object: write the name of a member behind the ARN, as in <ARN>:client_secret",
            );
        }
        (None, Some(_)) => {
            return refused(
                "it is no JSON object, so it has no members: remove the key behind the ARN",
            );
        }
        (Some(members), Some(key)) => match &members[key] {
            Value::String(secret) => secret.as_str().into(),
            _ => {
                return refused(
                    "its JSON has no member with this name and a text: correct the key behind the ARN",
                );
            }
        },
    };
    if secret.expose_secret().is_empty() {
        return refused("it is empty");
    }
    match wrapping(secret.expose_secret()) {
        Some(hint) => refused(&format!("{hint} in the store")),
        None => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, ProviderSecret};

    #[test]
    fn a_secret_is_a_plain_text_or_a_member_of_a_json_object() {
        let json = r#"{"client_secret":"hunter2","port":5432}"#;
        let read = |text: &str, key| client_secret(text.into(), key);
        assert_eq!(read("hunter2", None).unwrap().expose_secret(), "hunter2");
        let member = read(json, Some("client_secret")).unwrap();
        assert_eq!(member.expose_secret(), "hunter2");
        for (text, key, problem) in [
            ("", None, "it is empty"),
            ("hunter2\n", None, "white space"),
            ("\"hunter2\"", None, "quotation marks"),
            (json, None, "it is a JSON object"),
            (json, Some("secret"), "has no member"),
            (json, Some("port"), "has no member"),
            ("hunter2", Some("client_secret"), "it is no JSON object"),
            (r#"["hunter2"]"#, Some("0"), "it is no JSON object"),
            (r#"{"a":""}"#, Some("a"), "it is empty"),
        ] {
            let error = read(text, key).unwrap_err();
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert!(matches!(error, Problem::Refused(_)), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    /// The expected values are those of botocore for the same request.
    #[test]
    fn a_request_is_signed_for_the_service_and_the_region_of_the_arn() {
        let env = Environment::of([
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            (
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            ),
            ("AWS_SESSION_TOKEN", "session"),
        ]);
        let arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:cambio/github-AbCdEf";
        let Ok(ProviderSecret::At(arn)) = ProviderSecret::try_from(SecretString::from(arn)) else {
            panic!("{arn}");
        };
        let stores = SecretStores::from_env(&env).unwrap();
        let url = stores.endpoint(&arn).unwrap();
        let store = Store::new(stores, Clock::new(|| 1_700_000_000));

        let request = store.request(&url, &arn).unwrap();

        let header = |name| request.headers().get(name).unwrap();
        assert_eq!(header("x-amz-date"), "20231114T221320Z");
        assert_eq!(header("x-amz-security-token"), "session");
        let credential = "Credential=AKIDEXAMPLE/20231114/eu-west-1/secretsmanager/aws4_request";
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        let signature = "c55f21391dea1fd5106286da55288973074b93cba51bec3d473fb835a432a39e";
        assert_eq!(
            header("authorization"),
            format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}")
        );
    }

    #[test]
    fn t189_only_a_mistake_of_the_operator_is_refused() {
        let problem = |status, kind: &str| {
            let body = json!({ "__type": kind, "message": "hunter2", "Message": "hunter2" });
            refusal(status, body.to_string().as_bytes())
        };
        for (kind, _) in REFUSALS {
            for kind in [kind.to_owned(), format!("com.amazonaws.ssm#{kind}")] {
                let problem = problem(400, &kind);
                assert!(matches!(problem, Problem::Refused(_)), "{kind}: {problem}");
                assert!(!problem.to_string().contains("hunter2"), "{problem}");
            }
        }
        for (status, kind) in [
            (400, "ThrottlingException"),
            (400, "ExpiredTokenException"),
            (400, "UnrecognizedClientException"),
            (400, "hunter2"),
            (500, "InternalServiceError"),
            (503, "AccessDeniedException"),
        ] {
            let problem = problem(status, kind);
            assert!(matches!(problem, Problem::Unreachable(_)), "{kind}");
            assert!(!problem.to_string().contains("hunter2"), "{problem}");
        }
        assert!(matches!(refusal(403, b"<html>"), Problem::Unreachable(_)));
    }
}
