//! The calls of the example, with the expected caller of each.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use spanner_demo::model::SENTIMENT;
use spanner_ledger::Row;

use crate::Stop;
use crate::corp::{MODELS, MODELS_OPAQUE, PAYROLL, prove};
use crate::stage::Stage;

/// One call with its expected result.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    caller: Caller,
    path: &'static str,
    status: u16,
    /// The caller in the record; empty if no caller was identified.
    who: &'static str,
    reason: &'static str,
}

/// The credential of a call.
#[derive(Clone, Copy)]
enum Caller {
    Person(&'static str),
    Opaque(&'static str),
    Payroll,
    Batch,
    Vault,
    StolenFromVault,
    Copilot(&'static str),
    Job,
    OldJob,
    JobOfOthers,
    Pod(&'static str),
    Stranger,
    Revoked,
    AfterRotation,
    KnownDuringOutage,
    UnknownDuringOutage,
    PodDuringOutage,
}

/// The response to a call.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
}

const CHAT: &str = "/v1/chat/completions";
const UPLOAD: &str = "/v1/uploads";

/// All calls, in order; some only with the real provider.
pub(crate) fn all(real: bool) -> Vec<Scene> {
    let served = |title, caller, who| Scene {
        title,
        caller,
        path: CHAT,
        status: 200,
        who,
        reason: "granted",
    };
    let refused = |title, caller, reason| Scene {
        status: 401,
        reason,
        ..served(title, caller, "")
    };
    let denied = |title, caller, who| Scene {
        status: 403,
        reason: "authz.no_permit",
        ..served(title, caller, who)
    };
    let mut scenes = vec![
        served("alice signs in", Caller::Person("alice"), "user:corp/alice"),
        denied(
            "mallory signs in, and is granted nothing",
            Caller::Person("mallory"),
            "user:corp/mallory",
        ),
        served(
            "the copilot acts for alice",
            Caller::Copilot("alice"),
            "agent:corp/copilot for user:corp/alice",
        ),
        denied(
            "the copilot acts for mallory",
            Caller::Copilot("mallory"),
            "agent:corp/copilot for user:corp/mallory",
        ),
        Scene {
            path: UPLOAD,
            ..served(
                "a job of GitHub Actions uploads",
                Caller::Job,
                "service:github/65/74",
            )
        },
        denied(
            "the job calls the model",
            Caller::Job,
            "service:github/65/74",
        ),
        refused("a job of another owner", Caller::JobOfOthers, "token.iss"),
        refused(
            "a job's token, an hour later",
            Caller::OldJob,
            "token.expired",
        ),
        served(
            "a pod of the training namespace",
            Caller::Pod("training"),
            "service:cluster/system:serviceaccount:training:trainer",
        ),
        denied(
            "a pod of another namespace",
            Caller::Pod("sandbox"),
            "service:cluster/system:serviceaccount:sandbox:trainer",
        ),
        refused(
            "an alice of an unknown provider",
            Caller::Stranger,
            "token.iss",
        ),
        refused(
            "alice, whose token was revoked a moment ago",
            Caller::Revoked,
            "token.revoked",
        ),
    ];
    if real {
        scenes.extend([
            served(
                "alice with an opaque token",
                Caller::Opaque("alice"),
                "user:corp/alice",
            ),
            refused(
                "alice with a token for the payroll",
                Caller::Payroll,
                "token.aud",
            ),
            served("a service signs in", Caller::Batch, "service:corp/batch"),
            served(
                "a service proves that its token is its own",
                Caller::Vault,
                "service:corp/vault",
            ),
            refused(
                "somebody who stole that token",
                Caller::StolenFromVault,
                "token.pop_required",
            ),
            served(
                "alice, after the provider's keys were rotated",
                Caller::AfterRotation,
                "user:corp/alice",
            ),
            served(
                "alice, while the provider is down",
                Caller::KnownDuringOutage,
                "user:corp/alice",
            ),
            Scene {
                status: 503,
                reason: "introspection.unavailable",
                ..served(
                    "an opaque token, while the provider is down",
                    Caller::UnknownDuringOutage,
                    "",
                )
            },
            served(
                "the pod, while the company's provider is down",
                Caller::PodDuringOutage,
                "service:cluster/system:serviceaccount:training:trainer",
            ),
        ]);
    }
    scenes
}

impl Scene {
    /// Sends the call.
    pub(crate) async fn play(&self, stage: &Stage) -> Result<Reply, Stop> {
        let content = "thanks, the support was quick and helpful";
        let messages = json!([{ "role": "user", "content": content }]);
        let body = match self.path {
            UPLOAD => json!({ "filename": "model.bin", "purpose": "fine-tune", "bytes": 1 }),
            _ => json!({ "model": SENTIMENT, "messages": messages }),
        };
        let url = format!("{}{}", stage.service, self.path);
        let request = stage.client.post(&url).json(&body);
        let response = self.credentials(stage, request, &url).await?.send().await?;
        let status = response.status().as_u16();
        let body: Value = response.json().await?;
        let text = ["/choices/0/message/content", "/error/message", "/id"]
            .iter()
            .find_map(|place| body.pointer(place)?.as_str())
            .unwrap_or("the reply has no text")
            .to_owned();
        Ok(Reply { status, text })
    }

    /// Gets the token of a call, and adds it to the request.
    async fn credentials(
        &self,
        stage: &Stage,
        request: RequestBuilder,
        url: &str,
    ) -> Result<RequestBuilder, Stop> {
        let corp = &stage.corp;
        let token = match self.caller {
            Caller::Person(name) => corp.person(name, MODELS).await?,
            Caller::Opaque(name) => corp.person(name, MODELS_OPAQUE).await?,
            Caller::Payroll => corp.person("alice", PAYROLL).await?,
            Caller::Copilot(name) => corp.copilot(&corp.person(name, MODELS).await?).await?,
            Caller::Job => stage.job(65, 0)?,
            Caller::OldJob => stage.job(65, 3_600)?,
            Caller::JobOfOthers => stage.job(66, 0)?,
            Caller::Pod(namespace) => stage.pod(namespace)?,
            Caller::Stranger => stage.stranger()?,
            Caller::Batch => corp.service("batch", None).await?,
            Caller::Revoked => {
                let token = corp.person("alice", MODELS).await?;
                stage.revoke(&token)?;
                token
            }
            Caller::Vault => {
                let token = corp.service("vault", Some(&stage.vault)).await?;
                let proof = prove(&stage.vault, "POST", url, Some(&token))?;
                let authorization = format!("DPoP {token}");
                stage.kept.lock().await.push(token);
                let request = request.header("authorization", authorization);
                return Ok(request.header("dpop", proof));
            }
            Caller::StolenFromVault => stage.kept.lock().await.pop().unwrap_or_default(),
            Caller::AfterRotation => {
                corp.admin("rotate").await?;
                corp.person("alice", MODELS).await?
            }
            Caller::KnownDuringOutage => {
                let opaque = corp.person("alice", MODELS_OPAQUE).await?;
                let token = corp.person("alice", MODELS).await?;
                stage.kept.lock().await.push(opaque);
                corp.admin("down").await?;
                token
            }
            Caller::UnknownDuringOutage => stage.kept.lock().await.pop().unwrap_or_default(),
            Caller::PodDuringOutage => stage.pod("training")?,
        };
        Ok(request.bearer_auth(token))
    }

    /// Whether the record has the expected caller and reason.
    pub(crate) fn is_recorded(&self, row: &Row) -> bool {
        row.decision.reason == self.reason && who(row) == self.who
    }

    /// The expected record, as text.
    pub(crate) fn expectation(&self) -> String {
        format!("`{}` by {:?}", self.reason, self.who)
    }
}

fn who(row: &Row) -> String {
    let caller = row.decision.caller.as_ref();
    caller.map_or_else(String::new, ToString::to_string)
}

impl Reply {
    /// Whether the response is the expected one.
    pub(crate) const fn is(&self, scene: &Scene) -> bool {
        self.status == scene.status
    }
}
