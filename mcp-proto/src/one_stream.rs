//! Clients with one stream for everything: HTTP+SSE (2024-11-05), and lines on standard input and output.
//!
//! ```text
//! GET /sse ──────────────► open_event_stream ─┐                    ┌─► event: message
//! a line ──► read_lines ──► take_message ─────┼─► a virtual client ┤
//! POST ?sessionId= ──────► post_message ──────┘   per message      └─► a line
//! ```
//!
//! Each message is an exchange of a [virtual client](crate::virtual_client) that says whole messages on the stream. The
//! session that `initialize` makes belongs to the stream, which is also its listener: both end together. While
//! `initialize` is under way nothing else is taken, and neither while the client does not read.

use crate::conn::{Client, Conn, Role, Wire};
use crate::exchange::{Accepts, Answer, Exchange, ExchangeId};
use crate::http::{Method, Request};
use crate::jsonrpc::envelope::{self, Body, Envelope};
use crate::line::{Lines, TooLong};
use crate::refusal::{self, Refusal};
use crate::seal::Kind;
use crate::session::SessionId;
use crate::shard::{Closing, Deferred, Shard};
use crate::table::Key;
use crate::way::Way;
use crate::wire::{Reader, Writer};
use crate::{ConnId, ShardId};
use bytes::Bytes;
use routing::BackendName;
use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

/// What a client's connection has that is its one stream.
#[derive(Debug)]
pub(crate) struct OneStream {
    /// What its sealed id must say: the connection's own id may come again after a restart.
    key: u128,
    /// Where messages come in, if they come on the same connection.
    lines: Option<Lines>,
    session: Option<SessionId>,
    /// The message that makes the session, while it is worked on.
    opening: Option<ConnId>,
    /// The same of `notifications/initialized`.
    greeting: Option<ConnId>,
    /// The client has said `notifications/initialized`: the stream is to become the session's.
    greeted: bool,
    /// The messages that are worked on.
    calls: BTreeSet<ConnId>,
    /// POSTs that wait until there is room for what they lead to.
    waiting: VecDeque<ExchangeId>,
    /// It ends with the last of its calls.
    ending: bool,
    /// When it ends at the latest.
    until: Option<Instant>,
}

impl OneStream {
    fn new(key: u128, lines: Option<Lines>) -> Self {
        Self {
            key,
            lines,
            session: None,
            opening: None,
            greeting: None,
            greeted: false,
            calls: BTreeSet::new(),
            waiting: VecDeque::new(),
            ending: false,
            until: None,
        }
    }

    /// The virtual clients that say something on it.
    pub(crate) fn calls(&self) -> impl Iterator<Item = ConnId> {
        self.calls.iter().copied()
    }

    /// Where to put what the client sends on the stream's own connection, if messages come there.
    pub(crate) fn lines(&mut self) -> Option<&mut Lines> {
        self.lines.as_mut()
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }
}

impl Shard {
    /// A client is attached that speaks lines, one message each (MCP, stdio transport): a pipe, a socket pair. The
    /// frontend reads it from now on. What is under way when it ends may finish within `timeouts.shutdown`.
    pub fn attached(&mut self, now: Instant) -> ConnId {
        self.now = now;
        self.clients += 1;
        self.counters.client_connections.add(1);
        self.counters.client_connections_total.add(1);
        let peer = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut client = Client::new(Wire::Lines, peer, &self.config.limits, now);
        client.stream = Some(Box::new(OneStream::new(0, Some(Lines::new(self.config.limits.request)))));
        client.serial = 1;
        let accepts = Accepts { json: false, events: true };
        let mut exchange = Exchange::new(1, Request::bare(Method::Get), accepts, Bytes::new(), now);
        exchange.way = Way::to(self.only_backend());
        exchange.answer = Answer::Begun { events: true, chunked: false };
        exchange.shared = true;
        exchange.log.silent = true;
        client.exchange = Some(exchange);
        self.conns.insert(Conn::new(Role::Client(Box::new(client)), now))
    }

