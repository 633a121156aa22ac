//! The reference of the configuration, from the same table of keys that the reader uses.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use spanner_toml::{DURATION_PATTERN, Key, Kind, SIZE_PATTERN};

use super::KEYS;

/// The reference as a page of the guide, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    let top: Vec<&Key> = KEYS.iter().filter(|key| inner(key).is_none()).collect();
    rows(&mut page, &top);
    for key in KEYS {
        section(&mut page, "", key);
    }
    page
}

/// The JSON Schema (2020-12) of the configuration, for editors.
#[must_use]
pub fn schema() -> String {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of the Spanner proxy",
    });
    if let (Some(schema), Value::Object(table)) = (schema.as_object_mut(), table(KEYS)) {
        schema.extend(table);
    }
    format!("{schema:#}\n")
}

/// The section of the page for a table, and those of the tables in it.
fn section(page: &mut String, path: &str, key: &Key) {
    let Some(keys) = inner(key) else { return };
    let path = match path.is_empty() {
        true => key.name.to_owned(),
        false => format!("{path}.{}", key.name),
    };
    let title = match (key.kind, path.contains('.')) {
        (Kind::Tables(_), _) => format!("[[{path}]]"),
        (_, false) => format!("[{path}]"),
        (_, true) => path.clone(),
    };
    // Writing to a text cannot fail.
    let _ = write!(page, "\n## `{title}`\n\n{}\n\n", key.about);
    rows(page, &keys.iter().collect::<Vec<_>>());
    for key in keys {
        section(page, &path, key);
    }
}

fn rows(page: &mut String, keys: &[&Key]) {
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        let default = match (key.required, key.default) {
            (true, _) => "required".to_owned(),
            (false, "") => String::new(),
            (false, default) => format!("`{default}`"),
        };
        let old = key.old.map(|old| format!(" Old name: `{old}`."));
        let about = format!("{}{}", key.about, old.unwrap_or_default());
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {} |",
            key.name,
            words(key.kind).replace('|', "\\|"),
            about.replace('|', "\\|"),
        );
    }
}

/// The type of a key, as text.
fn words(kind: Kind) -> String {
    match kind {
        Kind::Text(word) | Kind::Other(word) => word.to_owned(),
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Number { min, .. } => format!("number from {min}"),
        Kind::Duration => "duration".to_owned(),
        Kind::DurationOrNone => "duration or `\"none\"`".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Texts(word) => format!("{word}, or a list"),
        Kind::Table(_) => "table".to_owned(),
        Kind::Tables(_) => "list of tables".to_owned(),
        Kind::Items(word, _) => format!("{word}, table, or a list"),
        _ => String::new(),
    }
}

fn inner(key: &Key) -> Option<&'static [Key]> {
    match key.kind {
        Kind::Table(keys) | Kind::Tables(keys) | Kind::Items(_, keys) => Some(keys),
        _ => None,
    }
}

fn table(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        properties.insert(key.name.to_owned(), property(key));
        if let Some(old) = key.old {
            let mut property = property(key);
            if let Some(property) = property.as_object_mut() {
                let about = format!("Old name of `{}`.", key.name);
                property.insert("description".to_owned(), about.into());
                property.insert("deprecated".to_owned(), true.into());
            }
            properties.insert(old.to_owned(), property);
        }
    }
    let required = keys.iter().filter(|key| key.required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut table = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Some(table), false) = (table.as_object_mut(), required.is_empty()) {
        table.insert("required".to_owned(), required.into());
    }
    table
}

fn property(key: &Key) -> Value {
    let text = || json!({"type": "string"});
    let list = |item: Value| json!({"type": "array", "items": item});
    let duration = || json!({"type": "string", "pattern": DURATION_PATTERN});
    let mut schema = match key.kind {
        Kind::Text(_) => text(),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Number { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Duration => duration(),
        Kind::DurationOrNone => json!({"anyOf": [duration(), {"const": "none"}]}),
        Kind::Size => json!({"anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": SIZE_PATTERN},
        ]}),
        Kind::Texts(_) => json!({"anyOf": [text(), list(text())]}),
        Kind::Table(keys) => table(keys),
        Kind::Tables(keys) => list(table(keys)),
        Kind::Items(_, keys) => {
            let item = json!({"anyOf": [text(), table(keys)]});
            json!({"anyOf": [text(), table(keys), list(item)]})
        }
        _ => json!({}),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), key.about.into());
        // The description contains a default that is no TOML value.
        let default = format!("it = {}", key.default).parse::<toml::Table>();
        let default = default
            .ok()
            .and_then(|it| serde_json::to_value(it.get("it")?).ok());
        if let Some(default) = default {
            schema.insert("default".to_owned(), default);
        }
    }
    schema
}

const HEAD: &str = "\
# Every configuration key

The proxy reads one TOML file. Paths in it are relative to the file. `check` reports everything that is wrong with it
at once, each problem with line and column. This page is generated from the table of keys that the reader uses;
`access schema proxy` prints the same as a JSON Schema for editors.

- A **duration** is a number with a unit, or several: `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"1h30m\"`, `\"12h\"`, `\"30d\"`. Units may be
  written out, and ISO 8601 is read too (`\"PT1H30M\"`). A day has 24 hours. Months and years are refused.
- A **size** is a number of bytes, or a text with a unit: `\"64 KiB\"`, `\"25 MiB\"`, `\"1 GiB\"`.
- A key that was renamed is still read under its old name; `check` and the log say so.

The file itself, surface files, certificates of `ca` and variables of the environment are read at start only. The
access, manifests, revocations, and files with keys, secrets and credentials are read again on change and on SIGHUP.

