//! The items of the tables: users, sessions, identities and keys.

use serde::{Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{NOW, Target, changed, tokens::jwk};
use crate::{
    dynamodb::{Item, decode},
    keys::KeySet,
    sessions,
    users::{self, User},
};

pub(super) const ITEMS: Target = Target {
    name: "items",
    seeds,
    run: items,
};

const USER: &str = "01a208bb-db28-776e-8b0c-7dfd69859e79";
const SID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// The prefix of a text that stands for bytes.
const BYTES: &str = "bytes:";

/// A value of JSON as an attribute. A text that begins with `bytes:` stands for the rest as bytes.
struct Attribute<'a>(&'a Value);

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => match text.strip_prefix(BYTES) {
                Some(bytes) => serializer.serialize_bytes(bytes.as_bytes()),
                None => serializer.serialize_str(text),
            },
            Value::Array(all) => serializer.collect_seq(all.iter().map(Attribute)),
            Value::Object(members) => {
                let members = members.iter().map(|(name, value)| (name, Attribute(value)));
                serializer.collect_map(members)
            }
            other => other.serialize(serializer),
        }
    }
}

fn seeds() -> Vec<String> {
    let key = |name: &str| format!("{name}#EHO3T0oNU5L0xVHxl8UFEMCOQ3xxxxxxxxxxxxxxxxx");
    let user = json!({
        "pk": format!("USER#{USER}"), "sk": "USER", "id": USER, "status": "active", "revision": 3, "entitlements": 1,
        "profile": {
            "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true, "proven_email": "a",
            "picture": "https://example.com/ada.png",
        },
        "edited": { "name": null, "picture": "https://example.com/own.png" },
        "metadata": r#"{"theme":"dark","n":1.5,"list":[1,"a",null]}"#,
        "roles": ["admin"], "claims": r#"{"plan":"gold"}"#, "email_key": "a", "session_version": 1,
        "identities": {
            "github": { "key": key("github"), "subject": "583231", "username": "octocat", "linked_at": NOW },
        },
        "kept_session": SID, "signed_out_in": SID, "signed_out_by": "an-id", "created_at": NOW,
        "link_attempts": { "since": NOW, "count": 1 },
        "unlinked": { "provider": "github", "session": SID },
    });
    let hash = format!("{BYTES}{}", "0".repeat(32));
    let session = json!({
        "pk": format!("USER#{USER}"), "sk": format!("SESSION#{SID}"), "client_id": "nextjs", "audience": "api",
        "provider": "github", "user_agent": "curl/8", "session_version": 0, "family": hash, "generation": 1,
        "current": hash, "previous": hash, "nonce": hash, "created_user": true, "signed_in_at": NOW,
        "created_at": NOW, "last_used_at": NOW, "idle_expires_at": NOW, "absolute_expires_at": NOW,
        "expires_at": NOW, "ended_at": NOW,
    });
    let published = json!({
        "kid": "one", "key_type": "Ed25519", "jwk": jwk().to_string(), "published_at": NOW, "sign_from": NOW,
    });
    let keys = json!({ "pk": "KEYSET", "version": 1, "keys": [published] });
    let identity =
        json!({ "pk": format!("IDENTITY#{}", key("github")), "sk": "IDENTITY", "user_id": USER });
    let mut items = vec![json!({}), user.clone(), session.clone(), keys, identity];
    for change in [
        json!({ "id": "1" }),
        json!({ "id": USER.to_uppercase() }),
        json!({ "status": "unknown" }),
        json!({ "session_version": -1 }),
        json!({ "session_version": 1e30 }),
        json!({ "metadata": [] }),
        json!({ "metadata": "[]" }),
        json!({ "claims": r#"{"sub":"x"}"# }),
        json!({ "identities": null }),
        json!({ "kept_session": "a" }),
        json!({ "link_attempts": null, "unlinked": null }),
    ] {
        items.push(changed(&user, &change));
    }
    for change in [
        json!({ "family": "00" }),
        json!({ "nonce": format!("{BYTES}00") }),
        json!({ "generation": 4_294_967_296_u64 }),
        json!({ "previous": null, "ended_at": null }),
        json!({ "scope": ["orders:read"] }),
        json!({ "scope": ["two words"] }),
        json!({ "signed_in_at": "x" }),
    ] {
        items.push(changed(&session, &change));
    }
    items.iter().map(Value::to_string).collect()
}

/// Decodes an item, and asserts that what is written of it is read back as the same.
fn decoded<T: Serialize + DeserializeOwned + PartialEq>(item: &Item) -> Option<T> {
    let value: T = decode(item.clone()).ok()?;
    let again = serde_dynamo::to_item(&value)
        .ok()
        .and_then(|item| decode(item).ok());
    assert!(
        again.as_ref() == Some(&value),
        "an item is written otherwise"
    );
    again
}

fn items(input: &[u8]) -> bool {
    let json: Option<Value> = serde_json::from_slice(input).ok();
    let item: Option<Item> = json.and_then(|json| serde_dynamo::to_item(Attribute(&json)).ok());
    let Some(item) = item else {
        return false;
    };
    let user = decoded::<User>(&item);
    let keys = decoded::<KeySet>(&item);
    if let Some(keys) = &keys {
        let published = keys.published(NOW).count();
        let jwks = keys.jwks(NOW).map(|jwks| jwks.keys.len());
        assert!(jwks.is_err() || jwks.ok() == Some(published));
        assert!(keys.current(NOW).is_none_or(|key| key.sign_from <= NOW));
    }
    let session = sessions::fuzzing::decoded_twice(item.clone());
    if let Some([once, twice]) = &session {
        assert_eq!(once, twice);
    }
    let owner = users::fuzzing::owner(&item);
    user.is_some() || keys.is_some() || session.is_some() || owner.is_some()
}
