//! The scanners against parsers that others wrote.

use std::fmt::Write;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value;
use spanner_core::RequestFault;

use crate::resolve::form::{FormScan, FormTargets};
use crate::resolve::found::Found;
use crate::resolve::json::JsonScan;
use crate::resolve::wire;
use crate::surface::{FieldPath, FieldStep, JsonPath, Step, Want};

/// A JSON value as generated: duplicates and all.
#[derive(Debug, Clone)]
enum Json {
    Raw(&'static str),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Text(text) => write!(out, "{}", Value::from(text.as_str())).unwrap(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::text).collect();
                write!(out, "[{}]", items.join(" ,")).unwrap();
            }
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| {
                    format!("{}: {}", Value::from(name.as_str()), value.text())
                };
                let members: Vec<String> = members.iter().map(member).collect();
                write!(out, "{{{}}}", members.join(",")).unwrap();
            }
        }
    }
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("model".to_owned()),
        1 => Just("Model".to_owned()),
        1 => Just("tools".to_owned()),
        3 => "[a-c]{1,2}",
    ]
}

fn json() -> impl Strategy<Value = Json> {
    let valid = vec!["null", "true", "false", "0", "-1.5e3", "\"\\u00e9\""];
    let invalid = vec!["1e999", "01", "NaN", "\"\\ud800\"", ""];
    let leaf = prop_oneof![
        8 => prop::sample::select(valid).prop_map(Json::Raw),
        1 => prop::sample::select(invalid).prop_map(Json::Raw),
        24 => "[a-z\\\\\" é]{0,4}".prop_map(Json::Text),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::List),
            prop::collection::vec((names(), inner), 0..4).prop_map(Json::Object),
        ]
    })
}

/// Mostly an object, as requests are, with names and a list of tools in some.
fn document() -> impl Strategy<Value = Json> {
    let named = "[a-z]{0,3}".prop_map(|name| ("model".to_owned(), Json::Text(name)));
    let member = prop_oneof![2 => named, 3 => (names(), json())].boxed();
    let tool = prop::collection::vec(member.clone(), 0..3).prop_map(Json::Object);
    let tools = prop::collection::vec(prop_oneof![9 => tool, 1 => json()], 0..3);
    let tools = tools.prop_map(|tools| ("tools".to_owned(), Json::List(tools)));
    let object = prop::collection::vec(prop_oneof![3 => member, 1 => tools], 0..4);
    prop_oneof![9 => object.prop_map(Json::Object), 1 => json()]
}

/// What is found in a document that arrives in two pieces.
fn scan(document: &[u8], cut: usize) -> Result<Found, RequestFault> {
    let (first, second) = document.split_at(cut.min(document.len()));
    let mut scan = JsonScan::new(places().into());
    scan.feed(first)?;
    scan.feed(second)?;
    scan.end()?;
    Ok(scan.found().clone())
}

fn field(message: &[u8], path: &[u32]) -> Result<Vec<String>, RequestFault> {
    let step = |number: &u32| FieldStep {
        number: *number,
        each: false,
    };
    let path = FieldPath {
        steps: path.iter().map(step).collect(),
        number: false,
    };
    wire::texts(message, &path)
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

fn places() -> [JsonPath; 2] {
    [
        JsonPath {
            steps: [key("model")].into(),
            want: Want::Name,
        },
        JsonPath {
            steps: [key("tools"), Step::Each, key("model")].into(),
            want: Want::Further,
        },
    ]
}

/// What a reader of a tree finds, for documents that have nothing twice.
fn oracle(document: &Value) -> Option<(Vec<String>, Vec<String>)> {
    let name = |value: Option<&Value>, null| match value {
        None => Some(None),
        Some(Value::Null) if null => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => None,
    };
    let object = document.as_object()?;
    let model = name(object.get("model"), false)?;
    let mut further: Vec<String> = Vec::new();
    for tool in object
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let found = name(tool.get("model"), true)?;
        further.extend(found.filter(|found| !further.contains(found)));
    }
    Some((model.into_iter().collect(), further))
}

/// Whether some object on the way to a place has a member twice, or one in other letters.
fn is_ambiguous(document: &Json) -> bool {
    let Json::Object(members) = document else {
        return false;
    };
    let tools = members.iter().filter(|(name, _)| name == "tools");
    let inner = tools.filter_map(|(_, value)| match value {
        Json::List(items) => Some(items),
        Json::Raw(_) | Json::Text(_) | Json::Object(_) => None,
    });
    repeats(document) || inner.flatten().any(repeats)
}

fn repeats(value: &Json) -> bool {
    let Json::Object(members) = value else {
        return false;
    };
    members.iter().enumerate().any(|(at, (name, _))| {
        name == "Model" || members.iter().take(at).any(|(earlier, _)| earlier == name)
    })
}

