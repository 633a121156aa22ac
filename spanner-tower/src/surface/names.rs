//! How an API spells a model's name, and what else the spelling says.

use serde::Deserialize;
use spanner_core::{ModelName, NameError, RequestFault, Revision};

use super::error::Problem;

/// As it is written in a surface.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NameFile {
    suffix: Option<String>,
    version_suffix: Option<String>,
    normalizer: Option<String>,
    list: Option<String>,
    strip: Vec<String>,
    default: Vec<String>,
}

/// The spelling of an API's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    suffix: Suffix,
    /// What separates a name from a version.
    version: Option<char>,
    ollama: bool,
    /// What separates several names.
    list: Option<char>,
    /// What can stand before a name.
    strip: Vec<String>,
    /// What means the server's own model.
    default: Vec<String>,
}

/// What stands behind a colon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Suffix {
    /// A part of the name.
    #[default]
    Name,
    /// Who is to serve it, which is no part of the name.
    Provider,
    /// A further model, applied to the one before the colon.
    Adapter,
}

impl Names {
    pub(super) fn of(file: NameFile) -> Result<Self, Problem> {
        let sign = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => match text.chars().next() {
                Some(sign) if text.len() == 1 && !sign.is_ascii_alphanumeric() => Ok(Some(sign)),
                _ => Err(Problem::Names(text)),
            },
        };
        Ok(Self {
            suffix: match file.suffix.as_deref() {
                None | Some("none") => Suffix::Name,
                Some("provider") => Suffix::Provider,
                Some("adapter") => Suffix::Adapter,
                Some(other) => return Err(Problem::Names(other.to_owned())),
            },
            ollama: match file.normalizer.as_deref() {
                None => false,
                Some("ollama") => true,
                Some(other) => return Err(Problem::Names(other.to_owned())),
            },
            version: sign(file.version_suffix)?,
            list: sign(file.list)?,
            strip: file.strip,
            default: file.default,
        })
    }

    /// Whether a text means the model that is meant without one.
    pub(crate) fn is_default(&self, text: &str) -> bool {
        self.default.iter().any(|default| default == text)
    }

    /// The models that a text names, each perhaps at a version. Nothing else is trimmed or
    /// folded than what the API itself does not tell apart.
    pub(crate) fn read(
        &self,
        text: &str,
    ) -> Result<Vec<(ModelName, Option<Revision>)>, RequestFault> {
        match self.list {
            Some(separator) => {
                let mut models = Vec::new();
                for text in text.split(separator) {
                    models.append(&mut self.one(text)?);
                }
                Ok(models)
            }
            None => self.one(text),
        }
    }

    fn one(&self, text: &str) -> Result<Vec<(ModelName, Option<Revision>)>, RequestFault> {
        let begins = self
            .strip
            .iter()
            .find_map(|begin| text.strip_prefix(begin.as_str()));
        let text = begins.unwrap_or(text);
        if self.ollama {
            return Ok(vec![(model(&ollama(text)?)?, None)]);
        }
        let (text, version) = match self.version.and_then(|sign| text.rsplit_once(sign)) {
            Some((text, version)) => {
                let version = Revision::new(version).map_err(|_| RequestFault::Model)?;
                (text, Some(version))
            }
            None => (text, None),
        };
        match (self.suffix, text.split_once(':')) {
            (Suffix::Name, _) | (_, None) => Ok(vec![(model(text)?, version)]),
            (Suffix::Provider, Some((text, provider))) => {
                // Not a name of ours, but it must be one, and one only.
                model(provider)?;
                match provider.contains(':') {
                    true => Err(RequestFault::Model),
                    false => Ok(vec![(model(text)?, version)]),
                }
            }
            (Suffix::Adapter, Some((base, adapter))) => {
                Ok(vec![(model(base)?, version), (model(adapter)?, None)])
            }
        }
    }
}

fn model(name: &str) -> Result<ModelName, RequestFault> {
    ModelName::new(name).map_err(|error| match error {
        // What only looks like a name is one that nobody was granted.
        NameError::Character { character, .. }
            if !character.is_ascii() && !character.is_control() && !character.is_whitespace() =>
        {
            RequestFault::UnknownName
        }
        _ => RequestFault::Model,
    })
}

/// Ollama ignores case, and reads a name without host, namespace and tag as
/// `registry.ollama.ai/library/<name>:latest`. What it takes for the same is one name here:
/// in small letters, without what is the default.
fn ollama(text: &str) -> Result<String, RequestFault> {
    if text.contains("://") {
        return Err(RequestFault::Model);
    }
    let small = text.to_ascii_lowercase();
    let name = small.strip_suffix(":latest").unwrap_or(&small);
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(name);
    Ok(name.strip_prefix("library/").unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(toml: &str) -> Names {
        Names::of(toml::from_str(toml).unwrap()).unwrap()
    }

    #[test]
    fn reads_what_each_api_reads() {
        let rows: &[(&str, &str, Option<&str>)] = &[
            ("", "ft:gpt-4o:acme::x", Some("ft:gpt-4o:acme::x")),
            ("", "a b", None),
            ("suffix = 'provider'", "acme/m:together", Some("acme/m")),
            ("suffix = 'provider'", "acme/m:fastest:x", None),
            ("suffix = 'provider'", "acme/m:", None),
            ("suffix = 'adapter'", "acme/m:lora", Some("acme/m lora")),
            ("version_suffix = '@'", "google/g@001", Some("google/g@001")),
            ("version_suffix = '@'", "google/g@", None),
            ("list = ','", "a,b/c", Some("a b/c")),
            ("list = ','", "a,,b", None),
            ("list = ','", "a, b", None),
            ("strip = ['models/']", "models/g", Some("g")),
            ("normalizer = 'ollama'", "Llama3", Some("llama3")),
            (
                "normalizer = 'ollama'",
                "library/llama3:latest",
                Some("llama3"),
            ),
            (
                "normalizer = 'ollama'",
                "registry.ollama.ai/library/LLAMA3:8B",
                Some("llama3:8b"),
            ),
            (
                "normalizer = 'ollama'",
                "hf.co/acme/M:q4",
                Some("hf.co/acme/m:q4"),
            ),
            ("normalizer = 'ollama'", "http://evil/library/x", None),
        ];
        for (toml, text, expected) in rows {
            let read = names(toml).read(text).ok().map(|models| {
                let written: Vec<String> = models
                    .iter()
                    .map(|(name, version)| match version {
                        Some(version) => format!("{name}@{version}"),
                        None => name.to_string(),
                    })
                    .collect();
                written.join(" ")
            });
            assert_eq!(read.as_deref(), *expected, "{toml} {text}");
        }
    }
}
