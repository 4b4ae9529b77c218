//! The other direction: requests and notices of targets for the client, and what the client says to them.
//!
//! A target's request reaches the client under an id that names the target and the target's own id, sealed, so that the
//! answer finds its way back through any shard without a table.

use crate::edge::Note;
use crate::exchange::ExchangeId;
use crate::federation::Era;
use crate::http::Method;
use crate::jsonrpc::envelope::{Envelope, Kind as Message, Text};
use crate::jsonrpc::notice::{self, Edit};
use crate::jsonrpc::rewrite::{Plan, Scope};
use crate::jsonrpc::{list, params, splice};
use crate::leg::{Leg, LegId, Purpose};
use crate::refusal;
use crate::seal::Kind;
use crate::session::{Session, SessionId, SessionKey};
use crate::shard::Shard;
use crate::sse;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use routing::{Target, TargetId};
use std::ops::Range;
use std::sync::Arc;

impl Shard {
    /// A request or notification came on a target's stream.
    pub(crate) fn target_message(&mut self, id: LegId, raw: &[u8], event_id: Option<&str>) {
        match Envelope::parse(raw, self.config.limits.depth) {
            Ok(envelope) => self.target_said(id, &envelope, raw, event_id),
            Err(_) => self.counters.malformed.add(1),
        }
    }

    /// The same, and what it is has been read.
    pub(crate) fn target_said(
        &mut self,
        id: LegId,
        envelope: &Envelope<'_>,
        raw: &[u8],
        event_id: Option<&str>,
    ) {
        let Some(leg) = self.legs.get(id) else { return };
        let target = Arc::clone(&leg.target);
        let Some(session) = leg.session else {
            return self.stateless_notice(id, &target, envelope, raw);
        };
        self.said_in_session(Some(id), session, &target, envelope, raw, event_id);
    }

    /// The same on a channel, where it belongs to no request.
    pub(crate) fn session_message(&mut self, session: SessionId, target: &Arc<Target>, raw: &[u8]) {
        let Ok(envelope) = Envelope::parse(raw, self.config.limits.depth) else {
            return self.counters.malformed.add(1);
        };
        self.said_in_session(None, session, target, &envelope, raw, None);
    }

    fn said_in_session(
        &mut self,
        id: Option<LegId>,
        session: SessionId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
        event_id: Option<&str>,
    ) {
        match envelope.kind() {
            // There are none on a listen, and none but notices on it.
            Message::Request if id.is_some_and(|id| self.is_listening(id)) => self.counters.malformed.add(1),
            Message::Request => self.target_request(id, session, target, envelope, raw, event_id),
            Message::Notification if self.serves_calls(session) => {
                self.hidden_notice(id, session, target, envelope, raw);
            }
            Message::Notification => self.target_notice(id, session, target, envelope, raw, event_id),
            Message::Response => self.counters.malformed.add(1),
        }
    }

    fn target_request(
        &mut self,
        id: Option<LegId>,
        session: SessionId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
        event_id: Option<&str>,
    ) {
        let Some(rpc_id) = super::route::raw_id(envelope) else { return self.counters.malformed.add(1) };
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        if method == "ping" {
            let body = refusal::result(rpc_id.as_bytes(), b"{}");
            self.send_quietly(session, Arc::clone(target), Method::Post, body.into());
            return;
        }
        if self.sessions.get(session).is_some_and(Session::is_hidden) {
            return self.hidden_request(session, target, envelope, raw);
        }
        let Some(reader) = self.reader(id, session) else {
            let words = "the client can't be asked now: it has no stream open";
            let body = refusal::error(rpc_id.as_bytes(), refusal::METHOD_NOT_FOUND, words, None);
            self.send_quietly(session, Arc::clone(target), Method::Post, body.into());
            return;
        };
        let renames = self.renames(target);
        let Some(key) = self.sessions.get(session).map(|session| session.key) else { return };
        let mut edits = Vec::new();
        if let Some(span) = envelope.id_span.clone() {
            edits.push((span, self.seal_for(Kind::Reply, key, &target.id, rpc_id.as_bytes())));
        }
        if let Some(span) = envelope.params.meta_progress_token.clone().filter(|_| renames.is_some()) {
            let token = raw.get(span.clone()).unwrap_or_default();
            edits.push((span, self.seal_for(Kind::Progress, key, &target.id, token)));
        }
        let scope = if method == "sampling/createMessage" { Scope::Sampling } else { Scope::Nothing };
        let message = params::edited(raw, edits);
        let task = self.session_task_seal(key, &target.id);
        let message = self.rewritten(Plan { task, ..Plan::names(renames, scope) }, &message);
        self.tell(id, reader, &message, &[], event_id);
    }

