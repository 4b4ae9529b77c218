//! A client's message finds its way: by its kind, its method, and the name or URI in it.

use super::probe::Era;
use crate::era;
use crate::exchange::{ExchangeId, What};
use crate::jsonrpc::envelope::{Envelope, Id, Invalid, Kind, Params, Text};
use crate::jsonrpc::known::Known;
use crate::jsonrpc::{list, splice};
use crate::refusal::{self, Refusal};
use crate::room::Room;
use crate::shard::Shard;
use bytes::{BufMut, Bytes};
use routing::{Target, names, uris};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Where a name or URI leads.
enum Found<'a> {
    /// To this target, which knows it under the given text, or under the same.
    At(Arc<Target>, Option<Cow<'a, str>>),
    /// It takes the targets' lists to know.
    Lookup(list::Kind),
    /// Nowhere: code and words for the client.
    Nowhere(i64, String),
}

/// A message, and what was read of it.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) message: &'a Bytes,
    pub(super) envelope: Option<&'a Envelope<'a>>,
}

impl<'a> Read<'a> {
    /// The message for a target that knows the string at `span` as `original`, if that differs.
    fn renamed(
        self,
        room: &mut Room,
        span: &Range<usize>,
        original: Option<&str>,
    ) -> (Bytes, Option<Known<'a>>) {
        let known = |replaced| self.envelope.map(|envelope| Known { envelope, replaced });
        let Some(original) = original else { return (self.message.clone(), known(None)) };
        let message = replace(room, self.message, span, original);
        let now = span.end + message.len() - self.message.len();
        (message, known(Some((span.end, now))))
    }
}

impl Shard {
    /// Routes one message of a POST.
    pub(crate) fn route(&mut self, id: ExchangeId, part: u16) -> Result<(), Refusal> {
        let depth = self.config.limits.depth;
        let Some(exchange) = self.exchange_mut(id) else { return Ok(()) };
        let whole = exchange.body.clone();
        let Some(slot) = exchange.parts.get_mut(usize::from(part)) else { return Ok(()) };
        let message = whole.slice(slot.message.clone());
        let envelope = Envelope::parse(&message, depth);
        // Borrowed, since it is large.
        let envelope = match &envelope {
            Ok(envelope) => envelope,
            Err(invalid) => return self.invalid_part(id, part, invalid),
        };
        let read = Read { message: &message, envelope: Some(envelope) };
        let over_http = self.is_over_http(id);
        let Some(exchange) = self.exchange_mut(id) else { return Ok(()) };
        let Some(slot) = exchange.parts.get_mut(usize::from(part)) else { return Ok(()) };
        let start = slot.message.start;
        let request = envelope.kind() == Kind::Request;
        let in_body = |span: &Range<usize>| start + span.start..start + span.end;
        slot.id = envelope.id_span.as_ref().filter(|_| request).map(in_body);
        slot.method = envelope.method.as_ref().map(|method| in_body(&method.span));
        let params = &envelope.params;
        slot.of_task = params.task.is_some() || params.task_id.is_some() || params.related_task.is_some();
        if envelope.method.as_ref().is_some_and(|method| method.value == "notifications/cancelled")
            && self.cancels_modern(id, envelope.params.request_id.clone().and_then(|span| message.get(span)))
        {
            self.part_done(id, part);
            return Ok(());
        }
        let Some(exchange) = self.exchange_mut(id) else { return Ok(()) };
        if let Some(claim) = era::claim(exchange, envelope, &message, over_http)? {
            exchange.modern = Some(Box::new(claim));
            self.modern_message(id, part, envelope, read);
            return Ok(());
        }
        if !request
            && envelope.kind() == Kind::Notification
            && over_http
            && era::is_modern(&exchange.head.fields)
        {
            self.part_done(id, part);
            return Ok(());
        }
        if request && envelope.method.as_ref().is_some_and(|method| method.value == "initialize") {
            return self.initialize(id, part, envelope, &message);
        }
        // A client may ask whether anybody is there before it says who it is (lifecycle, Initialization).
        let is_ping = envelope.method.as_ref().is_some_and(|method| method.value == "ping");
        if over_http || !is_ping {
            self.required_session(id)?;
        }
        match envelope.kind() {
            Kind::Request => self.request(id, part, envelope, read),
            Kind::Notification => self.notification(id, part, envelope, &message),
            Kind::Response => self.reply(id, part, envelope, &message),
        }
        Ok(())
    }

    /// A message that can't be read: alone it is the whole request's failure, in a batch only its own.
    fn invalid_part(&mut self, id: ExchangeId, part: u16, invalid: &Invalid) -> Result<(), Refusal> {
        if self.exchange(id).is_some_and(|exchange| exchange.batch.is_none()) {
            return Err(Refusal::invalid(invalid));
        }
        let rpc_id = invalid.id.as_deref().unwrap_or("null");
        let body = refusal::error(rpc_id.as_bytes(), invalid.code, invalid.reason, None);
        self.answer_part(id, part, &body);
        Ok(())
    }

