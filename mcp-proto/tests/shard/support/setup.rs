//! What a world is made of before it begins.

use super::{Key, READ, Server, Talks, World};
use mcp_proto::{AccessLog, Config, Counters, Keys, Limits, Shard, ShardId, Start, Timeouts};
use routing::{Process, Protocol, Routes, Target, TargetName};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A world to be.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) targets: Vec<Target>,
    /// What is served, if that is not all targets as one.
    pub(crate) routes: Option<Routes>,
    pub(crate) seed: u8,
}

impl Setup {
    pub(crate) fn new(targets: &[&str]) -> Self {
        let config = Config {
            shards: 1,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            access_log: AccessLog::All,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            keys: Keys::new([7; 32], &[]),
        };
        let targets = targets.iter().enumerate().map(|(number, name)| target(name, number)).collect();
        Self { config, targets, routes: None, seed: 1 }
    }

    /// A gateway that serves this, to whatever host. A server is called as its target among all: `backend/target`.
    pub(crate) fn serving(routes: Routes) -> Self {
        let mut setup = Self::new(&[]).config(|config| config.allowed_hosts.push("*".to_owned()));
        setup.targets = routes.all_targets().map(|target| Target::clone(target)).collect();
        setup.routes = Some(routes);
        setup
    }

    pub(crate) fn shards(mut self, count: u16) -> Self {
        self.config.shards = count;
        self
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes all targets.
    pub(crate) fn targets(mut self, change: impl Fn(&mut Target)) -> Self {
        self.targets.iter_mut().for_each(change);
        self
    }

    /// Makes a target a child process.
    pub(crate) fn process(self, name: &str) -> Self {
        self.target(name, |target| {
            target.endpoints.clear();
            target.process = Some(Arc::new(process(false)));
        })
    }

    /// Makes a target a child process that all sessions share.
    pub(crate) fn shared(self, name: &str) -> Self {
        self.target(name, |target| {
            target.endpoints.clear();
            target.process = Some(Arc::new(process(true)));
        })
    }

    /// Makes a target one that answers on an event stream.
    pub(crate) fn sse(self, name: &str) -> Self {
        self.target(name, |target| {
            target.protocol = Protocol::Sse;
            target.path = "/sse".to_owned();
        })
    }

    fn target(mut self, name: &str, change: impl Fn(&mut Target)) -> Self {
        self.targets.iter_mut().filter(|target| target.name().as_str() == name).for_each(change);
        self
    }

    pub(crate) fn seed(mut self, seed: u8) -> Self {
        self.seed = seed;
        self
    }

    pub(crate) fn build(self) -> World {
        #[expect(
            clippy::disallowed_methods,
            reason = "an instant can't be made otherwise; none is read later"
        )]
        let now = Instant::now();
        let config = Arc::new(self.config);
        let routes = self.routes.unwrap_or_else(|| Routes::new(self.targets.clone()).unwrap());
        let routes = Arc::new(routes);
        let servers = self.targets.iter().enumerate().map(|(number, new)| {
            // Where a process has no address, this one is nobody's.
            let address = target(new.name().as_str(), number).endpoints[0].address;
            let address = new.endpoints.first().map_or(address, |endpoint| endpoint.address);
            let mut server = Server::new(&new.id.to_string(), address);
            server.talks = match (&new.process, new.protocol) {
                (Some(_), _) => Talks::Lines,
                (None, Protocol::Sse) => Talks::Stream,
                _ => Talks::Http,
            };
            server
        });
        let start = |number: u16| Start {
            id: ShardId(number),
            config: Arc::clone(&config),
            routes: Arc::clone(&routes),
            seed: [self.seed ^ (number as u8) << 6; 32],
            unix: Duration::from_secs(1_800_000_000),
            counters: Arc::new(Counters::default()),
        };
        let starts: Vec<_> = (0..config.shards).map(start).collect();
        World {
            now,
            began: now,
            shards: starts.iter().map(|start| Shard::new(start.clone(), now)).collect(),
            starts,
            servers: servers.collect(),
            clients: Vec::new(),
            records: Vec::new(),
            observations: Vec::new(),
            log: Vec::new(),
            chop: None,
            most_unsent: 0,
            // What one read makes of itself when it is rewritten, and the frame around it.
            bound: config.limits.buffer + 2 * READ,
            links: BTreeMap::<Key, _>::new(),
            mail: VecDeque::new(),
        }
    }
}

/// A target at an address of its own.
pub(crate) fn target(name: &str, number: usize) -> Target {
    let address = SocketAddr::from(([10, 0, 0, 1 + number as u8], 80));
    Target { protocol: Protocol::Legacy, ..Target::new(TargetName::parse(name).unwrap(), address, "/mcp") }
}

pub(crate) fn process(shared: bool) -> Process {
    let text = |text: &str| text.to_owned();
    Process { command: text("serve"), args: vec![text("--stdio")], env: Vec::new(), cwd: None, shared }
}
