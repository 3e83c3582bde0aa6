//! A small evaluator of CloudWatch Logs Insights: the commands and functions that docs/operate.md and docs/restore.md
//! use, and no others.
//!
//! The evaluator panics at any other command or function, so that no part of a query is ignored. AWS describes the
//! language under "CloudWatch Logs Insights language query syntax".

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value;

/// The fields of a line or of a result, by name. A field that is absent has no entry.
pub(crate) type Row = BTreeMap<String, Value>;

/// Returns the rows that `query` finds in `lines`, which are JSON.
pub(crate) fn run(query: &str, lines: &[String]) -> Vec<Row> {
    let parsed = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    let mut rows: Vec<Row> = parsed.map(|line: Value| flat(&line)).collect();
    for command in query.split('|').map(str::trim) {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap();
        let rest = rest.trim();
        match name {
            "filter" => rows.retain(|row| holds(rest, row)),
            "fields" => {
                let names: Vec<&str> = list(rest);
                for row in &mut rows {
                    row.retain(|name, _| names.contains(&name.as_str()));
                }
            }
            "stats" => rows = stats(rest, &rows),
            "sort" => sort(rest, &mut rows),
            "limit" => rows.truncate(rest.parse().unwrap()),
            other => panic!("the command {other} is unknown"),
        }
    }
    rows
}

/// Returns the members of a line, nested ones joined by dots, as Insights discovers them.
fn flat(line: &Value) -> Row {
    fn add(name: &str, value: &Value, row: &mut Row) {
        let join = |key: &str| match name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        };
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    add(&join(key), value, row);
                }
            }
            Value::Array(items) => {
                for (nth, value) in items.iter().enumerate() {
                    add(&join(&nth.to_string()), value, row);
                }
            }
            value => {
                row.insert(name.to_owned(), value.clone());
            }
        }
    }
    let mut row = Row::new();
    add("", line, &mut row);
    row
}

/// Splits at commas outside of parentheses.
fn list(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                items.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(text[start..].trim());
    items
}

/// Returns the name and the arguments of a call such as `pct(ms, 99)`.
fn call(text: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = text.split_once('(')?;
    Some((name, list(rest.strip_suffix(')').unwrap())))
}

/// Evaluates conditions that are joined by `and`.
fn holds(conditions: &str, row: &Row) -> bool {
    assert!(!conditions.contains(" or "), "`or` is unknown");
    conditions.split(" and ").all(|condition| {
        let condition = condition.trim();
        if let Some((name, arguments)) = call(condition) {
            assert_eq!((name, arguments.len()), ("ispresent", 1), "{condition}");
            return row.contains_key(arguments[0]);
        }
        let words: Vec<&str> = condition.splitn(3, ' ').collect();
        let [field, operator, literal] = words[..] else {
            panic!("{condition} is no comparison");
        };
        let literal: Value = serde_json::from_str(literal).unwrap();
        let Some(found) = row.get(field) else {
            return false;
        };
        if let ("in", Value::Array(items)) = (operator, &literal) {
            return items.iter().any(|item| compare(found, item).is_eq());
        }
        let ordering = compare(found, &literal);
        match operator {
            "=" => ordering.is_eq(),
            "!=" => ordering.is_ne(),
            "<" => ordering.is_lt(),
            ">" => ordering.is_gt(),
            "<=" => ordering.is_le(),
            ">=" => ordering.is_ge(),
            other => panic!("the operator {other} is unknown"),
        }
    })
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        // An absent value sorts first.
        _ if a.is_null() || b.is_null() => b.is_null().cmp(&a.is_null()),
        _ => text(a).cmp(&text(b)),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn stats(command: &str, rows: &[Row]) -> Vec<Row> {
    let (aggregates, groups) = command.split_once(" by ").unwrap_or((command, ""));
    let groups: Vec<&str> = list(groups)
        .into_iter()
        .filter(|group| !group.is_empty())
        .collect();
    let mut grouped: BTreeMap<Vec<(&str, String)>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let key = groups
            .iter()
            .map(|group| (*group, text(&group_of(group, row))));
        grouped.entry(key.collect()).or_default().push(row);
    }
    let rows = grouped.into_values().map(|members| {
        let keys = groups
            .iter()
            .map(|group| ((*group).to_owned(), group_of(group, members[0])));
        let mut found: Row = keys.filter(|(_, value)| !value.is_null()).collect();
        for aggregate in list(aggregates) {
            let (function, name) = aggregate.split_once(" as ").unwrap();
            if let Some(value) = aggregated(function.trim(), &members) {
                found.insert(name.trim().to_owned(), value);
            }
        }
        found
    });
    rows.collect()
}

