//! Which Gateways are served, where, and what is reported of them.

use crate::support::{CLASS, answer, built, condition, inputs, objects, request, status};
use k8s_adapter::build::{Built, Inputs, Options, Publish, StatusAddress, StatusKind, build};
use k8s_adapter::objects::Key;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A Gateway of our class, made at a second of a minute; `spec` is the inside of a flow map.
fn gateway(name: &str, second: u8, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {name}, namespace: n, \
         creationTimestamp: '2026-01-01T00:00:{second:02}Z'}}, spec: {{gatewayClassName: ours, {spec}}}}}\n"
    )
}

const HTTP: &str = "listeners: [{name: http, port: 80, protocol: HTTP}]";

/// A route of a Gateway to a Service of its own name.
fn route(gateway: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {gateway}, namespace: n}}, \
         spec: {{parentRefs: [{{name: {gateway}}}], rules: [{{backendRefs: [{{name: {gateway}, port: 8080}}]}}]}}}}\n\
         ---\n{{apiVersion: v1, kind: Service, metadata: {{name: {gateway}, namespace: n}}, spec: {{ports: [{{port: 8080}}]}}}}\n"
    )
}

fn with(texts: &[String], options: &Options) -> Built {
    built(&objects(&[CLASS, &texts.concat()]), options)
}

fn of(built: &Built, name: &str) -> Value {
    status(built, StatusKind::Gateway, &format!("n/{name}"))
}

fn addresses(built: &Built) -> Vec<String> {
    built.routes.addresses().map(|address| address.to_string()).collect()
}

#[test]
fn a_gateway_is_claimed_by_its_classs_controller() {
    let foreign = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: theirs}, \
                   spec: {controllerName: example.com/other}}\n";
    let text = [
        gateway("a", 1, HTTP).replace("ours", "theirs"),
        gateway("b", 1, &HTTP.replace("80", "81")).replace("ours", "none"),
        foreign.to_owned(),
    ];
    let cluster = with(&text, &Options::default());
    assert!(
        cluster
            .statuses
            .iter()
            .all(|status| status.kind == StatusKind::GatewayClass && status.key.name == "ours")
    );
    assert_eq!(addresses(&cluster), Vec::<String>::new());
    let renamed = Options { controller_name: "example.com/other".to_owned(), ..Options::default() };
    assert_eq!(condition(&of(&with(&text, &renamed), "a"), "Accepted"), "True Accepted");
    // In files whoever is named is meant.
    let files = with(&text, &Options { from_files: true, ..Options::default() });
    assert_eq!(condition(&of(&files, "b"), "Accepted"), "True Accepted");
}

#[test]
fn only_the_gateways_that_were_named_are_served() {
    let text =
        [gateway("a", 1, HTTP), gateway("b", 2, "listeners: [{name: http, port: 81, protocol: HTTP}]")];
    let options = Options { gateways: vec![Key::new("n", "b")], ..Options::default() };
    assert_eq!(addresses(&with(&text, &options)), ["[::]:81"]);
}

#[test]
fn only_the_namespaces_that_were_named_are_read() {
    let text = [gateway("a", 1, HTTP), route("a")];
    let reading = |namespace: &str| Options { namespaces: vec![namespace.to_owned()], ..Options::default() };
    assert_eq!(addresses(&with(&text, &reading("n"))), ["[::]:80"]);
    assert_eq!(addresses(&with(&text, &reading("other"))), Vec::<String>::new());
}

#[test]
fn addresses_are_those_it_is_told_of() {
    let service = |text: &str| {
        format!("---\n{{apiVersion: v1, kind: Service, metadata: {{name: lb, namespace: n}}, {text}}}\n")
    };
    let key = Key::new("n", "lb");
    let ip = |text: &str| json!([{"type": "IPAddress", "value": text}]);
    let balancer = "spec: {type: LoadBalancer, clusterIPs: [10.96.0.1]}";
    for (publish, text, spec, expected) in [
        (
            Publish::Addresses(vec![StatusAddress::Ip("192.0.2.1".parse().unwrap())]),
            "spec: {}",
            "",
            ip("192.0.2.1"),
        ),
        (Publish::Service(key.clone()), "spec: {clusterIPs: [10.96.0.1]}", "", ip("10.96.0.1")),
        (Publish::Service(key.clone()), "spec: {clusterIPs: [None]}", "", json!([])),
        (Publish::Service(key.clone()), balancer, "", json!([])),
        (
            Publish::Service(key.clone()),
            "spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{hostname: lb.example.com}]}}",
            "",
            json!([{"type": "Hostname", "value": "lb.example.com"}]),
        ),
        (
            Publish::Service(key),
            "spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}",
            "",
            ip("192.0.2.7"),
        ),
        (Publish::OwnService, "spec: {clusterIPs: [10.96.0.1]}", "", ip("10.96.0.1")),
        (
            Publish::Addresses(vec![]),
            "spec: {}",
            "addresses: [{type: IPAddress, value: 127.0.0.9}], ",
            ip("127.0.0.9"),
        ),
        (Publish::Addresses(vec![]), "spec: {}", "", json!([])),
    ] {
        let options = Options { publish, ..Options::default() };
        let built = with(&[gateway("lb", 1, &format!("{spec}{HTTP}")), service(text)], &options);
        let gateway = of(&built, "lb");
        assert_eq!(gateway["addresses"], expected, "{:?}", options.publish);
        let programmed = if expected == json!([]) { "False AddressNotAssigned" } else { "True Programmed" };
        assert_eq!(condition(&gateway, "Programmed"), programmed);
        assert_eq!(condition(&gateway, "Accepted"), "True Accepted");
    }
    let bound = Options { bind: "127.0.0.1".parse().unwrap(), ..Options::default() };
    assert_eq!(of(&with(&[gateway("a", 1, HTTP)], &bound), "a")["addresses"], ip("127.0.0.1"));
}

