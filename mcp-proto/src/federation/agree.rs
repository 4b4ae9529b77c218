//! What is asked of a target so that it tells of changes, and what it agrees to.
//!
//! | target | its stream | its agreement |
//! |---|---|---|
//! | legacy | GET | for a subscription: its answers to `resources/subscribe`, one after the other |
//! | modern | `subscriptions/listen` | `notifications/subscriptions/acknowledged` |
//!
//! A modern target is asked with one filter for all. When that changes (a legacy client subscribes to one more resource),
//! a second stream is opened with the new filter, and when the target has agreed to it the first is closed: so there is
//! always one that is in force, and one that is heard (basic/patterns/subscriptions).

use super::probe::Era;
use super::subscription::{SETTLE, Told, Topic};
use crate::ShardId;
use crate::edge::Note;
use crate::exchange::{Exchange, ExchangeId, State, Stream, Waiter, Work};
use crate::http::Method;
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::params::{self, Filter};
use crate::jsonrpc::{list, splice};
use crate::leg::{Leg, LegId, Purpose};
use crate::refusal;
use crate::session::{SessionId, SessionKey};
use crate::shard::Shard;
use bytes::Bytes;
use routing::{TargetId, uris};
use std::sync::Arc;

impl Shard {
    // --- modern targets ---

    /// Makes of the request for a stream what its target knows: a listen.
    pub(super) fn ask_to_listen(&mut self, id: LegId, exchange: ExchangeId) {
        let Some(target) = self.legs.get(id).map(|leg| leg.target.id.clone()) else { return };
        let share = self.share(exchange, &target).unwrap_or_default();
        self.numbers += 1;
        let message = self.exchange(exchange).map(|exchange| listen_message(exchange, self.numbers, &share));
        if let Some(leg) = self.legs.get_mut(id) {
            leg.method = Method::Post;
            leg.body = message.unwrap_or_default();
            leg.last_event = None;
        }
    }

    /// Makes it the GET that a legacy target knows.
    pub(super) fn ask_for_stream(&mut self, id: LegId, exchange: ExchangeId) {
        let Some(target) = self.legs.get(id).map(|leg| leg.target.id.clone()) else { return };
        let streams = self.exchange(exchange).map(|exchange| exchange.streams.as_slice()).unwrap_or_default();
        let last =
            streams.iter().find(|stream| stream.target == target).and_then(|stream| stream.last.clone());
        if let Some(leg) = self.legs.get_mut(id) {
            leg.method = Method::Get;
            leg.body = Bytes::new();
            leg.last_event = last.map(Box::new);
        }
    }

    /// What a client's stream wants to hear from a target; `None` when that is nothing.
    pub(super) fn share(&self, id: ExchangeId, target: &TargetId) -> Option<Filter> {
        let exchange = self.exchange(id)?;
        let share = match &exchange.subscription {
            Some(subscription) => subscription.share(target, self.is_alone(target)),
            None => {
                let session = exchange.session.and_then(|session| self.sessions.get(session))?;
                let own = session.subscriptions.iter().filter(|(name, _)| name == target);
                let uris = own.map(|(_, uri)| uri.clone()).collect();
                Filter { tools: true, prompts: true, resources: true, uris, ..Filter::default() }
            }
        };
        (share != Filter::default()).then_some(share)
    }

    /// Whether a request for a stream is a listen.
    pub(crate) fn is_listening(&self, id: LegId) -> bool {
        let leg = self.legs.get(id).filter(|leg| matches!(leg.purpose, Purpose::Stream { .. }));
        leg.and_then(|leg| leg.dress.as_ref()).is_some_and(|dress| dress.era == Era::Modern)
    }

    /// A notice on a listen that is about the listen; whether it was one.
    pub(super) fn listen_notice(&mut self, id: LegId, envelope: &Envelope<'_>, raw: &[u8]) -> bool {
        let Some(Purpose::Stream { exchange }) = self.legs.get(id).map(|leg| leg.purpose) else {
            return false;
        };
        if !self.is_listening(id) {
            return false;
        }
        match envelope.method.as_ref().map_or("", |method| &method.value) {
            "notifications/subscriptions/acknowledged" => {
                let filter = envelope.params.notifications.clone().and_then(|span| raw.get(span));
                let agreed = filter.and_then(Filter::parse).unwrap_or_else(|| {
                    self.counters.malformed.add(1);
                    Filter::default()
                });
                self.listening(id, exchange, agreed);
            }
            // The target tears it down (basic/patterns/cancellation).
            "notifications/cancelled" => self.listen_over(id, exchange),
            _ => return false,
        }
        true
    }

