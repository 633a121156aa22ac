//! How an API spells a model's name, and what else the spelling tells: a version, a provider, an
//! adapter.

use std::collections::BTreeMap;

use serde::Deserialize;
use spanner_core::{ModelName, NameError, RequestFault, Revision};

use super::error::SurfaceProblem;

/// The table `names` of a surface.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NameFile {
    suffix: Option<String>,
    version_suffix: Option<String>,
    normalizer: Option<String>,
    list: Option<String>,
    strip: Vec<String>,
    default: Vec<String>,
    kinds: BTreeMap<String, usize>,
    path_end: Option<String>,
}

/// How an API spells names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    suffix: Suffix,
    /// What separates a name from a version.
    version: Option<char>,
    normalizer: Normalizer,
    /// What separates several names.
    list: Option<char>,
    /// Prefixes that are not part of the name.
    strip: Vec<String>,
    /// Texts that mean the server's own model.
    default: Vec<String>,
    /// Prefixes of a name in paths, each with how many parts the name has at least.
    kinds: BTreeMap<String, usize>,
    /// The suffix of a name in paths.
    path_end: Option<String>,
}

/// What follows a colon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Suffix {
    /// A part of the name.
    #[default]
    Name,
    /// The provider that should serve the model. It is not part of the name.
    Provider,
    /// A further model, applied to the one before the colon.
    Adapter,
}

/// How an API normalizes names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Normalizer {
    /// Nothing.
    #[default]
    None,
    /// [`ollama`].
    Ollama,
    /// [`bedrock`].
    Bedrock,
    /// [`vertex`].
    Vertex,
}

impl Names {
    pub(super) fn of(file: NameFile) -> Result<Self, SurfaceProblem> {
        let sign = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => match text.chars().next() {
                Some(sign) if text.len() == 1 && !sign.is_ascii_alphanumeric() => Ok(Some(sign)),
                _ => Err(SurfaceProblem::Names(text)),
            },
        };
        Ok(Self {
            suffix: match file.suffix.as_deref() {
                None | Some("none") => Suffix::Name,
                Some("provider") => Suffix::Provider,
                Some("adapter") => Suffix::Adapter,
                Some(other) => return Err(SurfaceProblem::Names(other.to_owned())),
            },
            normalizer: match file.normalizer.as_deref() {
                None => Normalizer::None,
                Some("ollama") => Normalizer::Ollama,
                Some("bedrock") => Normalizer::Bedrock,
                Some("vertex") => Normalizer::Vertex,
                Some(other) => return Err(SurfaceProblem::Names(other.to_owned())),
            },
            version: sign(file.version_suffix)?,
            list: sign(file.list)?,
            strip: file.strip,
            default: file.default,
            kinds: file.kinds,
            path_end: file.path_end,
        })
    }

    /// Whether a text means the model that is meant without one.
    pub(crate) fn is_default(&self, text: &str) -> bool {
        self.default.iter().any(|default| default == text)
    }

    /// The models that a request with this name is about, if one without a name is about `bound`.
    pub(super) fn spelled(&self, name: &ModelName, bound: Option<&ModelName>) -> Vec<ModelName> {
        if self.is_default(name.as_str()) {
            return bound.cloned().into_iter().collect();
        }
        let read = self.read(self.without_path(name.as_str()));
        read.unwrap_or_default()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    /// The models that a text names, each with its version if it has one. Only what the API itself
    /// does not distinguish is trimmed or folded.
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

    /// A name without the prefix and suffix that only paths have.
    fn without_path<'t>(&self, text: &'t str) -> &'t str {
        let end = self.path_end.as_deref();
        let text = end.and_then(|end| text.strip_suffix(end)).unwrap_or(text);
        let name = self.kinds.iter().find_map(|(kind, parts)| {
            let name = text.strip_prefix(kind.as_str())?.strip_prefix('/')?;
            (name.split('/').count() >= *parts).then_some(name)
        });
        name.unwrap_or(text)
    }

    fn one(&self, text: &str) -> Result<Vec<(ModelName, Option<Revision>)>, RequestFault> {
        // The routes have cut it where it belongs to the path; no name has it.
        if self.without_path(text) != text {
            return Err(RequestFault::Model);
        }
        let begins = self
            .strip
            .iter()
            .find_map(|begin| text.strip_prefix(begin.as_str()));
        let text = begins.unwrap_or(text);
        let text = match self.normalizer {
            Normalizer::None => text.to_owned(),
            Normalizer::Ollama => {
                let names = ollama(text)?.into_iter();
                return names.map(|name| Ok((model(&name)?, None))).collect();
            }
            Normalizer::Bedrock => {
                let names = bedrock(text).into_iter();
                return names.map(|name| Ok((model(name)?, None))).collect();
            }
            Normalizer::Vertex => vertex(text)?,
        };
        let text = text.as_str();
        let (text, version) = match self.version.and_then(|sign| text.rsplit_once(sign)) {
            Some((text, version)) => {
                let version = Revision::new(version).map_err(RequestFault::Name)?;
                (text, Some(version))
            }
            None => (text, None),
        };
        match (self.suffix, text.split_once(':')) {
            (Suffix::Name, _) | (_, None) => Ok(vec![(model(text)?, version)]),
            (Suffix::Provider, Some((text, provider))) => {
                // The provider must be one well-formed name.
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
        // A look-alike is a name that nobody was granted.
        NameError::Character { character, at, .. }
            if !character.is_ascii() && !character.is_control() && !character.is_whitespace() =>
        {
            RequestFault::UnknownName { character, at }
        }
        error => RequestFault::Name(error),
    })
}

