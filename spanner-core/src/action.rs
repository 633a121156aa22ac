//! Actions on models.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An action on a model, or Spanner's own [`Approve`](Self::Approve).
///
/// No action implies another one: permission to run a model does not include its files, uploading
/// does not include promotion, and writing does not include deletion. Roles combine actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// See catalogues and indexes.
    List,
    /// See metadata, configuration, readiness, the list of files.
    Read,
    /// Run it for vectors.
    Embed,
    /// Run it for tokens, images or audio.
    Generate,
    /// Run it for anything else.
    Predict,
    /// Download weights or files.
    Download,
    /// Open pull requests and discussions.
    Propose,
    /// Commit, push, add a version.
    Upload,
    /// Create a model, branch or version.
    Create,
    /// Delete a model, branch or version.
    Delete,
    /// Load, unload or scale a model: change what runs.
    Deploy,
    /// Move a revision to the next environment.
    Promote,
    /// Administer settings, members, server internals and metrics.
    Administer,
    /// Approve a promotion. Its proposer cannot.
    Approve,
}

/// A named set of actions, usable wherever an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActionGroup {
    /// [`Action::List`] and [`Action::Read`].
    View,
    /// [`Action::Embed`], [`Action::Generate`] and [`Action::Predict`].
    Infer,
    /// [`Action::Propose`] and [`Action::Upload`].
    Write,
}

/// The word is not an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no action")]
pub struct UnknownAction(pub String);

impl Action {
    /// Every action, in the order of the specification.
    pub const ALL: [Self; 14] = [
        Self::List,
        Self::Read,
        Self::Embed,
        Self::Generate,
        Self::Predict,
        Self::Download,
        Self::Propose,
        Self::Upload,
        Self::Create,
        Self::Delete,
        Self::Deploy,
        Self::Promote,
        Self::Administer,
        Self::Approve,
    ];

    /// The name of the action in OpenTelemetry's conventions for generative AI, on a route of this
    /// template, if they have one (`gen_ai.operation.name`,
    /// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>).
    #[must_use]
    pub fn operation_name(self, template: &str) -> Option<&'static str> {
        let last = template.rsplit('/').next().unwrap_or_default();
        match (self, last) {
            (Self::Embed, _) => Some("embeddings"),
            (
                Self::Generate,
                "chat" | "messages" | "responses" | "converse" | "converse-stream",
            ) => Some("chat"),
            (Self::Generate, "completions") if template.ends_with("/chat/completions") => {
                Some("chat")
            }
            (
                Self::Generate,
                "completions" | "completion" | "complete" | "infill" | "generate"
                | "generate_stream",
            ) => Some("text_completion"),
            (Self::Generate, _) => Some("generate_content"),
            _ => None,
        }
    }

    /// The word that policies, manifests, surfaces and records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Embed => "embed",
            Self::Generate => "generate",
            Self::Predict => "predict",
            Self::Download => "download",
            Self::Propose => "propose",
            Self::Upload => "upload",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Deploy => "deploy",
            Self::Promote => "promote",
            Self::Administer => "administer",
            Self::Approve => "approve",
        }
    }

    /// The group that this action belongs to, if any.
    #[must_use]
    pub const fn group(self) -> Option<ActionGroup> {
        match self {
            Self::List | Self::Read => Some(ActionGroup::View),
            Self::Embed | Self::Generate | Self::Predict => Some(ActionGroup::Infer),
            Self::Propose | Self::Upload => Some(ActionGroup::Write),
            Self::Download
            | Self::Create
            | Self::Delete
            | Self::Deploy
            | Self::Promote
            | Self::Administer
            | Self::Approve => None,
        }
    }
}

impl ActionGroup {
    /// Every group.
    pub const ALL: [Self; 3] = [Self::View, Self::Infer, Self::Write];

    /// The word that policies and role definitions use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Infer => "infer",
            Self::Write => "write",
        }
    }

    /// The actions of this group.
    pub fn actions(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| action.group() == Some(self))
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| UnknownAction(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ActionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_word() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("infer".parse::<Action>().is_err());
        assert!("Read".parse::<Action>().is_err());
    }

    #[test]
    fn operations_are_named_as_telemetry_names_them() {
        let rows = [
            (Action::Generate, "/v1/chat/completions", Some("chat")),
            (Action::Generate, "/v1/messages", Some("chat")),
            (Action::Generate, "/v1/completions", Some("text_completion")),
            (Action::Generate, "/api/generate", Some("text_completion")),
            (
                Action::Generate,
                "/v1beta/models/{model}:generateContent",
                Some("generate_content"),
            ),
            (Action::Embed, "/v1/embeddings", Some("embeddings")),
            (Action::Predict, "/v1/models/{model}:predict", None),
            (Action::Read, "/v1/models/{model}", None),
        ];
        for (action, template, expected) in rows {
            assert_eq!(action.operation_name(template), expected, "{template}");
        }
    }

    #[test]
    fn groups_hold_what_the_specification_says() {
        assert!(ActionGroup::View.actions().eq([Action::List, Action::Read]));
        assert!(ActionGroup::Infer.actions().eq([
            Action::Embed,
            Action::Generate,
            Action::Predict
        ]));
        assert!(
            ActionGroup::Write
                .actions()
                .eq([Action::Propose, Action::Upload])
        );
    }
}
