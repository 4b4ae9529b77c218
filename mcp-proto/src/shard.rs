//! The machine of one thread: its tables, its inputs, its outputs.
//!
//! Here an input is only sorted: bytes of a client go to [`intake`](crate::intake), bytes of a target to
//! [`answers`](crate::answers), and what both lead to is federation. Work that an event causes for something else (a
//! request that can go on, one that failed before it was sent) is queued in `deferred` and done before the input
//! returns, so that no function is entered while it runs.

use crate::catalogue::Catalogue;
use crate::channel::Channels;
use crate::conn::{Client, Conn, Incoming, Phase, Role, Wire};
use crate::edge::Note;
use crate::exchange::{Answer, Exchange, ExchangeId};
use crate::federation::{Parked, ParkedId};
use crate::forward::Forwards;
use crate::http::Request;
use crate::leg::{Events, Leg, LegId, Short, Trouble};
use crate::outbox::Outbox;
use crate::pool::Pool;
use crate::reroute::Changes;
use crate::room::Room;
use crate::session::{Ended, Session, SessionId, SessionKey};
use crate::table::Table;
use crate::timers::{Timed, Timers};
use crate::{Action, Config, ConnId, Counters, Fault, Parcel, Refused, ShardId, Start};
use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use routing::{Backend, Routes, TargetId};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything one thread serves: clients, targets, sessions, calls in flight, timers.
///
/// Tell it what happened (the inputs never fail), then [`poll`](Self::poll) until `None`, then sleep until
/// [`deadline`](Self::deadline) or the next event.
#[derive(Debug)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) config: Arc<Config>,
    pub(crate) routes: Arc<Routes>,
    /// Stands for a backend that is gone: it has no targets.
    pub(crate) gone: Backend,
    pub(crate) counters: Arc<Counters>,
    pub(crate) rng: ChaCha12Rng,
    /// Wall clock at `began`.
    unix: Duration,
    began: Instant,
    /// The time of the input at hand.
    pub(crate) now: Instant,

    pub(crate) conns: Table<ConnId, Conn>,
    pub(crate) legs: Table<LegId, Leg>,
    pub(crate) sessions: Table<SessionId, Session>,
    pub(crate) by_key: BTreeMap<SessionKey, SessionId>,
    pub(crate) ended: Ended,
    /// Sessions of modern clients at legacy targets, by what they stand for.
    pub(crate) hidden: BTreeMap<Bytes, Vec<SessionId>>,
    pub(crate) parked: Table<ParkedId, Parked>,
    pub(crate) pools: BTreeMap<TargetId, Pool>,
    pub(crate) channels: Channels,
    pub(crate) catalogue: Catalogue,
    pub(crate) clients: usize,
    pub(crate) forwards: Forwards,
    /// The last id given to a request of which the target must not see the client's.
    pub(crate) numbers: u64,

    pub(crate) timers: Timers,
    /// When something is told of targets that waits for its pause.
    pub(crate) observing: Option<Instant>,
    actions: VecDeque<Action>,
    /// What is for other shards: it goes out before any byte that could make a client act on it.
    posts: VecDeque<(ShardId, Parcel)>,
    pub(crate) deferred: VecDeque<Deferred>,
    draining: Option<Instant>,
    /// Where a rewritten body is put together; kept for its room.
    pub(crate) scratch: Vec<u8>,
    /// What the last request was kept in while it came: empty.
    pub(crate) incoming: Option<Box<Option<(Request, Incoming)>>>,
    /// What the last small answer was kept in that was rewritten whole: empty.
    pub(crate) short: Option<Box<Short>>,
    /// What the last event stream was read with that rests now.
    pub(crate) events: Option<Box<Events>>,
    /// Where messages are written that go to a target as others than they came.
    pub(crate) room: Room,
    /// Where a piece of a body is rewritten; empty between pieces.
    pub(crate) rewritten: Outbox,
    /// Room that a stream at rest gave up, for the next that something is said on.
    pub(crate) spare: Vec<u8>,
}

