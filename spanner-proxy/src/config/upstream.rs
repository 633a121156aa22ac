//! `[[upstream]]`: one model server, and what is asked of those who call it.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use spanner_core::{Environment, ModelName};
use spanner_tower::surface::Surface;

use super::credential::{Credential, credential};
use super::fields::{At, Fields};
use super::problem::Place;
use crate::{surfaces, words};

/// One model server, as configured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// Where the table stands.
    pub place: Place,
    /// The model APIs that it speaks. Files with surfaces are read at start only.
    pub surfaces: Vec<Surface>,
    /// Where `surface` stands.
    pub surfaces_at: Place,
    /// Where it is.
    pub origin: Origin,
    /// What callers write before its paths: empty, or `/hub`.
    pub path_prefix: String,
    /// The host that callers name; any, if absent.
    pub host: Option<Authority>,
    /// The environment whose access is asked.
    pub environment: Environment,
    /// Where `environment` stands.
    pub environment_at: Place,
    /// What it is sent as `Authorization`. Of a file (`{ file = "…" }`), the token that is in
    /// it now: it is read again on change and on SIGHUP. Of a variable (`{ env = "…" }`), what
    /// it was at start.
    pub credential: Option<Credential>,
    /// How long a connection to it may take.
    pub connect_timeout: Duration,
    /// How long it may take until it begins to answer.
    pub response_timeout: Duration,
    /// How many requests of callers it is given at once. WebSockets have a quarter as many
    /// places beside these, and requests for which nobody is asked who calls a sixteenth.
    pub max_requests: usize,
    /// How long a connection to it over HTTP/1.1 is kept that nobody uses.
    pub idle_timeout: Duration,
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// What stands before every path: empty, or `/base`.
    pub path: String,
}

impl UpstreamConfig {
    pub(super) fn read(
        fields: Fields<'_>,
        base: &Path,
        default: Option<&Environment>,
    ) -> Option<Self> {
        let fields = Fields::of(fields.page, fields.table, fields.at, KEYS);
        let model = fields.parsed::<ModelName>("model", "write a name such as `acme/sentiment`");
        let surfaces = surfaces(fields, base, model.as_ref());
        let origin = fields
            .required("url", "`url = \"http://127.0.0.1:9000\"`")
            .and_then(|text| origin(fields, text));
        let path_prefix = match fields.text("path_prefix") {
            Some(text) => prefix(fields, text),
            None => Some(String::new()),
        };
        let host = match fields.text("host") {
            Some(text) => host(fields, text).map(Some),
            None => Some(None),
        };
        let environment = environment(fields, default);
        let credential = credential(fields, base);
        let place = |key| fields.page.place(fields.at(key));
        let connect_timeout = fields.time("connect_timeout").unwrap_or(CONNECT);
        let response_timeout = fields.time("response_timeout").unwrap_or(RESPONSE);
        let max_requests = fields.count("max_requests").unwrap_or(MAX_REQUESTS);
        let idle_timeout = fields.time("idle_timeout").unwrap_or(IDLE);
        Some(Self {
            place: fields.page.place(fields.at),
            surfaces,
            surfaces_at: place("surface"),
            origin: origin?,
            path_prefix: path_prefix?,
            host: host?,
            environment: environment?,
            environment_at: place("environment"),
            credential: credential?,
            connect_timeout,
            response_timeout,
            max_requests,
            idle_timeout,
        })
    }
}

impl Origin {
    /// The address of a path here.
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

    /// Says instead where it is.
    pub(crate) fn relocate(&mut self, authority: Authority) {
        self.scheme = Scheme::HTTP;
        self.authority = authority;
        self.path.clear();
    }
}

fn surfaces(fields: Fields<'_>, base: &Path, model: Option<&At<ModelName>>) -> Vec<Surface> {
    let names = fields.one_or_more("surface");
    if names.is_empty() {
        let advice = "add `surface = \"openai\"`, or the path of a surface file";
        fields.whole("the upstream speaks no surface", advice);
    }
    let load = |name: &At<&str>| match surfaces::load(name.value, base) {
        Ok(surface) => Some(surface),
        Err(problems) => {
            problems.note(fields.page, name.at);
            None
        }
    };
    let surfaces = names.iter().filter_map(load);
    match model {
        Some(model) => surfaces
            .map(|surface| bound(fields, surface, model))
            .collect(),
        None => surfaces.collect(),
    }
}

