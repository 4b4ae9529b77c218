//! Listeners of a Gateway: whether they can be served, which routes they take, and what is reported of them.

use super::gateways::Claimed;
use super::grants::Kind;
use super::selectors::{check, selects};
use super::services::port_number;
use super::status::{Conditions, Problem};
use super::{Publish, Scene, Told};
use crate::objects::{GATEWAY_GROUP, Gateway, Key, Listener, Objects, RouteNamespaces};
use routing::{Entry, HostMatch};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// A listener, and what attaches to it.
pub(super) struct Claim<'a> {
    listener: &'a Listener,
    /// Hosts it is for.
    pub(super) host: HostMatch,
    port: Option<u16>,
    /// Why it is not accepted: its protocol or port.
    unsupported: Option<Problem>,
    /// It can't be told from another listener.
    conflict: Option<Problem>,
    /// Its port can't be listened on at the moment; it is served as soon as it can.
    unbound: Option<Problem>,
    /// What it refers to and can't have.
    unresolved: Option<Problem>,
    /// HTTPRoutes may attach, as far as their kind is concerned.
    pub(super) takes_http: bool,
    pub(super) attached: BTreeSet<&'a Key>,
    /// In order of age.
    pub(super) entries: Vec<Entry>,
    /// Whose entry is the first for a host and a match.
    pub(super) first: BTreeMap<String, String>,
}

/// The listeners of `gateway`.
pub(super) fn listeners<'a>(
    scene: &Scene<'a>,
    key: &Key,
    gateway: &'a Gateway,
    binds: &[IpAddr],
    told: &mut Told,
) -> Vec<Claim<'a>> {
    let mut names = BTreeSet::new();
    let mut claims = Vec::new();
    for listener in &gateway.spec.listeners {
        if names.insert(&listener.name) {
            claims.push(claim(scene, key, listener, binds));
        } else {
            told.note(format!(
                "Gateway {key}: another listener is named {:?} too and is left out",
                listener.name
            ));
        }
    }
    conflicts(&mut claims);
    claims
}

fn claim<'a>(scene: &Scene<'a>, key: &Key, listener: &'a Listener, binds: &[IpAddr]) -> Claim<'a> {
    let port = port_number(listener.port);
    let unsupported = match (listener.protocol.as_str(), port) {
        (_, None) => Some(Problem::new("PortUnavailable", format!("{} is no port", listener.port))),
        ("HTTP", _) => None,
        ("HTTPS", _) => Some(Problem::new(
            "UnsupportedProtocol",
            "HTTPS is not served yet: this gateway terminates no TLS",
        )),
        (other, _) => {
            Some(Problem::new("UnsupportedProtocol", format!("{other:?} is not served, only HTTP is")))
        }
    };
    let (takes_http, kinds) = kinds(listener);
    Claim {
        listener,
        host: HostMatch::parse(listener.hostname.as_deref().unwrap_or_default()),
        port,
        unsupported,
        conflict: None,
        unbound: unbound(scene, port, binds),
        unresolved: kinds.and_then(|()| certificates(scene, key, listener)).err(),
        takes_http,
        attached: BTreeSet::new(),
        entries: Vec::new(),
        first: BTreeMap::new(),
    }
}

/// What was in the way the last time somebody tried to listen there.
fn unbound(scene: &Scene<'_>, port: Option<u16>, binds: &[IpAddr]) -> Option<Problem> {
    let mut addresses = binds.iter().map(|bind| SocketAddr::new(*bind, port.unwrap_or_default()));
    let (address, reason) = addresses.find_map(|address| scene.inputs.unbound.get_key_value(&address))?;
    Some(Problem::new("PortUnavailable", format!("{address} can't be listened on: {reason}")))
}

/// Whether the listener is one for HTTP, in clear or not.
fn is_web(listener: &Listener) -> bool {
    matches!(listener.protocol.as_str(), "HTTP" | "HTTPS")
}

