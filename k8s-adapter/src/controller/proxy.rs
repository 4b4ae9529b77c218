//! What a Gateway's proxy consists of: a ServiceAccount, a Service and a Deployment, and a Secret that is made once. All are
//! named like the Gateway, are in its namespace, and go with it.

use super::Template;
use crate::objects::{GATEWAY_GROUP, Gateway, Infrastructure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Whose pods they are; what the Service selects by, and so never to be changed (a Deployment's selector can't be).
pub(super) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Of everything that a controller of this kind made.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "mcp-gateway-controller");
/// Annotation: which controller made it, by its `controllerName`.
pub(super) const CONTROLLER: &str = "mcp-gateway.dev/controller";
/// Annotation: a digest of what was applied, so that a field that is no longer wanted is seen as a difference.
pub(super) const APPLIED: &str = "mcp-gateway.dev/applied";
/// The entry of the Secret.
const KEY: &str = "key";
/// What pods serve health and metrics at, unless a listener asks for that port.
const ADMIN_PORT: u16 = 9901;
/// The user of the pods: any but root.
const USER: u32 = 65532;

/// The objects that are to be there for `gateway`, in the order of their creation; none when it has no port to serve.
#[must_use]
pub fn proxy(gateway: &Gateway, controller_name: &str, template: &Template) -> Vec<Value> {
    let ports = ports(gateway);
    if ports.is_empty() {
        return Vec::new();
    }
    let made = Made { gateway, controller_name };
    [
        made.object("v1", "ServiceAccount", json!({})),
        made.object("v1", "Service", json!({ "spec": service(gateway, template, &ports) })),
        made.object("apps/v1", "Deployment", json!({ "spec": made.deployment(template, &ports) })),
    ]
    .map(digested)
    .into()
}

/// The Secret for the key that seals its sessions, without that: see `put_key`. It is created when there is none, and then
/// never touched.
#[must_use]
pub fn secret(gateway: &Gateway, controller_name: &str) -> Value {
    Made { gateway, controller_name }.object("v1", "Secret", json!({ "type": "Opaque" }))
}

/// Puts `key`, 32 random bytes as text, into a [`secret`].
pub(super) fn put_key(mut secret: Value, key: &str) -> Value {
    put(&mut secret, "stringData", json!({ KEY: key }));
    secret
}

/// The ports of its listeners, as far as they can be served.
fn ports(gateway: &Gateway) -> BTreeSet<u16> {
    let served = gateway.spec.listeners.iter().filter(|listener| listener.protocol == "HTTP");
    served.filter_map(|listener| u16::try_from(listener.port).ok().filter(|port| *port != 0)).collect()
}

/// The port that pods serve health at: one that no listener asks for.
fn admin_port(ports: &BTreeSet<u16>) -> u16 {
    (ADMIN_PORT..=u16::MAX).find(|port| !ports.contains(port)).unwrap_or(ADMIN_PORT)
}

fn service(gateway: &Gateway, template: &Template, ports: &BTreeSet<u16>) -> Value {
    // Protocols are said although they are the default: they are part of the key by which an apply finds a port.
    let ports: Vec<Value> = ports
        .iter()
        .map(|port| json!({ "name": format!("port-{port}"), "port": port, "targetPort": port, "protocol": "TCP" }))
        .collect();
    json!({ "type": template.service_type, "selector": selector(gateway), "ports": ports })
}

/// Labels of its pods and of nobody else's.
fn selector(gateway: &Gateway) -> BTreeMap<String, String> {
    [(GATEWAY_NAME, gateway.metadata.name.as_str()), MANAGED_BY]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
}

/// Everything that is made for one Gateway.
struct Made<'a> {
    gateway: &'a Gateway,
    controller_name: &'a str,
}

