//! docs/troubleshooting.md, held against the errors of the sources.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

fn read(path: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    fs::read_to_string(path).unwrap()
}

/// Returns the part of `text` from `start` to the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

/// Returns the texts between quotation marks.
fn quoted(code: &str) -> BTreeSet<&str> {
    code.split('"').skip(1).step_by(2).collect()
}

/// Returns the anchors that GitHub gives the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn each_code_and_each_kind_has_a_section_of_its_name() {
    let page = read("docs/troubleshooting.md");
    let errors = read("shared/src/http/error.rs");
    let openapi = read("openapi.yaml");
    let package = read("clients/next-auth/src/index.ts");
    let codes = between(&errors, "fn code(&self)", "\n    }\n");
    let mut names = quoted(codes);
    assert!(names.len() >= 20, "{names:?}");
    let listed = between(
        &openapi,
        "          enum:\n            - access_denied\n",
        "        error_desc",
    );
    names.extend(
        listed
            .lines()
            .map(|line| line.trim().trim_start_matches("- ")),
    );
    let kinds = quoted(between(&package, "export type CambioErrorKind =", ";"));
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    names.extend(kinds);

    for name in names {
        let heading = format!("\n### `{name}`\n");
        assert_eq!(
            page.matches(&heading).count(),
            1,
            "docs/troubleshooting.md needs the section{heading}"
        );
    }
    let anchors = anchors(&page);
    let unique: BTreeSet<&String> = anchors.iter().collect();
    assert_eq!(unique.len(), anchors.len(), "{anchors:?}");
}

#[test]
fn each_text_of_an_answer_is_on_the_page() {
    let page = read("docs/troubleshooting.md");
    let page: Vec<&str> = page.split_whitespace().collect();
    let page = page.join(" ");
    let errors = read("shared/src/http/error.rs");
    let mut texts = Vec::new();
    for text in errors.split("#[error(").skip(1) {
        let text = text.trim_start();
        // Some show the text of another error.
        let Some(text) = text.strip_prefix('"').filter(|text| !text.starts_with('{')) else {
            continue;
        };
        texts.push(text.split_once('"').unwrap().0);
    }
    let users = ["users/identities.rs", "users/store.rs", "sessions/store.rs"];
    let users = users.map(|file| read(&format!("shared/src/{file}")));
    let of_users = [
        "the account is disabled",
        "this account is not allowed to sign up here",
        "the refresh token is not valid, or its session has ended",
        "the refresh token was used before",
        "this account already belongs to another user",
        "another account of this provider is linked",
        "this is the only way to sign in",
    ];
    for text in of_users {
        assert!(users.iter().any(|file| file.contains(text)), "{text}");
    }
    texts.extend(of_users);
    assert!(texts.len() >= 30, "{texts:?}");

    for text in texts {
        // The part in front of the first value, and of the advice.
        let start = text.split([':', '{', ',', ';']).next().unwrap().trim_end();
        let start = if start.len() < 8 {
            text.rsplit('}').next().unwrap().trim()
        } else {
            start
        };
        assert!(
            page.contains(start),
            "docs/troubleshooting.md has no {start:?}, of {text:?}"
        );
    }
}

#[test]
fn each_hint_of_a_setting_is_on_the_page() {
    let page = read("docs/troubleshooting.md");
    let code = read("shared/src/config.rs");
    let code = code.split("\n#[cfg(test)]").next().unwrap();
    let hints = ["\"write ", "\"remove "].map(|start| code.match_indices(start));
    let hints = hints.into_iter().flatten();
    let hints: Vec<&str> = hints
        .map(|(at, _)| code[at + 1..].split('"').next().unwrap())
        .filter(|hint| !hint.contains('{'))
        .collect();
    assert!(hints.len() >= 8, "{hints:?}");
    for hint in hints {
        assert!(
            page.contains(hint),
            "docs/troubleshooting.md has no {hint:?}"
        );
    }
}

#[test]
fn each_link_to_a_section_leads_to_one() {
    let page = read("docs/troubleshooting.md");
    let anchors = anchors(&page);
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut pages = vec![
        "README.md".to_owned(),
        "openapi.yaml".to_owned(),
        "clients/next-auth/README.md".to_owned(),
    ];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    let mut linking = BTreeSet::new();
    for name in pages {
        let text = read(&name);
        let within = if name.ends_with("/troubleshooting.md") {
            "](#"
        } else {
            "troubleshooting.md#"
        };
        if text.contains("troubleshooting.md") {
            linking.insert(name.clone());
        }
        for link in text.split(within).skip(1) {
            let is_end = |c: char| !(c.is_alphanumeric() || "-_".contains(c));
            let anchor = link.split(is_end).next().unwrap();
            assert!(
                anchors.iter().any(|other| other == anchor),
                "{name} links to #{anchor}"
            );
        }
    }
    for name in ["README.md", "clients/next-auth/README.md", "openapi.yaml"] {
        assert!(
            linking.contains(name),
            "{name} does not link to docs/troubleshooting.md"
        );
    }
}
