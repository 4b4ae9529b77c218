//! Connections to targets: kept alive, handed from request to request, bounded.

use crate::conn::{Conn, Phase, Role, Upstream};
use crate::edge::Fault;
use crate::era::MODERN;
use crate::federation::{Era, Schemas, Verdict};
use crate::http::{ClientCodec, ResponseEvent, write};
use crate::leg::{Inbound, LegId, Purpose, Trouble};
use crate::reroute::Changes;
use crate::session::Revision;
use crate::shard::{Closing, Deferred, Shard};
use crate::way::passed;
use crate::{Action, ConnId};
use routing::Target;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After a refused connection a target is left alone for so long, and requests to it fail at once.
const REST: Duration = Duration::from_secs(1);

/// One target's connections on this shard.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Vec<ConnId>,
    open: usize,
    waiting: VecDeque<LegId>,
    /// Which endpoint is used: all connections go to one, where the sessions are, until it can't be reached.
    turn: usize,
    endpoints: Vec<SocketAddr>,
    down: Option<(Instant, Arc<str>)>,
    /// It let a merged answer wait in vain: until it answers again, others wait for it only briefly.
    pub(crate) slow: bool,
    /// What it speaks.
    pub(crate) verdict: Verdict,
    /// What is known of its tools' schemas.
    pub(crate) schemas: Schemas,
}

impl Pool {
    /// Connections it counts or keeps, and requests that wait in it for whatever reason.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let waiting = self.waiting.len() + self.verdict.waiting() + self.schemas.waiting();
        (self.open.max(self.idle.len()), waiting)
    }
}

impl Shard {
    /// Brings the pools in line with the snapshot.
    pub(crate) fn rebuild_pools(&mut self, changes: &Changes) {
        let mut stale = Vec::new();
        for target in &changes.targets {
            let pool = self.pools.entry(target.id.clone()).or_default();
            let endpoints: Vec<_> = target.endpoints.iter().map(|endpoint| endpoint.address).collect();
            if pool.endpoints != endpoints {
                pool.endpoints = endpoints;
                pool.down = None;
                pool.verdict.grow_old();
                stale.append(&mut pool.idle);
            }
        }
        for id in &changes.gone {
            let Some(pool) = self.pools.get_mut(id) else { continue };
            pool.endpoints.clear();
            stale.append(&mut pool.idle);
        }
        for conn in stale {
            self.release(conn);
        }
        if !changes.gone.is_empty() {
            // What waits in one is told when what it waits for has ended, on whatever way that is.
            let routes = &self.routes;
            self.pools.retain(|id, pool| pool.counts() != (0, 0) || routes.find(id).is_some());
        }
    }

    /// Whether merged answers should wait for `target` only briefly.
    pub(crate) fn is_slow(&self, target: &Target) -> bool {
        self.pools.get(&target.id).is_some_and(|pool| pool.slow)
    }

