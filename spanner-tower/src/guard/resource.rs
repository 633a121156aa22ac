//! Publishes the protected resource metadata of the service (RFC 9728).
//!
//! 1. The document is built once, from the configuration. Nothing that a request says about the
//!    service (`Host`, `X-Forwarded-Host`) enters it.
//! 2. It is served at `/.well-known/oauth-protected-resource`. For a resource with a path, it is
//!    also served with that path appended (RFC 9728 §3.1); challenges name that address.
//! 3. It is public. Requests for it need no authentication and are counted, not recorded.

use std::collections::HashSet;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::Scheme;
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::{Map, Value, json};
use spanner_core::Fault;

use super::headers::{FAULT, ORIGIN, fault};

/// Describes the service as a protected resource: what a client must know to get a token for it.
///
/// ```
/// use spanner_tower::ProtectedResource;
///
/// let resource = ProtectedResource::new("https://models.example.com")
///     .authorization_server("https://id.example.com")
///     .scope("models.infer")
///     .documentation("https://docs.example.com/models");
/// # let _ = resource;
/// ```
///
/// [`GuardBuilder::build`](super::GuardBuilder::build) validates it. Tokens are accepted in the
/// `Authorization` header only, and the document says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to the guard's builder"]
pub struct ProtectedResource {
    resource: String,
    authorization_servers: Vec<String>,
    scopes: Vec<String>,
    name: Option<String>,
    documentation: Option<String>,
    dpop_algorithms: Vec<String>,
    dpop_required: bool,
    certificate_bound: bool,
    loopback: bool,
}

/// A validated document and the paths where it is served.
#[derive(Debug)]
pub(super) struct Published {
    /// The address of the document in challenges.
    pub(super) url: String,
    paths: Vec<String>,
    document: Bytes,
}

