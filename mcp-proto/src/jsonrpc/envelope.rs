//! What the gateway must know of one message, with the places where it stands.
//!
//! A message is routed by what is read here and forwarded as the bytes it came as, so there must be no second way to
//! read it: duplicate keys (in any spelling), positional arrays and undecodable names are refused, not interpreted.

use super::depth;
use super::walk::{self, Shape};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// JSON-RPC 2.0, 5.1: the text is no JSON.
const PARSE_ERROR: i64 = -32700;
/// JSON-RPC 2.0, 5.1: the JSON is no request object.
const INVALID_REQUEST: i64 = -32600;

/// A body of one message, or of several (MCP 2025-03-26 only).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body<'a> {
    /// One message, not yet looked into.
    Message(&'a [u8]),
    /// Where the messages of a batch stand; at least one.
    Batch(Vec<Range<usize>>),
}

/// Tells one message from a batch of up to `most`, nested at most `depth` deep each.
///
/// # Errors
/// A batch that is empty, too long, too deep or no JSON. A single message is not looked into.
pub fn body(bytes: &[u8], depth: usize, most: usize) -> Result<Body<'_>, Invalid> {
    if first_byte(bytes) != Some(b'[') {
        return Ok(Body::Message(bytes));
    }
    let text = text(bytes, depth.saturating_add(1))?;
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Invalid::json())?;
    if elements.is_empty() {
        return Err(Invalid::request("an empty batch"));
    }
    if elements.len() > most {
        return Err(Invalid::request("too many messages in one batch"));
    }
    let span = |element: &&RawValue| {
        let start = element.get().as_ptr().addr() - text.as_ptr().addr();
        start..start + element.get().len()
    };
    Ok(Body::Batch(elements.iter().map(span).collect()))
}

/// One message. Spans are places in the body it was parsed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope<'a> {
    /// Its id.
    pub id: Id<'a>,
    /// Where the id stands.
    pub id_span: Option<Range<usize>>,
    /// Its method.
    pub method: Option<Text<'a>>,
    /// Its parameters.
    pub params: Params<'a>,
    /// Where the result stands.
    pub result: Option<Range<usize>>,
    /// Its error.
    pub error: Option<ErrorObject>,
}

/// The id of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Id<'a> {
    /// There is none.
    Absent,
    /// `null`.
    Null,
    /// A string or number in its own spelling, which is also how it must be answered.
    Raw(&'a str),
}

/// A string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Text<'a> {
    /// Where it stands, with its quotes.
    pub span: Range<usize>,
    /// What it says.
    pub value: Cow<'a, str>,
}

/// The parameters that matter for routing. One of another type than expected is `None`: the target may judge it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params<'a> {
    /// Where the parameters stand.
    pub span: Option<Range<usize>>,
    /// `name` of a tool or prompt.
    pub name: Option<Text<'a>>,
    /// `uri` of a resource.
    pub uri: Option<Text<'a>>,
    /// `cursor` of a list.
    pub cursor: Option<Text<'a>>,
    /// `level` of logging.
    pub level: Option<Text<'a>>,
    /// `protocolVersion` of `initialize`.
    pub protocol_version: Option<Text<'a>>,
    /// `logger` of a log message.
    pub logger: Option<Text<'a>>,
    /// `ref` of a completion.
    pub reference: Option<Reference<'a>>,
    /// `requestId` of a cancellation, any value.
    pub request_id: Option<Range<usize>>,
    /// `progressToken` of a progress notification, any value.
    pub progress_token: Option<Range<usize>>,
    /// `_meta.progressToken` of a request, any value.
    pub meta_progress_token: Option<Range<usize>>,
    /// `capabilities` of `initialize`, any value.
    pub capabilities: Option<Range<usize>>,
    /// `clientInfo` of `initialize`, any value.
    pub client_info: Option<Range<usize>>,
    /// `arguments` of a tool or prompt, any value.
    pub arguments: Option<Range<usize>>,
    /// `task` of a request that asks to become one (2025-11-25), any value.
    pub task: Option<Range<usize>>,
    /// `taskId` of a message about a task.
    pub task_id: Option<Text<'a>>,
    /// `requestState` of a request that is repeated with answers, any value.
    pub request_state: Option<Range<usize>>,
    /// `inputResponses` of such a request, any value.
    pub input_responses: Option<Range<usize>>,
    /// `notifications` of `subscriptions/listen`, any value.
    pub notifications: Option<Range<usize>>,
    /// `_meta`, any value.
    pub meta: Option<Range<usize>>,
    /// What `_meta` says of the protocol.
    pub modern: Modern<'a>,
    /// `_meta["io.modelcontextprotocol/related-task"].taskId`.
    pub related_task: Option<Text<'a>>,
}

