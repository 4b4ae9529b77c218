//! The life of sessions: a client's, and under it one at each target.
//!
//! A session has a home shard, which ends it when it is idle and which alone opens target sessions that `initialize`
//! did not: all shards then work with the same. Any shard serves any session from its sealed id; what is news to the
//! others travels as a [`Note`].

use super::Era;
use super::subscription::Topic;
use crate::ShardId;
use crate::edge::Note;
use crate::exchange::ExchangeId;
use crate::http::{Fields, Method};
use crate::jsonrpc::envelope::{Envelope, Text};
use crate::jsonrpc::list;
use crate::jsonrpc::splice::quote;
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::session::{Opened, Revision, Session, SessionId, TargetState};
use crate::shard::{Deferred, Shard};
use crate::timers::Timed;
use bytes::Bytes;
use routing::{Target, TargetId};
use std::sync::Arc;
use std::time::Duration;

/// After a failure a target session is not tried again for so long.
const REST: Duration = Duration::from_secs(1);

/// A shard that is not a session's home forgets it after so long without a request.
const AWAY: Duration = Duration::from_secs(60);

const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

impl Shard {
    /// The session behind an id, from memory or from the id itself.
    pub(crate) fn open_sealed(&mut self, sealed: &Bytes) -> Option<SessionId> {
        let opening = Session::open(&self.config.keys, sealed, self.unix(), self.now)?;
        let mut session = opening.session;
        if self.ended.contains(session.key) {
            return None;
        }
        if let Some(known) = self.by_key.get(&session.key) {
            return Some(*known);
        }
        session.home = ShardId(session.home.0 % self.config.shards.max(1));
        let at_home = session.home == self.id;
        if (at_home && !opening.whole) || self.sessions.len() >= self.config.limits.sessions.saturating_mul(2)
        {
            return None;
        }
        let (key, home) = (session.key, session.home);
        for entry in &mut session.targets {
            if let Some(target) = self.routes.find(&entry.target) {
                entry.target = target.id.clone();
            }
            if let TargetState::Ready(opened) = &entry.state {
                self.learn_era(&entry.target, opened);
            }
        }
        let id = self.sessions.insert(session);
        self.by_key.insert(key, id);
        if at_home {
            self.counters.sessions.add(1);
        } else {
            // A client that comes this way seldom is in no other way known to be there.
            self.post(home, Note::Touch { sealed: sealed.clone() });
        }
        self.timers.set(Timed::Session(id), self.now + self.review(at_home));
        Some(id)
    }

    /// When a session is looked at again.
    fn review(&self, at_home: bool) -> Duration {
        let idle = self.config.timeouts.session;
        if at_home { idle } else { AWAY.min(idle / 4) }
    }

    /// Tells a session's home that it is in use, now and then.
    pub(crate) fn touch(&mut self, id: SessionId) {
        let now = self.now;
        let every = self.config.timeouts.session / 4;
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.home == self.id || now.saturating_duration_since(session.touched) < every {
            return;
        }
        session.touched = now;
        let (home, sealed) = (session.home, session.sealed.clone());
        self.post(home, Note::Touch { sealed });
    }

    /// A session's time has come, unless it is in use.
    pub(crate) fn session_due(&mut self, id: SessionId) {
        let now = self.now;
        let Some(session) = self.sessions.get(id) else { return };
        let at_home = session.home == self.id;
        let review = self.review(at_home);
        // All requests are looked through, so only for a session that seems idle.
        if session.used + review <= now && self.is_in_use(id, session) {
            if let Some(session) = self.sessions.get_mut(id) {
                session.used = now;
            }
            self.touch(id);
        }
        let Some(session) = self.sessions.get(id) else { return };
        let due = session.used + if at_home { self.config.timeouts.session } else { AWAY };
        if due > now {
            return self.timers.set(Timed::Session(id), due.min(now + review));
        }
        if session.born_here {
            self.counters.sessions_expired.add(1);
            self.end_session(id);
        } else {
            self.forget_session(id);
        }
    }

