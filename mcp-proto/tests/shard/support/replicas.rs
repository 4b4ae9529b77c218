//! Several servers for one target: each at an address of its own, told apart by its occupant.

use super::rand::Dice;
use super::{Key, Last, Peer, Server, Setup, World, setup};
use routing::{Endpoint, Routes, Serves, Target};
use std::net::SocketAddr;

/// A world of one target, `alpha`, and the servers behind it.
pub(crate) fn replicas(setup: Setup, names: &[&str]) -> World {
    let target = setup.targets[0].clone();
    let mut world = setup.build();
    let talks = world.servers[0].talks;
    world.servers.clear();
    for name in names {
        world.add_replica(name);
        world.server(name).talks = talks;
    }
    let endpoints = names.iter().map(|name| world.endpoint(name)).collect();
    world.reroute(Routes::new(vec![Target { endpoints, ..target }]).unwrap());
    world
}

/// The same with nothing else to say.
pub(crate) fn plain(names: &[&str]) -> World {
    replicas(Setup::new(&["alpha"]), names)
}

impl World {
    /// A server that no endpoint leads to yet.
    pub(crate) fn add_replica(&mut self, name: &str) {
        let number = self.servers.len() as u8;
        self.servers.push(Server::new(name, SocketAddr::from(([10, 0, 1, number], 80))));
    }

    /// The endpoint that leads to a server.
    pub(crate) fn endpoint(&self, name: &str) -> Endpoint {
        let number = self.number(name);
        Endpoint { occupant: number as u64 + 1, ..self.servers[number].address.into() }
    }

    pub(crate) fn draining(&self, name: &str) -> Endpoint {
        Endpoint { serves: Serves::Draining, ..self.endpoint(name) }
    }

    pub(crate) fn near(&self, name: &str) -> Endpoint {
        Endpoint { near: true, ..self.endpoint(name) }
    }

    /// From now on the target has these endpoints.
    pub(crate) fn lead_to(&mut self, endpoints: Vec<Endpoint>) {
        self.lead(setup::target("alpha", 0), endpoints);
    }

    /// The same for a target that is something else.
    pub(crate) fn lead(&mut self, target: Target, endpoints: Vec<Endpoint>) {
        self.reroute(Routes::new(vec![Target { endpoints, ..target }]).unwrap());
    }

    /// A server goes away and another has its address.
    pub(crate) fn take_over(&mut self, gone: &str, heir: &str) {
        self.add_replica(heir);
        let (gone, heir) = (self.number(gone), self.number(heir));
        // What was on its way to that address arrives at the heir.
        for link in self.links.values_mut().filter(|link| link.peer == Peer::Server(gone)) {
            match link.opening {
                Some(_) => link.peer = Peer::Server(heir),
                None => link.last = Some(Last::Reset),
            }
        }
        self.servers[heir].address = self.servers[gone].address;
        self.servers[gone].address = SocketAddr::from(([10, 0, 2, gone as u8], 80));
        self.servers[heir].refuses = self.servers[gone].refuses;
    }

    /// Whether a server has no address of its own any more.
    pub(crate) fn is_inherited(&self, name: &str) -> bool {
        let SocketAddr::V4(address) = self.servers[self.number(name)].address else { return false };
        address.ip().octets()[2] == 2
    }

    /// A connection to some server breaks while nobody uses it.
    pub(crate) fn kill_one(&mut self, dice: &mut Dice) {
        let busy = |key: &Key, number: usize| self.servers[number].is_busy(*key);
        let idle = self.links.iter().filter(|(key, link)| match link.peer {
            Peer::Server(number) => link.opening.is_none() && !busy(key, number),
            Peer::Client(_) => false,
        });
        let idle: Vec<_> = idle.map(|(key, _)| *key).collect();
        if let Some(key) = idle.get(dice.below(idle.len().max(1))) {
            self.last_word(Some(*key), Last::Reset);
        }
    }

    /// How often each server was asked this.
    pub(crate) fn counts(&self, method: &str) -> Vec<usize> {
        self.servers.iter().map(|server| server.count(method)).collect()
    }

    /// The server that has a session's only legacy session.
    pub(crate) fn opened_at(&self) -> String {
        let mut opened = self.servers.iter().filter(|server| server.count("initialize") > 0);
        let name = opened.next().unwrap().name.clone();
        assert!(opened.next().is_none(), "opened at several");
        name
    }
}
