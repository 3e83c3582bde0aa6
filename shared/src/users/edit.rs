//! The members that users may edit, by a JSON Merge Patch (RFC 7396).

use json_patch::merge;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{User, object};
use crate::text::{MAX_CHARS, composed, is_blank, picture, presentable};

/// The largest metadata, in bytes of JSON.
const MAX_METADATA: usize = 4096;

/// The members that the user edited, which later sign-ins leave unchanged. The inner `None` is a member that the user
/// removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// The display name.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<Option<String>>,
    /// An `https` URL.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub picture: Option<Option<String>>,
}

/// Data of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(#[serde(with = "object")] pub Map<String, Value>);

/// A merge patch of the editable members. Any other member is an error.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The display name; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    pub name: Option<Option<String>>,
    /// An `https` URL; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    pub picture: Option<Option<String>>,
    /// A merge patch of the metadata; `null` removes all.
    #[serde(default, deserialize_with = "present")]
    pub metadata: Option<Option<Map<String, Value>>>,
}

/// A value of a patch is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatchError {
    /// The name is empty or too long, or has invisible characters.
    #[error("name must be null or 1 to {MAX_CHARS} visible characters in one line")]
    Name,
    /// The picture is not an `https` URL, is too long, or has a user name or invisible characters.
    #[error(
        "picture must be null or an https URL of at most 2048 bytes, without a user name and without invisible characters"
    )]
    Picture,
    /// The metadata would be too large.
    #[error(
        "metadata must be null or an object, and at most {MAX_METADATA} bytes of JSON after the change"
    )]
    Metadata,
}

impl Patch {
    /// Applies this patch to `user` (RFC 7396 §2). A second application changes nothing.
    ///
    /// # Errors
    /// A value is not accepted. Then no member is changed.
    pub fn apply(&self, user: &User) -> Result<(Edited, Metadata), PatchError> {
        let mut edited = user.edited.clone();
        if let Some(name) = &self.name {
            edited.name = Some(name.as_deref().map(name_of).transpose()?);
        }
        if let Some(url) = &self.picture {
            let spelled = |url| picture(url).ok_or(PatchError::Picture);
            edited.picture = Some(url.as_deref().map(spelled).transpose()?);
        }
        let metadata = match &self.metadata {
            None => user.metadata.clone(),
            Some(None) => Metadata::default(),
            Some(Some(patch)) => merged(&user.metadata, patch)?,
        };
        Ok((edited, metadata))
    }
}

/// Returns the normalized text, if it is one visible line.
fn name_of(raw: &str) -> Result<String, PatchError> {
    let name = composed(raw.trim());
    let fits = name.chars().count() <= MAX_CHARS;
    if fits && presentable(&name) == name && !is_blank(&name) {
        Ok(name.into_owned())
    } else {
        Err(PatchError::Name)
    }
}

fn merged(metadata: &Metadata, patch: &Map<String, Value>) -> Result<Metadata, PatchError> {
    let mut document = Value::Object(metadata.0.clone());
    merge(&mut document, &Value::Object(patch.clone()));
    let size = document.to_string().len();
    match document {
        Value::Object(object) if size <= MAX_METADATA => Ok(Metadata(object)),
        _ => Err(PatchError::Metadata),
    }
}

/// Deserializes a member so that `null` differs from absence.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn user(metadata: Value) -> User {
        serde_json::from_value(json!({
            "id": "01a208bb-db28-776e-8b0c-7dfd69859e79",
            "status": "active",
            "profile": { "name": "The Octocat" },
            "metadata": metadata.to_string(),
            "identities": {},
            "session_version": 0,
            "created_at": 0,
        }))
        .unwrap()
    }

    fn patch(patch: Value) -> Patch {
        serde_json::from_value(patch).unwrap()
    }

    /// Returns the patched metadata.
    fn merged_with(original: Value, metadata: Value) -> Value {
        let patched = patch(json!({ "metadata": metadata })).apply(&user(original));
        Value::Object(patched.unwrap().1.0)
    }

    /// RFC 7396, Appendix A, the cases with objects.
    #[test]
    fn the_examples_of_the_rfc_come_out_as_it_says() {
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            assert_eq!(merged_with(original, patch), result);
        }
    }

    #[test]
    fn null_removes_and_what_is_not_named_stays() {
        let mut user = user(json!({}));
        (user.edited, user.metadata) = patch(json!({ "name": null })).apply(&user).unwrap();
        assert_eq!(user.name(), None);
        (user.edited, user.metadata) = patch(json!({ "picture": null })).apply(&user).unwrap();
        assert_eq!(user.name(), None);
    }

    #[test]
    fn a_name_is_one_visible_line_of_a_bounded_length() {
        let longest = "é".repeat(MAX_CHARS);
        for (raw, name) in [
            ("Ada", Ok("Ada")),
            (" Ada ", Ok("Ada")),
            (&longest, Ok(longest.as_str())),
            (&format!("{longest}é"), Err(PatchError::Name)),
            ("", Err(PatchError::Name)),
            (" ", Err(PatchError::Name)),
            ("Ada\nLovelace", Err(PatchError::Name)),
        ] {
            assert_eq!(name_of(raw), name.map(str::to_owned), "{raw:?}");
        }
    }

    #[test]
    fn metadata_is_of_a_bounded_size_after_the_change() {
        let patched = |size: usize| {
            let added = "x".repeat(size - r#"{"a":"1","b":""}"#.len());
            patch(json!({ "metadata": { "b": added } })).apply(&user(json!({ "a": "1" })))
        };
        let (_, metadata) = patched(MAX_METADATA).unwrap();
        assert_eq!(metadata.0.len(), 2);
        let refused = patched(MAX_METADATA + 1).map(drop);
        assert_eq!(refused, Err(PatchError::Metadata));
    }

    #[test]
    fn an_edit_is_stored_and_read_back_with_what_was_removed() {
        let edited = Edited {
            name: Some(None),
            picture: Some(Some("https://example.com".to_owned())),
        };
        let stored: aws_sdk_dynamodb::types::AttributeValue =
            serde_dynamo::to_attribute_value(&edited).unwrap();
        let read: Edited = serde_dynamo::from_attribute_value(stored).unwrap();
        assert_eq!(read, edited);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".{0,5}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[a-d]", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    fn json_object() -> impl Strategy<Value = Value> {
        proptest::collection::hash_map("[a-d]", json_value(), 0..4)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        /// So that a request can be repeated after a lost answer.
        #[test]
        fn a_patch_that_is_applied_twice_changes_nothing_more(original in json_object(), metadata in json_object()) {
            let once = merged_with(original, metadata.clone());
            prop_assert_eq!(merged_with(once.clone(), metadata), once);
        }

        #[test]
        fn an_accepted_name_is_fit_to_be_shown_and_accepted_again(raw in "\\PC{0,300}|.{0,300}") {
            if let Ok(name) = name_of(&raw) {
                prop_assert!(name.chars().count() <= MAX_CHARS && name.len() <= 4 * MAX_CHARS);
                prop_assert!(presentable(&name) == name && !is_blank(&name));
                prop_assert_eq!(name_of(&name), Ok(name));
            }
        }
    }
}
