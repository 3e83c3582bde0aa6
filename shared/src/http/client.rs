//! Client authentication (RFC 6749 §2.3.1).

use std::sync::Arc;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::{ApiError, Form};
use crate::config;

/// The registered clients.
#[derive(Clone, Debug)]
pub struct Clients(Arc<[config::Client]>);

/// An authenticated client: only [`Clients::authenticate`] gives one.
#[derive(Debug)]
pub struct Client<'a>(&'a config::Client);

/// What a request presents as its client; nothing of it is proven.
struct Presented {
    client_id: String,
    secret: SecretString,
}

impl Clients {
    /// These clients and no others.
    pub fn new(clients: Vec<config::Client>) -> Self {
        Self(clients.into())
    }

    /// The client that sent `form`, by `client_secret_basic` or `client_secret_post`.
    ///
    /// An unknown client costs as much as a wrong secret, so that nobody learns which ids exist.
    ///
    /// # Errors
    /// [`ApiError::InvalidClient`], or [`ApiError::InvalidRequest`] for two methods at once.
    pub fn authenticate(&self, form: &mut Form) -> Result<Client<'_>, ApiError> {
        let presented = Presented::by(form)?;
        let hash = digest(&SHA256, presented.secret.expose_secret().as_bytes());
        let client = self
            .0
            .iter()
            .find(|client| client.client_id == presented.client_id);
        const NOBODYS: &[[u8; 32]] = &[[0; 32]];
        let accepted = client.map_or(NOBODYS, |client| &client.secret_sha256);
        // Without a short cut: all accepted secrets are compared, each in constant time.
        let matches = accepted.iter().fold(false, |found, secret| {
            verify_slices_are_equal(secret, hash.as_ref()).is_ok() | found
        });
        client
            .filter(|_| matches)
            .map(Client)
            .ok_or(ApiError::InvalidClient)
    }
}

impl Client<'_> {
    /// The client's public name.
    pub fn id(&self) -> &str {
        &self.0.client_id
    }

    /// What the client gets of `requested`: all of it or an error; all that it may have when it asks for nothing.
    ///
    /// # Errors
    /// [`ApiError::InvalidScope`] for more than the client may have.
    pub fn grant_scope(&self, requested: Option<&str>) -> Result<Option<String>, ApiError> {
        let allowed = &self.0.scopes;
        let granted: Vec<&str> = match requested {
            None => allowed.iter().map(String::as_str).collect(),
            Some(requested) => requested
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .collect(),
        };
        if !granted
            .iter()
            .all(|scope| allowed.iter().any(|allowed| allowed == scope))
        {
            return Err(ApiError::InvalidScope);
        }
        Ok((!granted.is_empty()).then(|| granted.join(" ")))
    }
}

impl Presented {
    fn by(form: &mut Form) -> Result<Self, ApiError> {
        let basic = basic_credentials(&form.authorization)?;
        let posted_id = form.take_plain("client_id");
        let posted_secret = form.take("client_secret");
        match (basic, posted_secret) {
            (Some(_), Some(_)) => Err(ApiError::InvalidRequest(
                "the client authenticates in two ways at once".to_owned(),
            )),
            // RFC 6749 §3.2.1 lets a client name itself in the body as well, if it is the same name.
            (Some(basic), None) if posted_id.as_ref().is_none_or(|id| *id == basic.client_id) => {
                Ok(basic)
            }
            (None, Some(secret)) => Ok(Self {
                client_id: posted_id.ok_or(ApiError::InvalidClient)?,
                secret,
            }),
            (Some(_) | None, None) => Err(ApiError::InvalidClient),
        }
    }
}

