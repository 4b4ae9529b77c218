//! The world around shards, in memory and in virtual time: clients, scripted targets, and the bytes between them.
//!
//! A test builds a [`World`], lets clients send text and reads what came back. Every input of a shard is followed by
//! the checks in [`World::check`]; bytes travel at once and whole, unless the test (or [`World::chop`]) says otherwise.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod eras;
pub(crate) mod listening;
mod mail;
pub(crate) mod modern;
pub(crate) mod parking;
pub(crate) mod replicas;
pub(crate) mod routed;
pub(crate) mod server;
pub(crate) mod setup;

pub(crate) use answer::{Answer, read_answers};
pub(crate) use client::{Client, End};
pub(crate) use server::{Server, Step, Talks};
pub(crate) use setup::Setup;

use bytes::BytesMut;
use mcp_proto::{Action, ConnId, Counters, Fault, MetricKind, Observation, Parcel, Record, Shard, Start};
use rand::Dice;
use routing::Routes;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) mod rand;

/// Where clients connect, unless a test says otherwise.
pub(crate) const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// A connection of one of the shards.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) shard: usize,
    pub(crate) conn: ConnId,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Peer {
    Client(usize),
    /// A target's server, from when it accepted.
    Server(usize),
}

/// A connection under way.
#[derive(Debug)]
struct Link {
    peer: Peer,
    /// From the peer, not yet read by the shard.
    inbound: BytesMut,
    /// The peer's last word, once `inbound` is read.
    last: Option<Last>,
    paused: bool,
    flush: bool,
    /// The shard asked for it, and does not know yet that it is there.
    opening: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Last {
    Fin,
    Reset,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) shards: Vec<Shard>,
    starts: Vec<Start>,
    began: Instant,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Client>,
    pub(crate) records: Vec<Record>,
    /// What the shards said of targets, and when.
    pub(crate) observations: Vec<(Instant, Observation)>,
    /// Everything the shards did, as text.
    pub(crate) log: Vec<String>,
    /// Cuts what is read and written into pieces.
    pub(crate) chop: Option<Dice>,
    /// The most bytes that ever waited for one client.
    pub(crate) most_unsent: usize,
    /// The bound on what a shard may hold for a client: its limit and one read.
    pub(crate) bound: usize,
    links: BTreeMap<Key, Link>,
    mail: VecDeque<(usize, Parcel)>,
}

/// A read of a frontend is at most this long.
pub(crate) const READ: usize = 64 << 10;

impl World {
    /// A gateway of one shard before targets of these names, each as [`Server::new`] makes it.
    pub(crate) fn new(targets: &[&str]) -> Self {
        Setup::new(targets).build()
    }

    // --- clients ---

    /// A client connects to a shard.
    pub(crate) fn connect(&mut self, shard: usize) -> usize {
        self.connect_at(AT, shard)
    }

