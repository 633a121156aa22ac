//! Rewrites a model server's addresses in its responses, so that callers stay behind the guard.
//!
//! A server that names its own address sends the caller past the guard: unguarded, unrecorded, and
//! with the caller's own token. So an address of a configured upstream is rewritten to the one that
//! callers use, below its `path_prefix`, or the response is refused.
//!
//! 1. In headers, every absolute address is rewritten, and in the headers that hold an address
//!    (`Location`, `Link` and the like) the relative ones too.
//! 2. A header that names an upstream in another way (a cookie's domain, a bare host) is dropped.
//! 3. In bodies, addresses are rewritten where an API defines them: JSON of the Hub, of MLflow and
//!    of generated images, as a stream (`rewrite.rs`), and the batches of Git LFS (`lfs.rs`).
//!    Model output is never changed.
//! 4. An address at an upstream's host but outside its base path has no counterpart at the
//!    proxy. Such a response is refused as a whole.

mod lfs;
mod rewrite;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LINK,
    REFRESH, SET_COOKIE,
};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use spanner_tower::Resolver;
use spanner_tower::surface::Dialect;

use crate::config::UpstreamConfig;
use crate::headers::Hop;

pub(crate) use lfs::rewrite_batch;
pub(crate) use rewrite::RewrittenBody;

/// The addresses of all upstreams, and those that callers use for them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    upstreams: Arc<[UpstreamAddress]>,
    /// The configured `public_origin`: `https://models.example.com`.
    public: Option<Arc<str>>,
}

/// The address of one upstream, and the one that callers use for it.
#[derive(Debug)]
struct UpstreamAddress {
    authority: Authority,
    /// The prefix of every path at the server: empty, or `/base`.
    base: String,
    /// The prefix of its paths at the proxy: empty, or `/hub`.
    prefix: String,
    /// The `Host` that selects it, if configured.
    host: Option<Authority>,
    resolver: Option<Resolver>,
}

/// The addresses as one caller sees them, in a response of one upstream.
#[derive(Debug, Clone)]
pub(crate) struct CallerAddresses {
    addresses: Addresses,
    /// `https://models.example.com`; `None` if the caller sent no `Host`.
    origin: Option<String>,
    /// The base path of the upstream that responds.
    base: String,
    prefix: String,
    host: Option<Authority>,
    https: bool,
}

/// An address at an upstream that no caller can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model server named an address of its own that callers cannot reach")]
pub(crate) struct UnreachableAddress;

/// How the body of a response contains addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressForm {
    /// It does not, or clients do not follow them.
    Nothing,
    /// In the strings of a JSON document.
    Json,
    /// In the actions of a Git LFS batch.
    Batch,
}

/// Headers that contain addresses, which may be relative.
const ADDRESS_HEADERS: [&str; 6] = [
    "location",
    "content-location",
    "link",
    "refresh",
    "operation-location",
    "azure-asyncoperation",
];

/// An alternative service (RFC 7838) is always the server's own address.
const ALT_SVC: HeaderName = HeaderName::from_static("alt-svc");

impl Addresses {
    /// The addresses of these upstreams, each with the resolver of its routes if its surfaces do not
    /// conflict.
    pub(crate) fn new(
        upstreams: &[(&UpstreamConfig, Option<Resolver>)],
        public_origin: Option<&str>,
    ) -> Self {
        let known = upstreams.iter().map(|(config, resolver)| UpstreamAddress {
            authority: config.origin.authority.clone(),
            base: config.origin.path.clone(),
            prefix: config.path_prefix.clone(),
            host: config.host.clone(),
            resolver: resolver.clone(),
        });
        let public = public_origin.map(|origin| origin.trim_end_matches('/').into());
        Self {
            upstreams: known.collect(),
            public,
        }
    }

