//! A client's bytes become exchanges: heads are checked, bodies gathered, and the method of HTTP decides who goes on.

use crate::conn::{Client, Conn, Incoming, Role, Wire};
use crate::era;
use crate::exchange::{Accepts, Answer, Exchange, ExchangeId, Part, Parts, Work};
use crate::http::{Fields, Method, Request, RequestEvent, write};
use crate::jsonrpc::envelope::{self, Body, Envelope};
use crate::leg::Inbound;
use crate::refusal::{self, Refusal};
use crate::session::{Revision, SessionId};
use crate::shard::{Closing, Deferred, Shard};
use crate::way::{Next, Transport};
use crate::{Config, ConnId};
use bytes::Bytes;
use std::time::Instant;

/// What a client of MCP accepts, word for word as nearly all of them say it (Sending Messages to the Server).
const EVERYTHING: &[u8] = b"application/json, text/event-stream";

/// A part of a request body that is read ahead while the request before it is still being answered.
const AHEAD: usize = 64 << 10;

impl Shard {
    /// Reads what a client's connection has brought, one request at a time.
    pub(crate) fn read_client(&mut self, conn: ConnId) {
        let now = self.now;
        loop {
            let Some(slot) = self.conns.get_mut(conn) else { return };
            if slot.closing {
                return;
            }
            let paused = slot.paused;
            let Some(client) = slot.client() else { return };
            if client.exchange.is_some() {
                if client.codec.held() > AHEAD {
                    self.set_paused(conn, true);
                }
                return self.stream_goes_on(conn);
            }
            match client.codec.next() {
                Ok(None) => {
                    if client.ended && client.incoming.is_none() {
                        return self.close_after_flush(conn);
                    }
                    if paused {
                        self.set_paused(conn, false);
                    }
                    return self.watch(conn);
                }
                Ok(Some(RequestEvent::Head(request))) => {
                    client.since = now;
                    let wants_word = request.expect_continue;
                    let mut incoming = self.incoming.take().unwrap_or_default();
                    *incoming = Some((request, Incoming::default()));
                    client.incoming = Some(incoming);
                    if wants_word {
                        slot.outbox.write(|out| out.extend_from_slice(write::CONTINUE));
                        self.flush(conn);
                    }
                }
                Ok(Some(RequestEvent::Body(piece))) => {
                    client.since = now;
                    if let Some((_, body)) = client.incoming.as_deref_mut().and_then(Option::as_mut) {
                        body.push(piece);
                    }
                }
                Ok(Some(RequestEvent::End)) => {
                    let Some(mut incoming) = client.incoming.take() else { return };
                    let Some((request, body)) = incoming.take() else { return };
                    self.incoming = Some(incoming);
                    self.open_exchange(conn, request, body.done());
                }
                Err(refused) => return self.refuse_connection(conn, refused),
            }
        }
    }

    pub(crate) fn client_ended(&mut self, conn: ConnId) {
        let endless = self.is_passed_a_stream(conn);
        let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { return };
        if client.wire == Wire::Lines {
            return self.lines_ended(conn);
        }
        client.ended = true;
        match &client.exchange {
            // A stream without a reader has no purpose; an answer on its way may still be wanted (RFC 9112, 9.6).
            // A modern client cancels so what it waits for (basic/patterns/cancellation, Streamable HTTP).
            Some(exchange) if !exchange.is_stream() && exchange.modern.is_none() && !endless => {}
            Some(_) => self.close(conn, Closing::Abort),
            None => self.close_after_flush(conn),
        }
    }

    /// A connection whose bytes can't be trusted is told why and closed.
    pub(crate) fn refuse_connection(&mut self, conn: ConnId, refused: crate::http::Refusal) {
        self.counters.requests.add(1);
        self.counters.requests_failed.add(1);
        self.log_refused(conn, refused);
        let Some(slot) = self.conns.get_mut(conn) else { return };
        let body = refusal::error(b"null", refusal::INVALID_REQUEST, refused.reason, None);
        slot.outbox.write(|out| {
            write::status(out, refused.status);
            write::field(out, "content-type", b"application/json");
            write::length(out, body.len() as u64);
            write::field(out, "connection", b"close");
            write::end(out);
            out.extend_from_slice(&body);
        });
        self.flush(conn);
        self.close_after_flush(conn);
    }

