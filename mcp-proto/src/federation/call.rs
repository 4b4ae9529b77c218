//! One message for one target: the request goes there, the answer comes back as it is.

use crate::answer::Content;
use crate::events::Held;
use crate::exchange::{Answer, ExchangeId, Work};
use crate::federation::probe::Era;
use crate::http::{Framing, Method, Response};
use crate::jsonrpc::envelope::{Envelope, Id, Kind};
use crate::jsonrpc::known::Known;
use crate::jsonrpc::rewrite::{Plan, Rewriter};
use crate::leg::{Between, Inbound, Leg, LegId, Purpose, Trouble};
use crate::outbox::Rewritten;
use crate::refusal;
use crate::session::{Revision, SessionId, TargetState};
use crate::shard::{Deferred, Shard};
use crate::sse;
use bytes::Bytes;
use routing::{Target, TargetId, TargetName};
use std::sync::Arc;

/// An answer up to this size is rewritten whole, so that it can say its length.
const SHORT: u64 = 64 << 10;

impl Shard {
    /// Sends a client's message to one target, which answers it.
    pub(crate) fn relay(
        &mut self,
        id: ExchangeId,
        part: u16,
        target: Arc<Target>,
        body: Bytes,
        repeatable: bool,
    ) {
        self.relay_known(id, part, target, body, None, repeatable);
    }

    /// The same with a message of which something is known.
    pub(super) fn relay_known(
        &mut self,
        id: ExchangeId,
        part: u16,
        target: Arc<Target>,
        body: Bytes,
        known: Option<Known<'_>>,
        repeatable: bool,
    ) {
        let purpose = Purpose::Part { exchange: id, part, slot: None };
        let name = target.id.clone();
        let Some(mut leg) = self.leg_for(id, target, purpose, body) else { return };
        leg.repeatable = repeatable;
        let leg = self.legs.insert(leg);
        if let Some(exchange) = self.exchange_mut(id)
            && let Some(part) = exchange.parts.get_mut(usize::from(part))
        {
            part.work = Work::Relay { target: name, leg };
        }
        self.counters.calls.add(1);
        self.start_known(leg, known);
    }

    /// A POST on behalf of an exchange.
    pub(crate) fn leg_for(
        &self,
        id: ExchangeId,
        target: Arc<Target>,
        purpose: Purpose,
        body: Bytes,
    ) -> Option<Leg> {
        let exchange = self.exchange(id)?;
        let fields = exchange.passes(&target).then(|| Box::new(exchange.head.fields.clone()));
        let said = exchange.head.fields.first("mcp-protocol-version").and_then(Revision::parse);
        let agreed = exchange.session.and_then(|session| self.sessions.get(session)).map(|it| it.revision);
        let mut leg = Leg::new(target, exchange.session, purpose, Method::Post, body);
        leg.version = said.filter(|said| Some(*said) != agreed);
        leg.fields = fields;
        leg.attempt = exchange.way.rule.as_ref().and_then(|rule| rule.backend_timeout);
        Some(leg)
    }

    /// Lets a request begin: at once, or when its target session is open.
    pub(crate) fn start(&mut self, id: LegId) {
        self.counters.calls.add(1);
        self.start_in_session(id);
    }

    /// The same for a request that has begun once and must wait for a new target session.
    pub(crate) fn start_in_session(&mut self, id: LegId) {
        self.start_known(id, None);
    }

    pub(super) fn start_known(&mut self, id: LegId, known: Option<Known<'_>>) {
        let Some(leg) = self.legs.get(id) else { return };
        let target = Arc::clone(&leg.target);
        // It ends or completes a session that is open, so there is nothing to find out.
        if leg.opened.is_some() {
            return self.dispatch_leg(id);
        }
        match self.current_era(id, &target) {
            None => self.await_era(id, &target),
            Some(Era::Modern) => self.start_modern(id, known),
            Some(Era::Legacy | Era::Sse) => self.start_legacy(id, &target, known),
        }
    }

