//! Parked calls: a legacy target asks while it works on a modern client's call.
//!
//! ```text
//! a request of the target ─► hidden_request ─► park ─► input_required to the client, which ends its request
//!                                                │
//!           what comes meanwhile: kept ◄─────────┤ the call at the target goes on
//!                                                ▼
//! the client's new request, with our state ─► retried ─► its answers to the target, the call is the new request's
//! ```
//!
//! The call runs in a hidden session that it has to itself, so whatever the target asks in that session belongs to it.
//! `requestState` names the shard that has the call; it holds once, for a while, and for the same method and parameters
//! (2026-07-28, basic/patterns/mrtr, Server Requirements). All that is said while a call is parked is kept in order,
//! up to a limit, and said to the new request as if it came then.

mod notices;
mod pages;
mod retry;
mod state;

use super::asks::{Offers, may_ask_back};
use crate::answer::Content;
use crate::conn::{Incoming, Role, Wire};
use crate::exchange::{Answer, ExchangeId};
use crate::http::{Method, Request};
use crate::jsonrpc::envelope::{Envelope, Kind as Message};
use crate::jsonrpc::members::members;
use crate::jsonrpc::params;
use crate::jsonrpc::rewrite::{Plan, Scope};
use crate::jsonrpc::splice::quote;
use crate::leg::{Inbound, LegId, Purpose, Trouble};
use crate::refusal;
use crate::session::SessionId;
use crate::shard::{Closing, Deferred, Shard};
use crate::table::key;
use crate::timers::Timed;
use crate::way::Way;
use bytes::Bytes;
use routing::{Target, TargetId};
use state::{Purport, State};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

key!(ParkedId, "A parked call.");

/// A call that waits for its client.
#[derive(Debug)]
pub(crate) struct Parked {
    /// In the table as long as this is.
    pub(super) leg: LegId,
    session: SessionId,
    target: Arc<Target>,
    /// The client's request that is being answered with the questions; `None` while it is the client's turn.
    told: Option<(ExchangeId, u16)>,
    /// Only the state given last is good.
    nonce: u64,
    questions: Vec<Question>,
    kept: VecDeque<Kept>,
    size: usize,
    /// Too much came: the call has failed.
    full: bool,
    until: Instant,
    /// A timer looks at `until`.
    watched: bool,
}

#[derive(Debug)]
struct Question {
    key: String,
    /// The target's id, as it wrote it.
    id: Vec<u8>,
    /// Method and parameters, for the client.
    request: Vec<u8>,
}

/// What came while the client had the word.
#[derive(Debug)]
enum Kept {
    /// A message on an event stream: a request, a notice, or the answer.
    Message(Vec<u8>),
    /// The answer, whole, with its HTTP status.
    Whole(u16, Vec<u8>),
    Failed(Trouble),
}

impl Shard {
    /// A request of a target in a hidden session.
    pub(super) fn hidden_request(
        &mut self,
        session: SessionId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
    ) {
        let method = envelope.method.as_ref().map_or("", |method| &*method.value);
        let params = envelope.params.span.clone().and_then(|span| raw.get(span));
        let Some(rpc_id) = super::route::raw_id(envelope) else { return self.counters.malformed.add(1) };
        let capabilities = self.sessions.get(session).map(|session| session.capabilities.clone());
        let capabilities = capabilities.unwrap_or_default();
        let missing = Offers::parse(&capabilities).missing(method, params);
        let call = self.busy(session, target).and_then(|leg| Some((leg, self.legs.get(leg)?.purpose)));
        let no = |shard: &mut Self, words: &str| {
            let body = refusal::error(rpc_id.as_bytes(), refusal::METHOD_NOT_FOUND, words, None);
            shard.send_quietly(session, Arc::clone(target), Method::Post, body.into());
        };
        if let Some(missing) = missing {
            return no(self, &format!("the client can't be asked: it does not have {missing}"));
        }
        match call {
            Some((_, Purpose::Parked { call })) => self.keep(call, Kept::Message(raw.to_vec())),
            Some((leg, Purpose::Part { exchange, part, slot: None })) if self.is_askable(exchange, part) => {
                if self.parked.len() >= self.config.limits.parked {
                    let words = "too many calls wait for their clients";
                    let body = refusal::error(rpc_id.as_bytes(), refusal::INTERNAL_ERROR, words, None);
                    self.send_quietly(session, Arc::clone(target), Method::Post, body.into());
                    self.cancel_call(leg);
                    let words = "asks its client something, and too many calls wait for such answers";
                    return self.refuse_call(&target.id, exchange, part, words);
                }
                let call = self.begin_parking(leg, session, target, (exchange, part));
                self.keep(call, Kept::Message(raw.to_vec()));
            }
            _ => no(self, "no call is under way that this could belong to"),
        }
    }

