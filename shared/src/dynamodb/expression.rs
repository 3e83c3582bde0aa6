//! DynamoDB expressions with their attribute names and values.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

/// An expression of a request with its values. `#name` in its text stands for the attribute `name`, so no
/// attribute collides with a word that DynamoDB reserves.
#[derive(Default)]
pub(crate) struct Expression {
    text: String,
    names: HashMap<String, String>,
    /// Names that do not stand for their own text, which also holds for the other expressions of the request.
    aliases: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    returns_item: bool,
}

/// The members of a request that an [`Expression`] determines, as the SDK takes them.
pub(super) struct Members {
    pub(super) text: Option<String>,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<HashMap<String, AttributeValue>>,
    pub(super) on_failure: Option<ReturnValuesOnConditionCheckFailure>,
}

impl Expression {
    /// An expression with the names that are in `text`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let names = text.split('#').skip(1).map(|rest| {
            let name = rest.split(is_end).next().unwrap_or_default();
            (format!("#{name}"), name.to_owned())
        });
        Self {
            names: names.collect(),
            text,
            ..Self::default()
        }
    }

    /// Adds values by their placeholders, such as `:now`.
    pub(crate) fn values<K: Into<String>>(
        mut self,
        values: impl IntoIterator<Item = (K, AttributeValue)>,
    ) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.into(), value));
        self.values.extend(values);
        self
    }

    /// Makes the placeholder `name` stand for `attribute` instead of for its own text.
    pub(crate) fn name(mut self, name: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.aliases.insert(name.into(), attribute.into());
        self
    }

    /// Requires `other` as well. A side with an `OR` at its top level must be in parentheses.
    pub(crate) fn and(mut self, other: Self) -> Self {
        if !self.text.is_empty() && !other.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(&other.text);
        self.absorb(other);
        self
    }

    /// Returns the item that was found if this condition fails.
    pub(crate) fn returning_item(mut self) -> Self {
        self.returns_item = true;
        self
    }

    /// Takes the names and values of another expression of the same request, and returns its text.
    pub(super) fn absorb(&mut self, other: Self) -> Option<String> {
        self.names.extend(other.names);
        self.aliases.extend(other.aliases);
        self.values.extend(other.values);
        Some(other.text).filter(|text| !text.is_empty())
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_members(mut self) -> Members {
        self.names.extend(self.aliases);
        let on_failure = ReturnValuesOnConditionCheckFailure::AllOld;
        Members {
            // DynamoDB refuses members that are empty.
            text: Some(self.text).filter(|text| !text.is_empty()),
            names: Some(self.names).filter(|names| !names.is_empty()),
            values: Some(self.values).filter(|values| !values.is_empty()),
            on_failure: self.returns_item.then_some(on_failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::number, *};

    fn names(expression: Expression) -> Vec<(String, String)> {
        let names = expression.into_members().names.unwrap_or_default();
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, attribute): &(&str, &str)| (name.to_string(), attribute.to_string());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn each_name_in_the_text_is_that_of_its_attribute() {
        for (text, expected) in [
            ("", pairs(&[])),
            ("attribute_not_exists(#pk)", pairs(&[("#pk", "pk")])),
            (
                "SET #a.#b_2 = if_not_exists(#a.#b_2,:now) REMOVE #c, #d",
                pairs(&[("#a", "a"), ("#b_2", "b_2"), ("#c", "c"), ("#d", "d")]),
            ),
            ("#idle>:now", pairs(&[("#idle", "idle")])),
        ] {
            assert_eq!(names(Expression::new(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_name_that_is_given_stands_for_that_attribute() {
        let named = || Expression::new("#identities.#provider = :x").name("#provider", "my-idp");
        let plain = || Expression::new("SET #identities.#provider = :y");
        for (mut one, other) in [(named(), plain()), (plain(), named())] {
            one.absorb(other);
            let expected = [("#identities", "identities"), ("#provider", "my-idp")];
            assert_eq!(names(one), pairs(&expected));
        }
    }

    #[test]
    fn both_sides_of_and_have_their_names_and_values() {
        let one = Expression::new("#a = :a").values([(":a", number(1_u64))]);
        let other = Expression::new("#b = :b").values([(":b", number(2_u64))]);
        let both = Expression::default()
            .and(one)
            .and(other)
            .and(Expression::default());
        assert_eq!(both.text, "#a = :a AND #b = :b");
        assert_eq!(both.values.len(), 2);
        assert_eq!(names(both), pairs(&[("#a", "a"), ("#b", "b")]));
    }

    #[test]
    fn empty_members_are_left_out() {
        let members = Expression::default().into_members();
        assert!(members.text.is_none() && members.names.is_none() && members.values.is_none());
        assert!(members.on_failure.is_none());
    }
}
