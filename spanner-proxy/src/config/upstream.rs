//! `[[upstream]]`: one model server, and the requests that it gets.

use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use spanner_core::{Environment, ModelName};
use spanner_toml::{Key, Kind, Position, Problems, Table, Text, hide_userinfo, quoted};
use spanner_tower::surface::Surface;

use super::Context;
use super::credential::{self, Credential, credential};
use super::limits::COUNT;
use crate::surfaces;

/// One model server, as configured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// The position of the table in the file.
    pub position: Position,
    /// The model APIs that it serves. Surface files are read only at start.
    pub surfaces: Vec<Surface>,
    /// The position of `surface` in the file.
    pub surfaces_at: Position,
    /// Its address.
    pub origin: Origin,
    /// The prefix of its paths at the proxy: empty, or `/hub`.
    pub path_prefix: String,
    /// The `Host` that selects it. `None`: any.
    pub host: Option<Authority>,
    /// The environment that decisions are made in.
    pub environment: Environment,
    /// The position of `environment` in the file.
    pub environment_at: Position,
    /// Sent as `Authorization`. `None` also if secrets were not resolved.
    pub credential: Option<Credential>,
    /// How long opening a connection may take, and the wait for a slot among `max_requests`.
    pub connect_timeout: Duration,
    /// How long it may take until it begins to respond.
    pub response_timeout: Duration,
    /// How many requests of callers it gets at once. WebSockets have a quarter as many slots besides,
    /// and requests to public routes a sixteenth.
    pub max_requests: usize,
    /// How long an unused connection over HTTP/1.1 is kept.
    pub idle_timeout: Duration,
}

/// The address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// The prefix of every path: empty, or `/base`.
    pub path: String,
}

impl UpstreamConfig {
    pub(super) fn read(
        table: Table<'_>,
        context: Context<'_>,
        default: Option<&Environment>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = table.with(KEYS, problems);
        let advice = "write a name such as `acme/sentiment`";
        let model = table.parsed::<ModelName>("model", advice, problems);
        let surfaces = surfaces(table, context, model.as_ref(), problems);
        let origin = table
            .required_text("url", "`url = \"http://127.0.0.1:9000\"`", problems)
            .and_then(|text| origin(table, text, problems));
        let path_prefix = match table.text("path_prefix", problems) {
            Some(text) => prefix(table, text, problems),
            None => Some(String::new()),
        };
        let host = match table.text("host", problems) {
            Some(text) => host(table, text, problems).map(Some),
            None => Some(None),
        };
        let environment = environment(table, default, problems);
        let credential = credential(table, context, problems);
        let position = |key| table.source().position(table.at_key(key));
        let mut time = |key, otherwise| table.timeout(key, problems).unwrap_or(otherwise);
        let (connect_timeout, response_timeout) = (
            time("connect_timeout", CONNECT),
            time("response_timeout", RESPONSE),
        );
        let idle_timeout = time("idle_timeout", IDLE);
        let max_requests = table.count("max_requests", problems);
        Some(Self {
            position: table.source().position(table.at()),
            surfaces,
            surfaces_at: position("surface"),
            origin: origin?,
            path_prefix: path_prefix?,
            host: host?,
            environment: environment?,
            environment_at: position("environment"),
            credential,
            connect_timeout,
            response_timeout,
            max_requests: max_requests.map_or(MAX_REQUESTS, |it| it.value),
            idle_timeout,
        })
    }
}