/// The members of `_meta` that stand for a handshake since 2026-07-28 (basic, "`_meta`"); their keys begin with
/// `io.modelcontextprotocol/`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Modern<'a> {
    /// `protocolVersion`, any value.
    pub version: Option<Range<usize>>,
    /// `protocolVersion`, if it is a string.
    pub version_text: Option<Text<'a>>,
    /// `clientCapabilities`, any value.
    pub client_capabilities: Option<Range<usize>>,
    /// `clientInfo`, any value.
    pub client_info: Option<Range<usize>>,
    /// `logLevel`, any value.
    pub log_level: Option<Range<usize>>,
    /// `subscriptionId`, any value.
    pub subscription_id: Option<Range<usize>>,
}

/// What a completion is for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reference<'a> {
    /// `name` of a prompt.
    pub name: Option<Text<'a>>,
    /// `uri` of a resource template.
    pub uri: Option<Text<'a>>,
}

/// The error of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ErrorObject {
    /// Where it stands.
    pub span: Range<usize>,
    /// Its code, if it is an integer.
    pub code: Option<i64>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Is one.
    Response,
}

/// The message can't be taken. The sender's fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    /// The JSON-RPC error code to answer with: -32700 or -32600.
    pub code: i64,
    /// What is wrong.
    pub reason: &'static str,
    /// The id to answer to, in its own spelling, if it could be found.
    pub id: Option<String>,
}

impl Invalid {
    fn json() -> Self {
        Self { code: PARSE_ERROR, reason: "not valid JSON", id: None }
    }

