//! What is written to a client: heads, bodies, events, and the access log's line at the end.

use crate::conn::{Conn, Role};
use crate::exchange::{Answer, Exchange, ExchangeId, Work};
use crate::http::{is_of_connection, write};
use crate::outbox::Outbox;
use crate::refusal::{self, Refusal};
use crate::shard::{Closing, Shard};
use crate::{AccessLog, Action, ConnId, Record};
use bytes::Bytes;
use routing::HeaderEdits;
use std::net::SocketAddr;

/// Fields a page may read and send; `*` covers neither with credentials.
const EXPOSED: &[u8] = b"Mcp-Session-Id, WWW-Authenticate";
const SENDABLE: &[u8] =
    b"Accept, Authorization, Content-Type, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name";

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    Nothing,
    Json(u64),
    /// JSON of unknown length.
    LongJson,
    Text(u64),
    Events,
}

impl Content {
    /// How long it is, if that is known.
    fn length(self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Json(length) | Self::Text(length) => Some(length),
            Self::LongJson | Self::Events => None,
        }
    }
}

/// The fields of an answer, on their way through what a rule does to them. What frames the body is no rule's business.
pub(crate) struct EditedHead<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) edits: Option<&'a HeaderEdits>,
}

impl EditedHead<'_> {
    pub(crate) fn field(&mut self, name: &'static str, value: &[u8]) {
        if self.edits.is_none_or(|edits| edits.keeps(name)) {
            write::own_field(self.out, name, value);
        }
    }

    /// The same for one with a name that is not the gateway's own.
    pub(crate) fn passed(&mut self, name: &str, value: &[u8]) {
        if self.edits.is_none_or(|edits| edits.keeps(name)) {
            write::field(self.out, name, value);
        }
    }

    pub(crate) fn end(self) {
        let edits = self.edits.into_iter();
        let more = edits.flat_map(HeaderEdits::added).filter(|(name, _)| !is_of_connection(name));
        more.for_each(|(name, value)| write::field(self.out, name, value.as_bytes()));
        write::end(self.out);
    }
}

