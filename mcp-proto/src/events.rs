//! A target's event stream: what is an answer passes, what is a request or notice is looked at first.

use crate::exchange::{Answer, ExchangeId};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::rewrite::{Kind, ResultType};
use crate::leg::{Between, Events, Inbound, LegId, Purpose, Trouble};
use crate::shard::Shard;
use crate::sse::{self, Item};
use bytes::Bytes;

const NO_JSON: Trouble = Trouble::Malformed("an event is no JSON");

/// What an event held back is for until it is known what it is.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// As it came.
    pub(crate) raw: Vec<u8>,
    /// Rewritten for the client; empty where nothing is.
    pub(crate) out: Vec<u8>,
    /// What a result said it is.
    pub(crate) result_type: Option<ResultType>,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.out.is_empty()
    }
}

impl Events {
    /// Whether nothing has come of an event.
    fn is_between(&self) -> bool {
        self.held.raw.is_empty() && self.rewriter.is_none() && !self.broken
    }

    /// Whether they are for a client of the other era.
    fn crosses(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.crosses())
    }
}

impl Shard {
    /// A stream of which the next bytes are to be read.
    pub(crate) fn resume_events(&mut self, between: Between) -> Box<Events> {
        let mut events = self.events.take().unwrap_or_default();
        events.go_on(between);
        events
    }

    /// What is kept of a stream until there is more to read of it.
    pub(crate) fn pause_events(&mut self, mut events: Box<Events>) -> Inbound {
        match events.pause() {
            Some(between) => {
                self.events = Some(events);
                Inbound::Between(between)
            }
            None => Inbound::Events(events),
        }
    }

    /// Reads a piece of an event stream.
    pub(crate) fn read_events(
        &mut self,
        id: LegId,
        events: &mut Events,
        bytes: Bytes,
    ) -> Result<(), Trouble> {
        events.parser.feed(bytes);
        // The only piece of an event so far: mostly the event ends with it.
        let mut first: Option<Bytes> = None;
        loop {
            let item = events.parser.next();
            let whole =
                first.take_if(|piece| matches!(item, Some(Item::End(_))) && self.is_plain(events, piece));
            if let (Some(message), Some(Item::End(end))) = (&whole, &item) {
                self.whole_event(id, events, message, end);
            } else {
                if let Some(piece) = first.take() {
                    self.event_data(id, events, &piece)?;
                }
                match item {
                    None => break,
                    Some(Item::Data(piece)) if events.is_between() && piece != "\n" => first = Some(piece),
                    Some(Item::Data(piece)) => self.event_data(id, events, &piece)?,
                    Some(Item::End(end)) => self.event_ended(id, events, &end)?,
                }
            }
            if self.legs.get(id).is_none() {
                return Ok(());
            }
        }
        self.pass_on(id, events);
        Ok(())
    }

    /// Whether nothing of `message`, which is the whole of an event, has to be rewritten before it is known what it is.
    fn is_plain(&self, events: &Events, message: &[u8]) -> bool {
        message.len() <= self.config.limits.message && (events.plan.is_none() || is_told(message))
    }

    fn event_data(&mut self, id: LegId, events: &mut Events, piece: &[u8]) -> Result<(), Trouble> {
        if events.broken {
            return Ok(());
        }
        if events.passing
            && let Some(rewriter) = &mut events.rewriter
        {
            rewriter.push(piece, &mut events.held.out).map_err(|_| NO_JSON)?;
            self.pass_on(id, events);
            return Ok(());
        }
        if piece == b"\n" && events.held.raw.is_empty() {
            return Ok(());
        }
        if events.held.raw.len() + piece.len() > self.config.limits.message && !self.passes(id, events) {
            return Err(Trouble::TooLarge);
        }
        let Some(plan) = &events.plan else {
            events.held.raw.extend_from_slice(piece);
            return Ok(());
        };
        let rewriter = events.rewriter.get_or_insert_with(|| self.rewriter((**plan).clone()));
        if rewriter.push(piece, &mut events.held.out).is_err() {
            if matches!(rewriter.kind(), Some(Kind::Result | Kind::Error)) {
                return Err(NO_JSON);
            }
            // It was not the answer, so the stream may still bring it.
            events.broken = true;
            events.held = Held::default();
            return Ok(());
        }
        events.held.raw.extend_from_slice(piece);
        Ok(())
    }