impl ProtectedResource {
    /// A resource with this identifier: the `https` address under which clients know the
    /// service, without query and fragment (RFC 9728 §1.2). It is often also the audience of its
    /// tokens.
    pub fn new(resource: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            authorization_servers: Vec::new(),
            scopes: Vec::new(),
            name: None,
            documentation: None,
            dpop_algorithms: Vec::new(),
            dpop_required: false,
            certificate_bound: false,
            loopback: false,
        }
    }

    /// Adds the issuer identifier of an authorization server whose tokens are accepted (RFC 8414
    /// §2). At least one is required.
    pub fn authorization_server(mut self, issuer: impl Into<String>) -> Self {
        self.authorization_servers.push(issuer.into());
        self
    }

    /// Adds a scope that clients may request. Default: none is listed.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// The human-readable name of the service. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The `https` address of the documentation for developers. Default: none.
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// Adds a signature algorithm that is accepted in DPoP proofs (RFC 9449), such as `ES256`.
    /// Default: none is listed.
    pub fn dpop_signing_algorithm(mut self, algorithm: impl Into<String>) -> Self {
        self.dpop_algorithms.push(algorithm.into());
        self
    }

    /// States that every token must be bound to a key by DPoP. Default: not required.
    ///
    /// This only informs clients. The guard does not refuse other tokens because of it.
    pub fn dpop_bound_access_tokens_required(mut self) -> Self {
        self.dpop_required = true;
        self
    }

    /// States that tokens bound to a client certificate (RFC 8705) are supported. Default: not
    /// supported.
    pub fn tls_client_certificate_bound_access_tokens(mut self) -> Self {
        self.certificate_bound = true;
        self
    }

    /// Accepts http instead of https for addresses on the loopback interface, as
    /// [`Issuer::danger_allow_http_loopback`](crate::Issuer::danger_allow_http_loopback)
    /// does: for demonstrations and tests.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Validates the configuration and builds the document.
    pub(super) fn publish(&self) -> Result<Published, Vec<String>> {
        let mut problems = Vec::new();
        let place = self
            .address("the resource", &self.resource)
            .and_then(|uri| self.check_path(&uri).map(|()| uri))
            .map_err(|problem| problems.push(problem));
        self.check(&mut problems);
        match place {
            Ok(uri) if problems.is_empty() => Ok(self.at(&uri)),
            _ => Err(problems),
        }
    }

    fn address(&self, what: &str, text: &str) -> Result<Uri, String> {
        address(what, text, self.loopback)
    }

    /// Checks that requests for the document reach the guard unchanged.
    fn check_path(&self, uri: &Uri) -> Result<(), String> {
        let path = uri.path();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let steps = path.split('/').any(|part| matches!(part, "." | ".."));
        if path.bytes().all(plain) && !path.contains("//") && !steps {
            return Ok(());
        }
        Err(format!(
            "the path of `{}` could be read in more than one way: use letters, digits, `-`, `.`, `_` and `~` between single slashes",
            self.resource
        ))
    }

    fn check(&self, problems: &mut Vec<String>) {
        if self.authorization_servers.is_empty() {
            problems.push(
                "no authorization server is given, so nobody learns where to get a token: call `.authorization_server(..)`".to_owned(),
            );
        }
        let servers = self.authorization_servers.iter();
        let servers = servers.map(|url| ("an authorization server", url));
        let pages = self
            .documentation
            .iter()
            .map(|url| ("the documentation", url));
        for (what, url) in servers.chain(pages) {
            problems.extend(self.address(what, url).err());
        }
        for scope in &self.scopes {
            let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
            if scope.is_empty() || !scope.chars().all(fits) {
                problems.push(format!(
                    "{scope:?} is no scope: write one word, RFC 6749 §3.3"
                ));
            }
        }
        for algorithm in &self.dpop_algorithms {
            if !PROOF_ALGORITHMS.contains(&&**algorithm) {
                problems.push(format!(
                    "{algorithm:?} signs no DPoP proof: use one of {}",
                    PROOF_ALGORITHMS.join(", ")
                ));
            }
        }
        if self.dpop_required && self.dpop_algorithms.is_empty() {
            problems.push(
                "DPoP is required and no algorithm is given for it: call `.dpop_signing_algorithm(..)`".to_owned(),
            );
        }
        self.check_repeats(problems);
    }

    fn check_repeats(&self, problems: &mut Vec<String>) {
        for (what, list) in [
            ("authorization server", &self.authorization_servers),
            ("scope", &self.scopes),
            ("algorithm", &self.dpop_algorithms),
        ] {
            let mut seen = HashSet::new();
            let repeated = list.iter().filter(|word| !seen.insert(*word));
            problems.extend(repeated.map(|word| format!("the {what} `{word}` is given twice")));
        }
    }

    fn at(&self, uri: &Uri) -> Published {
        let path = match uri.path() {
            "/" => "",
            path => path,
        };
        let place = format!("{WELL_KNOWN}{path}");
        let scheme = uri.scheme_str().unwrap_or("https");
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut paths = vec![place.clone()];
        if place != WELL_KNOWN {
            paths.push(WELL_KNOWN.to_owned());
        }
        Published {
            url: format!("{scheme}://{authority}{place}"),
            paths,
            document: Bytes::from(Value::Object(self.document()).to_string()),
        }
    }

    /// The members of RFC 9728 §2. Empty and false ones are left out.
    fn document(&self) -> Map<String, Value> {
        let members = [
            ("resource", json!(self.resource)),
            ("authorization_servers", json!(self.authorization_servers)),
            ("bearer_methods_supported", json!(["header"])),
            ("scopes_supported", json!(self.scopes)),
            ("resource_name", json!(self.name)),
            ("resource_documentation", json!(self.documentation)),
            (
                "dpop_signing_alg_values_supported",
                json!(self.dpop_algorithms),
            ),
            (
                "dpop_bound_access_tokens_required",
                json!(self.dpop_required),
            ),
            (
                "tls_client_certificate_bound_access_tokens",
                json!(self.certificate_bound),
            ),
        ];
        let nothing = [json!([]), json!(null), json!(false)];
        let says = members
            .into_iter()
            .filter(|(_, value)| !nothing.contains(value));
        says.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Published {
    /// Whether a request for this path is for the document.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.paths.iter().any(|place| place == path)
    }

    /// The answer to a request for the document.
    pub(super) fn answer(&self, method: &Method) -> Response<Bytes> {
        match *method {
            Method::GET => self.whole(self.document.clone()),
            Method::HEAD => self.whole(Bytes::new()),
            _ => not_allowed(),
        }
    }

    fn whole(&self, body: Bytes) -> Response<Bytes> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.document.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHED));
        headers.insert(ORIGIN, HeaderValue::from_static("guard"));
        response
    }
}

fn not_allowed() -> Response<Bytes> {
    let body = json!({
        "type": "about:blank",
        "title": "method_not_allowed",
        "status": 405,
        "detail": "the protected resource metadata can only be read; use GET",
        "fault": Fault::UnknownRoute.as_str(),
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ORIGIN, HeaderValue::from_static("guard"));
    headers.insert(FAULT, fault(Fault::UnknownRoute));
    response
}

/// Whether an address is `http` on the loopback interface.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let address = host.parse().is_ok_and(|it: IpAddr| it.is_loopback());
    uri.scheme() == Some(&Scheme::HTTP) && (address || host == "localhost")
}

/// An `https` address without credentials, query and fragment; `loopback` allows `http` on
/// the loopback interface as well.
fn address(what: &str, text: &str, loopback: bool) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        let named = uri
            .authority()
            .filter(|authority| !authority.host().is_empty());
        (uri.scheme() == Some(&Scheme::HTTPS) || loopback && is_loopback(uri))
            && named.is_some_and(|authority| !authority.as_str().contains('@'))
    });
    match uri {
        Some(uri) if !text.contains(['?', '#']) => Ok(uri),
        Some(_) => Err(format!(
            "{what} `{text}` has a query or fragment: leave it out"
        )),
        None => Err(format!(
            "{what} {text:?} is no address: write `https://` and a host, without credentials"
        )),
    }
}

/// The path at which clients look for the document (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// How long clients may cache the document: an hour, because it changes only with a deployment.
const CACHED: &str = "public, max-age=3600";

/// The asymmetric signature algorithms (RFC 9449 §11.6) that Spanner verifies.
const PROOF_ALGORITHMS: &[&str] = &[
    "ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "EdDSA",
];
