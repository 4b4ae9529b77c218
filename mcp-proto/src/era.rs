//! What a client says of itself with every request since 2026-07-28, and the checks that come before routing.
//!
//! The era of a client is a fact of each request: one whose `_meta` claims a protocol version is *modern* and stands for
//! itself; any other belongs to a session. The order of the checks and the status and code of each refusal are those of
//! the official servers: claim (-32602), header fields against the body (-32020), version (-32022).

use crate::exchange::Exchange;
use crate::http::Fields;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::mirror;
use crate::refusal::{self, Refusal};
use std::ops::Range;

/// The modern revision served here.
pub(crate) const MODERN: &str = "2026-07-28";

/// The start of the keys in `_meta` that belong to the protocol.
pub(crate) const PREFIX: &str = "io.modelcontextprotocol/";

/// What a modern request claims; places in the exchange's body.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Claim {
    pub(crate) capabilities: Range<usize>,
    pub(crate) client: Option<Range<usize>>,
    pub(crate) log_level: Option<Range<usize>>,
}

/// Whether a modern revision is named in the version header field, where a message can't say so itself.
pub(crate) fn is_modern(fields: &Fields) -> bool {
    fields.first("mcp-protocol-version").is_some_and(|version| version == MODERN.as_bytes())
}

/// The claim of a message; `None` when it is a legacy one.
///
/// # Errors
/// A claim that is incomplete, contradicts the header fields, or names a version that is not served.
pub(crate) fn claim(
    exchange: &Exchange,
    envelope: &Envelope<'_>,
    message: &[u8],
    over_http: bool,
) -> Result<Option<Claim>, Refusal> {
    let modern = &envelope.params.modern;
    let header = over_http && is_modern(&exchange.head.fields);
    if modern.version.is_none() {
        return match envelope.kind() {
            Kind::Request if header && is_initialize(envelope) => {
                Err(mismatch("MCP-Protocol-Version names a revision without initialize"))
            }
            Kind::Request if header => {
                Err(Refusal::invalid_params(format!("params._meta[\"{PREFIX}protocolVersion\"] is missing")))
            }
            _ => Ok(None),
        };
    }
    let invalid = |what: &str| Err(Refusal::invalid_params(format!("params._meta[\"{PREFIX}{what}")));
    let Some(version) = &modern.version_text else { return invalid("protocolVersion\"] is no string") };
    if envelope.kind() == Kind::Notification {
        return Ok(Some(Claim::default()));
    }
    let is_object = |span: &Range<usize>| message.get(span.start) == Some(&b'{');
    let Some(capabilities) = modern.client_capabilities.clone() else {
        return invalid("clientCapabilities\"] is missing");
    };
    if !is_object(&capabilities) {
        return invalid("clientCapabilities\"] is no object");
    }
    if modern.client_info.as_ref().is_some_and(|span| !is_object(span)) {
        return invalid("clientInfo\"] is no object");
    }
    if let Some(level) = modern.log_level.clone() {
        check_level(message.get(level).unwrap_or_default())?;
    }
    if over_http {
        check_fields(&exchange.head.fields, envelope, &version.value)?;
    }
    if version.value != MODERN {
        return Err(Refusal::unsupported_version(&version.value));
    }
    Ok(Some(Claim { capabilities, client: modern.client_info.clone(), log_level: modern.log_level.clone() }))
}

fn is_initialize(envelope: &Envelope<'_>) -> bool {
    envelope.method.as_ref().is_some_and(|method| method.value == "initialize")
}

/// RFC 5424 severities, as logging has them (server/utilities/logging).
fn check_level(level: &[u8]) -> Result<(), Refusal> {
    const LEVELS: [&[u8]; 8] = [
        b"\"debug\"",
        b"\"info\"",
        b"\"notice\"",
        b"\"warning\"",
        b"\"error\"",
        b"\"critical\"",
        b"\"alert\"",
        b"\"emergency\"",
    ];
    match LEVELS.contains(&level) {
        true => Ok(()),
        false => Err(Refusal::invalid_params(format!("params._meta[\"{PREFIX}logLevel\"] is no log level"))),
    }
}

/// What the header fields must repeat of the body (basic/transports/streamable-http, Server Validation).
fn check_fields(fields: &Fields, envelope: &Envelope<'_>, version: &str) -> Result<(), Refusal> {
    check_field(fields, "mcp-protocol-version", "MCP-Protocol-Version", version, false)?;
    let method = envelope.method.as_ref().map_or("", |method| &method.value);
    check_field(fields, "mcp-method", "Mcp-Method", method, false)?;
    match name(envelope) {
        Some(name) => check_field(fields, "mcp-name", "Mcp-Name", name, true),
        None => Ok(()),
    }
}

/// What `Mcp-Name` says of a request: the tool, prompt, resource or task it is about.
pub(crate) fn name<'a>(envelope: &'a Envelope<'_>) -> Option<&'a str> {
    let params = &envelope.params;
    let text = match &*envelope.method.as_ref()?.value {
        "tools/call" | "prompts/get" => &params.name,
        "resources/read" => &params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => &params.task_id,
        _ => return None,
    };
    text.as_ref().map(|text| &*text.value)
}

fn check_field(
    fields: &Fields,
    field: &str,
    shown: &'static str,
    expected: &str,
    encoded: bool,
) -> Result<(), Refusal> {
    let mut values = fields.values(field);
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(mismatch(format!("the {shown} header field is missing"))),
        _ => return Err(mismatch(format!("the {shown} header field occurs twice"))),
    };
    let same = match encoded {
        true => mirror::decode(value).is_some_and(|text| text == expected),
        false => value == expected.as_bytes(),
    };
    match same {
        true => Ok(()),
        false => {
            Err(mismatch(format!("the {shown} header field differs from the body, which says {expected:?}")))
        }
    }
}

/// The header fields and the body contradict each other.
pub(crate) fn mismatch(words: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal { status: 400, code: refusal::HEADER_MISMATCH, message: words.into(), data: None, id: None }
}