    /// The addresses as the caller of a request to an upstream sees them.
    pub(crate) fn for_caller(&self, config: &UpstreamConfig, hop: Option<&Hop>) -> CallerAddresses {
        let named = || {
            let host = hop?.host.as_ref()?.to_str().ok()?;
            Some(format!("{}://{host}", hop?.scheme))
        };
        let public = self.public.as_deref().map(str::to_owned);
        CallerAddresses {
            origin: public.or_else(named),
            addresses: self.clone(),
            base: config.origin.path.clone(),
            prefix: config.path_prefix.clone(),
            host: config.host.clone(),
            https: config.origin.scheme == http::uri::Scheme::HTTPS,
        }
    }
}

impl AddressForm {
    /// How the response to a request may contain addresses, by its API and path.
    pub(crate) fn of(dialect: Option<Dialect>, path: &str) -> Self {
        let file = ["/resolve/", "/resolve-cache/", "/raw/"];
        match dialect {
            Some(Dialect::HuggingFace | Dialect::Git)
                if path.ends_with("/info/lfs/objects/batch") =>
            {
                Self::Batch
            }
            Some(Dialect::HuggingFace | Dialect::HuggingFaceCreate | Dialect::Git)
                if !file.iter().any(|part| path.contains(part)) =>
            {
                Self::Json
            }
            Some(Dialect::Mlflow) if !path.contains("artifacts/") => Self::Json,
            Some(Dialect::OpenAi | Dialect::HuggingFaceRouter) if path.contains("/images/") => {
                Self::Json
            }
            _ => Self::Nothing,
        }
    }

