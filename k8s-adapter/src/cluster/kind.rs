//! The types that are watched, and where the API server has them.

use crate::objects::{BACKEND_GROUP, GATEWAY_GROUP, SLICE_GROUP};
use std::fmt;

/// A type of object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    /// `GatewayClass`.
    Class,
    /// `Gateway`.
    Gateway,
    /// `HTTPRoute`.
    Route,
    /// `ReferenceGrant`.
    Grant,
    /// `Backend`.
    Backend,
    /// `Service`.
    Service,
    /// `EndpointSlice`.
    Slice,
    /// `Namespace`, of which only the metadata is asked for.
    Namespace,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 8] = [
        Self::Class,
        Self::Gateway,
        Self::Route,
        Self::Grant,
        Self::Backend,
        Self::Service,
        Self::Slice,
        Self::Namespace,
    ];

    /// The name in manifests.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Class => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::Route => "HTTPRoute",
            Self::Grant => "ReferenceGrant",
            Self::Backend => "Backend",
            Self::Service => "Service",
            Self::Slice => "EndpointSlice",
            Self::Namespace => "Namespace",
        }
    }

    /// The name in paths and in roles.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Class => "gatewayclasses",
            Self::Gateway => "gateways",
            Self::Route => "httproutes",
            Self::Grant => "referencegrants",
            Self::Backend => "backends",
            Self::Service => "services",
            Self::Slice => "endpointslices",
            Self::Namespace => "namespaces",
        }
    }

    /// The API group; empty for the core.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Class | Self::Gateway | Self::Route | Self::Grant => GATEWAY_GROUP,
            Self::Backend => BACKEND_GROUP,
            Self::Slice => SLICE_GROUP,
            Self::Service | Self::Namespace => "",
        }
    }

    /// The versions that may be served, the best one first. `ReferenceGrant` is v1 since Gateway API 1.5.
    pub(super) fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Grant => &["v1", "v1beta1"],
            Self::Backend => &["v1alpha1"],
            _ => &["v1"],
        }
    }

    /// Whether objects of the type are in a namespace.
    pub(super) fn namespaced(self) -> bool {
        !matches!(self, Self::Class | Self::Namespace)
    }

    /// Whether a cluster that does not know the type is served all the same.
    pub(super) fn optional(self) -> bool {
        matches!(self, Self::Grant | Self::Backend)
    }

    /// Whether the gateway writes a status.
    pub(super) fn reports(self) -> bool {
        matches!(self, Self::Class | Self::Gateway | Self::Route | Self::Backend)
    }

    /// What does not work without the right to read it.
    pub(super) fn use_of_reading(self) -> &'static str {
        match self {
            Self::Class | Self::Gateway => "no Gateway is served",
            Self::Route => "no route is served",
            Self::Grant => "references from one namespace to another are refused",
            Self::Backend => "no Backend is served",
            Self::Service => "no Service is found",
            Self::Slice => "no endpoint of a Service is found",
            Self::Namespace => "namespaces can't be selected by their labels",
        }
    }

    /// The path of all objects, in the whole cluster or in a namespace.
    pub(super) fn path(self, version: &str, namespace: Option<&str>) -> String {
        let root = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        match namespace {
            Some(namespace) if self.namespaced() => {
                format!("{root}/namespaces/{namespace}/{}", self.plural())
            }
            _ => format!("{root}/{}", self.plural()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What is watched, if the gateway is confined to some namespaces: each of them by itself, so that no rights in the whole
/// cluster are needed but for classes, which have no namespace. Of the Namespaces each is selected by name.
pub(super) fn scopes(namespaces: &[String]) -> Vec<(Kind, Option<String>)> {
    let mut scopes = Vec::new();
    for kind in Kind::ALL {
        if namespaces.is_empty() || kind == Kind::Class {
            scopes.push((kind, None));
        } else {
            scopes.extend(namespaces.iter().map(|namespace| (kind, Some(namespace.clone()))));
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(Kind::Service.path("v1", None), "/api/v1/services");
        assert_eq!(
            Kind::Grant.path("v1beta1", Some("a")),
            "/apis/gateway.networking.k8s.io/v1beta1/namespaces/a/referencegrants"
        );
        assert_eq!(Kind::Class.path("v1", Some("a")), "/apis/gateway.networking.k8s.io/v1/gatewayclasses");
        assert_eq!(Kind::Namespace.path("v1", Some("a")), "/api/v1/namespaces");
    }

    #[test]
    fn a_confined_gateway_asks_for_nothing_in_the_whole_cluster_but_classes() {
        let scopes = scopes(&["a".to_owned(), "b".to_owned()]);
        let whole: Vec<_> = scopes.iter().filter(|(_, namespace)| namespace.is_none()).collect();
        assert_eq!(whole, [&(Kind::Class, None)]);
        assert_eq!(scopes.len(), 1 + 7 * 2);
    }
}
