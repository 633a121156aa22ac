//! The table of `data/guard.toml`.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use spanner_core::testing::MemorySink;
use spanner_core::{Effect, record::OutcomeClass};

use crate::support::{Behind, Reply, guarded, send};

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    is: String,
    request: String,
    token: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    status: u16,
    fault: Option<String>,
    reason: Option<String>,
    says: Option<String>,
    challenge: Option<String>,
    grpc: Option<u8>,
    served: bool,
}

impl Row {
    fn request(&self) -> Request<Full<Bytes>> {
        let (method, target) = self.request.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(self.body.clone())).unwrap()
    }

    async fn check(&self) {
        let (sink, behind) = (MemorySink::new(), Behind::serving());
        let reply = send(&guarded(&sink, &behind), self.request()).await;
        let is = &self.is;
        assert_eq!(reply.parts.status, self.status, "{is}: {}", reply.text());
        assert_eq!(reply.header("spanner-fault"), self.fault.as_deref(), "{is}");
        let decision = reply.header("spanner-decision");
        let challenge = reply.header("www-authenticate").map(str::to_owned);
        // What is said ends with the record that has the rest.
        let named = decision.map(|id| format!(" (decision {id})"));
        let challenge = match (challenge, named) {
            (Some(said), Some(named)) => Some(said.replace(&named, "")),
            (challenge, _) => challenge,
        };
        assert_eq!(challenge, self.challenge, "{is}");
        if !self.served {
            assert_eq!(reply.header("x-request-id"), decision, "{is}");
        }
        let grpc = self.grpc.map(|code| code.to_string());
        assert_eq!(reply.header("grpc-status"), grpc.as_deref(), "{is}");
        if let Some(says) = &self.says {
            assert!(reply.text().contains(says), "{is}: {}", reply.text());
        }
        assert_eq!(behind.seen().len(), usize::from(self.served), "{is}");
        let origin = (!self.served).then_some("guard");
        assert_eq!(reply.header("spanner-origin"), origin, "{is}");
        self.check_record(&sink, &reply);
    }

    /// Exactly one decision and one outcome, or a count.
    fn check_record(&self, sink: &MemorySink, reply: &Reply) {
        let (is, decisions, outcomes) = (&self.is, sink.decisions(), sink.outcomes());
        let Some(reason) = &self.reason else {
            assert_eq!((decisions.len(), outcomes.len()), (0, 0), "{is}");
            assert_eq!(sink.counts().len(), 1, "{is}");
            assert_eq!(reply.header("spanner-decision"), None, "{is}");
            return;
        };
        let ([decision], [outcome]) = (&*decisions, &*outcomes) else {
            panic!("{is}: {decisions:?} {outcomes:?}");
        };
        assert_eq!(decision.reason, *reason, "{is}");
        assert_eq!(outcome.id, decision.id, "{is}");
        assert_eq!(
            reply.header("spanner-decision"),
            Some(&*decision.id.to_string()),
            "{is}"
        );
        let (effect, class) = match self.served {
            true => (Effect::Allow, OutcomeClass::Ok),
            false => (Effect::Deny, OutcomeClass::Refused),
        };
        assert_eq!((decision.effect, outcome.class), (effect, class), "{is}");
        assert_eq!(outcome.status, Some(self.status), "{is}");
        let fault = decision.fault.map(|fault| fault.as_str());
        assert_eq!(fault, self.fault.as_deref(), "{is}");
    }
}

#[tokio::test]
async fn each_row_gets_the_reply_and_the_record_that_are_due() {
    let table: Table = toml::from_str(include_str!("../data/guard.toml")).unwrap();
    assert!(table.row.len() >= 30);
    for row in &table.row {
        row.check().await;
    }
}