    fn request(reason: &'static str) -> Self {
        Self { code: INVALID_REQUEST, reason, id: None }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Invalid {}

impl<'a> Envelope<'a> {
    /// Reads one message, nested at most `depth` deep.
    ///
    /// # Errors
    /// When it is no JSON, no object, or no JSON-RPC 2.0 message that everyone would read alike.
    pub fn parse(body: &'a [u8], depth: usize) -> Result<Self, Invalid> {
        let text = text(body, depth)?;
        let mut spans = Spans::default();
        spans.read(text)?;
        spans.envelope_in(text)
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (&self.method, &self.id) {
            (None, _) => Kind::Response,
            (Some(_), Id::Absent) => Kind::Notification,
            (Some(_), _) => Kind::Request,
        }
    }
}

fn first_byte(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// The body as text: serde_json alone would take invalid UTF-8 in strings that it skips.
fn text(body: &[u8], depth: usize) -> Result<&str, Invalid> {
    let text = str::from_utf8(body).map_err(|_| Invalid { reason: "not valid UTF-8", ..Invalid::json() })?;
    if depth < body.len() && depth::exceeds(body, depth) {
        return Err(Invalid::request("nested too deep"));
    }
    Ok(text)
}

/// The members that are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    Message,
    Unread,
    JsonRpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Code,
    Name,
    Uri,
    Cursor,
    Level,
    ProtocolVersion,
    Logger,
    Reference,
    ReferenceName,
    ReferenceUri,
    RequestId,
    ProgressToken,
    Capabilities,
    ClientInfo,
    Arguments,
    Task,
    TaskId,
    RequestState,
    InputResponses,
    Notifications,
    Meta,
    MetaProgressToken,
    ModernVersion,
    ModernCapabilities,
    ModernClientInfo,
    ModernLogLevel,
    SubscriptionId,
    RelatedTask,
    RelatedTaskId,
}

impl Field {
    const COUNT: usize = Self::RelatedTaskId as usize + 1;

    /// A member of `params._meta`.
    fn of_meta(key: &[u8]) -> Self {
        match key.strip_prefix(b"io.modelcontextprotocol/") {
            None if key == b"progressToken" => Self::MetaProgressToken,
            Some(b"protocolVersion") => Self::ModernVersion,
            Some(b"clientCapabilities") => Self::ModernCapabilities,
            Some(b"clientInfo") => Self::ModernClientInfo,
            Some(b"logLevel") => Self::ModernLogLevel,
            Some(b"subscriptionId") => Self::SubscriptionId,
            Some(b"related-task") => Self::RelatedTask,
            _ => Self::Unread,
        }
    }
}

/// Where the members that are read stand in a message.
struct Spans {
    /// Empty for those that are absent: no value is.
    spans: [Range<usize>; Field::COUNT],
    duplicate: bool,
}

impl Default for Spans {
    fn default() -> Self {
        Self { spans: [const { 0..0 }; Field::COUNT], duplicate: false }
    }
}

impl Shape for Spans {
    type Field = Field;

    fn member(&mut self, parent: Field, key: &[u8]) -> Field {
        match (parent, key) {
            (Field::Message, b"jsonrpc") => Field::JsonRpc,
            (Field::Message, b"id") => Field::Id,
            (Field::Message, b"method") => Field::Method,
            (Field::Message, b"params") => Field::Params,
            (Field::Message, b"result") => Field::Result,
            (Field::Message, b"error") => Field::Error,
            (Field::Error, b"code") => Field::Code,
            (Field::Params, b"name") => Field::Name,
            (Field::Params, b"uri") => Field::Uri,
            (Field::Params, b"cursor") => Field::Cursor,
            (Field::Params, b"level") => Field::Level,
            (Field::Params, b"protocolVersion") => Field::ProtocolVersion,
            (Field::Params, b"logger") => Field::Logger,
            (Field::Params, b"ref") => Field::Reference,
            (Field::Reference, b"name") => Field::ReferenceName,
            (Field::Reference, b"uri") => Field::ReferenceUri,
            (Field::Params, b"requestId") => Field::RequestId,
            (Field::Params, b"progressToken") => Field::ProgressToken,
            (Field::Params, b"capabilities") => Field::Capabilities,
            (Field::Params, b"clientInfo") => Field::ClientInfo,
            (Field::Params, b"arguments") => Field::Arguments,
            (Field::Params, b"task") => Field::Task,
            (Field::Params, b"taskId") => Field::TaskId,
            (Field::Params, b"requestState") => Field::RequestState,
            (Field::Params, b"inputResponses") => Field::InputResponses,
            (Field::Params, b"notifications") => Field::Notifications,
            (Field::Params, b"_meta") => Field::Meta,
            (Field::Meta, key) => Field::of_meta(key),
            (Field::RelatedTask, b"taskId") => Field::RelatedTaskId,
            _ => Field::Unread,
        }
    }

    fn element(&mut self, _: Field) -> Field {
        Field::Unread
    }

    fn opens(&self, field: Field, bracket: u8) -> bool {
        let outer = matches!(field, Field::Message | Field::Params | Field::Error);
        let inner = matches!(field, Field::Reference | Field::Meta | Field::RelatedTask);
        (outer || inner) && bracket == b'{'
    }

    fn found(&mut self, field: Field, _: &str, span: Range<usize>) {
        if field == Field::Unread {
            return;
        }
        if let Some(slot) = self.spans.get_mut(field as usize) {
            self.duplicate |= !std::mem::replace(slot, span).is_empty();
        }
    }
}

type Checked<T> = Result<T, &'static str>;

impl Spans {
    /// Finds what is read of `text`; nothing was found before.
    fn read(&mut self, text: &str) -> Result<(), Invalid> {
        if first_byte(text.as_bytes()) != Some(b'{') {
            return Err(match walk::is_json(text) {
                true => Invalid::request("a message is an object"),
                false => Invalid::json(),
            });
        }
        walk::walk(text, Field::Message, self).map_err(|walk::Malformed| Invalid::json())
    }

    fn envelope_in<'a>(&self, text: &'a str) -> Result<Envelope<'a>, Invalid> {
        let (id, id_span) = self.id(text)?;
        let refused = |reason| {
            let id = if let Id::Raw(id) = id { Some(id.to_owned()) } else { None };
            Invalid { id, ..Invalid::request(reason) }
        };
        let method = self.method(text, id).map_err(refused)?;
        let params = self.params(text).map_err(refused)?;
        Ok(Envelope {
            id,
            id_span,
            method,
            params,
            result: self.span(Field::Result),
            error: self.error(text),
        })
    }

    fn span(&self, field: Field) -> Option<Range<usize>> {
        self.spans.get(field as usize).filter(|span| !span.is_empty()).cloned()
    }