    fn target_notice(
        &mut self,
        id: Option<LegId>,
        session: SessionId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
        event_id: Option<&str>,
    ) {
        if id.is_some_and(|id| self.listen_notice(id, envelope, raw)) {
            return;
        }
        if let Some(subscriber) = self.subscriber(session) {
            return self.hear(id, subscriber, target, envelope, raw);
        }
        let params = &envelope.params;
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        // A legacy client knows of no subscription that the notice would belong to.
        let subscription =
            params::subscription(raw, envelope).map_or(notice::NONE, |span| (span, b"".into()));
        let key = |shard: &Self| shard.sessions.get(session).map(|session| session.key);
        let task_seal = |shard: &Self| shard.session_task_seal(key(shard)?, &target.id);
        let renames = match method {
            "notifications/message" | "notifications/resources/updated" => self.renames(target),
            _ => None,
        };
        let named = match (method, &renames) {
            ("notifications/cancelled", _) => {
                let Some(key) = key(self) else { return };
                let Some(span) = params.request_id.clone() else { return self.counters.malformed.add(1) };
                let request = raw.get(span.clone()).unwrap_or_default();
                let sealed = self.seal_for(Kind::Reply, key, &target.id, request);
                [(span, sealed.into()), notice::NONE]
            }
            ("notifications/tasks/status", _) => {
                let plan = Plan { task: task_seal(self), ..Plan::names(self.renames(target), Scope::Task) };
                let plain = params::without_subscription(raw, envelope);
                let message = self.rewritten(plan, plain.as_deref().unwrap_or(raw));
                return self.tell_session(id, session, &message, &[], event_id);
            }
            ("notifications/message", Some(target)) => notice::logger(target, params),
            (_, Some(target)) => notice::uri(target, params),
            (_, None) => {
                self.invalidate(&target.id, method);
                [notice::NONE, notice::NONE]
            }
        };
        let [name, mark] = named;
        let sealed = |task: &Text<'_>| Some(notice::spelled(task, &task_seal(self)?.seal(&task.value)));
        let task = params.related_task.as_ref().and_then(sealed).unwrap_or(notice::NONE);
        let mut edits = [name, mark, subscription, task];
        edits.sort_by_key(|(span, _)| span.start);
        self.tell_session(id, session, raw, &edits, event_id);
    }

