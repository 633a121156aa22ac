//! The JSON Schemas know what the loader knows.

use serde_json::Value;

use crate::load::keys;
use crate::{Cases, Cedar, schemas};

const ROWS: &str = include_str!("../../schemas/rows.toml");

const ORGANIZATION: &str = "environments = [\"staging\", \"production\"]\ngroups = [\"nlp\", \"qa\"]\nissuers = [\"corp\"]\n";

fn properties(schema: &Value) -> Vec<&str> {
    let properties = schema["properties"].as_object().unwrap();
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(schema["additionalProperties"], false, "{names:?}");
    for (name, property) in properties {
        let told = property["description"].is_string() || property["$ref"].is_string();
        assert!(
            told || property["type"] == "array",
            "{name} is not described"
        );
    }
    names
}

#[test]
fn have_every_key_that_the_loader_knows() {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let sorted = |keys: &[&'static str]| {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys
    };
    let organization = read(schemas::ORGANIZATION);
    assert_eq!(properties(&organization), sorted(keys::ORGANIZATION));
    let promotion = &organization["definitions"]["promotion"];
    assert_eq!(properties(promotion), sorted(keys::PROMOTION));
    assert_eq!(properties(&read(schemas::MANIFEST)), sorted(keys::MANIFEST));
    let case = read(schemas::CASE);
    assert_eq!(
        properties(&case["properties"]["case"]["items"]),
        sorted(keys::CASE)
    );
    let known =
        case["properties"]["case"]["items"]["properties"]["action"]["anyOf"][0]["enum"].clone();
    let mut known: Vec<String> = serde_json::from_value(known).unwrap();
    known.sort();
    let mut words: Vec<&str> = crate::role::action_words().collect();
    words.sort_unstable();
    assert_eq!(known, words);
    let reason = case["properties"]["case"]["items"]["properties"]["reason"]["pattern"]
        .as_str()
        .unwrap();
    assert_eq!(
        reason,
        format!("^(authz\\.)?({})$", keys::REASONS.join("|"))
    );
}

#[test]
fn the_loader_takes_and_refuses_the_same_rows() {
    let rows: toml::Table = ROWS.parse().unwrap();
    let rows = rows["row"].as_array().unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let text = row["text"].as_str().unwrap();
        let loaded = match row["file"].as_str().unwrap() {
            "organization" => Cedar::from_files([("organization.toml", text)]).map(drop),
            "manifest" => {
                let files = [("organization.toml", ORGANIZATION), ("models/m.toml", text)];
                Cedar::from_files(files).map(drop)
            }
            _ => {
                let cedar = Cedar::from_files([("organization.toml", ORGANIZATION)]).unwrap();
                let cases = Cases::from_files([("c.toml", text)]).unwrap();
                cases.run(&cedar).map(drop)
            }
        };
        let good = row.get("good").is_some();
        assert_eq!(loaded.is_ok(), good, "{text}\n{loaded:?}");
        assert!(good || row["why"].is_str());
    }
}
