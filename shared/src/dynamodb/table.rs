//! The keys of all items in both tables.
//!
//! The policies in `template.yaml` grant each function access by these prefixes, and `tests/template` compares the two.

use std::{collections::HashMap, fmt::Display};

use super::{Item, string};
use crate::{
    config::Group,
    ids::{SessionId, UserId},
};

/// The partition of a user and of their sessions, and in front of `#`, the sort key of the user's own item.
pub(crate) const USER: &str = "USER#";
/// The sort keys of a user's sessions.
pub(crate) const SESSION: &str = "SESSION#";
pub(crate) const IDENTITY: &str = "IDENTITY#";
pub(crate) const EMAIL: &str = "EMAIL#";
pub(crate) const ASSERTION: &str = "ASSERTION#";
/// The partition of a client's counters, and in front of the minute, their sort key.
pub(crate) const LIMIT: &str = "LIMIT#";
/// The published key set, in the keys table.
const KEY_SET: &str = "KEYSET";
/// A private key, in the keys table.
const PRIVATE_KEY: &str = "KEY#";
/// The registered clients, in the keys table.
const CLIENTS: &str = "CLIENTS";
/// The providers, in the keys table.
const PROVIDERS: &str = "PROVIDERS";

/// The key of a user.
pub(crate) fn user_key(id: UserId) -> Item {
    single(USER, id)
}

/// The key of a user's session.
pub(crate) fn session_key(user_id: UserId, id: SessionId) -> Item {
    key(format!("{USER}{user_id}"), format!("{SESSION}{id}"))
}

/// The key of a provider's account, which is linked to a user or was unlinked recently.
pub(crate) fn identity_key(identity: &str) -> Item {
    single(IDENTITY, identity)
}

/// The key of a proven e-mail address.
pub(crate) fn email_key(email: &str) -> Item {
    single(EMAIL, email)
}

/// The key of a token that is good once and was used.
pub(crate) fn assertion_key(assertion: &str) -> Item {
    single(ASSERTION, assertion)
}

/// The key of the requests of a client in a minute.
pub(crate) fn limit_key(client_id: &str, minute: u64) -> Item {
    key(format!("{LIMIT}{client_id}"), format!("{LIMIT}{minute}"))
}

/// The key of the published key set.
pub(crate) fn key_set_key() -> Item {
    [("pk".to_owned(), string(KEY_SET))].into()
}

/// The key of a private key.
pub(crate) fn private_key_key(kid: &str) -> Item {
    [("pk".to_owned(), string(format!("{PRIVATE_KEY}{kid}")))].into()
}

/// The key of the settings of a group.
pub(crate) fn settings_key(group: Group) -> Item {
    let key = match group {
        Group::Clients => CLIENTS,
        Group::Providers => PROVIDERS,
    };
    [("pk".to_owned(), string(key))].into()
}

/// The sort key of the only item in a partition with this prefix; for [`USER`], that of the user's own item.
pub(crate) fn sort_key(prefix: &str) -> &str {
    prefix.trim_end_matches('#')
}

fn single(prefix: &str, name: impl Display) -> Item {
    key(format!("{prefix}{name}"), sort_key(prefix))
}

fn key(pk: impl ToString, sk: impl ToString) -> Item {
    HashMap::from([("pk".to_owned(), string(pk)), ("sk".to_owned(), string(sk))])
}