    /// The call that a session is used for alone, at this target.
    fn busy(&self, session: SessionId, target: &Target) -> Option<LegId> {
        let busy = self.sessions.get(session)?.hidden.as_ref()?.busy?;
        (self.legs.get(busy)?.target.id == target.id).then_some(busy)
    }

    /// Whether a client's request can still be answered with a question.
    fn is_askable(&self, exchange: ExchangeId, part: u16) -> bool {
        self.exchange(exchange).is_some_and(|waiting| {
            let writes = matches!(waiting.answer, Answer::Open | Answer::Begun { events: true, .. });
            writes && !waiting.half && waiting.method(part).is_some_and(|method| may_ask_back(&method))
        })
    }

    /// What the target says from now on is kept. The client is told when all is read that came at once, so that what
    /// the target asks in one go is asked in one.
    fn begin_parking(
        &mut self,
        id: LegId,
        session: SessionId,
        target: &Arc<Target>,
        told: (ExchangeId, u16),
    ) -> ParkedId {
        let until = self.now + self.config.timeouts.parked;
        let call = self.parked.insert(Parked {
            leg: id,
            session,
            target: Arc::clone(target),
            told: Some(told),
            nonce: 0,
            questions: Vec::new(),
            kept: VecDeque::new(),
            size: 0,
            full: false,
            until,
            watched: false,
        });
        self.counters.parked.add(1);
        if let Some(leg) = self.legs.get_mut(id) {
            leg.purpose = Purpose::Parked { call };
            leg.inbound = match std::mem::replace(&mut leg.inbound, Inbound::Drop) {
                Inbound::Look(look) => {
                    Inbound::Whole { status: 200, body: Incoming::One(look.held.raw.into()) }
                }
                inbound => inbound,
            };
        }
        self.deferred.push_back(Deferred::Park(call));
        call
    }

    /// Keeps what came for a parked call; questions that come before the client is told are asked at once.
    fn keep(&mut self, call: ParkedId, kept: Kept) {
        let limit = self.config.limits.parked_bytes;
        let Some(parked) = self.parked.get_mut(call).filter(|parked| !parked.full) else { return };
        parked.size += match &kept {
            Kept::Message(message) | Kept::Whole(_, message) => message.len(),
            Kept::Failed(_) => 0,
        };
        if parked.size > limit {
            return self.overflow(call, &kept);
        }
        let target = Arc::clone(&parked.target);
        let question = match &kept {
            Kept::Message(message) if parked.told.is_some() => self.question_of_target(&target, message),
            _ => None,
        };
        let Some(parked) = self.parked.get_mut(call) else { return };
        match question {
            Some(question) => parked.questions.push(question),
            None => parked.kept.push_back(kept),
        }
    }

