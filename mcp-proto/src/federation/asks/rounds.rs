//! Rounds: a modern target's questions put to a legacy client, and its call made again with the answers.
//!
//! ```text
//! input_required ─► begin_round ─► one request to the client each, on the stream of its own request
//!                                        │ its answers, POSTs on any shard: the id names the round
//!                                        ▼
//!                   input ─► input_given ─► all there ─► repeat_call ─► the call under a new id, with the answers
//! ```
//!
//! A round waits as a [`Leg`] of its own that has no connection: the one that asked has ended. The client's answers
//! come under sealed ids that name shard and leg; those of an earlier round find nothing. A client that goes away ends
//! its round: the target has nothing under way, and nobody could be asked or told.

use super::offers::Asked;
use super::{Offers, may_ask_back};
use crate::ShardId;
use crate::edge::Note;
use crate::exchange::{ExchangeId, Work};
use crate::http::Method;
use crate::jsonrpc::envelope::{Envelope, Kind as Message};
use crate::jsonrpc::params::{self, InputRequest, InputRequired};
use crate::jsonrpc::rewrite::{Plan, Scope};
use crate::jsonrpc::splice::quote;
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::seal::Kind;
use crate::session::{SessionId, SessionKey};
use crate::shard::{Deferred, Shard};
use crate::sse;
use crate::table::Key as _;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use routing::Target;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call is made anew at most so often; the official server that bridges the eras stops there as well.
const ROUNDS: u32 = 8;
/// People answer: without a sign of progress a round may take so long.
const ROUND: Duration = Duration::from_secs(600);
/// A target that asks nothing but only wants to be called again is left alone for so long.
const PAUSE: Duration = Duration::from_millis(250);

/// What a call has been through.
#[derive(Debug)]
pub(crate) struct Round {
    number: u32,
    /// The client's message, of which every new call is made.
    original: Bytes,
    /// Until the call is made anew.
    asking: Option<Asking>,
}

impl Round {
    /// Whether the client is being asked.
    pub(crate) fn is_open(&self) -> bool {
        self.asking.is_some()
    }
}

#[derive(Debug)]
struct Asking {
    nonce: u64,
    questions: Vec<Question>,
    /// `requestState`, a JSON string as the target wrote it.
    state: Option<Bytes>,
    /// Bytes of all answers.
    size: usize,
    until: Instant,
}

#[derive(Debug)]
struct Question {
    key: String,
    method: String,
    /// The client's result, raw.
    answer: Option<Bytes>,
}

/// Where an answer of the client belongs: what the id of a question says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    session: SessionKey,
    shard: ShardId,
    leg: LegId,
    /// A shard that is rebuilt counts its legs anew.
    nonce: u64,
    question: u16,
}

impl Place {
    fn write(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u128(self.session);
        writer.u16(self.shard.0);
        let (index, generation) = self.leg.parts();
        writer.u64(u64::from(index) << 32 | u64::from(generation));
        writer.u64(self.nonce);
        writer.u16(self.question);
        writer.done()
    }

    fn read(content: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(content);
        let (session, shard, leg) = (reader.u128()?, ShardId(reader.u16()?), reader.u64()?);
        let leg = LegId::new((leg >> 32) as u32, leg as u32);
        Some(Self { session, shard, leg, nonce: reader.u64()?, question: reader.u16()? })
    }
}

