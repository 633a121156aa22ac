//! Where callers of an API put their token.

use super::dialect::words;

words! {
    /// A place for the token besides `Authorization: Bearer`, as official clients use it. It
    /// is looked at only on the routes of a surface that says so, and never forwarded.
    Credential {
        /// The password of `Authorization: Basic` (RFC 7617): git and git-lfs.
        Basic => "basic",
        /// `Authorization: Bearer hf_<token>`: clients of the Hugging Face Hub refuse to send
        /// a token that does not begin so.
        HfPrefix => "hf-prefix",
        /// `x-api-key`: Anthropic.
        XApiKey => "x-api-key",
        /// `api-key`: Azure OpenAI.
        ApiKey => "api-key",
        /// `x-goog-api-key`: Gemini.
        XGoogApiKey => "x-goog-api-key",
        /// `Sec-WebSocket-Protocol: openai-insecure-api-key.<token>`: browsers, which can set
        /// no other header on a WebSocket.
        WebSocketProtocol => "websocket-protocol",
    }
}
