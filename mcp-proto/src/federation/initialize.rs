//! `initialize`: every target is asked at once, and the client gets one server that can what they can together.

use super::probe::Era;
use crate::answer::Content;
use crate::conn::Conn;
use crate::exchange::{ExchangeId, Gather, Part, Slot, What, Work};
use crate::jsonrpc::envelope::{Envelope, Text};
use crate::jsonrpc::splice::quote;
use crate::leg::{LegId, Purpose};
use crate::refusal::{self, Refusal};
use crate::room::Room;
use crate::session::{Revision, Session, SessionId, TargetState};
use crate::shard::Shard;
use crate::sse;
use crate::timers::Timed;
use bytes::Bytes;
use routing::{BackendName, TargetName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

/// The instructions of all targets together; models pay for every word.
const INSTRUCTIONS: usize = 16 << 10;

/// What the gateway is called where it speaks for several servers.
pub(super) const OWN_SERVER: &str = concat!(
    "{\"name\":\"mcp-gateway\",\"title\":\"MCP Gateway\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);

/// What is read of a target's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitializeResult {
    #[serde(default)]
    pub(super) capabilities: Map<String, Value>,
    pub(super) instructions: Option<String>,
}

impl Shard {
    pub(super) fn initialize(
        &mut self,
        id: ExchangeId,
        part: u16,
        envelope: &Envelope<'_>,
        message: &Bytes,
    ) -> Result<(), Refusal> {
        if self.exchange(id).is_none_or(|exchange| exchange.batch.is_some()) {
            let words = "initialize must not be part of a batch";
            self.fail_part(id, part, refusal::INVALID_REQUEST, words, None);
            return Ok(());
        }
        if !self.may_initialize(id) {
            let words = "this connection has its session already";
            self.fail_part(id, part, refusal::INVALID_REQUEST, words, None);
            return Ok(());
        }
        let Some(offered) = &envelope.params.protocol_version else {
            self.fail_part(id, part, refusal::INVALID_PARAMS, "params.protocolVersion is no string", None);
            return Ok(());
        };
        if self.sessions.len() >= self.config.limits.sessions {
            return Err(Refusal::overloaded());
        }
        let kept = |span: Option<Range<usize>>| {
            span.and_then(|span| message.get(span)).map(Bytes::copy_from_slice).unwrap_or_default()
        };
        let capabilities = kept(envelope.params.capabilities.clone());
        let client = kept(envelope.params.client_info.clone());
        if capabilities.len() + client.len() > self.config.limits.session {
            let words = "capabilities and clientInfo are too large";
            self.fail_part(id, part, refusal::INVALID_PARAMS, words, None);
            return Ok(());
        }
        let revision = Revision::parse(&*offered.value);
        let message = offer(&mut self.room, message, offered);
        let Some(backend) = self.exchange(id).map(|exchange| exchange.way.backend.clone()) else {
            return Ok(());
        };
        let session = self.new_session(backend, revision.unwrap_or(Revision::LATEST), capabilities, client);
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.session = Some(session);
        }
        self.session_begins(id, session);
        self.ask_all(id, part, session, &message);
        Ok(())
    }

    pub(super) fn new_session(
        &mut self,
        backend: BackendName,
        revision: Revision,
        capabilities: Bytes,
        client: Bytes,
    ) -> SessionId {
        let key = u128::from_be_bytes(self.random());
        let expires = self.unix() + self.config.timeouts.session_life;
        let session = Session {
            capabilities,
            client,
            born_here: true,
            ..Session::new(key, self.id, backend, revision, expires, self.now)
        };
        let id = self.sessions.insert(session);
        self.by_key.insert(key, id);
        self.counters.sessions.add(1);
        self.counters.sessions_total.add(1);
        self.timers.set(Timed::Session(id), self.now + self.config.timeouts.session);
        id
    }

    fn ask_all(&mut self, id: ExchangeId, part: u16, session: SessionId, message: &Bytes) {
        let targets = self.backend_of(id).targets().to_vec();
        let slots = targets.iter().map(|target| Slot::new(target.id.clone())).collect();
        let longest = self.config.timeouts.initialize;
        let longest = if targets.len() == 1 { Duration::MAX } else { longest };
        let budget = targets.iter().map(|target| self.budget(target).min(longest)).max();
        self.begin_gather(id, part, What::Initialize, slots, budget);
        if let Some(session) = self.sessions.get_mut(session) {
            session.targets.reserve_exact(targets.len());
        }
        for (slot, target) in (0..).zip(targets) {
            let purpose = Purpose::Open { asker: Some((id, part, slot)) };
            if let Some(session) = self.sessions.get_mut(session) {
                *session.target_mut(&target.id) = TargetState::Opening { waiting: Vec::new(), late: false };
            }
            let Some(leg) = self.leg_for(id, target, purpose, message.clone()) else { return };
            let leg = self.legs.insert(leg);
            self.start(leg);
        }
        self.gather_ready(id, part);
    }

    /// A target that was taken for one without sessions, and asked what it is, has some: it is asked for one.
    pub(super) fn ask_for_session(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        let Purpose::Part { exchange, part, slot: Some(slot) } = leg.purpose else { return };
        let asker = self.exchange(exchange).and_then(|exchange| exchange.parts.get(usize::from(part)));
        let Some(Part { work: Work::Gather(Gather { what: What::Initialize, .. }), message, .. }) = asker
        else {
            return;
        };
        let message = message.clone();
        let Some(message) = self.exchange(exchange).map(|exchange| exchange.body.slice(message)) else {
            return;
        };
        let parsed = Envelope::parse(&message, usize::MAX).ok();
        let Some(offered) = parsed.and_then(|envelope| envelope.params.protocol_version) else { return };
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.purpose = Purpose::Open { asker: Some((exchange, part, slot)) };
        leg.body = offer(&mut self.room, &message, &offered);
        if let Some(session) = leg.session.and_then(|session| self.sessions.get_mut(session)) {
            *session.target_mut(&leg.target.id) = TargetState::Opening { waiting: Vec::new(), late: false };
        }
    }

    /// All targets have answered or been given up: the session begins.
    pub(super) fn initialized(&mut self, id: ExchangeId, part: u16, slots: Vec<Slot>) {
        let Some(session_id) = self.session_of(id) else { return };
        let single = self.backend_of(id).single().is_some();
        let missing = slots.iter().filter_map(|slot| match &slot.outcome {
            Some(Err(reason)) => Some((&slot.target, reason.as_str())),
            _ => None,
        });
        let words = super::lists::missing_words(missing);
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.log.error = words;
        }
        let body = match slots.as_slice() {
            [Slot { outcome: Some(Ok(body)), .. }] if single => {
                let depth = self.config.limits.depth;
                if Envelope::parse(body, depth).is_ok_and(|envelope| envelope.error.is_some()) {
                    self.forget_session(session_id);
                    return self.answer_part(id, part, body);
                }
                match self.backend_of(id).single().cloned() {
                    Some(target) if self.era(&target) == Some(Era::Modern) => self
                        .as_initialize_result(id, part, session_id, &target, body)
                        .unwrap_or_else(|| self.merged_answer(id, part, session_id, &slots)),
                    _ => body.to_vec(),
                }
            }
            _ => self.merged_answer(id, part, session_id, &slots),
        };
        let nonce = self.random();
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        for entry in &mut session.targets {
            if let TargetState::Opening { late, .. } = &mut entry.state {
                *late = true;
            }
        }
        session.sealed = session.seal(&self.config.keys, nonce, self.config.limits.session_id);
        let sealed = session.sealed.clone();
        if let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) {
            // Most clients go on where they began: what has just been sealed need not be opened for them.
            client.memo = Some((sealed.clone(), session_id));
        }
        let fields: &[(&'static str, &[u8])] = &[("mcp-session-id", &sealed)];
        if self.exchange(id).is_some_and(|exchange| exchange.accepts.json) {
            return self.respond(id, 200, &body, fields);
        }
        let mut event = Vec::new();
        sse::write::event(&mut event, None, &body);
        self.begin(id, 200, Content::Events, fields);
        self.write_copy(id, &event);
        self.finish(id);
    }

    fn merged_answer(&mut self, id: ExchangeId, part: u16, session: SessionId, slots: &[Slot]) -> Vec<u8> {
        let mut capabilities = Capabilities::default();
        let mut instructions = String::new();
        for slot in slots {
            let answer = slot.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
            let known = answer.and_then(|body| self.said_before(&slot.target, body)?.result.as_deref());
            let read = if known.is_none() { answer.and_then(|body| result_of(body)) } else { None };
            match known.or(read.as_ref()) {
                Some(result) => {
                    let mut whole = Cow::Borrowed(&result.capabilities);
                    if self.routes.find(&slot.target).and_then(|it| self.era(it)) == Some(Era::Modern)
                        && whole.contains_key("tasks")
                    {
                        whole.to_mut().remove("tasks");
                    }
                    capabilities.add(Some(&whole), false);
                    append_instructions(&mut instructions, &slot.target.name, result.instructions.as_deref());
                    let is_news = self.catalogue.capabilities(&slot.target) != Some(&*whole);
                    if let Some(news) = is_news.then(|| whole.into_owned()) {
                        self.catalogue.learn_capabilities(&slot.target, news);
                    }
                }
                None => capabilities.add(self.catalogue.capabilities(&slot.target), false),
            }
        }
        let revision = self.sessions.get(session).map_or(Revision::LATEST, |session| session.revision);
        let mut result =
            format!("{{\"capabilities\":{}", without_modern_tasks(capabilities.merged())).into_bytes();
        if !instructions.is_empty() {
            result.extend_from_slice(b",\"instructions\":");
            quote(&instructions, &mut result);
        }
        result.extend_from_slice(b",\"protocolVersion\":\"");
        result.extend_from_slice(revision.as_str().as_bytes());
        result.extend_from_slice(b"\",\"serverInfo\":");
        result.extend_from_slice(OWN_SERVER.as_bytes());
        result.push(b'}');
        let rpc_id = self.exchange(id).map(|exchange| exchange.id_text(part)).unwrap_or_default();
        refusal::result(rpc_id, &result)
    }

    /// `initialize` on behalf of a session whose client has long been answered.
    pub(super) fn initialize_message(&self, session: SessionId) -> Bytes {
        let Some(session) = self.sessions.get(session) else { return Bytes::new() };
        let mut out = Vec::with_capacity(200 + session.capabilities.len() + session.client.len());
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":\"mcp-gateway-initialize\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":");
        quote(session.revision.as_str(), &mut out);
        out.extend_from_slice(b",\"capabilities\":");
        out.extend_from_slice(if session.capabilities.is_empty() { b"{}" } else { &session.capabilities });
        out.extend_from_slice(b",\"clientInfo\":");
        let unknown = br#"{"name":"mcp-gateway","version":"0"}"#;
        out.extend_from_slice(if session.client.is_empty() { unknown } else { &session.client });
        out.extend_from_slice(b"}}");
        out.into()
    }
}

