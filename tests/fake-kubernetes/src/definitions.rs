//! Definitions of the custom types that are there from the start: the Gateway API and Backend. Written for tests: they
//! have the defaults, limits and merge rules that a controller meets, not every field of the published ones.

use serde_json::{Value, json};

/// The bundle version in the annotations of the Gateway API's definitions.
const BUNDLE: &str = "v1.6.1";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// The shapes of Backend that were published under one group and version, and none in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendShape {
    /// Any field passes.
    Any,
    /// `mcp.name`, `targets[].selectors`, `targets[].static.name`: until 2025-08-28.
    First,
    /// `targets[].name`, `targets[].selector`: from 2025-08-28. What is only in the first shape is pruned.
    Second,
}

/// All that are there from the start.
pub(crate) fn initial() -> Vec<Value> {
    vec![
        gateway_api("gatewayclasses", "GatewayClass", "gc", "Cluster", &["v1"], class()),
        gateway_api("gateways", "Gateway", "gtw", "Namespaced", &["v1"], gateway()),
        gateway_api("httproutes", "HTTPRoute", "", "Namespaced", &["v1"], route()),
        gateway_api(
            "referencegrants",
            "ReferenceGrant",
            "refgrant",
            "Namespaced",
            &["v1", "v1beta1"],
            json!({}),
        ),
        backend(BackendShape::Any),
    ]
}

/// The definition of Backend.
pub(crate) fn backend(shape: BackendShape) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let string = json!({"type": "string"});
    let fixed = json!({"type": "object", "properties": {
        "name": string, "host": string, "port": {"type": "integer"}, "path": string, "protocol": string,
    }});
    let target = match shape {
        BackendShape::Any => any.clone(),
        BackendShape::First => json!({"type": "object", "properties": {
            "selectors": {"type": "object", "properties": {"namespaceSelector": any, "serviceSelector": any}},
            "static": fixed,
        }}),
        BackendShape::Second => json!({"type": "object", "properties": {
            "name": string,
            "selector": {"type": "object", "properties": {"namespace": any, "service": any}},
            "static": fixed,
        }}),
    };
    let targets = json!({"type": "array", "maxItems": 32, "items": target});
    let mcp = match shape {
        BackendShape::Any => any.clone(),
        BackendShape::First => json!({"type": "object", "properties": {"name": string, "targets": targets}}),
        BackendShape::Second => json!({"type": "object", "properties": {"targets": targets}}),
    };
    let spec = match shape {
        BackendShape::Any => any,
        _ => json!({"type": "object", "properties": {"type": string, "mcp": mcp}}),
    };
    let status = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"conditions": conditions(8)},
    });
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    definition("gateway.kgateway.dev", "backends", "Backend", "be", "Namespaced", &["v1alpha1"], schema)
}

fn gateway_api(
    plural: &str,
    kind: &str,
    short: &str,
    scope: &str,
    versions: &[&str],
    schema: Value,
) -> Value {
    let mut definition = definition(GATEWAY_API, plural, kind, short, scope, versions, schema);
    let annotations = json!({
        "gateway.networking.k8s.io/bundle-version": BUNDLE,
        "gateway.networking.k8s.io/channel": "standard",
    });
    crate::tree::set(&mut definition, &["metadata", "annotations"], annotations);
    definition
}

fn definition(
    group: &str,
    plural: &str,
    kind: &str,
    short: &str,
    scope: &str,
    versions: &[&str],
    mut schema: Value,
) -> Value {
    if schema.get("properties").is_none_or(|properties| properties.get("spec").is_none()) {
        crate::tree::set(&mut schema, &["x-kubernetes-preserve-unknown-fields"], true.into());
    }
    let columns = match kind {
        "Gateway" => json!([
            {"name": "Class", "type": "string", "jsonPath": ".spec.gatewayClassName"},
            {"name": "Address", "type": "string", "jsonPath": ".status.addresses[*].value"},
            {"name": "Programmed", "type": "string",
                "jsonPath": ".status.conditions[?(@.type==\"Programmed\")].status"},
        ]),
        "GatewayClass" => json!([
            {"name": "Controller", "type": "string", "jsonPath": ".spec.controllerName"},
            {"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"},
        ]),
        "HTTPRoute" => json!([{"name": "Hostnames", "type": "string", "jsonPath": ".spec.hostnames"}]),
        "Backend" => json!([
            {"name": "Type", "type": "string", "jsonPath": ".spec.type"},
            {"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"},
        ]),
        _ => json!([]),
    };
    let versions: Vec<_> = versions
        .iter()
        .enumerate()
        .map(|(place, version)| {
            let mut entry = json!({
                "name": version, "served": true, "storage": place == 0,
                "schema": {"openAPIV3Schema": schema}, "additionalPrinterColumns": columns,
            });
            if kind != "ReferenceGrant" {
                crate::tree::set(&mut entry, &["subresources", "status"], json!({}));
            }
            entry
        })
        .collect();
    let short: Vec<_> = [short].into_iter().filter(|short| !short.is_empty()).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope, "versions": versions,
            "names": {
                "plural": plural, "singular": kind.to_ascii_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
                "shortNames": short,
            },
        },
    })
}

