//! `CLIENTS`: the registered clients of the OAuth endpoints.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{ConfigError, Environment},
    http::{ApiError, GRANT_TYPE_REFRESH_TOKEN, GRANT_TYPE_TOKEN_EXCHANGE, is_vschar},
    json,
    jwk::{self, KeySet},
    jws::PublicKey,
    provider::Voucher,
    scope::{Scope, is_scope_token},
};

/// A registered confidential client (RFC 6749 §2.1).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registered {
    /// The public id of the client.
    pub(super) client_id: String,
    /// SHA-256 of each accepted secret: one, or two during a replacement.
    #[serde(default, deserialize_with = "sha256_hex_list")]
    pub(super) secret_sha256: Vec<[u8; 32]>,
    /// The public keys of the client by `kid`, for client assertions (RFC 7523 §2.2).
    #[serde(default)]
    pub(super) jwks: ClientKeys,
    /// The scopes that the client may request. A request without `scope` gets all of them.
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    /// The providers that the client may sign users in with; by default all configured ones.
    #[serde(default)]
    pub(super) providers: Option<Vec<String>>,
    /// The audiences that the client may request; by default `TOKEN_AUDIENCE`. A request without one gets the first.
    #[serde(default)]
    pub(super) audiences: Vec<String>,
    /// True if the client may introspect tokens of other clients, as an API does (RFC 7662 §4).
    #[serde(default)]
    pub(super) introspects: bool,
    /// The issuer and the public keys by which the client vouches for its own users.
    #[serde(default)]
    vouches: Option<Vouches>,
    /// `vouches`, with usable keys.
    #[serde(skip)]
    pub(super) voucher: Option<Voucher>,
    /// The grant types that the client may use, by [`GrantType::name`]; by default all, and none with `introspects`.
    #[serde(default)]
    pub(super) grants: Option<Vec<String>>,
}

/// All registered clients.
pub(crate) type Registrations = Vec<Arc<Registered>>;

/// `vouches` of a client, unchecked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vouches {
    /// The `iss` of its tokens; by default the client id.
    issuer: Option<String>,
    /// The keys, as in a JWK Set (RFC 7517 §5).
    keys: Vec<Value>,
}

/// The grant types of `POST /token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    /// RFC 8693 §2.1.
    TokenExchange,
    /// RFC 6749 §6.
    RefreshToken,
}

impl GrantType {
    const ALL: [Self; 2] = [Self::TokenExchange, Self::RefreshToken];

    /// Parses the `grant_type` of a request.
    ///
    /// # Errors
    /// [`ApiError::UnsupportedGrantType`].
    pub fn parse(grant_type: &str) -> Result<Self, ApiError> {
        match grant_type {
            GRANT_TYPE_TOKEN_EXCHANGE => Ok(Self::TokenExchange),
            GRANT_TYPE_REFRESH_TOKEN => Ok(Self::RefreshToken),
            _ => Err(ApiError::UnsupportedGrantType),
        }
    }

