//! The headers and query parameters of an event.

use std::fmt;

use form_urlencoded::Serializer;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// Names with their values, in the order of the event. A name occurs once for each of its values, so that a header that
/// was sent twice is there twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Returns the multi-value form if there is one, and the single-value form otherwise. The single-value form has one
    /// value of each name only, and never more.
    pub(super) fn of((multiple, single): (Option<Self>, Option<Self>)) -> Self {
        let multiple = multiple.filter(|pairs| !pairs.0.is_empty());
        multiple.or(single).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|pair| pair.0 == name).map(|pair| pair.1)
    }

    /// Returns the size of all names and values, in bytes.
    pub(super) fn size(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    /// Returns the query of parameters that were decoded.
    pub(super) fn encode(&self) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(self.iter()).finish()
    }

    /// Returns the query of parameters that were not decoded.
    pub(super) fn join(&self) -> String {
        let mut query = String::new();
        for (name, value) in self.iter() {
            if !query.is_empty() {
                query.push('&');
            }
            query.extend([name, "=", value]);
        }
        query
    }
}

impl FromIterator<(String, String)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Pairs;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("an object of texts or of lists of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some(name) = map.next_key::<String>()? {
                    let Values(values) = map.next_value()?;
                    pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Names)
    }
}

/// The values of a name: a list, or the only one.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Values;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, value: &str) -> Result<Values, E> {
                Ok(Values(vec![value.to_owned()]))
            }

            fn visit_string<E>(self, value: String) -> Result<Values, E> {
                Ok(Values(vec![value]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pairs(json: serde_json::Value) -> Pairs {
        Pairs::deserialize(json).unwrap()
    }

    #[test]
    fn each_value_of_a_name_is_kept() {
        let pairs = pairs(json!({ "a": "1", "b": ["2", "3"], "c": [] }));
        let all: Vec<_> = pairs.iter().collect();
        assert_eq!(all, [("a", "1"), ("b", "2"), ("b", "3")]);
        assert_eq!((pairs.size(), pairs.get("b")), (6, Some("2")));
        for other in [
            json!([]),
            json!({ "a": 1 }),
            json!({ "a": [null] }),
            json!({ "a": null }),
        ] {
            assert!(Pairs::deserialize(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn t172_a_query_is_encoded_exactly_once() {
        let decoded = pairs(json!({ "a": ["1&b=2", "%3D"], "\u{e9}": "", "x#": "y z" }));
        assert_eq!(decoded.encode(), "a=1%26b%3D2&a=%253D&x%23=y+z&%C3%A9=");
        let encoded = pairs(json!({ "a": ["1%26b%3D2", "%253D"], "%C3%A9": "" }));
        assert_eq!(encoded.join(), "%C3%A9=&a=1%26b%3D2&a=%253D");
    }
}
