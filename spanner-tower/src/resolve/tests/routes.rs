//! Every route of every API, as a table that was made without this crate says it: a request
//! derived from each row touches what the row says.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::surface::{built_in, named};

/// One row of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    surface: String,
    method: String,
    path: String,
    action: String,
    #[serde(default = "none")]
    model_location: String,
    version_location: Option<String>,
    when: Option<String>,
    #[serde(default)]
    also: Vec<Also>,
    #[serde(rename = "on_missing")]
    _on_missing: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    action: String,
    model_location: Option<String>,
    when: Option<String>,
    #[serde(rename = "resource")]
    _resource: Option<String>,
    #[serde(rename = "kind_location")]
    _kind_location: Option<String>,
    #[serde(rename = "on_missing")]
    _on_missing: Option<String>,
}

fn none() -> String {
    "none".to_owned()
}

/// What a row demands of its request.
#[derive(Default)]
struct Draft {
    slots: Vec<(String, String)>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    json: Option<Value>,
    form: Vec<(String, String)>,
    file: Option<String>,
    /// Field paths with their texts.
    fields: Vec<(Vec<u32>, Field)>,
    refs: Vec<String>,
}

#[derive(Clone)]
enum Field {
    Text(String),
    Number(u8),
}

/// What a row says of its request.
#[derive(Debug, PartialEq)]
enum Due {
    Pairs(Vec<String>),
    Refused(&'static str),
    Class(RouteClass),
}

const ONLY: &str = "acme/only";
const NAME: &str = "acme/m1";

/// Rows that are not served as the table says, and why.
fn exception(row: &Row) -> Option<&'static str> {
    match (row.surface.as_str(), row.path.as_str()) {
        ("hf-hub", "/api/models/{name}" | "/{name}/resolve/{rev:enc}/{path*}") => {
            Some("names without an owner are ambiguous, and off")
        }
        ("openai" | "azure-openai" | "gemini" | "vllm", _)
            if row.model_location.starts_with("ws:") || row.path.ends_with("/realtime") =>
        {
            Some("WebSockets have tests of their own")
        }
        _ if row.model_location.starts_with("ws:") => Some("WebSockets have tests of their own"),
        _ => None,
    }
}

