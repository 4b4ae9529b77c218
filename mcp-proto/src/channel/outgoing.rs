//! What is sent on a channel: messages with numbers of the channel's own in place of ids, and of progress tokens where
//! several sessions use it.

use super::{Carried, ChannelId, Errand, Link, Pending, Via, patience};
use crate::http::Method;
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::splice::splice;
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::refusal;
use crate::session::SessionKey;
use crate::shard::{Deferred, Shard};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// What becomes of a message.
enum Outgoing {
    /// It is sent; the number is that of a request.
    Message(Bytes, Option<(u64, Pending)>),
    /// The answer is known already.
    Known(Bytes),
    /// The target need not hear it.
    Nothing,
}

impl Leg {
    /// What is sent.
    pub(crate) fn message(&self) -> &Bytes {
        self.dress.as_ref().map_or(&self.body, |dress| &dress.body)
    }

    /// Whether it wants an answer.
    pub(crate) fn is_request(&self) -> bool {
        Envelope::parse(self.message(), usize::MAX).is_ok_and(|it| it.kind() == Kind::Request)
    }
}

impl Shard {
    /// Sends a request on an open channel.
    pub(super) fn send_on_channel(&mut self, id: LegId, on: ChannelId) {
        if self.legs.get(id).is_some_and(|leg| leg.errand() == Errand::Listen) {
            return self.listen_on_channel(id, on);
        }
        let (message, pending) = match self.outgoing(id, on) {
            Ok(Outgoing::Message(message, pending)) => (message, pending),
            Ok(Outgoing::Known(answer)) => return self.deferred.push_back(Deferred::Answered(id, answer)),
            Ok(Outgoing::Nothing) => return self.deferred.push_back(Deferred::Settled(id)),
            Err(trouble) => return self.deferred.push_back(Deferred::Fail(id, trouble)),
        };
        let now = self.now;
        let (Some(leg), Some(channel)) = (self.legs.get_mut(id), self.channels.table.get_mut(on)) else {
            return;
        };
        leg.sent_at = Some(now);
        channel.used = now;
        let waits = pending.is_some();
        if let Some((number, pending)) = pending {
            leg.via = Some(Via::Channel(on, number));
            channel.pending.insert(number, pending);
        }
        let until = now + patience(leg);
        match &channel.link {
            Link::Coming => {}
            Link::Process { conn, .. } => {
                let conn = *conn;
                self.counters.target_requests.add(1);
                self.write_to_child(conn, &message);
                match waits {
                    true => self.limit_leg(id, until),
                    false => self.deferred.push_back(Deferred::Settled(id)),
                }
            }
            Link::Sse { endpoint, stream } => {
                let (Some(path), stream) = (endpoint.clone(), *stream) else { return };
                let at = self.legs.get(stream).and_then(|stream| stream.at);
                let Some(leg) = self.legs.get_mut(id) else { return };
                leg.carried = Some(Box::new(Carried { at, path, message }));
                // Its POST has the deadlines of a connection; the answer's begins when that is done.
                self.dispatch_leg(id);
            }
        }
    }

    /// A client's stream hears from now on what is said to its session.
    fn listen_on_channel(&mut self, id: LegId, on: ChannelId) {
        let (Some(leg), Some(channel)) = (self.legs.get_mut(id), self.channels.table.get_mut(on)) else {
            return;
        };
        leg.via = Some(Via::Listener(on));
        leg.deadline = None;
        channel.listeners.push(id);
        self.deferred.push_back(Deferred::Settled(id));
        self.ask_session(on);
    }