    /// Whether the event at hand is an answer that goes to the client as it comes.
    fn passes(&self, id: LegId, events: &Events) -> bool {
        let Some(rewriter) = &events.rewriter else { return false };
        let answer = match rewriter.kind() {
            // What crosses eras may be no answer for its client but a question.
            Some(Kind::Result) => !events.crosses() || rewriter.is_settled(),
            Some(Kind::Error) => !events.crosses(),
            _ => false,
        };
        answer && self.event_reader(id).is_some()
    }

    /// The client's stream that answers on this request's stream go to.
    fn event_reader(&self, id: LegId) -> Option<ExchangeId> {
        let exchange = self.legs.get(id)?.purpose.answers()?;
        // Where several answers share one stream, half of one would be in the way of the others.
        self.exchange(exchange).filter(|it| it.accepts.events && it.takes_pieces())?;
        Some(exchange)
    }

    /// No more of this event has come yet: if it is an answer, what there is of it need not wait.
    fn pass_on(&mut self, id: LegId, events: &mut Events) {
        if events.held.out.is_empty() || !(events.passing || self.passes(id, events)) {
            return;
        }
        let Some(exchange) = self.event_reader(id) else { return };
        if !events.passing {
            events.passing = true;
            events.held.raw = Vec::new();
            let mut start = Vec::new();
            sse::write::head(&mut start, None);
            self.write_event(exchange, &start);
            self.set_half(exchange, true);
        }
        self.write_copy(exchange, &events.held.out);
        events.held.out.clear();
    }

    fn event_ended(&mut self, id: LegId, events: &mut Events, end: &sse::End) -> Result<(), Trouble> {
        let rewriter = events.rewriter.take();
        let kind = rewriter.as_ref().and_then(|rewriter| rewriter.kind());
        let complete = rewriter.as_ref().is_some_and(|rewriter| rewriter.is_complete());
        let mut held = std::mem::take(&mut events.held);
        held.result_type = rewriter.and_then(|rewriter| rewriter.result_type());
        let passing = std::mem::take(&mut events.passing);
        let broken = std::mem::take(&mut events.broken);
        let event_id = self.event_placed(id, events, end);
        if passing {
            if let Some(exchange) = self.event_reader(id) {
                if !complete {
                    // Half of it is with the client already: it must not take that for the whole.
                    self.cut(exchange, "the target's answer ended in the middle");
                    return Ok(());
                }
                self.write_copy(exchange, &held.out);
                let mut rest = Vec::new();
                sse::write::end_with(&mut rest, event_id.as_deref());
                self.write_copy(exchange, &rest);
                self.set_half(exchange, false);
            }
            self.event_answered(id, events);
            return Ok(());
        }
        if let Some(milliseconds) = end.retry {
            self.retry_told(id, milliseconds);
        }
        if broken {
            self.counters.malformed.add(1);
            return Ok(());
        }
        if held.raw.is_empty() {
            if let (Some(event_id), Some(exchange)) = (&event_id, self.message_reader(id)) {
                let mut event = Vec::new();
                sse::write::prime(&mut event, event_id);
                self.write_event(exchange, &event);
                self.set_resumable(exchange);
            }
            return Ok(());
        }
        if events.plan.is_none() {
            self.event_said(id, events, &held.raw, event_id.as_deref());
            return Ok(());
        }
        if !complete {
            self.counters.malformed.add(1);
            return Ok(());
        }
        match kind {
            Some(Kind::Result | Kind::Error) => self.answer_event(id, events, &held, event_id.as_deref()),
            Some(Kind::Method) => self.target_message(id, &held.raw, event_id.as_deref()),
            Some(Kind::Batch) => self.target_batch(id, events, &held.raw),
            None => self.counters.malformed.add(1),
        }
        Ok(())
    }