## Top level

";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;

    /// A value of a key as TOML, with every key of its own.
    fn sample(key: &Key, extra: &str) -> String {
        match key.kind {
            Kind::Choice(words) => format!("{:?}", words[0]),
            Kind::Flag => "true".to_owned(),
            Kind::Number { min, .. } => min.to_string(),
            Kind::Duration | Kind::DurationOrNone => "\"2h\"".to_owned(),
            Kind::Size => "\"2 MiB\"".to_owned(),
            Kind::Table(keys) => inline(keys, extra),
            Kind::Tables(keys) | Kind::Items(_, keys) => format!("[{}]", inline(keys, extra)),
            _ => "\"x\"".to_owned(),
        }
    }

    fn inline(keys: &[Key], extra: &str) -> String {
        let members = keys.iter();
        let members = members.map(|key| format!("{} = {}", key.name, sample(key, extra)));
        let members: Vec<String> = members.collect();
        format!("{{ {}{extra} }}", members.join(", "))
    }

    fn read(text: &str) -> (Option<Config>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spanner.toml");
        std::fs::write(&file, text).unwrap();
        let (config, problems) = Config::read_without_secrets(&file);
        let problems = problems.all().iter().map(ToString::to_string).collect();
        (config, problems)
    }

    fn tables(keys: &[Key]) -> usize {
        let within = keys.iter().filter_map(inner).map(tables);
        1 + within.sum::<usize>()
    }

    #[test]
    fn the_reader_knows_every_key_and_no_other() {
        let lines = |extra: &str| {
            let lines = KEYS.iter();
            let lines = lines.map(|key| format!("{} = {}", key.name, sample(key, extra)));
            lines.collect::<Vec<_>>().join("\n")
        };
        let (_, problems) = read(&lines(""));
        for problem in &problems {
            assert!(!problem.contains("unknown key"), "{problem}");
            let of_mapping = problem.contains("wrong type");
            assert!(
                of_mapping || !problem.contains("a value of type"),
                "{problem}"
            );
        }
        let (_, problems) = read(&format!("nonsense = 1\n{}", lines(", nonsense = 1")));
        let unknown = problems
            .iter()
            .filter(|it| it.contains("unknown key `nonsense`"));
        assert_eq!(unknown.count(), tables(KEYS), "{problems:#?}");
    }

    #[test]
    fn the_schema_knows_every_key_and_no_other() {
        fn closed(schema: &Value, tables: &mut usize) {
            if let Some(properties) = schema["properties"].as_object() {
                *tables += 1;
                assert_eq!(schema["additionalProperties"], false);
                for (name, property) in properties {
                    assert!(property["description"].is_string(), "{name}");
                }
            }
            let inner = schema.as_object().into_iter().flat_map(|it| it.values());
            let items = schema.as_array().into_iter().flatten();
            inner.chain(items).for_each(|it| closed(it, tables));
        }
        let parsed: Value = serde_json::from_str(&schema()).unwrap();
        let mut found = 0;
        closed(&parsed, &mut found);
        assert!(found >= tables(KEYS), "{found}");
        let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
        let known = parsed["properties"].as_object().unwrap().keys();
        let known: BTreeSet<&str> = known.map(String::as_str).collect();
        assert_eq!(known, names);
    }

    #[test]
    fn a_key_that_is_left_out_means_its_default() {
        let required = |key: &str| match key {
            "name" => "\"corp\"",
            "surface" => "\"openai\"",
            _ => "\"https://id.example.com\"",
        };
        let text = |keys: &[Key], defaults: bool| {
            let lines = keys.iter().filter_map(|key| {
                match (inner(key), key.required || key.name == "url") {
                    (Some(_), _) => None,
                    (None, true) => Some(format!("{} = {}\n", key.name, required(key.name))),
                    // A default in prose is no value.
                    (None, false) if key.default.is_empty() || !defaults => None,
                    (None, false) => Some(format!("{} = {}\n", key.name, key.default)),
                }
            });
            lines.collect::<String>()
        };
        let whole = |defaults| {
            let mut whole = format!("environment = \"e\"\n{}", text(KEYS, defaults));
            for key in KEYS {
                whole += &match key.kind {
                    Kind::Tables(_) if key.name == "ship" => String::new(),
                    Kind::Table(_) if key.name == "revocations" => String::new(),
                    Kind::Table(keys) => format!("[{}]\n{}", key.name, text(keys, defaults)),
                    Kind::Tables(keys) => format!("[[{}]]\n{}", key.name, text(keys, defaults)),
                    _ => String::new(),
                };
            }
            whole
        };
        let shown = |defaults: bool| {
            let (config, problems) = read(&whole(defaults));
            assert_eq!(problems, [""; 0], "{}", whole(defaults));
            let mut config = config.unwrap();
            let base = config.file.parent().unwrap().display().to_string();
            let upstream = config.upstreams.remove(0);
            let mut notes = Vec::new();
            let mut add =
                |value: &dyn std::fmt::Debug| notes.push(format!("{value:?}").replace(&base, ""));
            add(&config.listen);
            add(&config.public_probes);
            add(&config.max_connections);
            add(&config.max_requests);
            add(&config.limits);
            add(&config.access);
            add(&config.broken_manifests);
            add(&config.ledger);
            add(&config.durability);
            add(&upstream.connect_timeout);
            add(&upstream.response_timeout);
            add(&upstream.idle_timeout);
            add(&upstream.max_requests);
            notes
        };
        assert_eq!(shown(true), shown(false));
    }
}