/// `Authorization: Basic`, in which id and secret are form-urlencoded first (RFC 6749 §2.3.1).
fn basic_credentials(authorization: &[HeaderValue]) -> Result<Option<Presented>, ApiError> {
    let value = match authorization {
        [] => return Ok(None),
        [value] => value,
        _ => return Err(ApiError::InvalidClient),
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim_matches(' ')).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .and_then(|decoded| {
            let (id, secret) = decoded.split_once(':')?;
            Some(Presented {
                client_id: form_decoded(id)?,
                secret: form_decoded(secret)
                    .filter(|secret| !secret.is_empty())?
                    .into(),
            })
        })
        .map(Some)
        .ok_or(ApiError::InvalidClient)
}

fn form_decoded(text: &str) -> Option<String> {
    // A lone value with a separator in it would decode as a name; encoded, it has none.
    if text.contains(['&', '=']) {
        return None;
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    let decoded = pairs.next().map(|(decoded, _)| decoded.into_owned());
    Some(decoded.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Clients {
        let sha256 = |secret: &str| {
            let mut hash = [0; 32];
            hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
            hash
        };
        Clients::new(vec![config::Client {
            client_id: "next js".to_owned(),
            secret_sha256: vec![sha256("old:secret+"), sha256("new")],
            scopes: vec!["orders:read".to_owned(), "orders:write".to_owned()],
        }])
    }

    async fn form(authorization: Option<&str>, body: &'static str) -> Form {
        use axum::extract::FromRequest as _;
        let mut request = http::Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let request = request.body(axum::body::Body::from(body)).unwrap();
        Form::from_request(request, &()).await.unwrap()
    }

    async fn authenticated(
        authorization: Option<&str>,
        body: &'static str,
    ) -> Result<(), ApiError> {
        clients()
            .authenticate(&mut form(authorization, body).await)
            .map(|client| assert_eq!(client.id(), "next js"))
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[tokio::test]
    async fn t76_both_secrets_are_valid_while_one_is_replaced() {
        assert!(
            authenticated(Some(&basic("next+js:old%3Asecret%2B")), "")
                .await
                .is_ok()
        );
        assert!(
            authenticated(Some(&basic("next%20js:new")), "")
                .await
                .is_ok()
        );
        assert!(
            authenticated(None, "client_id=next+js&client_secret=new")
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn t11_anything_else_is_refused() {
        for credentials in [
            "next+js:wrong",
            "next+js:",
            "next+js",
            ":new",
            "other:new",
            "",
            "a&b:new",
        ] {
            let refused = authenticated(Some(&basic(credentials)), "").await;
            assert!(
                matches!(refused, Err(ApiError::InvalidClient)),
                "{credentials}"
            );
        }
        for header in ["Basic", "Basic !", "Bearer abc", "Basic /w==", "nonsense"] {
            let refused = authenticated(Some(header), "").await;
            assert!(matches!(refused, Err(ApiError::InvalidClient)), "{header}");
        }
        for body in [
            "",
            "client_id=next+js",
            "client_secret=new",
            "client_id=next+js&client_secret=",
        ] {
            let refused = authenticated(None, body).await;
            assert!(matches!(refused, Err(ApiError::InvalidClient)), "{body}");
        }
    }

    #[tokio::test]
    async fn t74_two_methods_at_once_are_refused() {
        let basic = basic("next+js:new");
        let both = authenticated(Some(&basic), "client_id=next+js&client_secret=new").await;
        assert!(matches!(both, Err(ApiError::InvalidRequest(_))));
        assert!(
            authenticated(Some(&basic), "client_id=next+js")
                .await
                .is_ok()
        );
        assert!(
            authenticated(Some(&basic), "client_id=other")
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_client_gets_the_scopes_it_may_have() {
        let clients = clients();
        let mut form = form(Some(&basic("next+js:new")), "").await;
        let client = clients.authenticate(&mut form).unwrap();

        let all = Some("orders:read orders:write".to_owned());
        assert_eq!(client.grant_scope(None).unwrap(), all);
        assert_eq!(
            client.grant_scope(Some("orders:read")).unwrap().as_deref(),
            Some("orders:read")
        );
        assert!(client.grant_scope(Some("orders:read admin")).is_err());
    }
}