    fn raw<'a>(&self, text: &'a str, field: Field) -> Option<&'a str> {
        text.get(self.span(field)?)
    }

    fn id<'a>(&self, text: &'a str) -> Result<(Id<'a>, Option<Range<usize>>), Invalid> {
        let Some(raw) = self.raw(text, Field::Id) else { return Ok((Id::Absent, None)) };
        let id = match raw.as_bytes().first() {
            Some(b'"') if self.text(text, Field::Id).is_ok() => Id::Raw(raw),
            Some(b'-' | b'0'..=b'9') => Id::Raw(raw),
            Some(b'n') => Id::Null,
            _ => return Err(Invalid::request("the id is a string or number")),
        };
        Ok((id, self.span(Field::Id)))
    }

    /// A string; `None` when it is absent or of another type.
    fn text<'a>(&self, text: &'a str, field: Field) -> Checked<Option<Text<'a>>> {
        let (Some(span), Some(raw)) = (self.span(field), self.raw(text, field)) else { return Ok(None) };
        if !raw.starts_with('"') {
            return Ok(None);
        }
        let value = decode(raw).ok_or("a string with a lone surrogate")?;
        Ok(Some(Text { span, value }))
    }

    /// The method of a message that is one.
    fn method<'a>(&self, text: &'a str, id: Id<'a>) -> Checked<Option<Text<'a>>> {
        if self.duplicate {
            return Err("a member occurs twice");
        }
        if self.text(text, Field::JsonRpc)?.is_none_or(|version| version.value != "2.0") {
            return Err("jsonrpc must be \"2.0\"");
        }
        let method = self.text(text, Field::Method)?;
        match (&method, self.span(Field::Result), self.span(Field::Error)) {
            (None, ..) if self.span(Field::Method).is_some() => Err("the method is a string"),
            (None, None, None) => Err("neither a method nor a result nor an error"),
            (_, Some(_), Some(_)) => Err("both a result and an error"),
            (Some(_), Some(_), None) | (Some(_), None, Some(_)) => Err("both a method and an answer"),
            (None, Some(_), None) if !matches!(id, Id::Raw(_)) => Err("a result without an id"),
            (Some(_), None, None) if id == Id::Null => Err("the id of a request is not null"),
            _ => Ok(method),
        }
    }

    fn error(&self, text: &str) -> Option<ErrorObject> {
        let span = self.span(Field::Error)?;
        Some(ErrorObject { span, code: self.raw(text, Field::Code).and_then(|code| code.parse().ok()) })
    }

    fn params<'a>(&self, text: &'a str) -> Checked<Params<'a>> {
        if self.raw(text, Field::Params).is_some_and(|params| !params.starts_with('{')) {
            return Err("params is an object");
        }
        Ok(Params {
            span: self.span(Field::Params),
            name: self.text(text, Field::Name)?,
            uri: self.text(text, Field::Uri)?,
            cursor: self.text(text, Field::Cursor)?,
            level: self.text(text, Field::Level)?,
            protocol_version: self.text(text, Field::ProtocolVersion)?,
            logger: self.text(text, Field::Logger)?,
            reference: self.reference(text)?,
            request_id: self.span(Field::RequestId),
            progress_token: self.span(Field::ProgressToken),
            meta_progress_token: self.span(Field::MetaProgressToken),
            capabilities: self.span(Field::Capabilities),
            client_info: self.span(Field::ClientInfo),
            arguments: self.span(Field::Arguments),
            task: self.span(Field::Task),
            task_id: self.text(text, Field::TaskId)?,
            request_state: self.span(Field::RequestState),
            input_responses: self.span(Field::InputResponses),
            notifications: self.span(Field::Notifications),
            meta: self.span(Field::Meta),
            modern: self.modern(text)?,
            related_task: self.text(text, Field::RelatedTaskId)?,
        })
    }

    fn modern<'a>(&self, text: &'a str) -> Checked<Modern<'a>> {
        Ok(Modern {
            version: self.span(Field::ModernVersion),
            version_text: self.text(text, Field::ModernVersion)?,
            client_capabilities: self.span(Field::ModernCapabilities),
            client_info: self.span(Field::ModernClientInfo),
            log_level: self.span(Field::ModernLogLevel),
            subscription_id: self.span(Field::SubscriptionId),
        })
    }

    fn reference<'a>(&self, text: &'a str) -> Checked<Option<Reference<'a>>> {
        if self.raw(text, Field::Reference).is_none_or(|reference| !reference.starts_with('{')) {
            return Ok(None);
        }
        let name = self.text(text, Field::ReferenceName)?;
        Ok(Some(Reference { name, uri: self.text(text, Field::ReferenceUri)? }))
    }
}

/// What the string literal `raw` says; `None` when that is no text (a lone surrogate).
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    match raw.strip_prefix('"')?.strip_suffix('"') {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(raw).ok().map(Cow::Owned),
    }
}
