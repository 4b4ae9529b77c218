//! The client's new request, which goes on with a parked call.

use super::state::{Purport, State};
use super::{Kept, ParkedId};
use crate::conn::{Conn, Phase};
use crate::exchange::{ExchangeId, Work};
use crate::http::Method;
use crate::jsonrpc::envelope::{Envelope, Kind as Message};
use crate::jsonrpc::members::members;
use crate::leg::{Inbound, LegId, Purpose, Trouble};
use crate::refusal;
use crate::session::SessionId;
use crate::shard::Shard;
use bytes::Bytes;
use routing::Target;
use std::sync::Arc;

impl Shard {
    /// Whether a request comes with a state of ours: then it is taken care of.
    pub(in crate::federation) fn retried(
        &mut self,
        id: ExchangeId,
        part: u16,
        envelope: &Envelope<'_>,
        message: &Bytes,
    ) -> bool {
        let raw = envelope.params.request_state.clone().and_then(|span| message.get(span));
        let keys = &self.config.keys;
        let Some(state) = raw.and_then(|raw| State::open(keys, raw)) else { return false };
        let (is_for, has_expired) = (state.is_for(message, keys), state.has_expired(self.unix()));
        let invalid = |shard: &mut Self, words: &str| {
            shard.fail_part(id, part, refusal::INVALID_PARAMS, words, None);
            true
        };
        if !is_for {
            return invalid(self, "params.requestState was given for another request");
        }
        if !self.turn_to(id, &state.backend) {
            return invalid(self, "params.requestState is not known");
        }
        if has_expired {
            return invalid(self, "params.requestState has expired");
        }
        let responses = envelope.params.input_responses.clone().and_then(|span| message.get(span));
        let Some(responses) = responses.map_or_else(|| Some(Vec::new()), answers) else {
            return invalid(self, "params.inputResponses is no object");
        };
        match state.purport {
            Purport::Anew => self.call_anew(id, part, envelope, message, &responses),
            Purport::Parked { shard, .. } if shard != self.id => {
                let forwarded = match shard.0 < self.config.shards {
                    true => self.forward(id, shard),
                    false => return invalid(self, "params.requestState is not known"),
                };
                if let Err(refusal) = forwarded {
                    self.refuse(id, &refusal);
                }
            }
            Purport::Parked { call, nonce, .. } => {
                let found = self.parked.get(call);
                if found.is_none_or(|parked| parked.nonce != nonce || parked.told.is_some()) {
                    return invalid(self, "params.requestState was used already, or its call was given up");
                }
                self.take_answers(id, part, call, &responses);
            }
        }
        true
    }

    /// Gives the target what the client answered, and the call to the client's new request; unless answers are missing.
    fn take_answers(&mut self, id: ExchangeId, part: u16, call: ParkedId, responses: &[(Vec<u8>, &[u8])]) {
        let until = self.now + self.config.timeouts.parked;
        let Some(parked) = self.parked.get_mut(call) else { return };
        let (session, target, leg) = (parked.session, Arc::clone(&parked.target), parked.leg);
        let mut bodies = Vec::new();
        parked.questions.retain(|question| {
            let given = responses.iter().find(|(key, _)| *key == question.key.as_bytes());
            if let Some((_, result)) = given {
                bodies.push(refusal::result(&question.id, result));
            }
            given.is_none()
        });
        // Whoever only asks again and again what was missing does not hold a call for ever.
        if !bodies.is_empty() {
            parked.until = until;
        }
        parked.told = Some((id, part));
        let missing = !parked.questions.is_empty();
        if let Some(exchange) = self.exchange_mut(id)
            && let Some(part) = exchange.parts.get_mut(usize::from(part))
        {
            part.work = Work::Relay { target: target.id.clone(), leg };
        }
        for body in bodies {
            self.send_quietly(session, Arc::clone(&target), Method::Post, body.into());
        }
        match missing {
            true => self.park(call),
            false => self.resume_parked(call, id, part),
        }
    }

