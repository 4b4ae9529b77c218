//! GatewayClasses and Gateways: which are ours, where they listen, and what is reported of them.

use super::listeners::{Claim, listeners};
use super::services::ip;
use super::status::{Conditions, Problem, named};
use super::{Publish, Scene, StatusAddress, StatusKind, Told, WantedStatus};
use crate::objects::{Gateway, GatewayClass, Key, ObjectRef, Service};
use routing::{Entry, HostMatch};
use serde_json::{Value, json};
use std::net::IpAddr;

/// What of Gateway API is supported beyond its core; sorted, as the conformance suite wants it.
const FEATURES: [&str; 20] = [
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendTimeout",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

/// The statuses of the classes that are ours.
pub(super) fn classes(scene: &Scene<'_>, told: &mut Told) -> Vec<WantedStatus> {
    let ours = |class: &GatewayClass| class.spec.controller_name == scene.options().controller_name;
    let classes = scene.objects.classes.values();
    let statuses: Vec<_> =
        classes.filter(|class| ours(class)).map(|class| class_status(scene, class)).collect();
    if statuses.is_empty() && !scene.options().from_files {
        let others: Vec<String> = scene.objects.classes.values().map(|class| foreign(class)).collect();
        let others = if others.is_empty() { "there is none at all".to_owned() } else { named(&others) };
        told.note(format!(
            "no GatewayClass has controllerName {}: {others}",
            scene.options().controller_name
        ));
    }
    statuses
}

fn foreign(class: &GatewayClass) -> String {
    format!("{} belongs to {}", class.metadata.name, class.spec.controller_name)
}

fn class_status(scene: &Scene<'_>, class: &GatewayClass) -> WantedStatus {
    let metadata = &class.metadata;
    let parameters = parameters(class.spec.parameters_ref.as_ref());
    let accepted = parameters.as_ref().map(|()| "it is served by this controller");
    let mut conditions = Conditions::new(metadata.generation).checked("Accepted", accepted);
    if let Some(version) = &scene.options().bundle_version {
        conditions = match version.starts_with("v1.") {
            true => conditions.with("SupportedVersion", true, "SupportedVersion", version),
            false => conditions.with(
                "SupportedVersion",
                false,
                "UnsupportedVersion",
                &format!("{version} is not v1"),
            ),
        };
    }
    let features: Vec<Value> = FEATURES.iter().map(|name| json!({ "name": name })).collect();
    WantedStatus {
        kind: StatusKind::GatewayClass,
        key: metadata.key(),
        generation: metadata.generation,
        resource_version: metadata.resource_version.clone(),
        status: json!({ "conditions": conditions.into_value(), "supportedFeatures": features }),
    }
}

/// No kind of parameters is known.
fn parameters(reference: Option<&ObjectRef>) -> Result<(), Problem> {
    reference.map_or(Ok(()), |reference| {
        let kind = reference.kind.as_deref().unwrap_or_default();
        let group = reference.group.as_deref().unwrap_or_default();
        Err(Problem::new("InvalidParameters", format!("parametersRef: {kind}.{group} is not supported")))
    })
}

/// A Gateway of ours.
pub(super) struct Claimed<'a> {
    pub(super) key: &'a Key,
    gateway: &'a Gateway,
    /// The addresses it listens on.
    pub(super) binds: Vec<IpAddr>,
    /// What it is said to listen on.
    addresses: Result<Vec<StatusAddress>, Problem>,
    /// Why nothing of it is served.
    refused: Option<Problem>,
    pub(super) listeners: Vec<Claim<'a>>,
}

