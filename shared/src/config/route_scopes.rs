//! `ROUTE_SCOPES`: what a token must be good for, by route of your own API.

use std::collections::HashMap;

use super::{ConfigError, Environment, Found, clients::is_scope_token};
use crate::token::has_scope;

/// Every route that is not named.
const ANY: &str = "*";

/// The scopes that each route asks for, by its key as API Gateway has it, like `GET /orders/{id}`.
#[derive(Clone, Debug, Default)]
pub struct RouteScopes(HashMap<String, Vec<String>>);

impl RouteScopes {
    /// Reads `ROUTE_SCOPES`; unless set, any good token is enough anywhere.
    ///
    /// # Errors
    /// The value is no such JSON.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let Some(value) = env.optional("ROUTE_SCOPES") else {
            return Ok(Self::default());
        };
        Self::read(&value).ok_or(ConfigError {
            name: "ROUTE_SCOPES",
            found: Found::Value(value),
            expected: r#"JSON like {"GET /orders":"orders:read","*":"orders:write orders:read"}, with scopes of RFC 6749 §3.3 separated by spaces"#,
        })
    }

    fn read(value: &str) -> Option<Self> {
        let routes: HashMap<String, String> = serde_json::from_str(value).ok()?;
        let routes = routes.into_iter().map(|(route, scope)| {
            let scopes: Vec<String> = scope.split(' ').map(str::to_owned).collect();
            let is_route = route == ANY || route == "$default" || route.contains(" /");
            let is_sound = is_route && scopes.iter().all(|scope| is_scope_token(scope));
            is_sound.then_some((route, scopes))
        });
        routes.collect::<Option<_>>().map(Self)
    }

    /// Whether a token with `scope` is good for `route`: it needs all of the route's scopes.
    pub fn admit(&self, route: &str, scope: Option<&str>) -> bool {
        let Some(needed) = self.0.get(route).or_else(|| self.0.get(ANY)) else {
            return true;
        };
        needed.iter().all(|needed| has_scope(scope, needed))
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
        assert!(
            scopes(r#"{"GET /a":"a"}"#)
                .unwrap()
                .admit("GET /orders", None)
        );
    }

    #[test]
    fn t84_what_is_no_route_or_no_scope_is_refused() {
        for value in [
            "[]",
            "{",
            r#"{"orders":"read"}"#,
            r#"{"GET /a":""}"#,
            r#"{"GET /a":"a  b"}"#,
            r#"{"GET /a":["a"]}"#,
        ] {
            assert!(scopes(value).is_err(), "{value}");
        }
    }
}
