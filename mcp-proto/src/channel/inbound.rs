//! What a channel's target says: answers find their requests, everything else the call or session it belongs to.

use super::{ChannelId, Errand, MOST_HELD, Mail, Via, patience};
use crate::federation::Era;
use crate::jsonrpc::envelope::{self, Body, Envelope, Id, Kind};
use crate::jsonrpc::splice::splice;
use crate::leg::{LegId, Purpose, Trouble};
use crate::refusal;
use crate::shard::{Deferred, Shard};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Notices about what a target has: of interest to everyone, whoever's call they come with.
fn is_general(method: &str) -> bool {
    method.ends_with("/list_changed") || method == "notifications/resources/updated"
}

impl Shard {
    /// One message, or several as 2025-03-26 allows.
    pub(super) fn channel_message(&mut self, id: ChannelId, raw: &Bytes) {
        let depth = self.config.limits.depth;
        match envelope::body(raw, depth, usize::MAX) {
            Ok(Body::Message(_)) => self.one_message(id, raw),
            Ok(Body::Batch(messages)) => {
                for span in messages {
                    self.one_message(id, &raw.slice(span));
                }
            }
            Err(_) => self.counters.malformed.add(1),
        }
    }

    fn one_message(&mut self, id: ChannelId, raw: &Bytes) {
        let Ok(envelope) = Envelope::parse(raw, self.config.limits.depth) else {
            return self.counters.malformed.add(1);
        };
        match envelope.kind() {
            Kind::Response => self.channel_response(id, &envelope, raw),
            Kind::Notification => self.channel_notice(id, &envelope, raw),
            Kind::Request => self.channel_request(id, &envelope, raw),
        }
    }

    fn channel_response(&mut self, id: ChannelId, envelope: &Envelope<'_>, raw: &Bytes) {
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        let number = match envelope.id {
            Id::Raw(text) => text.parse().ok(),
            // An error whose id the target did not know belongs to the only request there was.
            Id::Absent | Id::Null if channel.pending.len() == 1 => channel.pending.keys().next().copied(),
            Id::Absent | Id::Null => None,
        };
        if number.is_some_and(|number| channel.greeting.is_answered_by(number)) {
            self.channel_spoke(id);
            return self.channel_greeted(id, raw.clone());
        }
        let Some(pending) = number.and_then(|number| channel.pending.remove(&number)) else {
            return self.counters.dropped.add(1);
        };
        self.channel_spoke(id);
        let message = match envelope.id_span.clone() {
            Some(span) => spliced(raw, span, &pending.id),
            None => raw.clone(),
        };
        if let Some(leg) = self.legs.get_mut(pending.leg) {
            leg.via = None;
        }
        self.leg_answered(pending.leg, &message);
        self.channel_eased(id);
    }

    /// A request's answer has come, whole.
    pub(crate) fn leg_answered(&mut self, id: LegId, message: &Bytes) {
        let Some(leg) = self.legs.get(id) else { return };
        let purpose = leg.purpose;
        let took = leg.sent_at.map(|at| self.now.saturating_duration_since(at));
        match purpose {
            Purpose::Remote { shard, leg, .. } => {
                self.drop_leg(id);
                return self.mail(shard, Mail::Answered { leg, message: message.clone() });
            }
            Purpose::Part { exchange, .. } => {
                if let Some(exchange) = self.exchange_mut(exchange) {
                    exchange.log.target_duration = exchange.log.target_duration.max(took);
                }
            }
            _ => {}
        }
        if let Purpose::Part { exchange, part, slot: None } = purpose
            && self.exchange(exchange).is_some()
        {
            let plan = self.plan(id, exchange, part);
            if plan.crosses() {
                let mut look = self.look(plan);
                return match self.look_body(exchange, &mut look, message.clone()) {
                    Ok(_) => self.looked_at_answer(id, exchange, part, look),
                    Err(trouble) => self.leg_failed(id, trouble),
                };
            }
        }
        self.whole_answer(id, purpose, 200, message);
    }

    /// A request that wants no answer was sent.
    pub(crate) fn leg_settled(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        match leg.purpose {
            Purpose::Part { exchange, part, slot: None } => {
                self.drop_leg(id);
                self.part_done(exchange, part);
            }
            Purpose::Part { exchange, part, slot: Some(slot) } => {
                self.slot_answered(id, exchange, part, slot, 202, b"");
            }
            Purpose::Greet { again } => self.greeted(id, again),
            Purpose::Stream { exchange } if leg.via.is_some() => self.stream_attached(id, exchange),
            Purpose::Remote { shard, leg, errand: Errand::Listen, .. } => {
                self.mail(shard, Mail::Listening { leg });
            }
            Purpose::Stream { exchange } => self.stream_refused(id, exchange, 405),
            Purpose::Resume { exchange } => self.resume_refused(id, exchange, 405),
            Purpose::Open { .. }
            | Purpose::Feed { .. }
            | Purpose::Remote { .. }
            | Purpose::Probe
            | Purpose::Schemas { .. }
            | Purpose::Parked { .. }
            | Purpose::Subscribe { .. }
            | Purpose::Pass { .. }
            | Purpose::Quiet => {
                self.drop_leg(id);
            }
        }
    }

