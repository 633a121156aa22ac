//! The surfaces that Spanner ships.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::Surface;

/// The surface of this name, if it is one that Spanner ships: one of [`built_in`].
#[must_use]
pub fn named(name: &str) -> Option<Surface> {
    BUILT_IN.get(name).map(|surface| Surface::clone(surface))
}

/// The names of the surfaces that Spanner ships, sorted.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    BUILT_IN.keys().copied()
}

/// The OpenAI API, as OpenAI and most gateways serve it under `/v1`.
///
/// Routes whose model cannot be told from the request (stored responses, files, batches,
/// jobs) are known and refused.
#[must_use]
pub fn openai() -> Surface {
    read("openai")
}

/// The Open Inference Protocol v2 (KServe, Triton), REST and gRPC: `oip` and `oip-grpc` as
/// one.
///
/// Each message of `ModelStreamInfer` is decided by the model that it names.
#[must_use]
pub fn open_inference() -> Surface {
    read("open-inference")
}

#[expect(
    clippy::expect_used,
    reason = "this crate's tests read every name that it uses"
)]
fn read(name: &str) -> Surface {
    named(name).expect("a surface of this name is there")
}

/// Read when they are first asked for.
static BUILT_IN: LazyLock<BTreeMap<&'static str, LazyLock<Surface>>> = LazyLock::new(|| {
    BTreeMap::from([
        ("open-inference", LazyLock::new(joined as fn() -> Surface)),
        (
            "anthropic",
            LazyLock::new(|| embedded("anthropic", include_str!("../../surfaces/anthropic.toml"))),
        ),
        (
            "azure-openai",
            LazyLock::new(|| {
                embedded(
                    "azure-openai",
                    include_str!("../../surfaces/azure-openai.toml"),
                )
            }),
        ),
        (
            "bedrock-runtime",
            LazyLock::new(|| {
                embedded(
                    "bedrock-runtime",
                    include_str!("../../surfaces/bedrock-runtime.toml"),
                )
            }),
        ),
        (
            "cohere",
            LazyLock::new(|| embedded("cohere", include_str!("../../surfaces/cohere.toml"))),
        ),
        (
            "gemini",
            LazyLock::new(|| embedded("gemini", include_str!("../../surfaces/gemini.toml"))),
        ),
        (
            "generic",
            LazyLock::new(|| embedded("generic", include_str!("../../surfaces/generic.toml"))),
        ),
        (
            "git-http",
            LazyLock::new(|| embedded("git-http", include_str!("../../surfaces/git-http.toml"))),
        ),
        (
            "hf-hub",
            LazyLock::new(|| embedded("hf-hub", include_str!("../../surfaces/hf-hub.toml"))),
        ),
        (
            "hf-inference-endpoints",
            LazyLock::new(|| {
                embedded(
                    "hf-inference-endpoints",
                    include_str!("../../surfaces/hf-inference-endpoints.toml"),
                )
            }),
        ),
        (
            "hf-router",
            LazyLock::new(|| embedded("hf-router", include_str!("../../surfaces/hf-router.toml"))),
        ),
        (
            "hf-xet-cas",
            LazyLock::new(|| {
                embedded("hf-xet-cas", include_str!("../../surfaces/hf-xet-cas.toml"))
            }),
        ),
        (
            "kserve-openai",
            LazyLock::new(|| {
                embedded(
                    "kserve-openai",
                    include_str!("../../surfaces/kserve-openai.toml"),
                )
            }),
        ),
        (
            "kserve-v1",
            LazyLock::new(|| embedded("kserve-v1", include_str!("../../surfaces/kserve-v1.toml"))),
        ),
        (
            "litellm",
            LazyLock::new(|| embedded("litellm", include_str!("../../surfaces/litellm.toml"))),
        ),
        (
            "llama.cpp",
            LazyLock::new(|| embedded("llama.cpp", include_str!("../../surfaces/llama.cpp.toml"))),
        ),
        (
            "mistral",
            LazyLock::new(|| embedded("mistral", include_str!("../../surfaces/mistral.toml"))),
        ),
        (
            "mlflow",
            LazyLock::new(|| embedded("mlflow", include_str!("../../surfaces/mlflow.toml"))),
        ),
        (
            "mlflow-gateway",
            LazyLock::new(|| {
                embedded(
                    "mlflow-gateway",
                    include_str!("../../surfaces/mlflow-gateway.toml"),
                )
            }),
        ),
        (
            "mlflow-serving",
            LazyLock::new(|| {
                embedded(
                    "mlflow-serving",
                    include_str!("../../surfaces/mlflow-serving.toml"),
                )
            }),
        ),
        (
            "oip",
            LazyLock::new(|| embedded("oip", include_str!("../../surfaces/oip.toml"))),
        ),
        (
            "oip-grpc",
            LazyLock::new(|| embedded("oip-grpc", include_str!("../../surfaces/oip-grpc.toml"))),
        ),
        (
            "ollama",
            LazyLock::new(|| embedded("ollama", include_str!("../../surfaces/ollama.toml"))),
        ),
        (
            "openai",
            LazyLock::new(|| embedded("openai", include_str!("../../surfaces/openai.toml"))),
        ),
        (
            "sagemaker-container",
            LazyLock::new(|| {
                embedded(
                    "sagemaker-container",
                    include_str!("../../surfaces/sagemaker-container.toml"),
                )
            }),
        ),
        (
            "sagemaker-runtime",
            LazyLock::new(|| {
                embedded(
                    "sagemaker-runtime",
                    include_str!("../../surfaces/sagemaker-runtime.toml"),
                )
            }),
        ),
        (
            "sglang",
            LazyLock::new(|| embedded("sglang", include_str!("../../surfaces/sglang.toml"))),
        ),
        (
            "tei",
            LazyLock::new(|| embedded("tei", include_str!("../../surfaces/tei.toml"))),
        ),
        (
            "tei-grpc",
            LazyLock::new(|| embedded("tei-grpc", include_str!("../../surfaces/tei-grpc.toml"))),
        ),
        (
            "tensorflow-serving",
            LazyLock::new(|| {
                embedded(
                    "tensorflow-serving",
                    include_str!("../../surfaces/tensorflow-serving.toml"),
                )
            }),
        ),
        (
            "tensorflow-serving-grpc",
            LazyLock::new(|| {
                embedded(
                    "tensorflow-serving-grpc",
                    include_str!("../../surfaces/tensorflow-serving-grpc.toml"),
                )
            }),
        ),
        (
            "tgi",
            LazyLock::new(|| embedded("tgi", include_str!("../../surfaces/tgi.toml"))),
        ),
        (
            "torchserve-grpc",
            LazyLock::new(|| {
                embedded(
                    "torchserve-grpc",
                    include_str!("../../surfaces/torchserve-grpc.toml"),
                )
            }),
        ),
        (
            "torchserve-inference",
            LazyLock::new(|| {
                embedded(
                    "torchserve-inference",
                    include_str!("../../surfaces/torchserve-inference.toml"),
                )
            }),
        ),
        (
            "torchserve-management",
            LazyLock::new(|| {
                embedded(
                    "torchserve-management",
                    include_str!("../../surfaces/torchserve-management.toml"),
                )
            }),
        ),
        (
            "triton",
            LazyLock::new(|| embedded("triton", include_str!("../../surfaces/triton.toml"))),
        ),
        (
            "triton-openai",
            LazyLock::new(|| {
                embedded(
                    "triton-openai",
                    include_str!("../../surfaces/triton-openai.toml"),
                )
            }),
        ),
        (
            "vertex-ai",
            LazyLock::new(|| embedded("vertex-ai", include_str!("../../surfaces/vertex-ai.toml"))),
        ),
        (
            "vllm",
            LazyLock::new(|| embedded("vllm", include_str!("../../surfaces/vllm.toml"))),
        ),
        (
            "vllm-grpc",
            LazyLock::new(|| embedded("vllm-grpc", include_str!("../../surfaces/vllm-grpc.toml"))),
        ),
    ])
});

fn joined() -> Surface {
    Surface::join("open-inference", &read("oip"), &[&read("oip-grpc")])
}

#[expect(
    clippy::expect_used,
    reason = "the embedded files are read by this crate's tests"
)]
fn embedded(name: &str, text: &str) -> Surface {
    Surface::from_toml(name, text).expect("an embedded surface is well-formed")
}