    fn start_legacy(&mut self, id: LegId, target: &Arc<Target>, known: Option<Known<'_>>) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(id) else { return };
        let purpose = leg.purpose;
        // A stream that was there before is asked for once more: its session may have been lost again meanwhile.
        let stands = !matches!(purpose, Purpose::Stream { .. });
        if let Some(refused) = leg.refused_with.take().filter(|refused| stands && !refused.modern) {
            return self.whole_answer(id, purpose, refused.status, &refused.body);
        }
        if leg.round.is_some() {
            let trouble = Trouble::Malformed("it asked, and does not speak that revision any more");
            return self.deferred.push_back(Deferred::Fail(id, trouble));
        }
        match purpose {
            Purpose::Stream { exchange } => self.ask_for_stream(id, exchange),
            Purpose::Part { slot: Some(_), .. } => self.ask_for_session(id),
            _ => {}
        }
        let client = purpose
            .exchange()
            .filter(|exchange| self.exchange(*exchange).is_some_and(|exchange| exchange.modern.is_some()));
        let body = client.and_then(|_| self.legs.get(id)).map(|leg| leg.body.clone());
        let envelope = body.as_ref().and_then(|body| Known::or_read(known, body));
        if let Purpose::Part { exchange, slot: None, .. } = purpose
            && client.is_some()
            && self.is_over_http(exchange)
        {
            if self.await_schemas(id, target, envelope.as_deref()) {
                return;
            }
            if let Err(refusal) = self.check_mirrors(id, exchange, envelope.as_deref()) {
                self.drop_leg(id);
                return self.refuse(exchange, &refusal);
            }
        }
        if let Some(exchange) = client
            && self.legs.get(id).is_some_and(|leg| leg.session.is_none())
        {
            if self.has_foreign_state(id, envelope.as_deref()) {
                return;
            }
            let hidden = self.hidden_session(exchange, id);
            let Some(leg) = self.legs.get_mut(id).filter(|_| hidden.is_some()) else {
                return self.deferred.push_back(Deferred::Fail(id, Trouble::Busy));
            };
            leg.session = hidden;
        }
        self.dress(id, envelope.as_deref());
        let Some(leg) = self.legs.get_mut(id) else { return };
        let session = leg.session.filter(|_| !matches!(leg.purpose, Purpose::Open { .. }));
        let Some(session_id) = session else { return self.dispatch_leg(id) };
        let Some(session) = self.sessions.get_mut(session_id) else {
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Lost(crate::Fault::Other)));
        };
        match session.target_mut(&target.id) {
            TargetState::Ready(_) => {
                self.fit(id);
                return self.dispatch_leg(id);
            }
            TargetState::Failed { until, reason } if now < *until => {
                let trouble = Trouble::Recently(Arc::clone(reason));
                return self.deferred.push_back(Deferred::Fail(id, trouble));
            }
            TargetState::Opening { waiting, .. } => waiting.push(id),
            TargetState::Absent | TargetState::Failed { .. } => {
                self.open_target(session_id, target, None, vec![id]);
            }
        }
        self.limit_leg(id, now + target.timeouts.gather);
    }

    /// Whether a request repeats a state that its legacy target never gave: then it has been refused.
    fn has_foreign_state(&mut self, id: LegId, envelope: Option<&Envelope<'_>>) -> bool {
        let Some(leg) = self.legs.get(id) else { return true };
        let Purpose::Part { exchange, part, slot: None } = leg.purpose else { return false };
        if envelope.is_some_and(|envelope| envelope.params.request_state.is_none()) {
            return false;
        }
        self.drop_leg(id);
        let words = "params.requestState is none that was given here";
        self.fail_part(exchange, part, refusal::INVALID_PARAMS, words, None);
        true
    }

    /// The head of a target's answer to one message.
    pub(crate) fn call_head(
        &mut self,
        id: LegId,
        exchange: ExchangeId,
        part: u16,
        head: &Response,
    ) -> Inbound {
        let Some(leg) = self.legs.get(id) else { return Inbound::Drop };
        let plan = self.plan(id, exchange, part);
        let took = leg.sent_at.map(|at| self.now.saturating_duration_since(at));
        let status = head.status;
        let Some(waiting) = self.exchange_mut(exchange) else { return Inbound::Drop };
        waiting.log.target_duration = took;
        let is_request = waiting.is_request(part);
        if !(200..300).contains(&status) {
            return Inbound::whole(status);
        }
        // From now on the answer takes the time that it takes.
        waiting.limit = None;
        if !is_request {
            self.part_done(exchange, part);
            self.quiet(id);
            return Inbound::Drop;
        }
        let (whole, accepts) = (!waiting.takes_pieces(), waiting.accepts);
        match Media::of(head) {
            Media::Events => {
                self.stream_answer(id);
                let last = self.legs.get(id).and_then(|leg| leg.last_event.as_deref().cloned());
                Inbound::Between(Between { last, ..Between::new(Some(plan)) })
            }
            Media::Json if whole && !plan.crosses() => Inbound::whole(status),
            Media::Json if whole || plan.crosses() => {
                let mut look = self.look(plan);
                look.long = !matches!(head.framing, Framing::Length(length) if length <= SHORT);
                look.held.out = std::mem::take(&mut self.scratch);
                look.askable = self.has_session_alone(id);
                Inbound::Look(Box::new(look))
            }
            Media::Json if accepts.json => self.json_head(exchange, plan, head),
            Media::Json => {
                let mut start = Vec::new();
                sse::write::head(&mut start, None);
                self.write_event(exchange, &start);
                self.set_half(exchange, true);
                Inbound::Pass { rewriter: Some(self.rewriter(plan)), event: true }
            }
            Media::Other => {
                // At once: the rest of the answer may be there already, and its end would forget the request.
                self.leg_failed(id, Trouble::Malformed("an answer is neither JSON nor an event stream"));
                Inbound::Drop
            }
        }
    }

    /// JSON for a client that takes JSON: of known length if that costs little, else as it comes.
    fn json_head(&mut self, exchange: ExchangeId, plan: Plan, head: &Response) -> Inbound {
        use Framing::Length;
        match (plan.is_nothing(), head.framing) {
            (true, Length(length)) => {
                self.begin(exchange, 200, Content::Json(length), &[]);
                Inbound::Pass { rewriter: None, event: false }
            }
            (true, _) => {
                self.begin(exchange, 200, Content::LongJson, &[]);
                Inbound::Pass { rewriter: None, event: false }
            }
            (false, Length(length)) if length <= SHORT => {
                let mut short = self.short.take().unwrap_or_default();
                (short.plan, short.length, short.complete) = (plan, length as usize, false);
                Inbound::Short(short)
            }
            (false, _) => {
                self.begin(exchange, 200, Content::LongJson, &[]);
                Inbound::Pass { rewriter: Some(self.rewriter(plan)), event: false }
            }
        }
    }

    /// The name that goes in front of what `target` calls things: none when it is the only one.
    pub(crate) fn renames(&self, target: &Target) -> Option<TargetName> {
        (!self.is_alone(&target.id)).then(|| target.name().clone())
    }

    pub(crate) fn rewriter(&self, plan: Plan) -> Box<Rewriter> {
        Box::new(Rewriter::new(plan, self.config.limits.depth))
    }

    /// A piece of JSON on its way to the client.
    pub(crate) fn pass_body(
        &mut self,
        exchange: ExchangeId,
        rewriter: &mut Option<Box<Rewriter>>,
        bytes: Bytes,
    ) -> Result<(), Trouble> {
        let Some(rewriter) = rewriter else {
            self.write_body(exchange, bytes);
            return Ok(());
        };
        let mut out = std::mem::take(&mut self.rewritten);
        let rewritten = rewriter.push(&bytes, &mut Rewritten { piece: &bytes, out: &mut out });
        self.write_parts(exchange, &mut out);
        self.rewritten = out;
        match rewriter.denies() {
            true => Err(Trouble::Malformed("it has content and says at its end that it is no answer")),
            false => rewritten.map_err(|_| Trouble::Malformed("it is no JSON")),
        }
    }

    /// A target's answer to one message, kept whole: a failure, or an element of a batch.
    pub(crate) fn call_whole(
        &mut self,
        id: LegId,
        exchange: ExchangeId,
        part: u16,
        status: u16,
        body: &[u8],
    ) {
        // A target that can't be asked for the rest has simply hung up.
        if self.legs.get(id).is_some_and(|leg| leg.method == Method::Get) {
            return self.leg_failed(id, Trouble::Silent);
        }
        let Some(waiting) = self.exchange(exchange) else { return self.drop_leg(id) };
        let parsed = Envelope::parse(body, self.config.limits.depth).ok();
        let Some(envelope) = parsed.filter(|envelope| envelope.kind() == Kind::Response) else {
            let trouble = match status {
                200..300 => Trouble::Malformed("it is no JSON-RPC response"),
                _ => Trouble::Status(status),
            };
            return self.leg_failed(id, trouble);
        };
        let single = waiting.parts.len() == 1 && waiting.batch.is_none();
        let plan = self.plan(id, exchange, part);
        if plan.crosses() {
            let held = Held { raw: body.to_vec(), ..Held::default() };
            if self.asks(id, exchange, part, &held) {
                return;
            }
        }
        let Some(waiting) = self.exchange(exchange) else { return };
        let (modern, crosses) = (waiting.modern.is_some(), plan.crosses());
        if plan.crosses() && waiting.is_request(part) && (200..300).contains(&status) {
            let mut look = self.look(plan);
            look.held.raw = body.to_vec();
            return match look.rewriter.push(body, &mut look.held.out) {
                Ok(()) => self.looked_at_answer(id, exchange, part, look),
                Err(_) => self.leg_failed(id, Trouble::Malformed("it is no JSON")),
            };
        }
        let code = envelope.error.as_ref().and_then(|error| error.code);
        // An error whose id the target did not know belongs to the only request there was.
        let mut body = match (envelope.id, envelope.id_span) {
            (Id::Raw(_), _) => body.to_vec(),
            (_, span) => with_id(body, span, waiting.id_text(part)),
        };
        if !plan.is_nothing() {
            body = self.rewritten(plan, &body);
        }
        let is_request = waiting.is_request(part);
        self.drop_leg(id);
        if let Some(waiting) = self.exchange_mut(exchange) {
            waiting.log.code = code;
        }
        if !is_request {
            self.counters.dropped.add(1);
            return self.part_done(exchange, part);
        }
        // Other statuses say something about our session or our request, not about the client's.
        match status {
            // A status of the other era would not be understood.
            _ if crosses => self.answer_part_coded(exchange, part, &body),
            400 if single => self.respond(exchange, 400, &body, &[]),
            400..500 if modern => self.respond(exchange, status, &body, &[]),
            _ => self.answer_part(exchange, part, &body),
        }
    }

    /// A whole message as `plan` has it; unchanged when it can't be read.
    pub(crate) fn rewritten(&self, plan: Plan, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 64);
        match Rewriter::new(plan, self.config.limits.depth).push(message, &mut out) {
            Ok(()) => out,
            Err(_) => message.to_vec(),
        }
    }

    /// A call could not be made, or its answer broke off.
    pub(crate) fn call_failed(
        &mut self,
        target: &TargetId,
        exchange: ExchangeId,
        part: u16,
        trouble: &Trouble,
    ) {
        let words = format!("target \"{}\" failed: {trouble}", target.name);
        let Some(waiting) = self.exchange_mut(exchange) else { return };
        waiting.log.error = Some(words.clone());
        let is_request = waiting.is_request(part);
        match waiting.answer {
            Answer::Begun { events: false, .. } => return self.cut(exchange, &words),
            // The client has an event id and comes back for the rest.
            Answer::Begun { .. } if waiting.resumable => return self.finish(exchange),
            Answer::Begun { .. } if waiting.half => return self.cut(exchange, &words),
            _ => {}
        }
        if !is_request {
            self.counters.dropped.add(1);
            return self.part_done(exchange, part);
        }
        self.answer_failed_call(target, exchange, part, &words);
    }

    /// The answer to a request that its target did not serve: for a model to read where there is one.
    pub(crate) fn answer_failed_call(
        &mut self,
        target: &TargetId,
        exchange: ExchangeId,
        part: u16,
        words: &str,
    ) {
        let body = match self.is_tool_call(exchange, part) {
            true => self
                .exchange(exchange)
                .map(|it| refusal::tool_failure(it.id_text(part), words, it.modern.is_some())),
            false => self.exchange(exchange).map(|it| {
                refusal::error(it.id_text(part), refusal::INTERNAL_ERROR, words, Some(target.name.as_str()))
            }),
        };
        if let Some(body) = body {
            self.answer_part(exchange, part, &body);
        }
    }

    fn is_tool_call(&self, exchange: ExchangeId, part: u16) -> bool {
        let method = self.exchange(exchange).and_then(|exchange| exchange.method(part));
        method.is_some_and(|method| method == "tools/call")
    }

    /// The answer to a request is of no interest any more; the request itself goes on.
    pub(crate) fn quiet(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.purpose = Purpose::Quiet;
        if let Some(conn) = leg.conn {
            self.set_paused(conn, false);
        }
        self.limit_silence(id);
    }

    /// A request that nobody waits for.
    pub(crate) fn send_quietly(
        &mut self,
        session: SessionId,
        target: Arc<Target>,
        method: Method,
        body: Bytes,
    ) -> LegId {
        let leg = self.legs.insert(Leg::new(target, Some(session), Purpose::Quiet, method, body));
        self.start(leg);
        leg
    }
}

/// What an answer says it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Media {
    Json,
    Events,
    Other,
}

impl Media {
    pub(crate) fn of(head: &Response) -> Self {
        let value = head.fields.first("content-type").unwrap_or_default();
        if value == b"application/json" {
            return Self::Json;
        }
        let media = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if media.eq_ignore_ascii_case(b"application/json") {
            Self::Json
        } else if media.eq_ignore_ascii_case(b"text/event-stream") {
            Self::Events
        } else {
            Self::Other
        }
    }
}

/// A response with another id: replaced where there is one, else put in front.
fn with_id(body: &[u8], span: Option<std::ops::Range<usize>>, id: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + id.len() + 8);
    match span {
        Some(span) => crate::jsonrpc::splice::splice(body, &[(span, id)], &mut out),
        None => {
            let start = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
            let member = [b"\"id\":".as_slice(), id, b","].concat();
            crate::jsonrpc::splice::splice(body, &[(start..start, &member)], &mut out);
        }
    }
    out
}