    fn channel_notice(&mut self, id: ChannelId, envelope: &Envelope<'_>, raw: &Bytes) {
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        let Some(channel) = self.channels.table.get(id) else { return };
        let shared = channel.is_shared();
        if method == "notifications/progress" {
            return self.channel_progress(id, envelope, raw);
        }
        // What a subscription brings names the request that made it (2026-07-28, subscriptions).
        if let Some(span) = envelope.params.modern.subscription_id.clone()
            && let Some(number) = raw.get(span.clone()).and_then(number)
            && let Some(pending) = channel.pending.get(&number)
        {
            let message = spliced(raw, span, &pending.id);
            let leg = pending.leg;
            return self.leg_told(leg, &message);
        }
        // Without sessions there is no level but the request's own, so what is logged is about one that has a level.
        let logged = method == "notifications/message" && self.era(&channel.target) == Some(Era::Modern);
        let pending = channel.pending.values().filter(|pending| !logged || pending.logs);
        let mut calls = pending.map(|pending| pending.leg).filter(|leg| self.is_call(*leg));
        let last = calls.next_back();
        let asker = last.and_then(|last| self.asker(last));
        let only = last.filter(|_| calls.all(|leg| logged && asker.is_some() && self.asker(leg) == asker));
        match method {
            // A target without sessions asks nothing: what it takes back is a listen.
            "notifications/cancelled" if self.era(&channel.target) == Some(Era::Modern) => {
                self.listen_cancelled(id, envelope, raw);
            }
            "notifications/cancelled" if !shared => match last {
                Some(leg) => self.leg_told(leg, raw),
                None => self.session_told(id, raw),
            },
            _ if shared && is_general(method) => {
                let target = channel.target.id.clone();
                self.tell_all(Mail::Noticed { target, message: raw.clone() });
            }
            _ if is_general(method) && self.has_listener(id) => self.session_told(id, raw),
            _ => match only {
                Some(leg) => self.leg_told(leg, raw),
                // Whose it is can't be told, and it may be about what another session does.
                None if shared => self.counters.dropped.add(1),
                None => self.session_told(id, raw),
            },
        }
    }

    fn listen_cancelled(&mut self, id: ChannelId, envelope: &Envelope<'_>, raw: &Bytes) {
        let Some(channel) = self.channels.table.get(id) else { return };
        let found = envelope.params.request_id.clone().and_then(|span| {
            let pending = channel.pending.get(&raw.get(span.clone()).and_then(number)?)?;
            Some((pending.leg, spliced(raw, span, &pending.id)))
        });
        match found {
            Some((leg, message)) => self.leg_told(leg, &message),
            None => self.counters.dropped.add(1),
        }
    }

    fn channel_progress(&mut self, id: ChannelId, envelope: &Envelope<'_>, raw: &Bytes) {
        let Some(channel) = self.channels.table.get(id) else { return };
        let Some(span) = envelope.params.progress_token.clone() else {
            return self.counters.malformed.add(1);
        };
        let token = raw.get(span.clone()).unwrap_or_default();
        let found = match channel.is_shared() {
            true => number(token).and_then(|number| channel.pending.get(&number)),
            false => channel.pending.values().find(|pending| pending.token.as_deref() == Some(token)),
        };
        let Some((leg, Some(own))) = found.map(|pending| (pending.leg, &pending.token)) else {
            return self.counters.dropped.add(1);
        };
        let message = spliced(raw, span, own);
        self.leg_told(leg, &message);
    }

