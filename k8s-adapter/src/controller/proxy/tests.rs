use super::*;
use crate::objects::Objects;

fn gateway(spec: Value) -> Gateway {
    let mut objects = Objects::default();
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "agentgateway", "namespace": "tools", "uid": "u-1" },
        "spec": spec,
    });
    objects.insert(object).unwrap();
    let (_, gateway) = objects.gateways.pop_first().unwrap();
    (*gateway).clone()
}

fn listening(listeners: Value) -> Gateway {
    gateway(json!({ "gatewayClassName": "agentgateway", "listeners": listeners }))
}

fn seed() -> Gateway {
    listening(json!([{ "name": "http", "protocol": "HTTP", "port": 8080 }]))
}

fn template() -> Template {
    serde_json::from_value(json!({ "image": "mcp-gateway:1" })).unwrap()
}

/// What is made for `gateway`, by kind.
fn made(gateway: &Gateway, template: &Template) -> BTreeMap<String, Value> {
    let objects = proxy(gateway, "example.test/controller", template);
    objects.into_iter().map(|object| (object["kind"].as_str().unwrap().to_owned(), object)).collect()
}

fn ports(service: &Value) -> Vec<(u64, u64)> {
    let number = |port: &Value, field: &str| port[field].as_u64().unwrap();
    let ports = service["spec"]["ports"].as_array().unwrap().iter();
    ports.map(|port| (number(port, "port"), number(port, "targetPort"))).collect()
}

#[test]
fn everything_is_named_like_the_gateway_and_goes_with_it() {
    let kinds: Vec<Value> =
        proxy(&seed(), "c", &template()).into_iter().map(|object| object["kind"].clone()).collect();
    assert_eq!(kinds, ["ServiceAccount", "Service", "Deployment"], "in the order they need each other");
    let secret = put_key(secret(&seed(), "example.test/controller"), "AAAA");
    assert_eq!(secret["stringData"], json!({ "key": "AAAA" }));
    for object in made(&seed(), &template()).into_values().chain([secret]) {
        let metadata = &object["metadata"];
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&"agentgateway".into(), &"tools".into()));
        assert_eq!(
            metadata["ownerReferences"],
            json!([{
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": "agentgateway",
                "uid": "u-1",
                "controller": true,
            }])
        );
        assert_eq!(metadata["labels"]["gateway.networking.k8s.io/gateway-name"], "agentgateway");
        assert_eq!(metadata["annotations"]["mcp-gateway.dev/controller"], "example.test/controller");
    }
}

#[test]
fn a_service_has_each_port_of_a_listener_once() {
    for (listeners, expected) in [
        (json!([{ "name": "a", "protocol": "HTTP", "port": 8080 }]), vec![8080]),
        (
            json!([
                { "name": "a", "protocol": "HTTP", "port": 8080, "hostname": "a.test" },
                { "name": "b", "protocol": "HTTP", "port": 80 },
                { "name": "c", "protocol": "HTTP", "port": 8080, "hostname": "c.test" },
                { "name": "d", "protocol": "UDP", "port": 53 },
                { "name": "e", "protocol": "HTTP", "port": 70000 },
            ]),
            vec![80, 8080],
        ),
    ] {
        let made = made(&listening(listeners), &template());
        let service = &made["Service"];
        assert_eq!(ports(service), expected.iter().map(|port| (*port, *port)).collect::<Vec<_>>());
        assert_eq!(service["spec"]["type"], "LoadBalancer");
        let container = &made["Deployment"]["spec"]["template"]["spec"]["containers"][0];
        let open: Vec<u64> = container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["containerPort"].as_u64().unwrap())
            .collect();
        assert_eq!(open, [&[9901], &expected[..]].concat());
    }
}

#[test]
fn a_gateway_without_a_port_to_serve_gets_nothing() {
    for listeners in [json!([]), json!([{ "name": "a", "protocol": "TLS", "port": 443 }])] {
        assert_eq!(proxy(&listening(listeners), "c", &template()), [Value::Null; 0]);
    }
}

#[test]
fn ports_below_1024_are_opened_to_pods_without_root() {
    let security = |port: u16| {
        let gateway = listening(json!([{ "name": "a", "protocol": "HTTP", "port": port }]));
        made(&gateway, &template())["Deployment"]["spec"]["template"]["spec"]["securityContext"]["sysctls"]
            .clone()
    };
    assert_eq!(security(1024), Value::Null);
    assert_eq!(security(80), json!([{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }]));
}

