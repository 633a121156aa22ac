//! Routes that the operator exempted from authentication.

use http::Method;
use http::request::Parts;

/// An exempted route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exempt {
    method: Method,
    path: String,
}

impl Exempt {
    /// Parses `GET /healthz`, or `package.Service/Method` for gRPC.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (method.parse().ok()?, path.to_owned()),
            None if text.split('/').count() == 2 && !text.starts_with('/') => {
                (Method::POST, format!("/{text}"))
            }
            None => return None,
        };
        let canonical = path.starts_with('/')
            && path
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"%?#\\*^$|()[]{}+".contains(&b))
            && !path.contains("//");
        canonical.then_some(Self { method, path })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is(&self, parts: &Parts) -> bool {
        parts.method == self.method && parts.uri.path() == self.path
    }
}
