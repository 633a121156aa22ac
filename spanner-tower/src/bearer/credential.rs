//! Extracts the credential from a request's head (RFC 6750 §2.1, RFC 9110 §11.6.2).

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use spanner_core::Obstacle;

/// The maximum length of the header's value, in bytes: twice the longest token.
const MAX_CREDENTIAL: usize = 16 * 1024;

/// The header of a `DPoP` proof (RFC 9449 §4.1).
pub(super) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The headers that carry credentials, marked as sensitive so that later code does not print
/// them.
pub(super) struct Headers {
    authorization: HeaderValue,
    proof: Option<HeaderValue>,
}

/// The credentials in a request's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credentials<'h> {
    pub(super) token: &'h str,
    /// Whether the token came with the scheme `DPoP`.
    pub(super) dpop: bool,
    pub(super) proof: Option<&'h HeaderValue>,
}

/// Takes the only `Authorization` header and the proof of a request.
pub(super) fn take(parts: &mut Parts) -> Result<Headers, Obstacle> {
    let (authorization, proof) = (one(parts, &AUTHORIZATION), one(parts, &DPOP));
    let authorization = authorization?.ok_or(Obstacle::Missing)?;
    Ok(Headers {
        authorization,
        proof: proof?,
    })
}

/// The only header of a name, if there is one.
fn one(parts: &mut Parts, wanted: &HeaderName) -> Result<Option<HeaderValue>, Obstacle> {
    let mut found = None;
    let mut several = false;
    for (name, value) in &mut parts.headers {
        if name == wanted {
            value.set_sensitive(true);
            several |= found.is_some();
            found = Some(value.clone());
        }
    }
    match found {
        Some(_) if several => Err(Obstacle::Malformed),
        Some(value) if value.len() > MAX_CREDENTIAL => Err(Obstacle::Malformed),
        found => Ok(found),
    }
}

impl Headers {
    /// The token of a `Bearer` credential, or of a `DPoP` one if `accepts_dpop`: one word after
    /// one space. The verifier checks everything else about the token, including its characters.
    pub(super) fn credentials(&self, accepts_dpop: bool) -> Result<Credentials<'_>, Obstacle> {
        let text = self.authorization.to_str();
        let text = text.map_err(|_| Obstacle::Malformed)?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        let dpop = accepts_dpop && scheme.eq_ignore_ascii_case("DPoP");
        if !dpop && !scheme.eq_ignore_ascii_case("Bearer") {
            // With a colon, the value is probably a header line that was pasted into the wrong
            // header.
            let is_scheme = !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':'));
            return Err(if is_scheme {
                Obstacle::UnsupportedScheme
            } else {
                Obstacle::Malformed
            });
        }
        // A comma would begin a second credential.
        let is_one_word = token.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        if is_one_word && token.bytes().any(|b| b != b'.') {
            Ok(Credentials {
                token,
                dpop,
                proof: self.proof.as_ref(),
            })
        } else {
            Err(Obstacle::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of the header, and the token due.
    type Row<'a> = (&'a [&'a [u8]], Result<&'a str, Obstacle>);

    fn read(values: &[&[u8]]) -> Result<String, Obstacle> {
        let mut request = http::Request::builder();
        for value in values {
            request = request.header(AUTHORIZATION, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let headers = take(&mut parts)?;
        let credentials = headers.credentials(false)?;
        Ok(credentials.token.to_owned())
    }

    #[test]
    fn reads_one_word_after_the_scheme_and_nothing_else() {
        let long = format!("Bearer {}", "a".repeat(MAX_CREDENTIAL));
        let (malformed, other) = (Err(Obstacle::Malformed), Err(Obstacle::UnsupportedScheme));
        let rows: &[Row<'_>] = &[
            (&[b"Bearer a.b.c"], Ok("a.b.c")),
            (&[b"bearer a.b.c"], Ok("a.b.c")),
            (&[b"BEARER a.b.c=="], Ok("a.b.c==")),
            (&[], Err(Obstacle::Missing)),
            (&[b""], malformed),
            (&[b"Bearer"], malformed),
            (&[b"Bearer "], malformed),
            (&[b"Bearer  a.b.c"], malformed),
            (&[b"Bearer a.b.c "], malformed),
            (&[b"Bearer a.b.c, Bearer d.e.f"], malformed),
            (&[b"Bearer Bearer a.b.c"], malformed),
            (&[b"Bearer\ta.b.c"], malformed),
            (&[b"Bearer a.b=.c"], Ok("a.b=.c")),
            (&[b"Bearer a.b?.c#"], Ok("a.b?.c#")),
            (&[b"Bearer a,b"], malformed),
            (&[b"Bearer a.\xff.c"], malformed),
            (&[b"Bearer ......"], malformed),
            (&[b"Bearer {\"payload\":1}"], Ok("{\"payload\":1}")),
            (&[b"Bearer a.b.c", b"Bearer a.b.c"], malformed),
            (&[b"Bearer a.b.c", b"Basic YTpi"], malformed),
            (&[b"Basic YTpi"], other),
            (&[b"DPoP a.b.c"], other),
            (&[b"a.b.c"], malformed),
            (&[long.as_bytes()], malformed),
        ];
        for (values, due) in rows {
            assert_eq!(read(values), due.map(str::to_owned), "{values:?}");
        }
    }

    #[test]
    fn reads_proofs_where_they_are_accepted() {
        for (headers, accepts, due) in [
            (
                &[("authorization", "DPoP a.b.c"), ("dpop", "d.e.f")][..],
                true,
                Ok(true),
            ),
            (&[("authorization", "dpop a.b.c")], true, Ok(true)),
            (
                &[("authorization", "Bearer a.b.c"), ("dpop", "d.e.f")],
                true,
                Ok(false),
            ),
            (
                &[("authorization", "DPoP a.b.c"), ("dpop", "d.e.f")],
                false,
                Err(Obstacle::UnsupportedScheme),
            ),
            (
                &[
                    ("authorization", "DPoP a.b.c"),
                    ("dpop", "d.e.f"),
                    ("dpop", "d.e.f"),
                ],
                true,
                Err(Obstacle::Malformed),
            ),
            (
                &[("authorization", "DPoP a.b.c, Bearer d.e.f")],
                true,
                Err(Obstacle::Malformed),
            ),
            (&[("dpop", "d.e.f")], true, Err(Obstacle::Missing)),
        ] {
            let mut request = http::Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut parts = request.body(()).unwrap().into_parts().0;
            let found = take(&mut parts).and_then(|it| it.credentials(accepts).map(|it| it.dpop));
            assert_eq!(found, due, "{headers:?}");
        }
    }

    #[test]
    fn the_headers_are_marked_as_sensitive() {
        let request = http::Request::builder()
            .header(AUTHORIZATION, "DPoP a.b.c")
            .header(DPOP, "d.e.f");
        let mut parts = request.body(()).unwrap().into_parts().0;
        take(&mut parts).unwrap();
        let shown = format!("{:?}", parts.headers);
        assert!(
            !shown.contains("a.b.c") && !shown.contains("d.e.f"),
            "{shown}"
        );
    }
}
