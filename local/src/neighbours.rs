//! Access control of the servers on this machine.
//!
//! Listening on the loopback address keeps other machines out, but not websites: the developer's browser reaches
//! every port. A website sends requests from its own origin, or points its own host name at this machine (DNS
//! rebinding) and then counts as the same origin. Browsers name origin and host in headers that no script can change.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use thiserror::Error;
use url::{Host, Url};

/// The host names that no DNS record of a stranger can point at this machine.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Restricts `routes`, which listen on `port`, to programs and pages of this machine.
pub(crate) fn keep_websites_out(routes: Router, port: u16) -> Router {
    routes.layer(middleware::from_fn_with_state(port, admit))
}

async fn admit(State(port): State<u16>, request: Request, next: Next) -> Response {
    match check(request.headers(), port) {
        Ok(()) => next.run(request).await,
        Err(stranger) => stranger.into_response(),
    }
}

fn check(headers: &HeaderMap, port: u16) -> Result<(), Stranger> {
    let host = one(headers, header::HOST)?.ok_or(Stranger::Host)?;
    let is_own_name = |name| host.eq_ignore_ascii_case(&format!("{name}:{port}"));
    if !OWN_NAMES.into_iter().any(is_own_name) {
        return Err(Stranger::Host);
    }
    // Requests of programs have no `Origin`, and neither has a link that a user follows.
    match one(headers, header::ORIGIN)? {
        Some(origin) if !is_of_this_machine(origin) => Err(Stranger::Origin),
        _ => Ok(()),
    }
}

/// Returns the value of a header that occurs at most once.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Stranger> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Stranger::Header),
        (Some(_), Some(_)) => Err(Stranger::Header),
    }
}

fn is_of_this_machine(origin: &str) -> bool {
    let origin = Url::parse(origin).ok();
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
    origin.filter(is_web).is_some_and(|url| is_loopback(&url))
}

/// Returns whether the host of `url` is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Reasons that a request is refused, in words for the developer of the program.
#[derive(Clone, Copy, Debug, Error)]
enum Stranger {
    #[error(
        "The host name of this request is not one of this machine. Use localhost, 127.0.0.1 or [::1].\n"
    )]
    Host,
    #[error("The request comes from a website on another machine, which this server refuses.\n")]
    Origin,
    #[error("The Host or Origin header of this request is repeated or is not text.\n")]
    Header,
}

impl IntoResponse for Stranger {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Header => StatusCode::BAD_REQUEST,
        };
        (status, self.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(pairs: &[(HeaderName, &str)]) -> bool {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        check(&headers, 9000).is_ok()
    }

    #[test]
    fn t100_only_this_machine_s_own_names_are_answered() {
        for own in [
            "localhost:9000",
            "LOCALHOST:9000",
            "127.0.0.1:9000",
            "[::1]:9000",
        ] {
            assert!(admits(&[(header::HOST, own)]), "{own}");
        }
        for other in [
            "",
            "localhost",
            "localhost:9001",
            "localhost.:9000",
            "localhost.evil.example:9000",
            "evil.example:9000",
            "127.0.0.1.evil.example:9000",
            "127.1:9000",
            "192.168.1.2:9000",
            "localhost:9000@evil.example",
        ] {
            assert!(!admits(&[(header::HOST, other)]), "{other}");
        }
        assert!(!admits(&[]));
        assert!(!admits(&[
            (header::HOST, "localhost:9000"),
            (header::HOST, "localhost:9000")
        ]));
    }

    #[test]
    fn t100_no_page_of_another_machine_is_answered() {
        let from = |origin| admits(&[(header::HOST, "localhost:9000"), (header::ORIGIN, origin)]);
        for own in [
            "http://localhost:9000",
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://[::1]:3000",
        ] {
            assert!(from(own), "{own}");
        }
        for other in [
            "null",
            "",
            "https://evil.example",
            "http://evil.example:9000",
            "http://localhost.evil.example",
            "http://localhost@evil.example",
            "http://192.168.1.2:9000",
            "file://",
            "file://localhost/",
            "chrome-extension://localhost",
            "http://localhost:9000, https://evil.example",
        ] {
            assert!(!from(other), "{other}");
        }
        assert!(!admits(&[
            (header::HOST, "localhost:9000"),
            (header::ORIGIN, "http://localhost:9000"),
            (header::ORIGIN, "https://evil.example"),
        ]));
    }
}