    fn open_exchange(&mut self, conn: ConnId, head: Request, body: Bytes) {
        let now = self.now;
        self.counters.requests.add(1);
        let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { return };
        client.serial = client.serial.wrapping_add(1);
        client.used = true;
        let id = ExchangeId { conn, serial: client.serial };
        let accepts = Accepts::parse(&head.fields);
        client.exchange = Some(Exchange::new(client.serial, head, accepts, body, client.since));
        client.since = now;
        self.serve(id);
    }

    /// Does what a request asks for, or says why not.
    pub(crate) fn serve(&mut self, id: ExchangeId) {
        if let Err(refusal) = self.admit(id) {
            self.refuse(id, &refusal);
        }
    }

    /// Checks everything that the head tells, finds its way, then lets the HTTP method decide.
    fn admit(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let config = std::sync::Arc::clone(&self.config);
        let Some(Role::Client(client)) = self.conns.get(id.conn).map(|conn| &conn.role) else {
            return Ok(());
        };
        let Some(exchange) = client.exchange.as_ref().filter(|exchange| exchange.serial == id.serial) else {
            return Ok(());
        };
        let head = &exchange.head;
        check_authority(&config, head, |host| client.at.is_some_and(|at| self.routes.expects(&at, host)))?;
        check_loop(&config, &head.fields)?;
        let origin = check_origin(&config, &head.fields);
        let next = self.find_way(id);
        // A plain service judges for itself which pages may call it.
        if let Ok(Next::Pass(backend)) = next {
            self.pass_through(id, &backend);
            return Ok(());
        }
        origin?;
        match next? {
            Next::Serve | Next::Pass(_) => self.admit_method(id),
            Next::Redirect(status, location) => {
                self.respond(id, status, b"", &[("location", location.as_bytes())]);
                Ok(())
            }
        }
    }

    /// Serves an exchange whose way was found on another shard.
    pub(crate) fn serve_on(&mut self, id: ExchangeId) {
        self.limit_exchange(id);
        if let Err(refusal) = self.admit_method(id) {
            self.refuse(id, &refusal);
        }
    }

    fn admit_method(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let Some(exchange) = self.exchange(id) else { return Ok(()) };
        let head = &exchange.head;
        let on_stream = exchange.way.transport == Transport::Sse;
        if on_stream && head.fields.first("mcp-session-id").is_some() {
            return Err(Refusal::http(404, "a session of Streamable HTTP is not served at this path"));
        }
        if head.method == Method::Post
            && let Some(stream) = stream_id(head)
        {
            check_content_type(&head.fields)?;
            let stream = stream.to_owned();
            return self.post_message(id, &stream);
        }
        match head.method {
            // It has one way to be asked; a client of both eras takes this for an answer, and no other.
            Method::Get | Method::Delete if era::is_modern(&head.fields) => {
                Err(Refusal::http(405, "the revision that MCP-Protocol-Version names knows POST only"))
            }
            Method::Post if on_stream => {
                Err(Refusal::http(400, "this needs the sessionId that the event stream gave"))
            }
            Method::Delete if on_stream => Err(Refusal::http(405, "the session ends with its event stream")),
            Method::Get if on_stream && exchange.accepts.events => self.open_event_stream(id),
            Method::Post => {
                check_content_type(&head.fields)?;
                self.admit_post(id)
            }
            Method::Get => {
                if !exchange.accepts.events {
                    return Err(Refusal::http(406, "a GET is answered with text/event-stream only"));
                }
                let session = self.required_session(id)?;
                self.listen(id, session);
                Ok(())
            }
            Method::Delete => {
                let session = self.required_session(id)?;
                self.end_session_of_client(id, session);
                Ok(())
            }
            Method::Options => {
                self.preflight(id);
                Ok(())
            }
            Method::Other(_) => Err(Refusal::http(501, "unknown method")),
            _ => Err(Refusal::http(405, "use POST, GET or DELETE")),
        }
    }