/// Ollama ignores case, and reads a name without host, namespace and tag as
/// `registry.ollama.ai/library/<name>:latest`; `ollama.com` is the same host. All spellings of one
/// model give one name here: in lower case, without the defaults.
///
/// Where the model runs is not part of its name, so `:local` is removed. A model in the cloud is
/// the same model but is pulled under its own name, so both names are returned.
fn ollama(text: &str) -> Result<Vec<String>, RequestFault> {
    let small = text.to_ascii_lowercase();
    let (base, in_cloud) = ollama_source(&small).unwrap_or((&small, false));
    let name = without_defaults(base);
    let again = without_defaults(name) != name;
    // A name that could be folded again has a tag, host, namespace or source twice.
    let twice = again
        || [base, name]
            .into_iter()
            .any(|it| ollama_source(it).is_some());
    if text.contains("://") || twice || name.ends_with(':') {
        return Err(RequestFault::Model);
    }
    if is_ollama_digest(name) {
        return Err(RequestFault::Opaque);
    }
    let has_tag = name.rsplit('/').next().is_some_and(|it| it.contains(':'));
    let own = name.to_owned();
    Ok(match (in_cloud, has_tag) {
        (false, _) => vec![own],
        (true, true) => vec![format!("{name}-cloud"), own],
        (true, false) => vec![format!("{name}:cloud"), own],
    })
}

/// A name of Ollama without the tag, host and namespace that it would have anyway.
fn without_defaults(name: &str) -> &str {
    let name = name.strip_suffix(":latest").unwrap_or(name);
    let hosts = ["registry.ollama.ai/", "ollama.com/"];
    let path = hosts.iter().find_map(|host| name.strip_prefix(host));
    let path = path.unwrap_or(name);
    path.strip_prefix("library/").unwrap_or(path)
}

/// A name of Ollama without the suffix that says where the model runs, and whether that is the
/// cloud.
fn ollama_source(name: &str) -> Option<(&str, bool)> {
    let (base, tag) = name.rsplit_once(':')?;
    match tag {
        "local" => Some((base, false)),
        "cloud" => Some((base, true)),
        // A port, not a tag.
        _ if tag.contains('/') => None,
        _ => name.strip_suffix("-cloud").map(|base| (base, true)),
    }
}

/// Whether Ollama reads a name as the digest of a manifest, which can be any model's:
/// `sha256:…`, `sha256-…` or only the first digits, with or without a runner in front.
fn is_ollama_digest(name: &str) -> bool {
    let runner = ["mlx:", "ollama:", "llamacpp:"];
    let behind = runner.iter().find_map(|runner| name.strip_prefix(runner));
    let name = behind.unwrap_or(name);
    let marked = ["sha256:", "sha256-"];
    let marked = marked.iter().find_map(|mark| name.strip_prefix(mark));
    let digits = marked.unwrap_or(name);
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex && (marked.is_some() || digits.len() >= SHORTEST_DIGEST)
}

