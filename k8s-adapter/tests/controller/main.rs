//! The controller against an API server: what it makes of Gateways, and what it leaves alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

use fake_kubernetes::FakeKubernetes;
use k8s_adapter::build::{Inputs, Options, Publish, build};
use k8s_adapter::cluster::{Cluster, ClusterOptions, Timing};
use k8s_adapter::controller::{Controller, ControllerOptions, report};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;

const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: agentgateway}
spec: {controllerName: mcp-gateway.dev/controller}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: mcp-gateway-proxies}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: mcp-gateway-read}
";

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: agentgateway, namespace: default}
spec:
  gatewayClassName: agentgateway
  listeners:
  - {protocol: HTTP, port: 8080, name: http}
";

const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";

/// Of somebody who had the name first.
const FOREIGN: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: agentgateway, namespace: default}
spec: {replicas: 7}
";

/// The kinds that a proxy consists of, as resources.
const PARTS: [&str; 4] = ["serviceaccounts", "services", "secrets", "deployments.apps"];

/// A controller that runs until it is dropped.
struct Running {
    server: FakeKubernetes,
    kubeconfig: PathBuf,
    _tasks: JoinSet<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.kubeconfig);
    }
}

impl Running {
    /// A controller in a cluster with these objects.
    async fn start(manifests: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = FakeKubernetes::start();
        for manifests in manifests {
            server.apply(manifests);
        }
        let name = format!("controller-{}-{}.kubeconfig", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let kubeconfig = std::env::temp_dir().join(name);
        fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(ClusterOptions {
            kubeconfig: Some(kubeconfig.clone()),
            controller_name: "mcp-gateway.dev/controller".to_owned(),
            write_status: true,
            timing: Timing { hold: Duration::ZERO, ..Timing::default() },
            ..ClusterOptions::default()
        }));
        Self { server, kubeconfig, _tasks: tasks }
    }

    /// An object once it is there and looks as it should.
    async fn until(&self, resource: &str, name: &str, good: impl Fn(&Value) -> bool) -> Value {
        let find = |server: &FakeKubernetes| server.find(resource, name).filter(|found| good(found));
        self.server.until(&format!("{resource} {name}"), find).await
    }

    async fn proxy(&self, name: &str) {
        for part in PARTS {
            self.until(part, name, |_| true).await;
        }
    }

    /// The condition of a Gateway once it is `reason`.
    async fn programmed(&self, name: &str, reason: &str) -> Value {
        let programmed = |gateway: &Value| {
            let conditions = gateway["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.into_iter().find(|one| one["type"] == "Programmed" && one["reason"] == reason)
        };
        let gateway = self.until(GATEWAYS, name, |gateway| programmed(gateway).is_some());
        programmed(&gateway.await).unwrap()
    }

    /// Revisions of everything a proxy consists of.
    fn versions(&self) -> Vec<Value> {
        let all = PARTS.iter().flat_map(|part| self.server.all(part));
        all.map(|object| object["metadata"]["resourceVersion"].clone()).collect()
    }
}

/// What the command does.
async fn run(options: ClusterOptions) {
    let cluster = Cluster::connect(options.clone()).await.unwrap();
    let template = json!({ "image": "mcp-gateway:1", "replicas": 2, "readers": "mcp-gateway-proxies" });
    let controller = ControllerOptions {
        controller_name: options.controller_name.clone(),
        template: serde_json::from_value(template).unwrap(),
        key: || "c2Vzc2lvbiBrZXk=".to_owned(),
        sweep: Duration::from_millis(500),
    };
    let controller = Controller::start(&options, cluster.vitals(), controller).await.unwrap();
    let (mut objects, mut obstacles) = (cluster.objects(), controller.obstacles());
    let options = Options { publish: Publish::OwnService, ..Options::default() };
    let (hosts, observed, unbound) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    loop {
        tokio::select! {
            changed = objects.changed() => changed.unwrap(),
            changed = obstacles.changed() => changed.unwrap(),
        }
        let Some(objects) = objects.borrow_and_update().clone() else { continue };
        let built = build(&Inputs {
            objects: &objects,
            options: &options,
            hosts: &hosts,
            observed: &observed,
            unbound: &unbound,
            before: None,
        });
        let mut statuses = built.statuses;
        controller.want(&objects, &statuses);
        report(&obstacles.borrow_and_update(), &mut statuses);
        cluster.want(statuses);
    }
}

#[tokio::test]
async fn a_gateway_gets_what_it_takes_named_like_it_and_owned_by_it() {
    let running = Running::start(&[CLASS, GATEWAY]).await;
    running.proxy("default/agentgateway").await;
    let gateway = running.server.find(GATEWAYS, "default/agentgateway").unwrap();
    for part in PARTS {
        let object = running.server.find(part, "default/agentgateway").unwrap();
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], gateway["metadata"]["uid"], "{part}");
    }
    let binding =
        running.server.find("clusterrolebindings.rbac.authorization.k8s.io", "mcp-gateway-proxies").unwrap();
    assert_eq!(
        binding["subjects"],
        json!([{ "kind": "ServiceAccount", "name": "agentgateway", "namespace": "default" }])
    );
    assert_eq!(binding["roleRef"]["name"], "mcp-gateway-read");
}

