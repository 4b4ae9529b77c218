//! What targets that selectors find are called.

use crate::support::{CLASS, built, objects, status};
use k8s_adapter::build::{Built, Options, StatusKind};

const BACKEND: &str = "
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata: {name: b, namespace: own}
spec: {type: MCP, mcp: {targets: [{selectors: {namespaceSelector: {}}}]}}
";

/// A Service with MCP ports, each `name:number`, and annotations.
fn service(name: &str, ports: &[&str], annotations: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let port = |port: &&str| {
        let (name, number) = port.split_once(':').unwrap();
        format!("{{name: '{name}', port: {number}, appProtocol: kgateway.dev/mcp}}")
    };
    let ports: Vec<String> = ports.iter().map(port).collect();
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}, \
         annotations: {{{annotations}}}}}, spec: {{ports: [{}]}}}}\n",
        ports.join(", ")
    )
}

/// `name source` of all targets, by name; and what is remarked.
fn named(services: &[String]) -> (Vec<String>, Vec<String>) {
    listed(&with(BACKEND, services))
}

fn with(backend: &str, services: &[String]) -> Built {
    built(&objects(&[CLASS, backend, &services.concat()]), &Options::default())
}

fn listed(built: &Built) -> (Vec<String>, Vec<String>) {
    let targets = status(built, StatusKind::Backend, "own/b")["targets"].as_array().unwrap().clone();
    let text = |target: &serde_json::Value, name: &str| target[name].as_str().unwrap().to_owned();
    let list = targets.iter().map(|target| format!("{} {}", text(target, "name"), text(target, "source")));
    let notes = built.notes.iter().filter(|note| note.starts_with("Backend")).cloned();
    (list.collect(), notes.collect())
}

#[test]
fn a_name_is_service_and_port() {
    for (ports, expected) in
        [(&[":3001"][..], &["s-3001"][..]), (&["mcp:3001"], &["s-mcp"]), (&["b:1", "a:2"], &["s-a", "s-b"])]
    {
        let (list, notes) = named(&[service("own/s", ports, "")]);
        let names: Vec<&str> = list.iter().map(|one| one.split_once(' ').unwrap().0).collect();
        assert_eq!(names, expected);
        assert!(notes.is_empty());
    }
}

#[test]
fn the_own_namespace_keeps_the_short_name() {
    let (own, other) = (service("own/s", &[":1"], ""), service("a/s", &[":1"], ""));
    let expected = ["a-s-1 Service a/s:1", "s-1 Service own/s:1"];
    for services in [[own.clone(), other.clone()], [other.clone(), own]] {
        assert_eq!(named(&services).0, expected);
    }
    // Alone it has the short one: its name does not depend on where it is.
    assert_eq!(named(std::slice::from_ref(&other)).0, ["s-1 Service a/s:1"]);
    // Between others the first namespace keeps it.
    assert_eq!(named(&[service("z/s", &[":1"], ""), other]).0, ["s-1 Service a/s:1", "z-s-1 Service z/s:1"]);
}

#[test]
fn who_loses_a_name_is_told() {
    let services = [service("own/a", &["b-c:1"], ""), service("own/a-b", &["c:2"], "")];
    let (list, notes) = named(&services);
    assert_eq!(list, ["a-b-c Service own/a:1"]);
    assert_eq!(notes, ["Backend own/b: Service own/a-b:2 is left out: another target has its name"]);
}

#[test]
fn a_static_name_comes_first() {
    let backend = BACKEND.replace(
        "{selectors: {namespaceSelector: {}}}",
        "{selectors: {namespaceSelector: {}}}, {static: {name: s-1, host: 10.0.0.1, port: 9}}, \
         {static: {name: s-1, host: 10.0.0.2, port: 9}}",
    );
    let (list, notes) =
        listed(&with(&backend, &[service("own/s", &[":1"], ""), service("other/s", &[":1"], "")]));
    assert_eq!(list, ["other-s-1 Service other/s:1", "s-1 10.0.0.1:9"]);
    assert_eq!(
        notes,
        [
            "Backend own/b: Service own/s:1 is left out: another target has its name",
            "Backend own/b: targets[2]: another target is named s-1",
        ]
    );
}

#[test]
fn what_two_selectors_find_is_one_target() {
    let twice = BACKEND.replace(
        "{selectors: {namespaceSelector: {}}}",
        "{selectors: {namespaceSelector: {}}}, {selectors: {serviceSelector: {}}}",
    );
    let (list, notes) = listed(&with(&twice, &[service("own/s", &[":1"], "")]));
    assert_eq!((list, notes), (vec!["s-1 Service own/s:1".to_owned()], vec![]));
}

#[test]
fn an_annotation_gives_another_name() {
    for (annotation, ports, expected) in [
        ("time", &[":1"][..], &["time"][..]),
        ("my.time", &[":1"], &["my-time"]),
        // A name for several ports needs the port.
        ("time", &["a:1", "b:2"], &["time-a", "time-b"]),
    ] {
        let annotation = format!("agentgateway.dev/mcp-target-name: {annotation}");
        let (list, notes) = named(&[service("own/s", ports, &annotation)]);
        let names: Vec<&str> = list.iter().map(|one| one.split_once(' ').unwrap().0).collect();
        assert_eq!(names, expected);
        assert!(notes.is_empty());
    }
    let (list, notes) = named(&[service("own/s", &[":1"], "agentgateway.dev/mcp-target-name: '...'")]);
    assert_eq!(list, ["s-1 Service own/s:1"]);
    assert_eq!(notes, ["Backend own/b: Service own/s: \"...\" is no name for a target"]);
}

#[test]
fn an_annotation_gives_another_path() {
    for (annotation, expected) in [
        ("kgateway.dev/mcp-path: /x", "/x"),
        ("agentgateway.dev/mcp-path: /y", "/y"),
        ("kgateway.dev/mcp-path: /x, agentgateway.dev/mcp-path: /y", "/x"),
        ("kgateway.dev/mcp-path: 'no path'", "/mcp"),
    ] {
        let routed = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: own}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: own}
spec: {parentRefs: [{name: g}], rules: [{backendRefs: [{group: gateway.kgateway.dev, kind: Backend, name: b}]}]}
";
        let objects = objects(&[CLASS, BACKEND, routed, &service("own/s", &[":1"], annotation)]);
        let built = built(&objects, &Options::default());
        assert_eq!(built.routes.all_targets().next().unwrap().path, expected);
    }
}

#[test]
fn what_is_too_long_is_cut_and_stays_apart() {
    let long = "s".repeat(63);
    let (list, _) = named(&[service(&format!("own/{long}"), &["port-a:1", "port-b:2"], "")]);
    let names: Vec<&str> = list.iter().map(|one| one.split_once(' ').unwrap().0).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| name.len() == 63 && name.starts_with(&long[..54])));
}
