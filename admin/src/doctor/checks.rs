//! The checks: for each its id, its requests, the expected answer, and what to do if another one comes.

/// The requirement of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The URL alone.
    Nothing,
    /// A URL that is not of this machine.
    Network,
    /// A client with its secret.
    Client,
    /// A second client with its secret.
    OtherClient,
    /// A token of a provider.
    Subject,
    /// A second token of a provider.
    SecondSubject,
    /// Time until the access token expires.
    Wait,
    /// The URL of a route behind the authorizer.
    Authorizer,
    /// The table of the signing keys.
    KeysTable,
}

impl Needs {
    /// Returns the option that provides it.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Network => "this URL is of this machine",
            Self::Client => "give --client and --secret-env",
            Self::OtherClient => "give --other-client and --other-secret-env",
            Self::Subject => "give --client and --subject-token-env",
            Self::SecondSubject => "give --subject-token-env twice, with two tokens",
            Self::Wait => "give --wait, at least the lifetime of an access token in seconds",
            Self::Authorizer => "give --authorizer-url and --subject-token-env",
            Self::KeysTable => "give --keys-table, with cambio-admin",
        }
    }
}

/// A check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name, which never changes.
    pub id: &'static str,
    /// The requirement.
    pub needs: Needs,
    /// The requests.
    pub sent: &'static str,
    /// The answer of a sound deployment.
    pub expected: &'static str,
    /// The remedy if another answer comes.
    pub advice: &'static str,
    /// The page that says more, as a path in the repository.
    pub page: &'static str,
}

const fn check(
    id: &'static str,
    needs: Needs,
    sent: &'static str,
    expected: &'static str,
    advice: &'static str,
    page: &'static str,
) -> Check {
    Check {
        id,
        needs,
        sent,
        expected,
        advice,
        page,
    }
}

const SETTINGS: &str = "docs/settings.md";
const SECURITY: &str = "docs/security.md";
const KEYS: &str = "docs/operate.md#keys";
const DOMAIN: &str = "docs/deploy.md#use-your-own-domain";
/// The advice for a guard that is missing: no setting switches one off.
const REPLACED: &str = "no setting switches this off: deploy an unchanged version of Cambio, and look for a proxy or a gateway in front of it that changes requests or answers";