    /// Where the target's stream is behind an event, for whoever goes on from there; and our name for that place.
    fn event_placed(&mut self, id: LegId, events: &mut Events, end: &sse::End) -> Option<String> {
        if let Some(last) = &end.id {
            events.moved |= events.last.as_ref() != Some(last);
            events.last = Some(last.clone());
        }
        events.retry = end.retry.or(events.retry);
        end.id.as_ref().and_then(|last| self.event_id(id, last))
    }

    /// An event that came in one piece.
    fn whole_event(&mut self, id: LegId, events: &mut Events, message: &[u8], end: &sse::End) {
        let event_id = self.event_placed(id, events, end);
        if let Some(milliseconds) = end.retry {
            self.retry_told(id, milliseconds);
        }
        self.event_said(id, events, message, event_id.as_deref());
    }

    /// An event as it came: one message, or several.
    fn event_said(&mut self, id: LegId, events: &mut Events, raw: &[u8], event_id: Option<&str>) {
        if raw.trim_ascii_start().starts_with(b"[") {
            return self.target_batch(id, events, raw);
        }
        self.whole_message(id, events, raw, event_id);
    }

    fn whole_message(&mut self, id: LegId, events: &mut Events, raw: &[u8], event_id: Option<&str>) {
        match Envelope::parse(raw, self.config.limits.depth) {
            Ok(envelope) if envelope.method.is_some() => self.target_said(id, &envelope, raw, event_id),
            Ok(envelope) if envelope.result.is_some() || envelope.error.is_some() => {
                let held = Held { raw: raw.to_vec(), ..Held::default() };
                self.answer_event(id, events, &held, event_id);
            }
            _ => self.counters.malformed.add(1),
        }
    }

    /// Several messages in one event, as 2025-03-26 allows.
    fn target_batch(&mut self, id: LegId, events: &mut Events, raw: &[u8]) {
        use crate::jsonrpc::envelope::{Body, body};
        let limits = self.config.limits;
        let Ok(Body::Batch(messages)) = body(raw, limits.depth, usize::MAX) else {
            return self.counters.malformed.add(1);
        };
        for message in messages.into_iter().filter_map(|span| raw.get(span)) {
            let Some(plan) = &events.plan else {
                self.whole_message(id, events, message, None);
                continue;
            };
            let mut held = Held { raw: message.to_vec(), ..Held::default() };
            let mut rewriter = self.rewriter((**plan).clone());
            let read = rewriter.push(message, &mut held.out);
            match (read, rewriter.kind()) {
                (Ok(()), Some(Kind::Result | Kind::Error)) => self.answer_event(id, events, &held, None),
                (Ok(()), Some(Kind::Method)) => self.target_message(id, &held.raw, None),
                _ => self.counters.malformed.add(1),
            }
        }
    }

