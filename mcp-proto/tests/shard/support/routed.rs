//! Gateways with many backends, and clients that ask at places.

use super::client::{INITIALIZED, initialize, post, session_field};
use super::setup::target;
use super::{AT, Answer, Setup, World};
use routing::{
    Answer as Answered, Backend, Entry, HostMatch, Listener, Match, PathMatch, Port, Routes, Rule, Share,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// A backend of these targets. Their addresses are those of `number` and the numbers behind it.
pub(crate) fn backend(name: &str, targets: &[&str], number: usize) -> Arc<Backend> {
    let targets = (number..).zip(targets).map(|(number, name)| target(name, number)).collect();
    Arc::new(Backend::mcp(name.into(), targets).unwrap())
}

/// A rule with these shares of the requests.
pub(crate) fn shared(name: &str, shares: &[(u32, &Arc<Backend>)]) -> Rule {
    let share =
        |(weight, backend): &(u32, &Arc<Backend>)| Share { weight: *weight, to: Ok(Arc::clone(backend)) };
    let answer = Answered::Backends(shares.iter().map(share).collect());
    Rule { answer, ..to(name, shares[0].1) }
}

pub(crate) fn to(name: &str, backend: &Arc<Backend>) -> Rule {
    Rule::to(name, Arc::clone(backend))
}

/// A rule at a path of a host: what is below it, too.
pub(crate) fn at(host: &str, path: &str, rule: Rule) -> Entry {
    on(host, PathMatch::Prefix(path.to_owned()), rule)
}

pub(crate) fn on(host: &str, path: PathMatch, rule: Rule) -> Entry {
    Entry { host: HostMatch::parse(host), on: Match { path, ..Match::default() }, rule: Arc::new(rule) }
}

/// What is served at one address.
pub(crate) fn port(entries: Vec<Entry>) -> Port {
    Port::new(vec![Listener::new(HostMatch::Any, entries)])
}

/// The same, at the only one.
pub(crate) fn routes(entries: Vec<Entry>) -> Routes {
    Routes::at([(AT, port(entries))].into())
}

/// A gateway that serves this on so many shards.
pub(crate) fn world(entries: Vec<Entry>, shards: u16) -> World {
    Setup::serving(routes(entries)).shards(shards).build()
}

/// A request for `place`, which is a host and a path, in place of the usual one.
pub(crate) fn placed(place: &str, request: &[u8]) -> Vec<u8> {
    let (host, path) = place.split_at(place.find('/').unwrap());
    let text = std::str::from_utf8(request).unwrap();
    let (line, rest) = text.split_once("\r\n").unwrap();
    let line = line.replacen(" /mcp ", &format!(" {path} "), 1);
    format!("{line}\r\n{}", rest.replacen("host: localhost", &format!("host: {host}"), 1)).into()
}

impl World {
    /// A request for a place on a connection of its own, and the answer as far as it comes at once.
    pub(crate) fn ask_at(&mut self, shard: usize, place: &str, request: &[u8]) -> Answer {
        self.ask_to(AT, shard, place, request)
    }

    /// The same to another address.
    pub(crate) fn ask_to(&mut self, at: SocketAddr, shard: usize, place: &str, request: &[u8]) -> Answer {
        let client = self.connect_at(at, shard);
        self.send(client, &placed(place, request));
        self.clients[client].answer()
    }

    /// The same for a message in a session.
    pub(crate) fn ask_in(&mut self, shard: usize, place: &str, session: &str, body: &str) -> Answer {
        self.ask_at(shard, place, &post(&session_field(session), body))
    }

    /// A session that begins at a place, of a client that can be asked nothing.
    pub(crate) fn begin_at(&mut self, place: &str) -> String {
        let answer = self.ask_at(0, place, &post("", &initialize("2025-11-25", "{}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let session = answer.field("mcp-session-id").unwrap().to_owned();
        assert_eq!(self.ask_in(0, place, &session, INITIALIZED).status, 202);
        session
    }
}