/// Whether HTTPRoutes may attach, and whether other kinds are wanted that are unknown.
fn kinds(listener: &Listener) -> (bool, Result<(), Problem>) {
    let kinds = listener.allowed_routes.as_ref().map_or(&[][..], |allowed| &allowed.kinds);
    let known = |kind: &&crate::objects::RouteKind| {
        kind.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP && kind.kind == "HTTPRoute"
    };
    let takes_http = is_web(listener) && (kinds.is_empty() || kinds.iter().any(|kind| known(&kind)));
    match kinds.iter().find(|kind| !(is_web(listener) && known(kind))) {
        Some(kind) => {
            (takes_http, Err(Problem::new("InvalidRouteKinds", format!("{} is not supported", kind.kind))))
        }
        None => (takes_http, Ok(())),
    }
}

/// What can be said of an HTTPS listener's certificates without reading Secrets, which would need a right that is of no
/// use before TLS is: whether they are Secrets at all, and whether those of other namespaces may be used.
fn certificates(scene: &Scene<'_>, gateway: &Key, listener: &Listener) -> Result<(), Problem> {
    if listener.protocol != "HTTPS" {
        return Ok(());
    }
    let references = listener.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
    if references.is_empty() {
        return Err(Problem::new("InvalidCertificateRef", "it names no certificate"));
    }
    references.iter().try_for_each(|reference| {
        let group = reference.group.as_deref().unwrap_or_default();
        let kind = reference.kind.as_deref().unwrap_or("Secret");
        if (group, kind) != ("", "Secret") {
            return Err(Problem::new("InvalidCertificateRef", format!("{kind}.{group} is no Secret")));
        }
        let to = Key::new(reference.namespace.as_deref().unwrap_or(&gateway.namespace), &reference.name);
        let from = Kind { group: GATEWAY_GROUP, kind: "Gateway" };
        match scene.grants.permit(from, &gateway.namespace, Kind { group, kind }, &to) {
            true => Ok(()),
            false => Err(Problem::new("RefNotPermitted", format!("no ReferenceGrant permits Secret {to}"))),
        }
    })
}

/// Marks what can't be told apart in one Gateway: none of them is served (Gateway API: an implementation must not pick a
/// winner). Listeners of protocols that are not known conflict with nobody.
fn conflicts(claims: &mut [Claim<'_>]) {
    let mut protocols: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    let mut hosts: BTreeMap<(u16, HostMatch), usize> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| is_web(claim.listener)) {
        let Some(port) = claim.port else { continue };
        protocols.entry(port).or_default().insert(&claim.listener.protocol);
        *hosts.entry((port, claim.host.clone())).or_default() += 1;
    }
    for claim in claims.iter_mut().filter(|claim| is_web(claim.listener)) {
        let Some(port) = claim.port else { continue };
        claim.conflict = if protocols.get(&port).is_some_and(|protocols| protocols.len() > 1) {
            Some(Problem::new("ProtocolConflict", format!("port {port} is both HTTP and HTTPS")))
        } else if hosts.get(&(port, claim.host.clone())).is_some_and(|count| *count > 1) {
            Some(Problem::new(
                "HostnameConflict",
                format!("another listener has port {port} and host {}", claim.host),
            ))
        } else {
            None
        };
    }
}

/// Between Gateways that share an address the older one has a port and host to itself.
pub(super) fn settle_conflicts(gateways: &mut [Claimed<'_>], publish: &Publish) {
    if *publish == Publish::OwnService {
        return;
    }
    let mut taken: BTreeMap<(SocketAddr, HostMatch), &Key> = BTreeMap::new();
    for gateway in gateways.iter_mut().filter(|gateway| !gateway.is_refused()) {
        let (key, binds) = (gateway.key, &gateway.binds);
        for claim in gateway.listeners.iter_mut().filter(|claim| claim.serves()) {
            let Some(port) = claim.port else { continue };
            let places = || binds.iter().map(|bind| (SocketAddr::new(*bind, port), claim.host.clone()));
            match places().find_map(|place| taken.get(&place).filter(|other| **other != key)) {
                Some(other) => {
                    claim.conflict = Some(Problem::new(
                        "HostnameConflict",
                        format!(
                            "Gateway {other} is older and has port {port} and host {} at the same address; \
                             give one of them an address of its own in spec.addresses",
                            claim.host
                        ),
                    ));
                }
                None => taken.extend(places().map(|place| (place, key))),
            }
        }
    }
}

/// The labels of a namespace; the one that names it is always there.
pub(super) fn namespace_labels<'a>(
    objects: &'a Objects,
    namespace: &str,
) -> Cow<'a, BTreeMap<String, String>> {
    const NAME: &str = "kubernetes.io/metadata.name";
    match objects.namespaces.get(namespace) {
        Some(known) if known.metadata.labels.contains_key(NAME) => Cow::Borrowed(&known.metadata.labels),
        other => {
            let mut labels = other.map(|known| known.metadata.labels.clone()).unwrap_or_default();
            labels.insert(NAME.to_owned(), namespace.to_owned());
            Cow::Owned(labels)
        }
    }
}