    pub(super) fn request(&mut self, id: ExchangeId, part: u16, envelope: &Envelope<'_>, read: Read<'_>) {
        let (params, message) = (&envelope.params, read.message);
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        match method {
            "ping" => {
                let Some(exchange) = self.exchange(id) else { return };
                let body = refusal::result(exchange.id_text(part), b"{}");
                self.answer_part(id, part, &body);
            }
            "tools/call" => self.by_name(id, part, list::Kind::Tools, params.name.as_ref(), read, false),
            "prompts/get" => self.by_name(id, part, list::Kind::Prompts, params.name.as_ref(), read, true),
            "resources/read" => self.by_uri(id, part, params.uri.as_ref(), read),
            "resources/subscribe" | "resources/unsubscribe" => {
                if !self.subscription(id, params.uri.as_ref(), method == "resources/subscribe") {
                    let words = "the session has too many subscriptions";
                    return self.fail_part(id, part, refusal::INTERNAL_ERROR, words, None);
                }
                self.by_uri(id, part, params.uri.as_ref(), read);
            }
            "completion/complete" => self.completion(id, part, params, read),
            "logging/setLevel" => self.set_level(id, part, params, message),
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => {
                self.by_task(id, part, params.task_id.as_ref(), message);
            }
            _ => match (list::Kind::from_method(method), self.backend_of(id).single().cloned()) {
                // Within the legacy era a single target's list needs no look at it.
                (Some(kind), Some(target))
                    if self.is_legacy_throughout(id, &target)
                        && !params
                            .cursor
                            .as_ref()
                            .is_some_and(|cursor| self.is_own_cursor(id, kind, &cursor.value)) =>
                {
                    self.relay(id, part, target, message.clone(), true);
                }
                (Some(kind), _) => self.list(id, part, kind, params.cursor.as_ref(), read),
                // What we do not know, a single target may (extensions, later revisions).
                (None, Some(target)) => self.relay(id, part, target, message.clone(), false),
                (None, None) => {
                    let words = format!("the method {method} is not served");
                    self.fail_part(id, part, refusal::METHOD_NOT_FOUND, &words, None);
                }
            },
        }
    }

    fn is_legacy_throughout(&self, id: ExchangeId, target: &Target) -> bool {
        self.exchange(id).is_some_and(|exchange| exchange.modern.is_none())
            && self.era(target) == Some(Era::Legacy)
    }

    /// A tool or prompt.
    fn by_name(
        &mut self,
        id: ExchangeId,
        part: u16,
        kind: list::Kind,
        name: Option<&Text<'_>>,
        read: Read<'_>,
        repeatable: bool,
    ) {
        let Some(name) = name else {
            return self.fail_part(id, part, refusal::INVALID_PARAMS, "params.name is no string", None);
        };
        let looked_up = self.looked_up(id, part);
        match self.find_name(id, kind, &name.value, looked_up) {
            Found::At(target, original) => {
                let (message, known) = read.renamed(&mut self.room, &name.span, original.as_deref());
                self.relay_known(id, part, target, message, known, repeatable);
            }
            Found::Lookup(kind) => self.look_up(id, part, kind),
            Found::Nowhere(code, words) => self.fail_part(id, part, code, &words, None),
        }
    }

    fn by_uri(&mut self, id: ExchangeId, part: u16, uri: Option<&Text<'_>>, read: Read<'_>) {
        let Some(uri) = uri else {
            return self.fail_part(id, part, refusal::INVALID_PARAMS, "params.uri is no string", None);
        };
        match self.find_uri(id, &uri.value) {
            Found::At(target, original) => {
                let (message, known) = read.renamed(&mut self.room, &uri.span, original.as_deref());
                self.relay_known(id, part, target, message, known, true);
            }
            Found::Nowhere(code, words) => self.fail_part(id, part, code, &words, None),
            Found::Lookup(_) => {}
        }
    }

    /// A completion belongs to the target of the prompt or template it is for.
    fn completion(&mut self, id: ExchangeId, part: u16, params: &Params<'_>, read: Read<'_>) {
        let reference = params.reference.as_ref();
        if let Some(uri) = reference.and_then(|reference| reference.uri.as_ref()) {
            return self.by_uri(id, part, Some(uri), read);
        }
        let name = reference.and_then(|reference| reference.name.as_ref());
        self.by_name(id, part, list::Kind::Prompts, name, read, true);
    }

    fn notification(&mut self, id: ExchangeId, part: u16, envelope: &Envelope<'_>, message: &Bytes) {
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        match method {
            "notifications/initialized" | "notifications/roots/list_changed" => {
                if method == "notifications/initialized" {
                    self.stream_greets(id);
                }
                self.notify_all(id, part, message);
            }
            "notifications/cancelled" => self.cancel(id, part, message),
            "notifications/progress" => self.progress(id, part, envelope, message),
            _ => match self.backend_of(id).single().cloned() {
                Some(target) => self.relay(id, part, target, message.clone(), false),
                None => {
                    self.counters.dropped.add(1);
                    self.part_done(id, part);
                }
            },
        }
    }