    /// A whole answer came as an event.
    fn answer_event(&mut self, id: LegId, events: &mut Events, held: &Held, event_id: Option<&str>) {
        let Some(leg) = self.legs.get(id) else { return };
        match leg.purpose {
            Purpose::Part { exchange, part, slot: Some(slot) } => {
                events.answered = true;
                let single = self.is_alone(&leg.target.id);
                if let Some(exchange) = self.exchange_mut(exchange) {
                    exchange.by_events = single && exchange.accepts.events;
                }
                self.slot_answered(id, exchange, part, slot, 200, &held.raw);
            }
            Purpose::Open { asker } => {
                events.answered = true;
                self.target_answered(id, asker, 200, &held.raw);
            }
            Purpose::Probe => {
                events.answered = true;
                self.probe_answered(id, 200, &held.raw);
            }
            Purpose::Parked { call } => {
                events.answered = true;
                self.keep_answer(call, &held.raw);
            }
            Purpose::Schemas { .. } => {
                events.answered = true;
                self.schemas_answered(id, &held.raw);
            }
            Purpose::Part { exchange, part, slot: None } => {
                if events.crosses() && self.asks(id, exchange, part, held) {
                    events.answered = true;
                    return;
                }
                if events.crosses() && held.result_type.is_none() && self.fails_plainly(exchange) {
                    events.answered = true;
                    self.quiet(id);
                    return self.answer_part_coded(exchange, part, &held.out);
                }
                let begun = self.exchange(exchange).map(|it| (it.answer, it.accepts.events));
                match begun {
                    Some((_, true)) => {
                        let mut event = Vec::with_capacity(held.out.len() + 64);
                        sse::write::event(&mut event, event_id, &held.out);
                        self.write_event(exchange, &event);
                    }
                    Some((Answer::Open, false)) => {
                        events.answered = true;
                        self.quiet(id);
                        return self.answer_part(exchange, part, &held.out);
                    }
                    _ => {}
                }
                self.event_answered(id, events);
            }
            Purpose::Resume { exchange } => {
                let mut event = Vec::with_capacity(held.out.len() + 64);
                sse::write::event(&mut event, event_id, &held.out);
                self.write_event(exchange, &event);
                self.event_answered(id, events);
            }
            Purpose::Stream { exchange } => self.listen_answered(id, exchange, &held.raw),
            Purpose::Subscribe { exchange } => {
                events.answered = true;
                self.resource_told(id, exchange, &held.raw);
            }
            Purpose::Greet { .. }
            | Purpose::Remote { .. }
            | Purpose::Feed { .. }
            | Purpose::Pass { .. }
            | Purpose::Quiet => self.counters.dropped.add(1),
        }
    }

    /// The answer is with the client: its stream ends here, whatever the target still does with its own.
    fn event_answered(&mut self, id: LegId, events: &mut Events) {
        events.answered = true;
        let Some(leg) = self.legs.get(id) else { return };
        let purpose = leg.purpose;
        self.quiet(id);
        match purpose {
            Purpose::Part { exchange, part, slot: None } => self.part_done(exchange, part),
            Purpose::Resume { exchange } => self.finish(exchange),
            _ => {}
        }
    }

    /// A target's event stream has ended.
    pub(crate) fn events_ended(&mut self, id: LegId, events: &Events) {
        let Some(leg) = self.legs.get(id) else { return };
        let (target, purpose) = (leg.target.id.clone(), leg.purpose);
        match purpose {
            Purpose::Quiet => self.drop_leg(id),
            Purpose::Stream { exchange } => {
                self.drop_leg(id);
                self.stream_ended(exchange, &target);
            }
            // The client has an event id and asks for the rest (MCP 2025-11-25, polling).
            Purpose::Part { exchange, slot: None, .. } | Purpose::Resume { exchange }
                if self.exchange(exchange).is_some_and(|exchange| exchange.resumable) =>
            {
                self.drop_leg(id);
                self.finish(exchange);
            }
            // It goes on when its client comes again.
            Purpose::Parked { .. } if events.answered => {}
            _ if events.answered => self.drop_leg(id),
            _ if self.poll_again(id, events) => {}
            _ => self.leg_failed(id, Trouble::Silent),
        }
    }
}

/// Whether `message` is spelled as nearly all requests and notices are: what it is then told by its first telling key.
fn is_told(message: &[u8]) -> bool {
    let members =
        message.strip_prefix(b"{").map(|rest| rest.strip_prefix(b"\"jsonrpc\":\"2.0\",").unwrap_or(rest));
    members.is_some_and(|members| members.starts_with(b"\"method\":"))
}