/// How many digits of a digest Ollama shows and accepts.
const SHORTEST_DIGEST: usize = 12;

/// A Bedrock model has an id, an ARN as a foundation model, and inference profiles, whose ids are
/// the model's id after a geography. Invoking a profile invokes its model, and IAM checks both, so
/// both names are returned.
fn bedrock(text: &str) -> Vec<&str> {
    let resource = match text.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "bedrock", _, _, resource] => Some(*resource),
        _ => None,
    };
    let id = match resource.and_then(|resource| resource.split_once('/')) {
        Some(("foundation-model", id)) => return vec![id],
        Some(("inference-profile", id)) => id,
        Some(_) | None => text,
    };
    match id.split_once('.') {
        Some((geography, model)) if GEOGRAPHIES.contains(&geography) && model.contains('.') => {
            vec![id, model]
        }
        _ => vec![text],
    }
}

/// The geographies in the ids of Bedrock's own inference profiles.
const GEOGRAPHIES: &[&str] = &[
    "af", "apac", "au", "ca", "cn", "eu", "global", "il", "in", "jp", "kr", "me", "mx", "nz", "sa",
    "sg", "uk", "us", "us-gov",
];

/// Vertex AI names a model in a body by the resource path, and in paths by its parts. Both give one
/// name: `publishers/google/models/g` is `google/g`, a model of the registry is its id, and an
/// endpoint is project, location and id.
fn vertex(text: &str) -> Result<String, RequestFault> {
    let parts: Vec<&str> = text.split('/').collect();
    Ok(match parts.as_slice() {
        [
            "projects",
            _,
            "locations",
            _,
            "publishers",
            publisher,
            "models",
            model,
        ]
        | ["publishers", publisher, "models", model] => format!("{publisher}/{model}"),
        ["projects", _, "locations", _, "models", model] => (*model).to_owned(),
        [
            "projects",
            project,
            "locations",
            location,
            "endpoints",
            endpoint,
        ] => {
            format!("{project}/{location}/{endpoint}")
        }
        // A resource of another kind is not a model that could be granted.
        ["projects" | "publishers", ..] if parts.len() > 3 => return Err(RequestFault::Opaque),
        _ => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(toml: &str) -> Names {
        Names::of(toml::from_str(toml).unwrap()).unwrap()
    }

    #[test]
    fn tells_how_a_name_is_spelled() {
        let spelled = |toml: &str, name: &str, bound: Option<&str>| {
            let bound = bound.map(|bound| ModelName::new(bound).unwrap());
            let name = ModelName::new(name).unwrap();
            let read = names(toml).spelled(&name, bound.as_ref());
            read.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(spelled("normalizer = 'ollama'", "G:latest", None), ["g"]);
        assert_eq!(spelled("normalizer = 'ollama'", "g:local", None), ["g"]);
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert!(spelled("normalizer = 'ollama'", &digest, None).is_empty());
        assert_eq!(spelled("suffix = 'adapter'", "b:a", None), ["b", "a"]);
        assert_eq!(spelled("version_suffix = '@'", "g/m@1", None), ["g/m"]);
        let none: [&str; 0] = [];
        assert_eq!(spelled("default = ['tgi']", "tgi", None), none);
        assert_eq!(
            spelled("default = ['tgi']", "tgi", Some("acme/m")),
            ["acme/m"]
        );
        assert_eq!(spelled("suffix = 'provider'", "a/b:c:d", None), none);
        let paths = "kinds = { models = 2, datasets = 1 }\npath_end = '.git'";
        assert_eq!(spelled(paths, "acme/m.git", None), ["acme/m"]);
        assert_eq!(spelled(paths, "datasets/acme/m.git", None), ["acme/m"]);
        assert_eq!(spelled(paths, "datasets/m", None), ["m"]);
        assert_eq!(spelled(paths, "models/acme/m", None), ["acme/m"]);
        assert_eq!(spelled(paths, "models/m", None), ["models/m"]);
        assert_eq!(spelled(paths, "acme/m.git.git", None), none);
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
            (
                "normalizer = 'ollama'",
                "Ollama.com/library/llama3",
                Some("llama3"),
            ),
            ("normalizer = 'ollama'", "llama3:LOCAL", Some("llama3")),
            (
                "normalizer = 'ollama'",
                "llama3:latest:local",
                Some("llama3"),
            ),
            (
                "normalizer = 'ollama'",
                "llama3:Cloud",
                Some("llama3:cloud llama3"),
            ),
            (
                "normalizer = 'ollama'",
                "llama3:latest-cloud",
                Some("llama3:cloud llama3"),
            ),
            (
                "normalizer = 'ollama'",
                "llama3:8b-cloud",
                Some("llama3:8b-cloud llama3:8b"),
            ),
            (
                "normalizer = 'ollama'",
                "llama3:8b:cloud",
                Some("llama3:8b-cloud llama3:8b"),
            ),
            (
                "normalizer = 'ollama'",
                "host:5000/acme/m-cloud",
                Some("host:5000/acme/m-cloud"),
            ),
            (
                "normalizer = 'ollama'",
                "llama3-cloud",
                Some("llama3-cloud"),
            ),
            ("normalizer = 'ollama'", "llama3:cloud:local", None),
            ("normalizer = 'ollama'", "llama3:local:latest", None),
            ("normalizer = 'ollama'", "llama3:-cloud", None),
            ("normalizer = 'ollama'", ":local", None),
            ("normalizer = 'ollama'", "sha256:ABCDEF012345", None),
            ("normalizer = 'ollama'", "sha256-abcdef012345", None),
            ("normalizer = 'ollama'", "mlx:sha256:abcdef012345", None),
            ("normalizer = 'ollama'", "library/abcdef012345:local", None),
            (
                "normalizer = 'ollama'",
                "llama3:abcdef012345",
                Some("llama3:abcdef012345"),
            ),
            (
                "normalizer = 'ollama'",
                "acme/abcdef012345",
                Some("acme/abcdef012345"),
            ),
            ("normalizer = 'ollama'", "decade", Some("decade")),
            ("normalizer = 'ollama'", "llama3:latest:latest", None),
            ("normalizer = 'ollama'", "library/library/llama3", None),
            (
                "normalizer = 'bedrock'",
                "anthropic.claude-v2:1",
                Some("anthropic.claude-v2:1"),
            ),
            (
                "normalizer = 'bedrock'",
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1",
                Some("anthropic.claude-v2:1"),
            ),
            (
                "normalizer = 'bedrock'",
                "us.anthropic.claude-v2:1",
                Some("us.anthropic.claude-v2:1 anthropic.claude-v2:1"),
            ),
            (
                "normalizer = 'bedrock'",
                "arn:aws:bedrock:eu-west-1:123:inference-profile/eu.meta.llama3-1-8b-v1:0",
                Some("eu.meta.llama3-1-8b-v1:0 meta.llama3-1-8b-v1:0"),
            ),
            (
                "normalizer = 'bedrock'",
                "arn:aws:bedrock:us-east-1:123:provisioned-model/abc",
                Some("arn:aws:bedrock:us-east-1:123:provisioned-model/abc"),
            ),
            (
                "normalizer = 'bedrock'",
                "deepseek.v3.2",
                Some("deepseek.v3.2"),
            ),
            (
                "normalizer = 'vertex'\nversion_suffix = '@'",
                "publishers/google/models/g@001",
                Some("google/g@001"),
            ),
            (
                "normalizer = 'vertex'",
                "projects/p/locations/eu/models/123",
                Some("123"),
            ),
            (
                "normalizer = 'vertex'",
                "projects/p/locations/eu/endpoints/7",
                Some("p/eu/7"),
            ),
            (
                "normalizer = 'vertex'",
                "projects/p/locations/eu/datasets/7",
                None,
            ),
            ("normalizer = 'vertex'", "google/g", Some("google/g")),
            ("", "/models/x", Some("/models/x")),
            ("path_end = '.git'", "acme/m.git", None),
            ("path_end = '.git'", "acme/m", Some("acme/m")),
            ("kinds = { datasets = 1 }", "datasets/acme/m", None),
            ("kinds = { models = 2 }", "models/m", Some("models/m")),
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
