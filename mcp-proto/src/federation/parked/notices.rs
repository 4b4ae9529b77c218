//! What a legacy target says beside its answer, and what of it a modern client's request hears.

use super::{Kept, ParkedId};
use crate::exchange::{Answer, ExchangeId};
use crate::jsonrpc::envelope::{Envelope, Kind as Message};
use crate::jsonrpc::notice;
use crate::leg::{Leg, LegId, Purpose};
use crate::session::{Session, SessionId};
use crate::shard::Shard;
use routing::Target;
use serde_json::Value;
use std::sync::Arc;

impl Shard {
    /// Whether a session is there for calls that no client knows a session of.
    pub(in crate::federation) fn serves_calls(&self, session: SessionId) -> bool {
        let hidden = self.sessions.get(session).is_some_and(Session::is_hidden);
        hidden && self.subscriber(session).is_none()
    }

    /// A notice of a target in a hidden session: the client's request hears of its own progress, and what it wants
    /// logged; nothing else may be on its stream (2026-07-28, basic/transports/streamable-http, Receiving Messages).
    pub(in crate::federation) fn hidden_notice(
        &mut self,
        id: Option<LegId>,
        session: SessionId,
        target: &Arc<Target>,
        envelope: &Envelope<'_>,
        raw: &[u8],
    ) {
        let method = envelope.method.as_ref().map_or("", |method| &*method.value);
        let is_call =
            |leg: &Leg| matches!(leg.purpose, Purpose::Part { slot: None, .. } | Purpose::Parked { .. });
        let own = id.filter(|id| self.legs.get(*id).is_some_and(is_call));
        let found = own.or_else(|| self.busy(session, target));
        let Some(leg) = found else {
            self.invalidate(&target.id, method);
            return self.counters.dropped.add(1);
        };
        match (method, self.legs.get(leg).map(|leg| leg.purpose)) {
            ("notifications/cancelled", Some(Purpose::Parked { call })) => {
                let request = envelope.params.request_id.clone().and_then(|span| raw.get(span));
                self.withdraw_question(call, request.unwrap_or_default());
            }
            ("notifications/progress" | "notifications/message", Some(Purpose::Parked { call })) => {
                self.keep(call, Kept::Message(raw.to_vec()));
            }
            (
                "notifications/progress" | "notifications/message",
                Some(Purpose::Part { exchange, part, slot: None }),
            ) => {
                // A target that floods another stream than its answer's can't be slowed down by this client.
                if own.is_some() || self.has_room(exchange) {
                    self.tell_call(leg, exchange, part, envelope, raw);
                } else {
                    self.counters.dropped.add(1);
                }
            }
            _ => {
                self.invalidate(&target.id, method);
                self.counters.dropped.add(1);
            }
        }
    }

    /// Progress of a call under its client's own token; a log message if the client wants any.
    fn tell_call(
        &mut self,
        leg: LegId,
        exchange: ExchangeId,
        part: u16,
        envelope: &Envelope<'_>,
        raw: &[u8],
    ) {
        let Some(waiting) = self.exchange(exchange) else { return self.counters.dropped.add(1) };
        let open = matches!(waiting.answer, Answer::Open | Answer::Begun { events: true, .. });
        let target = self.legs.get(leg).and_then(|leg| self.renames(&leg.target));
        let edits = match &envelope.params.progress_token {
            _ if !waiting.accepts.events || waiting.half || !open => None,
            Some(span) => {
                let sent = self.legs.get(leg).and_then(|leg| token_of(&leg.body));
                let message = waiting.parts.get(usize::from(part)).map(|part| part.message.clone());
                let wanted = message.and_then(|span| token_of(waiting.body.get(span)?));
                let is_own = sent.is_some_and(|sent| same(&sent, raw.get(span.clone()).unwrap_or_default()));
                wanted.filter(|_| is_own).map(|wanted| [notice::NONE, (span.clone(), wanted.into())])
            }
            None => {
                let (.., level) = waiting.claimed();
                let named = |target| notice::logger(target, &envelope.params);
                level.map(|_| target.as_ref().map(named).unwrap_or_default())
            }
        };
        match edits {
            Some([name, mark]) => self.tell(None, exchange, raw, &[name, mark], None),
            None => self.counters.dropped.add(1),
        }
    }

    /// A target takes a question back.
    fn withdraw_question(&mut self, call: ParkedId, request: &[u8]) {
        let Some(parked) = self.parked.get_mut(call) else { return };
        parked.questions.retain(|question| question.id != request);
        parked.kept.retain(|kept| match kept {
            Kept::Message(message) => Envelope::parse(message, usize::MAX).is_ok_and(|envelope| {
                let own = crate::federation::route::raw_id(&envelope).map(str::as_bytes);
                envelope.kind() != Message::Request || own != Some(request)
            }),
            Kept::Whole(..) | Kept::Failed(_) => true,
        });
    }
}

/// The progress token of a request, raw.
fn token_of(message: &[u8]) -> Option<Vec<u8>> {
    let envelope = Envelope::parse(message, usize::MAX).ok()?;
    Some(message.get(envelope.params.meta_progress_token?)?.to_vec())
}

/// Whether two JSON texts mean the same.
fn same(one: &[u8], other: &[u8]) -> bool {
    let value = |text| serde_json::from_slice::<Value>(text).ok();
    one == other || value(one).is_some_and(|it| Some(it) == value(other))
}