/// `initialize` as targets are asked it. An offer that isn't served here is answered with the newest that is (MCP,
/// Version Negotiation).
fn offer(room: &mut Room, message: &Bytes, offered: &Text<'_>) -> Bytes {
    match Revision::parse(&*offered.value) {
        Some(_) => message.clone(),
        None => super::route::replace(room, message, &offered.span, Revision::LATEST.as_str()),
    }
}

/// The extension has another form than the tasks of 2025-11-25, and no client with a session knows it.
pub(super) fn without_modern_tasks(mut capabilities: Value) -> Value {
    if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions") {
        extensions.remove(super::tasks::EXTENSION);
    }
    capabilities
}

pub(super) fn result_of(body: &[u8]) -> Option<InitializeResult> {
    let envelope = Envelope::parse(body, usize::MAX).ok()?;
    serde_json::from_slice(body.get(envelope.result?)?).ok()
}

pub(super) fn append_instructions(all: &mut String, target: &TargetName, more: Option<&str>) {
    let Some(more) = more.filter(|more| !more.trim().is_empty()) else { return };
    if !all.is_empty() {
        all.push_str("\n\n");
    }
    all.push_str(&format!("# {target}\n\n{}", more.trim()));
    if all.len() > INSTRUCTIONS {
        let cut = (0..=INSTRUCTIONS).rev().find(|at| all.is_char_boundary(*at)).unwrap_or(0);
        all.truncate(cut);
    }
}