impl<'a> Claim<'a> {
    pub(super) fn name(&self) -> &'a str {
        &self.listener.name
    }

    pub(super) fn port(&self) -> i64 {
        self.listener.port
    }

    /// Whether routes of `namespace` may attach.
    pub(super) fn allows(&self, objects: &Objects, gateway: &Key, namespace: &str) -> bool {
        let allowed = self.listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        let Some(RouteNamespaces { from, selector }) = allowed else { return namespace == gateway.namespace };
        match (from.as_deref().unwrap_or("Same"), selector) {
            ("Same", _) => namespace == gateway.namespace,
            ("All", _) => true,
            ("Selector", Some(selector)) => {
                check(selector).is_ok() && selects(selector, &namespace_labels(objects, namespace))
            }
            _ => false,
        }
    }

    /// Why it is not accepted.
    fn refused(&self) -> Option<&Problem> {
        let bound = || self.unbound.as_ref().filter(|_| self.takes_http);
        self.unsupported.as_ref().or(self.conflict.as_ref()).or_else(bound)
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.refused().is_none()
    }

    /// Whether requests are to be answered by it; a port that can't be listened on is tried again.
    pub(super) fn serves(&self) -> bool {
        self.unsupported.is_none() && self.conflict.is_none() && self.takes_http
    }

    /// Whether requests are answered by it.
    pub(super) fn is_programmed(&self) -> bool {
        self.serves() && self.is_accepted()
    }

    /// What is served: port, host, and entries.
    pub(super) fn into_served(self) -> Option<(u16, HostMatch, Vec<Entry>)> {
        Some((self.port?, self.host, self.entries))
    }

    /// What is wrong with it, in a sentence.
    pub(super) fn complaint(&self) -> Option<String> {
        let problem = self.refused().or(self.unresolved.as_ref())?;
        Some(format!("{}: {}", self.listener.name, problem.message))
    }

    /// What is reported of it; `served`: its Gateway is.
    pub(super) fn status(&self, generation: Option<i64>, served: bool) -> Value {
        let resolved = match self.listener.protocol.as_str() {
            "HTTPS" => {
                "certificates may be used as far as grants are concerned; Secrets are not read without TLS"
            }
            _ => "it refers to nothing that is missing",
        };
        let mut conditions = Conditions::new(generation)
            .checked("Accepted", self.refused().map_or(Ok("it is valid"), Err))
            .checked("ResolvedRefs", self.unresolved.as_ref().map_or(Ok(resolved), Err));
        conditions = match (&self.conflict, served && self.is_programmed()) {
            (Some(conflict), _) => conditions.checked("Programmed", Err(conflict)),
            (None, true) => conditions.checked("Programmed", Ok("it is served")),
            (None, false) => conditions.with("Programmed", false, "Invalid", "it is not served"),
        };
        if let Some(conflict) = &self.conflict {
            conditions = conditions.with("Conflicted", true, conflict.reason, &conflict.message);
        }
        let kinds = if self.takes_http {
            json!([{ "group": GATEWAY_GROUP, "kind": "HTTPRoute" }])
        } else {
            json!([])
        };
        json!({
            "name": self.listener.name,
            "supportedKinds": kinds,
            "attachedRoutes": self.attached.len(),
            "conditions": conditions.into_value(),
        })
    }
}
