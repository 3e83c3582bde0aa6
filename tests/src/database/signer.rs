//! The signature of a request to AWS.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use hyper::{HeaderMap, Method, header::HeaderValue};
use shared::{clock::Clock, config, dynamodb};

/// The headers that a signature covers, besides the host and the time.
const SIGNED: [&str; 2] = ["content-type", "x-amz-target"];

/// Signs requests to DynamoDB with one credential.
#[derive(Clone)]
pub(crate) struct Signer(Arc<Credential>);

struct Credential {
    config: config::DynamoDb,
    clock: Clock,
}

impl Signer {
    pub(super) fn new(config: config::DynamoDb, clock: Clock) -> Self {
        Self(Arc::new(Credential { config, clock }))
    }

    /// Replaces the signature in the headers of a request.
    #[expect(
        clippy::expect_used,
        reason = "a test without its database has nothing to prove"
    )]
    pub(crate) fn sign(&self, method: &Method, url: &str, headers: &mut HeaderMap, body: &[u8]) {
        let Credential { config, clock } = &*self.0;
        let identity = dynamodb::credentials(config).into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&config.region)
            .name("dynamodb")
            .time(UNIX_EPOCH + Duration::from_secs(clock.now()))
            .settings(SigningSettings::default())
            .build()
            .expect("all parameters");
        let signed = SIGNED.iter().filter_map(|name| {
            let value = headers.get(*name)?.to_str().ok()?;
            Some((*name, value))
        });
        let request = SignableRequest::new(method.as_str(), url, signed, SignableBody::Bytes(body));
        let request = request.expect("a request");
        let signature = sign(request, &parameters.into()).expect("a signature");
        let (instructions, _) = signature.into_parts();
        let (new, _) = instructions.into_parts();
        headers.remove("x-amz-security-token");
        for header in new {
            let mut value = HeaderValue::from_str(header.value()).expect("a header");
            value.set_sensitive(header.sensitive());
            headers.insert(header.name(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(session_token: Option<&str>, headers: &mut HeaderMap) {
        let config = config::DynamoDb {
            endpoint: None,
            region: "eu-west-1".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: session_token.map(Into::into),
        };
        let signer = Signer::new(config, Clock::new(|| 1_700_000_000));
        let url = "https://dynamodb.eu-west-1.amazonaws.com/";
        let body = br#"{"TableName":"cambio"}"#;
        signer.sign(&Method::POST, url, headers, body);
    }

    fn request() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", "DynamoDB_20120810.Scan"),
            ("authorization", "AWS4-HMAC-SHA256 of the caller"),
            ("x-amz-date", "20000101T000000Z"),
            ("x-amz-security-token", "of the caller"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    /// The expected values are those of botocore for the same request.
    #[test]
    fn a_signature_replaces_that_of_the_caller() {
        let mut headers = request();
        signed(None, &mut headers);

        assert_eq!(headers["x-amz-date"], "20231114T221320Z");
        assert!(!headers.contains_key("x-amz-security-token"));
        let credential = "Credential=AKIDEXAMPLE/20231114/eu-west-1/dynamodb/aws4_request";
        let signature = "fad30bddf924728ae63942f5e70bfdb171410db44e2fc3c5abab45c30ec0e596";
        let names = "content-type;host;x-amz-date;x-amz-target";
        assert_eq!(
            headers["authorization"],
            format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}")
        );

        let mut headers = request();
        signed(Some("session"), &mut headers);

        assert_eq!(headers["x-amz-security-token"], "session");
        let signature = "bc19b8f8eb242bcd12b93112b819e2204542b2e16d70a2408dbdf819e6b553e4";
        let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        assert_eq!(
            headers["authorization"],
            format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}")
        );
    }
}
