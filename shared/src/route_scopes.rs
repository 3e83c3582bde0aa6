//! `ROUTE_SCOPES`: the required scopes for each route of your own API.

use std::collections::HashMap;

use crate::{
    config::{ConfigError, Environment},
    json,
    scope::{has_scope, is_scope_token},
};

/// The key of all other routes.
const ANY_OTHER: &str = "*";

/// The methods in a route key of API Gateway, in capitals.
const METHODS: [&str; 8] = [
    "ANY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT",
];

/// The required scopes by route key of API Gateway, such as `GET /orders/{id}`; `None` if the setting is unset.
#[derive(Clone, Debug, Default)]
pub struct RouteScopes(Option<HashMap<String, Vec<String>>>);

impl RouteScopes {
    /// Reads `ROUTE_SCOPES`. By default every route accepts every valid token.
    ///
    /// # Errors
    /// The value is not valid.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let Some(value) = env.optional("ROUTE_SCOPES") else {
            return Ok(Self::default());
        };
        const EXPECTED: &str = r#"JSON like {"GET /orders":"orders:read","*":"orders:write orders:read"}: route keys as API Gateway has them, and scopes of RFC 6749 §3.3 separated by spaces"#;
        let refused = |hint: String| ConfigError::hinted("ROUTE_SCOPES", &*value, hint, EXPECTED);
        let routes = json::parse(&value).map_err(refused)?;
        Self::read(routes).map_err(refused)
    }

    fn read(routes: HashMap<String, String>) -> Result<Self, String> {
        let routes = routes.into_iter().map(|(route, scope)| {
            let scopes: Vec<String> = match (route.as_str(), scope.as_str()) {
                // Explicitly: every other route accepts every valid token.
                (ANY_OTHER, "") => Vec::new(),
                (_, scope) => scope.split(' ').map(str::to_owned).collect(),
            };
            if !is_route_key(&route) {
                let like = "write a method in capitals, a space and a path, as in GET /orders";
                return Err(format!("{route:?} is no route key: {like}"));
            }
            if !scopes.iter().all(|scope| is_scope_token(scope)) {
                return Err(format!(
                    "write scopes with one space between them at {route:?}"
                ));
            }
            Ok((route, scopes))
        });
        let routes: HashMap<_, _> = routes.collect::<Result<_, _>>()?;
        if routes.is_empty() {
            return Err("name a route, or leave the setting empty".to_owned());
        }
        Ok(Self(Some(routes)))
    }

    /// Returns whether the answer depends on the route.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether a token with `scope` may call `route`: it needs all scopes of the route. If the setting names
    /// any route, unnamed routes are refused unless `*` is named.
    pub fn admit(&self, route: &str, scope: Option<&str>) -> bool {
        let Some(routes) = &self.0 else { return true };
        let Some(needed) = routes.get(route).or_else(|| routes.get(ANY_OTHER)) else {
            return false;
        };
        needed.iter().all(|needed| has_scope(scope, needed))
    }
}

/// Returns whether API Gateway can have a route with this key. An entry with any other key would protect nothing.
fn is_route_key(key: &str) -> bool {
    let is_path = |path: &str| {
        path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'?')
    };
    match key.split_once(' ') {
        Some((method, path)) => METHODS.contains(&method) && is_path(path),
        None => key == ANY_OTHER || key == "$default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(value: &str) -> Result<RouteScopes, ConfigError> {
        RouteScopes::from_env(&Environment::of([("ROUTE_SCOPES", value)]))
    }

    #[test]
    fn a_route_needs_all_of_its_scopes_and_the_others_what_all_others_need() {
        let scopes =
            scopes(r#"{"GET /orders":"read","POST /orders":"read write","*":"admin"}"#).unwrap();
        assert!(scopes.admit("GET /orders", Some("write read")));
        assert!(scopes.admit("POST /orders", Some("write read")));
        assert!(!scopes.admit("POST /orders", Some("read")));
        assert!(!scopes.admit("GET /orders", Some("reading")));
        assert!(!scopes.admit("GET /orders", None));
        assert!(!scopes.admit("DELETE /orders", Some("read write")));
        assert!(scopes.admit("DELETE /orders", Some("admin")));
    }

    #[test]
    fn where_nothing_is_said_any_token_is_enough() {
        assert!(scopes("").unwrap().admit("GET /orders", None));
    }

    #[test]
    fn t99_once_a_route_is_named_no_token_is_good_for_another() {
        let named = scopes(r#"{"GET /orders":"orders:read"}"#).unwrap();
        let rest = scopes(r#"{"GET /orders":"orders:read","*":""}"#).unwrap();
        let all = Some("orders:read orders:write");
        assert!(named.admit("GET /orders", all));
        for other in [
            "HEAD /orders",
            "ANY /orders",
            "ANY /{proxy+}",
            "$default",
            "get /orders",
            "GET /orders/",
            "*",
            "",
        ] {
            assert!(!named.admit(other, all), "{other}");
            assert!(rest.admit(other, None), "{other}");
        }
        assert!(!rest.admit("GET /orders", None));
    }

    #[test]
    fn t99_every_kind_of_route_key_can_be_named() {
        for route in [
            "ANY /{proxy+}",
            "$default",
            "GET /",
            "GET /orders/{id}",
            "HEAD /orders",
            "OPTIONS /orders",
            "PATCH /orders",
        ] {
            let value = serde_json::json!({ route: "orders:read" }).to_string();
            let scopes = scopes(&value).unwrap();
            assert!(scopes.admit(route, Some("orders:read")), "{route}");
            assert!(!scopes.admit(route, Some("orders:write")), "{route}");
        }
    }

    #[test]
    fn t99_a_key_that_no_route_has_is_refused() {
        for route in [
            "get /orders",
            "Get /orders",
            "FETCH /orders",
            "GET orders",
            "GET  /orders",
            " GET /orders",
            "GET /orders ",
            "GET /orders?a=b",
            "GET\t/orders",
            "GET /ord\u{e9}rs",
            "GET",
            "/orders",
            "$DEFAULT",
            "* /orders",
            "",
        ] {
            let value = serde_json::json!({ route: "orders:read" }).to_string();
            assert!(scopes(&value).is_err(), "{route}");
        }
    }

    #[test]
    fn t84_what_is_no_route_or_no_scope_is_refused() {
        for value in [
            "[]",
            "{",
            "{}",
            r#"{"*":" "}"#,
            r#"{"orders":"read"}"#,
            r#"{"GET /a":""}"#,
            r#"{"GET /a":"a  b"}"#,
            r#"{"GET /a":["a"]}"#,
        ] {
            assert!(scopes(value).is_err(), "{value}");
        }
    }
}
