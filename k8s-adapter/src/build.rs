//! From objects to what is served and what is reported, as one pure function.
//!
//! ```text
//! GatewayClass, Gateway ─► gateways, listeners ─────┐
//! HTTPRoute ─► rules (matches, filters, references) ├─► routes ─► Entry {host, match, Rule} ─► Routes
//! Backend, Service ─► backends, targets ────────────┘                WantedStatus, notes, hosts
//! EndpointSlice ─► endpoints ─┘
//! ```
//!
//! The same objects give the same [`Built`], in whatever order they came, and an object that is broken costs only what
//! it would have given itself.

mod backends;
mod endpoints;
mod filters;
mod gateways;
mod grants;
mod listeners;
mod matches;
mod references;
mod routes;
mod rules;
mod selectors;
mod services;
mod status;
mod targets;

use crate::objects::{Key, Objects};
use endpoints::Slices;
use grants::Grants;
use routing::{Backend, Port, Routes, TargetId};
use selectors::ByLabel;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What is wanted.
    pub objects: &'a Objects,
    /// What this gateway was told when it was started.
    pub options: &'a Options,
    /// Addresses of hosts that an earlier [`Built::hosts`] named.
    pub hosts: &'a Hosts,
    /// What the data plane saw of targets; only for the status of `Backend`s.
    pub observed: &'a Observed,
    /// Addresses of an earlier [`Built::routes`] that can't be listened on, and why; only for the status of `Gateway`s.
    pub unbound: &'a BTreeMap<SocketAddr, String>,
    /// The snapshot that is replaced: what has not changed is shared with it. The result is equal with and without.
    pub before: Option<&'a Routes>,
}

/// Addresses of hosts, by name and port.
pub type Hosts = BTreeMap<(String, u16), Vec<SocketAddr>>;

/// What the data plane saw of targets.
pub type Observed = BTreeMap<TargetId, Seen>;

/// What the data plane saw of a target.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Its era: `legacy` or `modern`.
    pub era: Option<String>,
    /// What went wrong last, if it has not gone well since.
    pub error: Option<String>,
}

/// The name under which `GatewayClass`es are claimed when no other is chosen.
pub const CONTROLLER_NAME: &str = "mcp-gateway.dev/controller";

/// What this gateway was told when it was started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// `GatewayClass`es with this `controllerName` are ours.
    pub controller_name: String,
    /// The only Gateways that are served; empty: all of our classes.
    pub gateways: Vec<Key>,
    /// The only namespaces whose objects are read; empty: all.
    pub namespaces: Vec<String>,
    /// The address at which Gateways listen that don't ask for one.
    pub bind: IpAddr,
    /// What Gateways report as their addresses.
    pub publish: Publish,
    /// The zone this gateway runs in.
    pub zone: Option<String>,
    /// How names of Services end.
    pub cluster_domain: String,
    /// A label that a namespace must carry for Backends of other namespaces to select Services in it.
    pub namespace_opt_in: Option<String>,
    /// The version of Gateway API's definitions in the cluster (`gateway.networking.k8s.io/bundle-version`).
    pub bundle_version: Option<String>,
    /// The objects come from files: there is no cluster that would have made `GatewayClass`es and EndpointSlices. Every
    /// Gateway is ours, and Services without slices are looked for in `resolve`, and then by their names.
    pub from_files: bool,
    /// Hosts, with port or without, of Services without slices: `service` or `namespace/service`.
    pub resolve: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            gateways: Vec::new(),
            namespaces: Vec::new(),
            bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            publish: Publish::Addresses(Vec::new()),
            zone: None,
            cluster_domain: "cluster.local".to_owned(),
            namespace_opt_in: None,
            bundle_version: None,
            from_files: false,
            resolve: BTreeMap::new(),
        }
    }
}

/// What Gateways report as their addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Publish {
    /// These. When there are none: the address a Gateway is bound to, unless it stands for all of the host's.
    Addresses(Vec<StatusAddress>),
    /// Those of this Service: of its load balancer, else its cluster addresses.
    Service(Key),
    /// Those of the Service with the Gateway's own name: each Gateway has a data plane of its own, so that they have
    /// no port in common.
    OwnService,
}

/// An address in the status of a Gateway.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum StatusAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A name.
    Hostname(String),
}

/// What comes of it all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Built {
    /// What is served.
    pub routes: Routes,
    /// Hosts and ports of targets to be resolved, and to be given to the next build.
    pub hosts: BTreeSet<(String, u16)>,
    /// What is to be reported; sorted by kind and key.
    pub statuses: Vec<WantedStatus>,
    /// What an operator should be told; sorted.
    pub notes: Vec<String>,
}

/// The status an object should have.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedStatus {
    /// Of which kind it is.
    pub kind: StatusKind,
    /// Which one of that kind.
    pub key: Key,
    /// The generation that was looked at.
    pub generation: Option<i64>,
    /// The version that was looked at.
    pub resource_version: Option<String>,
    /// The status. Conditions have no `lastTransitionTime`: who writes them knows what was there before. Of an
    /// HTTPRoute there are only our own entries of `parents`; none: ours are to be removed.
    pub status: Value,
}