    /// A target agreed to a listen.
    fn listening(&mut self, id: LegId, exchange: ExchangeId, agreed: Filter) {
        self.promote(id, exchange);
        let Some(stream) = self.stream_of(exchange, id) else { return };
        stream.state = State::Open(Some(Box::new(agreed)));
        let (target, stale) = (stream.target.clone(), std::mem::take(&mut stream.stale));
        self.stream_opened(exchange, &target, false);
        if stale {
            self.ask_anew(exchange, &target);
        }
        self.settle_waiters(exchange);
    }

    /// A stream that was to take the place of another does so.
    pub(super) fn promote(&mut self, id: LegId, exchange: ExchangeId) {
        let Some(stream) = self.stream_of(exchange, id).filter(|stream| stream.next == Some(id)) else {
            return;
        };
        stream.next = None;
        if let Some(before) = stream.leg.replace(id) {
            self.abandon(before);
        }
    }

    /// The answer to a listen, which ends it, or refuses it.
    pub(crate) fn listen_answered(&mut self, id: LegId, exchange: ExchangeId, answer: &[u8]) {
        let parsed = Envelope::parse(answer, self.config.limits.depth).ok();
        match parsed.and_then(|envelope| envelope.error) {
            _ if !self.is_listening(id) => self.counters.dropped.add(1),
            Some(error) if error.code != Some(refusal::INTERNAL_ERROR) => {
                self.stream_refused(id, exchange, 400)
            }
            _ => self.listen_over(id, exchange),
        }
    }

    /// A listen ends, though its connection may not.
    fn listen_over(&mut self, id: LegId, exchange: ExchangeId) {
        let Some(target) = self.legs.get(id).map(|leg| leg.target.id.clone()) else { return };
        self.abandon(id);
        self.stream_ended(exchange, &target);
    }

    /// What a legacy client subscribed to has changed: a modern target is asked anew, while what it is asked holds.
    pub(super) fn filter_changed(&mut self, session: SessionId, target: &TargetId) {
        let listener = self.sessions.get(session).and_then(|session| session.listener);
        let Some(exchange) = listener.and_then(|listener| self.exchange(listener)) else { return };
        let stream = exchange.streams.iter().find(|stream| stream.target == *target);
        let leg = stream.and_then(|stream| stream.leg).filter(|leg| self.is_listening(*leg));
        if let (Some(listener), Some(_)) = (listener, leg) {
            self.ask_anew(listener, target);
        }
    }

