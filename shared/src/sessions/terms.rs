//! The requirements of the present settings for a refresh.

use super::{RefreshError, store::SessionItem};
use crate::{
    dynamodb::{Expression, string},
    scope::Scope,
};

/// The requirements for a session to be refreshed. They are part of the condition of the rotation, so that a refused
/// refresh changes nothing.
///
/// Scope, provider and audience of a session never change.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The authenticated client.
    pub client_id: &'a str,
    /// The requested scope; `None` accepts a session with any scope.
    pub scope: Option<&'a Scope>,
    /// The providers of the client; `None` accepts all.
    pub providers: Option<&'a [String]>,
    /// The accepted audiences of the session, if the request names none.
    pub audiences: Option<Vec<&'a str>>,
}

impl Terms<'_> {
    /// [`Terms::check`] as a condition on the session's item.
    pub(super) fn condition(&self) -> Expression {
        let mut condition = Expression::default();
        let scopes = self.scope.iter().flat_map(|scope| scope.tokens());
        for (nth, token) in scopes.enumerate() {
            // Exact for the set of texts in the table.
            let has_token = Expression::new(format!("contains(#scope, :scope{nth})"));
            condition = condition.and(has_token.value(format!(":scope{nth}"), string(token)));
        }
        if let Some(providers) = self.providers {
            let allowed = providers.iter().map(String::as_str);
            condition = condition.and(is_one_of("provider", allowed));
        }
        if let Some(audiences) = &self.audiences {
            condition = condition.and(is_one_of("audience", audiences.iter().copied()));
        }
        condition
    }

    /// Checks the terms for a session with a valid token.
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

/// A session without the attribute, which earlier versions did not write, meets this as well.
fn is_one_of<'a>(attribute: &str, allowed: impl Iterator<Item = &'a str>) -> Expression {
    let values: Vec<_> = allowed
        .enumerate()
        .map(|(nth, allowed)| (format!(":{attribute}{nth}"), string(allowed)))
        .collect();
    let names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
    let is_one = if names.is_empty() {
        String::new()
    } else {
        format!(" OR #{attribute} IN ({})", names.join(","))
    };
    Expression::new(format!("(attribute_not_exists(#{attribute}){is_one})")).values(values)
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

        // DynamoDB allows 4 KB of expression; the rest of the condition has less than 400 bytes.
        assert!(terms.condition().text().len() < 4096 - 400);
    }
}