    /// Asks the server for a body without encoding, which can be rewritten.
    pub(crate) fn request_identity(self, headers: &mut HeaderMap) {
        if self != Self::Nothing {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// How the response with this head contains addresses.
    ///
    /// # Errors
    /// [`UnreachableAddress`] if the body is encoded although none was asked for.
    pub(crate) fn in_response(
        self,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Self, UnreachableAddress> {
        let empty = *method == Method::HEAD
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        if empty || !is_json(headers) {
            return Ok(Self::Nothing);
        }
        let plain = headers
            .get(CONTENT_ENCODING)
            .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        match self == Self::Nothing || plain {
            true => Ok(self),
            false => Err(UnreachableAddress),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl CallerAddresses {
    /// Rewrites the addresses in headers.
    ///
    /// # Errors
    /// [`UnreachableAddress`] if one of them contains an address without a counterpart.
    pub(crate) fn rewrite_headers(
        &self,
        headers: &mut HeaderMap,
    ) -> Result<(), UnreachableAddress> {
        headers.remove(ALT_SVC);
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names {
            let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
            let mut kept = Vec::with_capacity(values.len());
            let mut changed = false;
            for value in values {
                // Servers send file names in UTF-8, although RFC 9110 §5.5 allows ASCII only.
                let Ok(text) = str::from_utf8(value.as_bytes()) else {
                    // Text in another encoding is dropped if anything would be rewritten in it.
                    let text = String::from_utf8_lossy(value.as_bytes());
                    match self.header(&name, &text)? {
                        Some(Cow::Borrowed(_)) => kept.push(value),
                        Some(Cow::Owned(_)) | None => changed = true,
                    }
                    continue;
                };
                let written = self.header(&name, text)?;
                if matches!(written, Some(Cow::Borrowed(_))) {
                    kept.push(value);
                    continue;
                }
                changed = true;
                kept.extend(written.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()));
            }
            if changed {
                headers.remove(&name);
                for value in kept {
                    headers.append(&name, value);
                }
            }
        }
        Ok(())
    }

    /// A header's value as the caller gets it; `None` if it is dropped.
    fn header<'v>(
        &self,
        name: &HeaderName,
        value: &'v str,
    ) -> Result<Option<Cow<'v, str>>, UnreachableAddress> {
        if *name == SET_COOKIE {
            return Ok(Some(self.cookie(value)));
        }
        // Relative addresses are rewritten first: a rewritten absolute one has a prefix already,
        // perhaps that of another upstream.
        let held = match ADDRESS_HEADERS.contains(&name.as_str()) {
            true => self.relative(name, value)?,
            false => Cow::Borrowed(value),
        };
        let written = match self.absolute(&held)? {
            Cow::Borrowed(_) => held,
            Cow::Owned(text) => Cow::Owned(text),
        };
        let names_one = self
            .addresses
            .upstreams
            .iter()
            .any(|known| known.is_named_in(&written));
        Ok((!names_one).then_some(written))
    }

    /// A cookie that the server binds to its own host is bound to the caller's instead, and its
    /// path is below the prefix.
    fn cookie<'v>(&self, value: &'v str) -> Cow<'v, str> {
        let is = |attribute: &str, name: &str| {
            let written = attribute.split('=').next().unwrap_or_default();
            written.trim().eq_ignore_ascii_case(name)
        };
        if !value
            .split(';')
            .skip(1)
            .any(|part| is(part, "domain") || is(part, "path"))
        {
            return Cow::Borrowed(value);
        }
        let mut written = Vec::new();
        for (index, part) in value.split(';').enumerate() {
            let path = part.split_once('=').map(|(_, path)| path.trim());
            match path {
                _ if index > 0 && is(part, "domain") => {}
                Some(path) if index > 0 && is(part, "path") && path.starts_with('/') => {
                    let rest = below(path, &self.base).and_then(|length| path.get(length..));
                    let whole = format!("{}{}", self.prefix, rest.unwrap_or(path));
                    let whole = if whole.is_empty() { "/" } else { &whole };
                    written.push(Cow::Owned(format!(" Path={whole}")));
                }
                _ => written.push(Cow::Borrowed(part)),
            }
        }
        Cow::Owned(written.join(";"))
    }

    /// Rewrites every absolute address of an upstream in a text, with `/` or JSON's `\/`.
    ///
    /// # Errors
    /// [`UnreachableAddress`] if one has no counterpart.
    pub(crate) fn absolute<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, UnreachableAddress> {
        let mut written: Option<String> = None;
        let (mut copied, mut from) = (0, 0);
        while let Some(found) = next_authority(text, from) {
            from = found.end;
            let Some((to, end)) = self.counterpart(text, &found)? else {
                continue;
            };
            let out = written.get_or_insert_with(String::new);
            out.push_str(text.get(copied..found.start).unwrap_or_default());
            out.push_str(&to);
            (copied, from) = (end, end);
        }
        Ok(match written {
            None => Cow::Borrowed(text),
            Some(mut out) => {
                out.push_str(text.get(copied..).unwrap_or_default());
                Cow::Owned(out)
            }
        })
    }

    /// The replacement of an address up to its base path, and where that ends; `None` if the address
    /// is at no upstream.
    fn counterpart(
        &self,
        text: &str,
        found: &AddressMatch<'_>,
    ) -> Result<Option<(String, usize)>, UnreachableAddress> {
        let https = match found.scheme.to_ascii_lowercase().as_str() {
            "" => self.https,
            scheme => scheme == "https" || scheme == "wss",
        };
        let at = || {
            let all = self.addresses.upstreams.iter();
            all.filter(|known| known.is_at(found.authority, https))
        };
        if at().next().is_none() {
            return Ok(None);
        }
        let rest = text.get(found.end..).unwrap_or_default();
        let below = at().filter_map(|known| Some((known, below(rest, &known.base)?)));
        // Of several upstreams with one address, the one that responds means itself.
        let responds =
            |known: &UpstreamAddress| known.prefix == self.prefix && known.host == self.host;
        let rank = |known: &UpstreamAddress| (known.base.len(), responds(known));
        let Some((known, length)) = below.max_by_key(|(known, _)| rank(known)) else {
            return Err(UnreachableAddress);
        };
        let origin = self.origin.as_deref().ok_or(UnreachableAddress)?;
        let (scheme, host) = origin.split_once("://").ok_or(UnreachableAddress)?;
        let host = known.host.as_ref().map_or(host, Authority::as_str);
        let scheme = match found.scheme {
            "" => String::new(),
            written
                if written.eq_ignore_ascii_case("ws") || written.eq_ignore_ascii_case("wss") =>
            {
                let secure = if scheme == "https" { "wss:" } else { "ws:" };
                secure.to_owned()
            }
            written
                if written.eq_ignore_ascii_case("http")
                    || written.eq_ignore_ascii_case("https") =>
            {
                format!("{scheme}:")
            }
            other => format!("{other}:"),
        };
        let to = format!("{scheme}//{host}{}", known.prefix);
        Ok(Some((to, found.end + length)))
    }

    /// Adds the prefix to the addresses of a header that are relative to the server's root.
    ///
    /// # Errors
    /// [`UnreachableAddress`] if that is outside the upstream's base path.
    fn relative<'v>(
        &self,
        name: &HeaderName,
        value: &'v str,
    ) -> Result<Cow<'v, str>, UnreachableAddress> {
        if self.base.is_empty() && self.prefix.is_empty() {
            return Ok(Cow::Borrowed(value));
        }
        let starts: Vec<usize> = match *name {
            LINK => value.match_indices('<').map(|(at, _)| at + 1).collect(),
            REFRESH => {
                let lower = value.to_ascii_lowercase();
                let at = lower.find("url=").map(|at| at + 4);
                let quoted = |at: &usize| matches!(value.as_bytes().get(*at), Some(b'"' | b'\''));
                at.map(|at| at + usize::from(quoted(&at)))
                    .into_iter()
                    .collect()
            }
            _ => vec![0],
        };
        let mut written = String::new();
        let mut copied = 0;
        for start in starts {
            // A server that honours `X-Forwarded-Host` names the caller's host, without the prefix.
            let start = start + self.own_origin(value.get(start..).unwrap_or_default());
            let rest = value.get(start..).unwrap_or_default();
            if !rest.starts_with('/') || rest.starts_with("//") {
                continue;
            }
            let length = below(rest, &self.base).ok_or(UnreachableAddress)?;
            written.push_str(value.get(copied..start).unwrap_or_default());
            written.push_str(&self.prefix);
            copied = start + length;
        }
        if copied == 0 && written.is_empty() {
            return Ok(Cow::Borrowed(value));
        }
        written.push_str(value.get(copied..).unwrap_or_default());
        Ok(Cow::Owned(written))
    }

    /// The length of the caller's own origin before a path that is not below the prefix yet.
    fn own_origin(&self, address: &str) -> usize {
        let Some(origin) = self.origin.as_deref() else {
            return 0;
        };
        let is_upstream = |found: AddressMatch<'_>| {
            let mut all = self.addresses.upstreams.iter();
            all.any(|known| known.is_at(found.authority, found.scheme == "https"))
        };
        if next_authority(origin, 0).is_some_and(is_upstream) {
            return 0;
        }
        let length = below(address, origin).unwrap_or_default();
        let path = address.get(length..).unwrap_or_default();
        match below(path, &self.prefix) {
            Some(_) => 0,
            None => length,
        }
    }

    /// Whether the guard knows the route of a rewritten address.
    fn is_routed(&self, method: Method, address: &str) -> bool {
        let Ok(request) = http::Request::builder()
            .method(method)
            .uri(address)
            .body(())
        else {
            return false;
        };
        let (mut parts, ()) = request.into_parts();
        let path = parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        self.addresses.upstreams.iter().any(|known| {
            let rest = below(&path, &known.prefix).and_then(|length| path.get(length..));
            let Some(uri) = rest.and_then(|rest| rest.parse().ok()) else {
                return false;
            };
            parts.uri = uri;
            let resolver = known.resolver.as_ref();
            resolver.is_some_and(|resolver| resolver.surface_of(&parts).is_some())
        })
    }

    /// Whether an address is one that callers use.
    fn is_ours(&self, address: &str) -> bool {
        let ours = self
            .origin
            .as_deref()
            .is_some_and(|origin| below(address, origin).is_some());
        let hosts = self
            .addresses
            .upstreams
            .iter()
            .filter_map(|known| known.host.as_ref());
        ours || hosts.into_iter().any(|host| {
            let rest = address.split_once("://").map(|(_, rest)| rest);
            rest.is_some_and(|rest| below(rest, host.as_str()).is_some())
        })
    }
}