    fn ask_anew(&mut self, id: ExchangeId, target: &TargetId) {
        let now = self.now;
        let Some(exchange) = self.exchange_mut(id) else { return };
        let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == *target) else {
            return;
        };
        // One at a time: when the target has agreed to what it was asked last, it is asked for the rest.
        if stream.next.is_some() || stream.state == State::Waiting {
            stream.stale = true;
            return;
        }
        stream.again = Some(now);
        self.open_stream(id, target);
    }

    /// What a target speaks has changed: streams that it has not offered may be offered now.
    pub(crate) fn streams_by_era(&mut self, target: &TargetId) {
        let listeners: Vec<_> = self.sessions.iter().filter_map(|(_, session)| session.listener).collect();
        for listener in listeners {
            let has = |stream: &Stream| stream.target == *target && stream.leg.is_none();
            if self.exchange(listener).is_some_and(|exchange| exchange.streams.iter().any(has)) {
                self.open_stream(listener, target);
            }
        }
    }

    // --- legacy targets ---

    /// A legacy target's stream is open. What a subscription wants of it is said now, unless its session knows.
    pub(super) fn tell_resources(&mut self, id: LegId, exchange: ExchangeId) {
        let Some(leg) = self.legs.get(id) else { return };
        let (target, resumes) = (leg.target.id.clone(), leg.last_event.is_some() && leg.reopened == 0);
        let session = leg.session.and_then(|session| self.sessions.get(session));
        let opened = session.and_then(|session| session.ready(&leg.target));
        let opened = opened.map(|opened| (opened.id.clone(), opened.revision));
        let refused = self.may_subscribe(&target) == Some(false);
        let Some(stream) = self.stream_of(exchange, id) else { return };
        let known = stream.told.is_some() && stream.told == opened;
        let known = known && opened.as_ref().is_some_and(|(id, _)| id.is_some());
        // What happened between two sessions no event id leads back to.
        let missed = stream.gap && stream.told.is_some() && stream.told != opened;
        stream.told = opened;
        stream.resumes = resumes && known;
        if self.subscription_mut(exchange).is_none()
            && let Some(stream) = self.stream_of(exchange, id)
        {
            stream.state = State::Open(None);
            stream.gap = false;
            stream.pause = Stream::PAUSE;
            if missed {
                // That lists have changed was said when the session was opened.
                self.tell_updates_missed(exchange, &target);
            }
        }
        let Some(subscription) = self.subscription_mut(exchange) else { return };
        for watched in subscription.watched.iter_mut().filter(|watched| watched.target == target) {
            watched.told = match known {
                _ if refused => Told::Refused,
                true => watched.told,
                false => Told::No,
            };
        }
        self.tell_resource(exchange, &target);
    }

    /// Tells a target of the next resource, or that is all.
    fn tell_resource(&mut self, id: ExchangeId, target: &TargetId) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        let session = exchange.session;
        let Some(subscription) = &exchange.subscription else { return };
        let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == *target) else {
            return;
        };
        if stream.leg.is_none() {
            return;
        }
        let mut rest = subscription.watched.iter().filter(|watched| watched.target == *target);
        let Some(next) = rest.find(|watched| watched.told == Told::No) else {
            stream.state = State::Open(None);
            let resumes = stream.resumes;
            return self.stream_opened(id, target, resumes);
        };
        let mut body = b"{\"jsonrpc\":\"2.0\",\"id\":\"mcp-gateway-subscribe\",\"method\":\"resources/subscribe\",\"params\":{\"uri\":".to_vec();
        splice::quote(&next.uri, &mut body);
        body.extend_from_slice(b"}}");
        let Some(target) = self.routes.find(target).map(Arc::clone) else { return };
        let purpose = Purpose::Subscribe { exchange: id };
        let leg = self.legs.insert(Leg::new(target, session, purpose, Method::Post, body.into()));
        self.start(leg);
    }

    /// A target answered `resources/subscribe`.
    pub(crate) fn resource_told(&mut self, id: LegId, exchange: ExchangeId, answer: &[u8]) {
        let Some(leg) = self.legs.get(id) else { return };
        let target = leg.target.id.clone();
        let asked = Envelope::parse(&leg.body, usize::MAX).ok().and_then(|envelope| envelope.params.uri);
        let uri = asked.map(|uri| uri.value.into_owned()).unwrap_or_default();
        let answer = Envelope::parse(answer, self.config.limits.depth).ok();
        let told = match answer.map(|envelope| (envelope.result, envelope.error)) {
            Some((Some(_), _)) => Told::Yes,
            Some((_, Some(_))) => Told::Refused,
            _ => {
                self.settle_leg(id);
                return self.resource_not_told(exchange, &target);
            }
        };
        self.settle_leg(id);
        let Some(subscription) = self.subscription_mut(exchange) else { return };
        let own = subscription.watched.iter_mut().filter(|it| it.target == target && it.uri == uri);
        own.for_each(|watched| watched.told = told);
        self.tell_resource(exchange, &target);
    }

    /// It did not: it is asked again when its stream is opened again.
    pub(crate) fn resource_not_told(&mut self, exchange: ExchangeId, target: &TargetId) {
        let Some(waiting) = self.exchange(exchange) else { return };
        let stream = waiting.streams.iter().find(|stream| stream.target == *target);
        if let Some(leg) = stream.and_then(|stream| stream.leg) {
            self.abandon(leg);
            self.stream_ended(exchange, target);
        }
    }

    // --- both ---

    /// A target's stream is in force. Unless it `resumes` where it ended, what was said in between is lost.
    fn stream_opened(&mut self, id: ExchangeId, target: &TargetId, resumes: bool) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        let Some(stream) = exchange.streams.iter_mut().find(|stream| stream.target == *target) else {
            return;
        };
        stream.pause = Stream::PAUSE;
        let gap = std::mem::take(&mut stream.gap);
        match &exchange.subscription {
            Some(subscription) if !subscription.is_acknowledged() => self.settle_subscription(id),
            Some(_) if resumes => {}
            Some(_) => self.tell_missed(id, target),
            None if gap => self.tell_session_missed(id, target),
            None => {}
        }
    }

    /// The same as [`Self::tell_missed`], for a legacy client.
    fn tell_session_missed(&mut self, listener: ExchangeId, target: &TargetId) {
        let Some(id) = self.exchange(listener).and_then(|exchange| exchange.session) else { return };
        for kind in [list::Kind::Tools, list::Kind::Prompts, list::Kind::Resources] {
            self.invalidate(target, Topic::of(kind).notice());
            self.list_changed(id, kind);
        }
        self.tell_updates_missed(listener, target);
    }

    /// Each resource that a legacy client is subscribed to at a target may have changed.
    fn tell_updates_missed(&mut self, listener: ExchangeId, target: &TargetId) {
        let Some(id) = self.exchange(listener).and_then(|exchange| exchange.session) else { return };
        let Some(routed) = self.routes.find(target).map(Arc::clone) else { return };
        let Some(session) = self.sessions.get(id) else { return };
        let own = session.subscriptions.iter().filter(|(name, _)| name == target);
        let uris: Vec<_> = own.map(|(_, uri)| uri.clone()).collect();
        for uri in uris {
            let shown = self.renames(&routed).map(|target| uris::federated(&target, &uri));
            _ = self.notify_listener(listener, &updated(shown.as_deref().unwrap_or(&uri)));
        }
    }

    // --- subscriptions of a session on several shards ---

    /// A stream was opened here: what its client subscribed to, the session's home knows.
    pub(super) fn ask_subscriptions(&mut self, id: SessionId) {
        let own = self.id;
        let Some(session) = self.sessions.get(id).filter(|session| session.home != own) else { return };
        let (home, sealed) = (session.home, session.sealed.clone());
        self.post(home, Note::Listens { sealed, shard: own });
    }

    /// The home tells a shard that listens.
    pub(super) fn tell_subscriptions(&mut self, sealed: &Bytes, shard: ShardId) {
        let Some(session) = self.open_sealed(sealed).and_then(|id| self.sessions.get(id)) else { return };
        if session.subscriptions.is_empty() {
            return;
        }
        let entries = session.subscriptions.iter().cloned().collect();
        let note = Note::Watches { key: session.key, entries, on: true };
        self.post(shard, note);
    }

    /// One was added or removed: whoever has the session's stream must know.
    pub(super) fn spread_subscription(&mut self, id: SessionId, target: &TargetId, uri: String, on: bool) {
        let own = self.id;
        let Some(session) = self.sessions.get(id) else { return };
        // A legacy target remembers by itself, but another shard may know it for a modern one.
        if session.home == own {
            let note = Note::Watches { key: session.key, entries: vec![(target.clone(), uri)], on };
            self.broadcast(&note);
        }
        self.filter_changed(id, target);
    }

    /// The home says what a session's client is subscribed to, or no more.
    pub(super) fn subscriptions_told(&mut self, id: SessionId, entries: Vec<(TargetId, String)>, on: bool) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let mut changed: Vec<TargetId> = Vec::new();
        for entry in entries {
            let target = entry.0.clone();
            let news =
                if on { session.subscriptions.insert(entry) } else { session.subscriptions.remove(&entry) };
            if news && !changed.contains(&target) {
                changed.push(target);
            }
        }
        for target in changed {
            self.filter_changed(id, &target);
        }
    }

    // --- answers that wait for a session's stream ---

    /// What tells a modern target of a subscription is its client's stream, so the answer waits for that. Which shard has
    /// it, if any, only that one knows: all are asked. The home asks them, so that they know the subscription before.
    pub(super) fn await_listener(&mut self, id: LegId, target: TargetId, (key, home): (SessionKey, ShardId)) {
        let (own, shards) = (self.id, self.config.shards.max(1));
        let waiter = Waiter { shard: own, leg: id, until: self.now + SETTLE };
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.unheard = shards;
        let asker = leg.purpose.exchange();
        match home == own {
            // Its stream is about to be the session's, and is asked when it is.
            _ if asker.is_some_and(|asker| self.is_greeting(asker)) => {}
            true => self.await_stream(key, target, waiter),
            false => self.post(home, Note::Await { key, target, waiter }),
        }
        self.limit_leg(id, waiter.until);
    }

    /// The same for a call on a stream that is now its session's, if it waits.
    pub(crate) fn await_own_stream(&mut self, call: ExchangeId, session: SessionId) {
        let Some(key) = self.sessions.get(session).map(|session| session.key) else { return };
        let work = self.exchange(call).and_then(|exchange| exchange.parts.first()).map(|part| &part.work);
        let Some(Work::Relay { target, leg: id }) = work else { return };
        let (target, shard, leg) = (target.clone(), self.id, *id);
        let waits = self.legs.get(leg).filter(|leg| leg.unheard > 0);
        if let Some(until) = waits.and_then(|leg| leg.deadline) {
            self.await_stream(key, target, Waiter { shard, leg, until });
        }
    }

    /// A shard wants to know when the session's stream misses nothing of a target, if that is here.
    pub(super) fn await_stream(&mut self, key: SessionKey, target: TargetId, waiter: Waiter) {
        let (own, now) = (self.id, self.now);
        let session = self.by_key.get(&key).and_then(|id| self.sessions.get(*id));
        let listener = session.and_then(|session| session.listener);
        if session.is_some_and(|session| session.home == own) {
            self.broadcast(&Note::Await { key, target: target.clone(), waiter });
        }
        let listener = listener.and_then(|id| self.exchange_mut(id));
        let streams = listener.map(|exchange| &mut exchange.streams);
        match streams.into_iter().flatten().find(|stream| stream.target == target) {
            Some(stream) if !stream.misses_nothing() => {
                stream.late |= stream.waiters.iter().any(|waiter| waiter.until <= now);
                stream.waiters.retain(|waiter| waiter.until > now);
                stream.waiters.push(waiter);
            }
            _ => self.tell_waiters(vec![waiter]),
        }
    }

    /// Tells those who wait for streams that miss nothing now, and the client what may have been missed before.
    pub(super) fn settle_waiters(&mut self, id: ExchangeId) {
        let now = self.now;
        let Some(exchange) = self.exchange_mut(id) else { return };
        let mut late = Vec::new();
        let mut waiters = Vec::new();
        for stream in exchange.streams.iter_mut().filter(|stream| stream.misses_nothing()) {
            let own = std::mem::take(&mut stream.waiters);
            if std::mem::take(&mut stream.late) || own.iter().any(|waiter| waiter.until <= now) {
                late.push(stream.target.clone());
            }
            waiters.extend(own);
        }
        self.tell_waiters(waiters);
        for target in late {
            self.tell_updates_missed(id, &target);
        }
    }

    pub(super) fn tell_waiters(&mut self, waiters: Vec<Waiter>) {
        for Waiter { shard, leg, .. } in waiters {
            match shard == self.id {
                true => self.heard(leg),
                false => self.post(shard, Note::Heard { leg }),
            }
        }
    }

    /// One more shard has no stream that misses what a client subscribed to.
    pub(super) fn heard(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.unheard > 0) else { return };
        leg.unheard -= 1;
        if leg.unheard == 0 {
            self.subscribed(id);
        }
    }

    /// A client's stream hears what it subscribed to, or has had its time.
    pub(crate) fn subscribed(&mut self, id: LegId) {
        let Some(Purpose::Part { exchange: asker, part, .. }) = self.legs.get(id).map(|leg| leg.purpose)
        else {
            return;
        };
        self.drop_leg(id);
        if let Some(body) = self.exchange(asker).map(|it| refusal::result(it.id_text(part), b"{}")) {
            self.answer_part(asker, part, &body);
        }
    }
}

/// The listen for a target: the client's own message, if it is one, with a number and a filter of ours.
fn listen_message(exchange: &Exchange, number: u64, share: &Filter) -> Bytes {
    let mut filter = Vec::new();
    share.write(&mut filter);
    let number = number.to_string().into_bytes();
    if exchange.subscription.is_some()
        && let Ok(envelope) = Envelope::parse(&exchange.body, usize::MAX)
        && let (Some(id), Some(notifications)) = (envelope.id_span, envelope.params.notifications)
    {
        return params::edited(&exchange.body, vec![(id, number), (notifications, filter)]).into();
    }
    let start = b"{\"jsonrpc\":\"2.0\",\"id\":";
    let method = b",\"method\":\"subscriptions/listen\",\"params\":{\"notifications\":";
    [&start[..], &number, method, &filter, b"}}"].concat().into()
}

fn updated(uri: &str) -> Vec<u8> {
    let mut out =
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":".to_vec();
    splice::quote(uri, &mut out);
    out.extend_from_slice(b"}}");
    out
}
