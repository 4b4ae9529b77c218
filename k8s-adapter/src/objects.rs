//! The Kubernetes objects that the gateway reads, cut down to what it needs of them.
//!
//! ```text
//! watch streams, manifests ─► (serde) ─► Service, Gateway, … ─► Objects ─► build
//! ```
//!
//! Decoding is lenient, since the definitions in a cluster may be newer or older than this crate: what is not known is
//! ignored, enums are strings, and `null` is the same as nothing (the API server writes empty lists so).

mod backend;
mod gateway;
mod grant;
mod route;
mod service;

pub use backend::{Backend, BackendSpec, Mcp, McpTarget, Selectors, StaticTarget};
pub use gateway::{
    AllowedRoutes, Gateway, GatewayAddress, GatewayClass, GatewayClassSpec, GatewaySpec, Infrastructure,
    Listener, ListenerTls, ObjectRef, RouteKind, RouteNamespaces,
};
pub use grant::{GrantFrom, GrantTo, ReferenceGrant, ReferenceGrantSpec};
pub use route::{
    BackendRef, Filter, HeaderModifier, HttpMatch, HttpPathMatch, HttpRoute, HttpRouteRule, HttpRouteSpec,
    HttpTimeouts, HttpValueMatch, NameValue, ParentRef, PathModifier, RequestRedirect, UrlRewrite,
};
pub use service::{
    EndpointConditions, EndpointHints, EndpointSlice, Ingress, LoadBalancer, Namespace, Service, ServicePort,
    ServiceSpec, ServiceStatus, SliceEndpoint, SlicePort, TargetPort, TargetRef, ZoneHint,
};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// All objects of a cluster, or of some files, that have a say in what is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// `GatewayClass`es by name; they have no namespace.
    pub classes: BTreeMap<String, Arc<GatewayClass>>,
    /// `Gateway`s.
    pub gateways: BTreeMap<Key, Arc<Gateway>>,
    /// `HTTPRoute`s.
    pub routes: BTreeMap<Key, Arc<HttpRoute>>,
    /// `ReferenceGrant`s.
    pub grants: BTreeMap<Key, Arc<ReferenceGrant>>,
    /// `Backend`s.
    pub backends: BTreeMap<Key, Arc<Backend>>,
    /// `Service`s.
    pub services: BTreeMap<Key, Arc<Service>>,
    /// `EndpointSlice`s.
    pub slices: BTreeMap<Key, Arc<EndpointSlice>>,
    /// `Namespace`s by name.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
}

/// What [`Objects::insert`] made of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Inserted {
    /// It is a new object.
    New,
    /// It took the place of an object of the same kind and name.
    Replaced,
    /// It is of a kind the gateway does not read.
    Skipped {
        /// `apiVersion`, as it stands.
        version: String,
        /// `kind`, as it stands.
        kind: String,
    },
}

impl Objects {
    /// Reads one object as the API server writes it in JSON. One without namespace, of a kind that has namespaces, is
    /// in `default`.
    ///
    /// # Errors
    /// Why the object can't be read; nothing has changed then.
    pub fn insert(&mut self, value: Value) -> Result<Inserted, String> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        match (group, kind.as_str()) {
            (GATEWAY_GROUP, "GatewayClass") => {
                add(&mut self.classes, value, |class| class.metadata.name.clone())
            }
            (GATEWAY_GROUP, "Gateway") => {
                add_keyed(&mut self.gateways, value, |gateway| &mut gateway.metadata)
            }
            (GATEWAY_GROUP, "HTTPRoute") => add_keyed(&mut self.routes, value, |route| &mut route.metadata),
            (GATEWAY_GROUP, "ReferenceGrant") => {
                add_keyed(&mut self.grants, value, |grant| &mut grant.metadata)
            }
            (BACKEND_GROUP, "Backend") => {
                add_keyed(&mut self.backends, value, |backend| &mut backend.metadata)
            }
            ("", "Service") => add_keyed(&mut self.services, value, |service| &mut service.metadata),
            (SLICE_GROUP, "EndpointSlice") => add_keyed(&mut self.slices, value, |slice| &mut slice.metadata),
            ("", "Namespace") => {
                add(&mut self.namespaces, value, |namespace| namespace.metadata.name.clone())
            }
            ("", "") => Err("it has no `kind`: this is no Kubernetes object".to_owned()),
            _ => Ok(Inserted::Skipped { version, kind }),
        }
    }
}

/// The API group of Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// The API group of `Backend`.
pub const BACKEND_GROUP: &str = "gateway.kgateway.dev";
/// The API group of `EndpointSlice`.
pub const SLICE_GROUP: &str = "discovery.k8s.io";

fn add_keyed<T: DeserializeOwned>(
    objects: &mut BTreeMap<Key, Arc<T>>,
    value: Value,
    metadata: impl Fn(&mut T) -> &mut Metadata,
) -> Result<Inserted, String> {
    add(objects, value, |object| {
        let metadata = metadata(object);
        if metadata.namespace.is_empty() {
            "default".clone_into(&mut metadata.namespace);
        }
        metadata.key()
    })
}

fn add<K: Ord + Named, T: DeserializeOwned>(
    objects: &mut BTreeMap<K, Arc<T>>,
    value: Value,
    key: impl Fn(&mut T) -> K,
) -> Result<Inserted, String> {
    let mut object: T = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let key = key(&mut object);
    if key.name().is_empty() {
        return Err("it has no `metadata.name`".to_owned());
    }
    Ok(objects.insert(key, Arc::new(object)).map_or(Inserted::New, |_| Inserted::Replaced))
}

/// A key that ends in the object's name.
trait Named {
    fn name(&self) -> &str;
}

impl Named for String {
    fn name(&self) -> &str {
        self
    }
}

impl Named for Key {
    fn name(&self) -> &str {
        &self.name
    }
}

/// Which object of a kind; `namespace` is empty for kinds without.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of `namespace/name`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What every object has.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Unique in its namespace, for its kind.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Empty for kinds without.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// Unique in all of time.
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// Counts changes of the spec, for kinds that have a status.
    pub generation: Option<i64>,
    /// Changes with every write.
    pub resource_version: Option<String>,
    /// RFC 3339, to the second and in UTC, so that text order is time order.
    #[serde(deserialize_with = "nullable")]
    pub creation_timestamp: String,
    /// What selectors look at.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// What tools say to each other.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Which object of its kind this is.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// A condition on labels: all parts must hold; none: every object.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels and their values.
    #[serde(deserialize_with = "nullable")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on single labels.
    #[serde(deserialize_with = "nullable")]
    pub match_expressions: Vec<LabelExpression>,
}

/// A condition on one label.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct LabelExpression {
    /// The label.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`; definitions don't check that.
    #[serde(deserialize_with = "nullable")]
    pub operator: String,
    /// The values, for the first two.
    #[serde(deserialize_with = "nullable")]
    pub values: Vec<String>,
}

/// `null` is nothing.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