/// Work that waits for the event at hand to be finished.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// A request could not even be sent.
    Fail(LegId, Trouble),
    /// What a request's target speaks is known, or known anew: begin.
    Start(LegId),
    /// A message that wants no answer was sent on a channel.
    Settled(LegId),
    /// A request's answer is there, whole.
    Answered(LegId, Bytes),
    /// A request's target session is open: send it.
    Send(LegId),
    /// What a call's target asks is known: tell its client.
    Park(ParkedId),
    /// The last request of a connection was answered: look for the next.
    Next(ConnId),
    /// A virtual client has bytes for the shard of its peer.
    HandOver(ConnId),
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(start: Start, now: Instant) -> Self {
        let mut shard = Self {
            id: start.id,
            config: start.config,
            routes: start.routes,
            gone: Backend::default(),
            counters: start.counters,
            rng: ChaCha12Rng::from_seed(start.seed),
            unix: start.unix,
            began: now,
            now,
            conns: Table::default(),
            legs: Table::default(),
            sessions: Table::default(),
            by_key: BTreeMap::new(),
            ended: Ended::default(),
            hidden: BTreeMap::new(),
            parked: Table::default(),
            pools: BTreeMap::new(),
            channels: Channels::default(),
            catalogue: Catalogue::default(),
            clients: 0,
            forwards: Forwards::default(),
            numbers: 0,
            timers: Timers::default(),
            observing: None,
            actions: VecDeque::new(),
            posts: VecDeque::new(),
            deferred: VecDeque::new(),
            draining: None,
            scratch: Vec::new(),
            incoming: None,
            short: None,
            events: None,
            room: Room::default(),
            rewritten: Outbox::default(),
            spare: Vec::new(),
        };
        shard.counters.reset_gauges();
        shard.rebuild_pools(&Changes::between(&Routes::default(), &shard.routes));
        shard
    }

    /// A shard in the place of one that is lost. It tells the others, who may have had exchanges there.
    #[must_use]
    pub fn successor(start: Start, now: Instant) -> Self {
        let mut shard = Self::new(start, now);
        shard.broadcast(&Note::Lost { shard: shard.id });
        shard
    }

    /// A client's connection was accepted by the socket that listens at `at`. The frontend reads it from now on.
    ///
    /// # Errors
    /// At the limit of connections, or while draining: close it.
    pub fn accepted(&mut self, at: SocketAddr, peer: SocketAddr, now: Instant) -> Result<ConnId, Refused> {
        self.now = now;
        if self.clients >= self.config.limits.connections || self.draining.is_some() {
            self.counters.client_connections_refused.add(1);
            return Err(Refused);
        }
        self.clients += 1;
        self.counters.client_connections.add(1);
        self.counters.client_connections_total.add(1);
        let client = Client { at: Some(at), ..Client::new(Wire::Socket, peer, &self.config.limits, now) };
        let conn = self.conns.insert(Conn::new(Role::Client(Box::new(client)), now));
        self.watch(conn);
        Ok(conn)
    }

    /// A connection asked for with [`Action::Open`] is open. The frontend reads it from now on.
    pub fn connected(&mut self, conn: ConnId, now: Instant) {
        self.now = now;
        match self.conns.get(conn).map(|conn| &conn.role) {
            Some(Role::Child(_)) => self.child_started(conn),
            _ => self.target_connected(conn),
        }
        self.settle();
    }

    /// Bytes arrived.
    pub fn received(&mut self, conn: ConnId, bytes: BytesMut, now: Instant) {
        self.now = now;
        let slot = self.conns.get_mut(conn);
        match slot.map(|slot| (slot.closing, &mut slot.role)) {
            Some((closing, Role::Client(client))) => {
                self.counters.bytes_received.add(bytes.len() as u64);
                // Nobody will read it: the last answer has only to be taken.
                if closing {
                    return;
                }
                if let Some(lines) = client.stream.as_mut().and_then(|stream| stream.lines()) {
                    lines.feed(bytes.freeze());
                    self.read_lines(conn);
                    return self.settle();
                }
                if client.codec.is_idle() {
                    client.since = now;
                }
                client.codec.feed(bytes);
                self.read_client(conn);
            }
            Some((_, Role::Target(upstream))) => {
                if upstream.phase != Phase::Streaming {
                    upstream.phase = Phase::Answering(now);
                }
                upstream.codec.feed(bytes);
                self.read_target(conn);
            }
            Some((_, Role::Child(_))) => self.read_child(conn, bytes),
            None => {}
        }
        self.settle();
    }

    /// The peer will send no more (FIN). Writing may go on.
    pub fn ended(&mut self, conn: ConnId, now: Instant) {
        self.now = now;
        match self.conns.get_mut(conn).map(|conn| &mut conn.role) {
            Some(Role::Client(_)) => self.client_ended(conn),
            Some(Role::Target(_)) => self.target_ended(conn),
            Some(Role::Child(_)) => self.child_ended(conn),
            None => {}
        }
        self.settle();
    }

    /// The kernel took `count` bytes of what [`unsent`](Self::unsent) showed.
    pub fn sent(&mut self, conn: ConnId, count: usize, now: Instant) {
        self.now = now;
        let low = self.config.limits.buffer / 4;
        let Some(slot) = self.conns.get_mut(conn) else { return };
        let before = slot.outbox.waiting();
        slot.outbox.sent(count);
        slot.progress = now;
        let after = slot.outbox.waiting();
        let mut ticket = None;
        let mut shared = false;
        if let Role::Client(client) = &slot.role {
            self.counters.bytes_sent.add((before - after) as u64);
            ticket = client.forwarded();
            shared = client.stream.is_some();
        }
        if after == 0 {
            slot.armed = false;
            if let Role::Client(client) = &slot.role
                && client.exchange.as_ref().is_some_and(Exchange::is_stream)
            {
                // It waits for long, and there are many.
                slot.outbox.rest_in(&mut self.spare);
            }
            if slot.closing {
                return self.close(conn, Closing::Finish);
            }
        }
        if let Some(ticket) = ticket {
            self.pay(ticket, after);
        }
        if before > low && after <= low {
            self.resume_feeders(conn);
            if shared {
                self.stream_goes_on(conn);
            }
            self.settle();
        }
    }

    /// The connection is gone, or could not be opened. Its id is dead from now on.
    pub fn lost(&mut self, conn: ConnId, fault: Fault, now: Instant) {
        self.now = now;
        match self.conns.get(conn).map(|conn| &conn.role) {
            Some(Role::Client(_)) => self.forget_client(conn),
            Some(Role::Target(_)) => self.target_lost(conn, fault),
            Some(Role::Child(_)) => self.child_lost(conn, Some(fault)),
            None => {}
        }
        self.settle();
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        while let Some((at, what)) = self.timers.due(now) {
            match what {
                Timed::Conn(conn) => self.conn_due(conn, at),
                Timed::Leg(leg) => self.leg_due(leg, at),
                Timed::Channel(channel) => self.channel_due(channel, at),
                Timed::Session(session) => self.session_due(session),
                Timed::Parked(call) => self.parked_due(call),
                Timed::Observations => self.observations_due(),
                Timed::Drain => self.abort_everything(),
            }
            self.settle();
        }
        let Self { conns, legs, sessions, channels, parked, timers, observing, .. } = self;
        let live = conns.len() + legs.len() + sessions.len() + channels.table.len() + parked.len();
        timers.tidy(live, |at, what| match what {
            Timed::Conn(conn) => conns.get(conn).is_some_and(|conn| conn.timer == Some(at)),
            Timed::Leg(leg) => legs.get(leg).is_some_and(|leg| leg.timer == Some(at)),
            Timed::Channel(id) => channels.table.get(id).is_some_and(|channel| channel.timer == Some(at)),
            Timed::Session(session) => sessions.get(session).is_some(),
            Timed::Parked(call) => parked.get(call).is_some(),
            Timed::Observations => observing.is_some(),
            Timed::Drain => true,
        });
    }

    /// Mail from another shard, to be delivered in the order in which it was posted, and before any bytes that came in
    /// later: a client that was answered by one shard may go on with another, which must know what the first one knew.
    pub fn deliver(&mut self, parcel: Parcel, now: Instant) {
        self.now = now;
        self.note(*parcel.0);
        self.settle();
    }

    /// The worker of another shard has ended: what was posted to it can't be delivered.
    pub fn unreachable(&mut self, shard: ShardId, now: Instant) {
        self.now = now;
        self.shard_gone(shard);
        self.settle();
    }

    /// Take no new work; what is under way may finish within `grace`.
    pub fn drain(&mut self, grace: Duration, now: Instant) {
        self.now = now;
        self.draining = Some(now);
        self.timers.set(Timed::Drain, now + grace);
        for conn in self.conns.keys() {
            self.drain_conn(conn);
        }
        self.settle();
    }

    /// Nobody listens at `at` any more. The connections accepted there end with what is under way on them.
    pub fn unlistened(&mut self, at: SocketAddr, now: Instant) {
        self.now = now;
        for conn in self.conns.keys() {
            let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { continue };
            if client.at == Some(at) {
                client.leaving = true;
                self.drain_conn(conn);
            }
        }
        self.settle();
    }

    /// The next thing to do. Poll to `None` after every input.
    pub fn poll(&mut self) -> Option<Action> {
        match self.posts.pop_front() {
            Some((shard, parcel)) => Some(Action::Post { shard, parcel }),
            None => self.actions.pop_front(),
        }
    }

    /// Fills `into` with bytes waiting for `conn`, in order, and returns how many slices it filled. Nothing is removed
    /// until [`sent`](Self::sent).
    pub fn unsent<'a>(&'a self, conn: ConnId, into: &mut [IoSlice<'a>]) -> usize {
        self.conns.get(conn).map_or(0, |conn| conn.outbox.slices(into))
    }

    /// When to [`tick`](Self::tick) at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        self.timers.next()
    }

    /// Whether [`drain`](Self::drain) has come to its end: no client is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining.is_some() && self.clients == 0 && !self.forwards.has_guests()
    }

    /// Its numbers.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    // --- what the other modules build on ---

    /// Wall-clock time since the Unix epoch.
    pub(crate) fn unix(&self) -> Duration {
        self.unix + self.now.saturating_duration_since(self.began)
    }

    /// Whether a client's connection takes no new work.
    pub(crate) fn is_leaving(&self, conn: ConnId) -> bool {
        let leaves = |conn: &Conn| matches!(&conn.role, Role::Client(client) if client.leaving);
        self.draining.is_some() || self.conns.get(conn).is_some_and(leaves)
    }

    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn post(&mut self, shard: ShardId, note: Note) {
        self.counters.parcels.add(1);
        self.posts.push_back((shard, Parcel(Box::new(note))));
    }

    /// Tells all other shards.
    pub(crate) fn broadcast(&mut self, note: &Note) {
        let own = self.id;
        for shard in (0..self.config.shards).map(ShardId).filter(|shard| *shard != own) {
            self.post(shard, note.clone());
        }
    }

    /// Bytes were put into a connection's outbox.
    pub(crate) fn flush(&mut self, conn: ConnId) {
        let now = self.now;
        let high = self.config.limits.buffer;
        let Some(slot) = self.conns.get_mut(conn) else { return };
        if slot.outbox.is_empty() {
            return;
        }
        let full = slot.outbox.waiting() > high && matches!(slot.role, Role::Client(_));
        if !slot.armed {
            slot.armed = true;
            slot.progress = now;
            if slot.has_socket() {
                self.actions.push_back(Action::Flush { conn });
                self.watch(conn);
            } else {
                self.deferred.push_back(Deferred::HandOver(conn));
            }
        }
        if full {
            self.pause_feeders(conn);
        }
    }

    pub(crate) fn set_paused(&mut self, conn: ConnId, paused: bool) {
        let now = self.now;
        let Some(slot) = self.conns.get_mut(conn) else { return };
        if slot.paused == paused || !slot.has_socket() {
            return;
        }
        slot.paused = paused;
        if let Role::Target(upstream) = &mut slot.role
            && let Phase::Answering(_) = upstream.phase
        {
            upstream.phase = Phase::Answering(now);
        }
        self.act(if paused { Action::Pause { conn } } else { Action::Resume { conn } });
        if !paused {
            // Its time may have come, and been of no account, while it was paused.
            self.watch(conn);
        }
    }

    /// Closes once everything is sent.
    pub(crate) fn close_after_flush(&mut self, conn: ConnId) {
        let Some(slot) = self.conns.get_mut(conn) else { return };
        slot.closing = true;
        match slot.outbox.is_empty() {
            true => self.close(conn, Closing::Finish),
            false => self.watch(conn),
        }
    }

    /// Takes a connection out of the tables and tells the frontend.
    pub(crate) fn close(&mut self, conn: ConnId, how: Closing) {
        let Some(slot) = self.conns.get(conn) else { return };
        // The frontend is told first: what takes the connection's place in the table may be opened at once.
        let forget = match &slot.role {
            Role::Client(_) => Self::forget_client,
            Role::Target(_) => Self::forget_upstream,
            Role::Child(_) => Self::child_closed,
        };
        if slot.has_socket() {
            self.act(match how {
                Closing::Finish => Action::Finish { conn },
                Closing::Abort => Action::Abort { conn },
            });
        }
        forget(self, conn);
    }

    /// Does what is deferred until nothing is.
    pub(crate) fn settle(&mut self) {
        while let Some(deferred) = self.deferred.pop_front() {
            match deferred {
                Deferred::Fail(leg, trouble) => self.leg_failed(leg, trouble),
                Deferred::Start(leg) => self.start_in_session(leg),
                Deferred::Send(leg) => self.dispatch_leg(leg),
                Deferred::Settled(leg) => self.leg_settled(leg),
                Deferred::Answered(leg, message) => self.leg_answered(leg, &message),
                Deferred::Park(call) => self.park(call),
                Deferred::Next(conn) => self.read_client(conn),
                Deferred::HandOver(conn) => self.hand_over(conn),
            }
        }
    }

    fn drain_conn(&mut self, conn: ConnId) {
        let Some(client) = self.conns.get_mut(conn).and_then(Conn::client) else { return };
        match &mut client.exchange {
            None if client.incoming.is_none() && client.codec.is_idle() => self.close_after_flush(conn),
            None => {}
            Some(exchange) => {
                let id = ExchangeId { conn, serial: exchange.serial };
                if exchange.subscription.is_some() {
                    self.end_subscription(id);
                } else if exchange.is_stream() && exchange.answer != Answer::Open {
                    match client.stream {
                        Some(_) => self.end_one_stream(conn),
                        None => self.end_listener(id),
                    }
                }
            }
        }
    }

    fn abort_everything(&mut self) {
        for conn in self.conns.keys() {
            self.close(conn, Closing::Abort);
        }
        // What sessions that ended meanwhile wanted to tell their targets.
        for leg in self.legs.keys() {
            self.drop_leg(leg);
        }
    }
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closing {
    Finish,
    Abort,
}