#[test]
fn without_an_address_the_option_is_named() {
    let built = with(&[gateway("a", 1, HTTP)], &Options::default());
    let message = of(&built, "a")["conditions"][1]["message"].clone();
    assert_eq!(message, "no address is known: start with --publish-service or --publish-address");
    assert_eq!(addresses(&built), ["[::]:80"], "it is served all the same");
}

#[test]
fn an_address_that_can_not_be_bound_is_refused() {
    for address in
        ["{type: example.com/x, value: y}", "{type: Hostname, value: localhost}", "{value: 127.0.0.x}"]
    {
        let text = gateway("a", 1, &format!("addresses: [{address}], {HTTP}"));
        let built = with(&[text], &Options::default());
        assert_eq!(condition(&of(&built, "a"), "Accepted"), "False UnsupportedAddress", "{address}");
        assert_eq!(addresses(&built), Vec::<String>::new());
    }
    let any =
        with(&[gateway("a", 1, &format!("addresses: [{{type: IPAddress}}], {HTTP}"))], &Options::default());
    assert_eq!(addresses(&any), ["[::]:80"]);
}

#[test]
fn gateways_with_addresses_of_their_own_are_apart() {
    let at = |address: &str| format!("addresses: [{{value: {address}}}], {HTTP}");
    let text = [gateway("a", 1, &at("127.0.0.1")), route("a"), gateway("b", 2, &at("127.0.0.2")), route("b")];
    let built = with(&text, &Options::default());
    assert_eq!(addresses(&built), ["127.0.0.1:80", "127.0.0.2:80"]);
    assert_eq!(answer(&built, "127.0.0.1:80", request("x", "/")), "service/n/a:8080");
    assert_eq!(answer(&built, "127.0.0.2:80", request("x", "/")), "service/n/b:8080");
}

#[test]
fn gateways_that_share_an_address_are_told_apart_by_host() {
    let host =
        |host: &str| format!("listeners: [{{name: http, port: 80, protocol: HTTP, hostname: {host}}}]");
    let text = [gateway("a", 1, &host("a.com")), route("a"), gateway("b", 2, &host("b.com")), route("b")];
    let built = with(&text, &Options::default());
    assert_eq!(addresses(&built), ["[::]:80"]);
    for (name, expected) in [("a.com", "service/n/a:8080"), ("b.com", "service/n/b:8080"), ("c.com", "404")] {
        assert_eq!(answer(&built, "[::]:80", request(name, "/")), expected);
    }
}

#[test]
fn of_two_gateways_at_one_place_the_older_is_served() {
    let text = [gateway("young", 2, HTTP), route("young"), gateway("zold", 1, HTTP), route("zold")];
    let built = with(&text, &Options::default());
    assert_eq!(answer(&built, "[::]:80", request("x", "/")), "service/n/zold:8080");
    assert_eq!(condition(&of(&built, "zold"), "Accepted"), "True Accepted");
    let young = of(&built, "young");
    assert_eq!(condition(&young, "Accepted"), "False ListenersNotValid");
    let listener = &young["listeners"][0];
    assert_eq!(condition(listener, "Conflicted"), "True HostnameConflict");
    assert_eq!(condition(listener, "Programmed"), "False HostnameConflict");
    assert_eq!(listener["attachedRoutes"], 1);
    let message = young["conditions"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("http: Gateway n/zold is older and has port 80 and host *"), "{message}");
    // With a data plane each they have nothing in common.
    let apart = with(&text, &Options { publish: Publish::OwnService, ..Options::default() });
    assert_eq!(condition(&of(&apart, "young"), "Accepted"), "True Accepted");
}

