//! The snapshot itself, and who answers a request.

use crate::matching::host_name;
use crate::{
    Answer, Backend, BackendName, DuplicateTarget, Facts, HostMatch, Match, Rule, Share, Target, TargetId,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Everything the gateway serves at one moment. Immutable; a change is a new snapshot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routes {
    ports: BTreeMap<SocketAddr, Arc<Port>>,
    /// For connections to addresses that are not the snapshot's own.
    elsewhere: Option<Arc<Port>>,
    /// All that rules lead to.
    backends: BTreeMap<BackendName, Arc<Backend>>,
}

impl Routes {
    /// A snapshot of one backend of `targets`, at whatever address is listened on; their order is the order of merged
    /// lists.
    ///
    /// # Errors
    /// When two targets have the same name.
    pub fn new(targets: Vec<Target>) -> Result<Self, DuplicateTarget> {
        let backend = Arc::new(Backend::mcp(BackendName::default(), targets)?);
        let rule = Arc::new(Rule::to("", backend));
        let entry = Entry { host: HostMatch::Any, on: Match::default(), rule };
        let port = Port::new(vec![Listener::new(HostMatch::Any, vec![entry])]);
        Ok(Self { elsewhere: Some(Arc::new(port)), ..Self::default() }.with_backends())
    }

    /// A snapshot that says for each address what is served there. Backends of the same name must be the same.
    #[must_use]
    pub fn at(ports: BTreeMap<SocketAddr, Port>) -> Self {
        let ports = ports.into_iter().map(|(address, port)| (address, Arc::new(port))).collect();
        Self { ports, ..Self::default() }.with_backends()
    }

    fn with_backends(mut self) -> Self {
        let mut backends = BTreeMap::new();
        for port in self.ports.values().chain(&self.elsewhere) {
            for rule in port.rules() {
                let Answer::Backends(shares) = &rule.answer else { continue };
                for backend in shares.iter().filter_map(|share| share.to.as_ref().ok()) {
                    backends.entry(backend.name().clone()).or_insert_with(|| Arc::clone(backend));
                }
            }
        }
        self.backends = backends;
        self
    }

    /// The addresses to listen on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.keys().copied()
    }

    /// What is served to connections that were accepted at `address`.
    #[must_use]
    pub fn port(&self, address: &SocketAddr) -> Option<&Arc<Port>> {
        self.ports.get(address).or(self.elsewhere.as_ref())
    }

    /// Whether a request that came in at `at` may be for `host`, a `Host` field, because the snapshot says so. At an
    /// address of its own every host may; where only this machine comes in, the address and the names that it says: a
    /// page that rebinds a name of its own to a loopback address finds nothing there.
    #[must_use]
    pub fn expects(&self, at: &SocketAddr, host: &str) -> bool {
        let Some(port) = self.ports.get(at) else { return false };
        let host = host_name(host);
        !at.ip().is_loopback() || host.parse() == Ok(at.ip()) || port.names(&host)
    }

    /// All backends, by name.
    #[must_use]
    pub fn backends(&self) -> &BTreeMap<BackendName, Arc<Backend>> {
        &self.backends
    }

    /// The backend called `name`.
    #[must_use]
    pub fn backend(&self, name: &BackendName) -> Option<&Arc<Backend>> {
        self.backends.get(name)
    }

    /// The target that `id` names.
    #[must_use]
    pub fn find(&self, id: &TargetId) -> Option<&Arc<Target>> {
        self.backends.get(&id.backend)?.target(id.name.as_str())
    }

    /// All targets of all backends.
    pub fn all_targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.backends.values().flat_map(|backend| backend.targets())
    }
}

/// What is served at one address: all listeners there, told apart by host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Port {
    /// The most specific host first.
    listeners: Vec<Listener>,
    /// The host makes a difference.
    by_host: bool,
}

impl Port {
    /// `listeners` in any order; they have different hosts.
    #[must_use]
    pub fn new(mut listeners: Vec<Listener>) -> Self {
        listeners.sort_by_key(|listener| listener.host.precedence());
        let hosts = |listener: &Listener| {
            listener.host != HostMatch::Any
                || listener.entries.iter().any(|entry| entry.host != HostMatch::Any)
        };
        Self { by_host: listeners.iter().any(hosts), listeners }
    }

    /// Whether it makes a difference for which host a request is.
    #[must_use]
    pub fn is_by_host(&self) -> bool {
        self.by_host
    }

    /// The rule for a request, and what of it matched; `None`: nothing is served there (404). The most specific
    /// listener that covers the host decides alone, whatever others would serve.
    pub fn rule<'a, H>(&self, facts: &Facts<'_, H>) -> Option<&Entry>
    where
        H: Fn(&str) -> Option<&'a str>,
    {
        let host = if self.by_host { host_name(facts.host) } else { Cow::Borrowed("") };
        let listener = self.listeners.iter().find(|listener| listener.host.covers(&host))?;
        listener.entries.iter().find(|entry| entry.host.covers(&host) && entry.on.covers(facts))
    }

    /// Whether a listener or a route names `host`.
    fn names(&self, host: &str) -> bool {
        let hosts = self.listeners.iter().flat_map(|listener| {
            std::iter::once(&listener.host).chain(listener.entries.iter().map(|entry| &entry.host))
        });
        hosts.filter(|named| **named != HostMatch::Any).any(|named| named.covers(host))
    }

    /// The rules of all listeners.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.listeners.iter().flat_map(|listener| &listener.entries).map(|entry| &entry.rule)
    }
}

/// One listener of a Gateway and what routes attach to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    host: HostMatch,
    /// In order of precedence.
    entries: Vec<Entry>,
}

impl Listener {
    /// `entries` in the order in which equal ones win (oldest route, then `namespace/name`, then the order of rules).
    #[must_use]
    pub fn new(host: HostMatch, mut entries: Vec<Entry>) -> Self {
        entries.sort_by_cached_key(|entry| (entry.host.precedence(), entry.on.precedence()));
        Self { host, entries }
    }
}

/// A match of a rule, for one of its route's hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The host, already cut to the listener's.
    pub host: HostMatch,
    /// What else must hold.
    pub on: Match,
    /// What becomes of the request.
    pub rule: Arc<Rule>,
}

impl Rule {
    /// The backend for a request, drawn by weight with any number as `roll`.
    ///
    /// # Errors
    /// Why there is none: 500.
    pub fn backend(&self, roll: u64) -> Result<&Arc<Backend>, &str> {
        match &self.answer {
            Answer::Backends(shares) => match crate::rule::draw(shares, roll) {
                Some(Share { to, .. }) => to.as_ref().map_err(AsRef::as_ref),
                None => Err("no backend of this rule has weight"),
            },
            Answer::Unsupported(reason) => Err(reason),
            Answer::Redirect(_) => Err("this rule has no backend"),
        }
    }

    /// The backend called `name`, if the rule leads there, with or without weight.
    #[must_use]
    pub fn leads_to(&self, name: &BackendName) -> Option<&Arc<Backend>> {
        let Answer::Backends(shares) = &self.answer else { return None };
        shares.iter().filter_map(|share| share.to.as_ref().ok()).find(|backend| backend.name() == name)
    }
}