#[derive(Clone, PartialEq, prost::Message)]
struct Spec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
    #[prost(fixed64, tag = "4")]
    eight: u64,
    #[prost(fixed32, tag = "5")]
    four: u32,
    #[prost(uint64, repeated, tag = "6")]
    packed: Vec<u64>,
    #[prost(message, optional, tag = "7")]
    spec: Option<Spec>,
    #[prost(int32, tag = "536870911")]
    last: i32,
}

prop_compose! {
    fn request()(
        name in "[a-zé]{0,5}",
        version in "[0-9]{0,2}",
        data in prop::collection::vec(any::<u8>(), 0..200),
        eight: u64,
        four: u32,
        packed in prop::collection::vec(any::<u64>(), 0..4),
        spec in prop::option::of(("[a-z]{0,3}", any::<i64>())),
        last: i32,
    ) -> Request {
        let spec = spec.map(|(name, version)| Spec { name, version });
        Request { name, version, data, eight, four, packed, spec, last }
    }
}

fn some(text: &str) -> Vec<String> {
    let text = Some(text).filter(|text| !text.is_empty());
    text.map(str::to_owned).into_iter().collect()
}

/// A form of these fields, and the content of its file.
fn form() -> impl Strategy<Value = (Vec<(String, String)>, String)> {
    let name = prop_oneof![2 => Just("model".to_owned()), 3 => "[a-z]{1,6}"];
    let fields = prop::collection::vec((name, "[a-z0-9/ -]{0,12}"), 0..5);
    (fields, "[a-z\r\n-]{0,40}")
}

/// What another reader finds in the whole form: every `model`.
fn models(body: &[u8]) -> Option<Vec<String>> {
    let body = bytes::Bytes::copy_from_slice(body);
    let whole = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut parts = multer::Multipart::new(whole, "b0undary");
    let mut models = Vec::new();
    let read = async {
        while let Some(field) = parts.next_field().await.ok()? {
            let is_model = field.name() == Some("model");
            let text = field.text().await.ok()?;
            models.extend(is_model.then_some(text));
        }
        Some(())
    };
    futures_util::FutureExt::now_or_never(read)??;
    Some(models)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn the_json_scanner_finds_what_a_tree_holds_or_refuses(document in document(), cut: prop::sample::Index) {
        let text = document.text();
        let found = scan(text.as_bytes(), cut.index(text.len() + 1));
        let tree = serde_json::from_str::<Value>(&text).ok();
        let expected = tree.as_ref().and_then(oracle);
        match (found, is_ambiguous(&document)) {
            (Ok(found), false) => {
                let found = (found.at(0).to_vec(), found.at(1).to_vec());
                prop_assert_eq!(Some(found), expected, "{}", text);
            }
            (Ok(_), true) => prop_assert!(false, "accepted {}", text),
            (Err(_), true) => {}
            (Err(fault), false) => prop_assert!(expected.is_none(), "{} {:?}", text, fault),
        }
    }

    #[test]
    fn the_json_scanner_accepts_no_bytes_that_others_refuse(bytes in prop::collection::vec(any::<u8>(), 0..40), cut: prop::sample::Index) {
        if scan(&bytes, cut.index(bytes.len() + 1)).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn the_message_scanner_finds_what_prost_decodes(request in request()) {
        let bytes = request.encode_to_vec();
        prop_assert_eq!(field(&bytes, &[1]), Ok(some(&request.name)));
        prop_assert_eq!(field(&bytes, &[2]), Ok(some(&request.version)));
        let spec = request.spec.as_ref().map_or_else(Vec::new, |spec| some(&spec.name));
        prop_assert_eq!(field(&bytes, &[7, 1]), Ok(spec));
    }

    #[test]
    fn the_form_reader_finds_what_another_reader_finds_once(
        (fields, file) in form(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let body = super::routes::multipart(&fields, Some(&file));
        let sought = FormTargets { fields: vec![("model".to_owned(), Want::Name)].into(), lines: None };
        let mut scan = FormScan::new("multipart/form-data; boundary=b0undary", sought).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let mut pieces = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]);
        let read = pieces.try_for_each(|piece| scan.feed(piece)).and_then(|()| scan.end());
        let models = models(&body).unwrap();
        match models.as_slice() {
            [_, _, ..] => prop_assert_eq!(read, Err(RequestFault::SelectorConflict)),
            models => {
                prop_assert_eq!(read, Ok(()));
                let due: Vec<String> = models.iter().filter(|m| !m.is_empty()).cloned().collect();
                prop_assert_eq!(scan.fields().at(0).to_vec(), due);
            }
        }
    }

    #[test]
    fn the_message_scanner_agrees_with_prost_on_damaged_messages(
        request in request(),
        at: prop::sample::Index,
        byte: u8,
        cut: prop::sample::Index,
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        }
        if let (Ok(found), Ok(decoded)) = (field(&bytes, &[1]), Request::decode(bytes.as_slice())) {
            prop_assert_eq!(found, some(&decoded.name));
        }
    }
}