/// The list of conditions, merged by type, as `metav1.Condition` and its users restrict it.
fn conditions(at_most: usize) -> Value {
    json!({
        "type": "array", "maxItems": at_most,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "message": {"type": "string", "maxLength": 32768},
                "observedGeneration": {"type": "integer", "minimum": 0},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "type": {"type": "string", "minLength": 1, "maxLength": 316},
            },
        },
    })
}

/// A condition before any controller has spoken.
fn pending(kind: &str) -> Value {
    json!({
        "type": kind, "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    })
}

fn class() -> Value {
    json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object", "required": ["controllerName"], "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"controllerName": {
                    "type": "string", "minLength": 1, "maxLength": 253,
                    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}],
                }},
            },
            "status": {
                "type": "object",
                "default": {"conditions": [pending("Accepted")]},
                "properties": {
                    "conditions": conditions(8),
                    "supportedFeatures": {
                        "type": "array", "maxItems": 64,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}},
                        },
                    },
                },
            },
        },
    })
}

fn gateway() -> Value {
    let listener = json!({
        "type": "object", "required": ["name", "port", "protocol"], "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "protocol": {"type": "string", "minLength": 1, "maxLength": 255},
            "allowedRoutes": {
                "type": "object", "default": {"namespaces": {"from": "Same"}},
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"namespaces": {
                    "type": "object", "default": {"from": "Same"}, "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"from": {"type": "string", "default": "Same"}},
                }},
            },
        },
    });
    let listener_status = json!({
        "type": "object", "required": ["attachedRoutes", "conditions", "name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "attachedRoutes": {"type": "integer"},
            "supportedKinds": {
                "type": "array", "maxItems": 8, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object", "required": ["kind"],
                    "properties": {
                        "group": {"type": "string", "default": "gateway.networking.k8s.io"},
                        "kind": {"type": "string", "minLength": 1},
                    },
                },
            },
            "conditions": conditions(8),
        },
    });
    let address = json!({
        "type": "object", "required": ["value"],
        "properties": {"type": {"type": "string", "default": "IPAddress"}, "value": {"type": "string", "maxLength": 253}},
    });
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["gatewayClassName", "listeners"],
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "gatewayClassName": {"type": "string", "minLength": 1, "maxLength": 253},
                    "listeners": {
                        "type": "array", "minItems": 1, "maxItems": 64, "items": listener,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    },
                },
            },
            "status": {
                "type": "object",
                "default": {"conditions": [pending("Accepted"), pending("Programmed")]},
                "properties": {
                    "addresses": {
                        "type": "array", "maxItems": 16, "items": address, "x-kubernetes-list-type": "atomic",
                    },
                    "attachedListenerSets": {"type": "integer"},
                    "conditions": conditions(8),
                    "listeners": {
                        "type": "array", "maxItems": 64, "items": listener_status,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    },
                },
            },
        },
    })
}

fn route() -> Value {
    let reference = |group: &str, kind: &str, more: Value| {
        let mut schema = json!({
            "type": "object", "required": ["name"], "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "group": {"type": "string", "default": group},
                "kind": {"type": "string", "default": kind},
                "name": {"type": "string", "minLength": 1, "maxLength": 253},
            },
        });
        if !more.is_null() {
            crate::tree::set(&mut schema, &["properties", "weight"], more);
        }
        schema
    };
    let path = json!({
        "type": "object", "default": {"type": "PathPrefix", "value": "/"},
        "properties": {
            "type": {"type": "string", "default": "PathPrefix"},
            "value": {"type": "string", "default": "/", "maxLength": 1024},
        },
    });
    let rule = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "matches": {
                "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
                "default": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "items": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"path": path},
                },
            },
            "backendRefs": {
                "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                "items": reference("", "Service", json!({"type": "integer", "default": 1, "minimum": 0})),
            },
        },
    });
    let parent = json!({
        "type": "object", "required": ["conditions", "controllerName", "parentRef"],
        "properties": {
            "conditions": conditions(8),
            "controllerName": {"type": "string", "minLength": 1, "maxLength": 253},
            "parentRef": reference(GATEWAY_API, "Gateway", Value::Null),
        },
    });
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "parentRefs": {
                        "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic",
                        "items": reference(GATEWAY_API, "Gateway", Value::Null),
                    },
                    "rules": {
                        "type": "array", "minItems": 1, "maxItems": 16, "items": rule,
                        "x-kubernetes-list-type": "atomic",
                        "default": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
                    },
                },
            },
            "status": {
                "type": "object", "required": ["parents"],
                "properties": {"parents": {
                    "type": "array", "maxItems": 32, "items": parent, "x-kubernetes-list-type": "atomic",
                }},
            },
        },
    })
}
