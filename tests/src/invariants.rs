//! The invariants of the main table, which hold after every fault, race, kill and soak.

use std::collections::BTreeSet;

use serde_json::Value;

/// Returns a sentence about each broken invariant of these items: all items of the main table in DynamoDB's JSON.
///
/// Each identity belongs to one existing user, whose item names it; each user has an identity; the same holds for
/// verified addresses.
pub fn broken(items: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut identities = BTreeSet::new();
    let mut emails = BTreeSet::new();
    for user in items.iter().filter(|item| item["sk"]["S"] == "USER") {
        let id = text(&user["id"]["S"]);
        let linked = user["identities"]["M"].as_object();
        let keys = linked.map(|linked| {
            linked
                .values()
                .map(|identity| text(&identity["M"]["key"]["S"]))
        });
        let keys: Vec<String> = keys.into_iter().flatten().collect();
        if keys.is_empty() {
            found.push(format!("nobody can sign in as {user:#}"));
        }
        identities.extend(keys.into_iter().map(|key| (key, id.clone())));
        if let Some(email) = user["email_key"]["S"].as_str() {
            emails.insert((email.to_owned(), id));
        }
    }
    for (kind, named) in [("IDENTITY#", identities), ("EMAIL#", emails)] {
        let there = owners(items, kind);
        let differing = there.symmetric_difference(&named);
        found.extend(differing.map(|(key, user)| {
            let has_item = there.contains(&(key.clone(), user.clone()));
            let (one, other) = if has_item {
                ("the item", "the user")
            } else {
                ("the user", "the item")
            };
            format!("{one} of {kind}{key} names user {user}, and {other} does not")
        }));
    }
    found
}

/// Returns the keys of the items of this kind, each with the user to whom it belongs.
fn owners(items: &[Value], kind: &str) -> BTreeSet<(String, String)> {
    let owned = items.iter().filter_map(|item| {
        let key = item["pk"]["S"].as_str()?.strip_prefix(kind)?;
        // The item of an unlinked identity stays and signs no user in.
        let is_owned = item["released_by"] == Value::Null;
        is_owned.then(|| (key.to_owned(), text(&item["user_id"]["S"])))
    });
    owned.collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(id: &str, key: &str) -> Value {
        json!({
            "pk": { "S": format!("USER#{id}") }, "sk": { "S": "USER" }, "id": { "S": id },
            "identities": { "M": { "github": { "M": { "key": { "S": key } } } } },
        })
    }

    fn identity(key: &str, user: &str) -> Value {
        json!({
            "pk": { "S": format!("IDENTITY#{key}") }, "sk": { "S": "IDENTITY" }, "user_id": { "S": user },
        })
    }

    #[test]
    fn a_table_in_order_breaks_no_invariant_and_each_disorder_one() {
        let good = [user("1", "a"), identity("a", "1")];
        assert_eq!(broken(&good), Vec::<String>::new());

        let mut without_identities = user("1", "a");
        without_identities["identities"]["M"] = json!({});
        for (items, is_broken) in [
            (vec![user("1", "a")], 1),
            (vec![identity("a", "1")], 1),
            (vec![user("1", "a"), identity("a", "2")], 2),
            (vec![user("1", "a"), user("2", "a"), identity("a", "1")], 1),
            (vec![without_identities], 1),
        ] {
            assert_eq!(broken(&items).len(), is_broken, "{items:?}");
        }

        let mut released = identity("b", "1");
        released["released_by"] = json!({ "S": "1" });
        let items = [user("1", "a"), identity("a", "1"), released];
        assert_eq!(broken(&items), Vec::<String>::new());
    }
}
