//! The guide's page, walked as it is typed.

#![expect(clippy::indexing_slicing, reason = "JSON gives null for what it doesn't have")]

use super::{Cluster, Pod, State, address_with, manifest_path};
use crate::clients::{inspect, listed};
use crate::gateway::{Gateway, Runtime};
use crate::on_both_runtimes;
use crate::parts::Parts;
use crate::process::{listens_at, until};
use crate::seed::walk;
use serde_json::json;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

const TARGETS: [&str; 2] = ["mcp-server-mcp-server", "mcp-server-mcp-everything"];
const ECHO: [&str; 5] = ["tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"];

on_both_runtimes![label_based, multiplex, on_a_laptop, on_a_laptop_with_a_server_elsewhere];

/// "Dynamic label-based MCP", to its cleanup.
fn label_based(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(cluster) = Cluster::start(runtime) else { return };
    let pod = Pod::start(&parts);

    cluster.apply("dynamic-server");
    cluster.slice("mcp-server-x7k2p", "mcp-server", &[("", pod.port())], &[(&pod, State::Ready)]);
    cluster.apply("dynamic-backend");
    cluster.apply("dynamic-gateway");
    let gateway = cluster.until_true(
        "gateways",
        "default/agentgateway",
        "/status/conditions",
        &["Accepted", "Programmed"],
    );
    // What `kubectl get gateway` shows, and what the guide takes from it.
    let addresses = &gateway["status"]["addresses"];
    assert_eq!(*addresses, json!([{"type": "IPAddress", "value": cluster.ip.to_string()}]));
    cluster.apply("dynamic-route");
    let (route, parent) = ("default/mcp", "/status/parents/0/conditions");
    cluster.until_true("httproutes", route, parent, &["Accepted", "ResolvedRefs"]);
    let (name, conditions) = ("default/mcp-backend", "/status/conditions");
    let backend = cluster.until_true("backends", name, conditions, &["Accepted", "TargetsResolved"]);
    let source = "Service default/mcp-server:3001";
    let targets = json!([
        {"name": "mcp-server-3001", "source": source, "endpointsReady": 1, "endpointsTotal": 1}
    ]);
    assert_eq!(backend["status"]["targets"], targets);

    // One target: nothing is renamed.
    let url = cluster.url(8080, "");
    for step in [&["tools/list"][..], &ECHO] {
        assert_eq!(inspect(&parts, &url, step), inspect(&parts, &pod.server.url, step), "{step:?}");
    }

    for (resource, name) in [
        ("deployments", "mcp-server"),
        ("services", "mcp-server"),
        ("backends", "mcp-backend"),
        ("gateways", "agentgateway"),
        ("httproutes", "mcp"),
    ] {
        assert!(cluster.api.delete(resource, &format!("default/{name}")), "{resource} {name}");
    }
    let listener = SocketAddr::from((cluster.ip, 8080));
    until("a closed listener", || (!listens_at(listener)).then_some(()));
}

/// "Multiplex MCP", with its commands of `curl`.
fn multiplex(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(cluster) = Cluster::start(runtime) else { return };
    // Two containers of one pod.
    let server = Pod::start(&parts);
    let SocketAddr::V4(address) = server.address else { unreachable!("loopback addresses are IPv4") };
    let everything = Pod::start_at(&parts, *address.ip());

    cluster.apply("multiplex-server");
    let ports = [("mcp-server", server.port()), ("mcp-everything", everything.port())];
    cluster.slice("mcp-server-x7k2p", "mcp-server", &ports, &[(&server, State::Ready)]);
    for manifest in ["multiplex-backend", "multiplex-gateway", "multiplex-route"] {
        cluster.apply(manifest);
    }
    cluster.until_true("gateways", "default/agentgateway", "/status/conditions", &["Programmed"]);
    let (route, parent) = ("default/mcp", "/status/parents/0/conditions");
    cluster.until_true("httproutes", route, parent, &["Accepted", "ResolvedRefs"]);

    federates(&parts, &cluster.url(8080, ""), &server.server.url);
    let [one, other] = TARGETS.map(|target| format!("{target}_echo"));
    walk(&format!("{}:8080", cluster.ip), [&one, &other]);
}

/// The files in a folder, as they are, and no cluster.
fn on_a_laptop(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(ip) = address_with(&[3001, 3002, 8080, 9901]) else { return };
    let servers = [3001, 3002].map(|port| parts.everything_at((ip, port).into()));
    let folder = folder("multiplex", ip);
    let resolve = format!("mcp-server={ip}");
    let Some(gateway) = without_cluster(runtime, &folder, ip, &resolve) else { return };
    federates(&parts, &gateway.url, &servers[0].url);
}

fn on_a_laptop_with_a_server_elsewhere(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(ip) = address_with(&[8080, 9901]) else { return };
    let pod = Pod::start(&parts);
    let folder = folder("dynamic", ip);
    let resolve = format!("mcp-server={}", pod.address);
    let Some(gateway) = without_cluster(runtime, &folder, ip, &resolve) else { return };
    for step in [&["tools/list"][..], &ECHO] {
        assert_eq!(inspect(&parts, &gateway.url, step), inspect(&parts, &pod.server.url, step), "{step:?}");
    }
}

/// A folder of the test's own with the files of a walk.
fn folder(walk: &str, ip: Ipv4Addr) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{walk}-{ip}"));
    fs::create_dir_all(&folder).expect("the folder for test output is writable");
    for part in ["server", "backend", "gateway", "route"] {
        let name = format!("{walk}-{part}");
        fs::copy(manifest_path(&name), folder.join(format!("{name}.yaml"))).expect("a file can be copied");
    }
    folder
}

fn without_cluster(runtime: Runtime, folder: &Path, ip: Ipv4Addr, resolve: &str) -> Option<Gateway> {
    let (config, listen) = (folder.display().to_string(), format!("{ip}:0"));
    let arguments = ["--config", &config, "--listen", &listen, "--resolve", resolve];
    Gateway::of_kubernetes(runtime, ip, &arguments)
}

/// That the Inspector sees the tools of both targets at `url`, each of which is what is at `alone`, and can call them.
fn federates(parts: &Parts, url: &str, alone: &str) {
    let tools = |url: &str| listed(&inspect(parts, url, &["tools/list"]), "/result/tools", "name");
    let alone_tools = tools(alone);
    let mut expected: Vec<_> = TARGETS
        .iter()
        .flat_map(|target| alone_tools.iter().map(move |name| format!("{target}_{name}")))
        .collect();
    let mut seen = tools(url);
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
    let [method, flag, _, argument, message] = ECHO;
    for target in TARGETS {
        let name = format!("{target}_echo");
        let called = inspect(parts, url, &[method, flag, &name, argument, message]);
        assert_eq!(called, inspect(parts, alone, &ECHO), "{name}");
    }
}