#[test]
fn health_is_served_where_no_listener_is() {
    let gateway = listening(json!([{ "name": "a", "protocol": "HTTP", "port": 9901 }]));
    let container = &made(&gateway, &template())["Deployment"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], 9902);
    assert!(container["args"].as_array().unwrap().contains(&"--admin=0.0.0.0:9902".into()));
}

#[test]
fn pods_serve_their_gateway_and_report_nothing() {
    let template = Template { args: vec!["--workers=2".to_owned()], ..template() };
    let pod = &made(&seed(), &template)["Deployment"]["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["args"],
        json!([
            "kubernetes",
            "--gateway=tools/agentgateway",
            "--controller-name=example.test/controller",
            "--no-status",
            "--session-key-file=/etc/mcp-gateway/session/key",
            "--admin=0.0.0.0:9901",
            "--log-level=info",
            "--log-format=json",
            "--workers=2",
        ])
    );
    assert_eq!(pod["serviceAccountName"], "agentgateway");
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "agentgateway");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn infrastructure_labels_everything_but_replaces_nothing_of_ours() {
    let gateway = gateway(json!({
        "listeners": [{ "name": "a", "protocol": "HTTP", "port": 80 }],
        "infrastructure": {
            "labels": { "team": "tools", "gateway.networking.k8s.io/gateway-name": "other" },
            "annotations": { "balancer": "internal", "mcp-gateway.dev/controller": "other" },
        },
    }));
    let made = made(&gateway, &template());
    let pods = &made["Deployment"]["spec"]["template"];
    for object in made.values().chain([pods]) {
        assert_eq!(object["metadata"]["labels"]["team"], "tools");
        assert_eq!(object["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"], "agentgateway");
        assert_eq!(object["metadata"]["annotations"]["balancer"], "internal");
    }
    assert_eq!(
        made["Service"]["metadata"]["annotations"]["mcp-gateway.dev/controller"],
        "example.test/controller"
    );
}

#[test]
fn selectors_never_change_and_match_the_pods() {
    let made = made(&seed(), &template());
    let selector = json!({
        "gateway.networking.k8s.io/gateway-name": "agentgateway",
        "app.kubernetes.io/managed-by": "mcp-gateway-controller",
    });
    let deployment = &made["Deployment"]["spec"];
    assert_eq!(made["Service"]["spec"]["selector"], selector);
    assert_eq!(deployment["selector"]["matchLabels"], selector);
    for (label, value) in selector.as_object().unwrap() {
        assert_eq!(&deployment["template"]["metadata"]["labels"][label], value);
    }
}

#[test]
fn the_template_is_what_the_chart_writes() {
    let template: Template = serde_json::from_value(json!({
        "image": "registry.test/mcp-gateway:2",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{ "name": "pull" }],
        "replicas": 3,
        "serviceType": "NodePort",
        "nodeSelector": { "pool": "edge" },
        "tolerations": [{ "key": "edge", "operator": "Exists" }],
        "resources": { "limits": { "memory": "1Gi" } },
        "podAnnotations": { "a": "b" },
    }))
    .unwrap();
    let made = made(&seed(), &template);
    assert_eq!(made["Service"]["spec"]["type"], "NodePort");
    let deployment = &made["Deployment"]["spec"];
    assert_eq!(deployment["replicas"], 3);
    assert_eq!(deployment["template"]["metadata"]["annotations"], json!({ "a": "b" }));
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "pull" }]));
    assert_eq!(pod["nodeSelector"], json!({ "pool": "edge" }));
    assert_eq!(pod["tolerations"], json!([{ "key": "edge", "operator": "Exists" }]));
    assert_eq!(pod["containers"][0]["image"], "registry.test/mcp-gateway:2");
    assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(pod["containers"][0]["resources"], json!({ "limits": { "memory": "1Gi" } }));
    // A number that somebody else looks after is not said.
    assert_eq!(self::made(&seed(), &self::template())["Deployment"]["spec"]["replicas"], Value::Null);
}

#[test]
fn the_digest_is_another_when_a_field_is_gone() {
    let digest = |template: &Template| {
        made(&seed(), template)["Deployment"]["metadata"]["annotations"]["mcp-gateway.dev/applied"].clone()
    };
    let more = Template { pod_annotations: [("a".to_owned(), "b".to_owned())].into(), ..template() };
    assert_eq!(digest(&template()), digest(&template()));
    assert_ne!(digest(&template()), digest(&more));
}