    /// Serves the GET that is a client's one stream: the first event tells where to POST.
    pub(crate) fn open_event_stream(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let key = u128::from_be_bytes(self.random());
        let backend = self.exchange(id).map(|exchange| exchange.way.backend.clone()).unwrap_or_default();
        let sealed = self.seal_stream(id.conn, &backend, key);
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return Ok(()) };
        if client.wire != Wire::Socket {
            return Err(Refusal::misplaced());
        }
        let Some(exchange) = &mut client.exchange else { return Ok(()) };
        client.stream = Some(Box::new(OneStream::new(key, None)));
        exchange.shared = true;
        exchange.head.fields.detach();
        let event = format!("event: endpoint\ndata: {}?sessionId={sealed}\n\n", exchange.head.path());
        self.write_event(id, event.as_bytes());
        Ok(())
    }

    fn seal_stream(&self, conn: ConnId, backend: &BackendName, key: u128) -> String {
        let (index, generation) = conn.parts();
        let mut writer = Writer::default();
        writer.u16(self.id.0);
        writer.u64(u64::from(index) << 32 | u64::from(generation));
        writer.u128(key);
        writer.bytes(backend.as_str().as_bytes());
        self.config.keys.seal_here(Kind::Stream, [0; 12], &writer.done())
    }

    /// The backend whose stream a sealed id names.
    pub(crate) fn backend_of_stream(&self, sealed: &str) -> Option<BackendName> {
        self.unseal_stream(sealed).map(|(.., backend)| backend)
    }

    /// The shard, connection, key and backend in a stream's sealed id.
    fn unseal_stream(&self, sealed: &str) -> Option<(ShardId, ConnId, u128, BackendName)> {
        let content = self.config.keys.open_here(Kind::Stream, sealed.as_bytes())?;
        let mut reader = Reader::new(&content);
        let shard = ShardId(reader.u16()?);
        let place = reader.u64()?;
        let conn = ConnId::new((place >> 32) as u32, place as u32);
        let (key, backend) = (reader.u128()?, reader.text()?.into());
        Some((shard, conn, key, backend)).filter(|_| shard.0 < self.config.shards)
    }

    fn one_stream(&mut self, conn: ConnId) -> Option<&mut OneStream> {
        self.conns.get_mut(conn)?.client()?.stream.as_deref_mut()
    }

    /// A POST with messages of a client whose stream `sealed` names, here or on another shard.
    pub(crate) fn post_message(&mut self, id: ExchangeId, sealed: &str) -> Result<(), Refusal> {
        let limits = self.config.limits;
        let found = self.unseal_stream(sealed);
        let served = self.exchange(id).map(|exchange| &exchange.way.backend);
        let (shard, stream, key, _) =
            found.filter(|(.., backend)| served == Some(backend)).ok_or_else(Refusal::session_unknown)?;
        if shard != self.id {
            return self.forward(id, shard);
        }
        if self.one_stream(stream).is_none_or(|stream| stream.key != key) {
            return Err(Refusal::session_unknown());
        }
        let Some(exchange) = self.exchange(id) else { return Ok(()) };
        let body = exchange.body.clone();
        for message in messages(&body, limits.depth, limits.batch)? {
            Envelope::parse(body.get(message).unwrap_or_default(), limits.depth)
                .map_err(|invalid| Refusal::invalid(&invalid))?;
        }
        if self.takes_messages(stream) {
            self.take_post(stream, id);
            return Ok(());
        }
        let waits = self.one_stream(stream).filter(|stream| stream.waiting.len() < limits.stream_calls);
        waits.ok_or_else(Refusal::busy)?.waiting.push_back(id);
        Ok(())
    }

    /// Whether a client's next message may be looked at.
    fn takes_messages(&self, stream: ConnId) -> bool {
        let limits = self.config.limits;
        let Some(slot) = self.conns.get(stream) else { return false };
        let Role::Client(client) = &slot.role else { return false };
        let Some(stream) = &client.stream else { return false };
        slot.outbox.waiting() <= limits.buffer
            && stream.opening.is_none()
            && stream.calls.len() < limits.stream_calls
    }

    /// Accepts the messages of a POST, which have been looked at, and works on them.
    fn take_post(&mut self, stream: ConnId, id: ExchangeId) {
        let limits = self.config.limits;
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return };
        let peer = client.peer;
        let Some(exchange) = client.exchange.as_mut().filter(|it| it.serial == id.serial) else { return };
        let (head, body) = (exchange.head.clone(), exchange.body.clone());
        // Its messages have lines in the access log.
        exchange.log.silent = true;
        self.accept(id);
        for message in messages(&body, limits.depth, limits.batch).unwrap_or_default() {
            self.take_message(stream, peer, head.clone(), body.slice(message));
        }
    }

    /// Works on one message.
    fn take_message(&mut self, stream: ConnId, peer: SocketAddr, head: Request, message: Bytes) {
        let Some(way) = self.exchange_of(stream).and_then(|id| Some(self.exchange(id)?.way.clone())) else {
            return;
        };
        let conn = self.virtual_client(Wire::Stream(stream), peer);
        match self.one_stream(stream) {
            Some(stream) => stream.calls.insert(conn),
            None => return self.close(conn, Closing::Abort),
        };
        let id = self.open_virtual(conn, head, message, way, None);
        self.limit_exchange(id);
        self.serve_message(id);
    }

    /// Bytes came from a client that speaks lines, or there is room again for what they lead to.
    pub(crate) fn read_lines(&mut self, conn: ConnId) {
        loop {
            let takes = self.takes_messages(conn);
            let Some(slot) = self.conns.get_mut(conn).filter(|slot| !slot.closing) else { return };
            let Some(client) = slot.client() else { return };
            let ended = client.ended;
            let Some(stream) = client.stream.as_deref_mut().filter(|stream| !stream.ending) else { return };
            let Some(lines) = &mut stream.lines else { return };
            if !takes {
                return self.set_paused(conn, true);
            }
            let line = match lines.next() {
                None if ended => lines.end(),
                line => line,
            };
            match line {
                Some(Ok(line)) => self.take_line(conn, &line),
                Some(Err(too_long)) => self.skip_line(conn, &too_long),
                None if ended => return self.end_one_stream(conn),
                None => return self.set_paused(conn, false),
            }
        }
    }

    fn take_line(&mut self, conn: ConnId, line: &Bytes) {
        let limits = self.config.limits;
        let Some(peer) = self.conns.get_mut(conn).and_then(Conn::client).map(|client| client.peer) else {
            return;
        };
        self.counters.requests.add(1);
        match messages(line, limits.depth, limits.batch) {
            Ok(messages) => {
                for message in messages {
                    self.take_message(conn, peer, Request::bare(Method::Post), line.slice(message));
                }
            }
            Err(refusal) => {
                let body = refusal::error(b"null", refusal.code, &refusal.message, None);
                self.say(conn, &body);
            }
        }
    }

    /// A line was too long: whoever waits for an answer gets one.
    fn skip_line(&mut self, conn: ConnId, too_long: &TooLong) {
        let words = "the message is too long";
        let id = too_long.id.as_deref();
        match (id, too_long.has_method) {
            // A notification.
            (None, true) => self.counters.dropped.add(1),
            (id, true) | (id @ None, false) => {
                self.counters.requests.add(1);
                let body = refusal::error(id.unwrap_or(b"null"), refusal::INVALID_REQUEST, words, None);
                self.say(conn, &body);
            }
            // The answer to a target's request: the target learns that it got lost.
            (Some(id), false) => {
                let body = refusal::error(id, refusal::INTERNAL_ERROR, words, None);
                self.take_line(conn, &body.into());
            }
        }
    }

    /// The client of lines sends no more.
    pub(crate) fn lines_ended(&mut self, conn: ConnId) {
        let until = self.now + self.config.timeouts.shutdown;
        let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { return };
        client.ended = true;
        if let Some(stream) = &mut client.stream {
            stream.until = Some(until);
        }
        self.watch(conn);
        self.read_lines(conn);
    }

    /// The session that messages on a stream belong to.
    pub(crate) fn session_of_stream(&mut self, stream: ConnId) -> Result<SessionId, Refusal> {
        let now = self.now;
        let session = self.one_stream(stream).and_then(|stream| stream.session);
        let session = session.ok_or_else(|| Refusal::invalid_request("initialize comes first"))?;
        let state = self.sessions.get_mut(session).ok_or_else(Refusal::session_unknown)?;
        state.used = now;
        Ok(session)
    }

    /// Whether an exchange may make a session: a stream has one.
    pub(crate) fn may_initialize(&mut self, id: ExchangeId) -> bool {
        let Some(stream) = self.stream_of_exchange(id) else { return true };
        let session = self.one_stream(stream).and_then(|stream| stream.session);
        session.is_none_or(|session| self.sessions.get(session).is_none())
    }

    /// An exchange makes a session: its stream's, if it has one.
    pub(crate) fn session_begins(&mut self, id: ExchangeId, session: SessionId) {
        let stream = self.stream_of_exchange(id);
        if let Some(stream) = stream.and_then(|stream| self.one_stream(stream)) {
            stream.session = Some(session);
            stream.opening = Some(id.conn);
        }
    }

    /// The client is ready: once the targets know, its stream is the session's.
    pub(crate) fn stream_greets(&mut self, id: ExchangeId) {
        let stream = self.stream_of_exchange(id);
        if let Some(stream) = stream.and_then(|stream| self.one_stream(stream)) {
            stream.greeting = Some(id.conn);
        }
    }

    /// Whether an exchange's stream is to become the session's soon.
    pub(crate) fn is_greeting(&mut self, id: ExchangeId) -> bool {
        let stream = self.stream_of_exchange(id).and_then(|stream| self.one_stream(stream));
        stream.is_some_and(|stream| stream.greeting.is_some() || stream.greeted)
    }

    fn stream_of_exchange(&self, id: ExchangeId) -> Option<ConnId> {
        match &self.conns.get(id.conn)?.role {
            Role::Client(client) => match client.wire {
                Wire::Stream(stream) => Some(stream),
                _ => None,
            },
            _ => None,
        }
    }

    /// Ends the request of a stateless client that a `notifications/cancelled` names (2026-07-28, on one stream); whether
    /// there was one.
    pub(crate) fn cancels_modern(&mut self, id: ExchangeId, request: Option<&[u8]>) -> bool {
        let (Some(stream), Some(request)) = (self.stream_of_exchange(id), request) else { return false };
        let calls: Vec<_> =
            self.one_stream(stream).map(|stream| stream.calls().collect()).unwrap_or_default();
        let named = calls.into_iter().find(|conn| {
            let call = self.exchange(ExchangeId { conn: *conn, serial: 1 });
            call.is_some_and(|call| call.modern.is_some() && call.is_request(0) && call.id_text(0) == request)
        });
        if let Some(conn) = named {
            self.close(conn, Closing::Abort);
        }
        named.is_some()
    }

    /// A message has been worked on.
    pub(crate) fn call_over(&mut self, stream: ConnId, call: ConnId) {
        let Some(state) = self.one_stream(stream) else { return };
        state.calls.remove(&call);
        state.opening.take_if(|opening| *opening == call);
        state.greeted |= state.greeting.take_if(|greeting| *greeting == call).is_some();
        self.deferred.push_back(Deferred::Next(stream));
    }

    /// There may be room for more, or nothing left to do.
    pub(crate) fn stream_goes_on(&mut self, conn: ConnId) {
        let Some(stream) = self.one_stream(conn) else { return };
        let session = stream.session;
        if std::mem::take(&mut stream.greeted)
            && let Some(session) = session
            && let Some(id) = self.exchange_of(conn)
        {
            self.become_listener(id, session);
            for conn in self.one_stream(conn).map(|stream| stream.calls.clone()).unwrap_or_default() {
                self.await_own_stream(ExchangeId { conn, serial: 1 }, session);
            }
        }
        while self.takes_messages(conn)
            && let Some(post) = self.one_stream(conn).and_then(|stream| stream.waiting.pop_front())
        {
            self.take_post(conn, post);
        }
        self.read_lines(conn);
        let done =
            |stream: &mut OneStream| stream.ending && stream.calls.is_empty() && stream.waiting.is_empty();
        if self.one_stream(conn).is_some_and(done)
            && let Some(id) = self.exchange_of(conn)
        {
            self.end_listener(id);
        }
    }

    /// The exchange that a stream is.
    fn exchange_of(&self, conn: ConnId) -> Option<ExchangeId> {
        match &self.conns.get(conn)?.role {
            Role::Client(client) => Some(ExchangeId { conn, serial: client.exchange.as_ref()?.serial }),
            _ => None,
        }
    }

    /// Takes nothing more; the stream ends with the last of its calls.
    pub(crate) fn end_one_stream(&mut self, conn: ConnId) {
        if let Some(stream) = self.one_stream(conn) {
            stream.ending = true;
            self.deferred.push_back(Deferred::Next(conn));
        }
    }

    /// A stream has ended, and with it its session and what would have said something on it.
    pub(crate) fn one_stream_gone(&mut self, stream: OneStream) {
        for call in stream.calls {
            self.close(call, Closing::Abort);
        }
        for post in stream.waiting {
            self.refuse(post, &Refusal::session_unknown());
        }
        if let Some(session) = stream.session {
            self.end_session(session);
        }
    }
}

/// The places of the messages in a body: in these revisions JSON-RPC's batches are no concern of MCP, so those of one are
/// taken one by one.
fn messages(body: &Bytes, depth: usize, most: usize) -> Result<Vec<Range<usize>>, Refusal> {
    match envelope::body(body, depth, most) {
        Ok(Body::Message(_)) => Ok(std::iter::once(0..body.len()).collect()),
        Ok(Body::Batch(messages)) => Ok(messages),
        Err(invalid) => Err(Refusal::invalid(&invalid)),
    }
}