fn rows() -> Vec<Row> {
    include_str!("../../../tests/data/routes.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What stands in a slot.
fn filling(slot: &str) -> String {
    match slot {
        "owner" | "publisher" => "acme".to_owned(),
        "name" => "m1".to_owned(),
        "version" => "3".to_owned(),
        other => format!("{other}-1"),
    }
}

impl Draft {
    /// The path with every slot filled.
    fn path(&mut self, template: &str) -> String {
        let (path, query) = template.split_once('?').unwrap_or((template, ""));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.query.push((key.to_owned(), value.to_owned()));
        }
        let mut filled = String::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('{') {
            let (slot, after) = after.split_once('}').unwrap();
            let name = slot.trim_end_matches('*').trim_end_matches(":enc");
            let value = match (slot.ends_with('*'), slot.contains(":enc")) {
                (true, _) => format!("{}/x", filling(name)),
                (false, true) if name == "model" => NAME.to_owned(),
                _ => filling(name),
            };
            filled.push_str(before);
            filled.push_str(&match slot.contains(":enc") {
                true => value.replace('/', "%2F"),
                false => value.clone(),
            });
            self.slots.push((name.to_owned(), value));
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    fn slot(&self, name: &str) -> String {
        let slot = self.slots.iter().find(|(slot, _)| slot == name);
        slot.unwrap_or_else(|| panic!("no slot {name}")).1.clone()
    }

    fn document(&mut self) -> &mut Value {
        self.json.get_or_insert_with(|| json!({}))
    }

    /// Puts a text where a location says, and tells which name it then gives; `Err` with the
    /// refusal for what cannot be read.
    fn put(&mut self, location: &str, text: &str) -> Result<Option<String>, &'static str> {
        let location = location.split(" (").next().unwrap();
        let (kind, rest) = location.split_once(':').unwrap_or((location, ""));
        let rest = rest.split('[').next().map_or(rest, |_| rest);
        match kind {
            "none" => Ok(None),
            "server" => Ok(Some(ONLY.to_owned())),
            "path" if rest.ends_with(" suffix ::model") => Ok(Some("m1".to_owned())),
            "path" if rest.contains("+json:") => {
                let (slot, pointer) = rest.split_once("+json:").unwrap();
                put_json(self.document(), pointer, text);
                Ok(Some(format!("{}/{text}", self.slot(slot))))
            }
            "path" => {
                let names = rest.split(" suffix").next().unwrap().split('+');
                let held: Vec<String> = names.map(|name| self.slot(name)).collect();
                Ok(Some(held.join("/")))
            }
            "json" if rest.contains('+') => {
                put_json(self.document(), "/organization", "acme");
                put_json(self.document(), "/name", "m1");
                Ok(Some(NAME.to_owned()))
            }
            "json" => {
                let first = rest.split('|').next().unwrap();
                put_json(self.document(), first, text);
                Ok(Some(text.to_owned()))
            }
            "query" => {
                self.query.push((rest.to_owned(), text.replace('/', "%2F")));
                Ok(Some(text.to_owned()))
            }
            "header" => {
                self.headers.push((rest.to_lowercase(), text.to_owned()));
                Ok(Some(text.to_owned()))
            }
            // A document within a form is not read.
            "form" if rest.contains('/') => {
                let (field, _) = rest.split_once('/').unwrap();
                self.form
                    .push((field.to_owned(), json!({"model": text}).to_string()));
                Err("request.opaque")
            }
            "form" => {
                self.form.push((rest.to_owned(), text.to_owned()));
                Ok(Some(text.to_owned()))
            }
            "jsonl" => {
                self.form.push(("purpose".to_owned(), "batch".to_owned()));
                let line = json!({"custom_id": "1", "body": {"model": text}});
                self.file = Some(format!("{line}\n{line}"));
                Ok(Some(text.to_owned()))
            }
            "pb" | "pb-stream" => {
                let path = rest.replace("[]", "");
                let path = path.split('.').map(|n| n.parse().unwrap()).collect();
                let number = text.parse::<u8>().ok().filter(|_| rest.contains("2.1"));
                let field = number.map_or_else(|| Field::Text(text.to_owned()), Field::Number);
                self.fields.push((path, field));
                Ok(Some(text.to_owned()))
            }
            "body pkt-lines" => {
                self.refs.push(text.to_owned());
                Ok(Some(text.to_owned()))
            }
            "opaque" => {
                if let Some(pointer) = rest.strip_prefix("json:") {
                    put_json(self.document(), pointer, text);
                }
                Err("request.opaque")
            }
            other => panic!("{other}"),
        }
    }

    fn request(&self, method: &str, path: &str, grpc: bool) -> (Parts, Vec<u8>) {
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(key, value)| match value.is_empty() {
                true => key.clone(),
                false => format!("{key}={value}"),
            })
            .collect();
        let query = match query.is_empty() {
            true => String::new(),
            false => format!("?{}", query.join("&")),
        };
        let mut headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = if grpc {
            headers.push(GRPC);
            frame(&protobuf(&self.fields))
        } else if !self.refs.is_empty() {
            headers.push(("content-type", "application/x-git-receive-pack-request"));
            push(&self.refs)
        } else if !self.form.is_empty() || self.file.is_some() {
            headers.push(("content-type", "multipart/form-data; boundary=b0undary"));
            multipart(&self.form, self.file.as_deref())
        } else if let Some(json) = &self.json {
            headers.push(JSON);
            json.to_string().into_bytes()
        } else {
            Vec::new()
        };
        (parts(&format!("{method} {path}{query}"), &headers), body)
    }
}

fn put_json(document: &mut Value, pointer: &str, text: &str) {
    let pointer = pointer.replace("[]", "/[]");
    let mut at = document;
    for step in pointer.split('/').skip(1).filter(|step| *step != "**") {
        if step == "[]" {
            if !at.is_array() {
                *at = json!([null]);
            }
            at = &mut at[0];
        } else {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = at
                .as_object_mut()
                .unwrap()
                .entry(step)
                .or_insert(Value::Null);
        }
    }
    *at = Value::from(text);
}

/// Fields with a common beginning of their path go into one message.
fn protobuf(fields: &[(Vec<u32>, Field)]) -> Vec<u8> {
    let mut numbers: Vec<u32> = fields
        .iter()
        .filter_map(|(path, _)| path.first())
        .copied()
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut message = Vec::new();
    for number in numbers {
        let inner: Vec<(Vec<u32>, Field)> = fields
            .iter()
            .filter(|(path, _)| path[0] == number)
            .map(|(path, field)| (path[1..].to_vec(), field.clone()))
            .collect();
        let number = u8::try_from(number).unwrap();
        let content = match &inner[0] {
            (path, Field::Number(value)) if path.is_empty() => {
                message.extend([number << 3, *value]);
                continue;
            }
            (path, Field::Text(text)) if path.is_empty() => text.clone().into_bytes(),
            _ => protobuf(&inner),
        };
        message.extend([number << 3 | 2, u8::try_from(content.len()).unwrap()]);
        message.extend(content);
    }
    message
}

pub(super) fn push(refs: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, name) in refs.iter().enumerate() {
        let (name, new) = match name.strip_prefix('-') {
            Some(deleted) => (deleted, "0".repeat(40)),
            None => (name.as_str(), "2".repeat(40)),
        };
        let old = "1".repeat(40);
        let capabilities = if index == 0 { "\0report-status" } else { "" };
        let line = format!("{old} {new} {name}{capabilities}");
        body.extend(format!("{:04x}{line}", line.len() + 4).into_bytes());
    }
    body.extend(b"0000PACK....");
    body
}

