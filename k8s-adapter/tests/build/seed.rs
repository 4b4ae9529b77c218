//! The manifests of the documentation that users start with, as they stand there.

use crate::support::{answer, built, condition, endpoints, inputs, objects, request, status};
use k8s_adapter::build::{Built, Inputs, Options, Publish, StatusAddress, StatusKind, build};
use k8s_adapter::objects::Objects;
use std::collections::BTreeMap;
use std::sync::Arc;

const DYNAMIC: [&str; 4] = [
    include_str!("../seed/dynamic-server.yaml"),
    include_str!("../seed/dynamic-backend.yaml"),
    include_str!("../seed/dynamic-gateway.yaml"),
    include_str!("../seed/dynamic-route.yaml"),
];
const MULTIPLEX: [&str; 4] = [
    include_str!("../seed/multiplex-server.yaml"),
    include_str!("../seed/multiplex-backend.yaml"),
    include_str!("../seed/multiplex-gateway.yaml"),
    include_str!("../seed/multiplex-route.yaml"),
];
/// What a cluster adds.
const CLUSTER: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: agentgateway}
spec: {controllerName: mcp-gateway.dev/controller}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mcp-server-x1, namespace: default, labels: {kubernetes.io/service-name: mcp-server}}
addressType: IPv4
ports: [{name: '', port: 3001, protocol: TCP}]
endpoints: [{addresses: [10.0.0.7], conditions: {ready: true}, targetRef: {uid: pod-1}}]
";

fn names(built: &Built) -> Vec<String> {
    let backend = built.routes.backend(&"default/mcp-backend".into()).unwrap();
    backend.targets().iter().map(|target| target.name().to_string()).collect()
}

#[test]
fn a_labelled_service_becomes_an_mcp_endpoint() {
    let objects = objects(&[&DYNAMIC[..], &[CLUSTER]].concat());
    let options = Options {
        publish: Publish::Addresses(vec![StatusAddress::Hostname(
            "1234567890.us-east-2.elb.amazonaws.com".to_owned(),
        )]),
        ..Options::default()
    };
    let built = built(&objects, &options);
    assert_eq!(built.routes.addresses().collect::<Vec<_>>(), ["[::]:8080".parse().unwrap()]);
    for path in ["/mcp", "/sse"] {
        assert_eq!(answer(&built, "[::]:8080", request("localhost", path)), "default/mcp-backend");
    }
    assert_eq!(names(&built), ["mcp-server-3001"]);
    assert_eq!(endpoints(&built, "default/mcp-backend")[0].address, "10.0.0.7:3001".parse().unwrap());
    let target = Arc::clone(built.routes.all_targets().next().unwrap());
    assert_eq!(
        (target.authority.as_str(), target.path.as_str()),
        ("mcp-server.default.svc.cluster.local:3001", "/mcp")
    );

    let gateway = status(&built, StatusKind::Gateway, "default/agentgateway");
    assert_eq!(gateway["addresses"][0]["value"], "1234567890.us-east-2.elb.amazonaws.com");
    assert_eq!(condition(&gateway, "Programmed"), "True Programmed");
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 1);
    let route = status(&built, StatusKind::HttpRoute, "default/mcp");
    assert_eq!(condition(&route["parents"][0], "Accepted"), "True Accepted");
    assert_eq!(condition(&route["parents"][0], "ResolvedRefs"), "True ResolvedRefs");
    let backend = status(&built, StatusKind::Backend, "default/mcp-backend");
    assert_eq!(condition(&backend, "Accepted"), "True Accepted");
    assert_eq!(backend["targets"][0]["name"], "mcp-server-3001");
    assert_eq!(backend["targets"][0]["endpointsReady"], 1);
    assert_eq!(built.notes, Vec::<String>::new());
}

#[test]
fn two_ports_of_a_service_are_two_targets() {
    let built = built(&objects(&[&MULTIPLEX[..], &[CLUSTER]].concat()), &Options::default());
    assert_eq!(names(&built), ["mcp-server-mcp-server", "mcp-server-mcp-everything"]);
    // The slice of the other example has a port without name: it is none of these.
    assert_eq!(endpoints(&built, "default/mcp-backend"), []);
}

#[test]
fn a_laptop_needs_neither_class_nor_slices() {
    let objects = objects(&MULTIPLEX);
    let resolve = BTreeMap::from([("mcp-server".to_owned(), "127.0.0.1".to_owned())]);
    let options = Options { from_files: true, resolve, ..Options::default() };
    let built = built(&objects, &options);
    assert_eq!(answer(&built, "[::]:8080", request("localhost", "/mcp")), "default/mcp-backend");
    let backend = built.routes.backend(&"default/mcp-backend".into()).unwrap();
    let reached: Vec<_> = backend
        .targets()
        .iter()
        .map(|target| (target.endpoints[0].address.to_string(), target.authority.clone()))
        .collect();
    let both = |address: &str| (address.to_owned(), address.to_owned());
    assert_eq!(reached, [both("127.0.0.1:3001"), both("127.0.0.1:3002")]);
    assert!(built.hosts.is_empty());
}

#[test]
fn a_laptop_asks_for_the_name_in_the_cluster_if_it_is_not_told() {
    let objects = objects(&DYNAMIC);
    let options = Options { from_files: true, ..Options::default() };
    let name = ("mcp-server.default.svc.cluster.local".to_owned(), 3001);
    assert_eq!(built(&objects, &options).hosts, [name.clone()].into());
    let hosts = BTreeMap::from([(name, vec!["10.9.9.9:3001".parse().unwrap()])]);
    let built = build(&Inputs { hosts: &hosts, ..inputs(&objects, &options) });
    assert_eq!(endpoints(&built, "default/mcp-backend")[0].address, "10.9.9.9:3001".parse().unwrap());
}

#[test]
fn any_number_of_services_is_federated() {
    let mut texts =
        vec![DYNAMIC[1].to_owned(), DYNAMIC[2].to_owned(), DYNAMIC[3].to_owned(), CLUSTER.to_owned()];
    for count in 0..4 {
        let objects: Objects = objects(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let built = built(&objects, &Options::default());
        let expected: Vec<String> = (0..count).map(|n| format!("s{n}-3001")).collect();
        assert_eq!(names(&built), expected);
        // Nothing selected is a backend without targets, not a broken one.
        assert_eq!(answer(&built, "[::]:8080", request("x", "/mcp")), "default/mcp-backend");
        let backend = status(&built, StatusKind::Backend, "default/mcp-backend");
        assert_eq!(condition(&backend, "Accepted"), "True Accepted");
        let resolved = ["False NoTargets", "False NoReadyEndpoints"][usize::from(count > 0)];
        assert_eq!(condition(&backend, "TargetsResolved"), resolved);
        texts.push(format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{count}, labels: {{app: mcp-server}}}}, \
             spec: {{ports: [{{port: 3001, appProtocol: kgateway.dev/mcp}}]}}}}"
        ));
    }
}

#[test]
fn a_foreign_class_of_that_name_is_told() {
    let class = "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: agentgateway}, \
                 spec: {controllerName: kgateway.dev/agentgateway}}";
    let objects = objects(&[&DYNAMIC[..], &[class]].concat());
    let built = built(&objects, &Options::default());
    let expected = "no GatewayClass has controllerName mcp-gateway.dev/controller: \
                    agentgateway belongs to kgateway.dev/agentgateway";
    assert_eq!(built.notes[..1], [expected.to_owned()]);
    assert!(built.statuses.iter().all(|status| status.kind == StatusKind::Backend));
    assert_eq!(built.routes.addresses().count(), 0);
}
