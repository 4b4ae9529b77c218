//! A request as its target wants to hear it: the client's message is kept as it came, and what is sent is made of it
//! when the target's era is known.
//!
//! | client | target | what is sent |
//! |---|---|---|
//! | legacy | legacy | the message |
//! | modern | modern | the message, and the header fields recomputed from it |
//! | legacy | modern | with the envelope a session stands for, and header fields |
//! | modern | legacy | without its envelope, under an id of the hidden session |

use super::tasks;
use crate::era::{self, MODERN, PREFIX};
use crate::exchange::{Exchange, ExchangeId};
use crate::federation::probe::Era;
use crate::http::write;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::members::members;
use crate::jsonrpc::rewrite::{self, Finish, Plan, ResultType, Rewriter, Scope};
use crate::jsonrpc::{mirror, params};
use crate::leg::{Leg, LegId, Purpose};
use crate::refusal;
use crate::room::Room;
use crate::session::{Opened, Revision, Session};
use crate::shard::Shard;
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// Who a modern target is told the gateway is, where no client said who it is.
pub(crate) const OWN_INFO: &str =
    concat!("{\"name\":\"mcp-gateway\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// The start of the names of fields that repeat a tool's arguments (Custom Headers from Tool Parameters).
const MIRROR: &str = "mcp-param-";

/// What is sent in place of a leg's message.
#[derive(Debug)]
pub(crate) struct Dress {
    pub(crate) era: Era,
    pub(crate) body: Bytes,
    /// Field lines besides those every request has.
    pub(crate) fields: Bytes,
    /// The answer comes under an id of ours: the client's is put back.
    pub(crate) renumbered: bool,
}

impl Shard {
    /// Makes what is sent for a target whose era is known, of a message that was read before, or is read here. Legacy
    /// requests of legacy clients need nothing.
    pub(crate) fn dress(&mut self, id: LegId, read: Option<&Envelope<'_>>) {
        let Some(leg) = self.legs.get(id) else { return };
        let era = match leg.purpose {
            Purpose::Probe => Era::Modern,
            _ => self.era(&leg.target).unwrap_or(Era::Legacy),
        };
        let session = leg.session.and_then(|session| self.sessions.get(session));
        let plain = era != Era::Modern && !session.is_some_and(Session::is_hidden);
        if plain || leg.body.is_empty() {
            if let Some(leg) = self.legs.get_mut(id) {
                leg.dress = None;
            }
            return;
        }
        let parsed = if read.is_none() { Envelope::parse(&leg.body, usize::MAX).ok() } else { None };
        let envelope = read.or(parsed.as_ref());
        let (mut room, mut lines) = (std::mem::take(&mut self.room), std::mem::take(&mut self.scratch));
        let dress = match era {
            Era::Modern => {
                let exchange = leg.purpose.exchange().and_then(|exchange| self.exchange(exchange));
                let by_modern = exchange.filter(|exchange| exchange.modern.is_some());
                let body = match envelope.filter(|it| it.params.modern.version.is_none()) {
                    Some(envelope) if envelope.kind() == Kind::Request => {
                        enveloped(&mut room, &leg.body, envelope, by_modern, session)
                    }
                    _ => leg.body.clone(),
                };
                lines.clear();
                self.write_fields(leg, envelope, by_modern, &mut lines);
                let fields = room.make(lines.len(), |out| out.extend_from_slice(&lines));
                Some(Dress { era: Era::Modern, body, fields, renumbered: leg.round.is_some() })
            }
            Era::Legacy | Era::Sse => {
                self.numbers += 1;
                envelope.map(|envelope| legacy(&mut room, &leg.body, envelope, self.numbers))
            }
        };
        (self.room, self.scratch) = (room, lines);
        if let Some(leg) = self.legs.get_mut(id) {
            leg.dress = dress;
        }
    }

    /// The fields that repeat what the message says.
    fn write_fields(
        &self,
        leg: &Leg,
        envelope: Option<&Envelope<'_>>,
        by_modern: Option<&Exchange>,
        out: &mut Vec<u8>,
    ) {
        if let Some(envelope) = envelope {
            let method = envelope.method.as_ref().map_or("", |method| &method.value);
            write::field(out, "mcp-method", method.as_bytes());
            if let Some(name) = era::name(envelope) {
                write::field(out, "mcp-name", mirror::encode(name).as_bytes());
            }
            let brings = leg.purpose.exchange().is_some_and(|exchange| !self.lacks_mirrors(exchange));
            if by_modern.is_none() || !brings {
                self.write_mirrored(leg, envelope, out);
            }
        }
        if let Some(exchange) = by_modern {
            let is_mirror =
                |name: &str| name.get(..MIRROR.len()).is_some_and(|start| start.eq_ignore_ascii_case(MIRROR));
            let mirrored = exchange.head.fields.iter().filter(|(name, _)| is_mirror(name));
            mirrored.for_each(|(name, value)| write::field(out, name, value));
        }
    }

    /// Takes out of a completion what its target's revision does not know.
    pub(super) fn fit(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let session = leg.session.and_then(|session| self.sessions.get(session));
        let older = |opened: &Opened| opened.revision < Revision::V2025_06_18;
        if !session.and_then(|session| session.ready(&leg.target)).is_some_and(older) {
            return;
        }
        if let Some(body) = without_context(leg.message()) {
            match &mut leg.dress {
                Some(dress) => dress.body = body,
                None => leg.body = body,
            }
        }
    }

    /// How a target's answer to one message is changed for the client.
    pub(crate) fn plan(&self, id: LegId, exchange: ExchangeId, part: u16) -> Plan {
        let Some(leg) = self.legs.get(id) else { return Plan::default() };
        let mut plan = Plan::names(self.renames(&leg.target), Scope::Result);
        plan.task = self.task_seal(exchange, part, &leg.target.id);
        let Some(exchange) = self.exchange(exchange) else { return plan };
        let dress = leg.dress.as_ref();
        let target = dress.map_or(Era::Legacy, |dress| dress.era);
        if dress.is_some_and(|dress| dress.renumbered) {
            plan.id = Some(exchange.id_bytes(part));
        }
        match (exchange.modern.is_some(), target) {
            (true, Era::Legacy | Era::Sse) => {
                let method = exchange.method(part);
                let cacheable = method.as_deref().is_some_and(is_cacheable);
                plan.finish = Finish::Modern { server_info: self.server_info(&leg.target), cacheable };
                plan.codes = refusal::TO_MODERN;
            }
            (false, Era::Modern) => {
                plan.finish = Finish::Legacy;
                plan.codes = match exchange.method(part).as_deref() {
                    Some("resources/read") => refusal::READ_TO_LEGACY,
                    _ => refusal::TO_LEGACY,
                };
            }
            _ => {}
        }
        plan
    }
}

/// A request with the members of `_meta` that stand for a handshake (basic, "`_meta`"), but for those that a client of
/// a session has written itself.
fn enveloped(
    room: &mut Room,
    message: &[u8],
    envelope: &Envelope<'_>,
    exchange: Option<&Exchange>,
    session: Option<&Session>,
) -> Bytes {
    let (client, capabilities, level) = match (exchange, session) {
        (Some(exchange), _) => {
            let (client, capabilities, level) = exchange.claimed();
            (client, Cow::Borrowed(capabilities), level)
        }
        (None, Some(session)) => {
            // A client that speaks of tasks in a session means to speak of them in another, too.
            let capabilities = without_extension(&session.capabilities, tasks::EXTENSION);
            (&session.client[..], capabilities, session.level.as_deref().and_then(level_of))
        }
        (None, None) => (&b""[..], Cow::default(), None),
    };
    let written = &envelope.params.modern;
    let or = |text, other| if <[u8]>::is_empty(text) { other } else { text };
    let client = if written.client_info.is_some() { b"" } else { or(client, OWN_INFO.as_bytes()) };
    let capabilities = if written.client_capabilities.is_some() { b"" } else { or(&capabilities, b"{}") };
    let level = level.filter(|_| written.log_level.is_none()).unwrap_or_default();
    let member = |key: &'static [u8], value| match <[u8]>::is_empty(value) {
        false => [b",\"", PREFIX.as_bytes(), key, value, b""],
        true => [&b""[..]; 5],
    };
    let members = [
        [b"\"", PREFIX.as_bytes(), b"protocolVersion\":\"", MODERN.as_bytes(), b"\""],
        member(b"clientInfo\":", client),
        member(b"clientCapabilities\":", capabilities),
        member(b"logLevel\":", level),
    ];
    params::with_meta_in(room, message, envelope, members.as_flattened())
}