    /// Whether somebody reads a session's stream, or a request is under way in it. Streams that nobody reads are there
    /// for the requests.
    fn is_in_use(&self, id: SessionId, session: &Session) -> bool {
        let unread = session.listener.filter(|listener| !self.reads(*listener));
        let counts = |leg: &Leg| match (leg.purpose, unread) {
            (Purpose::Stream { exchange }, Some(unread)) => exchange != unread,
            _ => true,
        };
        (session.listener.is_some() && unread.is_none())
            || self.legs.iter().any(|(_, leg)| leg.session == Some(id) && counts(leg))
    }

    /// DELETE: ends the session here, everywhere, and at the targets.
    pub(crate) fn end_session_of_client(&mut self, exchange: ExchangeId, id: SessionId) {
        let targets = self.open_targets(id);
        if let Some(key) = self.retire(id) {
            self.broadcast(&Note::Ended { key });
        }
        self.gather_end(exchange, targets);
    }

    /// Ends a session nobody asks about any more.
    pub(crate) fn end_session(&mut self, id: SessionId) {
        for (target, opened) in self.open_targets(id) {
            self.end_at(target, opened);
        }
        // No other shard has heard of a hidden one.
        let hidden = self.sessions.get(id).is_some_and(Session::is_hidden);
        if let Some(key) = self.retire(id).filter(|_| !hidden) {
            self.broadcast(&Note::Ended { key });
        }
    }

    pub(super) fn end_at(&mut self, target: Arc<Target>, opened: Opened) {
        let mut leg = Leg::new(target, None, Purpose::Quiet, Method::Delete, Bytes::new());
        leg.opened = Some(Box::new(opened));
        let leg = self.legs.insert(leg);
        self.start(leg);
    }

