//! What holds for all objects there can be.

use crate::support::{CLASS, built, inputs, objects};
use k8s_adapter::build::{Built, Inputs, Options, WantedStatus, build};
use k8s_adapter::manifests;
use k8s_adapter::objects::Objects;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

const GATEWAY: &str = "gateway.networking.k8s.io/v1";

/// All that one namespace has: a Gateway at an address of its own, routes, a Backend, Services and slices.
fn namespace(name: &str, address: &str) -> Vec<Value> {
    let metadata = |object: &str, labels: Value| json!({"name": object, "namespace": name, "labels": labels});
    let path = |value: &str| json!([{"path": {"type": "PathPrefix", "value": value}}]);
    let rules = json!([
        {"matches": path("/mcp"), "timeouts": {"request": "5s"},
         "backendRefs": [{"group": "gateway.kgateway.dev", "kind": "Backend", "name": "b", "weight": 2}]},
        {"matches": path("/plain"),
         "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}],
         "backendRefs": [{"name": "s", "port": 80}]},
        {"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "example.org"}}]},
    ]);
    let service = json!({"ports": [{"name": "web", "port": 80}, {"name": "mcp", "port": 81, "appProtocol": "kgateway.dev/mcp"}]});
    let targets = json!([
        {"selectors": {"serviceSelector": {"matchLabels": {"app": "mcp"}}}},
        {"name": "fixed", "static": {"host": "example.com", "port": 443, "protocol": "SSE"}},
    ]);
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}}),
        json!({"apiVersion": GATEWAY, "kind": "Gateway", "metadata": metadata("g", json!({})), "spec": {
            "gatewayClassName": "ours", "addresses": [{"type": "IPAddress", "value": address}],
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "hostname": "*.example.com"},
                          {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]}}]}}),
        json!({"apiVersion": GATEWAY, "kind": "HTTPRoute", "metadata": metadata("r", json!({})), "spec": {
            "parentRefs": [{"name": "g", "sectionName": "http"}], "hostnames": ["a.example.com"], "rules": rules}}),
        json!({"apiVersion": GATEWAY, "kind": "ReferenceGrant", "metadata": metadata("gr", json!({})), "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "z"}],
            "to": [{"group": "", "kind": "Service"}]}}),
        json!({"apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": "Backend", "metadata": metadata("b", json!({})),
               "spec": {"type": "MCP", "mcp": {"name": "x", "targets": targets}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("s", json!({"app": "mcp"})), "spec": service}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("s2", json!({"app": "mcp"})), "spec": service}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": metadata("s-1", json!({"kubernetes.io/service-name": "s"})),
               "ports": [{"name": "mcp", "port": 9001}, {"name": "web", "port": 9000}],
               "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"uid": "u"}}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": metadata("s-2", json!({"kubernetes.io/service-name": "s"})),
               "ports": [{"name": "mcp", "port": 9001}],
               "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "terminating": true}},
                             {"addresses": ["10.0.0.2"], "conditions": {"ready": null}}]}),
    ]
}

/// Both namespaces.
fn cluster() -> Vec<Value> {
    [namespace("x", "127.0.0.1"), namespace("y", "127.0.0.2")].concat()
}

/// The objects that can be read.
fn inserted(values: &[Value]) -> Objects {
    let mut all = objects(&[CLASS]);
    for value in values {
        _ = all.insert(value.clone());
    }
    all
}

fn of(values: &[Value]) -> Built {
    built(&inserted(values), &Options::default())
}

/// Any JSON, with names and numbers that mean something here among the rest.
fn json_value() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "x",
        "y",
        "g",
        "s",
        "/",
        "HTTP",
        "80",
        "*",
        "All",
        "MCP",
        "10.0.0.1",
        "é\u{0}",
        "(",
        "999999999999",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(-1_i64), Just(0), Just(80), Just(70_000), Just(i64::MAX), any::<i64>()]
            .prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let keys = [
        "name",
        "namespace",
        "kind",
        "type",
        "port",
        "value",
        "static",
        "selectors",
        "matchLabels",
        "targets",
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let key = prop_oneof![prop::sample::select(keys.to_vec()).prop_map(str::to_owned), any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// All places in a value, but those that say whose it is.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if ["/apiVersion", "/kind", "/metadata", "/metadata/name", "/metadata/namespace"]
        .iter()
        .all(|name| *name != at)
    {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            // What a name in a JSON pointer needs (RFC 6901).
            let name = name.replace('~', "~0").replace('/', "~1");
            places(value, &format!("{at}/{name}"), found);
        }),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// What namespace `y` gives.
fn of_y(built: &Built) -> String {
    let statuses: Vec<&WantedStatus> =
        built.statuses.iter().filter(|status| status.key.namespace == "y").collect();
    let notes: Vec<&String> = built.notes.iter().filter(|note| note.contains(" y/")).collect();
    format!("{statuses:?} {notes:?} {:?}", built.routes.port(&"127.0.0.2:80".parse().unwrap()))
}

/// What the whole cluster gives.
fn whole() -> &'static Built {
    static WHOLE: OnceLock<Built> = OnceLock::new();
    WHOLE.get_or_init(|| of(&cluster()))
}

proptest! {
    // A build of this size takes milliseconds without optimization.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_order_of_arrival_does_not_matter(values in Just(cluster()).prop_shuffle()) {
        prop_assert_eq!(format!("{:?}", of(&values)), format!("{:?}", whole()));
    }

    #[test]
    fn what_was_before_is_shared_and_changes_nothing(at in 0..18_usize, place in any::<prop::sample::Index>(), by in json_value()) {
        let before = of(&broken(at, place, by));
        let objects = inserted(&cluster());
        let options = Options::default();
        let fresh = build(&inputs(&objects, &options));
        let shared = build(&Inputs { before: Some(&before.routes), ..inputs(&objects, &options) });
        prop_assert_eq!(format!("{fresh:?}"), format!("{shared:?}"));
        prop_assert_eq!(fresh, shared);
    }

    #[test]
    fn a_broken_object_costs_only_what_it_gives(at in 0..9_usize, place in any::<prop::sample::Index>(), by in json_value()) {
        prop_assert_eq!(of_y(&of(&broken(at, place, by))), of_y(whole()));
    }

    #[test]
    fn any_json_is_read_or_refused(at in 0..18_usize, spec in json_value(), rest in json_value()) {
        let mut values = cluster();
        values[at]["spec"] = spec;
        values[at]["metadata"]["labels"] = rest.clone();
        values[at]["endpoints"] = rest.clone();
        values.push(rest);
        let _ = of(&values);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(kind|spec|[a-z:{}\\[\\]\\-&*!|>'\" \n\t#,.]|---\n|\\PC){0,60}") {
        _ = manifests::read("any", &text, &mut Objects::default());
    }
}

/// The cluster with one place of one object replaced.
fn broken(at: usize, place: prop::sample::Index, by: Value) -> Vec<Value> {
    let mut values = cluster();
    let mut found = Vec::new();
    places(&values[at], "", &mut found);
    let place = place.get(&found[1..]);
    *values[at].pointer_mut(place).unwrap() = by;
    values
}