/// Why a target's questions can't be put to its client.
enum Unasked {
    /// The target is at fault.
    Malformed(&'static str),
    Words(String),
}

impl Shard {
    /// A modern target asks a legacy client.
    pub(super) fn begin_round(&mut self, id: LegId, exchange: ExchangeId, part: u16, message: &[u8]) {
        let asked = self.questions_in(id, exchange, part, message);
        let (result, input, number) = match asked {
            Ok(asked) => asked,
            Err(Unasked::Malformed(what)) => return self.leg_failed(id, Trouble::Malformed(what)),
            Err(Unasked::Words(words)) => return self.give_up_call(id, exchange, part, &words),
        };
        let nonce = u64::from_be_bytes(self.random());
        let wait = if input.requests.is_empty() { PAUSE } else { ROUND };
        let until = self.now + wait;
        let question = |request: &InputRequest| Question {
            key: request.key.clone(),
            method: request.method.clone(),
            answer: None,
        };
        let asking = Asking {
            nonce,
            questions: input.requests.iter().map(question).collect(),
            state: input.state.clone().and_then(|span| result.get(span)).map(Bytes::copy_from_slice),
            size: 0,
            until,
        };
        let Some(before) = self.legs.get_mut(id) else { return };
        let original = before.round.take().map_or_else(|| before.body.clone(), |round| round.original);
        let purpose = Purpose::Part { exchange, part, slot: None };
        let target = Arc::clone(&before.target);
        let mut leg = Leg::new(Arc::clone(&target), before.session, purpose, Method::Post, Bytes::new());
        leg.fields = before.fields.take();
        leg.version = before.version;
        leg.attempt = before.attempt;
        leg.round = Some(Box::new(Round { number, original, asking: Some(asking) }));
        let session = leg.session;
        self.settle_leg(id);
        let leg = self.legs.insert(leg);
        self.counters.calls.add(1);
        self.limit_leg(leg, until);
        if let Some(waiting) = self.exchange_mut(exchange)
            && let Some(part) = waiting.parts.get_mut(usize::from(part))
        {
            part.work = Work::Relay { target: target.id.clone(), leg };
        }
        let key = session.and_then(|session| self.sessions.get(session)).map(|session| session.key);
        for (question, request) in (0..).zip(&input.requests) {
            let place = Place { session: key.unwrap_or_default(), shard: self.id, leg, nonce, question };
            let message = self.question_to_client(&target, place, request, result);
            let mut event = Vec::with_capacity(message.len() + 24);
            sse::write::event(&mut event, None, &message);
            self.write_event(exchange, &event);
        }
    }

    /// The result in `message`, what it asks, and which round that makes; or why it is not asked.
    fn questions_in<'m>(
        &self,
        id: LegId,
        exchange: ExchangeId,
        part: u16,
        message: &'m [u8],
    ) -> Result<(&'m [u8], InputRequired, u32), Unasked> {
        let words = |words: String| Err(Unasked::Words(words));
        let result = Envelope::parse(message, self.config.limits.depth)
            .ok()
            .and_then(|envelope| message.get(envelope.result?))
            .ok_or(Unasked::Malformed("it is no JSON-RPC response"))?;
        let input = InputRequired::parse(result).map_err(Unasked::Malformed)?;
        let input = input.ok_or(Unasked::Malformed("it is no JSON-RPC response"))?;
        let Some(waiting) = self.exchange(exchange) else { return words("asks nobody".to_owned()) };
        let method = waiting.method(part).unwrap_or_default();
        if !may_ask_back(&method) {
            return words(format!(
                "answered {method} with a question, which only calls may be answered with"
            ));
        }
        let before = self.legs.get(id).and_then(|leg| leg.round.as_ref());
        let number = before.map_or(0, |round| round.number) + 1;
        if number > ROUNDS {
            return words(format!("asked for more after {ROUNDS} rounds of questions"));
        }
        let most = self.config.limits.batch.min(usize::from(u16::MAX));
        if input.requests.len() > most {
            return words(format!("asks {} things at once; {most} are allowed", input.requests.len()));
        }
        let session = waiting.session.and_then(|session| self.sessions.get(session));
        let offers = session.map(|session| Offers::parse(&session.capabilities)).unwrap_or_default();
        for request in &input.requests {
            let params = request.params.clone().and_then(|span| result.get(span));
            if let Some(missing) = offers.missing(&request.method, params) {
                return words(format!(
                    "asks for {}, but the client does not have: {missing}",
                    request.method
                ));
            }
        }
        if !input.requests.is_empty() && !waiting.accepts.events {
            return words("asks something, but the client takes no event stream to be asked on".to_owned());
        }
        Ok((result, input, number))
    }

