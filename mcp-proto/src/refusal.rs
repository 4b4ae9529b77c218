//! Every way the gateway says no to a client: status, JSON-RPC code and words, at one place.

use crate::jsonrpc::envelope::Invalid;
use crate::jsonrpc::splice::quote;
use std::borrow::Cow;

/// JSON-RPC 2.0, section 5.1.
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INVALID_PARAMS: i64 = -32602;
pub(crate) const INTERNAL_ERROR: i64 = -32603;
/// What the SDKs say for a session that is gone.
pub(crate) const SESSION_NOT_FOUND: i64 = -32001;
/// MCP up to 2025-11-25, resources: no such resource.
pub(crate) const RESOURCE_NOT_FOUND: i64 = -32002;

/// A request the gateway does not serve: the client's fault, or the gateway's own limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: i64,
    pub(crate) message: Cow<'static, str>,
    /// The id to answer, when it is known before the message is.
    pub(crate) id: Option<String>,
}

impl Refusal {
    pub(crate) fn http(status: u16, message: &'static str) -> Self {
        Self { status, code: INVALID_REQUEST, message: message.into(), id: None }
    }

    pub(crate) fn invalid_request(message: &'static str) -> Self {
        Self::http(400, message)
    }

    pub(crate) fn invalid(invalid: &Invalid) -> Self {
        Self { status: 400, code: invalid.code, message: invalid.reason.into(), id: invalid.id.clone() }
    }

    pub(crate) fn session_missing() -> Self {
        Self::http(400, "this needs the Mcp-Session-Id that initialize gave")
    }

    /// 404 tells a client to initialize anew (MCP, Streamable HTTP, Session Management).
    pub(crate) fn session_unknown() -> Self {
        Self { status: 404, code: SESSION_NOT_FOUND, message: "session not found".into(), id: None }
    }

    /// What serves it is full, or was lost a moment ago: the client may try again.
    pub(crate) fn busy() -> Self {
        Self { code: INTERNAL_ERROR, ..Self::http(503, "what serves this request can't take it now") }
    }

    /// It was sent to where it is to be served, and is not served there.
    pub(crate) fn misplaced() -> Self {
        Self { code: INTERNAL_ERROR, ..Self::http(500, "what serves this request is not where it should be") }
    }

    pub(crate) fn overloaded() -> Self {
        Self {
            status: 503,
            code: INTERNAL_ERROR,
            message: "the gateway has too many sessions".into(),
            id: None,
        }
    }
}

/// A JSON-RPC error response; `id` is raw JSON.
pub(crate) fn error(id: &[u8], code: i64, message: &str, target: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(120 + message.len());
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"error\":{\"code\":");
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(b",\"message\":");
    quote(message, &mut out);
    if let Some(target) = target {
        out.extend_from_slice(b",\"data\":{\"target\":");
        quote(target, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    out
}

/// A JSON-RPC response with `result`, raw JSON.
pub(crate) fn result(id: &[u8], result: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(40 + id.len() + result.len());
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result);
    out.push(b'}');
    out
}

/// The result of a tool call that could not be made: a model reads it and can act on it.
pub(crate) fn tool_failure(id: &[u8], message: &str) -> Vec<u8> {
    let mut body = b"{\"content\":[{\"type\":\"text\",\"text\":".to_vec();
    quote(message, &mut body);
    body.extend_from_slice(b"}],\"isError\":true}");
    result(id, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_json() {
        assert_eq!(
            error(b"\"a\"", INVALID_PARAMS, "no \"x\"", Some("t")),
            br#"{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"no \"x\"","data":{"target":"t"}}}"#
        );
        assert_eq!(
            tool_failure(b"7", "down"),
            br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"down"}],"isError":true}}"#
        );
    }
}
