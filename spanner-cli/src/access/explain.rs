//! `spanner access explain`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spanner_cedar::{Cases, LoadError};
use toml::{Table, Value};

use super::Folder;
use crate::print::Stop;

/// The options of `access explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// The caller: `user:corp/ann` or `service:ticket-bot`
    #[arg(long)]
    caller: String,
    /// A group of the caller, such as `support`; repeatable
    #[arg(long)]
    group: Vec<String>,
    /// A role from the caller's issuer; repeatable
    #[arg(long)]
    role: Vec<String>,
    /// An actor on behalf of the caller, such as `agent:copilot`; repeat it for a chain, the current
    /// actor first
    #[arg(long)]
    actor: Vec<String>,
    /// The action, such as `generate`, or a group of actions such as `infer`
    #[arg(long, required = true)]
    action: Vec<String>,
    /// The model; without it, the server as a whole
    #[arg(long)]
    model: Option<String>,
    /// The environment
    #[arg(long)]
    environment: String,
    /// The age of the token, such as `8d`
    #[arg(long)]
    token_age: Option<String>,
    /// The time since the caller signed in, such as `5m`
    #[arg(long)]
    signed_in: Option<String>,
    /// The level of assurance of the sign-in, from 0 to 3
    #[arg(long)]
    assurance: Option<i64>,
    /// A scope of the token; repeatable
    #[arg(long)]
    scope: Vec<String>,
    /// The tenant of the caller
    #[arg(long)]
    tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<ExitCode, Stop> {
        let access = self.folder.load_and_tell()?;
        let cases = Cases::from_files([("question.toml", self.case()?)]);
        let questions = cases.and_then(|cases| cases.questions(&access));
        for questions in questions.map_err(|error| told(&error))? {
            let answer = questions.put_to(&access);
            let each = questions.each();
            let each = each.iter().map(|it| access.explain(it));
            let explanations: Vec<_> = each.collect();
            if self.json {
                let line = json!({
                    "effect": answer.effect, "reason": answer.reason,
                    "policies": answer.policies, "explanations": explanations,
                });
                writeln!(out, "{line}")?;
                continue;
            }
            for explanation in &explanations {
                writeln!(out, "{}\n{explanation}", explanation.asked)?;
            }
            if explanations.len() > 1 {
                let word = serde_json::to_value(answer.effect)?;
                writeln!(
                    out,
                    "all of them together: {}",
                    word.as_str().unwrap_or("?")
                )?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The question as a test case, whose reader reports the problems with it.
    fn case(&self) -> Result<String, toml::ser::Error> {
        let mut case = Table::new();
        let text = |text: &String| Value::String(text.clone());
        let list = |texts: &[String]| Value::Array(texts.iter().map(text).collect());
        let mut put = |key: &str, value: Value| drop(case.insert(key.to_owned(), value));
        put("caller", text(&self.caller));
        put("groups", list(&self.group));
        put("roles", list(&self.role));
        put("actor", list(&self.actor));
        put("action", list(&self.action));
        put("scopes", list(&self.scope));
        put("environment", text(&self.environment));
        put("expect", Value::String("allow".to_owned()));
        let rest = [
            ("model", &self.model),
            ("token_age", &self.token_age),
            ("signed_in", &self.signed_in),
            ("tenant", &self.tenant),
        ];
        for (key, value) in rest {
            if let Some(value) = value {
                put(key, text(value));
            }
        }
        if let Some(assurance) = self.assurance {
            put("assurance", Value::Integer(assurance));
        }
        let cases = Value::Array(vec![Value::Table(case)]);
        toml::to_string(&Table::from_iter([("case".to_owned(), cases)]))
    }
}

/// The problems with the question, without a file name.
fn told(error: &LoadError) -> Stop {
    let problems = error.problems().iter();
    let lines: Vec<String> = problems
        .map(|it| format!("{}; {}", it.what, it.advice))
        .collect();
    lines.join("\n").into()
}