impl Origin {
    /// The URI of a path at this address.
    pub(crate) fn uri(&self, path_and_query: &str) -> Result<Uri, http::Error> {
        let path = match self.path.is_empty() {
            true => path_and_query.parse::<PathAndQuery>()?,
            false => format!("{}{path_and_query}", self.path).parse()?,
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// Replaces the address.
    pub(crate) fn relocate(&mut self, authority: Authority) {
        self.scheme = Scheme::HTTP;
        self.authority = authority;
        self.path.clear();
    }
}

fn surfaces(
    table: Table<'_>,
    context: Context<'_>,
    model: Option<&ModelName>,
    problems: &mut Problems,
) -> Vec<Surface> {
    let names = table.one_or_more("surface", problems);
    if names.is_empty() {
        let advice = "add `surface = \"openai\"`, or the path of a surface file";
        table.whole("the upstream has no surface", advice, problems);
    }
    let mut surfaces = Vec::new();
    for name in names {
        let Some(surface) = surfaces::load(table, name, context.base, problems) else {
            continue;
        };
        surfaces.push(match model {
            Some(model) => bound(table, surface, model, problems),
            None => surface,
        });
    }
    surfaces
}

/// A surface with its default model, if one of its requests can be about a model of this name.
fn bound(
    table: Table<'_>,
    surface: Surface,
    model: &ModelName,
    problems: &mut Problems,
) -> Surface {
    let spelling = surface.spelling();
    let read = spelling.map(|spelling| spelling.read(model));
    if let Some(read) = read.filter(|read| !read.contains(model)) {
        let read: Vec<String> = read.iter().map(|name| format!("`{name}`")).collect();
        let what = format!(
            "no request through the surface `{}` is ever about `{}`",
            surface.name(),
            model
        );
        let advice = match read.is_empty() {
            true => "write the name of the model that the server runs".to_owned(),
            false => format!("write {}", read.join(" or ")),
        };
        table.problem(table.at_key("model"), what, advice, problems);
        return surface;
    }
    surface.default_model(model.clone())
}

fn origin(table: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<Origin> {
    let origin = text.value.parse::<Uri>().ok().and_then(|uri| {
        let plain = uri.query().is_none() && !text.value.contains('#');
        let scheme = uri.scheme().cloned();
        let scheme = scheme.filter(|it| *it == Scheme::HTTP || *it == Scheme::HTTPS);
        let authority = uri.authority().cloned();
        let authority = authority.filter(|it| !it.as_str().contains('@'));
        plain.then_some(Origin {
            scheme: scheme?,
            authority: authority?,
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    });
    if origin.is_none() {
        no_server(table, text, problems);
    }
    origin
}

/// The address of a server that something is sent to.
pub(super) fn server(table: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<String> {
    let parsed = text.value.parse::<Uri>().ok();
    let good = parsed.is_some_and(|uri| {
        let scheme = uri.scheme_str();
        let authority = uri.authority().map(|it| it.as_str());
        matches!(scheme, Some("http" | "https")) && authority.is_some_and(|it| !it.contains('@'))
    });
    if !good {
        no_server(table, text, problems);
    }
    good.then(|| text.value.to_owned())
}

fn no_server(table: Table<'_>, text: Text<'_>, problems: &mut Problems) {
    table.problem(
        text.at,
        format!(
            "{} is no address of a server",
            quoted(&without_path(text.value))
        ),
        "write `http://` or `https://`, a host, perhaps a port and a path, without credentials",
        problems,
    );
}

/// A text that should be a URL, without its userinfo and path: either may be a secret.
fn without_path(text: &str) -> String {
    let shown = hide_userinfo(text);
    let after_scheme = shown.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = shown.split_at(after_scheme);
    match rest.find(['/', '?', '#']) {
        Some(end) if rest.get(end..) != Some("/") => {
            format!("{scheme}{}…", rest.get(..end).unwrap_or_default())
        }
        Some(_) | None => shown.into_owned(),
    }
}

/// A prefix of paths. Its segments have one spelling only, so that removing them is exact.
fn prefix(table: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<String> {
    let path = text.value.strip_suffix('/').unwrap_or(text.value);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let good = path.is_empty()
        || path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(segment));
    if !good {
        table.problem(
            text.at,
            format!("{} is no prefix of paths", quoted(text.value)),
            "write `/` and words of letters, digits, `-`, `.`, `_` and `~`, such as `/hub`",
            problems,
        );
    }
    good.then(|| path.to_owned())
}

fn host(table: Table<'_>, text: Text<'_>, problems: &mut Problems) -> Option<Authority> {
    let host = text.value.parse::<Authority>().ok();
    let host = host.filter(|it| !it.as_str().contains('@') && !it.host().is_empty());
    if host.is_none() {
        table.problem(
            text.at,
            format!("{} is no host", quoted(&hide_userinfo(text.value))),
            "write what callers send as `Host`, such as `staging.models.example.com`",
            problems,
        );
    }
    host
}

fn environment(
    table: Table<'_>,
    default: Option<&Environment>,
    problems: &mut Problems,
) -> Option<Environment> {
    if table.has("environment") {
        return table.parsed("environment", "write a name such as `staging`", problems);
    }
    if default.is_none() {
        let advice = "add `environment = \"production\"` here, or once at the top of the file";
        table.whole("the upstream serves no environment", advice, problems);
    }
    default.cloned()
}

pub(super) const KEYS: &[Key] = &[
    Key::new("surface", Kind::Texts("model API or path"), "The model APIs that the server speaks: names of built-in surfaces (see [Model APIs](surfaces.md)), or paths of surface files, which end in `.toml`.").required(),
    Key::new("url", Kind::Text("URL"), "The address of the server.").required(),
    Key::new("path_prefix", Kind::Text("path"), "A prefix of paths that callers write, such as `/hub`. It chooses the upstream and is removed before the path is matched and forwarded."),
    Key::new("host", Kind::Text("host"), "The `Host` that callers send. It chooses the upstream. Default: any."),
    Key::new("environment", Kind::Text("environment"), "The environment that decisions are made in. Default: the `environment` of the file."),
    Key::new("model", Kind::Text("model"), "The model of a server that has only one, and of requests that name none."),
    credential::KEY,
    Key::new("connect_timeout", Kind::Duration, "How long a connection to the server may take, and the wait for a place among `max_requests`.").default("\"5s\""),
    Key::new("response_timeout", Kind::Duration, "How long the server may take until it begins to respond.").default("\"5m\""),
    Key::new("max_requests", COUNT, "How many requests of callers the server is given at once. WebSockets have a quarter as many places besides.").default("1024"),
    Key::new("idle_timeout", Kind::Duration, "How long an unused connection (HTTP/1.1) is kept. It should be shorter than the server keeps its own.").default("\"1s\""),
];

/// A server in the same data center accepts a connection in milliseconds.
const CONNECT: Duration = Duration::from_secs(5);
/// Shorter than servers keep theirs (Gunicorn 2 s; Uvicorn, Node.js and Apache 5 s), since a request
/// that is sent just as the server closes the connection is lost. With less than one request each
/// second, another connection costs little.
const IDLE: Duration = Duration::from_secs(1);
/// A long response that is not streamed takes minutes.
const RESPONSE: Duration = Duration::from_secs(300);
/// More than a model server processes at once. Requests that would queue there queue here, fairly.
const MAX_REQUESTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_url_is_shown_without_its_path() {
        for (text, expected) in [
            (
                "ftp://siem.example.com/in/secret",
                "ftp://siem.example.com…",
            ),
            ("siem.example.com/secret", "siem.example.com…"),
            ("https//siem.example.com/secret", "https…"),
            ("https:/siem.example.com/secret", "https:…"),
            ("http://a b?key=secret", "http://a b…"),
            ("https://user:secret@host/secret", "https://…@host…"),
            ("localhost:9000", "localhost:9000"),
            ("ftp://localhost/", "ftp://localhost/"),
        ] {
            assert_eq!(without_path(text), expected, "{text}");
        }
    }
}