/// Capabilities without an extension.
fn without_extension<'a>(capabilities: &'a [u8], extension: &str) -> Cow<'a, [u8]> {
    // Few have any, and a walk takes longer than a look. With an escape in it, the key may hide.
    if memmem::find(capabilities, b"extensions").is_none() && !capabilities.contains(&b'\\') {
        return Cow::Borrowed(capabilities);
    }
    let member = |object: Range<usize>, key: &str| {
        let members = members(capabilities.get(object.clone())?)?;
        let span = members.into_iter().find(|member| member.key == key.as_bytes())?.span;
        Some(object.start + span.start..object.start + span.end)
    };
    let found =
        member(0..capabilities.len(), "extensions").and_then(|extensions| member(extensions, extension));
    match found {
        Some(span) => Cow::Owned(params::without(capabilities, vec![span])),
        None => Cow::Borrowed(capabilities),
    }
}

/// A completion without `context`, which came with 2025-06-18; `None` for any other message.
fn without_context(message: &[u8]) -> Option<Bytes> {
    let envelope = Envelope::parse(message, usize::MAX).ok()?;
    let params = envelope
        .params
        .span
        .filter(|_| envelope.method.as_ref().is_some_and(|method| method.value == "completion/complete"))?;
    let members = members(message.get(params.clone())?)?;
    let context = members.into_iter().find(|member| member.key == b"context")?.span;
    let span = params.start + context.start..params.start + context.end;
    Some(params::without(message, vec![span]).into())
}

