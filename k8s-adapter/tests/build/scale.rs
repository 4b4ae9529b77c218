//! Many objects at once.

use crate::support::{CLASS, built, inputs, objects};
use k8s_adapter::build::{Inputs, Options, build};
use k8s_adapter::objects::{Objects, SliceEndpoint};
use serde_json::json;
use std::sync::Arc;

const SERVICES: usize = 1000;

/// A thousand Services with some endpoints each, and as many Backends and routes.
fn many(endpoints: usize) -> Objects {
    let mut all = objects(&[
        CLASS,
        "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g, namespace: n}, \
         spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}}",
    ]);
    for n in 0..SERVICES {
        let metadata = |labels| json!({"name": format!("s{n}"), "namespace": "n", "labels": labels});
        let endpoint = |m: usize| json!({"addresses": [format!("10.{}.{}.{m}", n / 250, n % 250)], "targetRef": {"uid": format!("{n}-{m}")}});
        let endpoints: Vec<_> = (0..endpoints).map(endpoint).collect();
        let reference = json!({"group": "gateway.kgateway.dev", "kind": "Backend", "name": format!("s{n}")});
        for object in [
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(json!({"app": format!("a{n}")})),
                   "spec": {"ports": [{"port": 80, "appProtocol": "kgateway.dev/mcp"}]}}),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                   "metadata": metadata(json!({"kubernetes.io/service-name": format!("s{n}")})),
                   "ports": [{"name": "", "port": 80}], "endpoints": endpoints}),
            json!({"apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": "Backend", "metadata": metadata(json!({})),
                   "spec": {"type": "MCP", "mcp": {"targets": [
                       {"selectors": {"serviceSelector": {"matchLabels": {"app": format!("a{n}")}}}}]}}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata(json!({})),
                   "spec": {"parentRefs": [{"name": "g"}], "rules": [
                       {"matches": [{"path": {"value": format!("/s{n}")}}], "backendRefs": [reference]}]}}),
        ] {
            all.insert(object).unwrap();
        }
    }
    all
}

#[test]
fn only_what_changed_is_new() {
    let mut objects = many(5);
    let options = Options::default();
    let first = built(&objects, &options);
    assert_eq!(first.routes.all_targets().map(|target| target.endpoints.len()).sum::<usize>(), SERVICES * 5);
    assert_eq!(first.notes, Vec::<String>::new());

    let changed = objects.slices.values_mut().next().unwrap();
    Arc::make_mut(changed)
        .endpoints
        .push(SliceEndpoint { addresses: vec!["10.9.9.9".to_owned()], ..SliceEndpoint::default() });
    let second = build(&Inputs { before: Some(&first.routes), ..inputs(&objects, &options) });
    let same = |name, backend| first.routes.backend(name).is_some_and(|before| Arc::ptr_eq(before, backend));
    let new: Vec<&str> = second
        .routes
        .backends()
        .iter()
        .filter(|(name, backend)| !same(name, backend))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(new, ["n/s0"]);
}