impl Shard {
    /// Writes the head of an answer; the body follows with [`Self::write_body`].
    pub(crate) fn begin(
        &mut self,
        id: ExchangeId,
        status: u16,
        content: Content,
        fields: &[(&'static str, &[u8])],
    ) {
        let now = self.now;
        let leaving = self.is_leaving(id.conn);
        let comment = self.config.timeouts.comment;
        let Some(slot) = self.conns.get_mut(id.conn) else { return };
        let Role::Client(client) = &mut slot.role else { return };
        let Some(exchange) = client.exchange.as_mut().filter(|exchange| exchange.serial == id.serial) else {
            return;
        };
        exchange.log.status = status;
        let streamed = matches!(content, Content::LongJson | Content::Events);
        let chunked = streamed && !exchange.head.http10;
        let keep_alive = exchange.head.keep_alive && !leaving && (chunked || !streamed);
        let events = content == Content::Events;
        if client.wire.carries_messages() {
            exchange.answer = Answer::Begun { events, chunked: false };
            return;
        }
        slot.outbox.write(|out| {
            write::status(out, status);
            let mut head = EditedHead { out, edits: exchange.way.answer_edits() };
            match content {
                Content::Nothing => {}
                Content::Json(_) | Content::LongJson => head.field("content-type", b"application/json"),
                Content::Text(_) => head.field("content-type", b"text/plain"),
                Content::Events => {
                    head.field("content-type", b"text/event-stream");
                    head.field("cache-control", b"no-cache, no-transform");
                    head.field("x-accel-buffering", b"no");
                }
            }
            match content.length() {
                None if chunked => write::chunked(head.out),
                Some(0) if status == 204 => {}
                Some(length) => write::length(head.out, length),
                None => {}
            }
            if !keep_alive {
                write::own_field(head.out, "connection", b"close");
            } else if exchange.head.http10 {
                write::own_field(head.out, "connection", b"keep-alive");
            }
            if let Some(origin) = exchange.head.fields.first("origin")
                && status != 403
                && exchange.passed_by().is_none()
            {
                head.field("access-control-allow-origin", origin);
                head.field("access-control-expose-headers", EXPOSED);
                head.field("vary", b"Origin");
            }
            for (name, value) in fields {
                head.field(name, value);
            }
            head.end();
        });
        exchange.head.keep_alive = keep_alive;
        exchange.answer = Answer::Begun { events, chunked };
        exchange.comment = events.then(|| now + comment);
        if events {
            self.watch(id.conn);
        }
        self.flush(id.conn);
    }

    /// Writes a piece of the body. Empty pieces are nothing.
    pub(crate) fn write_body(&mut self, id: ExchangeId, bytes: Bytes) {
        let Some((slot, chunked)) = self.begun(id, bytes.len()) else {
            return self.write_message(id, &bytes);
        };
        if !chunked {
            slot.outbox.push(bytes);
        } else {
            slot.outbox.write(|out| write::chunk_head(out, bytes.len()));
            slot.outbox.push(bytes);
            slot.outbox.write(|out| out.extend_from_slice(write::CHUNK_END));
        }
        self.flush(id.conn);
    }

    /// Writes a piece of the body that has no block of its own.
    pub(crate) fn write_copy(&mut self, id: ExchangeId, bytes: &[u8]) {
        let Some((slot, chunked)) = self.begun(id, bytes.len()) else {
            return self.write_message(id, bytes);
        };
        slot.outbox.write(|out| {
            out.reserve(bytes.len() + write::CHUNK_FRAME);
            if chunked {
                write::chunk_head(out, bytes.len());
            }
            out.extend_from_slice(bytes);
            if chunked {
                out.extend_from_slice(write::CHUNK_END);
            }
        });
        self.flush(id.conn);
    }

    /// Writes a piece of the body that is put together of several; none of them is left.
    pub(crate) fn write_parts(&mut self, id: ExchangeId, parts: &mut Outbox) {
        let length = parts.waiting();
        let Some((slot, chunked)) = self.begun(id, length) else {
            let whole: Vec<u8> = std::iter::from_fn(|| parts.take(usize::MAX)).flatten().collect();
            return self.write_message(id, &whole);
        };
        slot.outbox.write(|out| {
            if chunked {
                write::chunk_head(out, length);
            }
        });
        slot.outbox.append(parts);
        slot.outbox.write(|out| {
            if chunked {
                out.extend_from_slice(write::CHUNK_END);
            }
        });
        self.flush(id.conn);
    }

    /// The connection of an answer that is being written as HTTP, and whether it is chunked.
    fn begun(&mut self, id: ExchangeId, more: usize) -> Option<(&mut Conn, bool)> {
        if more == 0 {
            return None;
        }
        let now = self.now;
        let comment = self.config.timeouts.comment;
        let slot = self.conns.get_mut(id.conn)?;
        let client = slot.client()?;
        if client.wire.carries_messages() {
            return None;
        }
        let exchange = client.exchange.as_mut().filter(|exchange| exchange.serial == id.serial)?;
        let Answer::Begun { events, chunked } = exchange.answer else { return None };
        exchange.sent += more as u64;
        if events {
            exchange.comment = Some(now + comment);
            slot.outbox.take_room(&mut self.spare);
        }
        Some((slot, chunked))
    }

    /// Whether half an event is written now.
    pub(crate) fn set_half(&mut self, id: ExchangeId, half: bool) {
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.half = half;
        }
    }

    /// The client has an event id.
    pub(crate) fn set_resumable(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.resumable = true;
        }
    }

    /// Ends an answer.
    pub(crate) fn finish(&mut self, id: ExchangeId) {
        let Some(slot) = self.conns.get_mut(id.conn) else { return };
        let Role::Client(client) = &mut slot.role else { return };
        let Some(exchange) = client.exchange.as_mut().filter(|exchange| exchange.serial == id.serial) else {
            return;
        };
        if let Answer::Begun { chunked: true, .. } = exchange.answer {
            slot.outbox.write(|out| out.extend_from_slice(write::LAST_CHUNK));
        }
        exchange.answer = Answer::Done;
        let keep_alive = exchange.head.keep_alive;
        self.flush(id.conn);
        self.close_exchange(id, keep_alive);
    }