    /// A target's message for whoever reads what it says in a session.
    fn tell_session(
        &mut self,
        id: Option<LegId>,
        session: SessionId,
        message: &[u8],
        edits: &[Edit<'_>],
        event_id: Option<&str>,
    ) {
        match self.reader(id, session) {
            Some(reader) => self.tell(id, reader, message, edits, event_id),
            None => self.tell_elsewhere(session, message, edits),
        }
    }

    /// A change notice makes what is remembered of a list worthless, wherever its reader asks for the list next.
    pub(super) fn invalidate(&mut self, target: &TargetId, method: &str) {
        if method.ends_with("/list_changed") {
            self.invalidate_here(target, method);
            self.broadcast(&Note::Changed { target: target.clone(), method: method.into() });
        }
    }

    /// The same for this shard.
    pub(super) fn invalidate_here(&mut self, target: &TargetId, method: &str) {
        let kinds: &[list::Kind] = match method {
            "notifications/tools/list_changed" => &[list::Kind::Tools],
            "notifications/prompts/list_changed" => &[list::Kind::Prompts],
            "notifications/resources/list_changed" => &[list::Kind::Resources, list::Kind::Templates],
            _ => &[],
        };
        for kind in kinds {
            self.catalogue.forget(target, *kind);
            if *kind == list::Kind::Tools {
                self.forget_schemas(target);
            }
        }
    }

    /// The client's stream that messages on this target stream belong to: the call's own, else the session's.
    fn reader(&self, id: Option<LegId>, session: SessionId) -> Option<ExchangeId> {
        let listener = || self.sessions.get(session)?.listener.filter(|listener| self.has_room(*listener));
        id.and_then(|id| self.message_reader(id))
            .or_else(listener)
            .filter(|_| self.subscriber(session).is_none())
    }

    /// The subscription that listens in a session of its own.
    pub(crate) fn subscriber(&self, session: SessionId) -> Option<ExchangeId> {
        let listener = self.sessions.get(session)?.listener?;
        self.exchange(listener)?.subscription.is_some().then_some(listener)
    }

    /// The client's stream that a target stream feeds.
    pub(crate) fn message_reader(&self, id: LegId) -> Option<ExchangeId> {
        let exchange = self.legs.get(id)?.purpose.feeds()?;
        self.exchange(exchange).filter(|it| it.accepts.events && it.subscription.is_none())?;
        Some(exchange)
    }

    /// `message` for a client, with all `edits` made, which are in order.
    pub(super) fn tell(
        &mut self,
        id: Option<LegId>,
        reader: ExchangeId,
        message: &[u8],
        edits: &[Edit<'_>],
        event_id: Option<&str>,
    ) {
        // An event id is a place in one stream: on another it would lead its reader astray.
        let event_id = event_id.filter(|_| id.and_then(|id| self.message_reader(id)) == Some(reader));
        let mut event = std::mem::take(&mut self.scratch);
        sse::write::event_of(&mut event, event_id, splice::parts(message, edits));
        self.write_event(reader, &event);
        self.keep_room(event);
        if event_id.is_some() {
            self.set_resumable(reader);
        }
    }

    /// The session's stream may be on another shard.
    fn tell_elsewhere(&mut self, session: SessionId, message: &[u8], edits: &[Edit<'_>]) {
        let Some(session) = self.sessions.get(session) else { return };
        if self.config.shards > 1 {
            let (key, message) = (session.key, splice::parts(message, edits).collect::<Vec<_>>().concat());
            return self.broadcast(&Note::Notify { key, message: message.into() });
        }
        self.counters.dropped.add(1);
    }

    /// A JSON string that stands for `inner` of `target` in this session.
    fn seal_for(&self, kind: Kind, key: SessionKey, target: &TargetId, inner: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u128(key);
        writer.bytes(target.name.as_str().as_bytes());
        writer.bytes(inner);
        format!("\"{}\"", self.config.keys.seal_equal(kind, &writer.done())).into_bytes()
    }

    /// The target, and its own id or token, behind a JSON string from [`Self::seal_for`].
    fn unseal_for(&self, kind: Kind, session: SessionId, raw: &[u8]) -> Option<(Arc<Target>, Vec<u8>)> {
        let session = self.sessions.get(session)?;
        let text = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let content = self.config.keys.open(kind, text)?;
        let mut reader = Reader::new(&content);
        if reader.u128()? != session.key {
            return None;
        }
        let target = self.backend(&session.backend).target(reader.text()?)?;
        Some((Arc::clone(target), reader.bytes()?.to_vec()))
    }

    /// A client's answer to a target's request.
    pub(super) fn reply(&mut self, id: ExchangeId, part: u16, envelope: &Envelope<'_>, message: &Bytes) {
        let span = envelope.id_span.clone();
        let raw = span.clone().and_then(|span| message.get(span)).unwrap_or_default();
        if let Some(place) = self.session_of(id).and_then(|session| self.place(session, raw)) {
            return self.input(id, part, place, message);
        }
        let found = self.session_of(id).and_then(|session| self.unseal_for(Kind::Reply, session, raw));
        self.pass_back(id, part, message, span, found);
    }

    /// A client's progress on a target's request.
    pub(super) fn progress(&mut self, id: ExchangeId, part: u16, envelope: &Envelope<'_>, message: &Bytes) {
        let span = envelope.params.progress_token.clone();
        let raw = span.clone().and_then(|span| message.get(span)).unwrap_or_default();
        if let Some(place) = self.session_of(id).and_then(|session| self.place(session, raw)) {
            return self.input(id, part, place, message);
        }
        if let Some(target) = self.backend_of(id).single().cloned() {
            return self.relay(id, part, target, message.clone(), false);
        }
        let found = self.session_of(id).and_then(|session| self.unseal_for(Kind::Progress, session, raw));
        self.pass_back(id, part, message, span, found);
    }

    fn pass_back(
        &mut self,
        id: ExchangeId,
        part: u16,
        message: &Bytes,
        span: Option<Range<usize>>,
        found: Option<(Arc<Target>, Vec<u8>)>,
    ) {
        let (Some(span), Some((target, inner))) = (span, found) else {
            // Too late, or never asked: accepted and dropped, as the specification has it.
            self.counters.dropped.add(1);
            return self.part_done(id, part);
        };
        let mut edits = vec![(span, inner)];
        edits.extend(self.related_task(id, message));
        self.relay(id, part, target, params::edited(message, edits).into(), false);
    }

    /// A client gives up a request: told to the target that works on it, on whatever shard that is.
    pub(super) fn cancel(&mut self, id: ExchangeId, part: u16, message: &Bytes) {
        let Some(session) = self.session_of(id) else { return };
        let found = self.leg_of_request(session, message);
        if let Some(leg) = found
            && self.is_stateless(leg)
        {
            self.withdraw(leg);
            return self.part_done(id, part);
        }
        let single = self.backend_of(id).single().filter(|target| self.has_session(session, target)).cloned();
        let found = found.and_then(|leg| self.legs.get(leg)).map(|leg| Arc::clone(&leg.target));
        match found.or(single) {
            Some(target) => self.relay(id, part, target, message.clone(), false),
            None => {
                if let Some(session) = self.sessions.get(session) {
                    let key = session.key;
                    self.broadcast(&Note::Cancel { key, message: message.clone() });
                }
                self.part_done(id, part);
            }
        }
    }

    /// Another shard's client gave up a request that may be worked on here.
    pub(super) fn cancel_here(&mut self, session: SessionId, message: &Bytes) {
        let Some(id) = self.leg_of_request(session, message) else { return };
        if self.is_stateless(id) {
            return self.withdraw(id);
        }
        if let Some(target) = self.legs.get(id).map(|leg| Arc::clone(&leg.target)) {
            self.send_quietly(session, target, Method::Post, message.clone());
        }
    }

    /// Whether a target can be told something in a client's session. What it speaks may not be known on this shard yet:
    /// then one that has a session open there can.
    fn has_session(&self, session: SessionId, target: &Target) -> bool {
        match self.era(target) {
            Some(era) => era != Era::Modern,
            None => self.sessions.get(session).is_some_and(|session| session.ready(target).is_some()),
        }
    }

    /// Whether a request's target has no session in which it could be told anything: closing its stream cancels it.
    fn is_stateless(&self, id: LegId) -> bool {
        let era = |leg: &Leg| match &leg.dress {
            Some(dress) => Some(dress.era),
            None => self.era(&leg.target),
        };
        self.legs
            .get(id)
            .is_some_and(|leg| leg.round.is_some() || matches!(era(leg), None | Some(Era::Modern)))
    }

    /// The request to a target that a cancellation names.
    fn leg_of_request(&self, session: SessionId, message: &[u8]) -> Option<LegId> {
        let envelope = Envelope::parse(message, self.config.limits.depth).ok()?;
        let request = message.get(envelope.params.request_id?)?;
        let mut legs = self.legs.iter().filter(|(_, leg)| leg.session == Some(session));
        let (id, _) = legs.find(|(_, leg)| match leg.purpose {
            Purpose::Part { exchange, part, slot: None } => {
                self.exchange(exchange).is_some_and(|exchange| exchange.id_text(part) == request)
            }
            _ => false,
        })?;
        Some(id)
    }
}
