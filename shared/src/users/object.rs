//! A JSON object of an app, stored as text, so that it is read exactly as it was written.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Map, Value};

pub(super) fn serialize<S: Serializer>(
    object: &Map<String, Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = serde_json::to_string(object).map_err(ser::Error::custom)?;
    text.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    let text = String::deserialize(deserializer)?;
    // The library's message would quote the object.
    serde_json::from_str(&text).map_err(|_| de::Error::custom("not a JSON object"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::Metadata;

    proptest! {
        /// `tests/features.py` checks that the functions are built with the parser of this test.
        #[test]
        fn a_number_comes_back_as_it_was_written(number in any::<f64>().prop_filter("JSON has no others", |n| n.is_finite())) {
            let sent = json!({ "number": number }).to_string();
            let metadata: Value = json!(sent);
            let read: Metadata = serde_json::from_value(metadata).unwrap();
            let stored = serde_json::to_value(&read).unwrap();
            prop_assert_eq!(stored.as_str(), Some(sent.as_str()));
            prop_assert_eq!(read.0["number"].as_f64(), Some(number));
        }
    }
}