    /// Returns the name in `grants`: the last part of the grant type.
    fn name(self) -> &'static str {
        match self {
            Self::TokenExchange => "token-exchange",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// A JWK Set (RFC 7517 §5) of usable keys only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "JwkSet")]
pub(super) struct ClientKeys(KeySet);

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl TryFrom<JwkSet> for ClientKeys {
    type Error = &'static str;

    fn try_from(set: JwkSet) -> Result<Self, Self::Error> {
        let usable = jwk::usable(&set.keys);
        let named = usable.ids().count();
        if named == 0 || named != set.keys.len() {
            return Err("write public keys only, with a kid each, no kid twice, and no weak key");
        }
        Ok(Self(usable))
    }
}

impl ClientKeys {
    /// Returns the key named `kid`, or the only key for `alg` if there is no `kid`.
    pub(super) fn find(&self, kid: Option<&str>, alg: Algorithm) -> Option<&PublicKey> {
        self.0.find(kid, alg).map(Arc::as_ref)
    }
}

/// The condition of a refresh contains all audiences or providers of a client, and DynamoDB limits it to 4 KB.
const MAX_NAMES: usize = 50;
/// The largest number of clients. Each start parses all of them, and each request may search them.
const MAX_CLIENTS: usize = 100;

const EXPECTED: &str = r#"JSON like [{"client_id":"nextjs","secret_sha256":["<64 hex digits>"]}], with unique ids, one or two secrets or public keys with a kid in "jwks" each, and optional "scopes", "providers", "audiences", "introspects", "vouches" (with "keys") and "grants" (of token-exchange and refresh_token)"#;

/// Reads `CLIENTS`: the registered clients, as JSON.
///
/// # Errors
/// The value is missing or not valid, or a client occurs twice. The error does not show the value.
pub(crate) fn clients(env: &Environment) -> Result<Registrations, ConfigError> {
    let refused = |problem: String| ConfigError::secret("CLIENTS", problem, EXPECTED);
    let value = env.required("CLIENTS", EXPECTED)?;
    let mut clients: Vec<Registered> = json::parse(&value).map_err(refused)?;
    if clients.is_empty() {
        return Err(refused("it contains no client: write one".to_owned()));
    }
    if clients.len() > MAX_CLIENTS {
        return Err(refused(format!(
            "it contains more than {MAX_CLIENTS} clients: remove those that are not in use, or deploy Cambio once more"
        )));
    }
    for (index, client) in clients.iter().enumerate() {
        let mut others = clients[..index].iter();
        if let Some(problem) = client.problem() {
            return Err(refused(format!("[{index}] {problem}")));
        }
        if others.any(|other| other.client_id == client.client_id) {
            return Err(refused(format!(
                "[{index}].client_id is the one of another client: write each client once"
            )));
        }
    }
    for (index, client) in clients.iter_mut().enumerate() {
        client.voucher = client
            .voucher()
            .map_err(|problem| refused(format!("[{index}] {problem}")))?;
    }
    Ok(clients.into_iter().map(Arc::new).collect())
}

impl Registered {
    /// Returns whether the client may sign users in with `provider`.
    pub(super) fn may_use(&self, provider: &str) -> bool {
        let allowed = self.providers.as_ref();
        allowed.is_none_or(|allowed| allowed.iter().any(|name| name == provider))
    }

    /// Returns whether the client may use `grant`.
    pub(super) fn may_grant(&self, grant: GrantType) -> bool {
        match &self.grants {
            Some(grants) => grants.iter().any(|name| name == grant.name()),
            None => !self.introspects,
        }
    }

    fn problem(&self) -> Option<&'static str> {
        let is_text = |text: &String| !text.is_empty() && text.bytes().all(is_vschar);
        if !is_text(&self.client_id) {
            return Some(
                "has a client_id that is empty or has characters other than visible ASCII and space",
            );
        }
        if self.secret_sha256.is_empty() && self.jwks.0.is_empty() {
            return Some("has neither secret_sha256 nor jwks: write one of them");
        }
        if !self.scopes.iter().all(|scope| is_scope_token(scope)) {
            return Some(
                "has an entry in scopes that is not a scope-token (RFC 6749 §3.3): write one scope in each entry, without spaces",
            );
        }
        if !self.scopes.is_empty() && self.scope().is_none() {
            return Some("has more than 64 scopes, or more than 1,024 bytes of them");
        }
        if !self.audiences.iter().all(is_text) {
            return Some(
                "has an audience that is empty or has characters other than visible ASCII and space",
            );
        }
        let providers = self.providers.as_ref().map_or(0, Vec::len);
        if self.audiences.len() > MAX_NAMES || providers > MAX_NAMES {
            return Some("has more than 50 audiences or providers");
        }
        let is_grant = |name: &String| GrantType::ALL.iter().any(|grant| grant.name() == name);
        if !self.grants.iter().flatten().all(is_grant) {
            return Some("has a name in grants that is neither token-exchange nor refresh_token");
        }
        None
    }

    fn voucher(&self) -> Result<Option<Voucher>, &'static str> {
        let Some(Vouches { issuer, keys }) = &self.vouches else {
            return Ok(None);
        };
        let voucher = Voucher::new(&self.client_id, issuer.clone(), keys)?;
        if !self.may_use(voucher.name()) {
            return Err("has vouches, but its providers do not name app:<client_id>");
        }
        Ok(Some(voucher))
    }