    /// Finds a connection for a request, or opens one, or lets it wait.
    pub(crate) fn dispatch_leg(&mut self, id: LegId) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(id) else { return };
        let target = Arc::clone(&leg.target);
        let carries = leg.carried.is_some() || matches!(leg.purpose, Purpose::Feed { .. });
        // Whether it still answers on a stream is asked without one.
        let asks = leg.purpose == Purpose::Probe && target.process.is_none();
        if self.is_channel(&target) && !carries && !asks {
            return self.dispatch_on_channel(id);
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Some(pool) = self.pools.get_mut(&target.id) else {
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Nowhere));
        };
        // What was found stale is tried again on a new connection: others that were idle may be as stale.
        let fresh = leg.repeated && pool.open < self.config.limits.target_connections;
        while !fresh && let Some(conn) = pool.idle.pop() {
            if self.conns.get(conn).is_some() {
                return self.send(id, conn);
            }
        }
        if let Some((until, reason)) = &pool.down {
            if now < *until {
                let trouble = Trouble::Recently(Arc::clone(reason));
                return self.deferred.push_back(Deferred::Fail(id, trouble));
            }
            pool.down = None;
        }
        let Some(address) = pool.endpoints.get(pool.turn % pool.endpoints.len().max(1)).copied() else {
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Nowhere));
        };
        if pool.open >= self.config.limits.target_connections {
            if pool.waiting.len() >= self.config.limits.target_waiting {
                return self.deferred.push_back(Deferred::Fail(id, Trouble::Busy));
            }
            pool.waiting.push_back(id);
            return self.limit_leg(id, now + target.timeouts.gather);
        }
        pool.open += 1;
        self.counters.target_connections.add(1);
        self.counters.target_connections_total.add(1);
        let upstream = Upstream {
            target: target.id.clone(),
            address,
            codec: ClientCodec::new(&self.config.limits),
            leg: Some(id),
            phase: Phase::Connecting(now),
            used: false,
            keep: self.config.timeouts.pool,
        };
        let conn = self.conns.insert(Conn::new(Role::Target(Box::new(upstream)), now));
        leg.conn = Some(conn);
        self.watch(conn);
        self.act(Action::Open { conn, address });
    }

    pub(crate) fn target_connected(&mut self, conn: ConnId) {
        let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
        upstream.phase = Phase::Idle(self.now);
        if let Some(pool) = self.pools.get_mut(&upstream.target) {
            pool.down = None;
        }
        match upstream.leg.take() {
            Some(leg) => self.send(leg, conn),
            None => self.release(conn),
        }
    }

    /// Writes a request.
    fn send(&mut self, id: LegId, conn: ConnId) {
        let now = self.now;
        let (Some(leg), Some(slot)) = (self.legs.get_mut(id), self.conns.get_mut(conn)) else {
            return self.release(conn);
        };
        let modern = leg.dress.as_ref().is_some_and(|dress| dress.era == Era::Modern);
        let session = leg.session.and_then(|session| self.sessions.get(session));
        let known = session.and_then(|session| session.ready(&leg.target));
        let opened = leg.opened.as_ref().or(known);
        let (session_id, revision) = match opened {
            Some(opened) if !modern => (opened.id.clone(), Some(opened.revision)),
            _ => (None, None),
        };
        let modern = leg.dress.as_ref().is_some_and(|dress| dress.era == Era::Modern);
        let (path, body) = match &leg.carried {
            Some(carried) => (&*carried.path, carried.message.clone()),
            None => (leg.target.path.as_str(), leg.message().clone()),
        };
        let Role::Target(upstream) = &mut slot.role else { return };
        slot.outbox.write(|out| {
            if let Some(head) = &leg.head {
                return out.extend_from_slice(head);
            }
            write::request(out, leg.method, path);
            let given =
                leg.fields.as_ref().and_then(|fields| fields.given().find(|(name, _)| *name == "host"));
            write::field(out, "host", given.map_or(leg.target.authority.as_bytes(), |(_, host)| host));
            let accept: &[u8] = match leg.method {
                crate::http::Method::Get => b"text/event-stream",
                _ => b"application/json, text/event-stream",
            };
            write::field(out, "accept", accept);
            if leg.method == crate::http::Method::Post {
                write::field(out, "content-type", b"application/json");
                write::length(out, body.len() as u64);
            }
            if !matches!(leg.purpose, Purpose::Open { .. }) {
                if let Some(id) = &session_id {
                    write::field(out, "mcp-session-id", id);
                }
                let revision = leg.version.or(revision).map(Revision::as_str);
                if let Some(revision) = if modern { Some(MODERN) } else { revision } {
                    write::field(out, "mcp-protocol-version", revision.as_bytes());
                }
            }
            for (name, value) in leg.dress.iter().flat_map(|dress| &dress.fields) {
                write::field(out, name, value);
            }
            if let Some(last) = &leg.last_event {
                write::field(out, "last-event-id", last);
            }
            write::field(out, "via", self.config.keys.via().as_bytes());
            for (name, value) in &leg.target.headers {
                write::field(out, name, value.as_bytes());
            }
            if let Some(fields) = &leg.fields {
                passed(fields, &leg.target).for_each(|(name, value)| write::field(out, name, value));
            }
            write::end(out);
        });
        if leg.method == crate::http::Method::Post || leg.head.is_some() {
            slot.outbox.push(body);
        }
        upstream.codec.expect(leg.method);
        upstream.leg = Some(id);
        upstream.phase = Phase::Waiting(now);
        leg.conn = Some(conn);
        leg.deadline = None;
        leg.sent_id = session_id;
        leg.sent_at = Some(now);
        leg.inbound = Inbound::Head;
        self.counters.target_requests.add(1);
        self.watch(conn);
        self.flush(conn);
    }

    /// A connection has no request any more: the next one takes it, or it waits, or it is closed.
    pub(crate) fn release(&mut self, conn: ConnId) {
        let now = self.now;
        self.set_paused(conn, false);
        let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
        upstream.leg = None;
        upstream.used = true;
        let reusable = upstream.codec.is_idle() && !upstream.keep.is_zero();
        let Some(pool) = self.pools.get_mut(&upstream.target) else {
            return self.close(conn, Closing::Abort);
        };
        if !reusable || !pool.endpoints.contains(&upstream.address) {
            return self.close(conn, Closing::Abort);
        }
        upstream.phase = Phase::Idle(now);
        while let Some(leg) = pool.waiting.pop_front() {
            if self.legs.get(leg).is_some_and(|leg| leg.conn.is_none()) {
                return self.send(leg, conn);
            }
        }
        pool.idle.push(conn);
        self.watch(conn);
    }

    /// Takes a connection to a target out of the tables; what waits for a connection gets its place.
    pub(crate) fn forget_upstream(&mut self, conn: ConnId) {
        let Some(mut slot) = self.conns.remove(conn) else { return };
        let Some(upstream) = slot.upstream() else { return };
        self.counters.target_connections.sub(1);
        if let Some(pool) = self.pools.get_mut(&upstream.target) {
            pool.open = pool.open.saturating_sub(1);
            pool.idle.retain(|idle| *idle != conn);
            while let Some(leg) = pool.waiting.pop_front() {
                if self.legs.get(leg).is_some() {
                    self.deferred.push_back(Deferred::Send(leg));
                    break;
                }
            }
        }
        if let Some(leg) = upstream.leg
            && let Some(leg) = self.legs.get_mut(leg)
        {
            leg.conn = None;
        }
    }

    /// The connection broke, or never came to be.
    pub(crate) fn target_lost(&mut self, conn: ConnId, fault: Fault) {
        let now = self.now;
        let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
        let leg = upstream.leg;
        let connecting = matches!(upstream.phase, Phase::Connecting(_));
        let stale = upstream.used && upstream.codec.is_untouched();
        let target = upstream.target.clone();
        self.forget_upstream(conn);
        let Some(id) = leg else { return };
        let Some(leg) = self.legs.get_mut(id) else { return };
        if connecting && let Some(pool) = self.pools.get_mut(&target) {
            // Another endpoint may be fine (a name often stands for an IPv6 and an IPv4 address of which one serves);
            // when all have had their turn, the target rests.
            pool.turn = pool.turn.wrapping_add(1);
            leg.refused += 1;
            if leg.refused < pool.endpoints.len() {
                return self.dispatch_leg(id);
            }
            if pool.open == 0 {
                let reason = Trouble::Connect(fault).to_string();
                pool.down = Some((now + REST, reason.into()));
            }
        }
        if stale && leg.repeatable && !leg.repeated {
            leg.repeated = true;
            self.counters.target_retries.add(1);
            return self.dispatch_leg(id);
        }
        let trouble = if connecting { Trouble::Connect(fault) } else { Trouble::Lost(fault) };
        self.leg_failed(id, trouble);
    }

    /// Treats a connection as broken. The frontend is told first: what takes the connection's place in the table may be
    /// opened at once.
    pub(crate) fn give_up(&mut self, conn: ConnId, fault: Fault) {
        self.act(Action::Abort { conn });
        self.target_lost(conn, fault);
    }

    pub(crate) fn target_ended(&mut self, conn: ConnId) {
        let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
        if upstream.leg.is_none() {
            return self.close(conn, Closing::Abort);
        }
        if upstream.codec.is_untouched() {
            return self.give_up(conn, Fault::Closed);
        }
        // An answer that ends with its connection is complete now; anything else was cut short.
        loop {
            let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
            let Some(leg) = upstream.leg else { return self.close(conn, Closing::Abort) };
            match upstream.codec.eof() {
                Ok(Some(ResponseEvent::Head(head))) => self.leg_head(leg, &head),
                Ok(Some(ResponseEvent::Body(bytes))) => self.leg_body(leg, bytes),
                Ok(Some(ResponseEvent::End)) => {
                    self.close(conn, Closing::Abort);
                    return self.leg_ended(leg);
                }
                Ok(None) | Err(_) => return self.give_up(conn, Fault::Closed),
            }
        }
    }

    /// Reads what a connection to a target has brought.
    pub(crate) fn read_target(&mut self, conn: ConnId) {
        loop {
            let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
            let leg = upstream.leg;
            match (upstream.codec.next(), leg) {
                (Ok(None), _) => return,
                (Ok(Some(ResponseEvent::Head(head))), Some(leg)) => {
                    if !head.keep_alive {
                        upstream.keep = Duration::ZERO;
                    } else if let Some(hint) = head.idle_hint() {
                        // A second less than the target says, or both may decide at once.
                        upstream.keep = upstream.keep.min(hint.saturating_sub(Duration::from_secs(1)));
                    }
                    if let Some(pool) = self.pools.get_mut(&upstream.target) {
                        pool.slow = false;
                    }
                    self.leg_head(leg, &head);
                    if let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) {
                        upstream.codec.recycle(head.fields);
                    }
                }
                (Ok(Some(ResponseEvent::Body(bytes))), Some(leg)) => self.leg_body(leg, bytes),
                (Ok(Some(ResponseEvent::End)), Some(leg)) => {
                    self.release_after(leg, conn);
                    return;
                }
                // Bytes nobody asked for.
                (Ok(Some(_)), None) | (Err(_), None) => return self.close(conn, Closing::Abort),
                (Err(malformed), Some(leg)) => {
                    self.close(conn, Closing::Abort);
                    return self.leg_failed(leg, Trouble::Malformed(malformed.0));
                }
            }
        }
    }

    /// The answer is complete: the connection is free before the answer is looked at, so that what it leads to can use
    /// the connection.
    fn release_after(&mut self, leg: LegId, conn: ConnId) {
        if let Some(leg) = self.legs.get_mut(leg) {
            leg.conn = None;
        }
        self.release(conn);
        self.leg_ended(leg);
    }

    /// Ends a request whose answer nobody wants to hear any more.
    pub(crate) fn abandon(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(id) else { return };
        self.counters.calls.sub(1);
        self.leave_channel(id, &leg);
        if let Some(conn) = leg.conn {
            self.close(conn, Closing::Abort);
        }
    }
}
