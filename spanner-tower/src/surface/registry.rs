//! The surfaces that Spanner ships.

use std::sync::OnceLock;

use super::Surface;

/// A shipped surface before it is compiled.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// The text of its file in `surfaces/`.
    File(&'static str),
    /// Other shipped surfaces, joined under one name.
    Joined(&'static [&'static str]),
}

macro_rules! shipped {
    (
        files { $($file:literal,)* }
        joined { $($name:literal => [$($part:literal),*],)* }
    ) => {
        /// Every shipped surface. The names of files are sorted, so that the row of a new one has
        /// one place.
        const SHIPPED: &[(&str, Source)] = &[
            $(($file, Source::File(include_str!(concat!("../../surfaces/", $file, ".toml")))),)*
            $(($name, Source::Joined(&[$($part),*])),)*
        ];
    };
}

shipped! {
    files {
        "anthropic",
        "azure-openai",
        "bedrock-runtime",
        "cohere",
        "gemini",
        "generic",
        "git-http",
        "hf-hub",
        "hf-inference-endpoints",
        "hf-router",
        "hf-xet-cas",
        "kserve-openai",
        "kserve-v1",
        "litellm",
        "llama.cpp",
        "mistral",
        "mlflow",
        "mlflow-gateway",
        "mlflow-serving",
        "oip",
        "oip-grpc",
        "ollama",
        "openai",
        "sagemaker-container",
        "sagemaker-runtime",
        "sglang",
        "tei",
        "tei-grpc",
        "tensorflow-serving",
        "tensorflow-serving-grpc",
        "tgi",
        "torchserve-grpc",
        "torchserve-inference",
        "torchserve-management",
        "triton",
        "triton-openai",
        "vertex-ai",
        "vllm",
        "vllm-grpc",
    }
    joined {
        "open-inference" => ["oip", "oip-grpc"],
    }
}

/// Each surface is compiled when it is first asked for.
static COMPILED: [OnceLock<Surface>; SHIPPED.len()] = [const { OnceLock::new() }; SHIPPED.len()];

/// The surface of this name, if Spanner ships it: one of [`built_in`].
#[must_use]
pub fn named(name: &str) -> Option<Surface> {
    let at = SHIPPED.iter().position(|(known, _)| *known == name)?;
    let ((name, source), compiled) = (SHIPPED.get(at)?, COMPILED.get(at)?);
    Some(compiled.get_or_init(|| source.compile(name)).clone())
}

/// The names of the surfaces that Spanner ships, sorted.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.into_iter()
}

/// The OpenAI API, as OpenAI and most gateways serve it under `/v1`.
///
/// Routes whose model cannot be told from the request (stored responses, files, batches,
/// jobs) are known and refused.
#[must_use]
pub fn openai() -> Surface {
    shipped("openai")
}

/// The Open Inference Protocol v2 (KServe, Triton), REST and gRPC: `oip` and `oip-grpc` as
/// one.
///
/// Each message of `ModelStreamInfer` is decided by the model that it names.
#[must_use]
pub fn open_inference() -> Surface {
    shipped("open-inference")
}

impl Source {
    #[expect(clippy::expect_used, reason = "a test compiles every shipped surface")]
    fn compile(self, name: &str) -> Surface {
        match self {
            Self::File(text) => Surface::from_toml(name, text).expect("a shipped surface"),
            Self::Joined(parts) => {
                let parts: Vec<Surface> = parts.iter().map(|part| shipped(part)).collect();
                let (first, others) = parts.split_first().expect("a surface to join");
                Surface::join(name, first, others)
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "a test compiles every shipped surface")]
fn shipped(name: &str) -> Surface {
    named(name).expect("a shipped surface")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::surface::Dialect;

    /// The files in `surfaces/`, without `.toml`.
    fn files() -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("surfaces");
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        files
            .filter_map(|file| file.strip_suffix(".toml").map(str::to_owned))
            .collect()
    }

    #[test]
    fn every_surface_file_is_shipped_and_has_examples() {
        let all = files();
        let (cases, surfaces): (Vec<&str>, Vec<&str>) = all
            .iter()
            .map(String::as_str)
            .filter(|file| *file != "reports")
            .partition(|file| file.ends_with(".cases"));
        let routes = include_str!("../../tests/data/routes.jsonl");
        let mut forgotten = Vec::new();
        for name in &surfaces {
            if named(name).is_none() {
                forgotten.push(format!(
                    "`surfaces/{name}.toml` is not shipped: add \"{name}\" to `shipped!` in `src/surface/registry.rs`"
                ));
            }
            let has_cases = cases.contains(&format!("{name}.cases").as_str());
            if !has_cases && !routes.contains(&format!("\"surface\":\"{name}\"")) {
                forgotten.push(format!(
                    "`surfaces/{name}.toml` has no examples: write `surfaces/{name}.cases.toml`, or rows of `tests/data/routes.jsonl`"
                ));
            }
        }
        for name in cases.iter().filter_map(|file| file.strip_suffix(".cases")) {
            if named(name).is_none() {
                forgotten.push(format!(
                    "`surfaces/{name}.cases.toml` is about no surface: add `surfaces/{name}.toml`"
                ));
            }
        }
        assert!(forgotten.is_empty(), "\n{}", forgotten.join("\n"));
    }

    #[test]
    fn every_dialect_is_spoken_by_a_shipped_surface() {
        let surfaces: Vec<Surface> = built_in().filter_map(named).collect();
        let routes = surfaces.iter().flat_map(|surface| surface.routes());
        let mut spoken: Vec<Dialect> = routes.filter_map(|route| route.dialect).collect();
        spoken.extend(surfaces.iter().map(Surface::dialect));
        for dialect in Dialect::ALL {
            assert!(
                spoken.contains(dialect),
                "no surface has `dialect = \"{}\"`",
                dialect.as_str()
            );
        }
    }

    #[test]
    fn every_shipped_surface_compiles() {
        for name in built_in() {
            assert_eq!(named(name).unwrap().name(), name);
        }
    }
}