    /// A target's request as the client is asked it: without what only a session can use.
    fn question_of_target(&mut self, target: &Target, message: &[u8]) -> Option<Question> {
        let envelope =
            Envelope::parse(message, usize::MAX).ok().filter(|it| it.kind() == Message::Request)?;
        let plan = Plan::names(self.renames(target), Scope::Sampling);
        let is_sampling = envelope.method.as_ref()?.value == "sampling/createMessage";
        let renamed = is_sampling.then(|| self.rewritten(plan, message));
        let message = renamed.as_deref().unwrap_or(message);
        let envelope = Envelope::parse(message, usize::MAX).ok()?;
        let mut request = b"{\"method\":".to_vec();
        quote(&envelope.method.as_ref()?.value, &mut request);
        if let Some(span) = &envelope.params.span {
            let raw = message.get(span.clone())?;
            let inside = |inner: &Range<usize>| inner.start - span.start..inner.end - span.start;
            let token = envelope.params.meta_progress_token.as_ref().map(inside);
            let task = envelope.params.task.as_ref().map(inside);
            let id = members(raw)?.into_iter().find(|member| member.key == b"elicitationId");
            let dropped = [token, task, id.map(|id| id.span)].into_iter().flatten().collect();
            request.extend_from_slice(b",\"params\":");
            request.extend_from_slice(&params::without(raw, dropped));
        }
        request.push(b'}');
        self.numbers += 1;
        let id = super::route::raw_id(&envelope)?.as_bytes().to_vec();
        Some(Question { key: format!("ask-{}", self.numbers), id, request })
    }

    /// Too much came for a parked call: the target is told to stop, the client will be told why.
    fn overflow(&mut self, call: ParkedId, last: &Kept) {
        let Some(parked) = self.parked.get_mut(call) else { return };
        parked.full = true;
        parked.kept.clear();
        parked.kept.push_back(Kept::Failed(Trouble::Chatty));
        let (leg, session, target) = (parked.leg, parked.session, Arc::clone(&parked.target));
        if let Kept::Message(message) = last
            && let Ok(envelope) = Envelope::parse(message, usize::MAX)
            && let (Message::Request, Some(id)) = (envelope.kind(), super::route::raw_id(&envelope))
        {
            let words = "the client can't be asked so much at once";
            let body = refusal::error(id.as_bytes(), refusal::INTERNAL_ERROR, words, None);
            self.send_quietly(session, target, Method::Post, body.into());
        }
        self.tell_cancelled(leg);
        let conn = self.legs.get_mut(leg).and_then(|leg| leg.conn.take());
        if let Some(conn) = conn {
            self.close(conn, Closing::Abort);
        }
    }

    /// An answer came as an event while its call was parked.
    pub(crate) fn keep_answer(&mut self, call: ParkedId, message: &[u8]) {
        self.keep(call, Kept::Message(message.to_vec()));
    }

    /// The same, whole.
    pub(crate) fn keep_whole(&mut self, call: ParkedId, status: u16, body: &[u8]) {
        self.keep(call, Kept::Whole(status, body.to_vec()));
    }

    /// A call failed while it was parked: the client is told when it comes again.
    pub(crate) fn keep_failure(&mut self, id: LegId, call: ParkedId, trouble: Trouble) {
        if let Some(leg) = self.legs.get_mut(id) {
            leg.conn = None;
        }
        self.keep(call, Kept::Failed(trouble));
    }

    /// Tells the client what its target asks: that ends the client's request.
    pub(crate) fn park(&mut self, id: ParkedId) {
        let nonce = u64::from_be_bytes(self.random());
        let Some(parked) = self.parked.get_mut(id) else { return };
        let Some((exchange, part)) = parked.told.take() else { return };
        let until = parked.until;
        parked.nonce = nonce;
        if self.exchange(exchange).is_none() {
            return self.unpark(id);
        }
        let Some(parked) = self.parked.get_mut(id) else { return };
        // All were withdrawn, or it has failed.
        if parked.questions.is_empty() || parked.full {
            return self.resume_parked(id, exchange, part);
        }
        let mut asked = Vec::new();
        for question in &parked.questions {
            asked.push(if asked.is_empty() { b'{' } else { b',' });
            quote(&question.key, &mut asked);
            asked.push(b':');
            asked.extend_from_slice(&question.request);
        }
        asked.push(b'}');
        if !std::mem::replace(&mut parked.watched, true) {
            self.timers.set(Timed::Parked(id), until);
        }
        let purport = Purport::Parked { shard: self.id, call: id, nonce };
        self.answer_with_questions(exchange, part, &asked, purport);
    }

