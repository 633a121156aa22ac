//! `spanner access explain`.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spanner_cedar::{Cases, LoadError};
use toml::{Table, Value};

use super::Folder;
use crate::print::Stop;

/// Who wants what where, under which circumstances.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(super) folder: Folder,
    /// Who asks: `user:corp/ann`, `service:ticket-bot`
    #[arg(long)]
    caller: String,
    /// A group of theirs: `support`
    #[arg(long)]
    group: Vec<String>,
    /// A role that their issuer gives them
    #[arg(long)]
    role: Vec<String>,
    /// Who acts for them: `agent:copilot`; several are a chain, the current one first
    #[arg(long)]
    actor: Vec<String>,
    /// What they want to do: `generate`, or a group of actions such as `infer`
    #[arg(long, required = true)]
    action: Vec<String>,
    /// With which model; the server as a whole, if left out
    #[arg(long)]
    model: Option<String>,
    /// Where
    #[arg(long)]
    environment: String,
    /// How old the token is: `8d`
    #[arg(long)]
    token_age: Option<String>,
    /// How long ago they signed in: `5m`
    #[arg(long)]
    signed_in: Option<String>,
    /// How strongly they were authenticated, from 0 to 3
    #[arg(long)]
    assurance: Option<i64>,
    /// A scope of the token
    #[arg(long)]
    scope: Vec<String>,
    /// The tenant of theirs
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

    /// The question in the words of a case, whose reader knows what is wrong with it.
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

/// What is wrong with the question; it stands in no file.
fn told(error: &LoadError) -> Stop {
    let problems = error.problems().iter();
    let lines: Vec<String> = problems
        .map(|it| format!("{}; {}", it.what, it.advice))
        .collect();
    lines.join("\n").into()
}
