//! What a build costs grows with the cluster and no faster: counted in allocations, which are the same on every machine.
//! A test program of its own, since every thread's allocations count.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

#[path = "../support/mod.rs"]
mod support;

use k8s_adapter::build::{Inputs, Options, build};
use k8s_adapter::objects::Objects;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use support::{CLASS, built, inputs, objects};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// `services` Services with as many `endpoints` each, and a Backend and a route for each of them.
fn cluster(services: usize, endpoints: usize) -> Objects {
    let mut all = objects(&[
        CLASS,
        "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g, namespace: n}, \
         spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}}",
    ]);
    for service in 0..services {
        let name = format!("s{service}");
        let metadata = |labels| json!({"name": name, "namespace": "n", "labels": labels});
        let endpoint = |number: usize| json!({"addresses": [format!("10.{}.{}.{number}", service / 250, service % 250)]});
        let endpoints: Vec<_> = (0..endpoints).map(endpoint).collect();
        let selector = json!({"serviceSelector": {"matchLabels": {"app": name}}});
        let reference = json!({"group": "gateway.kgateway.dev", "kind": "Backend", "name": name});
        let matches = json!([{"path": {"value": format!("/{name}")}}]);
        for object in [
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(json!({"app": name})),
                   "spec": {"ports": [{"port": 80, "appProtocol": "kgateway.dev/mcp"}]}}),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                   "metadata": metadata(json!({"kubernetes.io/service-name": name})),
                   "ports": [{"name": "", "port": 80}], "endpoints": endpoints}),
            json!({"apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": "Backend", "metadata": metadata(json!({})),
                   "spec": {"type": "MCP", "mcp": {"targets": [{"selectors": selector}]}}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata(json!({})),
                   "spec": {"parentRefs": [{"name": "g"}], "rules": [{"matches": matches, "backendRefs": [reference]}]}}),
        ] {
            all.insert(object).unwrap();
        }
    }
    all
}

/// Allocations of a build in the place of an equal one, and their bytes.
fn cost(services: usize, endpoints: usize) -> [usize; 2] {
    let (objects, options) = (cluster(services, endpoints), Options::default());
    let before = built(&objects, &options).routes;
    let region = Region::new(ALLOCATOR);
    let built = build(&Inputs { before: Some(&before), ..inputs(&objects, &options) });
    let change = region.change();
    let found: usize = built.routes.all_targets().map(|target| target.endpoints.len()).sum();
    assert_eq!(found, services * endpoints);
    [change.allocations, change.bytes_allocated]
}

#[test]
fn a_build_grows_with_the_cluster_and_no_faster() {
    let [small, wide, deep] = [cost(100, 10), cost(200, 10), cost(100, 20)];
    for (figure, (before, after)) in small.into_iter().zip(wide).enumerate() {
        // Buffers that double as they grow leave some room.
        assert!(after * 10 < before * 23, "figure {figure}: {before} for 100 Services, {after} for 200");
    }
    // An endpoint takes no allocation of its own, only its place in some buffers.
    let grown = deep[0] - small[0];
    assert!(grown < 100 * 10, "{grown} more allocations for 1000 more endpoints");
    let bytes = (deep[1] - small[1]) / 1000;
    assert!(bytes < 1000, "{bytes} bytes for each endpoint more");
}