    fn outgoing(&mut self, id: LegId, on: ChannelId) -> Result<Outgoing, Trouble> {
        let most = self.config.limits;
        let (Some(leg), Some(channel)) = (self.legs.get(id), self.channels.table.get(on)) else {
            return Ok(Outgoing::Nothing);
        };
        if channel.pending.len() >= most.target_waiting {
            return Err(Trouble::Busy);
        }
        // A child that does not read what it is sent gets no more.
        if let Link::Process { conn, .. } = &channel.link
            && self.conns.get(*conn).is_some_and(|slot| slot.outbox.waiting() >= most.request)
        {
            return Err(Trouble::Busy);
        }
        let message = leg.message().clone();
        let envelope =
            Envelope::parse(&message, usize::MAX).map_err(|invalid| Trouble::Malformed(invalid.reason))?;
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        let shared = channel.is_shared();
        match (envelope.kind(), method) {
            (Kind::Request, "initialize") if shared => {
                return Ok(channel
                    .greeting
                    .answer_to(&message, &envelope)
                    .map_or(Outgoing::Nothing, Outgoing::Known));
            }
            // Another session may still want the updates; who wants them is known here.
            (Kind::Request, "resources/unsubscribe") if shared => {
                let id = envelope.id_span.clone().and_then(|span| message.get(span)).unwrap_or_default();
                return Ok(Outgoing::Known(refusal::result(id, b"{}").into()));
            }
            // The gateway is the one client a shared target has.
            (Kind::Notification, "notifications/initialized" | "notifications/roots/list_changed")
                if shared =>
            {
                return Ok(Outgoing::Nothing);
            }
            (Kind::Notification, "notifications/cancelled") => {
                return Ok(self.outgoing_cancel(id, on, &message, envelope.params.request_id.clone()));
            }
            (Kind::Request, _) => {}
            _ => return Ok(Outgoing::Message(message, None)),
        }
        let Some(channel) = self.channels.table.get_mut(on) else { return Ok(Outgoing::Nothing) };
        channel.number += 1;
        let number = channel.number;
        let text = |span: Option<Range<usize>>| span.map(|span| message.slice(span));
        let pending = Pending {
            leg: id,
            id: text(envelope.id_span.clone()).unwrap_or_default(),
            token: text(envelope.params.meta_progress_token.clone()),
            cancelled: false,
            logs: envelope.params.modern.log_level.is_some(),
            listens: method == "subscriptions/listen",
        };
        let token = envelope.params.meta_progress_token.filter(|_| shared);
        let spans = envelope.id_span.into_iter().chain(token);
        Ok(Outgoing::Message(numbered(&message, spans, number), Some((number, pending))))
    }

    /// A client gives up a request: the target knows that by another id. What it never saw, or has answered, it need
    /// not be told of.
    fn outgoing_cancel(
        &mut self,
        id: LegId,
        on: ChannelId,
        message: &Bytes,
        request: Option<Range<usize>>,
    ) -> Outgoing {
        let named = request.clone().and_then(|span| message.get(span)).unwrap_or_default();
        let asker = self.asker(id);
        let channel = self.channels.table.get(on);
        let mut all = channel.into_iter().flat_map(|channel| &channel.pending);
        let found = all.find(|(_, pending)| pending.id == named && self.asker(pending.leg) == asker);
        let number = found.map(|(number, _)| *number);
        let (Some(span), Some(number)) = (request, number) else {
            self.counters.dropped.add(1);
            return Outgoing::Nothing;
        };
        let channel = self.channels.table.get_mut(on);
        if let Some(pending) = channel.and_then(|channel| channel.pending.get_mut(&number)) {
            pending.cancelled = true;
        }
        Outgoing::Message(numbered(message, [span], number), None)
    }

    /// Whose request a leg is.
    pub(super) fn asker(&self, id: LegId) -> Option<SessionKey> {
        let leg = self.legs.get(id)?;
        match leg.purpose {
            Purpose::Remote { asker, .. } => asker.map(SessionKey::from_be_bytes),
            _ => self.sessions.get(leg.session?).map(|session| session.key),
        }
    }

    /// Tells the target that nobody waits for an answer any more.
    pub(super) fn cancel_on_channel(&mut self, on: ChannelId, number: u64) {
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"nobody waits for the answer any more"}}}}"#
        );
        self.write_on_channel(on, message.into());
    }

    /// A message of the gateway's own that wants no answer, or is one.
    pub(super) fn write_on_channel(&mut self, on: ChannelId, message: Bytes) {
        let Some(channel) = self.channels.table.get(on) else { return };
        match &channel.link {
            Link::Process { conn, .. } => {
                let conn = *conn;
                self.write_to_child(conn, &message);
            }
            Link::Sse { endpoint: Some(path), stream } => {
                let (target, path) = (Arc::clone(&channel.target), Arc::clone(path));
                let at = self.legs.get(*stream).and_then(|stream| stream.at);
                let mut leg = Leg::new(target, channel.session, Purpose::Quiet, Method::Post, Bytes::new());
                leg.carried = Some(Box::new(Carried { at, path, message }));
                let leg = self.legs.insert(leg);
                self.counters.calls.add(1);
                self.dispatch_leg(leg);
            }
            Link::Coming | Link::Sse { endpoint: None, .. } => {}
        }
    }
}

/// `message` with `number` at each of `spans`.
pub(super) fn numbered(message: &[u8], spans: impl IntoIterator<Item = Range<usize>>, number: u64) -> Bytes {
    let number = number.to_string();
    let mut edits: Vec<_> = spans.into_iter().map(|span| (span, number.as_bytes())).collect();
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = Vec::with_capacity(message.len() + 8);
    splice(message, &edits, &mut out);
    out.into()
}
