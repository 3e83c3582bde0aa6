//! docs/limits.md, held against the constants and the tests of the sources.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The folders whose limits the page lists.
const LIMITED: [&str; 4] = ["admin/src", "shared/src", "functions", "gateway/src"];
/// The numbers of attempts of a loop, which bound no size.
const ATTEMPTS: [&str; 1] = ["MAX_ROUNDS"];
/// The folders of the tests that the page names.
const TESTED: [&str; 5] = [
    "admin/src",
    "shared/src",
    "functions",
    "gateway/src",
    "tests/e2e",
];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the Rust files below a folder, as paths from the root.
fn sources(folder: &str) -> Vec<String> {
    fn add(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    add(&root().join(folder), &mut found);
    let relative = |path: PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    found.into_iter().map(relative).collect()
}

/// A row of a table of the page.
struct Row {
    limit: String,
    constant: String,
    file: String,
    test: String,
}

fn rows() -> Vec<Row> {
    tables()
        .into_iter()
        .filter(|row| row.contains_key("constant"))
        .map(|row| {
            let mut code = row["constant"].split('`').skip(1).step_by(2);
            Row {
                constant: code.next().unwrap().to_owned(),
                file: code.next().unwrap().to_owned(),
                test: row["test"].trim_matches('`').to_owned(),
                limit: row["limit"].clone(),
            }
        })
        .collect()
}

/// Returns the rows of all tables of the page, each by the names of its columns.
fn tables() -> Vec<BTreeMap<String, String>> {
    let page = read("docs/limits.md");
    let mut rows = Vec::new();
    let mut columns: Vec<String> = Vec::new();
    for line in page.lines() {
        let Some(cells) = line.strip_prefix("| ") else {
            columns.clear();
            continue;
        };
        let cells: Vec<&str> = cells
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        if columns.is_empty() {
            columns = cells.iter().map(|&cell| cell.to_owned()).collect();
        } else if !cells[0].starts_with("---") {
            let cells = cells.iter().map(|&cell| cell.to_owned());
            rows.push(columns.iter().cloned().zip(cells).collect());
        }
    }
    rows
}

/// Returns a number of things, of bytes or of milliseconds, as the page writes it.
fn written(limit: &str) -> u64 {
    let (number, unit) = limit.split_once(' ').unwrap_or((limit, ""));
    let number: u64 = number.replace(',', "").parse().unwrap();
    number
        * match unit {
            "" | "bytes" | "characters" => 1,
            "KiB" => 1024,
            "MiB" => 1024 * 1024,
            "s" => 1000,
            _ => panic!("another unit: {limit}"),
        }
}

/// Returns the value of a constant, in the units of [`written`].
fn value(source: &str, constant: &str) -> Option<u64> {
    let start = format!("const {constant}: ");
    let (_, rest) = source.split_once(&start)?;
    let (_, value) = rest.split_once(';').unwrap().0.split_once("= ").unwrap();
    let product = |text: &str| -> u64 {
        let factors = text.split('*').map(|factor| factor.trim().replace('_', ""));
        factors
            .map(|factor| factor.parse::<u64>().unwrap())
            .product()
    };
    let seconds = value.strip_prefix("Duration::from_secs(");
    Some(match seconds {
        Some(seconds) => product(seconds.trim_end_matches(')')) * 1000,
        None => product(value),
    })
}

/// Returns a source without its unit tests.
fn code(path: &str) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests").next();
    code.unwrap().to_owned()
}

#[test]
fn the_page_has_the_value_of_each_constant() {
    let rows = rows();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let actual = value(&code(&row.file), &row.constant);
        let named = format!("{} in {}", row.constant, row.file);
        assert_eq!(
            actual,
            Some(written(&row.limit)),
            "docs/limits.md has another value of {named}"
        );
    }
}

#[test]
fn each_limit_of_the_sources_is_on_the_page() {
    let listed: BTreeSet<(String, String)> = rows()
        .into_iter()
        .map(|row| (row.file, row.constant))
        .collect();
    let mut found = 0;
    for path in LIMITED.into_iter().flat_map(sources) {
        for line in code(&path).lines() {
            let Some((_, rest)) = line.split_once("const MAX_") else {
                continue;
            };
            let name = format!("MAX_{}", rest.split(':').next().unwrap());
            if ATTEMPTS.contains(&&*name) {
                continue;
            }
            found += 1;
            let is_listed = listed.contains(&(path.clone(), name.clone()));
            assert!(
                is_listed,
                "docs/limits.md has no row for {name} in {path}: add one"
            );
        }
    }
    assert!(found > 30, "{found}");
}

/// Returns a function of the sources of the tests as text.
fn function<'a>(all: &'a str, name: &str) -> Option<&'a str> {
    let start = all.find(&format!("fn {name}("))?;
    let line = all[..start].rfind('\n').map_or(0, |end| end + 1);
    let before = &all[line..start];
    let indent = &before[..before.len() - before.trim_start().len()];
    let end = all[start..].find(&format!("\n{indent}}}"))?;
    Some(&all[start..start + end])
}

/// Returns whether a test names the limit: by its constant, or as a number.
fn names_limit(test: &str, row: &Row) -> bool {
    let number = row.limit.split(' ').next().unwrap();
    let value = written(&row.limit).to_string();
    let spellings = [
        row.constant.clone(),
        number.replace(',', "_"),
        format!("{number} * 1024"),
        value,
    ];
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    spellings.iter().any(|spelling| {
        test.match_indices(spelling.as_str()).any(|(at, _)| {
            let after = &test[at + spelling.len()..];
            !test[..at].ends_with(is_part) && !after.starts_with(is_part)
        })
    })
}

fn all_tests() -> String {
    let paths = TESTED.into_iter().flat_map(sources);
    paths.map(|path| read(&path)).collect()
}

#[test]
fn each_limit_has_a_test_that_names_it() {
    let all = all_tests();
    for row in rows() {
        let (test, constant) = (&row.test, &row.constant);
        let Some(body) = function(&all, test) else {
            panic!("docs/limits.md names the test {test}, which is not there");
        };
        assert!(
            names_limit(body, &row),
            "{test} names neither {constant} nor {}",
            row.limit
        );
    }
}

#[test]
fn each_cache_has_constants_and_a_test() {
    let all = all_tests();
    let tables = tables();
    let caches: Vec<_> = tables.iter().filter_map(|row| row.get("cache")).collect();
    assert!(caches.len() > 5, "{caches:?}");
    let known: BTreeSet<String> = rows().into_iter().map(|row| row.constant).collect();
    for row in tables.iter().filter(|row| row.contains_key("cache")) {
        for constant in row["bounded by"].split('`').skip(1).step_by(2) {
            assert!(known.contains(constant), "no row above has {constant}");
        }
        for test in row["test"].split('`').skip(1).step_by(2) {
            assert!(function(&all, test).is_some(), "no test {test}");
        }
    }
}
