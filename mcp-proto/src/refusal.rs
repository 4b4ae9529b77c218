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

/// MCP 2026-07-28, basic, Error Codes: header fields and body contradict each other.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// The same: the request needs a client capability that was not declared.
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// The same: the version is not served.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
/// MCP 2025-11-25, URL elicitation: the request needs the user to visit a page first.
pub(crate) const URL_ELICITATION_REQUIRED: i64 = -32042;

/// What error codes of a legacy target are towards a modern client: those it must not see have a meaning of their own
/// there, or none (basic, Error Codes).
pub(crate) const TO_MODERN: &[(i64, i64)] = &to_modern();

/// All that JSON-RPC leaves to implementations: each legacy server means something else by them.
const fn to_modern() -> [(i64, i64); 100] {
    let mut codes = [(RESOURCE_NOT_FOUND, INVALID_PARAMS); 100];
    let mut code = -32099;
    let mut rest = codes.as_mut_slice();
    while let Some((first, others)) = rest.split_first_mut() {
        if code != RESOURCE_NOT_FOUND {
            *first = (code, INTERNAL_ERROR);
        }
        code += 1;
        rest = others;
    }
    codes
}

/// And the other way round: header fields and versions are between the gateway and the target.
pub(crate) const TO_LEGACY: &[(i64, i64)] =
    &[(HEADER_MISMATCH, INTERNAL_ERROR), (UNSUPPORTED_VERSION, INTERNAL_ERROR)];

/// The same for `resources/read`.
pub(crate) const READ_TO_LEGACY: &[(i64, i64)] = &[
    (HEADER_MISMATCH, INTERNAL_ERROR),
    (UNSUPPORTED_VERSION, INTERNAL_ERROR),
    (INVALID_PARAMS, RESOURCE_NOT_FOUND),
];

/// The status that goes with an error code towards a modern client (basic/transports/streamable-http; where the text
/// fixes none, as the official servers have it).
pub(crate) fn status(code: i64) -> u16 {
    match code {
        METHOD_NOT_FOUND => 404,
        INVALID_REQUEST | INVALID_PARAMS | -32700 | UNSUPPORTED_VERSION..=HEADER_MISMATCH => 400,
        _ => 200,
    }
}

/// A request the gateway does not serve: the client's fault, or the gateway's own limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: i64,
    pub(crate) message: Cow<'static, str>,
    /// `error.data`, raw JSON.
    pub(crate) data: Option<String>,
    /// The id to answer, when it is known before the message is.
    pub(crate) id: Option<String>,
}

impl Refusal {
    pub(crate) fn http(status: u16, message: &'static str) -> Self {
        Self { status, code: INVALID_REQUEST, message: message.into(), data: None, id: None }
    }

    pub(crate) fn invalid_request(message: &'static str) -> Self {
        Self::http(400, message)
    }

    pub(crate) fn invalid(invalid: &Invalid) -> Self {
        Self { id: invalid.id.clone(), code: invalid.code, ..Self::http(400, invalid.reason) }
    }

    pub(crate) fn session_missing() -> Self {
        Self::http(400, "this needs the Mcp-Session-Id that initialize gave")
    }

    /// 404 tells a client to initialize anew (MCP, Streamable HTTP, Session Management).
    pub(crate) fn session_unknown() -> Self {
        Self { code: SESSION_NOT_FOUND, ..Self::http(404, "session not found") }
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
        Self { code: INTERNAL_ERROR, ..Self::http(503, "the gateway has too many sessions") }
    }

    pub(crate) fn invalid_params(message: String) -> Self {
        Self { status: 400, code: INVALID_PARAMS, message: message.into(), data: None, id: None }
    }

    /// Names what is served instead (basic/versioning, Protocol Version Negotiation).
    pub(crate) fn unsupported_version(requested: &str) -> Self {
        let mut data = format!("{{\"supported\":[\"{}\"],\"requested\":", crate::era::MODERN).into_bytes();
        quote(requested, &mut data);
        data.push(b'}');
        Self {
            code: UNSUPPORTED_VERSION,
            data: String::from_utf8(data).ok(),
            ..Self::http(400, "this protocol version is not served")
        }
    }
}

/// A JSON-RPC error response; `id` is raw JSON.
pub(crate) fn error(id: &[u8], code: i64, message: &str, target: Option<&str>) -> Vec<u8> {
    let data = target.map(|target| {
        let mut data = b"{\"target\":".to_vec();
        quote(target, &mut data);
        data.push(b'}');
        data
    });
    error_with(id, code, message, data.as_deref())
}

/// The same with any `data`, raw JSON.
pub(crate) fn error_with(id: &[u8], code: i64, message: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(120 + message.len());
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"error\":{\"code\":");
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(b",\"message\":");
    quote(message, &mut out);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
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
pub(crate) fn tool_failure(id: &[u8], message: &str, modern: bool) -> Vec<u8> {
    let mut body = b"{\"content\":[{\"type\":\"text\",\"text\":".to_vec();
    quote(message, &mut body);
    body.extend_from_slice(b"}],\"isError\":true");
    if modern {
        body.extend_from_slice(b",\"resultType\":\"complete\"");
    }
    body.push(b'}');
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
            tool_failure(b"7", "down", false),
            br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"down"}],"isError":true}}"#
        );
    }
}