    fn channel_request(&mut self, id: ChannelId, envelope: &Envelope<'_>, raw: &Bytes) {
        let Id::Raw(rpc_id) = envelope.id else { return self.counters.malformed.add(1) };
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        let Some(channel) = self.channels.table.get(id) else { return };
        if method == "ping" {
            let body = refusal::result(rpc_id.as_bytes(), b"{}");
            return self.write_on_channel(id, body.into());
        }
        if channel.is_shared() {
            let words = "this client stands for several and can't be asked";
            let body = refusal::error(rpc_id.as_bytes(), refusal::METHOD_NOT_FOUND, words, None);
            return self.write_on_channel(id, body.into());
        }
        let calls = channel.pending.values().rev().map(|pending| pending.leg);
        let calls: Vec<_> = calls.filter(|leg| self.is_call(*leg)).collect();
        let asks = calls.iter().copied().find(|leg| self.can_ask(*leg)).or_else(|| calls.first().copied());
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        match asks {
            Some(leg) => self.leg_told(leg, raw),
            None if channel.listeners.is_empty() && channel.unasked.len() < MOST_HELD => {
                if channel.unasked.is_empty() {
                    channel.unasked_since = self.now;
                }
                channel.unasked.push(raw.clone());
                self.watch_channel(id);
            }
            None => self.session_told(id, raw),
        }
    }

    /// Somebody listens now, or has not come for too long: what was asked is asked, or refused.
    pub(super) fn ask_session(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        for message in std::mem::take(&mut channel.unasked) {
            self.session_told(id, &message);
        }
    }

    fn is_call(&self, leg: LegId) -> bool {
        self.legs.get(leg).is_some_and(|leg| leg.is_call())
    }

    /// Whether the client of a call can be asked on that call's own stream, as far as is known here.
    fn can_ask(&self, leg: LegId) -> bool {
        let remote = self.legs.get(leg).is_some_and(|leg| matches!(leg.purpose, Purpose::Remote { .. }));
        remote || self.message_reader(leg).is_some()
    }

    fn has_listener(&self, id: ChannelId) -> bool {
        self.channels.table.get(id).is_some_and(|channel| !channel.listeners.is_empty())
    }

    /// A target says something that belongs to a request; that it goes on with it gives it more time.
    pub(super) fn leg_told(&mut self, id: LegId, raw: &Bytes) {
        let endures = self.endures(id);
        let Some(leg) = self.legs.get_mut(id) else { return };
        if endures {
            leg.deadline = None;
        } else {
            let until = self.now + patience(leg);
            self.limit_leg(id, until);
        }
        let Some(leg) = self.legs.get(id) else { return };
        if let Purpose::Remote { shard, leg, .. } = leg.purpose {
            return self.mail(shard, Mail::Said { leg, message: raw.clone() });
        }
        if leg.errand() == Errand::Listen {
            let (target, Some(session)) = (Arc::clone(&leg.target), leg.session) else { return };
            return self.session_message(session, &target, raw);
        }
        let alone = self.feeder(id).is_some();
        // A client that does not read would be written to without end: the others can't wait for it.
        if !alone
            && self.is_overfull(id)
            && let Some(exchange) = leg.purpose.answers()
        {
            return self.cut(exchange, "the client took too long to read what the target says meanwhile");
        }
        self.target_message(id, raw, None);
    }

    /// Whether a request may wait for ever once its target has said something to it.
    fn endures(&self, id: LegId) -> bool {
        let Some(leg) = self.legs.get(id) else { return false };
        let pending = match leg.via {
            Some(Via::Channel(on, number)) => {
                self.channels.table.get(on).and_then(|channel| channel.pending.get(&number))
            }
            _ => None,
        };
        leg.errand() == Errand::Listen || self.is_listening(id) || pending.is_some_and(|it| it.listens)
    }

    /// A target says something to a session.
    fn session_told(&mut self, id: ChannelId, raw: &Bytes) {
        let Some(channel) = self.channels.table.get(id) else { return };
        if let Some(listener) = channel.listeners.first().copied() {
            return self.leg_told(listener, raw);
        }
        let (target, Some(session)) = (Arc::clone(&channel.target), channel.session) else { return };
        self.session_message(session, &target, raw);
    }

    /// A message was longer than may be kept.
    pub(super) fn channel_overrun(&mut self, id: ChannelId, rpc_id: Option<Bytes>, has_method: bool) {
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        let number = rpc_id.as_deref().and_then(number);
        match (has_method, rpc_id) {
            (true, Some(rpc_id)) => {
                let words = "the request is too large";
                let body = refusal::error(&rpc_id, refusal::INVALID_REQUEST, words, None);
                self.write_on_channel(id, body.into());
            }
            (true, None) => self.counters.dropped.add(1),
            (false, _) => match number.and_then(|number| channel.pending.remove(&number)) {
                Some(pending) => {
                    if let Some(leg) = self.legs.get_mut(pending.leg) {
                        leg.via = None;
                    }
                    self.deferred.push_back(Deferred::Fail(pending.leg, Trouble::TooLarge));
                    self.channel_eased(id);
                }
                None => self.counters.malformed.add(1),
            },
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `message` with `text` at `span`.
fn spliced(message: &[u8], span: Range<usize>, text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 64);
    splice(message, &[(span, text)], &mut out);
    out.into()
}
