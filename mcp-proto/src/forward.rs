//! Exchanges that are served by another shard, because what they need is there alone.
//!
//! ```text
//!           the shard the client came to (origin)            the shard that serves it (owner)
//! request ─► forward ─────────────── Forward ──────────────► serve_forwarded ─► a virtual client's exchange
//! client  ◄─ outbox ◄─ answered ◄─── Answer (HTTP bytes) ◄── hand_over ◄─ its outbox
//!            paid ────────────────── Taken ────────────────► more credit
//!            the client went away ── Gone ─────────────────► the same for the virtual client
//!            the answer breaks off ◄ Broken ◄────────────── it was closed
//! ```
//!
//! The owner has a credit of `limits.buffer` bytes, so that a client that does not read stops, in the end, the target
//! that feeds it. All notes of one exchange are needed, so none of them may be dropped: their number is bounded by the
//! credit and by `limits.forwarded`.
//!
//! The origin counts the request and the bytes; the owner writes the line for the access log.

use crate::conn::{Client, Conn, Role, Wire};
use crate::edge::Note;
use crate::exchange::ExchangeId;
use crate::http::Request;
use crate::refusal::Refusal;
use crate::shard::{Closing, Deferred, Shard};
use crate::way::Way;
use crate::{ConnId, ShardId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A forwarded exchange, everywhere and for all time: what was rebuilt must not be taken for what was before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ticket {
    origin: ShardId,
    number: u64,
}

/// A request on its way to the shard that serves it.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    ticket: Ticket,
    peer: SocketAddr,
    way: Way,
    head: Request,
    body: Bytes,
}

/// All forwarded exchanges of a shard.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    /// Of clients here, served elsewhere.
    out: BTreeMap<Ticket, Out>,
    /// Of clients elsewhere, served here.
    guests: BTreeMap<Ticket, Guest>,
}

impl Forwards {
    /// How many there are: of clients here, of clients elsewhere.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.out.len(), self.guests.len())
    }
}

#[derive(Debug)]
struct Out {
    exchange: ExchangeId,
    owner: ShardId,
    /// Bytes that came and that the owner has no new credit for.
    unpaid: usize,
}

#[derive(Debug)]
struct Guest {
    conn: ConnId,
    /// So many bytes more may be on their way.
    credit: usize,
    /// The client's connection outlives the answer.
    keep_alive: bool,
}

impl Forwards {
    /// Whether clients elsewhere are served.
    pub(crate) fn has_guests(&self) -> bool {
        !self.guests.is_empty()
    }
}

impl Shard {
    /// Whether an exchange came from another shard.
    pub(crate) fn is_forwarded(&self, id: ExchangeId) -> bool {
        let role = self.conns.get(id.conn).map(|slot| &slot.role);
        matches!(role, Some(Role::Client(client)) if matches!(client.wire, Wire::Shard(_)))
    }

    /// Lets `owner`, another shard, serve an exchange of which nothing is answered yet.
    ///
    /// # Errors
    /// At the limit, or when the exchange can't be forwarded: it came from another shard, or was never a request on a
    /// socket.
    pub(crate) fn forward(&mut self, id: ExchangeId, owner: ShardId) -> Result<(), Refusal> {
        let most = self.config.limits.forwarded;
        let number = u64::from_be_bytes(self.random());
        let Some(client) = self.conns.get_mut(id.conn).and_then(Conn::client) else { return Ok(()) };
        let (wire, peer) = (client.wire, client.peer);
        let Some(exchange) = client.exchange.as_mut().filter(|it| it.serial == id.serial) else {
            return Ok(());
        };
        if wire != Wire::Socket || owner == self.id {
            return Err(Refusal::misplaced());
        }
        if self.forwards.out.len() >= most {
            return Err(Refusal::busy());
        }
        let ticket = Ticket { origin: self.id, number };
        exchange.forwarded = Some(ticket);
        // The owner sees to it.
        exchange.limit = None;
        exchange.log.silent = true;
        // Blocks that are read into belong to this thread.
        let mut head = exchange.head.clone();
        head.fields.detach();
        let (way, body) = (exchange.way.clone(), Bytes::copy_from_slice(&exchange.body));
        self.forwards.out.insert(ticket, Out { exchange: id, owner, unpaid: 0 });
        self.post(owner, Note::Forward(Box::new(Forwarded { ticket, peer, way, head, body })));
        Ok(())
    }

    /// The owner serves an exchange as if it had come here, on the way that was found for it.
    pub(crate) fn serve_forwarded(&mut self, forwarded: Forwarded) {
        let Forwarded { ticket, peer, way, head, body } = forwarded;
        if self.forwards.guests.len() >= self.config.limits.forwarded {
            return self.post(ticket.origin, Note::Broken { ticket });
        }
        let conn = self.virtual_client(Wire::Shard(ticket), peer);
        let guest = Guest { conn, credit: self.config.limits.buffer, keep_alive: false };
        self.forwards.guests.insert(ticket, guest);
        let id = self.open_virtual(conn, head, body, way, None);
        self.serve_on(id);
    }

