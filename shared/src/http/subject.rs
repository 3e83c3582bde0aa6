//! The parameters of a provider's token (RFC 8693 §2.1), for a sign-in and for linking an account.

use secrecy::SecretString;
use serde::Deserialize;

use super::{ApiError, Form};
use crate::provider::{SubjectToken, SubjectTokenType};

/// The `subject_token_type` of an OAuth access token (RFC 8693 §3).
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A provider's token with its parameters, as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    subject_token: SecretString,
    subject_token_type: String,
    subject_issuer: Option<String>,
    nonce: Option<String>,
    subject_access_token: Option<SecretString>,
}

impl Subject {
    /// Takes the parameters from a form.
    ///
    /// # Errors
    /// A required parameter is missing.
    pub fn take(form: &mut Form) -> Result<Self, ApiError> {
        Ok(Self {
            subject_token: form.require("subject_token")?,
            subject_token_type: form.require_plain("subject_token_type")?,
            subject_issuer: form.take_plain("subject_issuer"),
            nonce: form.take_plain("nonce"),
            subject_access_token: form.take("subject_access_token"),
        })
    }

    /// Returns the unverified token.
    ///
    /// # Errors
    /// The parameters contradict each other.
    pub fn read(self) -> Result<SubjectToken, ApiError> {
        let invalid = |detail: &str| Err(ApiError::InvalidRequest(detail.to_owned()));
        let kind = match self.subject_token_type.as_str() {
            ACCESS_TOKEN_TYPE => SubjectTokenType::AccessToken,
            ID_TOKEN_TYPE => SubjectTokenType::IdToken,
            JWT_TYPE => SubjectTokenType::Jwt,
            _ => {
                return Err(ApiError::InvalidRequest(format!(
                    "subject_token_type must be {ACCESS_TOKEN_TYPE}, {ID_TOKEN_TYPE} or {JWT_TYPE}"
                )));
            }
        };
        if kind == SubjectTokenType::AccessToken {
            if self.nonce.is_some() {
                return invalid("nonce is for ID tokens only: omit it with an access token");
            }
            if self.subject_access_token.is_some() {
                return invalid(
                    "subject_access_token is for ID tokens only: omit it with an access token",
                );
            }
        }
        Ok(SubjectToken {
            token: self.subject_token,
            kind,
            issuer: self.subject_issuer,
            nonce: self.nonce,
            access_token: self.subject_access_token,
        })
    }
}