impl UpstreamAddress {
    /// Whether an authority of a text is this upstream's.
    fn is_at(&self, authority: &str, https: bool) -> bool {
        let host_and_port = authority
            .rsplit_once('@')
            .map_or(authority, |(_, rest)| rest);
        let Ok(named) = host_and_port.parse::<Authority>() else {
            return false;
        };
        let default = if https { 443 } else { 80 };
        let port = |authority: &Authority| authority.port_u16();
        let own = port(&self.authority);
        let same_port = match (port(&named), own) {
            (Some(named), Some(own)) => named == own,
            (None, Some(own)) => own == default,
            (Some(named), None) => named == 80 || named == 443,
            (None, None) => true,
        };
        same_port && same_host(named.host(), self.authority.host())
    }

    /// Whether a text contains the upstream's authority outside an address.
    fn is_named_in(&self, text: &str) -> bool {
        let (text, own) = (
            text.to_ascii_lowercase(),
            self.authority.as_str().to_ascii_lowercase(),
        );
        text.match_indices(&own).any(|(at, _)| {
            let part =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
            let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at));
            let after = text.as_bytes().get(at + own.len());
            !before.is_some_and(part) && !after.is_some_and(part)
        })
    }
}

/// Whether two hosts are the same: loopback has several names.
fn same_host(one: &str, other: &str) -> bool {
    const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
    let is_loopback = |host: &str| LOOPBACK.iter().any(|name| name.eq_ignore_ascii_case(host));
    one.eq_ignore_ascii_case(other) || (is_loopback(one) && is_loopback(other))
}