impl Made<'_> {
    /// An object with the Gateway's name, and `rest`.
    fn object(&self, version: &str, kind: &str, rest: Value) -> Value {
        let Gateway { metadata, .. } = self.gateway;
        let mut annotations = self.infrastructure().annotations;
        annotations.insert(CONTROLLER.to_owned(), self.controller_name.to_owned());
        let mut object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "labels": self.labels(),
                "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": format!("{GATEWAY_GROUP}/v1"),
                    "kind": "Gateway",
                    "name": metadata.name,
                    "uid": metadata.uid,
                    "controller": true,
                }],
            },
        });
        if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
            object.extend(rest);
        }
        object
    }

    /// What the Gateway wants on all of it (`spec.infrastructure`).
    fn infrastructure(&self) -> Infrastructure {
        self.gateway.spec.infrastructure.clone().unwrap_or_default()
    }

    /// The Gateway's labels, and ours, which nobody replaces.
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.infrastructure().labels;
        labels.insert("app.kubernetes.io/name".to_owned(), "mcp-gateway".to_owned());
        labels.extend(selector(self.gateway));
        labels
    }

    fn deployment(&self, template: &Template, ports: &BTreeSet<u16>) -> Value {
        let mut annotations = self.infrastructure().annotations;
        annotations.extend(template.pod_annotations.clone());
        let mut deployment = json!({
            "selector": { "matchLabels": selector(self.gateway) },
            "template": {
                "metadata": { "labels": self.labels(), "annotations": annotations },
                "spec": self.pod(template, ports),
            },
        });
        if let Some(replicas) = template.replicas {
            put(&mut deployment, "replicas", replicas.into());
        }
        deployment
    }

    fn pod(&self, template: &Template, ports: &BTreeSet<u16>) -> Value {
        let name = &self.gateway.metadata.name;
        let spread = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(|key| {
            json!({
                "topologyKey": key,
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": selector(self.gateway) },
            })
        });
        let mut security = json!({
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        if ports.first().is_some_and(|port| *port < 1024) {
            // Of the pod alone, and one of those that every cluster allows.
            let sysctl = json!([{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }]);
            put(&mut security, "sysctls", sysctl);
        }
        let mut pod = json!({
            "serviceAccountName": name,
            "securityContext": security,
            "terminationGracePeriodSeconds": 30,
            "topologySpreadConstraints": spread,
            "containers": [self.container(template, ports)],
            // 0440, since the file is the group's.
            "volumes": [{ "name": "session-key", "secret": { "secretName": name, "defaultMode": 288 } }],
        });
        for (field, value) in [
            ("imagePullSecrets", json!(template.image_pull_secrets)),
            ("nodeSelector", json!(template.node_selector)),
            ("tolerations", json!(template.tolerations)),
        ] {
            if value != json!([]) && value != json!({}) {
                put(&mut pod, field, value);
            }
        }
        pod
    }

    fn container(&self, template: &Template, ports: &BTreeSet<u16>) -> Value {
        let admin = admin_port(ports);
        let served = ports.iter().map(|port| (format!("port-{port}"), *port));
        let ports: Vec<Value> = [("admin".to_owned(), admin)]
            .into_iter()
            .chain(served)
            .map(|(name, port)| json!({ "name": name, "containerPort": port, "protocol": "TCP" }))
            .collect();
        let probe = |path: &str, period: u8, failures: u8| json!({ "httpGet": { "path": path, "port": "admin" }, "periodSeconds": period, "failureThreshold": failures });
        let mut container = json!({
            "name": "mcp-gateway",
            "image": template.image,
            "args": self.arguments(template, admin),
            // Empty where the cluster does not tell pods.
            "env": [{
                "name": "NODE_ZONE",
                "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['topology.kubernetes.io/zone']" } },
            }],
            "ports": ports,
            "startupProbe": probe("/healthz", 1, 60),
            "livenessProbe": probe("/healthz", 10, 3),
            "readinessProbe": probe("/readyz", 2, 3),
            // Until no one sends new connections to it.
            "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "volumeMounts": [{ "name": "session-key", "mountPath": "/etc/mcp-gateway/session", "readOnly": true }],
        });
        if let Some(policy) = &template.image_pull_policy {
            put(&mut container, "imagePullPolicy", policy.as_str().into());
        }
        if !template.resources.is_null() {
            put(&mut container, "resources", template.resources.clone());
        }
        container
    }

    fn arguments(&self, template: &Template, admin: u16) -> Vec<String> {
        let mut arguments = vec![
            "kubernetes".to_owned(),
            format!("--gateway={}", self.gateway.metadata.key()),
            format!("--controller-name={}", self.controller_name),
            // The controller reports.
            "--no-status".to_owned(),
            format!("--session-key-file=/etc/mcp-gateway/session/{KEY}"),
            format!("--admin=0.0.0.0:{admin}"),
            format!("--log-level={}", template.log_level),
            "--log-format=json".to_owned(),
        ];
        arguments.extend(template.args.iter().cloned());
        arguments
    }
}

fn put(object: &mut Value, field: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(field.to_owned(), value);
    }
}

/// The object with a digest of itself. It is only compared with what the same program wrote.
fn digested(mut object: Value) -> Value {
    let mut hasher = DefaultHasher::new();
    object.to_string().hash(&mut hasher);
    if let Some(annotations) = object.pointer_mut("/metadata/annotations") {
        put(annotations, APPLIED, format!("{:016x}", hasher.finish()).into());
    }
    object
}

#[cfg(test)]
mod tests;