/// Capabilities of several servers as one's.
#[derive(Default)]
pub(super) struct Capabilities {
    merged: Map<String, Value>,
    /// Some target's are not known: what every server may have is offered, so that its arrival can be told.
    unknown: bool,
}

impl Capabilities {
    /// Adds a server's; those of the only one `whole`.
    pub(super) fn add(&mut self, capabilities: Option<&Map<String, Value>>, whole: bool) {
        let Some(capabilities) = capabilities else {
            self.unknown = true;
            return;
        };
        for (name, value) in capabilities {
            match name.as_str() {
                _ if whole => _ = self.merged.insert(name.clone(), value.clone()),
                "tools" | "prompts" | "resources" | "completions" | "logging" => {
                    let entry = self.merged.entry(name).or_insert_with(|| json!({}));
                    unite(entry, value);
                }
                // Settings of extensions and experiments hold for one server; two that agree can be told.
                "extensions" | "experimental" => self.agree(name, value),
                // The tasks of all targets are no list that could be told in pages.
                "tasks" if value.get("requests").is_some() => {
                    let mut value = value.clone();
                    if let Value::Object(members) = &mut value {
                        members.remove("list");
                    }
                    unite(self.merged.entry(name).or_insert_with(|| json!({})), &value);
                }
                _ => {}
            }
        }
    }

