use super::*;
use crate::manifests;
use serde_json::json;

const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: example.test/ours}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.test/theirs}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: good, uid: u-good}
spec: {gatewayClassName: ours, listeners: [{name: a, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: slip, uid: u-slip}
spec: {gatewayClassName: ours, listeners: [{name: a, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gone-over, uid: u-gone-over}
spec: {gatewayClassName: theirs, listeners: [{name: a, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: orphan, uid: u-orphan}
spec: {gatewayClassName: deleted, listeners: [{name: a, protocol: HTTP, port: 80}]}
";

fn status(name: &str, accepted: &str) -> WantedStatus {
    WantedStatus {
        kind: StatusKind::Gateway,
        key: Key::new("default", name),
        generation: Some(1),
        resource_version: None,
        status: json!({ "conditions": [
            { "type": "Accepted", "status": accepted, "reason": "R", "message": "" },
            { "type": "Programmed", "status": "True", "reason": "Programmed", "message": "" },
        ] }),
    }
}

#[test]
fn accepted_gateways_of_our_classes_get_a_proxy_and_none_loses_it_by_a_slip() {
    let mut objects = Objects::default();
    manifests::read("objects", OBJECTS, &mut objects).unwrap();
    let options = ControllerOptions {
        controller_name: "example.test/ours".to_owned(),
        template: serde_json::from_value(json!({ "image": "i" })).unwrap(),
        key: String::new,
        sweep: Duration::ZERO,
    };
    let statuses = [status("good", "True"), status("slip", "False"), status("gone-over", "True")];
    let wanted = Wanted::new(&objects, &statuses, &options);
    let key = |name: &str| Key::new("default", name);
    assert_eq!(wanted.proxies.keys().collect::<Vec<_>>(), [&key("good")]);
    assert_eq!(wanted.proxies[&key("good")].uid, "u-good");
    assert_eq!(wanted.readers, [key("good"), key("slip")].into());
    assert_eq!(wanted.released, ["u-gone-over".to_owned()].into());
}

#[test]
fn a_status_says_what_is_in_the_way() {
    let mut statuses = [status("good", "True"), status("slip", "True")];
    report(&[(Key::new("default", "good"), "a Service is in the way".to_owned())].into(), &mut statuses);
    assert_eq!(
        statuses[0].status["conditions"][1],
        json!({
            "type": "Programmed",
            "status": "False",
            "reason": "ProxyNotCreated",
            "message": "a Service is in the way",
        })
    );
    assert_eq!(statuses[0].status["conditions"][0]["status"], "True");
    assert_eq!(statuses[1], status("slip", "True"));
}
