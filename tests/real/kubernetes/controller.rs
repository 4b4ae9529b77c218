//! What is made for the guide's Gateway, under the names that its commands use.

#![expect(clippy::indexing_slicing, reason = "JSON gives null for what it doesn't have")]

use super::{CLASS, kubeconfig, manifest};
use crate::gateway::{PROGRAM, is_ready};
use crate::process::{Process, free_port, until};
use fake_kubernetes::FakeKubernetes;
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

/// As cloud providers call theirs.
const BALANCER: &str = "1234567890.us-east-2.elb.amazonaws.com";

#[test]
fn a_gateway_has_a_proxy_of_its_name() {
    let api = FakeKubernetes::start();
    api.apply(CLASS);
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let template = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("proxy-{}.json", api.port()));
    fs::write(&template, r#"{"image": "mcp-gateway:test"}"#).expect("the folder for test output is writable");
    let mut controller = Command::new(PROGRAM);
    controller.args([
        "controller",
        "--kubeconfig",
        &kubeconfig(&api),
        "--admin",
        &admin.to_string(),
        "--proxy",
    ]);
    let mut controller = Process::start(&format!("controller-{}", api.port()), controller.arg(template));
    controller.wait_until(|| is_ready(admin)).expect("the controller starts");

    let gateway = api.apply(&manifest("dynamic-gateway")).remove(0);
    let made = |resource: &str| {
        let object = until(resource, || api.find(resource, "default/agentgateway"));
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], gateway["metadata"]["uid"], "{resource}");
        object
    };
    let [deployment, service, ..] = ["deployments", "services", "serviceaccounts", "secrets"].map(made);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "mcp-gateway:test");
    assert_eq!(deployment["spec"]["template"]["spec"]["serviceAccountName"], "agentgateway");
    let ports: Vec<&Value> =
        service["spec"]["ports"].as_array().into_iter().flatten().map(|port| &port["port"]).collect();
    assert_eq!((&service["spec"]["type"], ports), (&json!("LoadBalancer"), vec![&json!(8080)]));

    // The address that the load balancer gets is what `kubectl get gateway` shows.
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"hostname": BALANCER}]}}});
    api.patch_status("services", "default/agentgateway", ingress);
    until("the load balancer's address", || {
        let gateway = api.find("gateways", "default/agentgateway")?;
        let programmed = gateway["status"]["conditions"]
            .as_array()?
            .iter()
            .any(|condition| condition["type"] == "Programmed" && condition["status"] == "True");
        let addresses = json!([{"type": "Hostname", "value": BALANCER}]);
        (programmed && gateway["status"]["addresses"] == addresses).then_some(())
    });
}
