//! The rows, each request on a connection of its own.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;

use crate::stage::{PATIENCE, Stage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    is: String,
    #[serde(default)]
    requests: Vec<String>,
    #[serde(default)]
    raw: Vec<String>,
    #[serde(default)]
    grpc: Vec<String>,
    #[serde(default = "alice")]
    token: String,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    one_by_one: bool,
    #[serde(default)]
    many_headers: usize,
    body: Option<String>,
    #[serde(default)]
    bodies: Vec<String>,
    /// How often something stands where `{padding}` does.
    padding: Option<usize>,
    #[serde(default = "x")]
    repeat: String,
    #[serde(default = "named")]
    message: Vec<(u8, String)>,
    #[serde(default)]
    status: Vec<u16>,
    grpc_status: Option<u8>,
    reason: Option<String>,
    challenge: Option<String>,
    answers: Option<usize>,
}

fn alice() -> String {
    "alice".to_owned()
}

fn x() -> String {
    "x".to_owned()
}

fn named() -> Vec<(u8, String)> {
    vec![(1, "acme".to_owned())]
}

impl Case {
    /// What is sent over HTTP/1.1.
    fn wire(&self, stage: &Stage) -> Vec<Vec<u8>> {
        let token = stage.token(if self.token.is_empty() {
            "alice"
        } else {
            &self.token
        });
        let filled = |text: &str| text.replace("{token}", &token);
        let mut wire: Vec<Vec<u8>> = self
            .raw
            .iter()
            .map(|raw| filled(raw).into_bytes())
            .collect();
        let headers: Vec<Vec<String>> = match self.one_by_one {
            true => self
                .headers
                .iter()
                .map(|header| vec![filled(header)])
                .collect(),
            false => vec![self.headers.iter().map(|header| filled(header)).collect()],
        };
        let bodies = match (&self.body, self.bodies.as_slice()) {
            (None, []) => vec![None],
            (Some(body), _) => vec![Some(filled(body))],
            (None, bodies) => bodies.iter().map(|body| Some(filled(body))).collect(),
        };
        for request in &self.requests {
            for headers in &headers {
                for body in &bodies {
                    let mut headers = headers.clone();
                    headers.extend((0..self.many_headers).map(|n| format!("x-{n}: y")));
                    if !self.token.is_empty() {
                        headers.push(format!("authorization: Bearer {token}"));
                    }
                    wire.push(self.request(&filled(request), headers, body.as_deref()));
                }
            }
        }
        wire
    }

    fn request(&self, line: &str, mut headers: Vec<String>, body: Option<&str>) -> Vec<u8> {
        let body = body.map(|body| match self.padding {
            Some(times) => body.replace("{padding}", &self.repeat.repeat(times)),
            None => body.to_owned(),
        });
        if let Some(body) = &body {
            headers.push(format!("content-length: {}", body.len()));
            if !headers
                .iter()
                .any(|header| header.starts_with("content-type"))
            {
                headers.push("content-type: application/json".to_owned());
            }
        }
        let head = format!(
            "{line} HTTP/1.1\r\nhost: models.test\r\n{}\r\n\r\n",
            headers.join("\r\n")
        );
        [head.into_bytes(), body.unwrap_or_default().into_bytes()].concat()
    }

    async fn check(&self) -> Vec<String> {
        let stage = Stage::start().await;
        let mut wrong = Vec::new();
        for bytes in self.wire(&stage) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            let answer = stage.exchange(&bytes).await;
            let answer = String::from_utf8_lossy(&answer);
            let status = answer
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok());
            let mut tell =
                |what: String| wrong.push(format!("{} {}: {what}\n{shown}", self.id, self.is));
            if !status.is_some_and(|status| self.status.contains(&status)) {
                tell(format!("answered {answer:?}"));
            }
            let challenge = answer
                .lines()
                .find_map(|line| line.strip_prefix("www-authenticate: "));
            if self.challenge.is_some() && challenge != self.challenge.as_deref() {
                tell(format!("challenged {challenge:?}"));
            }
            if self
                .answers
                .is_some_and(|answers| answer.matches("HTTP/1.1 ").count() != answers)
            {
                tell(format!("answered more or less than once: {answer:?}"));
            }
        }
        for path in &self.grpc {
            let status = call(&stage, path, &self.message).await;
            if status != self.grpc_status {
                wrong.push(format!("{} {} {path}: {status:?}", self.id, self.is));
            }
        }
        let reasons = stage.reasons();
        if let Some(due) = &self.reason
            && (reasons.is_empty() || reasons.iter().any(|reason| reason != due))
        {
            wrong.push(format!("{} {}: recorded {reasons:?}", self.id, self.is));
        }
        if !stage.seen.lock().unwrap().is_empty() {
            wrong.push(format!("{} {}: the service saw it", self.id, self.is));
        }
        wrong
    }
}

/// The gRPC status of a call with one message.
async fn call(stage: &Stage, path: &str, message: &[(u8, String)]) -> Option<u8> {
    let stream = TokioIo::new(stage.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut content = Vec::new();
    for (number, text) in message {
        content.extend([number << 3 | 2, u8::try_from(text.len()).unwrap()]);
        content.extend(text.as_bytes());
    }
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let body = [&[0], length.as_slice(), &content].concat();
    let request = Request::post(format!("http://models.test{path}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", stage.token("alice")))
        .body(Full::new(bytes::Bytes::from(body)))
        .unwrap();
    let called = async {
        let response = client.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let status = parts
            .headers
            .get("grpc-status")
            .or_else(|| trailers.get("grpc-status"));
        status?.to_str().ok()?.parse().ok()
    };
    tokio::time::timeout(PATIENCE, called).await.unwrap()
}

#[tokio::test]
async fn each_attack_gets_the_reply_and_the_record_that_are_due_and_reaches_nothing() {
    let cases: Cases = toml::from_str(include_str!("../data/attacks.toml")).unwrap();
    let mut wrong = Vec::new();
    for case in &cases.case {
        wrong.extend(case.check().await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.case.len() > 70);
}