    /// A virtual client's outbox has bytes, or credit came, or the last byte was written.
    pub(crate) fn hand_over(&mut self, conn: ConnId) {
        let low = self.config.limits.buffer / 4;
        let Some(slot) = self.conns.get_mut(conn) else { return };
        slot.armed = false;
        let Role::Client(client) = &mut slot.role else { return };
        let Wire::Shard(ticket) = client.wire else { return };
        let Some(guest) = self.forwards.guests.get_mut(&ticket) else { return };
        let before = slot.outbox.waiting();
        let mut parts = Vec::new();
        while guest.credit > 0
            && let Some(bytes) = slot.outbox.take(guest.credit)
        {
            guest.credit -= bytes.len();
            parts.push(bytes);
        }
        let after = slot.outbox.waiting();
        let end = (slot.closing && after == 0).then_some(guest.keep_alive);
        let last = parts.pop();
        for bytes in parts {
            self.post(ticket.origin, Note::Answer { ticket, bytes, end: None });
        }
        if end.is_some() || last.is_some() {
            let bytes = last.unwrap_or_default();
            self.post(ticket.origin, Note::Answer { ticket, bytes, end });
        }
        if end.is_some() {
            self.forwards.guests.remove(&ticket);
            return self.close(conn, Closing::Finish);
        }
        if before > low && after <= low {
            self.resume_feeders(conn);
        }
    }

    /// The answer to a forwarded exchange is written; what the origin has not taken follows.
    pub(crate) fn forwarded_over(&mut self, conn: ConnId, ticket: Ticket, keep_alive: bool) {
        let Some(slot) = self.conns.get_mut(conn) else { return };
        slot.closing = true;
        if let Some(guest) = self.forwards.guests.get_mut(&ticket) {
            guest.keep_alive = keep_alive;
        }
        self.deferred.push_back(Deferred::HandOver(conn));
    }

    /// A virtual client was closed before its answer was complete.
    pub(crate) fn forget_guest(&mut self, ticket: Ticket) {
        if self.forwards.guests.remove(&ticket).is_some() {
            self.post(ticket.origin, Note::Broken { ticket });
        }
    }

    /// A piece of the answer, and with the last one whether the client's connection outlives it.
    pub(crate) fn answered(&mut self, ticket: Ticket, bytes: Bytes, end: Option<bool>) {
        let Some(out) = self.forwards.out.get_mut(&ticket) else { return };
        let id = out.exchange;
        out.unpaid += bytes.len();
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.sent += bytes.len() as u64;
        }
        if let Some(slot) = self.conns.get_mut(id.conn) {
            slot.outbox.push(bytes);
        }
        self.flush(id.conn);
        if let Some(keep_alive) = end {
            self.forwards.out.remove(&ticket);
            self.close_exchange(id, keep_alive);
        }
    }

    /// A client has `waiting` bytes of a forwarded answer left to take: the owner may send more.
    pub(crate) fn pay(&mut self, ticket: Ticket, waiting: usize) {
        let share = self.config.limits.buffer / 4;
        let Some(out) = self.forwards.out.get_mut(&ticket) else { return };
        let count = out.unpaid.saturating_sub(waiting);
        // Less is no hindrance: three quarters of the credit are left.
        if count > share {
            out.unpaid -= count;
            let owner = out.owner;
            self.post(owner, Note::Taken { ticket, count });
        }
    }

    /// The origin's client took bytes.
    pub(crate) fn paid(&mut self, ticket: Ticket, count: usize) {
        let Some(guest) = self.forwards.guests.get_mut(&ticket) else { return };
        guest.credit += count;
        let conn = guest.conn;
        self.hand_over(conn);
    }

    /// A client whose request was forwarded went away.
    pub(crate) fn recall(&mut self, ticket: Ticket) {
        if let Some(out) = self.forwards.out.remove(&ticket) {
            self.post(out.owner, Note::Gone { ticket });
        }
    }

    /// The origin's client went away.
    pub(crate) fn guest_gone(&mut self, ticket: Ticket) {
        if let Some(guest) = self.forwards.guests.remove(&ticket) {
            self.close(guest.conn, Closing::Abort);
        }
    }

    /// The owner gave an exchange up: the client is told, as far as it still can be.
    pub(crate) fn broken(&mut self, ticket: Ticket) {
        let Some(out) = self.forwards.out.remove(&ticket) else { return };
        let id = out.exchange;
        let Some(exchange) = self.exchange_mut(id) else { return };
        exchange.forwarded = None;
        if exchange.sent > 0 {
            return self.cut(id, "the worker that served it broke off");
        }
        exchange.log.silent = false;
        self.refuse(id, &Refusal::busy());
    }

    /// A shard is gone, with all it served and all it had forwarded.
    pub(crate) fn shard_gone(&mut self, shard: ShardId) {
        let served = self.forwards.out.iter().filter(|(_, out)| out.owner == shard);
        let lost: Vec<_> = served.map(|(ticket, _)| *ticket).collect();
        for ticket in lost {
            // A successor may have found the request in its mail.
            self.post(shard, Note::Gone { ticket });
            self.broken(ticket);
        }
        let guests: Vec<_> =
            self.forwards.guests.keys().filter(|ticket| ticket.origin == shard).copied().collect();
        for ticket in guests {
            self.guest_gone(ticket);
        }
    }
}

impl Client {
    /// The ticket of an exchange that another shard serves.
    pub(crate) fn forwarded(&self) -> Option<Ticket> {
        self.exchange.as_ref()?.forwarded
    }
}

#[cfg(test)]
mod tests;
