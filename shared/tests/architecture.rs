//! The rules of docs/architecture.md that the sources themselves can be held to.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Paths, and the places that alone may name them: files without `.rs`, or folders.
const RULES: [(&[&str], &[&str]); 7] = [
    // The answers of providers have codes of another type, `reqwest::StatusCode`.
    (
        &["http::StatusCode", "axum::http::StatusCode"],
        &["shared/src/http"],
    ),
    (
        &["axum"],
        &["shared/src/fuzzing", "shared/src/http", "functions"],
    ),
    (
        &["crate::http"],
        &[
            "shared/src/http",
            "shared/src/clients",
            "shared/src/documents",
            "shared/src/fuzzing",
        ],
    ),
    (
        &["aws_sdk_dynamodb", "aws_sdk_s3", "aws_smithy_http_client"],
        &[
            "functions/rotate-keys/src/files",
            "functions/rotate-keys/src/resource",
            "shared/src/clients/assertion",
            "shared/src/dynamodb",
            "shared/src/keys/store",
            "shared/src/sessions/alive",
            "shared/src/sessions/ending",
            "shared/src/sessions/list",
            "shared/src/sessions/store",
            "shared/src/sessions/terms",
            "shared/src/users/account",
            "shared/src/users/identities",
            "shared/src/users/items",
            // The model of the unit tests, which takes the SDK's requests off the wire.
            "shared/src/users/model",
            "shared/src/users/operator",
            "shared/src/users/same_email",
            "shared/src/users/signed_in",
            "shared/src/users/store",
            "shared/src/users/transaction",
        ],
    ),
    // A request that no SDK signs.
    (&["aws_sigv4"], &["shared/src/secrets/store"]),
    (&["std::env"], &["shared/src/config"]),
    (&["reqwest"], &["shared/src/provider"]),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The sources of a folder, each with its path without `.rs`, and without comments and unit tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                let code = code.split("\n#[cfg(test)]\nmod ").next().unwrap();
                let lines = code.lines().map(|line| line.split("//").next().unwrap());
                let lines: Vec<&str> = lines.collect();
                let name = path.with_extension("");
                let name = name.strip_prefix(root()).unwrap().to_str().unwrap();
                found.push((name.to_owned(), lines.join("\n")));
            }
        }
    }
    found
}

/// The paths that `code` names, such as `crate::users::User`; a tree of imports has one for each leaf.
fn paths(code: &str) -> Vec<String> {
    let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c| !is_end(c)) {
        rest = &rest[start..];
        let (path, after) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
        rest = match after.strip_prefix('{') {
            Some(tree) if path.ends_with("::") => leaves(path, tree, &mut found),
            _ => {
                found.push(path.to_owned());
                after
            }
        };
    }
    found
}

/// Adds the leaves of a tree of imports below `prefix` to `found`, and returns the code after it.
fn leaves<'a>(prefix: &str, mut rest: &'a str, found: &mut Vec<String>) -> &'a str {
    loop {
        let (name, after) = rest.split_at(rest.find([',', '{', '}']).unwrap());
        let path = format!("{prefix}{}", name.trim());
        rest = &after[1..];
        if after.starts_with('{') {
            rest = leaves(&path, rest, found);
            continue;
        }
        if !name.trim().is_empty() {
            found.push(path);
        }
        if after.starts_with('}') {
            return rest;
        }
    }
}

/// The module of `shared` that a path leads to, from the file of `module`, such as `provider/oidc/keys`.
fn module_of(path: &str, module: &str) -> Option<String> {
    let mut here: Vec<&str> = module.split('/').collect();
    let mut rest = path;
    if let Some(from_root) = rest.strip_prefix("crate::") {
        return from_root.split("::").next().map(str::to_owned);
    }
    while let Some(above) = rest.strip_prefix("super::") {
        here.pop();
        rest = above;
    }
    let leaves_module = rest.len() < path.len() && here.is_empty();
    leaves_module.then(|| rest.split("::").next().map(str::to_owned))?
}

#[test]
fn the_modules_of_shared_form_no_cycle() {
    // Each module with those that it uses, and the files that use them.
    let mut uses: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (file, code) in sources("shared/src") {
        let file = file.trim_start_matches("shared/src/");
        let module = file.split('/').next().unwrap();
        let used = uses.entry(module.to_owned()).or_default();
        for other in paths(&code)
            .iter()
            .filter_map(|path| module_of(path, file))
            .filter(|other| other != module)
        {
            used.entry(other).or_default().insert(file.to_owned());
        }
    }
    assert!(uses.len() > 10, "the search for modules finds none");
    let arrows: usize = uses.values().map(BTreeMap::len).sum();
    assert!(arrows > 30, "the search for imports finds none");

    // What uses nothing, or is used by nothing, is in no cycle.
    loop {
        let used: BTreeSet<String> = uses.values().flat_map(BTreeMap::keys).cloned().collect();
        let before = uses.len();
        uses.retain(|module, others| !others.is_empty() && used.contains(module));
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        for others in uses.values_mut() {
            others.retain(|other, _| left.contains(other));
        }
        if uses.len() == before {
            break;
        }
    }
    assert!(uses.is_empty(), "modules that use each other: {uses:#?}");
}

#[test]
fn each_library_is_named_only_where_the_architecture_says() {
    let mut sources = sources("shared/src");
    for function in fs::read_dir(root().join("functions")).unwrap() {
        let folder = function.unwrap().path().join("src");
        sources.extend(self::sources(
            folder.strip_prefix(root()).unwrap().to_str().unwrap(),
        ));
    }
    let is_within = |name: &str, whole: &str, separator: &str| {
        let rest = name.strip_prefix(whole);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
    };
    for (names, places) in RULES {
        let naming = |code: &str| {
            let found = paths(code).into_iter();
            found
                .filter(|path| names.iter().any(|name| is_within(path, name, "::")))
                .count()
        };
        let files = sources.iter().filter(|(_, code)| naming(code) > 0);
        let (inside, outside): (Vec<&str>, Vec<&str>) = files
            .map(|(file, _)| file.as_str())
            .partition(|file| places.iter().any(|place| is_within(file, place, "/")));
        assert!(!inside.is_empty(), "the search for {names:?} finds none");
        assert_eq!(outside, [""; 0], "{names:?} belongs in {places:?} alone");
    }
}
