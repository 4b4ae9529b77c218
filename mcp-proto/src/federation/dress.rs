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
use crate::jsonrpc::envelope::{Envelope, Kind, Modern};
use crate::jsonrpc::members::members;
use crate::jsonrpc::rewrite::{Finish, Plan, ResultType, Rewriter, Scope};
use crate::jsonrpc::{mirror, params};
use crate::leg::{Leg, LegId, Purpose};
use crate::refusal;
use crate::session::{Opened, Revision, Session};
use crate::shard::Shard;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
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
    /// Fields besides those every request has.
    pub(crate) fields: Vec<(String, Bytes)>,
    /// The answer comes under an id of ours: the client's is put back.
    pub(crate) renumbered: bool,
}

impl Shard {
    /// Makes what is sent for a target whose era is known. Legacy requests of legacy clients need nothing.
    pub(crate) fn dress(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        let era = match leg.purpose {
            Purpose::Probe => Era::Modern,
            _ => self.era(&leg.target).unwrap_or(Era::Legacy),
        };
        let session = leg.session.and_then(|session| self.sessions.get(session));
        let hidden = session.is_some_and(Session::is_hidden);
        let dress = match era {
            Era::Modern if !leg.body.is_empty() => {
                let exchange = leg.purpose.exchange().and_then(|exchange| self.exchange(exchange));
                Some(self.modern(leg, exchange, session))
            }
            Era::Legacy | Era::Sse if hidden && !leg.body.is_empty() => {
                self.numbers += 1;
                legacy(leg, self.numbers)
            }
            _ => None,
        };
        if let Some(leg) = self.legs.get_mut(id) {
            leg.dress = dress.map(Box::new);
        }
    }

    fn modern(&self, leg: &Leg, exchange: Option<&Exchange>, session: Option<&Session>) -> Dress {
        let by_modern = exchange.filter(|exchange| exchange.modern.is_some());
        let parsed = Envelope::parse(&leg.body, usize::MAX).ok();
        let claims = parsed.as_ref().is_some_and(|envelope| envelope.params.modern.version.is_some());
        let body = match &parsed {
            Some(envelope) if !claims && envelope.kind() == Kind::Request => {
                let members = self.envelope(by_modern, session, &envelope.params.modern);
                params::with_meta(&leg.body, envelope, &members).into()
            }
            _ => leg.body.clone(),
        };
        let mut fields = Vec::new();
        if let Some(envelope) = &parsed {
            let method = envelope.method.as_ref().map_or("", |method| &method.value);
            fields.push(("mcp-method".to_owned(), Bytes::copy_from_slice(method.as_bytes())));
            if let Some(name) = era::name(envelope) {
                fields.push(("mcp-name".to_owned(), mirror::encode(name).into_owned().into()));
            }
            let brings = leg.purpose.exchange().is_some_and(|exchange| !self.lacks_mirrors(exchange));
            if by_modern.is_none() || !brings {
                fields.extend(self.mirrored(leg, envelope));
            }
        }
        if let Some(exchange) = by_modern {
            let is_mirror =
                |name: &str| name.get(..MIRROR.len()).is_some_and(|start| start.eq_ignore_ascii_case(MIRROR));
            let mirrored = exchange.head.fields.iter().filter(|(name, _)| is_mirror(name));
            fields.extend(mirrored.map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value))));
        }
        Dress { era: Era::Modern, body, fields, renumbered: leg.round.is_some() }
    }

    /// The members of `_meta` that stand for a handshake (basic, "`_meta`"), but for those that a client of a session
    /// has written itself.
    fn envelope(
        &self,
        exchange: Option<&Exchange>,
        session: Option<&Session>,
        written: &Modern<'_>,
    ) -> Vec<u8> {
        let nothing: &[u8] = b"";
        let (client, capabilities, level) = match (exchange, session) {
            (Some(exchange), _) => exchange.claimed(),
            (None, Some(session)) => {
                (&session.client[..], &session.capabilities[..], session.level.as_deref().and_then(level_of))
            }
            (None, None) => (nothing, nothing, None),
        };
        // A client that speaks of tasks in a session means to speak of them in another, too.
        let spoken = exchange.is_none().then(|| without_extension(capabilities, tasks::EXTENSION));
        let capabilities = spoken.as_deref().unwrap_or(capabilities);
        let or = |text: &[u8], other: &str| match text.is_empty() {
            true => other.to_owned(),
            false => String::from_utf8_lossy(text).into_owned(),
        };
        let mut out = format!("\"{PREFIX}protocolVersion\":\"{MODERN}\"");
        if written.client_info.is_none() {
            out.push_str(&format!(",\"{PREFIX}clientInfo\":{}", or(client, OWN_INFO)));
        }
        if written.client_capabilities.is_none() {
            out.push_str(&format!(",\"{PREFIX}clientCapabilities\":{}", or(capabilities, "{}")));
        }
        if let Some(level) = level.filter(|_| written.log_level.is_none()) {
            out.push_str(&format!(",\"{PREFIX}logLevel\":{}", String::from_utf8_lossy(level)));
        }
        out.into_bytes()
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
        let dress = leg.dress.as_deref();
        let target = dress.map_or(Era::Legacy, |dress| dress.era);
        if dress.is_some_and(|dress| dress.renumbered) {
            plan.id = Some(Bytes::copy_from_slice(exchange.id_text(part)));
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

/// Capabilities without an extension.
fn without_extension(capabilities: &[u8], extension: &str) -> Vec<u8> {
    let member = |object: Range<usize>, key: &str| {
        let members = members(capabilities.get(object.clone())?)?;
        let span = members.into_iter().find(|member| member.key == key.as_bytes())?.span;
        Some(object.start + span.start..object.start + span.end)
    };
    let found =
        member(0..capabilities.len(), "extensions").and_then(|extensions| member(extensions, extension));
    match found {
        Some(span) => params::without(capabilities, vec![span]),
        None => capabilities.to_vec(),
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

/// A modern message for a legacy target, under `number`.
fn legacy(leg: &Leg, number: u64) -> Option<Dress> {
    let envelope = Envelope::parse(&leg.body, usize::MAX).ok()?;
    let plain = params::without(&leg.body, params::handshake(&leg.body, &envelope));
    let envelope = Envelope::parse(&plain, usize::MAX).ok()?;
    let mut body = Vec::with_capacity(plain.len() + 16);
    let renumbered = envelope.kind() == Kind::Request;
    match envelope.id_span.filter(|_| renumbered) {
        Some(span) => {
            crate::jsonrpc::splice::splice(&plain, &[(span, number.to_string().as_bytes())], &mut body);
        }
        None => body = plain,
    }
    Some(Dress { era: Era::Legacy, body: body.into(), fields: Vec::new(), renumbered })
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
    /// Whether the message is certainly an answer, and no question back.
    pub(crate) fn is_settled(&self) -> bool {
        self.result_type() == Some(ResultType::Complete)
    }
}