    /// The target sessions there are to end.
    pub(crate) fn open_targets(&self, id: SessionId) -> Vec<(Arc<Target>, Opened)> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let targets = self.backend(&session.backend).targets().iter();
        targets
            .filter_map(|target| Some((Arc::clone(target), session.ready(target)?.clone())))
            .filter(|(_, opened)| opened.id.is_some())
            .collect()
    }

    /// Takes a session out of the tables for good: its id opens no more, its stream ends.
    pub(super) fn retire(&mut self, id: SessionId) -> Option<u128> {
        let session = self.sessions.get(id)?;
        let (key, listener) = (session.key, session.listener);
        if !session.is_hidden() {
            self.ended.insert(key);
        }
        if let Some(listener) = listener {
            self.end_listener(listener);
        }
        self.forget_session(id);
        Some(key)
    }

    /// Takes a session out of this shard's memory. What waits for its targets fails.
    pub(crate) fn forget_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.by_key.remove(&session.key);
        if let Some(hidden) = &session.hidden {
            self.forget_hidden(id, hidden);
        }
        self.end_channels_of(id);
        if session.home == self.id {
            self.counters.sessions.sub(1);
        }
        for entry in session.targets {
            if let TargetState::Opening { waiting, .. } = entry.state {
                for leg in waiting {
                    self.deferred.push_back(Deferred::Fail(leg, Trouble::Lost(crate::Fault::Other)));
                }
            }
        }
    }

    /// Opens a session at a target, at home; elsewhere the home is asked. `lost` is one that is no longer good.
    pub(crate) fn open_target(
        &mut self,
        id: SessionId,
        target: &Arc<Target>,
        lost: Option<Opened>,
        waiting: Vec<LegId>,
    ) {
        let message = self.initialize_message(id);
        let Some(session) = self.sessions.get_mut(id) else { return };
        // Answered without it or never met: in both cases its arrival is news to the client, unless it was lost.
        let late = lost.is_none();
        // It is opened for who waits for it, and so with their credentials.
        let fields = waiting.iter().find_map(|leg| self.legs.get(*leg)?.fields.clone());
        *session.target_mut(&target.id) = TargetState::Opening { waiting, late: false };
        if session.home != self.id {
            let (home, sealed) = (session.home, session.sealed.clone());
            return self.post(home, Note::Ask { sealed, target: target.id.clone(), lost });
        }
        let purpose = Purpose::Open { asker: None };
        let mut leg = Leg::new(Arc::clone(target), Some(id), purpose, Method::Post, message);
        leg.reopened = u8::from(!late);
        leg.fields = fields;
        let leg = self.legs.insert(leg);
        self.start(leg);
    }

    /// A session's home has not answered in time: it may not have known the target yet, or have been rebuilt since.
    pub(crate) fn ask_again(&mut self, id: SessionId, target: &TargetId) {
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.home != self.id) else {
            return;
        };
        let TargetState::Opening { waiting, .. } = session.target_mut(target) else { return };
        waiting.retain(|leg| self.legs.get(*leg).is_some());
        let (home, sealed) = (session.home, session.sealed.clone());
        self.post(home, Note::Ask { sealed, target: target.clone(), lost: None });
    }

    /// A target answered `initialize`.
    pub(crate) fn target_answered(
        &mut self,
        id: LegId,
        asker: Option<(ExchangeId, u16, u16)>,
        status: u16,
        body: &[u8],
    ) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let (target, session_id, again) = (Arc::clone(&leg.target), leg.session, leg.reopened > 0);
        let (given_id, fields, at) = (leg.session_id.take(), leg.fields.take(), leg.at);
        self.settle_leg(id);
        let known = self.said_before(&target.id, body).and_then(|known| known.revision);
        let agreed = known.map_or_else(|| negotiated(status, body, self.config.limits.depth), Ok);
        let revision = match agreed {
            Ok(revision) => revision,
            Err(trouble) => return self.target_refused_with(&target, session_id, asker, &trouble, body),
        };
        self.learn(&target.id, body, Some(revision));
        self.confirm(&target.id);
        self.saw_revision(&target.id, revision);
        let at = at.filter(|_| given_id.is_some()).and_then(|at| self.memory(&target, at)).map(Box::new);
        let opened = Opened { id: given_id, revision, sse: self.era(&target) == Some(Era::Sse), at };
        let single = self.is_alone(&target.id);
        let asker = asker.filter(|(exchange, ..)| self.exchange(*exchange).is_some());
        let Some(session) = session_id.and_then(|session| self.sessions.get_mut(session)) else {
            // The session ended while its target was opening it.
            return self.end_at(target, opened);
        };
        if let Some((exchange, part, slot)) = asker {
            if single {
                session.revision = revision;
            }
            let waiting = session.set_ready(&target.id, opened);
            self.resume(waiting);
            return self.slot_done(exchange, part, slot, Ok(Bytes::copy_from_slice(body)));
        }
        let Some(id) = session_id else { return };
        self.greet(id, target, opened, Bytes::from_static(INITIALIZED), fields, again);
    }

    /// Tells a target that its session has begun, or what it must know before it may be used.
    fn greet(
        &mut self,
        id: SessionId,
        target: Arc<Target>,
        opened: Opened,
        message: Bytes,
        fields: Option<Box<Fields>>,
        again: bool,
    ) {
        let mut leg = Leg::new(target, Some(id), Purpose::Greet { again }, Method::Post, message);
        leg.fields = fields;
        leg.opened = Some(Box::new(opened));
        let leg = self.legs.insert(leg);
        self.counters.calls.add(1);
        self.dispatch_leg(leg);
    }

    /// A late target knows that its session has begun: it may be used.
    pub(crate) fn greeted(&mut self, id: LegId, again: bool) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let (target, session, opened) = (Arc::clone(&leg.target), leg.session, leg.opened.take());
        let fields = leg.fields.take();
        let level = session.and_then(|id| self.sessions.get(id)).and_then(|session| session.level.as_ref());
        let message =
            level.filter(|_| leg.body == INITIALIZED).map(|level| own_request("logging/setLevel", level));
        self.drop_leg(id);
        let (Some(id), Some(opened)) = (session, opened.map(|opened| *opened)) else { return };
        let Some(session) = self.sessions.get(id) else { return self.end_at(target, opened) };
        let (key, hidden) = (session.key, session.is_hidden());
        if hidden && let Some(message) = message {
            // A modern request has its log level from its first message on.
            return self.greet(id, target, opened, message, fields, again);
        }
        // What is new to a session may have been there before: without sessions, or on another way.
        if again || !hidden {
            self.restore(id, &target);
        }
        if !hidden {
            self.broadcast(&Note::Opened { key, target: target.id.clone(), outcome: Ok(opened.clone()) });
        }
        self.target_ready(id, &target.id, opened, !hidden);
    }

    /// A target session is open, here or at the session's home.
    pub(super) fn target_ready(&mut self, id: SessionId, target: &TargetId, opened: Opened, news: bool) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let waiting = session.set_ready(target, opened);
        self.resume(waiting);
        if news {
            self.lists_changed(id);
        }
        self.attend(id, target);
        self.reopen_stream_of(id, target);
    }

    fn resume(&mut self, waiting: Vec<LegId>) {
        waiting.iter().for_each(|leg| self.fit(*leg));
        self.deferred.extend(waiting.into_iter().map(Deferred::Send));
    }

    /// Tells a target that lost its session what the client had set.
    pub(crate) fn restore(&mut self, id: SessionId, target: &Arc<Target>) {
        let Some(session) = self.sessions.get(id) else { return };
        let mut messages = Vec::new();
        if let Some(level) = &session.level {
            messages.push(own_request("logging/setLevel", level));
        }
        for (_, uri) in session.subscriptions.iter().filter(|(name, _)| *name == target.id) {
            let mut params = b"{\"uri\":".to_vec();
            quote(uri, &mut params);
            params.push(b'}');
            messages.push(own_request("resources/subscribe", &params));
        }
        for message in messages {
            if !self.says_itself(id, target, &message) {
                self.send_quietly(id, Arc::clone(target), Method::Post, message);
            }
        }
    }

    /// Whether a client's request that waits for the target session says the same.
    fn says_itself(&self, id: SessionId, target: &Target, message: &[u8]) -> bool {
        let state = self.sessions.get(id).and_then(|session| session.target(&target.id));
        let Some(TargetState::Opening { waiting, .. }) = state else { return false };
        let Ok(own) = Envelope::parse(message, usize::MAX) else { return false };
        let said = |text: Option<&Text<'_>>| text.map(|text| text.value.clone().into_owned());
        waiting.iter().filter_map(|leg| self.legs.get(*leg)).any(|leg| {
            Envelope::parse(&leg.body, usize::MAX).is_ok_and(|envelope| {
                said(envelope.method.as_ref()) == said(own.method.as_ref())
                    && said(envelope.params.uri.as_ref()) == said(own.params.uri.as_ref())
            })
        })
    }

    /// `initialize` failed.
    pub(crate) fn target_refused(
        &mut self,
        target: &Arc<Target>,
        session: Option<SessionId>,
        asker: Option<(ExchangeId, u16, u16)>,
        trouble: &Trouble,
    ) {
        self.target_refused_with(target, session, asker, trouble, b"");
    }

    /// The same, with the JSON-RPC error the target answered with, if it did.
    fn target_refused_with(
        &mut self,
        target: &Arc<Target>,
        session: Option<SessionId>,
        asker: Option<(ExchangeId, u16, u16)>,
        trouble: &Trouble,
        body: &[u8],
    ) {
        let reason: Arc<str> = trouble.to_string().into();
        if let Some(id) = session {
            self.target_unavailable(id, &target.id, Arc::clone(&reason));
            self.end_channel_at(id, &target.id);
            if let Some(session) = self.sessions.get(id)
                && !session.sealed.is_empty()
            {
                let (key, target) = (session.key, target.id.clone());
                self.broadcast(&Note::Opened { key, target, outcome: Err(Arc::clone(&reason)) });
            }
        }
        let Some((exchange, part, slot)) = asker else { return };
        let is_error = matches!(trouble, Trouble::Refused(_)) && self.is_alone(&target.id);
        let outcome = if is_error { Ok(Bytes::copy_from_slice(body)) } else { Err(reason.to_string()) };
        self.slot_done(exchange, part, slot, outcome);
    }

    pub(super) fn target_unavailable(&mut self, id: SessionId, target: &TargetId, reason: Arc<str>) {
        let until = self.now + REST;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let failed = TargetState::Failed { until, reason: Arc::clone(&reason) };
        let before = std::mem::replace(session.target_mut(target), failed);
        if let TargetState::Opening { waiting, .. } = before {
            for leg in waiting {
                self.deferred.push_back(Deferred::Fail(leg, Trouble::Recently(Arc::clone(&reason))));
            }
        }
    }

    pub(super) fn remember_level(&mut self, id: SessionId, params: Bytes) {
        let most = self.config.limits.session;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.level = Some(params.clone()).filter(|params| session.kept() + params.len() <= most);
        let sealed = session.sealed.clone();
        // Every shard says it to modern targets with the requests that it serves.
        self.broadcast(&Note::Level { sealed, params });
    }

    /// Remembers what a client subscribed to, for a target session that must be opened anew; false at the limit.
    pub(super) fn remember_subscription(
        &mut self,
        id: SessionId,
        target: &TargetId,
        uri: String,
        on: bool,
    ) -> bool {
        let limits = self.config.limits;
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let entry = (target.clone(), uri.clone());
        let changed = session.subscriptions.contains(&entry) != on;
        if !on {
            session.subscriptions.remove(&entry);
        } else if changed {
            if session.subscriptions.len() >= limits.names || session.kept() + uri.len() > limits.session {
                return false;
            }
            session.subscriptions.insert(entry);
        }
        if session.home != self.id {
            let (home, sealed) = (session.home, session.sealed.clone());
            self.post(home, Note::Subscribed { sealed, target: target.clone(), uri: uri.clone(), on });
        }
        if changed {
            self.spread_subscription(id, target, uri, on);
        }
        true
    }

    /// Every list of a session may have changed.
    pub(crate) fn lists_changed(&mut self, id: SessionId) {
        for kind in [list::Kind::Tools, list::Kind::Prompts, list::Kind::Resources] {
            self.list_changed(id, kind);
        }
    }

    pub(super) fn list_changed(&mut self, id: SessionId, kind: list::Kind) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let topic = Topic::of(kind);
        if let Some(listener) = session.listener.filter(|_| session.is_hidden()) {
            return self.topic_changed(listener, topic, None);
        }
        if session.sealed.is_empty() {
            return;
        }
        let message = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{}\"}}", topic.notice());
        let (key, listener) = (session.key, session.listener);
        match listener {
            // Said later if the client takes nothing now.
            Some(listener) => {
                let told = self.notify_listener(listener, message.as_bytes());
                if let Some(session) = self.sessions.get_mut(id) {
                    session.changed |= !told;
                }
            }
            None => {
                session.changed = true;
                self.broadcast(&Note::Notify { key, message: message.into() });
            }
        }
    }
}