/// All checks, in the order in which they run.
pub const CHECKS: &[Check] = &[
    check(
        "tls.https",
        Needs::Network,
        "GET /.well-known/openid-configuration over HTTPS",
        "a certificate for the host name from a known authority, and TLS 1.2 or later",
        "give the URL with https://, and attach a valid certificate to the domain",
        DOMAIN,
    ),
    check(
        "tls.plain-http",
        Needs::Network,
        "the same request over http://",
        "no connection, or an answer without the document",
        "close port 80, or let it redirect to HTTPS only",
        DOMAIN,
    ),
    check(
        "discovery.documents",
        Needs::Nothing,
        "GET of both metadata documents",
        "200 with the same members, the expected issuer, and the endpoints",
        "give --issuer if tokens name another issuer than the URL; otherwise correct IssuerUrl and ApiDomain",
        DOMAIN,
    ),
    check(
        "discovery.forwarded-host",
        Needs::Nothing,
        "GET of the metadata with X-Forwarded-Host, X-Original-Host and Forwarded of another host",
        "the same document as without these headers",
        REPLACED,
        SECURITY,
    ),
    check(
        "clock.skew",
        Needs::Nothing,
        "GET of the metadata",
        "a Date header within 5 seconds of this machine's clock",
        "synchronize the clock of this machine; the clock of Lambda is right",
        "docs/doctor.md#clock",
    ),
    check(
        "keys.set",
        Needs::Nothing,
        "GET /.well-known/jwks.json",
        "at least two public keys for signatures, each with a kid of its own, an algorithm, and no private member",
        "run rotate-keys; look at its log if it fails",
        KEYS,
    ),
    check(
        "keys.age",
        Needs::KeysTable,
        "GetItem of the key set in the keys table",
        "a key that signs, a next one, and the very keys that are published",
        "run rotate-keys; look at its log and its schedule if no next key waits",
        KEYS,
    ),
    check(
        "token.missing",
        Needs::Nothing,
        "GET of /me, /me/sessions and /me/identities without a token, and with headers that name a user",
        "401 with WWW-Authenticate: Bearer",
        REPLACED,
        SECURITY,
    ),
    check(
        "form.url-parameters",
        Needs::Nothing,
        "POST /token with parameters in the URL",
        "400 invalid_request",
        REPLACED,
        SECURITY,
    ),
    check(
        "form.repeated",
        Needs::Nothing,
        "POST /token with a parameter that comes twice",
        "400 invalid_request",
        REPLACED,
        SECURITY,
    ),
    check(
        "form.control-characters",
        Needs::Nothing,
        "POST /token with CR, LF and NUL in parameters",
        "400 invalid_request, and no header from the parameter",
        REPLACED,
        SECURITY,
    ),
    check(
        "form.content-type",
        Needs::Nothing,
        "POST /token with a form that is called JSON or text",
        "415",
        REPLACED,
        SECURITY,
    ),
    check(
        "form.size",
        Needs::Nothing,
        "POST /token with more than 64 KiB",
        "413",
        REPLACED,
        SECURITY,
    ),
    check(
        "form.no-echo",
        Needs::Nothing,
        "POST /token with a made-up secret as the name of a parameter, twice",
        "400 invalid_request without the made-up secret",
        REPLACED,
        SECURITY,
    ),
    check(
        "client.unknown",
        Needs::Nothing,
        "POST /introspect without a client, and as a client that does not exist",
        "401 invalid_client with WWW-Authenticate: Basic",
        REPLACED,
        SECURITY,
    ),
    check(
        "client.known",
        Needs::Client,
        "POST /introspect and /revoke as the client, about a token that does not exist",
        "200 with \"active\": false, and 200",
        "compare the secret with the parameter ClientSecretSha256",
        "docs/troubleshooting.md",
    ),
    check(
        "client.wrong-secret",
        Needs::Client,
        "POST /introspect as the client with other secrets",
        "401 invalid_client",
        "look at CLIENTS: no secret may be guessable, and the hash is that of one secret",
        "docs/clients.md",
    ),
    check(
        "client.two-methods",
        Needs::Client,
        "POST /introspect with the secret in Authorization and in the form, and with an assertion besides",
        "400 invalid_request",
        REPLACED,
        SECURITY,
    ),
    check(
        "client.two-ids",
        Needs::Client,
        "POST /introspect as the client, with another client_id in the form",
        "401 invalid_client",
        REPLACED,
        SECURITY,
    ),
    check(
        "client.scheme",
        Needs::Client,
        "POST /introspect with the client's credentials under another scheme than Basic",
        "401 invalid_client",
        REPLACED,
        SECURITY,
    ),
    check(
        "exchange.subject",
        Needs::Client,
        "POST /token with made-up tokens of the provider, and with a token of another form",
        "400 invalid_request",
        "the provider must refuse tokens of other apps: compare its settings with the page",
        "docs/providers.md",
    ),
    check(
        "exchange.actor",
        Needs::Subject,
        "POST /token with an actor_token",
        "400 invalid_request",
        REPLACED,
        SECURITY,
    ),
    check(
        "exchange.token-type",
        Needs::Subject,
        "POST /token that asks for a refresh token or a SAML assertion",
        "400 invalid_request",
        REPLACED,
        SECURITY,
    ),
    check(
        "exchange.scope",
        Needs::Subject,
        "POST /token with a scope that the client does not have",
        "400 invalid_scope",
        "remove scopes from CLIENTS that the client must not have",
        "docs/clients.md",
    ),
    check(
        "exchange.audience",
        Needs::Subject,
        "POST /token for the API of a stranger",
        "400 invalid_target",
        "remove audiences from CLIENTS that are not yours",
        "docs/clients.md",
    ),
    check(
        "exchange.sign-in",
        Needs::Subject,
        "POST /token with the provider's token",
        "200 with an access token of the issuer, a refresh token and the user",
        "give a new token of the configured app: each opens one session; the error says what is wrong",
        "docs/troubleshooting.md",
    ),
    check(
        "session.profile",
        Needs::Subject,
        "GET /me, /me/sessions and /me/identities with the access token",
        "200, the same user, and the session in the list",
        "look for the request in the log of the function",
        "docs/troubleshooting.md",
    ),
    check(
        "session.introspection",
        Needs::Subject,
        "POST /introspect about both tokens",
        "200 with \"active\": true and the same user",
        "look for the request in the log of the function",
        "docs/troubleshooting.md",
    ),
    check(
        "session.other-client",
        Needs::OtherClient,
        "POST /introspect, /revoke and a refresh by another client",
        "\"active\": false, 200 without an effect, and 400 invalid_grant; the session stays",
        "remove introspects from the other client, if its name is in CLIENTS; otherwise deploy an unchanged version",
        "docs/clients.md",
    ),
    check(
        "token.signature",
        Needs::Subject,
        "GET /me with the real token after changes: claims, signature, encoding, and a signature by another key",
        "401 invalid_token",
        REPLACED,
        SECURITY,
    ),
    check(
        "token.algorithm",
        Needs::Nothing,
        "GET /me with tokens of the algorithm none, and of HS256 with the public key as the secret",
        "401 invalid_token",
        REPLACED,
        SECURITY,
    ),
    check(
        "token.header",
        Needs::Nothing,
        "GET /me with tokens that bring a key, name one at a URL, or have another kid",
        "401 invalid_token",
        REPLACED,
        SECURITY,
    ),
    check(
        "token.substituted",
        Needs::Subject,
        "GET /me with the refresh token, with the provider's token, and with the client's secret",
        "401 invalid_token",
        REPLACED,
        SECURITY,
    ),
    check(
        "header.two-authorizations",
        Needs::Subject,
        "GET /me with two Authorization headers, one of them with the real token",
        "401",
        REPLACED,
        SECURITY,
    ),
    check(
        "header.scheme",
        Needs::Subject,
        "GET /me with the real token under another scheme than Bearer",
        "401",
        REPLACED,
        SECURITY,
    ),
    check(
        "header.other-place",
        Needs::Subject,
        "GET /me with the real token in a cookie, in X-Authorization, and in Proxy-Authorization",
        "401",
        REPLACED,
        SECURITY,
    ),
    check(
        "refresh.substituted",
        Needs::Subject,
        "POST /token with changed refresh tokens, and with the access token in place of one",
        "400 invalid_grant; the session stays",
        REPLACED,
        SECURITY,
    ),
    check(
        "refresh.scope",
        Needs::Subject,
        "a refresh that asks for a scope which the client does not have",
        "400 invalid_scope; the refresh token stays",
        REPLACED,
        SECURITY,
    ),
    check(
        "refresh.rotation",
        Needs::Subject,
        "a refresh",
        "200 with another refresh token and the same user",
        "look for the request in the log of the function",
        "docs/troubleshooting.md",
    ),
    check(
        "refresh.lost-answer",
        Needs::Subject,
        "the same refresh again at once, as after a lost answer",
        "200 with the same successor",
        "give REFRESH_REUSE_WINDOW a larger value, or none",
        SETTINGS,
    ),
    check(
        "exchange.replay",
        Needs::Subject,
        "POST /token with the provider's token once more, after the refresh",
        "400 invalid_request",
        REPLACED,
        SECURITY,
    ),
    check(
        "authorizer.refuses",
        Needs::Authorizer,
        "GET of the route behind the authorizer without a token, with a forged one, and with two headers",
        "401 or 403",
        "attach the authorizer to the route, and compare its settings with those of the page",
        "docs/protect-your-api.md",
    ),
    check(
        "authorizer.admits",
        Needs::Authorizer,
        "GET of the route behind the authorizer with the real token",
        "neither 401, 403 nor a failure",
        "compare issuer and audience of the authorizer with those of the token",
        "docs/protect-your-api.md",
    ),
    check(
        "token.expired",
        Needs::Wait,
        "GET /me with the access token after its end, while the session goes on",
        "401 invalid_token, and a refresh still works",
        REPLACED,
        SECURITY,
    ),
    check(
        "session.revoked",
        Needs::Subject,
        "POST /revoke with the refresh token; then /me, /introspect and a refresh with the tokens of the session",
        "200; then 401 invalid_token, \"active\": false and 400 invalid_grant",
        REPLACED,
        SECURITY,
    ),
    check(
        "refresh.reuse",
        Needs::SecondSubject,
        "a used refresh token, after its successor was used, in a session of its own",
        "400 invalid_grant, and the session has ended",
        REPLACED,
        SECURITY,
    ),
    check(
        "headers.security",
        Needs::Nothing,
        "all requests of this run",
        "nosniff, a content security policy, HSTS, no-referrer; no-store, except for public documents",
        "let no proxy in front of Cambio remove headers",
        SECURITY,
    ),
    check(
        "limits.retry-after",
        Needs::Nothing,
        "all requests of this run",
        "each 429 and 503 of Cambio with Retry-After",
        "let no proxy in front of Cambio remove headers",
        "docs/troubleshooting.md",
    ),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn read(path: &str) -> String {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        fs::read_to_string(root.join(path)).unwrap()
    }

    #[test]
    fn each_check_has_an_id_of_its_own_and_a_page_with_its_section() {
        let mut ids = BTreeSet::new();
        for check in CHECKS {
            assert!(ids.insert(check.id), "{}", check.id);
            let (page, section) = match check.page.split_once('#') {
                Some((page, section)) => (page, Some(section)),
                None => (check.page, None),
            };
            let page = read(page);
            let slug = |line: &str| line.to_lowercase().replace(' ', "-");
            let is_there = |section: &str| {
                let mut headings = page.lines().filter_map(|line| line.split_once("# "));
                headings.any(|(_, heading)| slug(heading) == section)
            };
            assert!(
                section.is_none_or(is_there),
                "{} of {}",
                check.page,
                check.id
            );
        }
    }

    #[test]
    fn the_page_lists_each_check_and_no_other() {
        let page = read("docs/doctor.md");
        let is_id = |cell: &&str| cell.contains('.') && !cell.contains(' ');
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: Vec<&str> = rows
            .filter_map(|row| row.split('`').next())
            .filter(is_id)
            .collect();
        let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(listed, ids);
    }
}