    /// A parked call belongs to a request of its client again: what came meanwhile is said now.
    pub(super) fn resume_parked(&mut self, call: ParkedId, exchange: ExchangeId, part: u16) {
        let Some(parked) = self.take_parked(call) else { return };
        let id = parked.leg;
        let purpose = Purpose::Part { exchange, part, slot: None };
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.purpose = purpose;
        let conn = leg.conn;
        self.replan(id, exchange, part);
        if let Some(conn) = conn {
            let now = self.now;
            if let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) {
                match &mut upstream.phase {
                    Phase::Waiting(since) | Phase::Answering(since) => *since = now,
                    Phase::Connecting(_) | Phase::Idle(_) | Phase::Streaming => {}
                }
            }
            self.watch(conn);
        }
        self.renew_patience(id);
        for kept in parked.kept {
            self.say_kept(id, parked.session, &parked.target, kept);
        }
    }

    /// The answer under way is for another request than it was when it began.
    fn replan(&mut self, id: LegId, exchange: ExchangeId, part: u16) {
        let plan = self.plan(id, exchange, part);
        let mut rewriter = self.rewriter(plan.clone());
        let mut look = self.look(plan.clone());
        let Some(leg) = self.legs.get_mut(id) else { return };
        match &mut leg.inbound {
            Inbound::Events(events) => {
                events.held.out.clear();
                // What is no JSON is found so again at its end.
                events.broken |= rewriter.push(&events.held.raw, &mut events.held.out).is_err();
                events.rewriter = Some(rewriter);
                events.plan = Some(Box::new(plan));
            }
            Inbound::Between(between) => between.plan = Some(Box::new(plan)),
            Inbound::Whole { status: 200, body } => {
                // As above.
                let body = std::mem::take(body).done();
                _ = look.rewriter.push(&body, &mut look.held.out);
                look.came = body.len();
                look.held.raw = body.into();
                look.askable = true;
                leg.inbound = Inbound::Look(Box::new(look));
            }
            _ => {}
        }
    }

    /// What came while a call was parked, as if it came now.
    fn say_kept(&mut self, id: LegId, session: SessionId, target: &Arc<Target>, kept: Kept) {
        let Some(purpose) = self.legs.get(id).map(|leg| leg.purpose) else { return };
        if let Purpose::Parked { call } = purpose {
            return self.keep(call, kept);
        }
        let Purpose::Part { exchange, part, .. } = purpose else { return };
        match kept {
            Kept::Failed(trouble) => self.leg_failed(id, trouble),
            Kept::Whole(200..300, body) => self.answered_whole(id, exchange, part, &body),
            Kept::Whole(status, body) => self.whole_answer(id, purpose, status, &body),
            Kept::Message(message) => {
                let Ok(envelope) = Envelope::parse(&message, usize::MAX) else { return };
                match envelope.kind() {
                    Message::Request => self.hidden_request(session, target, &envelope, &message),
                    Message::Notification => {
                        self.hidden_notice(Some(id), session, target, &envelope, &message)
                    }
                    Message::Response => self.answered_whole(id, exchange, part, &message),
                }
            }
        }
    }

    fn answered_whole(&mut self, id: LegId, exchange: ExchangeId, part: u16, body: &[u8]) {
        let mut look = self.look(self.plan(id, exchange, part));
        match look.rewriter.push(body, &mut look.held.out) {
            Ok(()) => {
                look.held.raw = body.to_vec();
                self.looked_at_answer(id, exchange, part, look);
            }
            Err(_) => self.leg_failed(id, Trouble::Malformed("it is no JSON")),
        }
    }
}

/// The members of `inputResponses`.
fn answers(raw: &[u8]) -> Option<Vec<(Vec<u8>, &[u8])>> {
    let members = members(raw)?;
    members.into_iter().map(|member| Some((member.key, raw.get(member.span)?))).collect()
}
