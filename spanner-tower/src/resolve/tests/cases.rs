//! The surfaces' own files of cases, and every route by its own template.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::routes::push;
use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    default: Option<String>,
    body: Option<String>,
    message: Option<Vec<(u8, String)>>,
    frames: Option<String>,
    /// The references that a git push changes; those with a minus it deletes.
    push: Option<Vec<String>>,
    pairs: Option<Vec<String>>,
    refused: Option<String>,
    #[serde(default)]
    public: bool,
}

impl Case {
    fn content(&self) -> Vec<u8> {
        let fields = |fields: &Vec<(u8, String)>| {
            frame(&message(
                fields.iter().map(|(number, text)| (*number, text.as_str())),
            ))
        };
        self.message
            .as_ref()
            .map(fields)
            .or_else(|| self.frames.as_deref().map(hex))
            .or_else(|| self.push.as_deref().map(push))
            .or_else(|| self.body.clone().map(String::into_bytes))
            .unwrap_or_default()
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if !self.headers.contains_key("content-type") {
            match (&self.body, self.message.is_some() || self.frames.is_some()) {
                (_, true) => headers.push(GRPC),
                _ if self.push.is_some() => {
                    headers.push(("content-type", "application/x-git-receive-pack-request"));
                }
                (Some(_), false) => headers.push(JSON),
                (None, false) => {}
            }
        }
        headers
    }

    /// What is not as it is due.
    async fn check(&self, mut surface: Surface) -> Option<String> {
        if let Some(default) = &self.default {
            surface = surface.default_model(default.parse().unwrap());
        }
        let routes = routes(surface);
        let parts = parts(&self.request, &self.headers());
        if self.public {
            let class = routes.classify(&parts).map(|found| found.class());
            return (class != Ok(RouteClass::Public)).then(|| format!("{}: {class:?}", self.name));
        }
        let content = self.content();
        let body = chunks([content.as_slice()]);
        let (pairs, refused) = match resolve(&routes, &parts, body, &Limits::default()).await {
            Ok((target, body)) => {
                assert_eq!(forwarded(body).await, content, "{}", self.name);
                (Some(texts(&target)), None)
            }
            Err(refusal) => (None, Some(refusal.code().to_owned())),
        };
        let right = pairs == self.pairs && refused == self.refused;
        (!right).then(|| format!("{}: {pairs:?} {refused:?}", self.name))
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

#[tokio::test]
async fn each_surface_touches_what_its_file_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("surfaces");
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = file.strip_suffix(".cases.toml") else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let cases: Cases = toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let Some(surface) = surface::named(name) else {
            wrong.push(format!("{name}: no such surface is shipped"));
            continue;
        };
        for case in &cases.cases {
            let found = case.check(surface.clone()).await;
            wrong.extend(found.map(|found| format!("{name}: {found}")));
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 250, "{checked}");
}
