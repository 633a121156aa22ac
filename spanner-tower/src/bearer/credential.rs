//! The credential in a request's head (RFC 6750 §2.1, RFC 9110 §11.6.2).

use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;
use spanner_core::Obstacle;

/// The longest value of the header, in bytes: twice the longest token.
const MAX_CREDENTIAL: usize = 16 * 1024;

/// The one `Authorization` header, marked so that nothing behind prints it.
pub(super) fn take(parts: &mut Parts) -> Result<HeaderValue, Obstacle> {
    let mut found = None;
    let mut several = false;
    for (name, value) in &mut parts.headers {
        if name == AUTHORIZATION {
            value.set_sensitive(true);
            several |= found.is_some();
            found = Some(value.clone());
        }
    }
    match found {
        None => Err(Obstacle::Missing),
        Some(_) if several => Err(Obstacle::Malformed),
        Some(value) if value.len() > MAX_CREDENTIAL => Err(Obstacle::Malformed),
        Some(value) => Ok(value),
    }
}

/// The token of a `Bearer` credential: one word after one space. That it is no token68 is
/// for the verifier to say, like whatever else is wrong with a token.
pub(super) fn token(header: &HeaderValue) -> Result<&str, Obstacle> {
    let text = header.to_str().map_err(|_| Obstacle::Malformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        let is_scheme = !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        return Err(if is_scheme {
            Obstacle::UnsupportedScheme
        } else {
            Obstacle::Malformed
        });
    }
    // A comma would begin a second credential.
    let is_one_word = token.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if is_one_word && token.bytes().any(|b| b != b'.') {
        Ok(token)
    } else {
        Err(Obstacle::Malformed)
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
        let header = take(&mut parts)?;
        token(&header).map(str::to_owned)
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
    fn the_header_is_marked_as_sensitive() {
        let request = http::Request::builder().header(AUTHORIZATION, "Bearer a.b.c");
        let mut parts = request.body(()).unwrap().into_parts().0;
        take(&mut parts).unwrap();
        assert!(!format!("{:?}", parts.headers).contains("a.b.c"));
    }
}
