//! What happens when nothing happens: each connection's deadline, derived from what it is doing.

use crate::conn::{Conn, Phase, Role, Wire};
use crate::edge::Fault;
use crate::exchange::{Answer, ExchangeId};
use crate::http::Refusal;
use crate::leg::{Purpose, Trouble};
use crate::shard::{Closing, Shard};
use crate::timers::Timed;
use crate::{ConnId, sse};
use std::time::{Duration, Instant};

/// A target gets this much longer for its share of a merged answer than the client was made to wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

impl Shard {
    /// Makes sure a connection is looked at when its deadline comes.
    pub(crate) fn watch(&mut self, conn: ConnId) {
        let Some(due) = self.due(conn) else { return };
        let Some(slot) = self.conns.get_mut(conn) else { return };
        if slot.timer.is_none_or(|timer| due < timer) {
            slot.timer = Some(due);
            self.timers.set(Timed::Conn(conn), due);
        }
    }

    /// When a connection has waited long enough.
    fn due(&self, conn: ConnId) -> Option<Instant> {
        let slot = self.conns.get(conn)?;
        let stalled = self.stalled(slot);
        let phase = match &slot.role {
            // All is said: what is left is that it is taken.
            Role::Client(_) if slot.closing => None,
            Role::Client(client) => client.due(&self.config),
            Role::Target(_) if slot.paused => None,
            Role::Target(upstream) => self.target_due(upstream),
            // What waits for its answers has deadlines of its own.
            Role::Child(_) => None,
        };
        [stalled, phase].into_iter().flatten().min()
    }

    /// When the peer has taken nothing for too long. Whoever takes the bytes of a virtual connection watches over the
    /// client itself, and one that is attached has all time while it lives.
    fn stalled(&self, slot: &Conn) -> Option<Instant> {
        let watched = match &slot.role {
            Role::Client(client) => client.wire == Wire::Socket || slot.closing && client.wire == Wire::Lines,
            Role::Target(_) | Role::Child(_) => true,
        };
        (watched && !slot.outbox.is_empty()).then(|| slot.progress + self.config.timeouts.write)
    }

    fn target_due(&self, upstream: &crate::conn::Upstream) -> Option<Instant> {
        let leg = upstream.leg.and_then(|leg| self.legs.get(leg));
        let timeouts = leg.map(|leg| leg.target.timeouts).unwrap_or_default();
        // It waits for its client: however long that takes is not the target's fault.
        if leg.is_some_and(|leg| matches!(leg.purpose, Purpose::Parked { .. })) {
            return None;
        }
        let first_byte = match leg.map(|leg| leg.purpose) {
            Some(
                Purpose::Part { slot: None, .. }
                | Purpose::Stream { .. }
                | Purpose::Resume { .. }
                | Purpose::Pass { .. },
            ) => timeouts.first_byte,
            Some(Purpose::Probe) => timeouts.first_byte.min(timeouts.gather),
            _ => timeouts.first_byte.min(timeouts.gather.max(PATIENCE)),
        };
        let attempt = |usual: Duration| leg.and_then(|leg| leg.attempt).map_or(usual, |own| own.min(usual));
        match upstream.phase {
            Phase::Connecting(since) => Some(since + attempt(timeouts.connect)),
            Phase::Idle(since) => Some(since + upstream.keep),
            Phase::Waiting(since) => Some(since + attempt(first_byte)),
            Phase::Answering(since) => Some(since + timeouts.idle),
            // A stream may be silent for ever, unless it is only there for one answer that others wait for.
            Phase::Streaming => {
                leg.filter(|leg| leg.purpose.is_for_one_answer())?.sent_at.map(|at| at + first_byte)
            }
        }
    }

    /// A connection's time has come, unless it has moved on meanwhile.
    pub(crate) fn conn_due(&mut self, conn: ConnId, at: Instant) {
        let Some(slot) = self.conns.get_mut(conn) else { return };
        if slot.timer != Some(at) {
            return;
        }
        slot.timer = None;
        slot.outbox.rest();
        if self.due(conn).is_some_and(|due| due <= self.now) {
            let Some(slot) = self.conns.get(conn) else { return };
            if self.stalled(slot).is_some_and(|due| due <= self.now) {
                return self.write_stalled(conn);
            }
            match &slot.role {
                Role::Client(_) => self.client_due(conn),
                Role::Target(_) => self.upstream_due(conn),
                Role::Child(_) => {}
            }
        }
        self.watch(conn);
    }

    /// The peer takes nothing any more.
    fn write_stalled(&mut self, conn: ConnId) {
        match self.conns.get(conn).map(|slot| &slot.role) {
            Some(Role::Target(_)) => self.give_up(conn, Fault::TimedOut),
            Some(Role::Child(_)) => self.child_stalled(conn),
            _ => self.close(conn, Closing::Abort),
        }
    }

    fn client_due(&mut self, conn: ConnId) {
        let now = self.now;
        let comment = self.config.timeouts.comment;
        let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { return };
        let Some(exchange) = &mut client.exchange else {
            return match client.incoming.is_some() || client.codec.is_in_head() {
                true => self.answer_late_request(conn),
                false => self.close_after_flush(conn),
            };
        };
        let id = ExchangeId { conn, serial: exchange.serial };
        if client.stream.as_ref().and_then(|stream| stream.until()).is_some_and(|until| until <= now) {
            return self.close(conn, Closing::Abort);
        }
        if exchange.comment.is_some_and(|due| due <= now) {
            match exchange.half {
                // The client has to do with what comes of the event.
                true => exchange.comment = Some(now + comment),
                false => self.write_copy(id, sse::write::COMMENT),
            }
        }
        let Some(exchange) = self.exchange_mut(id) else { return };
        let due = exchange.deadline.take_if(|deadline| *deadline <= now).is_some();
        let late = exchange.limit.take_if(|limit| *limit <= now).is_some() && exchange.answer == Answer::Open;
        if due {
            self.gather_due(id);
        }
        if late {
            self.out_of_time(id);
        }
        self.subscription_due(id);
        self.reopen_streams(id);
    }

    /// RFC 9110, 15.5.9.
    fn answer_late_request(&mut self, conn: ConnId) {
        self.refuse_connection(conn, Refusal { status: 408, reason: "the request took too long to arrive" });
    }

    fn upstream_due(&mut self, conn: ConnId) {
        let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
        let leg = upstream.leg;
        let trouble = match upstream.phase {
            Phase::Connecting(_) => return self.give_up(conn, Fault::TimedOut),
            Phase::Waiting(_) => Trouble::Late("answer"),
            Phase::Idle(_) | Phase::Answering(_) | Phase::Streaming => Trouble::Late("go on with its answer"),
        };
        // Also where the request has failed long ago and only the rest of its answer was awaited.
        self.close(conn, Closing::Abort);
        if let Some(leg) = leg {
            self.leg_failed(leg, trouble);
        }
    }
}
