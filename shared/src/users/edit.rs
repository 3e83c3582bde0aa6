//! What users may say about themselves: a JSON Merge Patch (RFC 7396) of three members of their profile.

use json_patch::merge;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use thiserror::Error;

use super::User;
use crate::text::{MAX_CHARS, composed, is_blank, is_picture, is_presentable};

/// The most that an app may keep with a user, in bytes of JSON.
const MAX_METADATA: usize = 4096;

/// The fields that the user edited, which no sign-in changes any more. The inner `None` is a field that the user removed.
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

/// An object of an app's own, stored as JSON text: what was written is what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub Map<String, Value>);

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::Object(self.0.clone())
            .to_string()
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The library's message would quote it.
        let object = serde_json::from_str(&text);
        object
            .map(Self)
            .map_err(|_| de::Error::custom("metadata is no JSON object"))
    }
}

/// A merge patch of what users may change, as it came. Anything else in it is an error, and nothing is changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The display name, or `null` for none.
    #[serde(default, deserialize_with = "present")]
    pub name: Option<Option<String>>,
    /// An `https` URL, or `null` for none.
    #[serde(default, deserialize_with = "present")]
    pub picture: Option<Option<String>>,
    /// A merge patch of the metadata, or `null` for none.
    #[serde(default, deserialize_with = "present")]
    pub metadata: Option<Option<Map<String, Value>>>,
}

/// A patch has a value that is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatchError {
    /// The name is empty, too long, or has characters that are not shown.
    #[error("name must be null or 1 to {MAX_CHARS} characters that can be shown, in one line")]
    Name,
    /// The picture is no `https` URL, or too long.
    #[error("picture must be null or an https URL of at most 2048 bytes")]
    Picture,
    /// The metadata would be too large.
    #[error(
        "metadata must be null or an object, at most {MAX_METADATA} bytes of JSON with what is there already"
    )]
    Metadata,
}

impl Patch {
    /// `user`, as this patch leaves them (RFC 7396 §2). Applied twice, it changes nothing more.
    ///
    /// # Errors
    /// A value is not accepted; then none is.
    pub fn apply(&self, user: &User) -> Result<(Edited, Metadata), PatchError> {
        let mut edited = user.edited.clone();
        if let Some(name) = &self.name {
            edited.name = Some(name.as_deref().map(name_of).transpose()?);
        }
        if let Some(picture) = &self.picture {
            if picture.as_deref().is_some_and(|url| !is_picture(url)) {
                return Err(PatchError::Picture);
            }
            edited.picture = Some(picture.clone());
        }
        let metadata = match &self.metadata {
            None => user.metadata.clone(),
            Some(None) => Metadata::default(),
            Some(Some(patch)) => merged(&user.metadata, patch)?,
        };
        Ok((edited, metadata))
    }
}

/// One line that can be shown, in one spelling.
fn name_of(raw: &str) -> Result<String, PatchError> {
    let name = composed(raw.trim());
    let fits = name.chars().count() <= MAX_CHARS;
    if fits && name.chars().all(is_presentable) && !is_blank(&name) {
        Ok(name.into_owned())
    } else {
        Err(PatchError::Name)
    }
}

fn merged(metadata: &Metadata, patch: &Map<String, Value>) -> Result<Metadata, PatchError> {
    let mut document = Value::Object(metadata.0.clone());
    merge(&mut document, &Value::Object(patch.clone()));
    match document {
        Value::Object(object)
            if Value::Object(object.clone()).to_string().len() <= MAX_METADATA =>
        {
            Ok(Metadata(object))
        }
        _ => Err(PatchError::Metadata),
    }
}

/// Tells a member that is `null` from one that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