    fn agree(&mut self, name: &str, value: &Value) {
        let Value::Object(members) = value else { return };
        let entry = self.merged.entry(name).or_insert_with(|| json!({}));
        let Value::Object(agreed) = entry else { return };
        for (key, settings) in members {
            match agreed.get_mut(key) {
                // Stays as a mark, or a third could bring it back.
                Some(known) if known != settings => *known = Value::Null,
                Some(_) => {}
                None => {
                    agreed.insert(key.clone(), settings.clone());
                }
            }
        }
    }

    /// What a single server said.
    pub(super) fn united(self) -> Value {
        if self.unknown { self.merged() } else { Value::Object(self.merged) }
    }

    pub(super) fn merged(mut self) -> Value {
        if self.unknown {
            for name in ["tools", "prompts", "resources"] {
                self.merged.entry(name).or_insert_with(|| json!({}));
            }
        }
        for name in ["extensions", "experimental"] {
            if let Some(Value::Object(agreed)) = self.merged.get_mut(name) {
                agreed.retain(|_, settings| !settings.is_null());
            }
        }
        for name in ["tools", "prompts", "resources"] {
            // Lists change when targets come and go, whatever the targets themselves can tell.
            if let Some(Value::Object(capability)) = self.merged.get_mut(name) {
                capability.insert("listChanged".to_owned(), true.into());
            }
        }
        Value::Object(self.merged)
    }
}

/// Booleans and objects are united, other members of the first are kept.
fn unite(into: &mut Value, from: &Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { return };
    for (key, value) in from {
        match into.get_mut(key) {
            Some(Value::Bool(known)) => *known |= value.as_bool().unwrap_or(false),
            Some(known @ Value::Object(_)) => unite(known, value),
            Some(_) => {}
            None => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