/// Whether the results of a method say how long they hold (server/utilities/caching).
pub(crate) fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// A modern message for a legacy target; a request goes under `number`.
fn legacy(room: &mut Room, message: &[u8], envelope: &Envelope<'_>, number: u64) -> Dress {
    let renumbered = envelope.kind() == Kind::Request;
    let number = number.to_string();
    let body = params::without_handshake(room, message, envelope, renumbered.then_some(&number));
    Dress { era: Era::Legacy, body, fields: Bytes::new(), renumbered }
}

/// The level in the params of `logging/setLevel`.
fn level_of(params: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Level<'a> {
        #[serde(borrow)]
        level: &'a RawValue,
    }
    serde_json::from_slice::<Level<'_>>(params).ok().map(|level| level.level.get().as_bytes())
}

impl Plan {
    /// Whether the answer is of another era than its client.
    pub(crate) fn crosses(&self) -> bool {
        !matches!(self.finish, Finish::Keep)
    }

    /// Whether the answer passes as it comes.
    pub(crate) fn is_nothing(&self) -> bool {
        self.target.is_none()
            && self.id.is_none()
            && self.task.is_none()
            && self.codes.is_empty()
            && !self.crosses()
            && !self.watch
    }
}

impl Rewriter {
    /// Whether the message is certainly an answer, and no question back: a legacy target's result is none.
    pub(crate) fn is_settled(&self) -> bool {
        let asks =
            matches!(self.plan().finish, Finish::Legacy) && self.result_type() != Some(ResultType::Complete);
        self.kind() == Some(rewrite::Kind::Result) && !asks
    }

    /// Whether a result has what answers have and questions back have not (basic/patterns/mrtr): it can be taken for an
    /// answer where it is too long to wait for its type, which may stand at its end.
    pub(crate) fn has_content(&self) -> bool {
        self.kind() == Some(rewrite::Kind::Result) && self.result_type().is_none() && self.is_content_seen()
    }

    /// Whether it says of itself that it is none.
    pub(crate) fn denies(&self) -> bool {
        let other = self.result_type().is_some_and(|it| it != ResultType::Complete);
        other && matches!(self.plan().finish, Finish::Legacy)
    }
}