    /// One question as a request of its own. Progress on it comes under its id.
    fn question_to_client(
        &self,
        target: &Target,
        place: Place,
        request: &InputRequest,
        result: &[u8],
    ) -> Vec<u8> {
        let id = format!("\"{}\"", self.config.keys.seal_here(Kind::Input, [0; 12], &place.write()));
        let mut message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":").into_bytes();
        quote(&request.method, &mut message);
        if let Some(params) = request.params.clone().and_then(|span| result.get(span)) {
            message.extend_from_slice(b",\"params\":");
            let asked = Asked::parse(Some(params));
            match params.split_first() {
                // What earlier revisions know a visit by (2025-11-25, client/elicitation).
                Some((bracket, rest)) if asked.is_url() && asked.elicitation_id.is_none() => {
                    message.push(*bracket);
                    let name = format!("{:016x}-{}", place.nonce, place.question);
                    message.extend_from_slice(format!("\"elicitationId\":\"{name}\",").as_bytes());
                    message.extend_from_slice(rest);
                }
                _ => message.extend_from_slice(params),
            }
        }
        message.push(b'}');
        if request.method == "sampling/createMessage" {
            message = self.rewritten(Plan::names(self.renames(target), Scope::Sampling), &message);
        }
        match Envelope::parse(&message, usize::MAX) {
            Ok(envelope) if envelope.params.meta_progress_token.is_none() => {
                params::with_meta(&message, &envelope, format!("\"progressToken\":{id}").as_bytes())
            }
            _ => message,
        }
    }

    /// Where a client's message belongs that names `raw`, an id or a progress token.
    pub(crate) fn place(&self, session: SessionId, raw: &[u8]) -> Option<Place> {
        let key = self.sessions.get(session)?.key;
        let text = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let place = Place::read(&self.config.keys.open_here(Kind::Input, text)?)?;
        (place.session == key && place.shard.0 < self.config.shards).then_some(place)
    }

    /// A client's word on a question, for the shard that has the round. It may not be lost: so the whole request goes
    /// there, unless there is more in it.
    pub(crate) fn input(&mut self, id: ExchangeId, part: u16, place: Place, message: &Bytes) {
        let alone = self.exchange(id).is_some_and(|exchange| exchange.batch.is_none());
        if place.shard != self.id && alone && self.is_over_http(id) && !self.is_forwarded(id) {
            if let Err(refusal) = self.forward(id, place.shard) {
                self.refuse(id, &refusal);
            }
            return;
        }
        match place.shard == self.id {
            true => self.input_here(place, message),
            false => self.post(place.shard, Note::Input { place, message: message.clone() }),
        }
        self.part_done(id, part);
    }

    pub(crate) fn input_here(&mut self, place: Place, message: &Bytes) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(place.leg) else { return self.counters.dropped.add(1) };
        let purpose = leg.purpose;
        let asking = leg.round.as_mut().and_then(|round| round.asking.as_mut());
        let asking = asking.filter(|asking| asking.nonce == place.nonce);
        let Some(asking) = asking else { return self.counters.dropped.add(1) };
        let Ok(envelope) = Envelope::parse(message, usize::MAX) else { return };
        if envelope.kind() != Message::Response {
            asking.until = now + ROUND;
            return;
        }
        let Some(question) = asking.questions.get_mut(usize::from(place.question)) else { return };
        if question.answer.is_some() {
            return self.counters.dropped.add(1);
        }
        let Purpose::Part { exchange, part, .. } = purpose else { return };
        let Some(result) = envelope.result.and_then(|span| message.get(span)) else {
            let error = envelope.error.and_then(|error| message.get(error.span)).unwrap_or_default();
            let words = format!("asked for {}, which the client refused: {}", question.method, said(error));
            question.answer = Some(Bytes::new());
            return self.end_round(place.leg, exchange, part, &words);
        };
        question.answer = Some(Bytes::copy_from_slice(result));
        asking.size += result.len();
        if asking.size > self.config.limits.gather {
            let words = "asked for more than can be kept: the client's answers are too large together";
            return self.end_round(place.leg, exchange, part, words);
        }
        if asking.questions.iter().all(|question| question.answer.is_some()) {
            self.repeat_call(place.leg);
        }
    }

    /// A round's time has come, unless the client has shown that it is at work.
    pub(crate) fn round_due(&mut self, id: LegId) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(asking) = leg.round.as_ref().and_then(|round| round.asking.as_ref()) else { return };
        if asking.until > now {
            let until = asking.until;
            return self.limit_leg(id, until);
        }
        let Purpose::Part { exchange, part, .. } = leg.purpose else { return };
        if asking.questions.is_empty() {
            return self.repeat_call(id);
        }
        let methods = asking.questions.iter().filter(|question| question.answer.is_none());
        let methods: Vec<_> = methods.map(|question| question.method.as_str()).collect();
        let words = format!("asked for {}, and the client did not answer in time", methods.join(", "));
        self.end_round(id, exchange, part, &words);
    }

    /// Gives a round up: what is still being asked is withdrawn.
    fn end_round(&mut self, id: LegId, exchange: ExchangeId, part: u16, words: &str) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let key = leg.session.and_then(|session| self.sessions.get(session)).map(|session| session.key);
        let asking = leg.round.as_mut().and_then(|round| round.asking.take());
        let reads = self.exchange(exchange).is_some();
        for (question, asked) in (0..).zip(asking.iter().flat_map(|asking| &asking.questions)) {
            let nonce = asking.as_ref().map_or(0, |asking| asking.nonce);
            if asked.answer.is_some() || !reads {
                continue;
            }
            let place = Place { session: key.unwrap_or_default(), shard: self.id, leg: id, nonce, question };
            let request = self.config.keys.seal_here(Kind::Input, [0; 12], &place.write());
            let message = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":\"{request}\"}}}}"
            );
            let mut event = Vec::new();
            sse::write::event(&mut event, None, message.as_bytes());
            self.write_event(exchange, &event);
        }
        self.give_up_call(id, exchange, part, words);
    }

    /// Makes the call again: the client's message, this round's answers, and the target's own state.
    fn repeat_call(&mut self, id: LegId) {
        self.numbers += 1;
        let number = self.numbers;
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(round) = &mut leg.round else { return };
        let Some(asking) = round.asking.take() else { return };
        leg.deadline = None;
        match anew(&round.original, number, &asking) {
            Some(body) => {
                leg.body = body;
                self.deferred.push_back(Deferred::Start(id));
            }
            None => self.deferred.push_back(Deferred::Fail(id, Trouble::Nowhere)),
        }
    }

    /// A call whose client gave it up: nothing is left of it, and no answer comes.
    pub(crate) fn withdraw(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        let Purpose::Part { exchange, part, .. } = leg.purpose else { return };
        self.abandon(id);
        if let Some(exchange) = self.exchange_mut(exchange) {
            exchange.log.error = Some("the client cancelled it".to_owned());
        }
        self.part_done(exchange, part);
    }
}