    /// Splits the body into its messages and routes each.
    fn admit_post(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let limits = self.config.limits;
        let Some(exchange) = self.exchange_mut(id) else { return Ok(()) };
        if !exchange.accepts.json && !exchange.accepts.events {
            return Err(Refusal::http(406, "accept application/json, text/event-stream, or both"));
        }
        let body = exchange.body.clone();
        match envelope::body(&body, limits.depth, limits.batch.min(usize::from(u16::MAX))) {
            Err(invalid) => return Err(Refusal::invalid(&invalid)),
            Ok(Body::Message(_)) => exchange.parts.push(Part::new(0..body.len())),
            Ok(Body::Batch(messages)) => {
                exchange.parts = Parts::Many(messages.into_iter().map(Part::new).collect());
                exchange.batch = Some(Vec::new());
            }
        }
        exchange.open = exchange.parts.len();
        let count = exchange.parts.len() as u16;
        if exchange.batch.is_some() {
            self.admit_batch(id)?;
        }
        for part in 0..count {
            self.route(id, part)?;
        }
        Ok(())
    }

    /// Batches exist in 2025-03-26 alone, and only inside a session of that revision.
    fn admit_batch(&mut self, id: ExchangeId) -> Result<(), Refusal> {
        let session = self.required_session(id)?;
        let revision = self.sessions.get(session).map(|session| session.revision);
        if revision != Some(Revision::V2025_03_26) {
            return Err(Refusal::invalid_request("batches exist in protocol revision 2025-03-26 only"));
        }
        // Before any of them is on its way.
        let depth = self.config.limits.depth;
        let Some(exchange) = self.exchange(id) else { return Ok(()) };
        let mut messages = exchange.parts.iter().filter_map(|part| exchange.body.get(part.message.clone()));
        let claims = |message| {
            Envelope::parse(message, depth).is_ok_and(|envelope| envelope.params.modern.version.is_some())
        };
        if messages.any(claims) {
            return Err(Refusal::invalid_request("a message of this revision is not part of a batch"));
        }
        Ok(())
    }

