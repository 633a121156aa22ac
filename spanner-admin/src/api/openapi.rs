//! Generates the OpenAPI document from the table of routes and the schemas.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use spanner_core::Action;
use spanner_core::promotion::Standing;

use super::routes::{Admits, BASE, Body, Query, ROUTES, Route};

/// The OpenAPI 3.1 document of the API, as JSON. The service returns it at
/// `/spanner/v1/openapi.json`.
#[must_use]
pub fn openapi() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}", document()));
    &TEXT
}

fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        let path = paths.entry(format!("{BASE}{}", route.path)).or_default();
        path.insert(route.verb.as_str().to_lowercase(), operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Spanner administration",
            "version": "1",
            "description": "Promotions with recorded approvals, and who may do what. Every step is authorized and recorded in its target environment; `spanner-decision` in the response names the record.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(route: &Route) -> Value {
    let variable = route.operation.variable().map(variable);
    let query = route.query.iter().map(|query| parameter(*query));
    let parameters: Vec<Value> = variable.into_iter().chain(query).collect();
    let mut responses = Map::new();
    let answer = &route.answer;
    let schema = answer
        .schema
        .map_or_else(|| json!({"type": "object"}), reference);
    responses.insert(
        answer.status.to_string(),
        json!({
            "description": answer.description,
            "content": {"application/json": {"schema": schema}},
        }),
    );
    if route.admits == Admits::Known {
        let problem = json!({"application/problem+json": {"schema": reference("Problem")}});
        responses.extend(PROBLEMS.iter().map(|(status, description)| {
            let response = json!({"description": description, "content": problem});
            ((*status).to_owned(), response)
        }));
    }
    let security = match route.admits {
        Admits::Everybody => json!([]),
        Admits::Known => json!([{"bearer": []}]),
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "description": format!("Decided as: {}", route.decided),
        "parameters": parameters,
        "responses": responses,
        "security": security,
    });
    if let (
        Some(Body {
            schema,
            is_required,
        }),
        Some(members),
    ) = (&route.body, operation.as_object_mut())
    {
        let body = json!({
            "required": is_required,
            "content": {"application/json": {"schema": reference(schema)}},
        });
        members.insert("requestBody".to_owned(), body);
    }
    operation
}

/// The path variable.
fn variable(name: &'static str) -> Value {
    match name {
        "model" => json!({
            "name": name, "in": "path", "required": true,
            "schema": {
                "type": "string", "minLength": 1, "maxLength": 256,
                "pattern": "^/?[A-Za-z0-9._:@+=~-]+(/[A-Za-z0-9._:@+=~-]+)*$",
            },
            "description": "The model's name as its API spells it, with slashes as they are or as %2F.",
            "example": "acme/sentiment",
        }),
        _ => json!({
            "name": name, "in": "path", "required": true,
            "schema": {"type": "string", "format": "uuid"},
        }),
    }
}

fn parameter(query: Query) -> Value {
    let name = query.as_str();
    match query {
        Query::Environment => json!({
            "name": name, "in": "query", "required": false,
            "schema": {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"},
            "description": "The environment. Default: the guard's own environment; in a history, all that the caller may read.",
        }),
        Query::Standing => json!({
            "name": name, "in": "query", "required": false, "schema": reference("Standing"),
        }),
    }
}

/// The schemas of `schemas.json`, and those generated from enumerations.
fn schemas() -> Value {
    let mut schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    if let Some(members) = schemas.as_object_mut() {
        let words = |words: Vec<&str>| json!({"type": "string", "enum": words});
        let actions = Action::ALL.iter().map(|it| it.as_str()).collect();
        let standings = Standing::ALL.iter().map(|it| it.code()).collect();
        members.insert("Action".to_owned(), words(actions));
        members.insert("Standing".to_owned(), words(standings));
    }
    schemas
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// The possible failures of an authenticated request.
const PROBLEMS: [(&str, &str); 9] = [
    ("400", "The request is malformed."),
    ("401", "The credential is missing or not valid."),
    ("403", "The caller may not do this."),
    (
        "404",
        "It does not exist, or the caller may not know of it.",
    ),
    ("408", "The body did not arrive within 30 s."),
    ("409", "The current state does not allow this step."),
    (
        "413",
        "The body is longer than 64 KiB, or the manifest is too large to be recorded.",
    ),
    ("415", "The body is encoded."),
    (
        "503",
        "The step could not be decided or recorded; try again.",
    ),
];

/// The schemas of requests and responses.
const SCHEMAS: &str = include_str!("schemas.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$ref", Value::String(target)) => {
                            let name = target.strip_prefix("#/components/schemas/");
                            found.insert(name.unwrap().to_owned());
                        }
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn schemas_and_routes_match() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let there: BTreeSet<String> = schemas.keys().cloned().collect();
        assert_eq!(named, there);
    }
}
