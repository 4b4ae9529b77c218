//! Client connections without a socket, so that one machinery of exchanges serves messages that came some other way.
//!
//! ```text
//! virtual_client(wire) ─► open_virtual(head, body) ─► serve_message | listen | … ─► answer ─► wire
//! ```
//!
//! Such a connection has one exchange and is gone with it. The frontend never hears of it, so no
//! [`Action`](crate::Action) names it.

use crate::ConnId;
use crate::conn::{Client, Conn, Role, Wire};
use crate::exchange::{Accepts, Answer, Exchange, ExchangeId, Part};
use crate::http::Request;
use crate::jsonrpc::envelope::Envelope;
use crate::line;
use crate::session::SessionId;
use crate::shard::Shard;
use crate::sse;
use crate::way::Way;
use bytes::Bytes;
use std::net::SocketAddr;

impl Shard {
    /// A connection that writes to `wire`, on behalf of a client at `peer`.
    pub(crate) fn virtual_client(&mut self, wire: Wire, peer: SocketAddr) -> ConnId {
        let client = Client::new(wire, peer, &self.config.limits, self.now);
        self.conns.insert(Conn::new(Role::Client(Box::new(client)), self.now))
    }

    /// The exchange of a virtual connection. Nothing is done for it yet.
    pub(crate) fn open_virtual(
        &mut self,
        conn: ConnId,
        head: Request,
        body: Bytes,
        way: Way,
        session: Option<SessionId>,
    ) -> ExchangeId {
        let now = self.now;
        let id = ExchangeId { conn, serial: 1 };
        let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { return id };
        let accepts = match client.wire {
            Wire::Socket | Wire::Shard(_) => Accepts::parse(&head.fields),
            Wire::Lines | Wire::Stream(_) => Accepts { json: false, events: true },
            // Who asks for a reader must not find one that does not read.
            Wire::Nowhere => Accepts { json: false, events: false },
        };
        client.serial = id.serial;
        client.used = true;
        let mut exchange = Exchange::new(id.serial, head, accepts, body, now);
        exchange.way = way;
        exchange.session = session;
        exchange.shared = client.wire.carries_messages();
        exchange.log.silent = client.wire == Wire::Nowhere;
        client.exchange = Some(exchange);
        id
    }

    /// Routes the one message that is the body of an exchange.
    pub(crate) fn serve_message(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        exchange.parts.push(Part::new(0..exchange.body.len()));
        exchange.open = 1;
        let Err(refusal) = self.route(id, 0) else { return };
        let Some(exchange) = self.exchange(id) else { return };
        let waits = refusal.id.is_some() || exchange.is_request(0);
        if waits || Envelope::parse(&exchange.body, self.config.limits.depth).is_err() {
            return self.refuse(id, &refusal);
        }
        // Nobody waits for an answer, and it must not be taken for one to something else.
        self.counters.dropped.add(1);
        self.respond(id, refusal.status, b"", &[]);
    }

    /// Writes a whole message, or the event it stands in, where messages go.
    pub(crate) fn write_message(&mut self, id: ExchangeId, bytes: &[u8]) {
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return };
        let wire = client.wire;
        let Some(exchange) = client.exchange.as_mut().filter(|it| it.serial == id.serial) else { return };
        let Answer::Begun { events, .. } = exchange.answer else { return };
        let message = if events { sse::write::message(bytes) } else { Some(bytes) };
        let Some(message) = message.filter(|message| !message.is_empty()) else { return };
        exchange.sent += message.len() as u64;
        match wire {
            Wire::Lines => self.say(id.conn, message),
            Wire::Stream(stream) => self.say(stream, message),
            Wire::Nowhere => self.counters.dropped.add(1),
            Wire::Socket | Wire::Shard(_) => {}
        }
    }

    /// The connection in whose outbox what is written for `conn` waits.
    pub(crate) fn outlet(&self, conn: ConnId) -> Option<&Conn> {
        let slot = self.conns.get(conn)?;
        match &slot.role {
            Role::Client(client) => match client.wire {
                Wire::Stream(stream) => self.conns.get(stream),
                _ => Some(slot),
            },
            _ => Some(slot),
        }
    }

    /// Writes a message on the one stream that a client's connection is.
    pub(crate) fn say(&mut self, stream: ConnId, message: &[u8]) {
        let Some(slot) = self.conns.get_mut(stream) else { return };
        let Role::Client(client) = &slot.role else { return };
        if client.wire == Wire::Lines {
            slot.outbox.write(|out| line::write(out, message));
            return self.flush(stream);
        }
        let Some(exchange) = &client.exchange else { return };
        let id = ExchangeId { conn: stream, serial: exchange.serial };
        let mut event = Vec::with_capacity(message.len() + 24);
        sse::write::event(&mut event, None, message);
        self.write_event(id, &event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use crate::session::{Opened, Revision, Session, TargetState};
    use crate::{AccessLog, Action, Fault, Limits, ShardId, Start};
    use routing::{BackendName, TargetId};
    use std::time::{Duration, Instant};

    const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 5000);

    /// A shard before one target, and a session in which that target is open.
    fn shard() -> (Shard, SessionId, Instant) {
        let (start, now) = Start::before_alpha(1, Limits::default(), AccessLog::All);
        let name = TargetId::parse(&BackendName::default(), "alpha").unwrap();
        let mut shard = Shard::new(start, now);
        let mut session = Session::new(
            1,
            ShardId(0),
            BackendName::default(),
            Revision::LATEST,
            Duration::from_secs(1000),
            now,
        );
        let opened = Opened { id: None, revision: Revision::LATEST, sse: false, at: None };
        *session.target_mut(&name) = TargetState::Ready(opened);
        let session = shard.sessions.insert(session);
        (shard, session, now)
    }

    fn actions(shard: &mut Shard) -> Vec<Action> {
        std::iter::from_fn(|| shard.poll()).collect()
    }

    #[test]
    fn a_listener_that_writes_nowhere_keeps_its_streams_and_is_silent() {
        let (mut shard, session, now) = shard();
        let conn = shard.virtual_client(Wire::Nowhere, PEER.into());
        let id =
            shard.open_virtual(conn, Request::bare(Method::Get), Bytes::new(), Way::default(), Some(session));
        shard.listen(id, session);
        let opened = actions(&mut shard);
        let [Action::Open { conn: upstream, .. }] = opened[..] else { panic!("{opened:?}") };

        shard.lost(upstream, Fault::Reset, now);
        // All there is to say is what was found out of the target.
        assert!(actions(&mut shard).iter().all(|action| matches!(action, Action::Observed(_))));
        let pause = Duration::from_secs(1);
        shard.tick(now + pause);
        let again = actions(&mut shard);
        let [Action::Open { conn: upstream, .. }] = again[..] else { panic!("{again:?}") };

        assert!(!shard.has_room(id), "nobody reads there");
        shard.notify_listener(id, b"{}");
        assert!(actions(&mut shard).is_empty());

        shard.end_listener(id);
        let ended = actions(&mut shard);
        assert!(matches!(ended[..], [Action::Abort { conn }] if conn == upstream), "{ended:?}");
        assert_eq!((shard.conns.len(), shard.legs.len()), (0, 0));
        assert_eq!(shard.sessions.get(session).unwrap().listener, None);
    }
}