    /// Ends an answer that can't be completed so that the client sees that it is incomplete (RFC 9112, 8).
    pub(crate) fn cut(&mut self, id: ExchangeId, why: &str) {
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.log.error = Some(why.to_owned());
            self.close(id.conn, Closing::Abort);
        }
    }

    /// A whole answer.
    pub(crate) fn respond(
        &mut self,
        id: ExchangeId,
        status: u16,
        body: &[u8],
        fields: &[(&'static str, &[u8])],
    ) {
        let content = if body.is_empty() { Content::Nothing } else { Content::Json(body.len() as u64) };
        self.begin(id, status, content, fields);
        let to_head =
            self.exchange(id).is_some_and(|exchange| exchange.head.method == crate::http::Method::Head);
        if !to_head {
            self.write_copy(id, body);
        }
        self.finish(id);
    }

    /// A message will be answered on another stream (MCP 2024-11-05; the text is what the SDKs say).
    pub(crate) fn accept(&mut self, id: ExchangeId) {
        const ACCEPTED: &[u8] = b"Accepted";
        self.begin(id, 202, Content::Text(ACCEPTED.len() as u64), &[]);
        self.write_copy(id, ACCEPTED);
        self.finish(id);
    }

    /// Says no to a whole request.
    pub(crate) fn refuse(&mut self, id: ExchangeId, refusal: &Refusal) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        exchange.log.error = Some(refusal.message.clone().into_owned());
        exchange.log.code = Some(refusal.code);
        let known = refusal.id.clone().map(String::into_bytes);
        let rpc_id = known.unwrap_or_else(|| exchange.id_text(0).to_vec());
        let data = refusal.data.as_ref().map(String::as_bytes);
        let body = refusal::error_with(&rpc_id, refusal.code, &refusal.message, data);
        let allow: &[(&'static str, &[u8])] = match refusal.status {
            405 => &[("allow", b"POST, GET, DELETE, OPTIONS")],
            503 => &[("retry-after", b"1")],
            _ => &[],
        };
        self.respond(id, refusal.status, &body, allow);
    }

    /// A page asks whether it may call (Fetch standard, CORS preflight).
    pub(crate) fn preflight(&mut self, id: ExchangeId) {
        let fields: &[(&'static str, &[u8])] = &[
            ("allow", b"POST, GET, DELETE, OPTIONS"),
            ("access-control-allow-methods", b"POST, GET, DELETE, OPTIONS"),
            ("access-control-allow-headers", SENDABLE),
            ("access-control-max-age", b"7200"),
        ];
        self.respond(id, 204, b"", fields);
    }

    /// One event on the answer's stream, which is begun if it was not.
    pub(crate) fn write_event(&mut self, id: ExchangeId, event: &[u8]) {
        if let Some(exchange) = self.exchange(id)
            && exchange.answer == Answer::Open
        {
            self.begin(id, 200, Content::Events, &[]);
        }
        self.write_copy(id, event);
    }

    /// The answer to one message: alone as JSON, or as an event, or as an element of a batch's array.
    pub(crate) fn answer_part(&mut self, id: ExchangeId, part: u16, body: &[u8]) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        let events = match exchange.answer {
            Answer::Begun { events, .. } => events,
            _ => {
                exchange.by_events
                    || !exchange.accepts.json
                    || (exchange.batch.is_some() && exchange.accepts.events)
            }
        };
        if events {
            let mut event = Vec::with_capacity(body.len() + 24);
            crate::sse::write::event(&mut event, None, body);
            self.write_event(id, &event);
            self.part_done(id, part);
        } else if let Some(batch) = &mut exchange.batch {
            batch.push(Bytes::copy_from_slice(body));
            self.part_done(id, part);
        } else {
            let code = exchange.log.code.filter(|_| exchange.modern.is_some());
            self.respond(id, code.map_or(200, refusal::status), body, &[]);
        }
    }

    /// The same for an answer that is there in pieces, which long ones need not be put together of.
    pub(crate) fn answer_pieces(&mut self, id: ExchangeId, part: u16, pieces: Vec<Bytes>) {
        let Some(exchange) = self.exchange(id) else { return };
        let alone = exchange.answer == Answer::Open && exchange.takes_pieces();
        if !alone || exchange.by_events || !exchange.accepts.json {
            return self.answer_part(id, part, &pieces.concat());
        }
        let code = exchange.log.code.filter(|_| exchange.modern.is_some());
        let length = pieces.iter().map(Bytes::len).sum();
        self.begin(id, code.map_or(200, refusal::status), Content::Json(length as u64), &[]);
        if let Some((slot, _)) = self.begun(id, length) {
            pieces.into_iter().for_each(|piece| slot.outbox.share(piece));
            self.flush(id.conn);
        }
        self.finish(id);
    }

    /// The answer to one message is an error of the gateway's own.
    pub(crate) fn fail_part(
        &mut self,
        id: ExchangeId,
        part: u16,
        code: i64,
        message: &str,
        target: Option<&str>,
    ) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        let mapped = refusal::TO_MODERN.iter().find(|(legacy, _)| *legacy == code).map(|(_, modern)| *modern);
        let code = mapped.filter(|_| exchange.modern.is_some()).unwrap_or(code);
        exchange.log.code = Some(code);
        exchange.log.error = Some(message.to_owned());
        let body = refusal::error(exchange.id_text(part), code, message, target);
        self.answer_part(id, part, &body);
    }

    /// One message needs nothing more; the answer ends with the last of them.
    pub(crate) fn part_done(&mut self, id: ExchangeId, part: u16) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        if let Some(part) = exchange.parts.get_mut(usize::from(part))
            && !matches!(part.work, Work::Done)
        {
            if exchange.batch.is_some() || part.id.is_none() {
                part.work = Work::Done;
            }
            exchange.open = exchange.open.saturating_sub(1);
        }
        if exchange.open > 0 {
            return;
        }
        match (exchange.answer, exchange.batch.take()) {
            (Answer::Open, Some(batch)) if !batch.is_empty() => {
                let body = [b"[".as_slice(), &batch.join(&b','), b"]"].concat();
                self.respond(id, 200, &body, &[]);
            }
            // Only notifications and responses: they were accepted (MCP, Sending Messages to the Server).
            (Answer::Open, _) => self.respond(id, 202, b"", &[]),
            _ => self.finish(id),
        }
    }

    /// A line for the access log, if it wants one.
    pub(crate) fn log_exchange(&mut self, exchange: &mut Exchange, peer: SocketAddr) {
        let failed =
            exchange.log.status >= 400 || exchange.log.error.is_some() || exchange.log.code.is_some();
        if exchange.log.status >= 400 && !exchange.log.silent {
            self.counters.requests_failed.add(1);
        }
        let wanted = match self.config.access_log {
            _ if exchange.log.silent => false,
            AccessLog::Off => false,
            AccessLog::Errors => failed,
            AccessLog::All => true,
        };
        if wanted {
            let mut record = exchange.record(self.now);
            record.client = Some(peer);
            if peer.port() == 0 {
                // One that is attached: it has no address, and speaks no HTTP.
                record =
                    Record { client: None, http_method: "stdio".to_owned(), route: String::new(), ..record };
            }
            self.act(Action::Log(Box::new(record)));
        }
    }

    /// The same for a request that was no HTTP.
    pub(crate) fn log_refused(&mut self, conn: ConnId, refused: crate::http::Refusal) {
        if self.config.access_log == AccessLog::Off {
            return;
        }
        let client = self.conns.get_mut(conn).and_then(Conn::client).map(|client| client.peer);
        let record =
            Record { client, status: refused.status, error: refused.reason.to_owned(), ..Record::default() };
        self.act(Action::Log(Box::new(record)));
    }

    /// Connections to targets that feed a client's connection.
    fn feeders(&self, conn: ConnId) -> Vec<ConnId> {
        let Some(Role::Client(client)) = self.conns.get(conn).map(|slot| &slot.role) else {
            return Vec::new();
        };
        let Some(exchange) = &client.exchange else { return Vec::new() };
        let shared = client.stream.iter().flat_map(|stream| stream.calls());
        let shared: Vec<_> = shared.flat_map(|call| self.feeders(call)).collect();
        let calls = exchange.parts.iter().filter_map(|part| match part.work {
            Work::Relay { leg, .. } | Work::Pass { leg, .. } => Some(leg),
            _ => None,
        });
        let streams = exchange.streams.iter().flat_map(|stream| [stream.leg, stream.next]).flatten();
        calls.chain(streams).filter_map(|leg| self.feeder(leg)).chain(shared).collect()
    }

    pub(crate) fn pause_feeders(&mut self, conn: ConnId) {
        for feeder in self.feeders(conn) {
            self.set_paused(feeder, true);
        }
    }

    pub(crate) fn resume_feeders(&mut self, conn: ConnId) {
        for feeder in self.feeders(conn) {
            if !self.is_crowded(feeder) {
                self.set_paused(feeder, false);
            }
        }
    }
}
