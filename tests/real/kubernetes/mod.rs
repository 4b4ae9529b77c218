//! A cluster says what the gateway serves: the manifests that users type, real servers in the place of pods, real clients.
//!
//! The API server is the one in this repository. No kubelet runs: [`Pod`]s are processes on loopback addresses of their own,
//! and the tests write the EndpointSlices that lead to them. [`seed`] walks the guide's page, [`disruptions`] changes a cluster
//! under a client that never stops calling, [`delay`] measures how long a change takes to reach a client, and [`controller`]
//! looks at what is made for a Gateway.

mod client;
mod controller;
mod delay;
mod disruptions;
mod seed;

use crate::gateway::{Gateway, Runtime};
use crate::parts::{Parts, Server, skip};
use crate::process::{are_free, own_address, until};
use fake_kubernetes::FakeKubernetes;
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

const CLASS: &str = include_str!("../../../deploy/kubernetes/gatewayclass.yaml");

/// One of the manifests as the guide has them.
fn manifest(name: &str) -> String {
    let path = manifest_path(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("k8s-adapter/tests/seed/{name}.yaml"))
}

/// A cluster, and the gateway that follows it at a loopback address of its own.
struct Cluster {
    api: FakeKubernetes,
    ip: Ipv4Addr,
    _gateway: Gateway,
}

impl Cluster {
    /// With our GatewayClass, and nothing else. `None`, said aloud, where that can't be had on this machine.
    fn start(runtime: Runtime) -> Option<Self> {
        let ip = address_with(&[8080, 8081, 9901])?;
        let api = FakeKubernetes::start();
        api.apply(CLASS);
        let kubeconfig = kubeconfig(&api);
        let flags = ["--bind", &ip.to_string(), "--publish-address", &ip.to_string()];
        let arguments = [&["kubernetes", "--kubeconfig", &kubeconfig][..], &flags].concat();
        let gateway = Gateway::of_kubernetes(runtime, ip, &arguments)?;
        Some(Self { api, ip, _gateway: gateway })
    }

    /// Where clients find it, by the port of a Gateway and a prefix of the path.
    fn url(&self, port: u16, prefix: &str) -> String {
        format!("http://{}:{port}{prefix}/mcp", self.ip)
    }

    /// Applies one of the guide's manifests.
    fn apply(&self, name: &str) {
        self.api.apply(&manifest(name));
    }

    /// Writes an EndpointSlice of a Service, as the cluster's own controller does: ports, and the pods that have them.
    fn slice(&self, name: &str, service: &str, ports: &[(&str, u16)], pods: &[(&Pod, State)]) {
        let ports: Vec<Value> =
            ports.iter().map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"})).collect();
        let endpoints: Vec<Value> = pods.iter().map(|(pod, state)| pod.endpoint(*state)).collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        });
        self.api.apply(&slice.to_string());
    }

    /// Waits until these conditions of an object hold; they are looked for at `pointer` in it.
    fn until_true(&self, resource: &str, name: &str, pointer: &str, conditions: &[&str]) -> Value {
        until(&format!("{conditions:?} of {resource} {name}"), || {
            let object = self.api.find(resource, name)?;
            let generation = object.pointer("/metadata/generation");
            let said = object.pointer(pointer)?.as_array()?;
            let holds = |wanted: &&str| {
                said.iter().any(|condition| {
                    condition.get("type").is_some_and(|kind| kind == wanted)
                        && condition.get("status").is_some_and(|status| status == "True")
                        && condition.get("observedGeneration") == generation
                })
            };
            conditions.iter().all(holds).then_some(object)
        })
    }
}

/// A file that leads to the cluster. It stays: programs may read it again.
fn kubeconfig(api: &FakeKubernetes) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{}", api.port()));
    fs::write(&path, api.kubeconfig()).expect("the folder for test output is writable");
    path.display().to_string()
}

/// A loopback address of the test's own. The guide's ports are free there, but for programs that have them on all addresses;
/// then `None`, said aloud.
fn address_with(ports: &[u16]) -> Option<Ipv4Addr> {
    let ip = own_address();
    if are_free(ip, ports) {
        return Some(ip);
    }
    skip(&format!("a program on this machine listens on all addresses with one of the ports {ports:?}"));
    None
}

/// What the cluster says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// It was told to go, and still serves whom it serves.
    Terminating,
}

/// The reference server, at an address of its own.
struct Pod {
    address: SocketAddr,
    server: Server,
}

impl Pod {
    fn start(parts: &Parts) -> Self {
        Self::start_at(parts, own_address())
    }

    /// As another container of a pod.
    fn start_at(parts: &Parts, ip: Ipv4Addr) -> Self {
        let free = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a loopback port is free");
        Self { address, server: parts.everything_at(address) }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn endpoint(&self, state: State) -> Value {
        let terminating = state == State::Terminating;
        let name = format!("pod-{}", self.address.ip());
        json!({
            "addresses": [self.address.ip().to_string()],
            "conditions": {"ready": !terminating, "serving": true, "terminating": terminating},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": name, "uid": format!("uid-of-{name}")},
        })
    }
}
