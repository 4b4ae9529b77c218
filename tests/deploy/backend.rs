//! The definition of Backend, against both published shapes.

use crate::{documents, parse, schema};
use k8s_adapter::build::{Inputs, Options, Seen, StatusKind, build};
use k8s_adapter::manifests;
use k8s_adapter::objects::Objects;
use routing::{BackendName, TargetId};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

const DEFINITION: &str = "deploy/crds/backends.gateway.kgateway.dev.yaml";

fn definition() -> Value {
    let [definition] = documents(DEFINITION).try_into().unwrap();
    definition
}

fn problems(backend: &str) -> Vec<String> {
    let [backend] = parse(backend).try_into().unwrap();
    schema::problems(&definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &backend)
}

fn with_target(target: &str) -> String {
    format!(
        "apiVersion: gateway.kgateway.dev/v1alpha1\nkind: Backend\nmetadata: {{ name: b }}\nspec: {{ type: MCP, mcp: {{ targets: [{target}] }} }}"
    )
}

#[test]
fn is_the_kind_that_routes_name() {
    let definition = definition();
    let spec = &definition["spec"];
    assert_eq!(definition["metadata"]["name"], "backends.gateway.kgateway.dev");
    assert_eq!(
        (&spec["group"], &spec["names"]["kind"], &spec["scope"]),
        (&"gateway.kgateway.dev".into(), &"Backend".into(), &"Namespaced".into())
    );
    let version = &spec["versions"][0];
    assert_eq!(version["name"], "v1alpha1");
    assert!(version["subresources"]["status"].is_object());
    let columns: Vec<&Value> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(columns, ["Type", "Accepted", "Targets", "Age"]);
}

#[test]
fn takes_both_published_shapes() {
    let first = "
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata:
  name: mcp-backend
spec:
  type: MCP
  mcp:
    name: mcp-virtual-server
    targets:
      - selectors:
          serviceSelector:
            matchLabels:
              app: mcp-server
      - selectors:
          namespaceSelector: {}
          serviceSelector:
            matchExpressions:
              - { key: app, operator: In, values: [a, b] }
              - { key: private, operator: DoesNotExist }
      - static:
          name: mcp-target
          host: mcp-website-fetcher.default.svc.cluster.local
          port: 80
          protocol: SSE
";
    let second = "
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata:
  name: mcp-backend
spec:
  type: MCP
  mcp:
    targets:
      - name: selected
        selector:
          namespace:
            matchLabels: { team: tools }
          service:
            matchLabels: { app: mcp-server }
      - name: fetcher
        static: { host: 10.0.0.7, port: 3001, path: /sse, protocol: StreamableHTTP }
";
    assert_eq!(problems(first), [""; 0]);
    assert_eq!(problems(second), [""; 0]);
}

/// What a schema does not know the API server takes away in silence.
#[test]
fn takes_the_status_that_is_written() {
    let manifests = "
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata: { name: b, generation: 3 }
spec:
  type: MCP
  mcp:
    targets:
      - { name: a, static: { host: 192.0.2.1, port: 3001 } }
      - { name: never, static: { host: 192.0.2.1, port: 3001, protocol: Carrier } }
";
    let mut objects = Objects::default();
    manifests::read("manifests", manifests, &mut objects).unwrap();
    let id = TargetId::parse(&BackendName::from("default/b"), "a").unwrap();
    let seen = Seen { era: Some("modern".to_owned()), error: Some("refused".to_owned()) };
    let (hosts, observed, unbound) = (BTreeMap::new(), [(id, seen)].into(), BTreeMap::new());
    let built = build(&Inputs {
        objects: &objects,
        options: &Options::default(),
        hosts: &hosts,
        observed: &observed,
        unbound: &unbound,
        before: None,
    });
    let status = built.statuses.into_iter().find(|status| status.kind == StatusKind::Backend).unwrap().status;
    assert_eq!(status["targets"][0]["lastError"], "refused", "{status}");
    let mut status = status;
    for condition in status["conditions"].as_array_mut().unwrap() {
        // Whoever writes it knows.
        condition["lastTransitionTime"] = "2026-01-01T00:00:00Z".into();
    }
    let schema = &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(schema::problems(&schema["properties"]["status"], &status), [""; 0]);
}

#[test]
fn leaves_other_types_alone() {
    let other =
        "{apiVersion: gateway.kgateway.dev/v1alpha1, kind: Backend, metadata: {name: b}, spec: {type: AWS}}";
    assert_eq!(problems(other), [""; 0]);
}

#[test]
fn refuses_what_is_neither() {
    let target = ".spec.mcp.targets[0]";
    for (written, problem) in [
        ("{}", format!("{target}: a target has either a selector (or selectors) or static")),
        (
            "{ name: a, selector: {}, static: { host: a, port: 1 } }",
            format!("{target}: a target has either a selector (or selectors) or static"),
        ),
        ("{ static: { host: a, port: 1 } }", format!("{target}: a static target has a name")),
        ("{ name: a, static: { host: a } }", format!("{target}.static: needs \"port\"")),
        ("{ name: a, static: { host: a, port: 0 } }", format!("{target}.static.port: minimum is 1")),
        (
            "{ name: a, static: { host: a, port: 1, protocol: WebSocket } }",
            format!("{target}.static.protocol: enum is [\"Undefined\",\"SSE\",\"StreamableHTTP\"]"),
        ),
        ("{ selector: { services: {} } }", format!("{target}.selector.services: unknown field")),
        ("", ".spec.mcp.targets: minItems is 1".to_owned()),
    ] {
        assert_eq!(problems(&with_target(written)), [problem], "{written}");
    }
}

#[test]
fn the_chart_brings_the_same_definition() {
    assert_eq!(documents(&DEFINITION.replace("crds", "helm/mcp-gateway/crds")), [definition()]);
}

/// What `mcp-gateway export` writes can be applied.
#[test]
fn takes_what_is_exported() {
    let file = std::env::temp_dir().join(format!("mcp-gateway-export-{}.yaml", std::process::id()));
    std::fs::write(&file, "mcpServers: { a: { url: \"http://a.example:3001/mcp\" }, b: { command: b } }")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
    let output = command.arg("export").arg("--config").arg(&file).stdin(Stdio::null()).output().unwrap();
    std::fs::remove_file(file).unwrap();
    let note = "note: b: left out, since it is a program; serve it in the cluster and add its address\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), note);
    let manifests = parse(std::str::from_utf8(&output.stdout).unwrap());
    let kinds: Vec<&Value> = manifests.iter().map(|object| &object["kind"]).collect();
    assert_eq!(kinds, ["Gateway", "HTTPRoute", "Backend"]);
    let schema = &definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(schema::problems(schema, &manifests[2]), [""; 0]);
    assert_eq!(manifests[2]["spec"]["mcp"]["targets"][0]["static"]["host"], "a.example");
}
