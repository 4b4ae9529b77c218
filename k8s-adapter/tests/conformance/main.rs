//! The core of Gateway API's conformance profile GATEWAY-HTTP, version 1.6: one test for each of upstream's, with its
//! name. What upstream asks over a wire is asked here of the snapshot: which rule, which backend, which changes.
//!
//! TLS is not terminated yet, so upstream's tests would not pass where they want an HTTPS listener to be accepted or a
//! Secret to be looked at: here they assert what is reported instead. Such tests say so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

#[path = "../support/mod.rs"]
mod support;

mod gateways;
mod references;
mod routes;

use k8s_adapter::build::{Built, Options, StatusKind};
use k8s_adapter::objects::Objects;
use serde_json::{Value, json};
use support::{CLASS, Request, answer, built, condition, objects, request, status};

/// Three namespaces; Gateways for routes of their own namespace, of all, and of those labelled `role: backend`, each at
/// an address of its own; Services.
const BASE: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: infra, labels: {role: infra}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {role: backend}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: app, labels: {role: backend}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: same, namespace: infra, generation: 1}
spec:
  gatewayClassName: ours
  addresses: [{value: 127.0.0.1}]
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Same}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: all, namespace: infra, generation: 1}
spec:
  gatewayClassName: ours
  addresses: [{value: 127.0.0.2}]
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: backends, namespace: infra, generation: 1}
spec:
  gatewayClassName: ours
  addresses: [{value: 127.0.0.3}]
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {role: backend}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: v1, namespace: infra}, spec: {ports: [{port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: v2, namespace: infra}, spec: {ports: [{port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: v3, namespace: infra}, spec: {ports: [{port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: site, namespace: web}, spec: {ports: [{port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: app-v1, namespace: app}, spec: {ports: [{port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: app-v2, namespace: app}, spec: {ports: [{port: 8080}]}}
";
const SAME: &str = "127.0.0.1:80";
const ALL: &str = "127.0.0.2:80";
const BACKENDS: &str = "127.0.0.3:80";
const V1: &str = "service/infra/v1:8080";
const V2: &str = "service/infra/v2:8080";
const V3: &str = "service/infra/v3:8080";

/// The base and `text`.
fn base(text: &str) -> Objects {
    objects(&[CLASS, BASE, text])
}

fn with(text: &str) -> Built {
    built(&base(text), &Options::default())
}

/// An HTTPRoute; `spec` is the inside of a flow map.
fn route(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, \
         metadata: {{name: {name}, namespace: {namespace}, generation: 1}}, spec: {{{spec}}}}}\n"
    )
}

/// A Gateway at 127.0.0.9.
fn gateway(name: &str, listeners: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, \
         metadata: {{name: {name}, namespace: infra, generation: 1}}, \
         spec: {{gatewayClassName: ours, addresses: [{{value: 127.0.0.9}}], listeners: [{listeners}]}}}}\n"
    )
}

const OWN: &str = "127.0.0.9:80";

fn gateway_status(built: &Built, name: &str) -> Value {
    status(built, StatusKind::Gateway, &format!("infra/{name}"))
}

/// The only entry of a route's `parents`.
fn parent(built: &Built, name: &str) -> Value {
    let parents = status(built, StatusKind::HttpRoute, name)["parents"].as_array().unwrap().clone();
    assert_eq!(parents.len(), 1);
    parents[0].clone()
}

fn accepted(built: &Built, route: &str) {
    let parent = parent(built, route);
    assert_eq!(condition(&parent, "Accepted"), "True Accepted", "{route}");
    assert_eq!(condition(&parent, "ResolvedRefs"), "True ResolvedRefs", "{route}");
}

/// Asks for each host and path; what is expected is a backend or a status.
fn ask(built: &Built, address: &str, cases: &[(&str, &str, &str)]) {
    for (host, path, expected) in cases {
        assert_eq!(answer(built, address, request(host, path)), *expected, "{host}{path}");
    }
}

/// Asks for a path, or for a path with fields.
fn ask_with(built: &Built, path: &str, headers: &[(&str, &str)], expected: &str) {
    let request = Request { host: "any", path, headers };
    assert_eq!(answer(built, SAME, request), expected, "{path} {headers:?}");
}

fn http_kinds() -> Value {
    json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}])
}

/// An HTTPS listener with this certificateRef.
fn https(name: &str, reference: &str) -> String {
    gateway(
        name,
        &format!(
            "{{name: https, port: 443, protocol: HTTPS, allowedRoutes: {{namespaces: {{from: All}}}}, \
             tls: {{certificateRefs: [{reference}]}}}}"
        ),
    )
}

/// All values of `observedGeneration` in a status.
fn generations(value: &Value) -> Vec<i64> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match key.as_str() {
                "observedGeneration" => vec![value.as_i64().unwrap()],
                _ => generations(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(generations).collect(),
        _ => Vec::new(),
    }
}

/// Each condition says that it is about the generation that was looked at.
fn bumps(kind: StatusKind, name: &str, text: &str, count: usize) {
    let built = with(&text.replace("generation: 1", "generation: 7"));
    assert_eq!(generations(&status(&built, kind, name)), vec![7; count], "{name}");
}

/// A ReferenceGrant.
fn grant(namespace: &str, from: &str, to: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, \
         metadata: {{name: g, namespace: {namespace}}}, spec: {{from: [{{{from}}}], to: [{{{to}}}]}}}}\n"
    )
}

/// A rule for a prefix.
fn to(prefix: &str, backend: &str) -> String {
    format!(
        "{{matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}], backendRefs: [{{name: {backend}, port: 8080}}]}}"
    )
}

const FROM_ROUTE: &str = "group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: infra";