pub(super) fn multipart(fields: &[(String, String)], file: Option<&str>) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in fields {
        body += &format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
    }
    let file = file.unwrap_or("content");
    body += &format!(
        "--b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n{file}\r\n--b0undary--\r\n"
    );
    body.into_bytes()
}

impl Row {
    fn grpc(&self) -> bool {
        let service = self.path.split('/').nth(1).unwrap_or_default();
        self.method == "POST" && service.contains('.') && self.path.matches('/').count() == 2
    }

    /// The request of the row with its model at the given alternative, and what is due.
    fn derive(&self, alternative: usize) -> Option<(Parts, Vec<u8>, Due)> {
        let mut draft = Draft::default();
        let path = draft.path(&self.path);
        if let Some(due) = match self.action.as_str() {
            "public" => Some(Due::Class(RouteClass::Public)),
            "whoami" => Some(Due::Class(RouteClass::Whoami)),
            _ => None,
        } {
            let (parts, body) = draft.request(&self.method, &path, self.grpc());
            return Some((parts, body, due));
        }
        if let Some(operation) = self
            .when
            .as_deref()
            .and_then(|when| when.strip_prefix("json:/operation == "))
        {
            put_json(draft.document(), "/operation", operation);
        }
        let mut locations = alternatives(&self.model_location);
        // An address from which a name would be made by rules of the server.
        locations.retain(|location| location != "query:url");
        let location = locations.into_iter().nth(alternative)?;
        let due = match draft.put(&location, NAME) {
            Err(refused) => Due::Refused(refused),
            Ok(model) => Due::Pairs(self.pairs(&mut draft, model.as_deref())),
        };
        // A path whose slot ends in a model.
        let path = path.replace("/v1/stream/conv-1", "/v1/stream/conv-1::m1");
        let (parts, body) = draft.request(&self.method, &path, self.grpc());
        Some((parts, body, due))
    }

    fn pairs(&self, draft: &mut Draft, model: Option<&str>) -> Vec<String> {
        let version = self.version_location.as_deref().and_then(|location| {
            let location = location.split('|').next().unwrap();
            let slot = location
                .strip_prefix("path:")
                .map(|slot| slot.split(' ').next().unwrap());
            if slot.is_some_and(|slot| !self.path.contains(&format!("{{{slot}")))
                || location.contains("suffix")
            {
                return None;
            }
            let location = location.split(" (").next().unwrap();
            draft.put(location, "3").unwrap()
        });
        let mut pairs = vec![pair(&self.action, model, version.as_deref())];
        for also in &self.also {
            let own = match (&also.model_location, &also.when) {
                // Asked for by something that this request does not say.
                (_, Some(_)) if !self.says_nothing() => continue,
                (_, Some(when)) if !when.starts_with("empty") => continue,
                (None, _) => model.map(str::to_owned),
                (Some(location), _) => draft.put(&alternatives(location)[0], "acme/other").unwrap(),
            };
            let same = also.model_location.is_none();
            let version = version.as_deref().filter(|_| same);
            pairs.push(pair(&also.action, own.as_deref(), version));
        }
        pairs
    }

    /// Ollama loads a model that is asked for nothing.
    fn says_nothing(&self) -> bool {
        self.surface == "ollama"
    }
}

fn pair(action: &str, model: Option<&str>, version: Option<&str>) -> String {
    match (model, version) {
        (None, _) => format!("{action} on the server"),
        (Some(model), None) => format!("{action} on {model}"),
        (Some(model), Some(version)) => format!("{action} on {model}@{version}"),
    }
}

