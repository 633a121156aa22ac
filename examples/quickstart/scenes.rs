//! The calls of the example, with their expected results.

use reqwest::Method;
use serde_json::{Value, json};
use spanner_demo::model::{SENTIMENT, TRANSLATOR};
use spanner_ledger::Row;

use crate::Stop;
use crate::stage::Stage;

/// One call.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    url: String,
    method: Method,
    token: Option<String>,
    body: String,
    due: Due,
}

/// The expected response.
#[derive(Clone, Copy)]
struct Due {
    status: u16,
    fault: &'static str,
    says: &'static str,
    reason: &'static str,
}

/// The response.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fault: String,
    pub(crate) text: String,
    decision: String,
    by_guard: bool,
}

/// All calls, in order.
pub(crate) async fn all(stage: &Stage) -> Result<Vec<Scene>, Stop> {
    let tina = stage.corp.sign_in("tina").await?;
    let sam = stage.corp.sign_in("sam").await?;
    let for_sam = stage.corp.exchange("triage-copilot", &sam).await?;
    let for_tina = stage.corp.exchange("triage-copilot", &tina).await?;
    let elsewhere = stage.stranger.sign_in("sam").await?;
    let expired = stage.corp.expired_token("sam", &["support"])?;
    let staging = Scene::chat(&stage.staging);
    let production = Scene::chat(&stage.production);
    let lacks = |says| Due {
        status: 403,
        fault: "permission",
        says,
        reason: "authz.no_permit",
    };
    let rejected = |reason| Due {
        status: 401,
        fault: "credential",
        says: "not accepted",
        reason,
    };
    Ok(vec![
        staging(
            "tina, a QA tester, calls the model in staging",
            Some(&tina),
            OK,
        ),
        Scene {
            title: "tina uploads to staging",
            url: format!("{}/v1/uploads", stage.staging),
            ..staging("", Some(&tina), lacks("may not upload"))
        },
        production("sam, of support, calls it in production", Some(&sam), OK),
        production(
            "tina calls it in production",
            Some(&tina),
            lacks("group:corp/nlp"),
        ),
        production("the copilot calls it for sam", Some(&for_sam), OK),
        production(
            "the copilot calls it for tina",
            Some(&for_tina),
            lacks("user:corp/tina"),
        ),
        production(
            "somebody without a token",
            None,
            Due {
                status: 401,
                fault: "credential",
                says: "carries none",
                reason: "auth.missing",
            },
        ),
        production(
            "sam with a token that expired",
            Some(&expired),
            Due {
                says: "expired at",
                ..rejected("token.expired")
            },
        ),
        production(
            "a sam of another provider",
            Some(&elsewhere),
            rejected("token.iss"),
        ),
        Scene {
            body: format!("{{\"model\": \"{SENTIMENT}\", \"model\": \"{TRANSLATOR}\"}}"),
            ..production(
                "sam names two models at once",
                Some(&sam),
                Due {
                    status: 400,
                    fault: "ambiguous_request",
                    says: "stands twice",
                    reason: "request.duplicate_member",
                },
            )
        },
        Scene {
            body: prompt(TRANSLATOR),
            ..production(
                "sam calls a model whose server fails",
                Some(&sam),
                Due {
                    status: 500,
                    fault: "model",
                    says: "not loaded",
                    reason: "granted",
                },
            )
        },
    ])
}

const OK: Due = Due {
    status: 200,
    fault: "",
    says: "positive",
    reason: "granted",
};

fn prompt(model: &str) -> String {
    let content = "thanks, the support was quick and helpful";
    json!({"model": model, "messages": [{"role": "user", "content": content}]}).to_string()
}

impl Scene {
    fn chat(url: &str) -> impl Fn(&'static str, Option<&String>, Due) -> Self {
        move |title, token, due| Self {
            title,
            url: format!("{url}/v1/chat/completions"),
            method: Method::POST,
            token: token.cloned(),
            body: prompt(SENTIMENT),
            due,
        }
    }

    /// Sends the call.
    pub(crate) async fn play(&self, stage: &Stage) -> Result<Reply, Stop> {
        let mut request = stage
            .client
            .request(self.method.clone(), &self.url)
            .header("content-type", "application/json")
            .body(self.body.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        let header = |name| {
            let value = response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (status, fault) = (response.status().as_u16(), header("spanner-fault"));
        let by_guard = header("spanner-origin") == "guard";
        let decision = header("spanner-decision");
        let body: Value = response.json().await?;
        let text = ["/choices/0/message/content", "/error/message", "/detail"]
            .iter()
            .find_map(|place| body.pointer(place)?.as_str())
            .unwrap_or("the reply has no text")
            .to_owned();
        Ok(Reply {
            status,
            fault,
            text,
            decision,
            by_guard,
        })
    }

    /// Whether the response is the expected one: its status, its `spanner-fault`, its text, and its
    /// origin, which is the guard exactly where the model did not respond.
    pub(crate) fn is_as_told(&self, reply: &Reply) -> bool {
        let Due {
            status,
            fault,
            says,
            ..
        } = self.due;
        reply.status == status
            && reply.fault == fault
            && reply.text.contains(says)
            && reply.by_guard == !matches!(fault, "" | "model")
    }

    /// Whether the ledger has this call once, with the expected reason and the status that was sent.
    pub(crate) fn is_recorded(&self, reply: &Reply, rows: &[Row]) -> bool {
        let mut rows = rows
            .iter()
            .filter(|row| row.decision.id.to_string() == reply.decision);
        let (Some(row), None) = (rows.next(), rows.next()) else {
            return false;
        };
        row.decision.reason == self.due.reason
            && row.outcome.as_ref().and_then(|outcome| outcome.status) == Some(reply.status)
    }

    /// The expected result, as text.
    pub(crate) fn expectation(&self) -> String {
        let Due {
            status,
            fault,
            says,
            reason,
        } = self.due;
        format!("{status} {fault}, saying \"{says}\", recorded as `{reason}`")
    }
}