    /// The session the request's `Mcp-Session-Id` names.
    pub(crate) fn required_session(&mut self, id: ExchangeId) -> Result<SessionId, Refusal> {
        let (now, unix) = (self.now, self.unix());
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else {
            return Err(Refusal::session_missing());
        };
        let Some(exchange) = &mut client.exchange else { return Err(Refusal::session_missing()) };
        check_revision(&exchange.head.fields)?;
        if let Some(session) = exchange.session {
            return Ok(session);
        }
        if let Wire::Stream(stream) = client.wire {
            let session = self.session_of_stream(stream)?;
            if let Some(exchange) = self.exchange_mut(id) {
                exchange.session = Some(session);
            }
            return Ok(session);
        }
        let Some(sealed) = exchange.head.fields.first("mcp-session-id") else {
            return Err(Refusal::session_missing());
        };
        let known = client.memo.as_ref().filter(|(text, _)| text == sealed).map(|(_, session)| *session);
        let backend = exchange.way.backend.clone();
        let alive = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| session.expires >= unix);
        let session = match known.filter(alive) {
            Some(session) => session,
            None => {
                let sealed = Bytes::copy_from_slice(sealed);
                let session = self.open_sealed(&sealed).ok_or_else(Refusal::session_unknown)?;
                // One copy for all its connections.
                let kept = self.sessions.get(session).map(|session| &session.sealed);
                let sealed = kept.filter(|kept| **kept == sealed).cloned().unwrap_or(sealed);
                if let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) {
                    client.memo = Some((sealed, session));
                }
                session
            }
        };
        let Some(state) = self.sessions.get_mut(session).filter(|session| session.backend == backend) else {
            return Err(Refusal::session_unknown());
        };
        state.used = now;
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.session = Some(session);
        }
        self.touch(session);
        Ok(session)
    }

    /// Whether a request came over HTTP, so that its head must agree with its body.
    pub(crate) fn is_over_http(&self, id: ExchangeId) -> bool {
        match self.conns.get(id.conn).map(|conn| &conn.role) {
            Some(Role::Client(client)) => !client.wire.carries_messages(),
            _ => false,
        }
    }

    pub(crate) fn exchange(&self, id: ExchangeId) -> Option<&Exchange> {
        match &self.conns.get(id.conn)?.role {
            Role::Client(client) => client.exchange.as_ref().filter(|it| it.serial == id.serial),
            Role::Target(_) | Role::Child(_) => None,
        }
    }

    pub(crate) fn exchange_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        let client = self.conns.get_mut(id.conn)?.client()?;
        client.exchange.as_mut().filter(|exchange| exchange.serial == id.serial)
    }

    /// The exchange is over: the next request may be read.
    pub(crate) fn close_exchange(&mut self, id: ExchangeId, keep_alive: bool) {
        let now = self.now;
        let leaving = self.is_leaving(id.conn);
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return };
        let Some(mut exchange) = client.exchange.take_if(|exchange| exchange.serial == id.serial) else {
            return;
        };
        client.codec.proceed();
        client.since = now;
        let (wire, peer, ended) = (client.wire, client.peer, client.ended);
        let stream = client.stream.take();
        self.log_exchange(&mut exchange, peer);
        if let Some(session) = exchange.session.filter(|_| exchange.subscription.is_some()) {
            self.end_session(session);
        }
        if let Some(stream) = stream {
            self.one_stream_gone(*stream);
        }
        match wire {
            Wire::Socket => {}
            Wire::Lines => return self.close_after_flush(id.conn),
            Wire::Shard(ticket) => return self.forwarded_over(id.conn, ticket, keep_alive && !leaving),
            Wire::Stream(_) | Wire::Nowhere => return self.close(id.conn, Closing::Finish),
        }
        if let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) {
            client.codec.recycle(exchange.head.fields);
        }
        if !keep_alive || leaving {
            return self.close_after_flush(id.conn);
        }
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return };
        if client.codec.held() > 0 || ended {
            self.deferred.push_back(Deferred::Next(id.conn));
        }
    }

    /// A client's connection is gone; what targets do for it goes on, except for what only fed a stream to it.
    pub(crate) fn forget_client(&mut self, conn: ConnId) {
        let Some(mut slot) = self.conns.remove(conn) else { return };
        let Some(client) = slot.client() else { return };
        let peer = client.peer;
        match client.wire {
            Wire::Socket | Wire::Lines => {
                self.clients -= 1;
                self.counters.client_connections.sub(1);
            }
            Wire::Shard(ticket) => self.forget_guest(ticket),
            Wire::Stream(stream) => self.call_over(stream, conn),
            Wire::Nowhere => {}
        }
        let stream = client.stream.take();
        let Some(mut exchange) = client.exchange.take() else { return };
        let id = ExchangeId { conn, serial: exchange.serial };
        if let Some(ticket) = exchange.forwarded {
            return self.recall(ticket);
        }
        if exchange.is_stream() {
            self.forget_listener(id, &mut exchange);
        }
        if let Some(stream) = stream {
            self.one_stream_gone(*stream);
        }
        for part in exchange.parts.iter() {
            match part.work {
                Work::Relay { leg, .. } if exchange.modern.is_some() => self.cancel_call(leg),
                Work::Relay { leg, .. } => self.detach(leg, exchange.resumable),
                Work::Pass { leg, .. } => self.abandon(leg),
                _ => {}
            }
        }
        if !exchange.is_stream() {
            exchange.log.error.get_or_insert_with(|| "the client went away".to_owned());
        }
        self.log_exchange(&mut exchange, peer);
        // A session whose client never learnt its id is of no use to anyone.
        let unborn = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| session.sealed.is_empty());
        if let Some(session) = exchange.session.filter(unborn) {
            self.end_session(session);
        }
    }

    /// The client of a call went away, which is no cancellation: the target may finish. But an answer that has begun
    /// to pass is of no use, and a stream with event ids must be free for the client to resume it.
    fn detach(&mut self, id: crate::leg::LegId, resumable: bool) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let give_up = match &leg.inbound {
            // Nobody can be asked any more, and the target has nothing under way.
            _ if leg.round.as_ref().is_some_and(|round| round.is_open()) || leg.unheard > 0 => true,
            Inbound::Pass { .. } => true,
            Inbound::Events(_) | Inbound::Between(_) => resumable,
            _ => false,
        };
        if give_up {
            return self.abandon(id);
        }
        self.limit_silence(id);
        if let Some(conn) = self.feeder(id)
            && !self.is_crowded(conn)
        {
            self.set_paused(conn, false);
        }
    }
}

