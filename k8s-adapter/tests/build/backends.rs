//! Which targets stand behind a Backend.

use crate::support::{built, condition, endpoints, inputs, objects, status};
use k8s_adapter::build::{Built, Inputs, Options, Seen, StatusKind, build};
use routing::{Protocol, TargetId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Services in two namespaces: with and without MCP ports, labels, and a slice for one of them.
const SERVICES: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: red, opened: 'yes'}}}
---
apiVersion: v1
kind: Service
metadata: {name: time, namespace: own, labels: {app: mcp}}
spec: {ports: [{name: web, port: 80}, {name: mcp, port: 3001, appProtocol: kgateway.dev/mcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: old, namespace: own, labels: {app: mcp, era: sse}}
spec: {ports: [{port: 3002, appProtocol: agentgateway.dev/mcp-sse}]}
---
{apiVersion: v1, kind: Service, metadata: {name: plain, namespace: own, labels: {app: web}}, spec: {ports: [{port: 80}]}}
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: own, labels: {app: mcp}}
spec: {type: ExternalName, ports: [{port: 3001, appProtocol: kgateway.dev/mcp}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other, labels: {app: mcp}}
spec: {ports: [{port: 3001, appProtocol: agentgateway.dev/mcp}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: t1, namespace: own, labels: {kubernetes.io/service-name: time}}
addressType: IPv4
ports: [{name: mcp, port: 9001}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}]
";

/// A Backend in namespace `own` with these targets, each the inside of a flow map.
fn backend(targets: &[&str]) -> String {
    let targets: Vec<String> = targets.iter().map(|target| format!("{{{target}}}")).collect();
    format!(
        "{{apiVersion: gateway.kgateway.dev/v1alpha1, kind: Backend, metadata: {{name: b, namespace: own}}, \
         spec: {{type: MCP, mcp: {{name: x, targets: [{}]}}}}}}",
        targets.join(", ")
    )
}

/// A Gateway and a route, so that the Backend is served.
const ROUTED: &str = "
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

fn with(targets: &[&str], options: &Options) -> Built {
    built(&objects(&[crate::support::CLASS, ROUTED, SERVICES, &backend(targets)]), options)
}

/// The names of the targets, sorted.
fn names(built: &Built) -> Vec<String> {
    let names = |backend: &Arc<routing::Backend>| {
        backend.targets().iter().map(|target| target.name().to_string()).collect::<Vec<_>>()
    };
    let mut names = built.routes.backend(&"own/b".into()).map(names).unwrap_or_default();
    names.sort();
    names
}

fn of(built: &Built) -> Value {
    status(built, StatusKind::Backend, "own/b")
}

fn message(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn selectors_select_what_they_say() {
    for (target, expected) in [
        ("selectors: {serviceSelector: {matchLabels: {app: mcp}}}", &["old-3002", "time-mcp"][..]),
        ("name: x, selector: {service: {matchLabels: {app: mcp}}}", &["old-3002", "time-mcp"]),
        ("selectors: {serviceSelector: {matchLabels: {app: mcp, era: sse}}}", &["old-3002"]),
        ("selectors: {serviceSelector: {matchLabels: {app: none}}}", &[]),
        // Empty is everything, in the Backend's own namespace.
        ("selectors: {serviceSelector: {}}", &["old-3002", "time-mcp"]),
        (
            "selectors: {serviceSelector: {matchExpressions: [{key: era, operator: DoesNotExist}]}}",
            &["time-mcp"],
        ),
        // With a selector of namespaces, those alone; empty is all of them.
        ("selectors: {namespaceSelector: {matchLabels: {team: red}}}", &["far-3001"]),
        ("selectors: {namespaceSelector: {}}", &["far-3001", "old-3002", "time-mcp"]),
        ("selectors: {namespaceSelector: {}, serviceSelector: {matchLabels: {era: sse}}}", &["old-3002"]),
        (
            "selectors: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: own}}}",
            &["old-3002", "time-mcp"],
        ),
    ] {
        let built = with(&[target], &Options::default());
        assert_eq!(names(&built), expected, "{target}");
        assert_eq!(condition(&of(&built), "Accepted"), "True Accepted");
    }
}

#[test]
fn an_entry_that_says_nothing_never_means_all() {
    for (target, expected) in [
        ("", "targets[0]: neither `static` nor a selector; was it dropped by another version's definition?"),
        (
            "name: x",
            "targets[0]: neither `static` nor a selector; was it dropped by another version's definition?",
        ),
        ("selectors: {}", "targets[0]: a selector that says neither which Services nor which namespaces"),
        (
            "selectors: {serviceSelector: {}}, static: {name: a, host: h, port: 1}",
            "targets[0]: more than one of `static`, `selectors` and `selector`",
        ),
        (
            "selectors: {serviceSelector: {}}, selector: {service: {}}",
            "targets[0]: more than one of `static`, `selectors` and `selector`",
        ),
        (
            "selectors: {serviceSelector: {matchExpressions: [{key: a, operator: Has}]}}",
            "targets[0]: an unknown operator \"Has\" for a",
        ),
        ("static: {host: h, port: 1}", "targets[0]: a static target without name"),
        ("static: {name: a, host: h, port: 0}", "targets[0]: 0 is no port"),
        ("static: {name: a, host: 'h h', port: 1}", "targets[0]: \"h h\" is no host"),
        ("static: {name: a, host: '', port: 1}", "targets[0]: \"\" is no host"),
        ("static: {name: a, host: h, port: 1, path: 'x'}", "targets[0]: \"x\" is no path"),
        (
            "static: {name: a, host: h, port: 1, protocol: TCP}",
            "targets[0]: \"TCP\" is no protocol that is known here",
        ),
    ] {
        let alone = with(&[target], &Options::default());
        assert_eq!(names(&alone), Vec::<String>::new());
        assert_eq!(condition(&of(&alone), "Accepted"), "False Invalid");
        assert_eq!(message(&of(&alone), "Accepted"), expected);
        assert!(alone.notes.contains(&format!("Backend own/b: {expected}")));
        // Others keep working.
        let both = with(&[target, "static: {name: b, host: 10.0.0.1, port: 1}"], &Options::default());
        assert_eq!(names(&both), ["b"]);
        assert_eq!(condition(&of(&both), "Accepted"), "True Accepted");
        assert_eq!(message(&of(&both), "Accepted"), format!("some targets are invalid: {expected}"));
    }
}

#[test]
fn static_names_are_labels() {
    for bad in ["a_b", "A", "3a", "a.b", "''", "-a"] {
        let built = with(&[&format!("static: {{name: {bad}, host: h, port: 1}}")], &Options::default());
        assert_eq!(condition(&of(&built), "Accepted"), "False Invalid", "{bad}");
    }
}

#[test]
fn without_targets_a_backend_is_invalid_and_routes_say_so() {
    let built = with(&[], &Options::default());
    assert_eq!(message(&of(&built), "Accepted"), "it has no targets");
    let route = status(&built, StatusKind::HttpRoute, "own/r");
    assert_eq!(condition(&route["parents"][0], "ResolvedRefs"), "False BackendNotFound");
    assert_eq!(crate::support::answer(&built, "[::]:80", crate::support::request("x", "/mcp")), "500");
}

#[test]
fn a_backend_of_another_type_is_left_alone() {
    let other = backend(&["static: {name: a, host: h, port: 1}"]).replace("type: MCP", "type: AWS");
    let built = built(&objects(&[crate::support::CLASS, ROUTED, &other]), &Options::default());
    assert!(built.statuses.iter().all(|status| status.kind != StatusKind::Backend));
    let route = status(&built, StatusKind::HttpRoute, "own/r");
    assert_eq!(condition(&route["parents"][0], "ResolvedRefs"), "False InvalidKind");
}

#[test]
fn a_static_host_is_an_address_a_service_or_a_name_outside() {
    let options = Options::default();
    for (at, authority, addresses, hosts) in [
        ("host: 10.9.9.9, port: 81", "10.9.9.9:81", &["10.9.9.9:81"][..], &[][..]),
        ("host: 'fd00::1', port: 81", "[fd00::1]:81", &["[fd00::1]:81"], &[]),
        ("host: '[fd00::1]', port: 81", "[fd00::1]:81", &["[fd00::1]:81"], &[]),
        // Names of a Service lead to its endpoints, and stay what the server is asked for.
        ("host: time, port: 3001", "time:3001", &["10.0.0.1:9001"], &[]),
        ("host: time.own, port: 3001", "time.own:3001", &["10.0.0.1:9001"], &[]),
        ("host: time.own.svc, port: 3001", "time.own.svc:3001", &["10.0.0.1:9001"], &[]),
        (
            "host: time.own.svc.cluster.local, port: 3001",
            "time.own.svc.cluster.local:3001",
            &["10.0.0.1:9001"],
            &[],
        ),
        // The Service has no such port, or it is not there: its name may still mean something.
        ("host: time, port: 4", "time:4", &[], &["time:4"]),
        ("host: time.other, port: 3001", "time.other:3001", &[], &["time.other:3001"]),
        ("host: away, port: 3001", "away:3001", &[], &["away:3001"]),
        ("host: Mcp.Example.com, port: 443", "Mcp.Example.com:443", &[], &["mcp.example.com:443"]),
        ("host: example.com., port: 443", "example.com:443", &[], &["example.com:443"]),
    ] {
        let built = with(&[&format!("static: {{name: a, {at}}}")], &options);
        let target = Arc::clone(built.routes.all_targets().next().unwrap());
        assert_eq!(target.authority, authority);
        let reached: Vec<String> =
            target.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        assert_eq!(reached, addresses, "{at}");
        let wanted: Vec<String> = built.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        assert_eq!(wanted, hosts, "{at}");
    }
}

#[test]
fn a_resolved_host_has_its_addresses() {
    let objects = objects(&[
        crate::support::CLASS,
        ROUTED,
        &backend(&["static: {name: a, host: example.com, port: 443}"]),
    ]);
    let addresses =
        ["192.0.2.2:443", "192.0.2.1:443", "192.0.2.2:443"].map(|address| address.parse().unwrap());
    let hosts = BTreeMap::from([(("example.com".to_owned(), 443), addresses.to_vec())]);
    let options = Options::default();
    let built = build(&Inputs { hosts: &hosts, ..inputs(&objects, &options) });
    let reached: Vec<_> =
        endpoints(&built, "own/b").iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(reached, ["192.0.2.1:443", "192.0.2.2:443"]);
    assert_eq!(condition(&of(&built), "TargetsResolved"), "True TargetsResolved");
}

#[test]
fn protocol_and_path_are_what_is_said_or_usual() {
    for (target, protocol, path) in [
        ("static: {name: a, host: h, port: 1}", Protocol::Auto, "/mcp"),
        ("static: {name: a, host: h, port: 1, protocol: Undefined}", Protocol::Auto, "/mcp"),
        ("static: {name: a, host: h, port: 1, protocol: StreamableHTTP}", Protocol::Auto, "/mcp"),
        ("static: {name: a, host: h, port: 1, protocol: SSE}", Protocol::Sse, "/sse"),
        ("name: a, static: {host: h, port: 1, protocol: SSE, path: /x?y=1}", Protocol::Sse, "/x?y=1"),
        ("selectors: {serviceSelector: {matchLabels: {era: sse}}}", Protocol::Sse, "/sse"),
        ("selectors: {namespaceSelector: {matchLabels: {team: red}}}", Protocol::Auto, "/mcp"),
    ] {
        let built = with(&[target], &Options::default());
        let target = built.routes.all_targets().next().unwrap();
        assert_eq!((target.protocol, target.path.as_str()), (protocol, path));
    }
}

#[test]
fn what_is_skipped_is_named() {
    let built = with(
        &["selectors: {serviceSelector: {matchExpressions: [{key: app, operator: Exists}]}}"],
        &Options::default(),
    );
    assert_eq!(names(&built), ["old-3002", "time-mcp"]);
    let skipped = message(&of(&built), "TargetsResolved");
    for expected in [
        "targets[0]: Service own/away is skipped: it is an ExternalName",
        "targets[0]: Service own/plain is skipped: none of its ports has appProtocol kgateway.dev/mcp",
    ] {
        assert!(skipped.contains(expected), "{skipped}");
        assert!(built.notes.contains(&format!("Backend own/b: {expected}")));
    }
}

#[test]
fn other_namespaces_can_be_made_to_opt_in() {
    let target = "selectors: {namespaceSelector: {}}";
    let asking = |label: &str| Options { namespace_opt_in: Some(label.to_owned()), ..Options::default() };
    assert_eq!(names(&with(&[target], &asking("opened"))), ["far-3001", "old-3002", "time-mcp"]);
    // The Backend's own namespace needs no leave.
    assert_eq!(names(&with(&[target], &asking("unheard-of"))), ["old-3002", "time-mcp"]);
}

#[test]
fn the_status_lists_targets_as_they_are_seen() {
    let objects =
        objects(&[crate::support::CLASS, ROUTED, SERVICES, &backend(&["selectors: {serviceSelector: {}}"])]);
    let id = TargetId::parse(&"own/b".into(), "time-mcp").unwrap();
    let seen = Seen { era: Some("modern".to_owned()), error: Some("connection refused".to_owned()) };
    let (options, observed) = (Options::default(), BTreeMap::from([(id, seen)]));
    let built = build(&Inputs { observed: &observed, ..inputs(&objects, &options) });
    assert_eq!(
        of(&built)["targets"],
        json!([
            {"name": "old-3002", "source": "Service own/old:3002", "endpointsReady": 0, "endpointsTotal": 0},
            {
                "name": "time-mcp", "source": "Service own/time:3001", "endpointsReady": 1, "endpointsTotal": 2,
                "era": "modern", "lastError": "connection refused",
            },
        ])
    );
    assert_eq!(condition(&of(&built), "TargetsResolved"), "False NoReadyEndpoints");
    assert!(message(&of(&built), "TargetsResolved").starts_with("without ready endpoint: old-3002"));
}
