//! How APIs write their errors.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The one of this word in a surface's file.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The word in a surface's file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// All words, for an error.
            pub(super) fn all() -> String {
                let words = [$($word,)*];
                words.map(|word| format!("`{word}`")).join(", ")
            }
        }
    };
}
pub(super) use words;

words! {
    /// How an API writes its errors, so that its official clients show the reason.
    Dialect {
        /// `{"error": {"message", "type", "param", "code"}}`: OpenAI, vLLM and most gateways.
        OpenAi => "openai",
        /// `{"error": "…"}` with `X-Error-Code` and `X-Error-Message`, which
        /// `huggingface_hub` shows.
        HuggingFace => "hugging-face",
        /// `{"message", "type", "param", "code"}`, within `error` where the status is one that a
        /// provider may have sent: what the clients of `OpenAI` and of Hugging Face both show.
        HuggingFaceRouter => "hugging-face-router",
        /// As `hugging-face`, for creating a repository: a refusal by permissions is 404 in place of
        /// 403, which `create_repo(exist_ok=True)` takes for "it may exist already" and
        /// answers with an error of its own.
        HuggingFaceCreate => "hugging-face-create",
        /// `{"error": "…", "error_type": "…"}`: Text Generation Inference, Text Embeddings
        /// Inference.
        Tgi => "tgi",
        /// `{"error": "…"}`: the Open Inference Protocol, TensorFlow Serving, Ollama.
        OpenInference => "open-inference",
        /// `{"code", "type", "message"}`: TorchServe.
        TorchServe => "torchserve",
        /// `{"type": "error", "error": {"type", "message"}}`.
        Anthropic => "anthropic",
        /// `{"message": "…"}`.
        Cohere => "cohere",
        /// `{"error": {"code", "message", "status"}}`: Gemini, Vertex AI.
        Google => "google",
        /// `{"message": "…"}` with `x-amzn-errortype`: Bedrock, SageMaker.
        Aws => "aws",
        /// `{"error_code", "message"}`.
        Mlflow => "mlflow",
        /// Plain text, which git shows its user.
        Git => "git",
        /// `application/problem+json` (RFC 9457).
        Problem => "problem",
    }
}
