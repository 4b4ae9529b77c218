//! Connections to targets: kept alive, handed from request to request, bounded.

use crate::conn::{Conn, Phase, Role, Upstream};
use crate::edge::Fault;
use crate::endpoints::{Astray, EndpointId, Endpoints};
use crate::era::MODERN;
use crate::federation::{Schemas, Verdict};
use crate::http::{ClientCodec, Method, ResponseEvent, write};
use crate::leg::{Inbound, Leg, LegId, Purpose, Trouble};
use crate::observations::Seen;
use crate::reroute::Changes;
use crate::session::Revision;
use crate::shard::{Closing, Deferred, Shard};
use crate::way::passed;
use crate::{Action, ConnId};
use routing::Target;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What every message to a target says of itself.
const POST_FIELDS: &[u8] =
    b"accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n";

/// One target's connections on this shard.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Where they lead.
    pub(crate) endpoints: Endpoints,
    open: usize,
    waiting: VecDeque<LegId>,
    /// It let a merged answer wait in vain: until it answers again, others wait for it only briefly.
    pub(crate) slow: bool,
    /// What it speaks.
    pub(crate) verdict: Verdict,
    /// What of it was seen and told.
    pub(crate) seen: Seen,
    /// What is known of its tools' schemas.
    pub(crate) schemas: Schemas,
}

impl Pool {
    /// Connections it counts or keeps, and requests that wait in it for whatever reason.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let waiting = self.waiting.len() + self.verdict.waiting() + self.schemas.waiting();
        (self.open.max(self.endpoints.idle()), waiting)
    }
}

impl Shard {
    /// Brings the pools in line with the snapshot. Whether any endpoint came or went.
    pub(crate) fn rebuild_pools(&mut self, changes: &Changes) -> bool {
        let mut moved = false;
        let mut stale = Vec::new();
        for target in &changes.targets {
            let pool = self.pools.entry(target.id.clone()).or_default();
            let followed = pool.endpoints.follow(&target.endpoints);
            if followed.joined {
                pool.verdict.grow_old();
            }
            moved |= followed.joined || followed.left;
            stale.extend(followed.stale);
        }
        for id in &changes.gone {
            let Some(pool) = self.pools.get_mut(id) else { continue };
            stale.extend(pool.endpoints.follow(&[]).stale);
        }
        for conn in stale {
            self.close(conn, Closing::Abort);
        }
        if !changes.gone.is_empty() {
            // What waits in one is told when what it waits for has ended, on whatever way that is.
            let routes = &self.routes;
            self.pools.retain(|id, pool| pool.counts() != (0, 0) || routes.find(id).is_some());
        }
        moved
    }

    /// Whether merged answers should wait for `target` only briefly.
    pub(crate) fn is_slow(&self, target: &Target) -> bool {
        self.pools.get(&target.id).is_some_and(|pool| pool.slow)
    }

    /// Finds a connection for a request, or opens one, or lets it wait.
    pub(crate) fn dispatch_leg(&mut self, id: LegId) {
        self.dispatch_after(id, None);
    }