/// Kinds of objects whose status is reported.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum StatusKind {
    /// `GatewayClass`
    GatewayClass,
    /// `Gateway`
    Gateway,
    /// `HTTPRoute`
    HttpRoute,
    /// `Backend`
    Backend,
}

/// What is served and what is reported, given what is known.
#[must_use]
pub fn build(inputs: &Inputs<'_>) -> Built {
    let objects = readable(inputs);
    let scene = Scene {
        objects: &objects,
        inputs,
        grants: Grants::of(&objects),
        slices: Slices::of(&objects),
        services: ByLabel::of(&objects),
    };
    let mut told = Told::default();
    let mut statuses = gateways::classes(&scene, &mut told);
    let backends = backends::served(&scene, &mut told);
    let mut gateways = gateways::claimed(&scene, &mut told);
    listeners::settle_conflicts(&mut gateways, &inputs.options.publish);
    let routes = routes::attach(&scene, &mut gateways, &backends, &mut told);

    statuses.extend(gateways.iter().map(gateways::Claimed::status));
    statuses.extend(routes);
    statuses.extend(backends.into_values().map(|backend| backend.status));
    statuses.sort_by(|a, b| (a.kind, &a.key).cmp(&(b.kind, &b.key)));
    Built { routes: served(gateways), hosts: told.hosts, statuses, notes: told.notes.into_iter().collect() }
}

/// What all parts of a build look at.
struct Scene<'a> {
    /// Those that may be read.
    objects: &'a Objects,
    inputs: &'a Inputs<'a>,
    grants: Grants<'a>,
    slices: Slices<'a>,
    services: ByLabel<'a>,
}

impl Scene<'_> {
    fn options(&self) -> &Options {
        self.inputs.options
    }

    /// `backend`, or what of the earlier snapshot is equal to it.
    fn shared(&self, backend: Backend) -> Arc<Backend> {
        match self.inputs.before.and_then(|routes| routes.backend(backend.name())) {
            Some(same) if **same == backend => Arc::clone(same),
            Some(before) => Arc::new(backend.sharing(before)),
            None => Arc::new(backend),
        }
    }

    /// The addresses of a host, which is to be resolved from now on.
    fn resolved(&self, host: &str, port: u16, told: &mut Told) -> Vec<SocketAddr> {
        let host = (host.to_ascii_lowercase(), port);
        let mut addresses = self.inputs.hosts.get(&host).cloned().unwrap_or_default();
        addresses.sort_unstable();
        addresses.dedup();
        told.hosts.insert(host);
        addresses
    }
}

/// What comes up on the way.
#[derive(Default)]
struct Told {
    hosts: BTreeSet<(String, u16)>,
    notes: BTreeSet<String>,
}

impl Told {
    fn note(&mut self, note: String) {
        self.notes.insert(note);
    }
}

/// The objects of the namespaces that may be read.
fn readable<'a>(inputs: &Inputs<'a>) -> Cow<'a, Objects> {
    let namespaces: BTreeSet<&str> = inputs.options.namespaces.iter().map(String::as_str).collect();
    if namespaces.is_empty() {
        return Cow::Borrowed(inputs.objects);
    }
    fn keep<T>(objects: &mut BTreeMap<Key, Arc<T>>, namespaces: &BTreeSet<&str>) {
        objects.retain(|key, _| namespaces.contains(key.namespace.as_str()));
    }
    let mut objects = inputs.objects.clone();
    keep(&mut objects.gateways, &namespaces);
    keep(&mut objects.routes, &namespaces);
    keep(&mut objects.grants, &namespaces);
    keep(&mut objects.backends, &namespaces);
    keep(&mut objects.services, &namespaces);
    keep(&mut objects.slices, &namespaces);
    Cow::Owned(objects)
}

/// All listeners that serve, by address. Gateways come oldest first; of two with the same address and host, which can
/// only be when they don't share a data plane, the first stands.
fn served(gateways: Vec<gateways::Claimed<'_>>) -> Routes {
    let mut ports: BTreeMap<SocketAddr, BTreeMap<_, routing::Listener>> = BTreeMap::new();
    for gateway in gateways {
        let binds = gateway.binds.clone();
        for (port, host, entries) in gateway.served() {
            for bind in &binds {
                let listeners = ports.entry(SocketAddr::new(*bind, port)).or_default();
                let listener = || routing::Listener::new(host.clone(), entries.clone());
                listeners.entry(host.clone()).or_insert_with(listener);
            }
        }
    }
    let port = |listeners: BTreeMap<_, _>| Port::new(listeners.into_values().collect());
    Routes::at(ports.into_iter().map(|(address, listeners)| (address, port(listeners))).collect())
}