/// The length of a prefix of whole segments; `None` if the text does not begin with it.
fn below(text: &str, prefix: &str) -> Option<usize> {
    let rest = text.strip_prefix(prefix)?;
    let ends = prefix.is_empty()
        || rest.is_empty()
        || rest.starts_with(['/', '?', '#', '"', '\\', '>', ' ', ',', ';']);
    ends.then_some(prefix.len())
}

/// `scheme://authority` in a text.
struct AddressMatch<'t> {
    /// Without its colon; empty in `//authority`.
    scheme: &'t str,
    authority: &'t str,
    /// Where the scheme begins.
    start: usize,
    /// Where the authority ends.
    end: usize,
}

fn next_authority(text: &str, mut from: usize) -> Option<AddressMatch<'_>> {
    loop {
        let rest = text.get(from..)?;
        let slashes = rest.find("//").map(|at| (at, 2));
        let escaped = rest.find("\\/\\/").map(|at| (at, 4));
        let (at, length) = slashes.into_iter().chain(escaped).min()?;
        let (at, after) = (from + at, from + at + length);
        from = after;
        let scheme = scheme_before(text.get(..at)?);
        let Some((scheme, start)) = scheme else {
            continue;
        };
        let tail = text.get(after..)?;
        let delimiter = |c: char| c.is_whitespace() || "/?#\\\"'<>,;)".contains(c);
        let end = after + tail.find(delimiter).unwrap_or(tail.len());
        if end > after {
            let authority = text.get(after..end)?;
            return Some(AddressMatch {
                scheme,
                authority,
                start,
                end,
            });
        }
    }
}

/// The scheme at the end of a text, and where it begins. `None` if the two slashes after it are
/// within a path.
fn scheme_before(text: &str) -> Option<(&str, usize)> {
    let Some(before) = text.strip_suffix(':') else {
        let begins = text.is_empty() || text.ends_with([' ', '<', '"', '\'', '=', ',', ';', '(']);
        return begins.then_some(("", text.len()));
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let start = before.trim_end_matches(is_scheme).len();
    let scheme = before.get(start..)?;
    scheme
        .starts_with(|c: char| c.is_ascii_alphabetic())
        .then_some((scheme, start))
}

/// Removes the length of a body that is rewritten.
pub(crate) fn remove_length(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
}

#[cfg(test)]
mod tests;