/// All Gateways of ours, oldest first.
pub(super) fn claimed<'a>(scene: &Scene<'a>, told: &mut Told) -> Vec<Claimed<'a>> {
    let scope = &scene.options().gateways;
    let in_scope = |key: &Key| scope.is_empty() || scope.contains(key);
    let mut ours: Vec<Claimed<'a>> = Vec::new();
    for (key, gateway) in &scene.objects.gateways {
        let class = scene.objects.classes.get(&gateway.spec.gateway_class_name);
        let class = class.filter(|class| class.spec.controller_name == scene.options().controller_name);
        // There is no cluster that would have a class: whoever names these files means this gateway.
        if in_scope(key) && (class.is_some() || scene.options().from_files) {
            ours.push(claim(scene, key, gateway, class.map(AsRef::as_ref), told));
        }
    }
    ours.sort_by(|a, b| a.age().cmp(&b.age()));
    ours
}

fn claim<'a>(
    scene: &Scene<'a>,
    key: &'a Key,
    gateway: &'a Gateway,
    class: Option<&GatewayClass>,
    told: &mut Told,
) -> Claimed<'a> {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let refused = parameters(class.and_then(|class| class.spec.parameters_ref.as_ref()))
        .and_then(|()| {
            parameters(infrastructure.and_then(|infrastructure| infrastructure.parameters_ref.as_ref()))
        })
        .and_then(|()| known_addresses(scene, gateway));
    let binds = binds(scene, gateway);
    Claimed {
        key,
        gateway,
        addresses: addresses(scene, gateway, &binds),
        refused: refused.err(),
        listeners: listeners(scene, key, gateway, &binds, told),
        binds,
    }
}

/// Only IP addresses can be bound: who asks for anything else must not be served at all addresses instead. For a Service
/// names may do as well.
fn known_addresses(scene: &Scene<'_>, gateway: &Gateway) -> Result<(), Problem> {
    gateway.spec.addresses.iter().try_for_each(|address| {
        let kind = address.kind.as_deref().unwrap_or("IPAddress");
        let known = match kind {
            "IPAddress" => address.value.is_empty() || ip(&address.value).is_some(),
            "Hostname" => scene.options().publish == Publish::OwnService,
            _ => false,
        };
        let problem = || format!("spec.addresses: {kind} {:?} is not supported", address.value);
        if known { Ok(()) } else { Err(Problem::new("UnsupportedAddress", problem())) }
    })
}

/// The addresses a Gateway asks for, if it is this process that listens on them.
fn wanted(scene: &Scene<'_>, gateway: &Gateway) -> Vec<IpAddr> {
    match scene.options().publish {
        Publish::OwnService => Vec::new(),
        _ => gateway.spec.addresses.iter().filter_map(|address| ip(&address.value)).collect(),
    }
}

fn binds(scene: &Scene<'_>, gateway: &Gateway) -> Vec<IpAddr> {
    match wanted(scene, gateway) {
        none if none.is_empty() => vec![scene.options().bind],
        wanted => wanted,
    }
}

/// What is reported as its addresses.
fn addresses(scene: &Scene<'_>, gateway: &Gateway, binds: &[IpAddr]) -> Result<Vec<StatusAddress>, Problem> {
    let wanted = wanted(scene, gateway);
    let found = match &scene.options().publish {
        _ if !wanted.is_empty() => wanted.into_iter().map(StatusAddress::Ip).collect(),
        Publish::Addresses(addresses) if !addresses.is_empty() => addresses.clone(),
        Publish::Addresses(_) => {
            binds.iter().filter(|bind| !bind.is_unspecified()).map(|bind| StatusAddress::Ip(*bind)).collect()
        }
        Publish::Service(service) => of_service(scene, service),
        Publish::OwnService => of_service(scene, &gateway.metadata.key()),
    };
    let message = match &scene.options().publish {
        _ if !found.is_empty() => return Ok(found),
        Publish::Addresses(_) => {
            "no address is known: start with --publish-service or --publish-address".to_owned()
        }
        Publish::Service(service) => format!("Service {service} has no address yet"),
        Publish::OwnService => format!("Service {} has no address yet", gateway.metadata.key()),
    };
    Err(Problem::new("AddressNotAssigned", message))
}

