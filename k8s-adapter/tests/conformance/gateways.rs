//! Gateways and GatewayClasses.

use crate::support::{CLASS, answer, condition, request, status};
use crate::{OWN, V1, bumps, gateway, gateway_status, grant, http_kinds, https, parent, route, with};
use k8s_adapter::build::StatusKind;
use serde_json::{Value, json};

#[test]
fn gateway_listener_unsupported_protocol() {
    let invalid = "{name: invalid, port: 1111, protocol: INVALID}";
    let only = gateway("only", invalid);
    let both = gateway("both", &format!("{{name: http, port: 80, protocol: HTTP}}, {invalid}"));
    let built = with(&format!("{only}{both}"));

    let only = gateway_status(&built, "only");
    assert_eq!(condition(&only, "Accepted"), "False ListenersNotValid");
    assert_eq!(condition(&only["listeners"][0], "Accepted"), "False UnsupportedProtocol");
    assert_eq!(only["listeners"][0]["supportedKinds"], json!([]));
    let both = gateway_status(&built, "both");
    assert_eq!(condition(&both, "Accepted"), "True ListenersNotValid");
    assert_eq!(condition(&both["listeners"][0], "Accepted"), "True Accepted");
    assert_eq!(both["listeners"][0]["supportedKinds"], http_kinds());
    assert_eq!(condition(&both["listeners"][1], "Accepted"), "False UnsupportedProtocol");
}

#[test]
fn gateway_invalid_parameters_ref() {
    let text = gateway("g", "{name: http, port: 80, protocol: HTTP}").replace(
        "spec: {gateway",
        "spec: {infrastructure: {parametersRef: {group: invalid.io, kind: Invalid, name: x}}, gateway",
    );
    let built = with(&text);
    let gateway = gateway_status(&built, "g");
    assert_eq!(condition(&gateway, "Accepted"), "False InvalidParameters");
    assert_eq!(condition(&gateway, "Programmed"), "False Invalid");
    assert!(built.routes.addresses().all(|address| address != OWN.parse().unwrap()));
}

#[test]
fn gateway_invalid_route_kind() {
    let listener =
        |kinds| format!("{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{kinds: [{kinds}]}}}}");
    let only = gateway("only", &listener("{kind: InvalidRoute}"));
    let both = gateway("both", &listener("{kind: InvalidRoute}, {kind: HTTPRoute}"));
    let built = with(&format!("{only}{both}"));
    for (name, kinds) in [("only", json!([])), ("both", http_kinds())] {
        let listener = gateway_status(&built, name)["listeners"][0].clone();
        assert_eq!(condition(&listener, "ResolvedRefs"), "False InvalidRouteKinds", "{name}");
        assert_eq!(listener["supportedKinds"], kinds);
        assert_eq!(listener["attachedRoutes"], 0);
    }
}

fn https_listener(text: &str) -> Value {
    let built = with(text);
    let listener = gateway_status(&built, "g")["listeners"][0].clone();
    // The same whatever the certificate is: TLS is not terminated.
    assert_eq!(condition(&listener, "Accepted"), "False UnsupportedProtocol");
    assert_eq!(condition(&listener, "Programmed"), "False Invalid");
    assert_eq!(listener["supportedKinds"], http_kinds());
    listener
}

/// Not passing upstream: a Secret that is missing or malformed is not noticed, since Secrets are not read.
#[test]
fn gateway_invalid_tls_configuration() {
    for reference in
        ["{group: wrong.example.com, kind: Secret, name: c}", "{group: '', kind: WrongKind, name: c}", ""]
    {
        let listener = https_listener(&https("g", reference));
        assert_eq!(condition(&listener, "ResolvedRefs"), "False InvalidCertificateRef", "{reference}");
    }
    let unread = https_listener(&https("g", "{group: '', kind: Secret, name: nonexistent}"));
    assert_eq!(condition(&unread, "ResolvedRefs"), "True ResolvedRefs");
}

