//! A fake cluster of a given size.

use fake_kubernetes::FakeKubernetes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Services of a namespace.
const NEIGHBOURS: usize = 50;
/// Port of all MCP servers but the live one.
const PORT: u16 = 3001;

/// How big a cluster is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size {
    /// Services, each with an EndpointSlice, a Backend that selects it, and an HTTPRoute with a prefix of its own.
    pub(crate) services: usize,
    /// Endpoints of each of them.
    pub(crate) endpoints: usize,
}

/// A cluster of that size; besides there is one Service whose only pod is alive, behind `/live`.
pub(crate) struct Cluster {
    pub(crate) server: FakeKubernetes,
    pub(crate) size: Size,
    /// Slices that have one endpoint more than the others.
    grown: BTreeSet<usize>,
    /// Pods that were replaced so far.
    replaced: usize,
}

impl Cluster {
    /// Fills a new cluster. Its Gateway listens on `port`, and `live` is where the one pod is.
    pub(crate) fn start(size: Size, port: u16, live: SocketAddr) -> Self {
        let server = FakeKubernetes::start();
        for namespace in 0..size.services.div_ceil(NEIGHBOURS) {
            apply(
                &server,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{namespace}")}}),
            );
        }
        let all = json!({"namespaces": {"from": "All"}});
        let listener = json!({"name": "http", "protocol": "HTTP", "port": port, "allowedRoutes": all});
        let gateway = json!({"gatewayClassName": "mcp", "listeners": [listener]});
        let class = json!({"controllerName": "mcp-gateway.dev/controller"});
        for (kind, metadata, spec) in [
            ("GatewayClass", json!({"name": "mcp"}), class),
            ("Gateway", json!({"name": "mcp", "namespace": "default"}), gateway),
        ] {
            let version = "gateway.networking.k8s.io/v1";
            apply(&server, json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}));
        }
        let cluster = Self { server, size, grown: BTreeSet::new(), replaced: 0 };
        cluster.add("live", "default", live.port(), json!([endpoint(&live.ip().to_string(), "live")]));
        for service in 0..size.services {
            let endpoints = cluster.endpoints_of(service);
            cluster.add(&name(service), &namespace(service), PORT, endpoints);
        }
        let quiet = json!({"name": "elsewhere", "namespace": "default"});
        apply(&cluster.server, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": quiet}));
        cluster
    }

    /// All endpoints that there are.
    pub(crate) fn endpoints(&self) -> usize {
        self.size.services * self.size.endpoints + self.grown.len() + 1
    }

    /// Gives a Service one endpoint more, or takes it away again.
    pub(crate) fn change(&mut self, number: usize) {
        let service = number % self.size.services.max(1);
        if !self.grown.remove(&service) {
            self.grown.insert(service);
        }
        self.put(service);
    }

    /// One step of a rolling update: another pod takes the place of one, in the next Service each time.
    pub(crate) fn replace_pod(&mut self) {
        self.replaced += 1;
        self.put(self.replaced % self.size.services.max(1));
    }

    /// As much work for the API server as a step of a rolling update, on an object that the gateway does not follow.
    pub(crate) fn change_elsewhere(&mut self) {
        self.replaced += 1;
        let endpoints = self.endpoints_of(self.replaced % self.size.services.max(1));
        self.server.patch("configmaps", "default/elsewhere", json!({"data": {"endpoints": endpoints}}));
    }

    fn put(&self, service: usize) {
        let endpoints = self.endpoints_of(service);
        let key = format!("{}/{}", namespace(service), name(service));
        self.server.patch("endpointslices", &key, json!({"endpoints": endpoints}));
    }

    /// The endpoints of a Service. Replaced pods have a new address and uid: the first turns over with every round.
    fn endpoints_of(&self, service: usize) -> Value {
        let count = self.size.endpoints + usize::from(self.grown.contains(&service));
        let rounds = self.replaced / self.size.services.max(1);
        let endpoint = |number: usize| {
            let current = rounds + usize::from(self.replaced % self.size.services.max(1) == service);
            let era = if number == 0 && self.replaced > 0 { current } else { 0 };
            let address = format!("10.{}.{}.{}", service / 250 + 8 * era.min(20), service % 250, number + 1);
            endpoint(&address, &format!("{service:04}{number:04}-{era:04}"))
        };
        (0..count).map(endpoint).collect()
    }

    /// A Service, its slice, and how it is reached.
    fn add(&self, name: &str, namespace: &str, port: u16, endpoints: Value) {
        let metadata = |labels| json!({"name": name, "namespace": namespace, "labels": labels});
        let labels = json!({"app": name});
        let selector = json!({"serviceSelector": {"matchLabels": labels}});
        let parents = json!([{"name": "mcp", "namespace": "default"}]);
        let reference = json!({"group": "gateway.kgateway.dev", "kind": "Backend", "name": name});
        let path = json!({"path": {"type": "PathPrefix", "value": format!("/{name}")}});
        for object in [
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata(labels.clone()), "spec": {
                    "selector": labels, "ports": [{"port": PORT, "targetPort": port, "appProtocol": "kgateway.dev/mcp"}],
                },
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": metadata(json!({"kubernetes.io/service-name": name})),
                "ports": [{"name": "", "port": port, "protocol": "TCP"}], "endpoints": endpoints,
            }),
            json!({
                "apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": "Backend", "metadata": metadata(labels.clone()),
                "spec": {"type": "MCP", "mcp": {"targets": [{"selectors": selector}]}},
            }),
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata(labels),
                "spec": {"parentRefs": parents, "rules": [{"matches": [path], "backendRefs": [reference]}]},
            }),
        ] {
            apply(&self.server, object);
        }
    }
}

fn name(service: usize) -> String {
    format!("mcp-{service}")
}

fn namespace(service: usize) -> String {
    format!("team-{}", service / NEIGHBOURS)
}

/// An endpoint with all that the controller of a real cluster says of it.
fn endpoint(address: &str, uid: &str) -> Value {
    let pod = json!({"kind": "Pod", "namespace": "team", "name": format!("pod-{uid}"), "uid": format!("7f3c1d52-9a54-4c1e-{uid}")});
    let conditions = json!({"ready": true, "serving": true, "terminating": false});
    json!({"addresses": [address], "conditions": conditions, "nodeName": "node-1", "targetRef": pod, "zone": "zone-a"})
}

fn apply(server: &FakeKubernetes, object: Value) {
    server.apply(&object.to_string());
}
