//! `GatewayClass` and `Gateway` (Gateway API v1).

use super::{LabelSelector, Metadata, nullable};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Says which controller serves its Gateways.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct GatewayClass {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(deserialize_with = "nullable")]
    pub spec: GatewayClassSpec,
    /// What was last reported; only compared with what is to be reported.
    pub status: Value,
}

/// What is wanted of a `GatewayClass`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// Who serves it.
    #[serde(deserialize_with = "nullable")]
    pub controller_name: String,
    /// More settings of the controller.
    pub parameters_ref: Option<ObjectRef>,
}

/// Addresses and ports to listen on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Gateway {
    /// Name and the like.
    #[serde(deserialize_with = "nullable")]
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(deserialize_with = "nullable")]
    pub spec: GatewaySpec,
    /// What was last reported; only compared with what is to be reported.
    pub status: Value,
}

/// What is wanted of a `Gateway`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Its `GatewayClass`.
    #[serde(deserialize_with = "nullable")]
    pub gateway_class_name: String,
    /// Ports, and what is served there.
    #[serde(deserialize_with = "nullable")]
    pub listeners: Vec<Listener>,
    /// Addresses it asks for.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<GatewayAddress>,
    /// What is created for it.
    pub infrastructure: Option<Infrastructure>,
}

/// A port, and what is served there.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Listener {
    /// Unique in its Gateway.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Hosts it is for; none: all.
    pub hostname: Option<String>,
    /// The port; a number that is none can't be listened on.
    #[serde(deserialize_with = "nullable")]
    pub port: i64,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`, or the controller's own.
    #[serde(deserialize_with = "nullable")]
    pub protocol: String,
    /// For HTTPS and TLS.
    pub tls: Option<ListenerTls>,
    /// Which routes may attach; none: HTTPRoutes of the same namespace.
    pub allowed_routes: Option<AllowedRoutes>,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerTls {
    /// `Terminate` (also when not said) or `Passthrough`.
    pub mode: Option<String>,
    /// Where the certificates are.
    #[serde(deserialize_with = "nullable")]
    pub certificate_refs: Vec<ObjectRef>,
}

/// Some other object.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ObjectRef {
    /// Its API group; empty: the core group.
    pub group: Option<String>,
    /// Its kind.
    pub kind: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its namespace; none: that of the object that refers to it.
    pub namespace: Option<String>,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: Option<RouteNamespaces>,
    /// Of which kinds; none: those of the protocol.
    #[serde(deserialize_with = "nullable")]
    pub kinds: Vec<RouteKind>,
}

/// Namespaces whose routes may attach.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct RouteNamespaces {
    /// `Same` (also when not said), `All` or `Selector`.
    pub from: Option<String>,
    /// For `Selector`.
    pub selector: Option<LabelSelector>,
}

/// A kind of route.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct RouteKind {
    /// Its API group; none: Gateway API's.
    pub group: Option<String>,
    /// The kind.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
}

/// An address a Gateway asks for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct GatewayAddress {
    /// `IPAddress` (also when not said), `Hostname`, or the controller's own.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The address; empty: any of that type.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
}

/// What is created for a Gateway.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Infrastructure {
    /// Labels of all of it.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of all of it.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// More settings of the controller.
    pub parameters_ref: Option<ObjectRef>,
}