    fn answer_with_questions(&mut self, exchange: ExchangeId, part: u16, asked: &[u8], purport: Purport) {
        let expires = self.unix() + self.config.timeouts.parked;
        let nonce = self.random();
        let keys = self.config.keys.clone();
        let Some(waiting) = self.exchange(exchange) else { return };
        let message = waiting.parts.get(usize::from(part)).map(|part| part.message.clone());
        let message = message.and_then(|span| waiting.body.get(span)).unwrap_or_default();
        let state =
            State::new(purport, waiting.way.backend.clone(), message, &keys, expires).seal(&keys, nonce);
        let result = [
            b"{\"resultType\":\"input_required\",\"inputRequests\":".as_slice(),
            asked,
            b",\"requestState\":\"",
            state.as_bytes(),
            b"\"}",
        ];
        let body = refusal::result(waiting.id_text(part), &result.concat());
        self.answer_part(exchange, part, &body);
    }
}

impl Shard {
    /// A parked call's time has come, unless it moved on.
    pub(crate) fn parked_due(&mut self, id: ParkedId) {
        let Some(parked) = self.parked.get(id) else { return };
        match parked.until > self.now {
            true => self.timers.set(Timed::Parked(id), parked.until),
            false => self.unpark(id),
        }
    }

    /// Gives a parked call up: its target is told, its session is free.
    fn unpark(&mut self, id: ParkedId) {
        let Some(parked) = self.take_parked(id) else { return };
        let ended = |kept: &Kept| match kept {
            Kept::Whole(..) | Kept::Failed(_) => true,
            Kept::Message(message) => {
                Envelope::parse(message, usize::MAX).is_ok_and(|it| it.kind() == Message::Response)
            }
        };
        if !parked.kept.iter().any(ended) {
            self.tell_cancelled(parked.leg);
        }
        self.abandon(parked.leg);
    }

    fn take_parked(&mut self, id: ParkedId) -> Option<Parked> {
        let parked = self.parked.remove(id)?;
        self.counters.parked.sub(1);
        Some(parked)
    }

    /// A modern client closed the stream of its request, which cancels it (basic/patterns/cancellation).
    pub(crate) fn cancel_call(&mut self, id: LegId) {
        match self.legs.get(id).map(|leg| leg.purpose) {
            Some(Purpose::Parked { call }) => self.unpark(call),
            Some(Purpose::Part { .. }) => {
                self.tell_cancelled(id);
                self.abandon(id);
            }
            _ => {}
        }
    }

    /// Tells a legacy target, if it was sent the call, that nobody waits for it.
    fn tell_cancelled(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        let Some(session) = leg.session.filter(|_| leg.sent_at.is_some()) else { return };
        let Some(dress) = leg.dress.as_ref().filter(|dress| dress.renumbered) else { return };
        let Ok(envelope) = Envelope::parse(&dress.body, usize::MAX) else { return };
        let Some(request) = super::route::raw_id(&envelope) else { return };
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{request},\"reason\":\"the client gave it up\"}}}}"
        );
        let target = Arc::clone(&leg.target);
        self.send_quietly(session, target, Method::Post, body.into());
    }

    /// Whether somebody is at the other end of a client's stream.
    pub(crate) fn reads(&self, listener: ExchangeId) -> bool {
        let role = self.conns.get(listener.conn).map(|slot| &slot.role);
        role.is_some_and(|role| !matches!(role, Role::Client(client) if client.wire == Wire::Nowhere))
    }

    /// Opens a target's own stream in a session that one call at a time has to itself: the target may ask on it.
    pub(super) fn attend(&mut self, id: SessionId, target: &TargetId) {
        // A channel brings all that its target says.
        if self.routes.find(target).is_none_or(|target| self.is_channel(target)) {
            return;
        }
        let Some(session) = self.sessions.get(id) else { return };
        let exclusive = session.hidden.as_ref().is_some_and(|hidden| hidden.exclusive);
        if !exclusive || session.listener.is_some() {
            return;
        }
        let way = Way::to(session.backend.clone());
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let conn = self.virtual_client(Wire::Nowhere, nobody);
        let listener = self.open_virtual(conn, Request::bare(Method::Get), Bytes::new(), way, Some(id));
        self.begin(listener, 200, Content::Events, &[]);
        if let Some(session) = self.sessions.get_mut(id) {
            session.listener = Some(listener);
            self.counters.streams.add(1);
        }
    }
}