/// Not passing upstream, where the HTTPS listener is accepted; the routes are attached all the same.
#[test]
fn gateway_modify_listeners() {
    let https = "{name: https, port: 443, protocol: HTTPS, hostname: secure.test.com, \
                 allowedRoutes: {namespaces: {from: All}}, tls: {certificateRefs: [{name: cert}]}}";
    let http = "{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}";
    let route = route("infra/r", "parentRefs: [{name: g}], rules: [{backendRefs: [{name: v1, port: 8080}]}]");
    let listeners = |listeners: &str| {
        let built = with(&format!("{}{route}", gateway("g", listeners)));
        let names = gateway_status(&built, "g")["listeners"].as_array().unwrap().clone();
        for listener in &names {
            assert_eq!(listener["attachedRoutes"], 1);
            assert_eq!(condition(listener, "ResolvedRefs"), "True ResolvedRefs");
        }
        let served = answer(&built, OWN, request("any", "/"));
        (
            names.iter().map(|listener| listener["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            served,
        )
    };
    assert_eq!(listeners(https), (vec!["https".to_owned()], "404".to_owned()));
    assert_eq!(
        listeners(&format!("{https}, {http}")),
        (vec!["https".to_owned(), "http".to_owned()], V1.to_owned())
    );
    assert_eq!(listeners(http), (vec!["http".to_owned()], V1.to_owned()));
}

#[test]
fn gateway_observed_generation_bump() {
    let listeners =
        "{name: a, hostname: a.com, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}";
    bumps(StatusKind::Gateway, "infra/g", &gateway("g", listeners), 2 + 2 * 3);
}

#[test]
fn gateway_class_observed_generation_bump() {
    bumps(StatusKind::GatewayClass, "ours", CLASS, 1);
    let class = status(&with(""), StatusKind::GatewayClass, "ours");
    assert_eq!(condition(&class, "Accepted"), "True Accepted");
    let features: Vec<&str> = class["supportedFeatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["name"].as_str().unwrap())
        .collect();
    assert!(features.is_sorted() && features.contains(&"HTTPRoute"));
}

const FOREIGN_SECRET: &str = "{group: '', kind: Secret, name: certificate, namespace: web}";
const FROM: &str = "group: gateway.networking.k8s.io, kind: Gateway, namespace: infra";
const TO: &str = "group: '', kind: Secret, name: certificate";

#[test]
fn gateway_secret_invalid_reference_grant() {
    for (namespace, from, to) in [
        ("app", FROM, TO),
        ("web", "group: other.example.com, kind: Gateway, namespace: infra", TO),
        ("web", "group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: infra", TO),
        ("web", "group: gateway.networking.k8s.io, kind: Gateway, namespace: other", TO),
        ("web", FROM, "group: other.example.com, kind: Secret, name: certificate"),
        ("web", FROM, "group: '', kind: Service, name: certificate"),
        ("web", FROM, "group: '', kind: Secret, name: other"),
    ] {
        let text = format!("{}{}", https("g", FOREIGN_SECRET), grant(namespace, from, to));
        assert_eq!(condition(&https_listener(&text), "ResolvedRefs"), "False RefNotPermitted", "{from} {to}");
    }
}

#[test]
fn gateway_secret_missing_reference_grant() {
    let listener = https_listener(&https("g", FOREIGN_SECRET));
    assert_eq!(condition(&listener, "ResolvedRefs"), "False RefNotPermitted");
}

/// Not passing upstream, where the listener is accepted and programmed.
#[test]
fn gateway_secret_reference_grant_all_in_namespace() {
    let text = format!("{}{}", https("g", FOREIGN_SECRET), grant("web", FROM, "group: '', kind: Secret"));
    assert_eq!(condition(&https_listener(&text), "ResolvedRefs"), "True ResolvedRefs");
}

/// Not passing upstream, where the listener is accepted and programmed.
#[test]
fn gateway_secret_reference_grant_specific() {
    let text = format!("{}{}", https("g", FOREIGN_SECRET), grant("web", FROM, TO));
    assert_eq!(condition(&https_listener(&text), "ResolvedRefs"), "True ResolvedRefs");
}

/// Not passing upstream in one point: that a Secret is missing is not noticed, so the listener's references count as
/// resolved. It is not programmed, and its routes are counted.
#[test]
fn gateway_with_attached_routes() {
    let allowed = "allowedRoutes: {kinds: [{kind: HTTPRoute}], namespaces: {from: Selector, \
                   selector: {matchLabels: {kubernetes.io/metadata.name: infra}}}}";
    let to = |gateway: &str, backend: &str| {
        format!(
            "parentRefs: [{{kind: Gateway, name: {gateway}, namespace: infra}}], rules: [{{backendRefs: [{{name: {backend}, port: 8080}}]}}]"
        )
    };
    let text = [
        gateway("one", &format!("{{name: http, port: 80, protocol: HTTP, {allowed}}}")),
        gateway(
            "two",
            &format!("{{name: http, port: 81, protocol: HTTP, hostname: foo.example.com, {allowed}}}"),
        ),
        gateway(
            "tls",
            &format!(
                "{{name: tls, port: 443, protocol: HTTPS, {allowed}, tls: {{certificateRefs: [{{name: none}}]}}}}"
            ),
        ),
        route("infra/r1", &to("one", "v1")),
        route("infra/r2", &to("two", "v1")),
        route("infra/r3", &to("two", "v1")),
        route("infra/no", &format!("hostnames: [no.test.com], {}", to("two", "v1"))),
        route("infra/r4", &to("tls", "missing")),
    ];
    let built = with(&text.concat());
    for (name, count) in [("one", 1), ("two", 2)] {
        let listener = gateway_status(&built, name)["listeners"][0].clone();
        assert_eq!(condition(&listener, "Accepted"), "True Accepted");
        assert_eq!(condition(&listener, "ResolvedRefs"), "True ResolvedRefs");
        assert_eq!(
            (&listener["attachedRoutes"], &listener["supportedKinds"]),
            (&json!(count), &http_kinds())
        );
    }
    assert_eq!(condition(&parent(&built, "infra/no"), "Accepted"), "False NoMatchingListenerHostname");
    let tls = gateway_status(&built, "tls")["listeners"][0].clone();
    assert_eq!(tls["attachedRoutes"], 1);
    assert_eq!(condition(&tls, "Programmed"), "False Invalid");
    assert_eq!(condition(&parent(&built, "infra/r4"), "ResolvedRefs"), "False BackendNotFound");
}