impl Accepts {
    /// Nothing said is everything accepted (RFC 9110, 12.5.1).
    pub(crate) fn parse(fields: &Fields) -> Self {
        let mut accepts = Self { json: false, events: false };
        let mut said = false;
        for value in fields.values("accept") {
            said = true;
            if value == EVERYTHING {
                return Self { json: true, events: true };
            }
            for range in value.split(|byte| *byte == b',') {
                let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let any = range == b"*/*";
                accepts.json |=
                    any || range.eq_ignore_ascii_case(b"application/json") || range == b"application/*";
                accepts.events |=
                    any || range.eq_ignore_ascii_case(b"text/event-stream") || range == b"text/*";
            }
        }
        if said { accepts } else { Self { json: true, events: true } }
    }
}

impl Part {
    pub(crate) fn new(message: std::ops::Range<usize>) -> Self {
        Self { message, id: None, method: None, work: Work::New, looked_up: false, of_task: false }
    }
}

impl Client {
    /// When the present phase has taken too long.
    pub(crate) fn due(&self, config: &Config) -> Option<Instant> {
        let timeouts = &config.timeouts;
        if let Some(exchange) = &self.exchange {
            let subscription = exchange.subscription.as_ref().and_then(|subscription| subscription.due());
            let until = self.stream.as_ref().and_then(|stream| stream.until());
            let limit = exchange.limit.filter(|_| exchange.answer == Answer::Open);
            let due =
                [exchange.deadline, limit, exchange.comment, subscription, until].into_iter().flatten().min();
            let streams = exchange.streams.iter().filter_map(|stream| stream.again).min();
            return due.into_iter().chain(streams).min();
        }
        Some(if self.incoming.is_some() {
            self.since + timeouts.body
        } else if self.codec.is_in_head() || !self.used {
            self.since + timeouts.head
        } else {
            self.since + timeouts.keep_alive
        })
    }
}

/// The request must be meant for this gateway: a page that rebinds its own name to our address is not (DNS rebinding).
/// What is `expected` are hosts that the snapshot names.
fn check_authority(config: &Config, head: &Request, expected: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let authority = head.authority();
    let host = host_of(authority);
    if is_loopback(host)
        || config.allowed_hosts.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host))
        || expected(authority)
    {
        return Ok(());
    }
    Err(Refusal::http(403, "the Host is not one this gateway serves; see allowedHosts"))
}

/// A request that has passed here before would go round for ever (RFC 9110, 7.6.3).
fn check_loop(config: &Config, fields: &Fields) -> Result<(), Refusal> {
    let own = config.keys.via().as_bytes();
    let seen = |value: &[u8]| value.windows(own.len()).any(|window| window == own);
    match fields.values("via").any(seen) {
        true => {
            Err(Refusal::http(508, "this request has passed this gateway before: a target leads back to it"))
        }
        false => Ok(()),
    }
}

/// A page of another site must not use the gateway (MCP, Streamable HTTP, Security Warning).
fn check_origin(config: &Config, fields: &Fields) -> Result<(), Refusal> {
    let Some(origin) = fields.first("origin") else { return Ok(()) };
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    if fields.count("origin") == 1
        && (config
            .allowed_origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
            || origin.split_once("://").is_some_and(|(scheme, rest)| {
                matches!(scheme, "http" | "https") && is_loopback(host_of(rest))
            }))
    {
        return Ok(());
    }
    Err(Refusal::http(403, "the Origin is not one this gateway serves; see allowedOrigins"))
}

/// The sealed id in a POST that belongs to a client's one stream (MCP 2024-11-05: whatever the `endpoint` event said).
pub(crate) fn stream_id(head: &Request) -> Option<&str> {
    let id = head.query()?.split('&').find_map(|pair| pair.strip_prefix("sessionId="))?;
    head.fields.first("mcp-session-id").is_none().then_some(id)
}

fn check_content_type(fields: &Fields) -> Result<(), Refusal> {
    if fields.first("content-type") == Some(b"application/json") {
        return Ok(());
    }
    let value = fields.text("content-type").unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::http(415, "the body of a POST is application/json"))
}

/// A version header must name a revision served here; which one makes no difference inside a session.
fn check_revision(fields: &Fields) -> Result<(), Refusal> {
    match fields.first("mcp-protocol-version") {
        None => Ok(()),
        Some(value) => match Revision::parse(value) {
            Some(_) => Ok(()),
            None => Err(Refusal::http(400, "MCP-Protocol-Version names no revision served here")),
        },
    }
}

/// An authority without its port.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.get(..colon).unwrap_or_default(),
        _ => authority,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}