/// The addresses of a Service: those of its load balancer, or its own if it waits for none.
fn of_service(scene: &Scene<'_>, key: &Key) -> Vec<StatusAddress> {
    let Some(service) = scene.inputs.objects.services.get(key) else { return Vec::new() };
    let ingress = |service: &Service| -> Vec<StatusAddress> {
        let ingress = service.status.load_balancer.ingress.iter();
        let address = |ip: &str| Some(StatusAddress::Ip(ip.parse().ok()?));
        let one = ingress.filter_map(|one| match (&one.ip, &one.hostname) {
            (Some(ip), _) if !ip.is_empty() => address(ip),
            (_, Some(name)) if !name.is_empty() => Some(StatusAddress::Hostname(name.clone())),
            _ => None,
        });
        one.collect()
    };
    match (ingress(service), service.spec.kind.as_str()) {
        (none, "LoadBalancer") => none,
        (none, _) if none.is_empty() => service
            .spec
            .cluster_ips
            .iter()
            .filter_map(|ip| Some(StatusAddress::Ip(ip.parse().ok()?)))
            .collect(),
        (some, _) => some,
    }
}

impl<'a> Claimed<'a> {
    /// Sorts the oldest first.
    pub(super) fn age(&self) -> (&'a str, &'a Key) {
        (&self.gateway.metadata.creation_timestamp, self.key)
    }

    /// What it is said to be wrong with a listener's Gateway.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// What is served: port, host, and entries.
    pub(super) fn served(self) -> impl Iterator<Item = (u16, HostMatch, Vec<Entry>)> {
        let refused = self.refused.is_some();
        self.listeners
            .into_iter()
            .filter(move |claim| !refused && claim.serves())
            .filter_map(Claim::into_served)
    }

    fn accepted(&self) -> Result<(&'static str, String), Problem> {
        if let Some(problem) = &self.refused {
            return Err(problem.clone());
        }
        let bad: Vec<String> = self.listeners.iter().filter_map(Claim::complaint).collect();
        match (bad.is_empty(), self.listeners.iter().any(Claim::is_accepted)) {
            (true, true) => Ok(("Accepted", "all listeners are valid".to_owned())),
            (false, true) => Ok(("ListenersNotValid", named(&bad))),
            (true, false) => Err(Problem::new("ListenersNotValid", "it has no listeners")),
            (false, false) => Err(Problem::new("ListenersNotValid", named(&bad))),
        }
    }

    fn programmed(&self) -> Result<&'static str, Problem> {
        if self.refused.is_some() || !self.listeners.iter().any(Claim::is_programmed) {
            return Err(Problem::new("Invalid", "no listener is served"));
        }
        self.addresses.as_ref().map(|_| "its listeners are served").map_err(Problem::clone)
    }

    pub(super) fn status(&self) -> WantedStatus {
        let metadata = &self.gateway.metadata;
        let conditions = Conditions::new(metadata.generation);
        let conditions = match self.accepted() {
            Ok((reason, message)) => conditions.with("Accepted", true, reason, &message),
            Err(problem) => conditions.checked("Accepted", Err(&problem)),
        };
        let conditions = conditions.checked("Programmed", self.programmed().as_ref().map(|message| *message));
        let served = self.refused.is_none();
        let listeners = self.listeners.iter().map(|claim| claim.status(metadata.generation, served));
        let addresses = self.addresses.iter().flatten().map(address);
        WantedStatus {
            kind: StatusKind::Gateway,
            key: self.key.clone(),
            generation: metadata.generation,
            resource_version: metadata.resource_version.clone(),
            status: json!({
                "addresses": addresses.collect::<Vec<_>>(),
                "conditions": conditions.into_value(),
                "listeners": listeners.collect::<Vec<_>>(),
            }),
        }
    }
}

fn address(address: &StatusAddress) -> Value {
    match address {
        StatusAddress::Ip(ip) => json!({ "type": "IPAddress", "value": ip.to_string() }),
        StatusAddress::Hostname(name) => json!({ "type": "Hostname", "value": name }),
    }
}
