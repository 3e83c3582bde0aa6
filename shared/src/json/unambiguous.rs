//! JSON that all parsers read alike.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

/// The limits of a JSON value.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest number of levels.
    pub depth: usize,
    /// The largest number of members of an object.
    pub members: usize,
}

/// Refuses JSON that two parsers could read differently: repeated members, invalid Unicode, deep nesting.
///
/// # Errors
/// The problem and its place, without a value of `json`.
pub fn reject_ambiguous(json: &[u8], limits: Limits) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Unambiguous { depth: 0, limits }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// A visitor that checks a JSON value without keeping it.
#[derive(Clone, Copy)]
struct Unambiguous {
    depth: usize,
    limits: Limits,
}

impl Unambiguous {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == self.limits.depth {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Unambiguous {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unambiguous JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names: Vec<String> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.len() == self.limits.members {
                return Err(A::Error::custom("too many members"));
            }
            if names.contains(&name) {
                return Err(A::Error::custom("a member is there twice"));
            }
            names.push(name);
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}