#[test]
fn listeners_that_can_not_be_told_apart_are_not_served() {
    let listener = |name: &str, rest: &str| format!("{{name: {name}, port: 80, {rest}}}");
    for (listeners, expected) in [
        (
            vec![
                listener("a", "protocol: HTTP"),
                listener("b", "protocol: HTTP"),
                listener("c", "protocol: HTTP, hostname: c.com"),
            ],
            &["True HostnameConflict", "True HostnameConflict", ""][..],
        ),
        (
            vec![
                listener("a", "protocol: HTTP, hostname: A.com"),
                listener("b", "protocol: HTTP, hostname: a.com"),
            ],
            &["True HostnameConflict", "True HostnameConflict"],
        ),
        (
            vec![listener("a", "protocol: HTTP"), listener("b", "protocol: HTTPS, hostname: a.com")],
            &["True ProtocolConflict", "True ProtocolConflict"],
        ),
        // What is not supported at all is in nobody's way.
        (vec![listener("a", "protocol: HTTP"), listener("b", "protocol: TCP")], &["", ""]),
    ] {
        let built =
            with(&[gateway("g", 1, &format!("listeners: [{}]", listeners.join(", ")))], &Options::default());
        let gateway = of(&built, "g");
        let conflicts: Vec<String> = gateway["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .map(|listener| condition(listener, "Conflicted"))
            .collect();
        assert_eq!(conflicts, expected);
        let accepted =
            if expected.contains(&"") { "True ListenersNotValid" } else { "False ListenersNotValid" };
        assert_eq!(condition(&gateway, "Accepted"), accepted);
    }
}

#[test]
fn ports_and_names_are_checked_where_no_api_server_did() {
    let text = gateway(
        "g",
        1,
        "listeners: [{name: a, port: 0, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: HTTP}]",
    );
    let built = with(&[text], &Options::default());
    let gateway = of(&built, "g");
    assert_eq!(gateway["listeners"].as_array().unwrap().len(), 2);
    assert_eq!(condition(&gateway["listeners"][0], "Accepted"), "False PortUnavailable");
    assert_eq!(addresses(&built), ["[::]:80"]);
    assert_eq!(built.notes, ["Gateway n/g: another listener is named \"b\" too and is left out"]);
}

#[test]
fn routes_of_other_namespaces_are_taken_as_the_listener_says() {
    let namespaces = "---\n{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: red}}}\n";
    let route = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: other}, \
                 spec: {parentRefs: [{name: g, namespace: n}], rules: [{}]}}\n";
    for (allowed, expected) in [
        ("", false),
        ("from: Same", false),
        ("from: All", true),
        ("from: New", false),
        ("from: Selector", false),
        ("from: Selector, selector: {}", true),
        ("from: Selector, selector: {matchLabels: {team: red}}", true),
        ("from: Selector, selector: {matchLabels: {team: blue}}", false),
        ("from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: other}}", true),
        ("from: Selector, selector: {matchExpressions: [{key: team, operator: Odd}]}", false),
    ] {
        let listener = format!(
            "listeners: [{{name: a, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{{allowed}}}}}}}]"
        );
        let built =
            with(&[gateway("g", 1, &listener), namespaces.to_owned(), route.to_owned()], &Options::default());
        let parent = status(&built, StatusKind::HttpRoute, "other/r")["parents"][0].clone();
        let accepted = if expected { "True Accepted" } else { "False NotAllowedByListeners" };
        assert_eq!(condition(&parent, "Accepted"), accepted, "{allowed}");
    }
}

#[test]
fn a_class_tells_what_is_supported() {
    let tell = |version: Option<&str>| {
        let options = Options { bundle_version: version.map(str::to_owned), ..Options::default() };
        condition(&status(&with(&[], &options), StatusKind::GatewayClass, "ours"), "SupportedVersion")
    };
    assert_eq!(tell(None), "");
    assert_eq!(tell(Some("v1.6.1")), "True SupportedVersion");
    assert_eq!(tell(Some("v2.0.0")), "False UnsupportedVersion");
}

#[test]
fn parameters_of_a_class_are_not_known() {
    let class = CLASS.replace("spec: {", "spec: {parametersRef: {group: example.com, kind: P, name: p}, ");
    let built = built(&objects(&[&class, &gateway("g", 1, HTTP)]), &Options::default());
    let class = status(&built, StatusKind::GatewayClass, "ours");
    assert_eq!(condition(&class, "Accepted"), "False InvalidParameters");
    assert_eq!(condition(&of(&built, "g"), "Accepted"), "False InvalidParameters");
    assert_eq!(addresses(&built), Vec::<String>::new());
}

#[test]
fn a_port_that_can_not_be_listened_on_is_told_and_tried_again() {
    let listeners = "listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: HTTP}]";
    let (objects, options) = (objects(&[CLASS, &gateway("g", 1, listeners)]), Options::default());
    let unbound = BTreeMap::from([("[::]:80".parse().unwrap(), "permission denied".to_owned())]);
    let built = build(&Inputs { unbound: &unbound, ..inputs(&objects, &options) });
    assert_eq!(addresses(&built), ["[::]:80", "[::]:81"]);
    let gateway = of(&built, "g");
    assert_eq!(condition(&gateway, "Accepted"), "True ListenersNotValid");
    assert_eq!(gateway["conditions"][0]["message"], "a: [::]:80 can't be listened on: permission denied");
    assert_eq!(condition(&gateway["listeners"][0], "Accepted"), "False PortUnavailable");
    assert_eq!(condition(&gateway["listeners"][0], "Programmed"), "False Invalid");
    assert_eq!(condition(&gateway["listeners"][1], "Programmed"), "True Programmed");
}