impl Session {
    /// Notes an open target session; returns what waited for it.
    fn set_ready(&mut self, target: &TargetId, opened: Opened) -> Vec<LegId> {
        match std::mem::replace(self.target_mut(target), TargetState::Ready(opened)) {
            TargetState::Opening { waiting, .. } => waiting,
            _ => Vec::new(),
        }
    }
}

/// The revision in an answer to `initialize`.
fn negotiated(status: u16, body: &[u8], depth: usize) -> Result<Revision, Trouble> {
    let envelope = match Envelope::parse(body, depth) {
        Ok(envelope) => envelope,
        Err(_) if !(200..300).contains(&status) => return Err(Trouble::Status(status)),
        Err(_) => return Err(Trouble::Malformed("it is no JSON-RPC response")),
    };
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        protocol_version: String,
    }
    #[derive(serde::Deserialize)]
    struct Error {
        message: String,
    }
    if let Some(error) = &envelope.error {
        let words =
            body.get(error.span.clone()).and_then(|error| serde_json::from_slice::<Error>(error).ok());
        return Err(Trouble::Refused(
            words.map_or_else(|| "no reason given".into(), |error| error.message.into()),
        ));
    }
    let result = envelope.result.and_then(|span| body.get(span)).unwrap_or_default();
    let answer: Answer =
        serde_json::from_slice(result).map_err(|_| Trouble::Malformed("it is no initialize result"))?;
    Revision::parse(&answer.protocol_version)
        .ok_or(Trouble::Malformed("it speaks a protocol revision that is not served here"))
}

/// A request of the gateway's own.
fn own_request(method: &str, params: &[u8]) -> Bytes {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":\"mcp-gateway-restore\",\"method\":".to_vec();
    quote(method, &mut out);
    out.extend_from_slice(b",\"params\":");
    out.extend_from_slice(params);
    out.push(b'}');
    out.into()
}
