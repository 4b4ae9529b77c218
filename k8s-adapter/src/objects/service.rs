//! `Service`, `EndpointSlice` and `Namespace`: slim, since a cluster has many.

use super::{Metadata, nullable};
use serde::Deserialize;

/// A name for some pods, and ports.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Service {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(deserialize_with = "nullable")]
    pub spec: ServiceSpec,
    /// Its addresses outside.
    #[serde(deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// What is wanted of a `Service`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` (also when not said), `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// Its addresses inside; `None` stands for none.
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    pub cluster_ips: Vec<String>,
    /// `IPv4`, `IPv6` or both, the preferred one first.
    #[serde(deserialize_with = "nullable")]
    pub ip_families: Vec<String>,
    /// Its ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
}

/// A port of a `Service`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Empty if it is the only one.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `TCP` (also when not said), `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// What is spoken there.
    pub app_protocol: Option<String>,
    /// Its number, at the Service's own addresses.
    #[serde(deserialize_with = "nullable")]
    pub port: i64,
    /// Its number at the endpoints, or a name that each of them has for it; none: the same number.
    pub target_port: Option<TargetPort>,
}

/// A port of an endpoint.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum TargetPort {
    /// By number.
    Number(i64),
    /// By name.
    Name(String),
}

/// What a `Service` has got.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its load balancer.
    #[serde(deserialize_with = "nullable")]
    pub load_balancer: LoadBalancer,
}

/// A load balancer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct LoadBalancer {
    /// Where it listens.
    #[serde(deserialize_with = "nullable")]
    pub ingress: Vec<Ingress>,
}

/// Where a load balancer listens: one of both.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Ingress {
    /// An address.
    pub ip: Option<String>,
    /// A name.
    pub hostname: Option<String>,
}

/// Some endpoints of a `Service`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Name and the like; the label `kubernetes.io/service-name` says whose endpoints these are.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(deserialize_with = "nullable")]
    pub address_type: String,
    /// Ports that each of the endpoints has.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    #[serde(deserialize_with = "nullable")]
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct SlicePort {
    /// That of the Service's port.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its number at the endpoints.
    pub port: Option<i64>,
}

/// One endpoint, mostly a pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct SliceEndpoint {
    /// Its address; only the first has a meaning.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<String>,
    /// What it may be given.
    #[serde(deserialize_with = "nullable")]
    pub conditions: EndpointConditions,
    /// Which pod it is.
    pub target_ref: Option<TargetRef>,
    /// Which zones it is meant for.
    pub hints: Option<EndpointHints>,
}

/// What an endpoint may be given; what is not said has the value that harms least.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct EndpointConditions {
    /// Everything. None: yes.
    pub ready: Option<bool>,
    /// As `ready`, whether it terminates or not. None: yes.
    pub serving: Option<bool>,
    /// It is going to end. None: no.
    pub terminating: Option<bool>,
}

/// The object behind an endpoint.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct TargetRef {
    /// Its uid.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
}

/// Zones an endpoint is meant for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointHints {
    /// The zones.
    #[serde(deserialize_with = "nullable")]
    pub for_zones: Vec<ZoneHint>,
}

/// A zone.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ZoneHint {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

/// A namespace: only its labels matter.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Namespace {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
}