/// The message of a new call.
///
/// Its id must be another than the client's (basic/patterns/mrtr): that may be any number, so this is none.
fn anew(original: &[u8], number: u64, asking: &Asking) -> Option<Bytes> {
    let envelope = Envelope::parse(original, usize::MAX).ok()?;
    let foreign = [&envelope.params.request_state, &envelope.params.input_responses];
    let foreign: Vec<_> = foreign.into_iter().flatten().cloned().collect();
    let plain = params::without(original, foreign);
    let envelope = Envelope::parse(&plain, usize::MAX).ok()?;
    let start = envelope.params.span.as_ref()?.start + 1;
    let mut added = Vec::new();
    for (at, question) in asking.questions.iter().enumerate() {
        added.extend_from_slice(if at == 0 { b"\"inputResponses\":{" } else { b"," });
        quote(&question.key, &mut added);
        added.push(b':');
        added.extend_from_slice(question.answer.as_deref()?);
    }
    if !asking.questions.is_empty() {
        added.extend_from_slice(b"},");
    }
    if let Some(state) = &asking.state {
        added.extend_from_slice(b"\"requestState\":");
        added.extend_from_slice(state);
        added.push(b',');
    }
    let is_empty = plain.get(start..)?.trim_ascii_start().starts_with(b"}");
    if is_empty {
        added.pop();
    }
    let id = (envelope.id_span?, format!("\"mcp-gateway-{number}\"").into_bytes());
    Some(params::edited(&plain, vec![(start..start, added), id]).into())
}

/// What an error object says.
fn said(error: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        message: String,
    }
    match serde_json::from_slice::<Error>(error) {
        Ok(error) => format!("{} ({})", error.message, error.code),
        Err(_) => "no reason given".to_owned(),
    }
}