    fn find_name<'a>(&self, id: ExchangeId, kind: list::Kind, name: &'a str, looked_up: bool) -> Found<'a> {
        let backend = self.backend_of(id);
        if let Some(target) = backend.single() {
            let inner = name.strip_prefix(target.name().as_str()).and_then(|rest| rest.strip_prefix('_'));
            // A client may still use the prefixed names of a time with more targets.
            let Some(inner) = inner else { return Found::At(Arc::clone(target), None) };
            if !looked_up && !self.catalogue.knows(&target.id, kind) {
                return Found::Lookup(kind);
            }
            let is_whole = self.catalogue.has(&target.id, kind, name);
            let is_inner = self.catalogue.has(&target.id, kind, inner);
            return Found::At(Arc::clone(target), (is_inner && !is_whole).then(|| inner.into()));
        }
        if let Some((target, original)) = self.catalogue.irregular(backend.name(), kind, name)
            && let Some(target) = backend.target(target.as_str())
        {
            return Found::At(Arc::clone(target), Some(original.to_owned().into()));
        }
        if let Some((target, inner)) = names::split(backend, name)
            && (looked_up || !names::may_be_shortened(name) || self.catalogue.has(&target.id, kind, inner))
        {
            return Found::At(Arc::clone(target), Some(inner.into()));
        }
        let targets = backend.targets();
        let known = targets.iter().all(|target| self.catalogue.knows(&target.id, kind))
            && targets.iter().any(|target| self.catalogue.has(&target.id, kind, name));
        if !looked_up && !known {
            return Found::Lookup(kind);
        }
        // A client may still use the plain names of a time with one target, if they are still unambiguous.
        let mut owners = targets.iter().filter(|target| self.catalogue.has(&target.id, kind, name));
        let what = if kind == list::Kind::Tools { "tool" } else { "prompt" };
        let words = match (owners.next(), owners.next()) {
            (Some(owner), None) => return Found::At(Arc::clone(owner), None),
            (Some(one), Some(other)) => {
                let (one, other) = (names::federated(one.name(), name), names::federated(other.name(), name));
                format!("ambiguous {what}: {name} may be {one} or {other}")
            }
            (None, _) => format!("unknown {what}: {name}"),
        };
        Found::Nowhere(refusal::INVALID_PARAMS, words)
    }

    fn find_uri<'a>(&self, id: ExchangeId, uri: &'a str) -> Found<'a> {
        let backend = self.backend_of(id);
        if let Some(target) = backend.single() {
            return Found::At(Arc::clone(target), None);
        }
        match uris::split(backend, uri) {
            Some((target, original)) => Found::At(Arc::clone(target), Some(original.into())),
            None => Found::Nowhere(refusal::RESOURCE_NOT_FOUND, format!("resource not found: {uri}")),
        }
    }

    fn looked_up(&self, id: ExchangeId, part: u16) -> bool {
        let part = self.exchange(id).and_then(|exchange| exchange.parts.get(usize::from(part)));
        part.is_some_and(|part| part.looked_up)
    }

    /// Remembers a subscription; false when the session may have no more. One that leads nowhere is refused later.
    fn subscription(&mut self, id: ExchangeId, uri: Option<&Text<'_>>, on: bool) -> bool {
        let Some(session) = self.exchange(id).and_then(|exchange| exchange.session) else { return true };
        if let Some(uri) = uri
            && let Found::At(target, original) = self.find_uri(id, &uri.value)
        {
            let uri = original.map_or_else(|| uri.value.to_string(), Cow::into_owned);
            return self.remember_subscription(session, &target.id, uri, on);
        }
        true
    }

    /// Level changes go to every target, and to those that come later.
    fn set_level(&mut self, id: ExchangeId, part: u16, params: &Params<'_>, message: &Bytes) {
        if let Some(span) = params.span.clone()
            && let Some(session) = self.exchange(id).and_then(|exchange| exchange.session)
        {
            self.remember_level(session, message.slice(span));
        }
        match self.backend_of(id).single().cloned() {
            Some(target) => self.relay(id, part, target, message.clone(), true),
            None => self.gather_message(id, part, What::Level, message),
        }
    }
}

/// `message` with the JSON string at `span` replaced by `text`.
pub(super) fn replace(room: &mut Room, message: &[u8], span: &Range<usize>, text: &str) -> Bytes {
    room.make(message.len() + text.len() + 2, |out| {
        out.extend_from_slice(message.get(..span.start).unwrap_or_default());
        splice::quote(text, &mut out.writer());
        out.extend_from_slice(message.get(span.end..).unwrap_or_default());
    })
}

/// The raw id of a message.
pub(super) fn raw_id<'a>(envelope: &Envelope<'a>) -> Option<&'a str> {
    match envelope.id {
        Id::Raw(id) => Some(id),
        Id::Absent | Id::Null => None,
    }
}