/// Returns the value by which a row is grouped; `null` if it has none.
fn group_of(group: &str, row: &Row) -> Value {
    match call(group) {
        None => row.get(group).cloned().unwrap_or_default(),
        // The begin of the five minutes: `2026-11-28T03:5` and `0` or `5`.
        Some(("bin", arguments)) => {
            assert_eq!(arguments, ["5m"]);
            let time = text(&row["timestamp"]);
            let minute: u32 = time[14..16].parse().unwrap();
            format!("{}{:02}", &time[..14], minute / 5 * 5).into()
        }
        Some((other, _)) => panic!("the function {other} is unknown"),
    }
}

/// Returns the result of a function over the rows that have its field; `None` if none has.
fn aggregated(function: &str, rows: &[&Row]) -> Option<Value> {
    let (name, arguments) = call(function).unwrap();
    if name == "count" {
        assert_eq!(arguments, ["*"]);
        return Some(rows.len().into());
    }
    let values = rows
        .iter()
        .filter_map(|row| row.get(arguments[0])?.as_f64());
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (least, greatest) = (*values.first()?, *values.last()?);
    let sum: f64 = values.iter().sum();
    let count = f64::from(u32::try_from(values.len()).unwrap());
    let value = match name {
        "avg" => sum / count,
        "sum" => sum,
        "min" => least,
        "max" => greatest,
        // The nearest rank.
        "pct" => {
            let percent: usize = arguments[1].parse().unwrap();
            values[(values.len() * percent).div_ceil(100).max(1) - 1]
        }
        other => panic!("the function {other} is unknown"),
    };
    Some(value.into())
}

fn sort(command: &str, rows: &mut [Row]) {
    let (field, direction) = command.split_once(' ').unwrap();
    let none = Value::Null;
    let of = |row: &Row| row.get(field).unwrap_or(&none).clone();
    match direction {
        "asc" => rows.sort_by(|a, b| compare(&of(a), &of(b))),
        "desc" => rows.sort_by(|a, b| compare(&of(b), &of(a))),
        other => panic!("the direction {other} is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines() -> Vec<String> {
        let lines = [
            json!({ "timestamp": "2026-11-28T03:59:59.9Z", "a": { "b": [1] }, "kind": "x", "ms": 4 }),
            json!({ "timestamp": "2026-11-28T03:55:00.1Z", "kind": "x", "ms": 2.5 }),
            json!({ "timestamp": "2026-11-28T04:00:00.0Z", "kind": "y", "ms": 10 }),
            json!({ "timestamp": "2026-11-28T04:00:01.0Z", "kind": "y", "level": "INFO" }),
        ];
        lines.map(|line| line.to_string()).into()
    }

    fn rows(query: &str) -> Value {
        serde_json::to_value(run(query, &lines())).unwrap()
    }

    #[test]
    fn lines_are_filtered_sorted_and_cut() {
        let found =
            rows("filter ms > 2.5 and kind != \"z\" | fields kind, ms | sort ms desc | limit 1");
        assert_eq!(found, json!([{ "kind": "y", "ms": 10 }]));
        assert_eq!(rows("filter a.b.0 = 1 | fields ms"), json!([{ "ms": 4 }]));
        assert_eq!(
            rows("filter ispresent(level) | fields level"),
            json!([{ "level": "INFO" }])
        );
    }

    #[test]
    fn groups_are_counted_and_summed() {
        let found =
            rows("stats count(*) as n, sum(ms) as sum, avg(ms) as mean, min(ms) as least by kind");
        assert_eq!(
            found,
            json!([
                { "kind": "x", "n": 2, "sum": 6.5, "mean": 3.25, "least": 2.5 },
                { "kind": "y", "n": 2, "sum": 10.0, "mean": 10.0, "least": 10.0 },
            ])
        );
        let found = rows("stats count(*) as n by bin(5m), kind | sort n asc");
        assert_eq!(
            found,
            json!([
                { "bin(5m)": "2026-11-28T03:55", "kind": "x", "n": 2 },
                { "bin(5m)": "2026-11-28T04:00", "kind": "y", "n": 2 },
            ])
        );
        assert_eq!(
            rows("stats pct(ms, 50) as p50, pct(ms, 99) as p99"),
            json!([{ "p50": 4.0, "p99": 10.0 }])
        );
    }

    #[test]
    #[should_panic(expected = "the command parse is unknown")]
    fn what_is_not_known_is_not_skipped() {
        run("filter ms > 1 | parse kind \"*\" as x", &lines());
    }
}