/// A surface with its default model, if it has a request that is about one of this name.
fn bound(fields: Fields<'_>, surface: Surface, model: &At<ModelName>) -> Surface {
    let spelling = surface.spelling();
    let read = spelling.map(|spelling| spelling.read(&model.value));
    if let Some(read) = read.filter(|read| !read.contains(&model.value)) {
        let read: Vec<String> = read.iter().map(|name| format!("`{name}`")).collect();
        let what = format!(
            "no request through the surface `{}` is ever about `{}`",
            surface.name(),
            model.value
        );
        let advice = match read.is_empty() {
            true => "write the name of the model that the server runs".to_owned(),
            false => format!("write {}", read.join(" or ")),
        };
        fields.page.problem(model.at, what, advice);
        return surface;
    }
    surface.default_model(model.value.clone())
}

fn origin(fields: Fields<'_>, text: At<&str>) -> Option<Origin> {
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
        no_server(fields, text);
    }
    origin
}

/// The address of a server that something is sent to.
pub(super) fn server(fields: Fields<'_>, text: At<&str>) -> Option<String> {
    let parsed = text.value.parse::<Uri>().ok();
    let good = parsed.is_some_and(|uri| {
        let scheme = uri.scheme_str();
        let authority = uri.authority().map(|it| it.as_str());
        matches!(scheme, Some("http" | "https")) && authority.is_some_and(|it| !it.contains('@'))
    });
    if !good {
        no_server(fields, text);
    }
    good.then(|| text.value.to_owned())
}

fn no_server(fields: Fields<'_>, text: At<&str>) {
    fields.page.problem(
        text.at,
        format!("`{}` is no address of a server", words::address(text.value)),
        "write `http://` or `https://`, a host, perhaps a port and a path, without credentials",
    );
}

/// Segments that can be read in one way only, so that taking them away is exact.
fn prefix(fields: Fields<'_>, text: At<&str>) -> Option<String> {
    let path = text.value.strip_suffix('/').unwrap_or(text.value);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let good = path.is_empty()
        || path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(segment));
    if !good {
        fields.page.problem(
            text.at,
            format!("`{}` is no prefix of paths", text.value),
            "write `/` and words of letters, digits, `-`, `.`, `_` and `~`, such as `/hub`",
        );
    }
    good.then(|| path.to_owned())
}

fn host(fields: Fields<'_>, text: At<&str>) -> Option<Authority> {
    let host = text.value.parse::<Authority>().ok();
    let host = host.filter(|it| !it.as_str().contains('@') && !it.host().is_empty());
    if host.is_none() {
        fields.page.problem(
            text.at,
            format!("`{}` is no host", words::address(text.value)),
            "write what callers send as `Host`, such as `staging.models.example.com`",
        );
    }
    host
}

fn environment(fields: Fields<'_>, default: Option<&Environment>) -> Option<Environment> {
    if fields.text("environment").is_some() {
        let advice = "write a name such as `staging`";
        return fields.parsed("environment", advice).map(|it| it.value);
    }
    if default.is_none() {
        let advice = "add `environment = \"production\"` here, or once at the top of the file";
        fields.whole("the upstream serves no environment", advice);
    }
    default.cloned()
}

const KEYS: &[&str] = &[
    "surface",
    "url",
    "path_prefix",
    "host",
    "environment",
    "model",
    "credential",
    "connect_timeout",
    "response_timeout",
    "max_requests",
    "idle_timeout",
];

/// A server in the same building answers a connection in milliseconds.
const CONNECT: Duration = Duration::from_secs(5);
/// Shorter than servers keep theirs (Gunicorn 2 s; Uvicorn, Node.js and Apache 5 s), since a
/// request that meets a connection in the moment in which it is closed is lost. Where there
/// is less than a request each second, another connection costs little.
const IDLE: Duration = Duration::from_secs(1);
/// A long answer that is not streamed takes minutes.
const RESPONSE: Duration = Duration::from_secs(300);
/// More than a model server works on at once; what waits there waits better here.
const MAX_REQUESTS: usize = 1024;
