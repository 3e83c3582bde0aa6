//! Checks of the documentation against the code.

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
        // The fuzz targets set settings and read none.
        let others = ["target", "node_modules", "fuzzing"];
        if path.is_dir() && !others.iter().any(|folder| path.ends_with(folder)) {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// Returns whether a word is the name of a test for a threat: `t` and two or three digits.
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

/// The names of the environment variables that a source file reads.
///
/// A name is a literal in capitals: an argument of a method that reads a variable, or a constant. Names of one word
/// count only as such an argument or constant, as methods of HTTP are written in capitals too.
fn settings_of(source: &str) -> BTreeSet<String> {
    const READERS: [&str; 3] = ["optional(", "required(", "seconds("];
    let (code, tests) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    // A file of tests alone, or one that reads no settings.
    if tests.is_empty() && code.contains("#[test]") || !code.contains("Environment") {
        return BTreeSet::new();
    }
    let parts: Vec<&str> = code.split('"').collect();
    let is_read = |before: &str| {
        let before = before.trim_end();
        let constant = before
            .strip_suffix(": &str =")
            .and_then(|rest| rest.split(' ').next_back());
        READERS.iter().any(|reader| {
            before.ends_with(reader)
                || constant.is_some_and(|name| code.contains(&format!("{reader}{name}")))
        })
    };
    let in_capitals = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    // Cargo's own variables are read when the crate is built.
    let is_built_in = |before: &str| before.ends_with("env!(");
    parts
        .windows(2)
        .filter(|pair| in_capitals(pair[1]) && !is_built_in(pair[0]))
        .filter(|pair| pair[1].contains('_') || is_read(pair[0]))
        .map(|pair| pair[1].to_owned())
        .collect()
}

/// The first two columns of each row in docs/settings.md: the variable, and the parameters that set it.
fn documented_settings(document: &str) -> Vec<(String, Vec<String>)> {
    let in_backticks = |cell: &str| -> Vec<String> {
        let words = cell.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(in_backticks);
        let variables = cells.next().unwrap();
        (variables[0].clone(), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn each_setting_that_a_function_reads_is_documented_and_in_the_template() {
    let mut sources = Vec::new();
    rust_files(&root().join("shared/src"), &mut sources);
    for function in fs::read_dir(root().join("functions")).unwrap() {
        rust_files(&function.unwrap().path().join("src"), &mut sources);
    }
    let settings: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| settings_of(source))
        .collect();
    let documented = documented_settings(&read("docs/settings.md"));
    let template = read("template.yaml");

    for one_of_each_way in [
        "CLIENTS",
        "ALLOWED_SIGNUPS",
        "ROUTE_SCOPES",
        "SESSION_IDLE_TTL",
    ] {
        assert!(
            settings.contains(one_of_each_way),
            "{one_of_each_way} is not found in the code"
        );
    }
    let names: BTreeSet<String> = documented.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, settings, "left: docs/settings.md, right: the code");
    for (setting, parameters) in documented {
        // Lambda sets these itself, and the template sets no endpoint.
        let by_lambda = setting.starts_with("AWS_");
        assert!(
            by_lambda || template.contains(&format!("{setting}:")),
            "{setting} is not in template.yaml"
        );
        for parameter in parameters {
            assert!(
                template.contains(&format!("\n  {parameter}:")),
                "{setting}: {parameter} is no parameter of template.yaml"
            );
        }
    }
}