/// The alternatives of a location, each with its kind.
fn alternatives(location: &str) -> Vec<String> {
    let mut kind = "";
    location
        .split('|')
        .map(|part| match part.split_once(':') {
            Some((named, _)) => {
                kind = named;
                part.to_owned()
            }
            None if part.starts_with('/') => format!("{kind}:{part}"),
            None => part.to_owned(),
        })
        .collect()
}

async fn answer(routes: &Routes, parts: &Parts, body: &[u8]) -> Due {
    let found = match routes.classify(parts) {
        Ok(found) if found.class() != RouteClass::Guarded => return Due::Class(found.class()),
        Ok(found) => found,
        Err(refusal) => return Due::Refused(refusal.code()),
    };
    match found
        .target(
            parts,
            chunks([body]),
            &Limits::default(),
            Default::default(),
        )
        .await
    {
        Ok((target, after)) => {
            assert_eq!(forwarded(after).await, body, "{:?}", parts.uri);
            Due::Pairs(texts(&target))
        }
        Err(refusal) => Due::Refused(refusal.code()),
    }
}

#[tokio::test]
async fn every_row_of_the_table_touches_what_it_says() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for row in rows().iter().filter(|row| exception(row).is_none()) {
        let surface = named(&row.surface)
            .unwrap()
            .default_model(ONLY.parse().unwrap());
        let one_model = surface.has_one_model();
        let routes = routes(surface);
        for alternative in 0..3 {
            let Some((parts, body, mut due)) = row.derive(alternative) else {
                break;
            };
            checked += 1;
            if let Due::Pairs(pairs) = &mut due
                && one_model
                && matches!(row.action.as_str(), "generate" | "predict" | "embed")
            {
                // The server's own model runs whatever is named.
                let base = format!("{} on {ONLY}", row.action);
                if !pairs.contains(&base) && !pairs[0].ends_with("the server") {
                    pairs.insert(1, base);
                }
            }
            let answer = answer(&routes, &parts, &body).await;
            if answer != due {
                wrong.push(format!(
                    "{} {} {} ({alternative}): {answer:?}, due {due:?}",
                    row.surface, row.method, row.path
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {checked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(checked > 1200, "{checked}");
}

/// A surface lets through only what its own table has, or what it serves besides: requests of
/// another API with the same path, which it reads in its own way.
#[tokio::test]
async fn what_one_api_knows_is_nothing_to_another() {
    let all = rows();
    let requests: Vec<(Parts, Vec<u8>)> = all
        .iter()
        .filter(|row| exception(row).is_none())
        .filter_map(|row| row.derive(0))
        .map(|(parts, body, _)| (parts, body))
        .collect();
    let mut strangers = 0;
    for name in built_in().filter(|name| *name != "open-inference") {
        let own: Vec<&Row> = all.iter().filter(|row| row.surface == name).collect();
        let routes = routes(named(name).unwrap());
        for (parts, body) in &requests {
            let path = parts.uri.path();
            let mut known = own.iter().filter(|row| {
                let method = row.method == parts.method.as_str()
                    || (parts.method == http::Method::HEAD && row.method == "GET");
                method && could_be(row.path.split('?').next().unwrap(), path)
            });
            let answer = answer(&routes, parts, body).await;
            match answer {
                Due::Refused(_) => strangers += 1,
                Due::Class(RouteClass::Public) => {
                    assert!(known.any(|row| row.action == "public"), "{name}: {path}");
                }
                _ => assert!(known.next().is_some(), "{name}: {path}"),
            }
        }
    }
    assert!(strangers > 30_000, "{strangers}");
}

/// Whether a path can be of a template of the table, by a plain reading of it.
fn could_be(template: &str, path: &str) -> bool {
    let mut pattern = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').unwrap();
        pattern += before;
        pattern.push(if slot.ends_with('*') {
            '\u{2}'
        } else {
            '\u{1}'
        });
        rest = after;
    }
    pattern += rest;
    glob(
        &pattern.chars().collect::<Vec<_>>(),
        &path.chars().collect::<Vec<_>>(),
    )
}

fn glob(pattern: &[char], path: &[char]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
        (Some(('\u{1}' | '\u{2}', rest)), Some((first, others))) => {
            let one = pattern[0] == '\u{1}' && *first == '/';
            !one && (glob(rest, others) || glob(pattern, others))
        }
        (Some((due, rest)), Some((first, others))) => due == first && glob(rest, others),
    }
}
