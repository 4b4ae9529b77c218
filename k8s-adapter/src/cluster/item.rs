//! One object of the API server, read into our own type.

use super::kind::Kind;
use crate::objects::{
    Backend, EndpointSlice, Gateway, GatewayClass, HttpRoute, Key, Metadata, Namespace, Objects,
    ReferenceGrant, Service,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What `kubectl apply` keeps for itself: the whole manifest once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of any type.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Class(Arc<GatewayClass>),
    Gateway(Arc<Gateway>),
    Route(Arc<HttpRoute>),
    Grant(Arc<ReferenceGrant>),
    Backend(Arc<Backend>),
    Service(Arc<Service>),
    Slice(Arc<EndpointSlice>),
    Namespace(Arc<Namespace>),
}

impl Item {
    /// Reads an object of which the type is known: in a list of built-in types the objects do not say it.
    pub(super) fn read(kind: Kind, object: &str) -> Result<Self, String> {
        Ok(match kind {
            Kind::Class => Self::Class(decode(object, |class: &mut GatewayClass| &mut class.metadata)?),
            Kind::Gateway => Self::Gateway(decode(object, |gateway: &mut Gateway| &mut gateway.metadata)?),
            Kind::Route => Self::Route(decode(object, |route: &mut HttpRoute| &mut route.metadata)?),
            Kind::Grant => Self::Grant(decode(object, |grant: &mut ReferenceGrant| &mut grant.metadata)?),
            Kind::Backend => Self::Backend(decode(object, |backend: &mut Backend| &mut backend.metadata)?),
            Kind::Service => Self::Service(decode(object, |service: &mut Service| &mut service.metadata)?),
            Kind::Slice => Self::Slice(decode(object, |slice: &mut EndpointSlice| &mut slice.metadata)?),
            Kind::Namespace => Self::Namespace(decode(object, |space: &mut Namespace| &mut space.metadata)?),
        })
    }

    /// Takes its place among the objects.
    pub(super) fn put(self, objects: &mut Objects) {
        let key = self.metadata().key();
        match self {
            Self::Class(class) => drop(objects.classes.insert(key.name, class)),
            Self::Gateway(gateway) => drop(objects.gateways.insert(key, gateway)),
            Self::Route(route) => drop(objects.routes.insert(key, route)),
            Self::Grant(grant) => drop(objects.grants.insert(key, grant)),
            Self::Backend(backend) => drop(objects.backends.insert(key, backend)),
            Self::Service(service) => drop(objects.services.insert(key, service)),
            Self::Slice(slice) => drop(objects.slices.insert(key, slice)),
            Self::Namespace(namespace) => drop(objects.namespaces.insert(key.name, namespace)),
        }
    }

    /// Whether it differs from the one whose place it takes in its status alone, which says nothing about what is
    /// served. Only of types whose status we write: that of a Service has its addresses.
    pub(super) fn changes_status_alone(&self, objects: &Objects) -> bool {
        let key = self.metadata().key();
        match self {
            Self::Class(class) => objects.classes.get(&key.name).is_some_and(|before| {
                GatewayClass {
                    status: before.status.clone(),
                    metadata: aged(&class.metadata, &before.metadata),
                    ..GatewayClass::clone(class)
                } == **before
            }),
            Self::Gateway(gateway) => objects.gateways.get(&key).is_some_and(|before| {
                Gateway {
                    status: before.status.clone(),
                    metadata: aged(&gateway.metadata, &before.metadata),
                    ..Gateway::clone(gateway)
                } == **before
            }),
            Self::Route(route) => objects.routes.get(&key).is_some_and(|before| {
                HttpRoute {
                    status: before.status.clone(),
                    metadata: aged(&route.metadata, &before.metadata),
                    ..HttpRoute::clone(route)
                } == **before
            }),
            Self::Backend(backend) => objects.backends.get(&key).is_some_and(|before| {
                Backend {
                    status: before.status.clone(),
                    metadata: aged(&backend.metadata, &before.metadata),
                    ..Backend::clone(backend)
                } == **before
            }),
            Self::Grant(_) | Self::Service(_) | Self::Slice(_) | Self::Namespace(_) => false,
        }
    }

    /// The object of a type and name, if it is there.
    pub(super) fn find(kind: Kind, key: &Key, objects: &Objects) -> Option<Self> {
        match kind {
            Kind::Class => objects.classes.get(&key.name).cloned().map(Self::Class),
            Kind::Gateway => objects.gateways.get(key).cloned().map(Self::Gateway),
            Kind::Route => objects.routes.get(key).cloned().map(Self::Route),
            Kind::Grant => objects.grants.get(key).cloned().map(Self::Grant),
            Kind::Backend => objects.backends.get(key).cloned().map(Self::Backend),
            Kind::Service => objects.services.get(key).cloned().map(Self::Service),
            Kind::Slice => objects.slices.get(key).cloned().map(Self::Slice),
            Kind::Namespace => objects.namespaces.get(&key.name).cloned().map(Self::Namespace),
        }
    }

    /// Its status as it stands; of types whose status we don't write, none.
    pub(super) fn status(&self) -> &Value {
        match self {
            Self::Class(class) => &class.status,
            Self::Gateway(gateway) => &gateway.status,
            Self::Route(route) => &route.status,
            Self::Backend(backend) => &backend.status,
            Self::Grant(_) | Self::Service(_) | Self::Slice(_) | Self::Namespace(_) => &Value::Null,
        }
    }

