//! `mcp-gateway kubernetes`: a cluster is followed.

use crate::gateway::{File, Gateway, PATIENCE, command, own_address};
use crate::talk::{Talk, status};
use fake_kubernetes::FakeKubernetes;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const TOOLS: [&str; 4] = ["clock_now", "clock_wait", "notes_add", "notes_list"];

/// An MCP server that any name is good for: in a cluster it is called by that of its Service.
fn server() -> Gateway {
    let settings = File::new("server.yaml", "allowedHosts: '*'\n");
    Gateway::start(&["--settings", settings.path()])
}

/// The seed's objects as a cluster has them, with a Gateway on `port`, and the pod of `mcp-server` where `server` is.
fn manifests(port: u16, server: SocketAddr) -> String {
    format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: agentgateway}}
spec: {{controllerName: mcp-gateway.dev/controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: agentgateway, namespace: default}}
spec:
  gatewayClassName: agentgateway
  listeners: [{{name: http, protocol: HTTP, port: {port}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: mcp, namespace: default}}
spec:
  parentRefs: [{{name: agentgateway}}]
  rules: [{{backendRefs: [{{group: gateway.kgateway.dev, kind: Backend, name: mcp-backend}}]}}]
---
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata: {{name: mcp-backend, namespace: default}}
spec:
  type: MCP
  mcp:
    name: mcp-virtual-server
    targets: [{{selectors: {{serviceSelector: {{matchLabels: {{app: mcp-server}}}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: mcp-server, namespace: default, labels: {{app: mcp-server}}}}
spec:
  ports: [{{protocol: TCP, port: 3001, targetPort: 3001, appProtocol: kgateway.dev/mcp}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: mcp-server-1, namespace: default, labels: {{kubernetes.io/service-name: mcp-server}}}}
addressType: IPv4
ports: [{{name: "", port: {target}, protocol: TCP}}]
endpoints: [{{addresses: ["{ip}"], conditions: {{ready: true}}}}]
"#,
        ip = server.ip(),
        target = server.port(),
    )
}

/// A gateway that follows `cluster` and binds to the address `at`.
fn start(cluster: &FakeKubernetes, name: &str, at: SocketAddr, more: &[&str]) -> Gateway {
    let kubeconfig = File::new(&format!("{name}.kubeconfig"), &cluster.kubeconfig());
    let (file, bind) = (format!("--kubeconfig={}", kubeconfig.path()), format!("--bind={}", at.ip()));
    let fixed = [
        "kubernetes",
        &file,
        &bind,
        "--admin=127.0.0.1:0",
        "--log-format=json",
        "--runtime=tokio",
        "--workers=2",
    ];
    let gateway = Gateway::from(command(&[&fixed, more].concat()));
    // It is read before anything is served.
    drop(kubeconfig);
    gateway
}

fn ready(gateway: &Gateway) {
    gateway.until("/readyz", |status, _| (status == 200).then_some(()));
}

/// Waits until `find` finds something.
fn until<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn condition(object: &Value, kind: &str) -> Option<String> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(format!("{} {}", found["status"].as_str()?, found["reason"].as_str()?))
}

#[test]
fn a_cluster_is_served_followed_and_outlived() {
    let (server, at) = (server(), own_address());
    let cluster = FakeKubernetes::start();
    cluster.apply(&manifests(at.port(), server.endpoint));
    let gateway = start(&cluster, "follow", at, &[]);
    ready(&gateway);
    let talk = Talk::begin(at);
    assert_eq!(talk.tools(), TOOLS);

    // Said once: what is served and where.
    let programmed = |object: Value| {
        (condition(&object, "Programmed")? == "True Programmed")
            .then_some(object["status"]["addresses"].clone())
    };
    let addresses =
        until("the Gateway's status", || programmed(cluster.find("gateways", "default/agentgateway")?));
    assert_eq!(addresses, json!([{"type": "IPAddress", "value": at.ip().to_string()}]));
    assert_eq!(gateway.metric("mcp_gateway_kubernetes_leader"), 1);
    for (resource, name) in [("gatewayclasses", "agentgateway"), ("backends", "default/mcp-backend")] {
        let accepted = || Some(condition(&cluster.find(resource, name)?, "Accepted")? == "True Accepted");
        until(name, || accepted()?.then_some(()));
    }

    // What was found out while it was talked to is told, too.
    let era = || {
        let backend = cluster.find("backends", "default/mcp-backend")?;
        backend.pointer("/status/targets/0/era").cloned()
    };
    assert_eq!(until("the target's era", era), "2026-07-28");

    // A change is seen: the same Gateway elsewhere.
    let moved = SocketAddr::new(at.ip(), own_address().port());
    cluster.apply(&manifests(moved.port(), server.endpoint));
    gateway.logged("no longer listening");
    gateway.until("/metrics", |_, _| TcpStream::connect(moved).ok());
    assert_eq!(Talk::begin(moved).tools(), TOOLS);
    assert!(TcpStream::connect(at).is_err());

    // Without the API server nothing changes.
    cluster.faults().stop();
    gateway.until("/metrics", |_, text| {
        text.contains("mcp_gateway_kubernetes_connected{kind=\"Gateway\"} 0").then_some(())
    });
    assert_eq!(Talk::begin(moved).tools(), TOOLS);
    assert_eq!(gateway.admin("/readyz").0, 200);
    cluster.faults().start();
    gateway.until("/metrics", |_, text| {
        text.contains("mcp_gateway_kubernetes_connected{kind=\"Gateway\"} 1").then_some(())
    });

    // The same status is not written again.
    let writes: Vec<(String, Value)> =
        cluster.writes().into_iter().map(|write| (write.resource, write.status)).collect();
    for (index, write) in writes.iter().enumerate() {
        assert!(!writes[..index].contains(write), "written twice: {write:?}");
    }
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn what_is_waited_for_is_named_until_it_is_there() {
    let (server, at) = (server(), own_address());
    let cluster = FakeKubernetes::start();
    cluster.apply(&manifests(at.port(), server.endpoint));
    cluster.faults().deny("*", "gateways.gateway.networking.k8s.io");
    let gateway = start(&cluster, "waits", at, &["--no-status"]);
    gateway.until("/readyz", |status, text| (status == 503 && text.contains("Gateway: ")).then_some(()));
    assert_eq!(gateway.admin("/healthz").0, 200);
    cluster.faults().permit("*", "gateways.gateway.networking.k8s.io");
    ready(&gateway);
    assert_eq!(Talk::begin(at).tools(), TOOLS);
    assert_eq!(cluster.writes(), []);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

/// Takes the five seconds after which an address is tried again.
#[test]
fn a_gateway_whose_address_is_taken_says_so() {
    let (server, at) = (server(), own_address());
    let taken = TcpListener::bind(at).unwrap();
    let cluster = FakeKubernetes::start();
    cluster.apply(&manifests(at.port(), server.endpoint));
    let gateway = start(&cluster, "taken", at, &[]);
    let listener = || {
        let gateway = cluster.find("gateways", "default/agentgateway")?;
        condition(&json!({"status": gateway.pointer("/status/listeners/0")?}), "Programmed")
    };
    until("the reason", || listener()?.starts_with("False").then_some(()));
    let (status, reason) = gateway.admin("/readyz");
    assert_eq!(status, 503);
    assert!(reason.contains(&format!("{at} is in use by another program")), "{reason}");
    assert!(reason.contains("choose an address with --bind"), "{reason}");
    drop(taken);
    until("the address", || (listener()? == "True Programmed").then_some(()));
    ready(&gateway);
    assert_eq!(Talk::begin(at).tools(), TOOLS);
    assert_eq!(gateway.end("-TERM"), Some(0));
}

#[test]
fn a_gateway_that_other_machines_reach_serves_every_host() {
    let server = server();
    // Free at every address.
    let port = TcpListener::bind(("0.0.0.0", 0)).unwrap().local_addr().unwrap().port();
    let cluster = FakeKubernetes::start();
    cluster.apply(&manifests(port, server.endpoint));
    let gateway = start(&cluster, "hosts", SocketAddr::from(([0, 0, 0, 0], port)), &[]);
    ready(&gateway);
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(Talk::begin_at(at, "tools.example:80").tools(), TOOLS);
    assert_eq!(status(at, "tools.example"), 400);
    assert_eq!(gateway.end("-TERM"), Some(0));
}
