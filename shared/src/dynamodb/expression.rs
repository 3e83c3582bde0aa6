//! DynamoDB expressions with their attribute names and values.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::{SCHEMA, number};

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

    /// The condition that the item exists.
    pub(crate) fn exists() -> Self {
        Self::new("attribute_exists(#pk)")
    }

    /// The condition that this version can read the item: a change must not mix with a form that it does not know.
    pub(crate) fn readable() -> Self {
        Self::new("(attribute_not_exists(#schema) OR #schema <= :readable)")
            .value(":readable", number(SCHEMA))
    }

    /// The condition that the item has this version, or that there is no item yet.
    pub(crate) fn of_version(version: Option<u64>) -> Self {
        match version {
            None => Self::new("attribute_not_exists(#pk)"),
            Some(version) => Self::new("#version = :version").value(":version", number(version)),
        }
    }

    /// Adds a value by its placeholder, such as `:now`.
    pub(crate) fn value(mut self, name: impl Into<String>, value: AttributeValue) -> Self {
        self.values.insert(name.into(), value);
        self
    }

    /// Adds several values by their placeholders.
    pub(crate) fn values(
        mut self,
        values: impl IntoIterator<Item = (String, AttributeValue)>,
    ) -> Self {
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

    fn assert_names(expression: Expression, expected: &[(&str, &str)]) {
        let owned = |(name, of): &(&str, &str)| (name.to_string(), of.to_string());
        let names = expression.into_members().names.unwrap_or_default();
        assert_eq!(names, expected.iter().map(owned).collect());
    }

    #[test]
    fn each_name_in_the_text_is_that_of_its_attribute() {
        assert_names(Expression::default(), &[]);
        assert_names(Expression::new("#idle>:now"), &[("#idle", "idle")]);
        assert_names(
            Expression::new("SET #a.#b_2 = if_not_exists(#a.#b_2,:now) REMOVE #c, #d"),
            &[("#a", "a"), ("#b_2", "b_2"), ("#c", "c"), ("#d", "d")],
        );
    }

    #[test]
    fn a_name_that_is_given_holds_for_the_whole_request() {
        let named = || Expression::new("#all.#one = :x").name("#one", "my-idp");
        let plain = || Expression::new("SET #all.#one = :y");
        for (mut one, other) in [(named(), plain()), (plain(), named())] {
            one.absorb(other);
            assert_names(one, &[("#all", "all"), ("#one", "my-idp")]);
        }
    }

    #[test]
    fn both_sides_of_and_have_their_names_and_values() {
        let one = Expression::new("#a = :a").value(":a", number(1_u64));
        let other = Expression::new("#b = :b").value(":b", number(2_u64));
        let both = Expression::default().and(one).and(other);
        let both = both.and(Expression::default());
        assert_eq!(both.text, "#a = :a AND #b = :b");
        assert_eq!(both.values.len(), 2);
        assert_names(both, &[("#a", "a"), ("#b", "b")]);
    }
}