    pub(super) fn metadata(&self) -> &Metadata {
        match self {
            Self::Class(class) => &class.metadata,
            Self::Gateway(gateway) => &gateway.metadata,
            Self::Route(route) => &route.metadata,
            Self::Grant(grant) => &grant.metadata,
            Self::Backend(backend) => &backend.metadata,
            Self::Service(service) => &service.metadata,
            Self::Slice(slice) => &slice.metadata,
            Self::Namespace(namespace) => &namespace.metadata,
        }
    }
}

fn decode<T: DeserializeOwned>(
    object: &str,
    metadata: impl Fn(&mut T) -> &mut Metadata,
) -> Result<Arc<T>, String> {
    let mut decoded: T = serde_json::from_str(object).map_err(|error| error.to_string())?;
    let metadata = metadata(&mut decoded);
    if metadata.name.is_empty() {
        return Err("it has no name".to_owned());
    }
    metadata.annotations.remove(LAST_APPLIED);
    Ok(Arc::new(decoded))
}

/// `metadata` with the version of `before`, which every write changes.
fn aged(metadata: &Metadata, before: &Metadata) -> Metadata {
    Metadata { resource_version: before.resource_version.clone(), ..metadata.clone() }
}

/// Forgets the object of a type and name.
pub(super) fn remove(kind: Kind, key: &Key, objects: &mut Objects) {
    match kind {
        Kind::Class => drop(objects.classes.remove(&key.name)),
        Kind::Gateway => drop(objects.gateways.remove(key)),
        Kind::Route => drop(objects.routes.remove(key)),
        Kind::Grant => drop(objects.grants.remove(key)),
        Kind::Backend => drop(objects.backends.remove(key)),
        Kind::Service => drop(objects.services.remove(key)),
        Kind::Slice => drop(objects.slices.remove(key)),
        Kind::Namespace => drop(objects.namespaces.remove(&key.name)),
    }
}

/// How many objects of a type there are.
pub(super) fn count(kind: Kind, objects: &Objects) -> usize {
    match kind {
        Kind::Class => objects.classes.len(),
        Kind::Gateway => objects.gateways.len(),
        Kind::Route => objects.routes.len(),
        Kind::Grant => objects.grants.len(),
        Kind::Backend => objects.backends.len(),
        Kind::Service => objects.services.len(),
        Kind::Slice => objects.slices.len(),
        Kind::Namespace => objects.namespaces.len(),
    }
}

/// Puts all `new` objects of a type in place of those that were there: in one namespace, or in all. Of namespaces
/// themselves, it is the one of that name.
pub(super) fn replace(kind: Kind, namespace: Option<&str>, objects: &mut Objects, new: Objects) {
    match kind {
        Kind::Class => swap(&mut objects.classes, new.classes, |_| true),
        Kind::Gateway => swap(&mut objects.gateways, new.gateways, within(namespace)),
        Kind::Route => swap(&mut objects.routes, new.routes, within(namespace)),
        Kind::Grant => swap(&mut objects.grants, new.grants, within(namespace)),
        Kind::Backend => swap(&mut objects.backends, new.backends, within(namespace)),
        Kind::Service => swap(&mut objects.services, new.services, within(namespace)),
        Kind::Slice => swap(&mut objects.slices, new.slices, within(namespace)),
        Kind::Namespace => swap(&mut objects.namespaces, new.namespaces, |name: &String| {
            namespace.is_none_or(|namespace| namespace == name)
        }),
    }
}

fn within(namespace: Option<&str>) -> impl Fn(&Key) -> bool {
    move |key| namespace.is_none_or(|namespace| namespace == key.namespace)
}

fn swap<K: Ord, T>(objects: &mut BTreeMap<K, T>, new: BTreeMap<K, T>, concerned: impl Fn(&K) -> bool) {
    objects.retain(|key, _| !concerned(key));
    objects.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str) -> Item {
        let object = format!(r#"{{"metadata":{{"namespace":"{namespace}","name":"{name}"}}}}"#);
        Item::read(Kind::Service, &object).unwrap()
    }

    fn names(objects: &Objects) -> Vec<String> {
        objects.services.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_list_replaces_what_was_in_its_namespace_and_nothing_else() {
        let mut objects = Objects::default();
        for (namespace, name) in [("a", "x"), ("a", "y"), ("b", "x")] {
            service(namespace, name).put(&mut objects);
        }
        let mut new = Objects::default();
        service("a", "z").put(&mut new);
        replace(Kind::Service, Some("a"), &mut objects, new.clone());
        assert_eq!(names(&objects), ["a/z", "b/x"]);
        replace(Kind::Service, None, &mut objects, new);
        assert_eq!(count(Kind::Service, &objects), 1);
        assert_eq!(names(&objects), ["a/z"]);
        remove(Kind::Service, &Key::new("a", "z"), &mut objects);
        assert_eq!(objects, Objects::default());
    }

    #[test]
    fn what_others_keep_in_the_metadata_is_left_out() {
        let object = r#"{"metadata":{"name":"x","managedFields":[{"manager":"k"}],
            "annotations":{"a":"b","kubectl.kubernetes.io/last-applied-configuration":"{}"}}}"#;
        let item = Item::read(Kind::Service, object).unwrap();
        assert_eq!(item.metadata().annotations.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn an_object_without_a_name_is_none() {
        assert_eq!(Item::read(Kind::Namespace, r#"{"metadata":{}}"#).unwrap_err(), "it has no name");
        assert!(Item::read(Kind::Slice, r#"{"metadata":{"name":5}}"#).is_err());
    }
}
