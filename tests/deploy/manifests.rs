//! The plain manifests: what they name is there, what they may do is little, and the command knows their arguments.

use crate::documents;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

const MANIFESTS: [&str; 2] = ["deploy/kubernetes/controller.yaml", "deploy/kubernetes/shared.yaml"];
const NAMESPACE: &str = "mcp-gateway";

/// Kind and name.
fn id(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{object} is no object")).to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn deployment(objects: &[Value]) -> &Value {
    let [deployment] = find(objects, "Deployment").try_into().unwrap();
    deployment
}

/// The values of a field of all items of a list.
fn each<'a>(list: &'a Value, field: &str) -> BTreeSet<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|item| item[field].as_str()).collect()
}

#[test]
fn every_object_is_one_of_a_kind_and_in_our_namespace() {
    for file in MANIFESTS {
        let objects = documents(file);
        let ids: BTreeSet<_> = objects.iter().map(id).collect();
        assert_eq!(ids.len(), objects.len(), "{file}: two objects of one name");
        assert_eq!(id(objects.first().unwrap()), ("Namespace".to_owned(), NAMESPACE.to_owned()));
        for object in &objects {
            assert!(object["apiVersion"].is_string());
            let (kind, name) = id(object);
            let expected = match kind.as_str() {
                "Namespace" | "ClusterRole" | "ClusterRoleBinding" => Value::Null,
                _ => NAMESPACE.into(),
            };
            assert_eq!(object["metadata"]["namespace"], expected, "{file}: {kind} {name}");
        }
    }
}

#[test]
fn what_is_named_is_there() {
    for file in MANIFESTS {
        let objects = documents(file);
        let ids: BTreeSet<_> = objects.iter().map(id).collect();
        let there = |kind: &str, name: &Value| {
            let name = name.as_str().unwrap_or_else(|| panic!("{file}: {kind} without a name"));
            assert!(ids.contains(&(kind.to_owned(), name.to_owned())), "{file}: {kind} {name} is missing");
        };
        for binding in objects.iter().filter(|object| id(object).0.ends_with("Binding")) {
            there(binding["roleRef"]["kind"].as_str().unwrap(), &binding["roleRef"]["name"]);
            for subject in binding["subjects"].as_array().into_iter().flatten() {
                assert_eq!(subject["namespace"], NAMESPACE);
                there("ServiceAccount", &subject["name"]);
            }
        }
        let deployment = deployment(&objects);
        let template = &deployment["spec"]["template"];
        there("ServiceAccount", &template["spec"]["serviceAccountName"]);
        for map in template["spec"]["volumes"].as_array().unwrap().iter().filter_map(|v| v.get("configMap")) {
            there("ConfigMap", &map["name"]);
        }
        let selectors = find(&objects, "Service").into_iter().map(|service| &service["spec"]["selector"]);
        let budgets =
            find(&objects, "PodDisruptionBudget").into_iter().map(|b| &b["spec"]["selector"]["matchLabels"]);
        let own = [&deployment["spec"]["selector"]["matchLabels"]];
        for selector in selectors.chain(budgets).chain(own) {
            for (label, value) in selector.as_object().unwrap() {
                assert_eq!(&template["metadata"]["labels"][label], value, "{file}: {label}");
            }
        }
        let container = &template["spec"]["containers"][0];
        assert_eq!(each(&container["volumeMounts"], "name"), each(&template["spec"]["volumes"], "name"));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = container[probe]["httpGet"]["port"].as_str().unwrap();
            assert!(each(&container["ports"], "name").contains(port), "{file}: {probe}");
        }
        assert_eq!(find(&objects, "PodDisruptionBudget").len(), 1);
    }
}

#[test]
fn pods_are_as_small_as_they_can_be() {
    for file in MANIFESTS {
        let objects = documents(file);
        let pod = &deployment(&objects)["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"],
            serde_json::json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            })
        );
        assert!(container["resources"]["requests"]["cpu"].is_string());
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

/// Every right in the manifests, as `role: verbs groups/resources`: one more is one more line here.
#[test]
fn rights_are_few() {
    let shared = [
        "mcp-gateway-lease: get,create,update coordination.k8s.io/leases",
        "mcp-gateway-read: get,list,watch /services,namespaces",
        "mcp-gateway-read: get,list,watch discovery.k8s.io/endpointslices",
        "mcp-gateway-read: get,list,watch gateway.kgateway.dev/backends",
        "mcp-gateway-read: get,list,watch \
         gateway.networking.k8s.io/gatewayclasses,gateways,httproutes,referencegrants",
        "mcp-gateway-status: patch,update gateway.kgateway.dev/backends/status",
        "mcp-gateway-status: patch,update \
         gateway.networking.k8s.io/gatewayclasses/status,gateways/status,httproutes/status",
    ];
    let controller = [
        "mcp-gateway-controller: create /secrets",
        "mcp-gateway-controller: get,list,create,patch,delete /services,serviceaccounts",
        "mcp-gateway-controller: get,list,create,patch,delete apps/deployments",
        "mcp-gateway-controller: get,patch rbac.authorization.k8s.io/clusterrolebindings [mcp-gateway-proxies]",
    ];
    for (file, expected) in MANIFESTS.into_iter().zip([[&controller[..], &shared].concat(), shared.to_vec()])
    {
        let mut rights = Vec::new();
        for role in documents(file).iter().filter(|object| id(object).0.ends_with("Role")) {
            let name = id(role).1;
            for rule in role["rules"].as_array().unwrap() {
                let list = |field: &str| {
                    let items = rule[field].as_array().into_iter().flatten();
                    items.map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(",")
                };
                let (verbs, groups, resources) = (list("verbs"), list("apiGroups"), list("resources"));
                let only = match list("resourceNames").as_str() {
                    "" => String::new(),
                    names => format!(" [{names}]"),
                };
                rights.push(format!("{name}: {verbs} {groups}/{resources}{only}"));
            }
        }
        rights.sort();
        assert_eq!(rights, expected, "{file}");
    }
}

/// The subjects of that binding are the controller's: applying the manifests again must not take them away.
#[test]
fn who_may_read_is_left_to_the_controller() {
    let objects = documents("deploy/kubernetes/controller.yaml");
    let proxies: Vec<_> = find(&objects, "ClusterRoleBinding")
        .into_iter()
        .filter(|binding| binding.get("subjects").is_none())
        .map(|binding| id(binding).1)
        .collect();
    assert_eq!(proxies, ["mcp-gateway-proxies"]);
}

#[test]
fn the_class_is_the_one_the_deployments_claim() {
    let [class] = documents("deploy/kubernetes/gatewayclass.yaml").try_into().unwrap();
    assert_eq!(id(&class), ("GatewayClass".to_owned(), "agentgateway".to_owned()));
    let claim = format!("--controller-name={}", class["spec"]["controllerName"].as_str().unwrap());
    for file in MANIFESTS {
        let objects = documents(file);
        assert!(find(&objects, "GatewayClass").is_empty(), "{file}: it would take somebody else's class");
        assert!(arguments(&objects).contains(&claim), "{file}");
    }
}

#[test]
fn the_command_knows_the_arguments() {
    for file in MANIFESTS {
        let mut arguments = arguments(&documents(file));
        // Arguments before it are looked at all the same.
        arguments.push("--help".to_owned());
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
        let output = command.args(&arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &deployment(objects)["spec"]["template"]["spec"]["containers"][0];
    container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}