    /// The same, to a socket that listens at `at`.
    pub(crate) fn connect_at(&mut self, at: SocketAddr, shard: usize) -> usize {
        let number = self.clients.len();
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000 + number as u16));
        let accepted = self.shards[shard].accepted(at, peer, self.now);
        let key = accepted.ok().map(|conn| Key { shard, conn });
        self.clients.push(Client::new(key));
        if let Some(key) = key {
            self.links.insert(key, Link::new(Peer::Client(number), None));
        }
        self.run();
        number
    }

    /// A client is attached to a shard that speaks lines.
    pub(crate) fn attach(&mut self, shard: usize) -> usize {
        let number = self.clients.len();
        let key = Key { shard, conn: self.shards[shard].attached(self.now) };
        self.clients.push(Client::new(Some(key)));
        self.links.insert(key, Link::new(Peer::Client(number), None));
        self.run();
        number
    }

    /// A shard panics: its connections are closed, what it was told to do is forgotten, and another takes its place.
    pub(crate) fn replace(&mut self, shard: usize) {
        let keys: Vec<_> = self.links.keys().filter(|key| key.shard == shard).copied().collect();
        for key in keys {
            self.closed(key, End::Aborted);
        }
        let mut start = self.starts[shard].clone();
        // Never one that was there before.
        start.seed[1] = start.seed[1].wrapping_add(1);
        start.unix += self.now - self.began;
        self.starts[shard] = start.clone();
        self.shards[shard] = Shard::successor(start, self.now);
        self.run();
    }

    /// A client sends text; everything that follows at once is done.
    pub(crate) fn send(&mut self, client: usize, text: &[u8]) {
        self.queue(client, text);
        self.run();
    }

    /// A client's text is on its way; nothing is read yet.
    pub(crate) fn queue(&mut self, client: usize, text: &[u8]) {
        self.clients[client].note_requests(text);
        if let Some(link) = self.clients[client].key.and_then(|key| self.links.get_mut(&key)) {
            link.inbound.extend_from_slice(text);
        }
    }

    /// A client closes its sending side.
    pub(crate) fn half_close(&mut self, client: usize) {
        self.last_word(self.clients[client].key, Last::Fin);
    }

    /// A client vanishes.
    pub(crate) fn hang_up(&mut self, client: usize) {
        let key = self.clients[client].key;
        self.clients[client].end = Some(End::HungUp);
        self.last_word(key, Last::Reset);
    }

    /// Lets a client take `count` more bytes, and no more.
    pub(crate) fn take(&mut self, client: usize, count: usize) {
        let window = &mut self.clients[client].window;
        *window = if count == usize::MAX { count } else { window.saturating_add(count) };
        self.run();
    }

    // --- targets ---

    /// The number of the server of this name.
    pub(crate) fn number(&self, name: &str) -> usize {
        self.servers.iter().position(|server| server.name == name).unwrap()
    }

    pub(crate) fn server(&mut self, name: &str) -> &mut Server {
        let number = self.number(name);
        &mut self.servers[number]
    }

    /// A server that no route leads to yet.
    pub(crate) fn add_server(&mut self, name: &str, number: usize) {
        let target = setup::target(name, number);
        self.servers.push(Server::new(name, target.endpoints[0].address));
    }

    /// A target says something on a connection of its own accord, on one it has not ended.
    pub(crate) fn say(&mut self, key: Key, steps: Vec<Step>) {
        let number = self.server_of(key).unwrap();
        self.servers[number].say(key, steps);
        self.run();
    }

    /// A target's message on the stream of the GET that came last from the shard.
    pub(crate) fn say_on_stream(&mut self, name: &str, message: &str) {
        let key = self.server(name).stream().unwrap();
        self.say(key, vec![Step::Send(server::event(message).into())]);
    }

    /// Breaks all connections of a target; later ones are as its `refuses` has it.
    pub(crate) fn kill(&mut self, name: &str) {
        for key in self.connections(name) {
            self.last_word(Some(key), Last::Reset);
        }
    }

    /// A child writes to its standard output, whatever it was asked.
    pub(crate) fn print(&mut self, name: &str, text: &str) {
        let key = *self.connections(name).last().unwrap();
        self.say(key, vec![Step::Send(text.into())]);
    }

    fn server_of(&self, key: Key) -> Option<usize> {
        match self.links.get(&key)?.peer {
            Peer::Server(number) => Some(number),
            Peer::Client(_) => None,
        }
    }

    /// The connections to this target that are open.
    pub(crate) fn connections(&self, name: &str) -> Vec<Key> {
        let number = self.number(name);
        let links = self.links.iter().filter(|(_, link)| link.peer == Peer::Server(number));
        links.map(|(key, _)| *key).collect()
    }

    pub(crate) fn is_paused(&self, key: Key) -> bool {
        self.links.get(&key).is_some_and(|link| link.paused)
    }

    // --- the gateway as a whole ---

    pub(crate) fn reroute(&mut self, routes: Routes) {
        let routes = Arc::new(routes);
        for shard in &mut self.shards {
            shard.reroute(Arc::clone(&routes), self.now);
        }
        self.run();
    }

    pub(crate) fn drain(&mut self, grace: Duration) {
        for shard in &mut self.shards {
            shard.drain(grace, self.now);
        }
        self.run();
    }

    /// Nobody listens at `at` any more.
    pub(crate) fn unlisten(&mut self, at: SocketAddr) {
        for shard in &mut self.shards {
            shard.unlistened(at, self.now);
        }
        self.run();
    }

    /// What is in any table of any shard, open or waited for.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let counters = shard.counters();
            let gauges = counters.each().filter(|metric| metric.kind == MetricKind::Gauge);
            let gauges = gauges.map(|metric| (metric.name, metric.value as usize));
            let held = shard.census().into_iter().chain(gauges).filter(|(_, count)| *count > 0);
            left.extend(held.map(|(what, count)| format!("{count} {what} on shard {number}")));
            left.extend(
                shard.deadline().map(|(_, what)| format!("a deadline of a {what} on shard {number}")),
            );
        }
        left.extend(self.links.values().map(|link| format!("a connection of {:?}", link.peer)));
        left
    }

    /// All clients have gone and all that was to end has.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.left(), [""; 0]);
    }

    /// Nothing is left of what sessions had opened at targets.
    pub(crate) fn assert_clean(&self) {
        for shard in 0..self.shards.len() {
            let counters = self.counters(shard);
            assert_eq!((counters.sessions.value(), counters.calls.value()), (0, 0), "shard {shard}");
            assert_eq!(
                (counters.processes.value(), counters.target_streams.value()),
                (0, 0),
                "shard {shard}"
            );
        }
        for server in self.servers.iter().filter(|server| server.talks != Talks::Http) {
            let streams = usize::from(server.stream().is_some());
            let left = if server.talks == Talks::Lines { server.running() } else { streams };
            assert_eq!(left, 0, "of {}", server.name);
        }
    }

    pub(crate) fn counters(&self, shard: usize) -> Arc<Counters> {
        self.shards[shard].counters()
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.run();
            let deadlines = self.shards.iter().filter_map(|shard| shard.deadline().map(|(at, _)| at));
            let steps = self.servers.iter().filter_map(Server::next_step);
            let Some(next) = deadlines.chain(steps).min().filter(|next| *next <= until) else { break };
            self.now = next.max(self.now);
            for shard in &mut self.shards {
                if shard.deadline().is_some_and(|(at, _)| at <= self.now) {
                    shard.tick(self.now);
                    let left = shard.deadline();
                    assert!(left.is_none_or(|(at, _)| at > self.now), "a deadline is left behind: {left:?}");
                }
            }
        }
        self.now = until;
        self.run();
    }

    /// Does everything that can be done without time passing.
    pub(crate) fn run(&mut self) {
        for turn in 0.. {
            assert!(turn < 1_000_000, "the world does not come to rest");
            let mut moved = self.obey();
            moved |= self.write();
            moved |= self.serve();
            moved |= self.read() || self.deliver();
            if !moved {
                break;
            }
            self.obey();
            self.check();
        }
    }

    /// One thing only, as chance has it; whether there was any. For tests of interleavings.
    pub(crate) fn step(&mut self, dice: &mut Dice) -> bool {
        self.obey();
        let moved = match dice.below(4) {
            0 => self.write(),
            1 => self.serve(),
            2 => self.read_one(dice),
            _ => self.deliver(),
        };
        self.obey();
        self.check();
        moved
    }

    /// Carries out what the shards ask for.
    fn obey(&mut self) -> bool {
        let mut moved = false;
        for shard in 0..self.shards.len() {
            while let Some(action) = self.shards[shard].poll() {
                moved = true;
                self.log.push(format!("{shard} {action:?}"));
                self.act(shard, action);
            }
        }
        moved
    }

    fn act(&mut self, shard: usize, action: Action) {
        let key = |conn| Key { shard, conn };
        match action {
            Action::Open { conn, address } => self.open(key(conn), address),
            Action::Spawn { conn, target, .. } => {
                let address = self.server(target.as_str()).address;
                self.open(key(conn), address);
            }
            Action::Flush { conn } => self.link(key(conn)).flush = true,
            Action::Pause { conn } => {
                let link = self.link(key(conn));
                assert!(!std::mem::replace(&mut link.paused, true), "paused twice");
            }
            Action::Resume { conn } => {
                let link = self.link(key(conn));
                assert!(std::mem::replace(&mut link.paused, false), "resumed while it was read");
            }
            Action::Finish { conn } => self.closed(key(conn), End::Finished),
            Action::Abort { conn } => self.closed(key(conn), End::Aborted),
            Action::Post { shard, parcel } => self.mail.push_back((usize::from(shard.0), parcel)),
            Action::Log(record) => self.records.push(*record),
            Action::Observed(observation) => self.observations.push((self.now, *observation)),
        }
    }

    fn link(&mut self, key: Key) -> &mut Link {
        self.links.get_mut(&key).unwrap_or_else(|| panic!("an action on {key:?}, which is gone"))
    }

    fn open(&mut self, key: Key, address: SocketAddr) {
        let number = self.servers.iter().position(|server| server.address == address).unwrap();
        // Frontends keep connections by their index: the one before must be gone when the next comes.
        let same = |other: &Key| (other.shard, other.conn.index()) == (key.shard, key.conn.index());
        assert!(!self.links.keys().any(same), "the place of {key:?} is taken");
        self.links.insert(key, Link::new(Peer::Server(number), Some(address)));
    }

    fn closed(&mut self, key: Key, how: End) {
        let link = self.links.remove(&key).unwrap_or_else(|| panic!("{key:?} is closed twice"));
        match link.peer {
            Peer::Client(number) => {
                self.clients[number].end.get_or_insert(how);
                self.clients[number].key = None;
            }
            Peer::Server(number) => self.servers[number].gone(key),
        }
    }

    /// Connections come to be, or don't, as their server wants.
    fn serve(&mut self) -> bool {
        let mut moved = false;
        let opening = self.links.iter().filter(|(_, link)| link.opening.is_some());
        for key in opening.map(|(key, _)| *key).collect::<Vec<_>>() {
            let Some(number) = self.server_of(key) else { continue };
            let Some(accepts) = self.servers[number].accepts() else { continue };
            moved = true;
            self.link(key).opening = None;
            match accepts {
                Ok(()) => {
                    self.servers[number].accept(key);
                    self.shards[key.shard].connected(key.conn, self.now);
                }
                Err(fault) => {
                    self.links.remove(&key);
                    self.shards[key.shard].lost(key.conn, fault, self.now);
                }
            }
            self.obey();
        }
        for number in 0..self.servers.len() {
            while let Some((key, step)) = self.servers[number].step(self.now) {
                moved = true;
                let Some(link) = self.links.get_mut(&key) else { continue };
                match step {
                    Step::Send(bytes) => link.inbound.extend_from_slice(&bytes),
                    Step::Fin => link.last = Some(Last::Fin),
                    Step::Reset => link.last = Some(Last::Reset),
                    Step::Wait(_) | Step::Done => {}
                }
            }
        }
        moved
    }

    /// Shards write.
    fn write(&mut self) -> bool {
        let mut moved = false;
        for key in self.links.keys().copied().collect::<Vec<_>>() {
            while self.write_to(key) {
                moved = true;
            }
        }
        moved
    }

    fn write_to(&mut self, key: Key) -> bool {
        let Some(link) = self.links.get_mut(&key).filter(|link| link.flush && link.opening.is_none()) else {
            return false;
        };
        let mut slices = [(); 4].map(|()| IoSlice::new(&[]));
        let filled = self.shards[key.shard].unsent(key.conn, &mut slices);
        let waiting = slices[..filled].iter().map(|slice| slice.len()).sum::<usize>();
        if waiting == 0 {
            link.flush = false;
            return false;
        }
        let room = match link.peer {
            Peer::Client(number) => self.clients[number].window,
            Peer::Server(number) => self.servers[number].window,
        };
        let most = self.chop.as_mut().map_or(usize::MAX, |dice| 1 + dice.below(200));
        let count = waiting.min(room).min(most);
        let bytes: Vec<u8> =
            slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(count).collect();
        let peer = link.peer;
        if count == 0 {
            return false;
        }
        match peer {
            Peer::Client(number) => self.clients[number].receive(&bytes),
            Peer::Server(number) => self.servers[number].receive(key, &bytes, self.now),
        }
        self.shards[key.shard].sent(key.conn, count, self.now);
        self.obey();
        true
    }

    /// Shards read.
    fn read(&mut self) -> bool {
        let mut moved = false;
        for key in self.links.keys().copied().collect::<Vec<_>>() {
            moved |= self.read_from(key);
        }
        moved
    }

    fn read_one(&mut self, dice: &mut Dice) -> bool {
        let keys: Vec<_> = self.links.keys().copied().collect();
        !keys.is_empty() && self.read_from(keys[dice.below(keys.len())])
    }

    /// One read: bytes, or the end behind them.
    fn read_from(&mut self, key: Key) -> bool {
        if !self.links.get(&key).is_some_and(|link| !link.inbound.is_empty() || link.last.is_some()) {
            return false;
        }
        let mailed = self.deliver_to(key.shard);
        let Some(link) = self.links.get_mut(&key) else { return mailed };
        // A connection that was reset says so even to who does not read.
        let reset = link.last == Some(Last::Reset) && (link.paused || link.inbound.is_empty());
        if !reset && (link.paused || link.opening.is_some()) {
            return mailed;
        }
        let shard = &mut self.shards[key.shard];
        if reset {
            self.lose(key, Fault::Reset);
        } else if !link.inbound.is_empty() {
            let most = self.chop.as_mut().map_or(READ, |dice| 1 + dice.below(200));
            let bytes = link.inbound.split_to(link.inbound.len().min(most));
            shard.received(key.conn, bytes, self.now);
        } else if link.last.take().is_some() {
            shard.ended(key.conn, self.now);
        } else {
            return mailed;
        }
        self.obey();
        true
    }

    fn lose(&mut self, key: Key, fault: Fault) {
        if let Some(link) = self.links.remove(&key) {
            match link.peer {
                Peer::Client(number) => self.clients[number].key = None,
                Peer::Server(number) => self.servers[number].gone(key),
            }
        }
        self.shards[key.shard].lost(key.conn, fault, self.now);
    }

    fn last_word(&mut self, key: Option<Key>, last: Last) {
        if let Some(link) = key.and_then(|key| self.links.get_mut(&key)) {
            link.last = Some(last);
        }
        self.run();
    }

    /// What must hold at any time.
    fn check(&mut self) {
        for (key, link) in &self.links {
            let Peer::Client(_) = link.peer else { continue };
            let mut slices = [(); 64].map(|()| IoSlice::new(&[]));
            let filled = self.shards[key.shard].unsent(key.conn, &mut slices);
            let waiting = slices[..filled].iter().map(|slice| slice.len()).sum::<usize>();
            self.most_unsent = self.most_unsent.max(waiting);
            assert!(waiting <= self.bound, "{waiting} bytes wait for a client");
            assert!(waiting == 0 || link.flush, "{waiting} bytes wait and nobody was told");
        }
        // Whoever is paused has a client that does not take what it is sent.
        let paused = |link: &&Link| link.paused && matches!(link.peer, Peer::Server(_));
        if self.links.values().filter(paused).count() > 0 {
            let stuck = self.links.values().any(|link| matches!(link.peer, Peer::Client(_)) && link.flush);
            // What the client took may be on its way to the shard that has the target.
            assert!(
                stuck || !self.mail.is_empty(),
                "a target is paused and all clients have taken everything"
            );
        }
    }
}

impl Link {
    fn new(peer: Peer, opening: Option<SocketAddr>) -> Self {
        Self { peer, inbound: BytesMut::new(), last: None, paused: false, flush: false, opening }
    }
}
