//! Requests of modern clients and to modern targets, and answers on their way from one era to the other.

use super::probe::DISCOVER;
use super::route::Read;
use crate::answer::Content;
use crate::edge::Note;
use crate::events::Held;
use crate::exchange::{Answer, ExchangeId};
use crate::jsonrpc::envelope::{Envelope, Kind};
use crate::jsonrpc::known::Known;
use crate::jsonrpc::notice;
use crate::jsonrpc::rewrite::{self, Plan, Rewriter};
use crate::leg::{Inbound, LegId, Look, Purpose, Trouble};
use crate::refusal;
use crate::session::{Session, SessionId, TargetState};
use crate::shard::{Deferred, Shard};
use bytes::Bytes;
use memchr::memmem;
use routing::{Protocol, Target, TargetId};
use std::sync::Arc;

/// So much of a long answer is looked at first: the members that tell come early in most.
const BEGINNING: usize = 1 << 10;

impl Shard {
    /// Routes a message that stands for itself.
    pub(super) fn modern_message(
        &mut self,
        id: ExchangeId,
        part: u16,
        envelope: &Envelope<'_>,
        read: Read<'_>,
    ) {
        let message = read.message;
        if envelope.kind() != Kind::Request {
            // Closing the stream is what cancels here; what else may come is for nobody (Sending Messages, Note).
            return self.part_done(id, part);
        }
        if self.retried(id, part, envelope, message) {
            return;
        }
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        match method {
            "server/discover" => self.discover(id, part),
            "subscriptions/listen" => self.subscribe(id, part, envelope, message),
            "initialize" | "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
                let words = format!("{method} belongs to revisions before {}", crate::era::MODERN);
                self.fail_part(id, part, refusal::METHOD_NOT_FOUND, &words, None);
            }
            _ => self.request(id, part, envelope, read),
        }
    }

    /// Sends a request to a target that has no sessions.
    pub(super) fn start_modern(&mut self, id: LegId, known: Option<Known<'_>>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let target = Arc::clone(&leg.target);
        // It was asked anew what the target speaks, and it speaks what this was asked in: the answer stands.
        let purpose = leg.purpose;
        if let Some(refused) = leg.refused_with.take().filter(|refused| refused.modern) {
            return self.whole_answer(id, purpose, refused.status, &refused.body);
        }
        // The target was taken for one that has sessions.
        if let Some(session) = leg.session
            && matches!(purpose, Purpose::Part { .. } | Purpose::Schemas { .. })
            && self.sessions.get(session).is_some_and(Session::is_hidden)
        {
            leg.session = None;
        }
        match purpose {
            Purpose::Open { asker: Some((exchange, part, slot)) } => {
                leg.purpose = Purpose::Part { exchange, part, slot: Some(slot) };
                leg.body = Bytes::from_static(DISCOVER);
                if let Some(session) = leg.session.and_then(|session| self.sessions.get_mut(session)) {
                    *session.target_mut(&target.id) = TargetState::Absent;
                }
            }
            // It is wanted on a shard that knows the target as one with sessions: that may be news.
            Purpose::Open { asker: None } if !leg.doubted && target.protocol == Protocol::Auto => {
                leg.doubted = true;
                return self.await_era(id, &target);
            }
            Purpose::Open { asker: None } => {
                let session = leg.session;
                self.drop_leg(id);
                let Some(session) = session else { return };
                self.go_without_session(session, &target.id);
                let known = self.sessions.get(session).filter(|session| !session.is_hidden());
                if let Some(key) = known.map(|session| session.key) {
                    self.broadcast(&Note::Sessionless { key, target: target.id.clone() });
                }
                return;
            }
            Purpose::Resume { exchange } => return self.resume_refused(id, exchange, 404),
            Purpose::Stream { exchange } => self.ask_to_listen(id, exchange),
            // It had sessions a moment ago: what it is asked for now is a listen.
            Purpose::Subscribe { .. } => {
                return self.deferred.push_back(Deferred::Fail(id, Trouble::Status(404)));
            }
            // What a session is told about has no meaning here.
            Purpose::Greet { .. } | Purpose::Quiet | Purpose::Parked { .. } => return self.drop_leg(id),
            Purpose::Part { .. }
            | Purpose::Probe
            | Purpose::Schemas { .. }
            | Purpose::Feed { .. }
            | Purpose::Pass { .. }
            | Purpose::Remote { .. } => {}
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        let body = leg.body.clone();
        let envelope = Known::or_read(known, &body);
        let method = envelope.as_deref().and_then(|envelope| envelope.method.as_ref());
        let pings = matches!(leg.purpose, Purpose::Part { .. })
            && method.is_some_and(|method| method.value == "ping");
        if pings {
            leg.body = Bytes::from_static(DISCOVER);
        }
        if self.is_settled_here(id, &target.id, envelope.as_deref()) {
            return;
        }
        if purpose.exchange().is_some_and(|id| self.lacks_mirrors(id))
            && self.await_schemas(id, &target, envelope.as_deref())
        {
            return;
        }
        self.dress(id, envelope.as_deref().filter(|_| !pings));
        self.dispatch_leg(id);
    }

    /// What waited for a target session goes on without: the target has none.
    pub(super) fn go_without_session(&mut self, session: SessionId, target: &TargetId) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        let state = session.target_mut(target);
        if let TargetState::Opening { waiting, .. } = state {
            let waiting = std::mem::take(waiting);
            *state = TargetState::Absent;
            self.deferred.extend(waiting.into_iter().map(Deferred::Start));
        }
    }

    /// What a modern target need not be asked: notices of sessions, and requests that only sessions have.
    fn is_settled_here(&mut self, id: LegId, target: &TargetId, envelope: Option<&Envelope<'_>>) -> bool {
        let Some(leg) = self.legs.get(id) else { return true };
        let Purpose::Part { exchange, part, slot } = leg.purpose else { return false };
        let method = envelope.and_then(|envelope| envelope.method.as_ref()).map(|method| &*method.value);
        let body = match (envelope.map(Envelope::kind), method) {
            (
                Some(Kind::Request),
                Some(method @ ("logging/setLevel" | "resources/subscribe" | "resources/unsubscribe")),
            ) => {
                let session = leg.session.and_then(|session| self.sessions.get(session));
                if let Some(session) = session.filter(|_| method == "resources/subscribe") {
                    self.await_listener(id, target.clone(), (session.key, session.home));
                    return true;
                }
                let id = self.exchange(exchange).map(|exchange| exchange.id_text(part).to_vec());
                refusal::result(&id.unwrap_or_default(), b"{}")
            }
            (Some(Kind::Request), Some("server/discover" | "ping")) => match self.discovered(target) {
                Some(body) => body.to_vec(),
                None => return false,
            },
            (Some(Kind::Request), _) => return false,
            _ => Vec::new(),
        };
        self.drop_leg(id);
        match slot {
            Some(slot) => self.slot_done(exchange, part, slot, Ok(body.into())),
            None if body.is_empty() => self.part_done(exchange, part),
            None => self.answer_part(exchange, part, &body),
        }
        true
    }

    /// A modern target says something on the stream of a request that stands for itself.
    pub(super) fn stateless_notice(
        &mut self,
        id: LegId,
        target: &Target,
        envelope: &Envelope<'_>,
        raw: &[u8],
    ) {
        let method = envelope.method.as_ref().map_or("", |method| &method.value);
        let Some(reader) = self.message_reader(id).filter(|_| envelope.kind() == Kind::Notification) else {
            return self.counters.dropped.add(1);
        };
        let renames = if method == "notifications/message" { self.renames(target) } else { None };
        let edits = renames.as_ref().map(|target| notice::logger(target, &envelope.params));
        self.tell(Some(id), reader, raw, &edits.unwrap_or_default(), None);
    }

    /// An answer that is looked at before it goes to a client of the other era.
    pub(crate) fn look(&self, plan: Plan) -> Look {
        let rewriter = Rewriter::new(plan, self.config.limits.depth);
        Look { rewriter, held: Held::default(), came: 0, settled: false, askable: false, long: false }
    }

    /// A piece of it. A long one passes from then on as it comes when it is known to be an answer.
    pub(crate) fn look_body(
        &mut self,
        exchange: ExchangeId,
        look: &mut Look,
        mut bytes: Bytes,
    ) -> Result<Option<Inbound>, Trouble> {
        while !bytes.is_empty() {
            // What tells is near the beginning, and what is behind it need not be copied.
            let count = if look.long && look.came == 0 { bytes.len().min(BEGINNING) } else { bytes.len() };
            let piece = bytes.split_to(count);
            look.rewriter
                .push(&piece, &mut look.held.out)
                .map_err(|_| Trouble::Malformed("it is no JSON"))?;
            look.came += count;
            look.settled |= look.rewriter.is_settled() || (look.long && look.rewriter.has_content());
            let too_large = look.came > self.config.limits.message;
            if look.settled && (look.long || too_large) && self.takes_pieces(exchange) {
                return self.pass_on_answer(exchange, look, bytes).map(Some);
            }
            if too_large {
                return Err(Trouble::TooLarge);
            }
            match look.settled && !look.askable {
                true => look.held.raw = Vec::new(),
                false => look.held.raw.extend_from_slice(&piece),
            }
        }
        Ok(None)
    }

    fn takes_pieces(&self, exchange: ExchangeId) -> bool {
        self.exchange(exchange)
            .is_some_and(|it| it.accepts.json && it.takes_pieces() && it.answer == Answer::Open)
    }

    /// What was held back of an answer goes to the client, and `rest` behind it.
    fn pass_on_answer(
        &mut self,
        exchange: ExchangeId,
        look: &mut Look,
        rest: Bytes,
    ) -> Result<Inbound, Trouble> {
        self.begin(exchange, 200, Content::LongJson, &[]);
        self.write_copy(exchange, &look.held.out);
        self.keep_room(std::mem::take(&mut look.held.out));
        let rewriter = std::mem::replace(&mut look.rewriter, Rewriter::new(Plan::default(), 0));
        let mut rewriter = Some(Box::new(rewriter));
        self.pass_body(exchange, &mut rewriter, rest)?;
        Ok(Inbound::Pass { rewriter, event: false })
    }

    /// It is complete.
    pub(crate) fn looked_at_answer(&mut self, id: LegId, exchange: ExchangeId, part: u16, look: Look) {
        if !look.rewriter.is_complete() {
            return self.leg_failed(id, Trouble::Malformed("it is no JSON"));
        }
        if look.rewriter.kind() == Some(rewrite::Kind::Method) {
            return self.leg_failed(id, Trouble::Malformed("it is no JSON-RPC response"));
        }
        if look.settled && !look.rewriter.is_settled() {
            return self.leg_failed(id, Trouble::Malformed("a member occurs twice"));
        }
        let held = Held { result_type: look.rewriter.result_type(), ..look.held };
        if !look.settled && self.asks(id, exchange, part, &held) {
            return;
        }
        self.settle_leg(id);
        match held.result_type {
            Some(_) => self.answer_part(exchange, part, &held.out),
            None => self.answer_part_coded(exchange, part, &held.out),
        }
        self.keep_room(held.out);
    }

    /// Whether an answer makes it doubtful that the target still speaks what it was asked in: then it is asked again,
    /// and the request waits. A request refused unread may be sent again.
    pub(crate) fn is_doubtful(&mut self, id: LegId, status: u16, body: &[u8]) -> bool {
        let Some(leg) = self.legs.get(id) else { return false };
        let (target, purpose) = (Arc::clone(&leg.target), leg.purpose);
        let refused = matches!(status, 400 | 404 | 405 | 406);
        let code = error_code(body, self.config.limits.depth);
        let modern = leg.is_modern();
        // What the other era has no code for.
        let foreign = matches!(code, Some(-32022..=-32020));
        match purpose {
            Purpose::Part { .. } | Purpose::Stream { .. } if modern => {
                let ours = purpose.exchange().is_some_and(|exchange| self.lacks_mirrors(exchange));
                let calls = matches!(purpose, Purpose::Part { .. });
                if ours && calls && code == Some(refusal::HEADER_MISMATCH) && self.mirror_anew(id, &target) {
                    return true;
                }
                let settled = matches!(code, Some(-32022..=-32020 | -32603..=-32601 | -32700));
                refused && !settled && self.doubt(id, &target, status, body)
            }
            Purpose::Part { .. } | Purpose::Schemas { .. } => {
                let unread = match status {
                    400 => code == Some(refusal::INVALID_PARAMS),
                    404 => code == Some(refusal::METHOD_NOT_FOUND),
                    _ => status == 405,
                };
                (unread || foreign) && !modern && self.doubt(id, &target, status, body)
            }
            // It had a stream before.
            Purpose::Stream { exchange } => {
                refused
                    && self.stream_of(exchange, id).is_some_and(|stream| stream.gap)
                    && self.doubt(id, &target, status, body)
            }
            Purpose::Open { .. } if !modern => {
                if (refused || foreign) && self.doubt(id, &target, status, body) {
                    return true;
                }
                // It knows neither: it may be older than both.
                refused && status != 406 && self.try_sse(id, &target)
            }
            _ => false,
        }
    }

    /// A target finds that the header fields do not repeat the arguments as its tool wants it, so the schema that they
    /// were made from is old (Client Behavior).
    fn mirror_anew(&mut self, id: LegId, target: &Target) -> bool {
        let Some(leg) = self.legs.get_mut(id) else { return false };
        if std::mem::replace(&mut leg.mirrored_anew, true) {
            return false;
        }
        self.forget_schemas(&target.id);
        self.deferred.push_back(Deferred::Start(id));
        true
    }

    /// Whether an error can be the whole answer, with a status of its own.
    pub(crate) fn fails_plainly(&self, id: ExchangeId) -> bool {
        self.exchange(id).is_some_and(|exchange| {
            exchange.modern.is_some() && exchange.accepts.json && exchange.answer == Answer::Open
        })
    }

    /// The answer to one message, with the status its error goes with.
    pub(crate) fn answer_part_coded(&mut self, id: ExchangeId, part: u16, body: &[u8]) {
        let code = Envelope::parse(body, usize::MAX).ok().and_then(|envelope| envelope.error?.code);
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.log.code = code;
        }
        self.answer_part(id, part, body);
    }
}

/// The code of the error that `body` is, if it is one; 0 where it has none.
fn error_code(body: &[u8], depth: usize) -> Option<i64> {
    // Few are. With an escape in it, the key may hide.
    if memmem::find(body, b"\"error\"").is_none() && memmem::find(body, b"\\u").is_none() {
        return None;
    }
    let error = Envelope::parse(body, depth).ok()?.error?;
    Some(error.code.unwrap_or_default())
}