    /// The same after a connection could not be had, for which reason; it is not tried there again.
    fn dispatch_after(&mut self, id: LegId, fault: Option<Fault>) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let target = Arc::clone(&leg.target);
        let carries = leg.carried.is_some() || matches!(leg.purpose, Purpose::Feed { .. });
        // Whether it still answers on a stream is asked without one.
        let asks = leg.purpose == Purpose::Probe && target.process.is_none();
        if self.is_channel(&target) && !carries && !asks {
            return self.dispatch_on_channel(id);
        }
        let index = match (self.endpoint_for(id), fault.map(Trouble::Connect)) {
            (Ok(index), _) => index,
            (Err(Astray::Lost), fault) => return self.lose_session(id, fault.unwrap_or(Trouble::Gone)),
            (Err(Astray::Stuck(trouble)), fault) => {
                return self.deferred.push_back(Deferred::Fail(id, fault.unwrap_or(trouble)));
            }
        };
        let most = self.config.limits.target_connections;
        let Some((leg, pool)) = self.legs.get(id).zip(self.pools.get_mut(&target.id)) else { return };
        // What was found stale is tried again on a new connection: others that were idle may be as stale.
        let fresh = leg.repeated && pool.open < most;
        while !fresh && let Some(conn) = pool.endpoints.take_idle(index) {
            if self.conns.get(conn).is_some() {
                return self.send(id, conn);
            }
        }
        let Some(at) = pool.endpoints.id(index) else { return };
        if pool.open >= most {
            // A connection that nobody needs makes room; or else the next that is not needed any more.
            match pool.endpoints.spare() {
                Some(spare) => self.close(spare, Closing::Abort),
                None => return self.await_connection(id, &target),
            }
        }
        self.open_connection(id, &target, at);
    }

    fn await_connection(&mut self, id: LegId, target: &Target) {
        let Some(pool) = self.pools.get_mut(&target.id) else { return };
        if pool.waiting.len() >= self.config.limits.target_waiting {
            return self.deferred.push_back(Deferred::Fail(id, Trouble::Busy));
        }
        pool.waiting.push_back(id);
        self.limit_leg(id, self.now + target.timeouts.gather);
    }

    fn open_connection(&mut self, id: LegId, target: &Target, at: EndpointId) {
        let now = self.now;
        let Some((leg, pool)) = self.legs.get_mut(id).zip(self.pools.get_mut(&target.id)) else { return };
        pool.open += 1;
        pool.endpoints.opened(at);
        self.counters.target_connections.add(1);
        self.counters.target_connections_total.add(1);
        let upstream = Upstream {
            target: target.id.clone(),
            at,
            codec: ClientCodec::new(&self.config.limits),
            leg: Some(id),
            phase: Phase::Connecting(now),
            used: false,
            keep: self.config.timeouts.pool,
        };
        let conn = self.conns.insert(Conn::new(Role::Target(Box::new(upstream)), now));
        leg.conn = Some(conn);
        self.watch(conn);
        self.act(Action::Open { conn, address: at.address });
    }

    pub(crate) fn target_connected(&mut self, conn: ConnId) {
        let Some(upstream) = self.conns.get_mut(conn).and_then(Conn::upstream) else { return };
        upstream.phase = Phase::Idle(self.now);
        let mut meant = true;
        if let Some(pool) = self.pools.get_mut(&upstream.target) {
            pool.endpoints.reached(upstream.at);
            meant = pool.endpoints.lists(upstream.at) || !pool.endpoints.is_any_listed();
        }
        match upstream.leg.take() {
            // The snapshot has changed meanwhile: its address may be somebody else's by now.
            Some(leg) if !meant => self.send_elsewhere(leg, conn),
            Some(leg) => self.send(leg, conn),
            None => self.release(conn),
        }
    }

    /// Writes a request.
    fn send(&mut self, id: LegId, conn: ConnId) {
        let now = self.now;
        let opened = self.opened_for(id).map(|opened| (opened.id.clone(), Some(opened.revision)));
        let (session_id, revision) = opened.unwrap_or_default();
        let (Some(leg), Some(slot)) = (self.legs.get_mut(id), self.conns.get_mut(conn)) else {
            return self.release(conn);
        };
        let modern = leg.is_modern();
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
            write::own_field(out, "host", given.map_or(leg.target.authority.as_bytes(), |(_, host)| host));
            out.extend_from_slice(match leg.method {
                Method::Get => b"accept: text/event-stream\r\n",
                Method::Post => POST_FIELDS,
                _ => b"accept: application/json, text/event-stream\r\n",
            });
            if leg.method == Method::Post {
                write::length(out, body.len() as u64);
            }
            if !matches!(leg.purpose, Purpose::Open { .. }) {
                if let Some(id) = &session_id {
                    write::own_field(out, "mcp-session-id", id);
                }
                let revision = leg.version.or(revision).map(Revision::as_str);
                if let Some(revision) = if modern { Some(MODERN) } else { revision } {
                    write::own_field(out, "mcp-protocol-version", revision.as_bytes());
                }
            }
            if let Some(dress) = &leg.dress {
                out.extend_from_slice(&dress.fields);
            }
            if let Some(last) = &leg.last_event {
                write::own_field(out, "last-event-id", last);
            }
            write::own_field(out, "via", self.config.keys.via().as_bytes());
            for (name, value) in &leg.target.headers {
                write::field(out, name, value.as_bytes());
            }
            if let Some(fields) = &leg.fields {
                passed(fields, &leg.target).for_each(|(name, value)| write::field(out, name, value));
            }
            write::end(out);
        });
        if leg.method == Method::Post || leg.head.is_some() {
            slot.outbox.push(body);
        }
        upstream.codec.expect(leg.method);
        upstream.leg = Some(id);
        upstream.phase = Phase::Waiting(now);
        leg.conn = Some(conn);
        leg.at = Some(upstream.at);
        leg.deadline = None;
        leg.session_id = session_id;
        leg.sent_at = Some(now);
        leg.inbound = Inbound::Head;
        let armed = slot.armed;
        self.counters.target_requests.add(1);
        if armed {
            // The next does so only for what begins to wait.
            self.watch(conn);
        }
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
        let at = upstream.at;
        if !reusable || !pool.endpoints.lists(at) {
            return self.close(conn, Closing::Abort);
        }
        upstream.phase = Phase::Idle(now);
        let over = |leg: &mut LegId| self.legs.get(*leg).is_none_or(|leg| leg.conn.is_some());
        while pool.waiting.pop_front_if(over).is_some() {}
        let Some(next) = pool.waiting.front().copied() else {
            pool.endpoints.add_idle(at, conn);
            return self.watch(conn);
        };
        if !self.suits(next, at) {
            // It gives up its place for one to where that request must go.
            return self.close(conn, Closing::Abort);
        }
        if let Some(pool) = self.legs.get(next).and_then(|leg| self.pools.get_mut(&leg.target.id)) {
            pool.waiting.pop_front();
        }
        self.send(next, conn);
    }

    /// Takes a connection to a target out of the tables; what waits for a connection gets its place.
    pub(crate) fn forget_upstream(&mut self, conn: ConnId) {
        let Some(mut slot) = self.conns.remove(conn) else { return };
        let Some(upstream) = slot.upstream() else { return };
        self.counters.target_connections.sub(1);
        if let Some(pool) = self.pools.get_mut(&upstream.target) {
            pool.open = pool.open.saturating_sub(1);
            pool.endpoints.closed(upstream.at, conn);
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
        let untouched = upstream.codec.is_untouched();
        let (target, at, stale) = (upstream.target.clone(), upstream.at, upstream.used && untouched);
        self.forget_upstream(conn);
        let Some(id) = leg else { return };
        let Some(leg) = self.legs.get_mut(id) else { return };
        let mut rests = false;
        let pool = self.pools.get_mut(&target);
        if connecting {
            rests = pool.is_some_and(|it| it.endpoints.unreachable(at, now, &Trouble::Connect(fault)));
            leg.refused.push(at);
            // Another endpoint may be fine: a name often stands for an IPv6 and an IPv4 address of which one serves.
            self.dispatch_after(id, Some(fault));
        } else if stale && leg.repeatable && !leg.repeated {
            leg.repeated = true;
            self.counters.target_retries.add(1);
            self.dispatch_leg(id);
        } else {
            // A kept connection that went stale says nothing about who is there.
            if untouched && !stale {
                rests = pool.is_some_and(|it| it.endpoints.broke(at, now, &Trouble::Lost(fault)));
            }
            self.leg_failed(id, Trouble::Lost(fault));
        }
        self.counters.endpoint_rests.add(rests.into());
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
                    let (target, at) = (&upstream.target, upstream.at);
                    if let Some(pool) = self.pools.get_mut(target) {
                        pool.slow = false;
                        let rests = pool.endpoints.heard(at, head.status, self.now);
                        self.counters.endpoint_rests.add(rests.into());
                        if head.status < 500 && !pool.is_settled() {
                            self.saw_answer(leg);
                        }
                    }
                    self.leg_head(leg, &head);
                    let Some(slot) = self.conns.get_mut(conn) else { return };
                    let lasts = |leg: &Leg| matches!(leg.purpose, Purpose::Stream { .. });
                    let Role::Target(upstream) = &mut slot.role else { return };
                    if upstream.phase == Phase::Streaming && self.legs.get(leg).is_some_and(lasts) {
                        // There are many, and they wait for long.
                        slot.outbox.rest();
                    } else {
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
