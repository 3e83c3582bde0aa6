//! The secrets of a run, which no output shows, whatever a server sends back.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Credentials, api::form_encoded};
use crate::output::cell;

/// The shortest token of a server that is hidden, in bytes. A shorter one protects nothing, and a server that sends it
/// would make the report unreadable.
const SHORTEST_TOKEN: usize = 8;

/// The secrets of a run.
#[derive(Default)]
pub(super) struct Hidden(BTreeSet<String>);

impl Hidden {
    /// Adds a secret of the operator.
    pub(super) fn insert(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.insert(secret.to_owned());
            self.0.insert(cell(Some(secret)));
        }
    }

    /// Adds a token of a server, or one that the run made up.
    pub(super) fn insert_token(&mut self, token: &str) {
        if token.len() >= SHORTEST_TOKEN {
            self.insert(token);
        }
    }

    /// Adds the secret of a client, in all of its encodings.
    pub(super) fn insert_client(&mut self, client: &Credentials) {
        let encoded = form_encoded(client.secret());
        self.insert(&STANDARD.encode(format!("{}:{encoded}", form_encoded(&client.id))));
        // The id is no secret where it is tried as one.
        if client.secret() != client.id {
            self.insert(&encoded);
            self.insert(client.secret());
        }
    }

    /// Returns `text` with an ellipsis in place of each secret.
    pub(super) fn removed_from(&self, text: &str) -> String {
        let mut secrets: Vec<&String> = self.0.iter().collect();
        // A part of a secret may be another one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = text.to_owned();
        for secret in secrets {
            text = text.replace(secret, "…");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t182_a_secret_is_hidden_in_each_encoding_and_also_as_a_part_of_another() {
        let mut hidden = Hidden::default();
        hidden.insert_client(&Credentials::new("nextjs", "se cret/1"));
        hidden.insert_client(&Credentials::new("nextjs", "se cret/12"));
        hidden.insert_client(&Credentials::new("nextjs", "nextjs"));
        hidden.insert_token("short");
        hidden.insert("");
        hidden.insert("a\u{1b}b");
        let basic = STANDARD.encode("nextjs:se+cret%2F1");

        let text = format!("se cret/1 se cret/12 se+cret%2F1 {basic} nextjs short a\u{fffd}b");

        assert_eq!(hidden.removed_from(&text), "… … … … nextjs short …");
    }
}
