//! What the server itself puts into objects of built-in types.

use crate::kinds::Kind;
use crate::tree;
use serde_json::{Value, json};

/// Into a new object; `serial` is its own.
pub(crate) fn found(kind: &Kind, object: &mut Value, serial: u64) {
    match kind.plural.as_str() {
        "services" => address(object, serial),
        "namespaces" => {
            let name = tree::text(object, "/metadata/name").to_owned();
            tree::set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name.into());
            tree::set(object, &["status"], json!({"phase": "Active"}));
        }
        "customresourcedefinitions" => {
            let condition = |kind, reason| {
                json!({"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime":
                    tree::text(object, "/metadata/creationTimestamp")})
            };
            let conditions =
                [condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")];
            tree::set(object, &["status"], json!({"conditions": conditions}));
        }
        _ => {}
    }
}

/// Into every object that is written.
pub(crate) fn complete(kind: &Kind, live: Option<&Value>, object: &mut Value) {
    match kind.plural.as_str() {
        "services" => {
            if let Some(live) = live {
                for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                    if object.pointer(&format!("/spec/{field}")).is_none() {
                        tree::carry(object, live, &["spec", field]);
                    }
                }
            }
            for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if port.get("targetPort").is_none() {
                    let number = port.get("port").cloned().unwrap_or_default();
                    tree::set(port, &["targetPort"], number);
                }
            }
        }
        // Lists without items are null there.
        "endpointslices" => {
            for list in ["endpoints", "ports"] {
                let items = object.get(list).and_then(Value::as_array);
                if items.is_none_or(Vec::is_empty) {
                    tree::set(object, &[list], Value::Null);
                }
            }
        }
        _ => {}
    }
}

/// A service's defaults and its address.
fn address(object: &mut Value, serial: u64) {
    let defaults = [
        ("type", json!("ClusterIP")),
        ("sessionAffinity", json!("None")),
        ("internalTrafficPolicy", json!("Cluster")),
    ];
    for (field, default) in defaults {
        if object.pointer(&format!("/spec/{field}")).is_none() {
            tree::set(object, &["spec", field], default);
        }
    }
    tree::set(object, &["status"], json!({"loadBalancer": {}}));
    if tree::text(object, "/spec/type") == "ExternalName" {
        return;
    }
    if tree::text(object, "/spec/clusterIP").is_empty() {
        let address = format!("10.96.{}.{}", serial / 250 % 250, serial % 250 + 1);
        tree::set(object, &["spec", "clusterIP"], address.into());
    }
    let address = object.pointer("/spec/clusterIP").cloned().unwrap_or_default();
    tree::set(object, &["spec", "clusterIPs"], json!([address]));
    for (field, default) in [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))] {
        if object.pointer(&format!("/spec/{field}")).is_none() {
            tree::set(object, &["spec", field], default);
        }
    }
}