#[tokio::test]
async fn addresses_are_those_of_its_service() {
    let running = Running::start(&[CLASS, GATEWAY]).await;
    running.programmed("default/agentgateway", "AddressNotAssigned").await;
    running.proxy("default/agentgateway").await;
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "hostname": "1.elb.test" }] } } });
    running.server.patch_status("services", "default/agentgateway", status);
    running.programmed("default/agentgateway", "Programmed").await;
    let gateway = running.server.find(GATEWAYS, "default/agentgateway").unwrap();
    assert_eq!(gateway["status"]["addresses"], json!([{ "type": "Hostname", "value": "1.elb.test" }]));
}

#[tokio::test]
async fn a_new_listener_is_a_new_port_and_nothing_else_is_written() {
    let running = Running::start(&[CLASS, GATEWAY]).await;
    running.proxy("default/agentgateway").await;
    let account = running.until("serviceaccounts", "default/agentgateway", |_| true).await;
    running.server.patch(
        GATEWAYS,
        "default/agentgateway",
        json!({ "spec": { "listeners": [
            { "protocol": "HTTP", "port": 8080, "name": "http" },
            { "protocol": "HTTP", "port": 80, "name": "more" },
        ] } }),
    );
    let ports = |service: &Value| {
        let ports = service["spec"]["ports"].as_array().unwrap().iter();
        ports.map(|port| port["port"].as_u64().unwrap()).collect::<BTreeSet<_>>()
    };
    running.until("services", "default/agentgateway", |service| ports(service) == [80, 8080].into()).await;
    running
        .until("deployments.apps", "default/agentgateway", |deployment| {
            let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
            ports.as_array().unwrap().iter().any(|port| port["containerPort"] == 80)
        })
        .await;
    let now = running.server.find("serviceaccounts", "default/agentgateway").unwrap();
    assert_eq!(now["metadata"]["resourceVersion"], account["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let running = Running::start(&[CLASS, GATEWAY]).await;
    running.proxy("default/agentgateway").await;
    let before = running.versions();
    // Whoever tried to write now would be told that it may not, and would say so in the status.
    for part in PARTS {
        running.server.faults().deny("patch", part);
    }
    // The status of one that comes behind it shows that everything was looked at.
    running.server.apply(&FOREIGN.replace("agentgateway", "z-last"));
    running.server.apply(&GATEWAY.replace("name: agentgateway,", "name: z-last,"));
    running.programmed("default/z-last", "ProxyNotCreated").await;
    running.programmed("default/agentgateway", "AddressNotAssigned").await;
    let mut after = running.versions();
    after.retain(|version| before.contains(version));
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_somebody_else_made_is_not_touched_and_the_status_says_so() {
    let running = Running::start(&[CLASS, GATEWAY, FOREIGN]).await;
    let programmed = running.programmed("default/agentgateway", "ProxyNotCreated").await;
    assert_eq!(programmed["status"], "False");
    assert_eq!(
        programmed["message"],
        "Deployment default/agentgateway is in the way: it was not made for this Gateway"
    );
    let deployment = running.server.find("deployments.apps", "default/agentgateway").unwrap();
    assert_eq!(deployment["spec"], json!({ "replicas": 7 }));
    // Nothing is half made: a Service would cost an address for nothing.
    assert_eq!(running.server.find("services", "default/agentgateway"), None);
    // And once it is out of the way, things go on by themselves.
    assert!(running.server.delete("deployments.apps", "default/agentgateway"));
    running.proxy("default/agentgateway").await;
}

#[tokio::test]
async fn drift_is_repaired() {
    let running = Running::start(&[CLASS, GATEWAY]).await;
    running.proxy("default/agentgateway").await;
    running.server.patch("services", "default/agentgateway", json!({ "spec": { "type": "ClusterIP" } }));
    assert!(running.server.delete("serviceaccounts", "default/agentgateway"));
    running
        .until("services", "default/agentgateway", |service| service["spec"]["type"] == "LoadBalancer")
        .await;
    running.until("serviceaccounts", "default/agentgateway", |_| true).await;
}

#[tokio::test]
async fn a_key_is_made_once() {
    let mine = "
apiVersion: v1
kind: Secret
metadata: {name: agentgateway, namespace: default}
stringData: {key: mine}
";
    let running = Running::start(&[CLASS, GATEWAY, mine]).await;
    let before = running.server.find("secrets", "default/agentgateway").unwrap();
    running.until("deployments.apps", "default/agentgateway", |_| true).await;
    assert_eq!(running.server.find("secrets", "default/agentgateway").unwrap(), before);
}

#[tokio::test]
async fn a_proxy_goes_when_its_gateway_goes_over_to_another_controller() {
    let theirs = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.test/theirs}
";
    let running = Running::start(&[CLASS, GATEWAY, theirs]).await;
    running.proxy("default/agentgateway").await;
    running.server.patch(
        GATEWAYS,
        "default/agentgateway",
        json!({ "spec": { "gatewayClassName": "theirs" } }),
    );
    let gone = |server: &FakeKubernetes| {
        let parts = ["serviceaccounts", "services", "deployments.apps"];
        parts.iter().all(|part| server.find(part, "default/agentgateway").is_none()).then_some(())
    };
    running.server.until("the proxy is gone", gone).await;
    running
        .until("clusterrolebindings.rbac.authorization.k8s.io", "mcp-gateway-proxies", |binding| {
            binding["subjects"] == json!([])
        })
        .await;
}
