//! The documents keep up with the code.

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn rust_files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether a word is the name of a test that proves a line of the table: `t` and the two or three digits of a threat.
fn is_proof(word: &str) -> bool {
    let number = word.strip_prefix('t').and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(number, _)| {
        (2..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn proofs(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| is_proof(word))
        .map(str::to_owned)
}

#[test]
fn t93_every_dependency_is_a_pinned_one_of_the_registry() {
    let lock = read("Cargo.lock");
    let mut dependencies = 0;
    for package in lock.split("[[package]]").skip(1) {
        let Some(source) = package.lines().find(|line| line.starts_with("source = ")) else {
            continue; // one of this workspace
        };
        let registry = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
        assert_eq!(source, registry, "{package}");
        assert!(package.contains("\nchecksum = \""), "{package}");
        dependencies += 1;
    }
    assert!(dependencies > 100, "the search for dependencies finds none");
}

#[test]
fn each_test_that_proves_a_threat_is_in_the_table_and_each_in_the_table_is_there() {
    let mut sources = Vec::new();
    for folder in ["shared", "functions", "gateway", "local", "admin", "tests"] {
        rust_files(&root().join(folder), &mut sources);
    }
    let tests: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| source.split("fn ").skip(1))
        .filter_map(|rest| rest.split('(').next())
        .filter(|name| is_proof(name))
        .map(str::to_owned)
        .collect();
    let named: BTreeSet<String> = proofs(&read("docs/security.md")).collect();

    assert!(tests.len() > 50, "the search for tests finds none");
    assert_eq!(
        tests.difference(&named).collect::<Vec<_>>(),
        [""; 0],
        "not in the table"
    );
    assert_eq!(
        named.difference(&tests).collect::<Vec<_>>(),
        [""; 0],
        "not in the code"
    );
}

#[test]
fn each_setting_that_is_read_is_in_the_readme_and_in_the_template() {
    let mut sources = vec![read("shared/src/config.rs")];
    for folder in [
        "shared/src/config",
        "functions/authorizer/src",
        "functions/rotate-keys/src",
    ] {
        rust_files(&root().join(folder), &mut sources);
    }
    let settings: BTreeSet<&str> = sources
        .iter()
        .filter_map(|source| source.split("#[cfg(test)]").next())
        .flat_map(|code| code.split('"'))
        .filter(|word| {
            word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        })
        .filter(|word| !word.starts_with("CARGO_"))
        .collect();
    let (readme, template) = (read("README.md"), read("template.yaml"));

    assert!(settings.len() > 10, "the search for settings finds none");
    for setting in settings {
        assert!(
            readme.contains(&format!("`{setting}`")),
            "{setting} is not in the README"
        );
        // Lambda sets these itself, and nobody sets the endpoint there.
        let by_lambda = setting.starts_with("AWS_");
        assert!(
            by_lambda || template.contains(setting),
            "{setting} is not in template.yaml"
        );
    }
}
