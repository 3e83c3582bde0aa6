//! What a session must be for its client to refresh it, as the settings are at this moment.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{RefreshError, store::SessionItem};
use crate::{dynamodb::string, scope::Scope};

/// What a session must be for a refresh. It is part of the condition of the rotation, so that a refresh that is refused
/// changes nothing.
///
/// A session does not change its scope, provider or audience.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The authenticated client.
    pub client_id: &'a str,
    /// The scope that the client asks for; a session that was granted any scope will do where it asks for none.
    pub scope: Option<&'a Scope>,
    /// The providers that the client may sign users in with; all of them, unless its settings name some.
    pub providers: Option<&'a [String]>,
    /// The APIs that the session's tokens may be for, where the request does not name one.
    pub audiences: Option<Vec<&'a str>>,
}

/// Part of a condition expression, which starts with `AND` where there is anything to check.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) expression: String,
    pub(super) names: Vec<(&'static str, &'static str)>,
    pub(super) values: Vec<(String, AttributeValue)>,
}

impl Terms<'_> {
    /// The terms in DynamoDB's words.
    pub(super) fn condition(&self) -> Condition {
        let mut condition = Condition::default();
        if let Some(scope) = self.scope {
            condition.names.push(("#scope", "scope"));
            for (nth, token) in scope.tokens().enumerate() {
                let value = format!(":scope{nth}");
                // Exact for a set of texts, which is what the table holds.
                let contains = format!(" AND contains(#scope, {value})");
                condition.expression.push_str(&contains);
                condition.values.push((value, string(token)));
            }
        }
        if let Some(providers) = self.providers {
            let allowed = providers.iter().map(String::as_str);
            condition.one_of("#provider", "provider", allowed);
        }
        if let Some(audiences) = &self.audiences {
            condition.one_of("#audience", "audience", audiences.iter().copied());
        }
        condition
    }

    /// The terms, of a session whose token is good.
    pub(super) fn check(&self, stored: &SessionItem) -> Result<(), RefreshError> {
        let provider = stored.provider.as_ref();
        let may_use = |provider| self.providers.is_none_or(|all| all.contains(provider));
        if !provider.is_none_or(may_use) {
            return Err(RefreshError::Invalid);
        }
        let audience = stored.audience.as_deref();
        let may_have = |audience| {
            self.audiences
                .as_ref()
                .is_none_or(|all| all.contains(&audience))
        };
        if !audience.is_none_or(may_have) {
            return Err(RefreshError::AudienceNotAllowed);
        }
        let is_granted = |scope: &Scope| scope.is_within(stored.scope.as_ref());
        if !self.scope.is_none_or(is_granted) {
            return Err(RefreshError::ScopeNotGranted);
        }
        Ok(())
    }
}

impl Condition {
    /// A session without the attribute, which earlier versions did not write, will do.
    fn one_of<'a>(
        &mut self,
        name: &'static str,
        attribute: &'static str,
        allowed: impl Iterator<Item = &'a str>,
    ) {
        let mut values = Vec::new();
        for (nth, allowed) in allowed.enumerate() {
            let value = format!(":{attribute}{nth}");
            self.values.push((value.clone(), string(allowed)));
            values.push(value);
        }
        self.names.push((name, attribute));
        let is_one = if values.is_empty() {
            String::new()
        } else {
            format!(" OR {name} IN ({})", values.join(","))
        };
        let expression = format!(" AND (attribute_not_exists({name}){is_one})");
        self.expression.push_str(&expression);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::MAX_SCOPES;

    #[test]
    fn the_longest_condition_is_within_what_dynamodb_takes() {
        let names =
            |count: usize| -> Vec<String> { (0..count).map(|nth| nth.to_string()).collect() };
        let scopes = names(MAX_SCOPES);
        let scope = Scope::of(scopes.iter().map(String::as_str)).unwrap();
        let (providers, audiences) = (names(50), names(50));
        let terms = Terms {
            client_id: "nextjs",
            scope: Some(&scope),
            providers: Some(&providers),
            audiences: Some(audiences.iter().map(String::as_str).collect()),
        };

        // DynamoDB takes 4 KB of expression; the rest of the condition has less than 400 bytes.
        assert!(terms.condition().expression.len() < 4096 - 400);
    }
}
