//! A cluster that changes under a client which never stops calling: it feels nothing, and what changes is seen.

use super::client::{self, Caller};
use super::{Cluster, Pod, State};
use crate::gateway::Runtime;
use crate::on_both_runtimes;
use crate::parts::Parts;
use crate::process::until;
use serde_json::json;
use std::thread;
use std::time::Duration;

on_both_runtimes![no_call_fails];

/// As long as the API server is away.
const AWAY: Duration = Duration::from_secs(3);

/// Takes the three seconds without an API server, and what the gateway takes to find it again.
fn no_call_fails(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(cluster) = Cluster::start(runtime) else { return };
    let (old, wavering) = (Pod::start(&parts), Pod::start(&parts));
    cluster.serve_two("steady", &old, "wavering", &wavering);
    let url = cluster.url(8080, "");
    let caller = Caller::start(&url, "steady-3001");
    goes_on(&caller);

    // The other target goes and comes back. Who comes while there is but one sees it without a prefix.
    cluster.select("wavering", false);
    sees(&url, "echo", true);
    goes_on(&caller);
    cluster.select("wavering", true);
    sees(&url, "wavering-3001_echo", true);
    goes_on(&caller);

    // Its own pod is replaced: the new one is ready, the old one has to go, is gone, and is no more.
    let new = Pod::start(&parts);
    assert_eq!(caller.diary().host, old.address.ip().to_string());
    cluster.endpoints_of("steady", &[(&new, State::Ready), (&old, State::Terminating)]);
    let tool = "steady-3001_get-env";
    let there = new.address.ip().to_string();
    until("the new pod", || (client::host(&url, tool).as_ref() == Ok(&there)).then_some(()));
    goes_on(&caller);
    cluster.endpoints_of("steady", &[(&new, State::Ready)]);
    until("the session at the new pod", || (caller.diary().host == there).then_some(()));
    drop(old);
    goes_on(&caller);

    // The cluster changes while its API server is away.
    cluster.api.faults().stop();
    cluster.select("wavering", false);
    cluster.api.apply(&route("/other"));
    thread::sleep(AWAY);
    goes_on(&caller);
    sees(&url, "wavering-3001_echo", true);
    cluster.api.faults().start();
    sees(&url, "echo", true);
    sees(&cluster.url(8080, "/other"), "echo", true);
    cluster.select("wavering", true);
    sees(&url, "wavering-3001_echo", true);

    // Another path for the second route.
    cluster.api.apply(&route("/elsewhere"));
    sees(&cluster.url(8080, "/elsewhere"), "steady-3001_echo", true);
    sees(&cluster.url(8080, "/other"), "steady-3001_echo", false);

    // Another port for the Gateway.
    let listener = |name, port| json!({"name": name, "port": port, "protocol": "HTTP"});
    let listeners = json!([listener("http", 8080), listener("more", 8081)]);
    cluster.api.patch("gateways", "default/agentgateway", json!({"spec": {"listeners": listeners}}));
    sees(&cluster.url(8081, ""), "steady-3001_echo", true);
    goes_on(&caller);

    let diary = caller.stop();
    assert_eq!(diary.failed, Vec::<String>::new(), "of {} calls", diary.calls);
    println!("{}: {} calls, none failed, the longest took {:?}", runtime.name(), diary.calls, diary.longest);
}

impl Cluster {
    /// Two Services of one pod each behind the guide's Backend, Gateway and HTTPRoute.
    pub(super) fn serve_two(&self, one: &str, pod: &Pod, other: &str, other_pod: &Pod) {
        for (name, pod) in [(one, pod), (other, other_pod)] {
            let port = json!({"port": 3001, "targetPort": 3001, "appProtocol": "kgateway.dev/mcp"});
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "labels": {"app": "mcp-server"}},
                "spec": {"selector": {"app": name}, "ports": [port]},
            });
            self.api.apply(&service.to_string());
            self.endpoints_of(name, &[(pod, State::Ready)]);
        }
        for manifest in ["dynamic-backend", "dynamic-gateway", "dynamic-route"] {
            self.apply(manifest);
        }
        let echoes = [one, other].map(|service| format!("{service}-3001_echo"));
        let url = self.url(8080, "");
        until("both targets", || {
            let tools = client::tools(&url).ok()?;
            echoes.iter().all(|echo| tools.contains(echo)).then_some(())
        });
    }

    /// Pods behind a Service, each at a port of its own: a slice for each, as where a target port has a name.
    fn endpoints_of(&self, service: &str, pods: &[(&Pod, State)]) {
        let slice = |pod: &Pod| format!("{service}-{}", pod.address.ip());
        let marks = format!("{service}-");
        for old in self.api.all("endpointslices") {
            let name = old.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or_default();
            if name.starts_with(&marks) && pods.iter().all(|(pod, _)| slice(pod) != name) {
                self.api.delete("endpointslices", &format!("default/{name}"));
            }
        }
        for (pod, state) in pods {
            self.slice(&slice(pod), service, &[("", pod.port())], &[(pod, *state)]);
        }
    }

    /// Gives a Service the label that the Backend looks for, or takes it away.
    pub(super) fn select(&self, service: &str, selected: bool) {
        let label = selected.then_some("mcp-server");
        let patch = json!({"metadata": {"labels": {"app": label}}});
        self.api.patch("services", &format!("default/{service}"), patch);
    }
}

/// A second route to the guide's Backend, under a prefix.
fn route(prefix: &str) -> String {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "second"},
        "spec": {
            "parentRefs": [{"name": "agentgateway"}],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
                "backendRefs": [{"group": "gateway.kgateway.dev", "kind": "Backend", "name": "mcp-backend"}],
            }],
        },
    })
    .to_string()
}

/// Waits until a client that comes to `url` sees a tool, or doesn't.
fn sees(url: &str, tool: &str, seen: bool) {
    let sees = || client::tools(url).is_ok_and(|tools| tools.iter().any(|name| name == tool));
    until(&format!("{tool} at {url} is {seen}"), || (sees() == seen).then_some(()));
}

/// Waits until the client has made some more calls.
fn goes_on(caller: &Caller) {
    let before = caller.diary().calls;
    until("more calls", || (caller.diary().calls >= before + 10).then_some(()));
}