    /// Returns all scopes of the client.
    pub(super) fn scope(&self) -> Option<Scope> {
        Scope::of(self.scopes.iter().map(String::as_str)).ok()
    }
}

/// The problem of a list of hashes, without any of them: an operator may have written the secrets.
const HASHES: &str = "write the SHA-256 of one or two secrets, 64 hex digits each, and neither a secret itself nor the hash of an empty text";

fn sha256_hex_list<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<[u8; 32]>, D::Error> {
    let hashes = Vec::<String>::deserialize(deserializer)?;
    let decoded: Option<Vec<_>> = hashes.iter().map(|hash| sha256_from_hex(hash)).collect();
    // The SHA-256 of an empty text, the output of `sha256sum` for an unset variable.
    let nothing = digest(&SHA256, b"");
    decoded
        .filter(|hashes| (1..=2).contains(&hashes.len()))
        .filter(|hashes| hashes.iter().all(|hash| hash != nothing.as_ref()))
        .ok_or_else(|| serde::de::Error::custom(HASHES))
}

fn sha256_from_hex(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn clients_of(json: &str) -> Result<Registrations, ConfigError> {
        clients(&Environment::of([("CLIENTS", json)]))
    }

    /// Asserts that the list is refused without being shown, and returns the error.
    #[track_caller]
    fn refused(json: &str) -> String {
        let error = clients_of(json).unwrap_err().to_string();
        assert!(error.starts_with("CLIENTS "), "{error}");
        let shows_nothing = !error.contains("hunter2") && !error.contains(A_HASH);
        assert!(shows_nothing, "{error}");
        error
    }

    #[test]
    fn a_hash_is_of_64_hex_digits_and_nothing_else() {
        let hash = sha256_from_hex(A_HASH).unwrap();
        assert_eq!((hash[0], hash[1], hash[31]), (0x9f, 0x86, 0x08));
        assert_eq!(sha256_from_hex(&A_HASH.to_uppercase()), Some(hash));
        let longer = format!("{A_HASH}00");
        // Rust reads a sign as a part of a number.
        let (signed, letters, wide) = ("+f".repeat(32), "g".repeat(64), "ü".repeat(32));
        for hex in [
            "",
            &A_HASH[..62],
            &A_HASH[..63],
            &longer,
            &signed,
            &letters,
            &wide,
        ] {
            assert_eq!(sha256_from_hex(hex), None, "{hex}");
        }
    }

    #[test]
    fn clients_have_one_or_two_secrets() {
        let one = clients_of(&format!(
            r#"[{{"client_id":"a","secret_sha256":["{A_HASH}"]}}]"#
        ))
        .unwrap();
        assert_eq!(one[0].secret_sha256[0][..2], [0x9f, 0x86]);

        for secrets in ["[]", &format!(r#"["{A_HASH}","{A_HASH}","{A_HASH}"]"#)] {
            let json = format!(r#"[{{"client_id":"a","secret_sha256":{secrets}}}]"#);
            assert!(clients_of(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn t161_there_is_a_bounded_number_of_clients() {
        let clients = |count: usize| {
            let one =
                |nth| format!(r#"{{"client_id":"client-{nth}","secret_sha256":["{A_HASH}"]}}"#);
            let all: Vec<String> = (0..count).map(one).collect();
            format!("[{}]", all.join(","))
        };
        assert_eq!(
            clients_of(&clients(MAX_CLIENTS)).unwrap().len(),
            MAX_CLIENTS
        );
        let error = refused(&clients(MAX_CLIENTS + 1));
        assert!(error.contains("more than 100 clients"), "{error}");
    }

    #[test]
    fn t84_a_wrong_client_list_is_refused_without_showing_it() {
        let repeated = format!(r#"{{"client_id":"a","secret_sha256":["{A_HASH}"]}}"#);
        let with_many = |member: &str, count: usize, name: &str| {
            let names: Vec<String> = (0..count).map(|nth| format!("{name}{nth}")).collect();
            let names = serde_json::json!(names);
            format!(r#"[{{"client_id":"a","secret_sha256":["{A_HASH}"],"{member}":{names}}}]"#)
        };
        for (member, count) in [("scopes", 64), ("audiences", 50), ("providers", 50)] {
            assert!(
                clients_of(&with_many(member, count, "name")).is_ok(),
                "{member}"
            );
        }
        for json in [
            "",
            "[]",
            "{}",
            "hunter2",
            r#"[{"client_id":"a","secret_sha256":["hunter2"]}]"#,
            r#"[{"client_id":"a","secret":"hunter2","secret_sha256":[]}]"#,
            &format!("[{repeated},{repeated}]"),
            &format!(r#"[{{"client_id":"a","secret_sha256":["{A_HASH}"],"audiences":[""]}}]"#),
            &format!(r#"[{{"client_id":"","secret_sha256":["{A_HASH}"]}}]"#),
            // The hash of an empty text.
            r#"[{"client_id":"a","secret_sha256":["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}]"#,
            &format!(
                r#"[{{"client_id":"a","secret_sha256":["{A_HASH}"],"scopes":["two words"]}}]"#
            ),
            &with_many("scopes", 65, "scope"),
            &with_many("scopes", 5, &"x".repeat(205)),
            &with_many("audiences", 51, "https://api.example.com/"),
            &with_many("providers", 51, "provider"),
            &format!(
                r#"[{{"client_id":"a","secret_sha256":["é{}"]}}]"#,
                &A_HASH[2..]
            ),
        ] {
            refused(json);
        }
    }

    #[test]
    fn t84_a_wrong_grant_is_refused_by_the_name_of_the_member_without_showing_it() {
        let with = |grants: &str| {
            format!(r#"[{{"client_id":"a","secret_sha256":["{A_HASH}"],"grants":{grants}}}]"#)
        };
        for grants in [
            "null",
            "[]",
            r#"["refresh_token"]"#,
            r#"["token-exchange","refresh_token"]"#,
        ] {
            assert!(clients_of(&with(grants)).is_ok(), "{grants}");
        }
        for grants in [
            r#"["hunter2"]"#,
            r#"["token-exchange","hunter2"]"#,
            r#"["urn:ietf:params:oauth:grant-type:token-exchange"]"#,
            r#"["refresh-token"]"#,
            r#"["Refresh_token"]"#,
            r#"["refresh_token "]"#,
            r#"[""]"#,
            r#""token-exchange""#,
            "[1]",
            "true",
        ] {
            let error = refused(&with(grants));
            assert!(error.contains("grants"), "{error}");
        }
    }

    #[test]
    fn t120_t84_vouches_without_usable_keys_are_refused_by_the_name_of_the_member() {
        let key = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        let one = format!(r#"{{{key},"kid":"one"}}"#);
        let of = |id: &str, vouches: &str, more: &str| {
            format!(
                r#"[{{"client_id":"{id}","secret_sha256":["{A_HASH}"],"vouches":{vouches}{more}}}]"#
            )
        };
        let keys = |keys: &str| format!(r#"{{"keys":[{keys}]}}"#);
        for (id, more, name) in [
            ("Next.js", "", "app:Next.js"),
            ("a", r#","providers":["github","app:a"]"#, "app:a"),
        ] {
            let clients = clients_of(&of(id, &keys(&one), more)).unwrap();
            assert_eq!(clients[0].voucher.as_ref().unwrap().name(), name);
        }
        let issued = format!(r#"{{"issuer":"https://shop.example.com","keys":[{one}]}}"#);
        assert!(clients_of(&of("a", &issued, "")).is_ok());

        let weak = "k".repeat(257);
        for (id, vouches, more, member) in [
            ("a", keys(""), "", "vouches"),
            ("a", keys(&format!("{{{key}}}")), "", "keys of vouches"),
            ("a", keys(&format!("{one},{one}")), "", "keys of vouches"),
            (
                "a",
                keys(r#"{"kty":"oct","kid":"one","k":"hunter2"}"#),
                "",
                "symmetric",
            ),
            (
                "a",
                keys(&format!(
                    r#"{one},{{"kty":"oct","kid":"two","k":"hunter2"}}"#
                )),
                "",
                "symmetric",
            ),
            (
                "a",
                keys(&format!(r#"{{{key},"kid":"one","d":"hunter2"}}"#)),
                "",
                "private",
            ),
            (
                "a",
                keys(&format!(r#"{{{key},"kid":"{weak}"}}"#)),
                "",
                "keys of vouches",
            ),
            (
                "a",
                format!(r#"{{"issuer":"","keys":[{one}]}}"#),
                "",
                "issuer",
            ),
            (
                "a",
                format!(r#"{{"issuer":"two words","keys":[{one}]}}"#),
                "",
                "issuer",
            ),
            ("next js", keys(&one), "", "client_id"),
            ("a:b", keys(&one), "", "client_id"),
            ("a/b", keys(&one), "", "client_id"),
            (&"a".repeat(65), keys(&one), "", "client_id"),
            ("a", keys(&one), r#","providers":["github"]"#, "providers"),
            (
                "a",
                keys(&one),
                r#","providers":["github","app:b"]"#,
                "providers",
            ),
            ("a", "{}".to_owned(), "", "vouches"),
            ("a", "true".to_owned(), "", "vouches"),
            (
                "a",
                format!(r#"{{"keys":[{one}],"secret":"hunter2"}}"#),
                "",
                "vouches",
            ),
        ] {
            let error = refused(&of(id, &vouches, more));
            assert!(error.contains(member), "{vouches}: {error}");
        }
    }

    #[test]
    fn a_client_that_introspects_has_no_grant_unless_it_is_named() {
        let granted = |members: &str| {
            let json = format!(r#"[{{"client_id":"a","secret_sha256":["{A_HASH}"]{members}}}]"#);
            let clients = clients_of(&json).unwrap();
            GrantType::ALL.map(|grant| clients[0].may_grant(grant))
        };
        assert_eq!(granted(""), [true, true]);
        assert_eq!(granted(r#","introspects":false"#), [true, true]);
        assert_eq!(granted(r#","introspects":true"#), [false, false]);
        assert_eq!(
            granted(r#","introspects":true,"grants":["token-exchange","refresh_token"]"#),
            [true, true]
        );
        assert_eq!(granted(r#","grants":["token-exchange"]"#), [true, false]);
        assert_eq!(granted(r#","grants":["refresh_token"]"#), [false, true]);
        assert_eq!(granted(r#","grants":[]"#), [false, false]);
    }

    #[test]
    fn a_client_may_have_public_keys_instead_and_nothing_else_of_a_key() {
        let key = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        let of = |keys: &str| {
            clients_of(&format!(
                r#"[{{"client_id":"a","jwks":{{"keys":[{keys}]}}}}]"#
            ))
        };

        assert!(
            of(&format!(r#"{{{key},"kid":"one"}}"#)).unwrap()[0]
                .jwks
                .find(Some("one"), Algorithm::ES256)
                .is_some()
        );
        for keys in [
            "".to_owned(),
            format!("{{{key}}}"),
            format!(r#"{{{key},"kid":"one","d":"hunter2"}}"#),
            format!(r#"{{{key},"kid":"one"}},{{{key},"kid":"one"}}"#),
            format!(r#"{{{key},"kid":"one"}},{{{key},"kid":"two","d":"hunter2"}}"#),
            r#"{"kty":"oct","k":"hunter2","kid":"one"}"#.to_owned(),
        ] {
            let error = of(&keys).unwrap_err().to_string();
            assert!(
                error.starts_with("CLIENTS ") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(
            clients_of(r#"[{"client_id":"a"}]"#).is_err(),
            "nothing to prove itself by"
        );
    }
}
