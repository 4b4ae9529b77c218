//! HTTPRoutes: matches, hosts, filters, weights.

use crate::support::{Request, answer, condition, endpoints, entry, request, status};
use crate::{
    ALL, BACKENDS, OWN, SAME, V1, V2, V3, accepted, ask, ask_with, gateway, gateway_status, https, parent,
    route, to, with,
};
use k8s_adapter::build::StatusKind;
use routing::{Answer, Serves};
use serde_json::json;

#[test]
fn http_route_cross_namespace() {
    let spec = "parentRefs: [{name: backends, namespace: infra}], rules: [{backendRefs: [{name: site, port: 8080}]}]";
    let built = with(&route("web/r", spec));
    accepted(&built, "web/r");
    ask(&built, BACKENDS, &[("any", "/", "service/web/site:8080")]);
}

#[test]
fn http_route_exact_path_matching() {
    let spec = "parentRefs: [{name: same}], rules: [
        {matches: [{path: {type: Exact, value: /one}}], backendRefs: [{name: v1, port: 8080}]},
        {matches: [{path: {type: Exact, value: /two}}], backendRefs: [{name: v2, port: 8080}]}]";
    let built = with(&route("infra/r", spec));
    accepted(&built, "infra/r");
    let cases = [
        ("/one", V1),
        ("/two", V2),
        ("/", "404"),
        ("/one/example", "404"),
        ("/two/", "404"),
        ("/Two", "404"),
    ];
    ask(&built, SAME, &cases.map(|(path, expected)| ("any", path, expected)));
}

#[test]
fn http_route_header_matching() {
    let spec = "parentRefs: [{name: same}], rules: [
        {matches: [{headers: [{name: version, value: one}]}], backendRefs: [{name: v1, port: 8080}]},
        {matches: [{headers: [{name: Version, value: two}]}], backendRefs: [{name: v2, port: 8080}]},
        {matches: [{headers: [{name: version, value: two}, {name: color, value: orange}]}],
         backendRefs: [{name: v1, port: 8080}]},
        {matches: [{headers: [{name: color, value: blue}]}, {headers: [{name: color, value: green}]}],
         backendRefs: [{name: v1, port: 8080}]},
        {matches: [{headers: [{name: color, value: red}]}, {headers: [{name: color, value: yellow}]}],
         backendRefs: [{name: v2, port: 8080}]}]";
    let built = with(&route("infra/r", spec));
    accepted(&built, "infra/r");
    for (headers, expected) in [
        (&[("version", "one")][..], V1),
        (&[("version", "two")], V2),
        (&[("version", "two"), ("color", "orange")], V1),
        (&[("version", "two"), ("color", "blue")], V2),
        (&[("color", "orange")], "404"),
        (&[("some-other-header", "one")], "404"),
        (&[("color", "blue")], V1),
        (&[("color", "green")], V1),
        (&[("color", "red")], V2),
        (&[("color", "yellow")], V2),
        (&[("color", "purple")], "404"),
    ] {
        ask_with(&built, "/", headers, expected);
    }
}

#[test]
fn http_route_hostname_intersection() {
    let listener = |name: &str, host: &str| {
        format!(
            "{{name: {name}, port: 80, protocol: HTTP, hostname: '{host}', allowedRoutes: {{namespaces: {{from: Same}}}}}}"
        )
    };
    let listeners = [
        listener("l1", "very.specific.com"),
        listener("l2", "*.wildcard.io"),
        listener("l3", "*.anotherwildcard.io"),
    ];
    let hosts = |hosts: &str, rule: String| {
        format!("parentRefs: [{{name: g, namespace: infra}}], hostnames: [{hosts}], rules: [{rule}]")
    };
    let text = [
        gateway("g", &listeners.join(", ")),
        route(
            "infra/s1",
            &hosts("non.matching.com, '*.nonmatchingwildcard.io', very.specific.com", to("/s1", "v1")),
        ),
        route(
            "infra/s2",
            &hosts(
                "non.matching.com, wildcard.io, foo.wildcard.io, bar.wildcard.io, foo.bar.wildcard.io",
                to("/s2", "v2"),
            ),
        ),
        route("infra/s3", &hosts("non.matching.com, '*.specific.com'", to("/s3", "v3"))),
        route("infra/s4", &hosts("'*.anotherwildcard.io'", to("/s4", "v1"))),
        route("infra/s5", &hosts("specific.but.wrong.com, wildcard.io", to("/s5", "v2"))),
    ];
    let built = with(&text.concat());
    ["infra/s1", "infra/s2", "infra/s3", "infra/s4"].iter().for_each(|route| accepted(&built, route));
    ask(
        &built,
        OWN,
        &[
            ("very.specific.com", "/s1", V1),
            ("very.specific.com:1234", "/s1", V1),
            ("non.matching.com", "/s1", "404"),
            ("foo.nonmatchingwildcard.io", "/s1", "404"),
            ("foo.wildcard.io", "/s1", "404"),
            ("very.specific.com", "/non-matching-prefix", "404"),
            ("foo.wildcard.io", "/s2", V2),
            ("bar.wildcard.io", "/s2", V2),
            ("foo.bar.wildcard.io", "/s2", V2),
            ("non.matching.com", "/s2", "404"),
            ("wildcard.io", "/s2", "404"),
            ("very.specific.com", "/s2", "404"),
            ("very.specific.com", "/s3", V3),
            ("non.matching.com", "/s3", "404"),
            ("foo.specific.com", "/s3", "404"),
            ("foo.wildcard.io", "/s3", "404"),
            ("foo.anotherwildcard.io", "/s4", V1),
            ("foo.bar.anotherwildcard.io", "/s4", V1),
            ("anotherwildcard.io", "/s4", "404"),
            ("foo.wildcard.io", "/s4", "404"),
            ("specific.but.wrong.com", "/s5", "404"),
            ("wildcard.io", "/s5", "404"),
        ],
    );
    assert_eq!(condition(&parent(&built, "infra/s5"), "Accepted"), "False NoMatchingListenerHostname");
    let listeners = gateway_status(&built, "g")["listeners"].as_array().unwrap().clone();
    assert_eq!(
        listeners.iter().map(|listener| listener["attachedRoutes"].clone()).collect::<Vec<_>>(),
        [2, 1, 1]
    );

    let spec = "parentRefs: [{name: same}], hostnames: [first.com, sub.first.com, second.com, sub.second.com], \
                rules: [{backendRefs: [{name: v2, port: 8080}]}]";
    let built = with(&route("infra/all", spec));
    for (host, expected) in [
        ("first.com", V2),
        ("sub.first.com", V2),
        ("second.com", V2),
        ("sub.second.com", V2),
        ("third.com", "404"),
    ] {
        ask(&built, SAME, &[(host, "/", expected)]);
    }
}

/// Not passing upstream: TLS is not terminated. The route is told so where it attaches.
#[test]
fn http_route_https_listener() {
    let text = [
        https("g", "{name: cert}"),
        route(
            "infra/r",
            "parentRefs: [{name: g}], hostnames: [example.org], rules: [{backendRefs: [{name: v1, port: 8080}]}]",
        ),
    ];
    let built = with(&text.concat());
    accepted(&built, "infra/r");
    let message = parent(&built, "infra/r")["conditions"][0]["message"].clone();
    assert_eq!(message, "it is attached; not served: listener https");
    assert!(built.routes.addresses().all(|address| address.port() != 443));
}

#[test]
fn http_route_listener_hostname_matching() {
    let listener =
        |name: &str, host: &str| format!("{{name: {name}, port: 80, protocol: HTTP, hostname: '{host}'}}");
    let listeners = [
        listener("l1", "bar.com"),
        listener("l2", "foo.bar.com"),
        listener("l3", "*.bar.com"),
        listener("l4", "*.foo.com"),
    ];
    let section = |sections: &[&str], backend: &str| {
        let parents: Vec<String> = sections
            .iter()
            .map(|section| format!("{{name: g, namespace: infra, sectionName: {section}}}"))
            .collect();
        format!(
            "parentRefs: [{}], rules: [{{backendRefs: [{{name: {backend}, port: 8080}}]}}]",
            parents.join(", ")
        )
    };
    let text = [
        gateway("g", &listeners.join(", ")),
        route("infra/r1", &section(&["l1"], "v1")),
        route("infra/r2", &section(&["l2"], "v2")),
        route("infra/r3", &section(&["l3", "l4"], "v3")),
    ];
    let built = with(&text.concat());
    accepted(&built, "infra/r1");
    accepted(&built, "infra/r2");
    let parents = status(&built, StatusKind::HttpRoute, "infra/r3")["parents"].as_array().unwrap().clone();
    assert_eq!(
        parents.iter().map(|parent| condition(parent, "Accepted")).collect::<Vec<_>>(),
        ["True Accepted"; 2]
    );
    assert_eq!(parents[1]["parentRef"]["sectionName"], "l4");
    for (host, expected) in [
        ("bar.com", V1),
        ("foo.bar.com", V2),
        ("baz.bar.com", V3),
        ("boo.bar.com", V3),
        ("multiple.prefixes.bar.com", V3),
        ("multiple.prefixes.foo.com", V3),
        ("foo.com", "404"),
        ("no.matching.host", "404"),
    ] {
        ask(&built, OWN, &[(host, "/", expected)]);
    }
}

/// Rules for a prefix or a header.
fn prefix_or_version(prefix: &str, version: &str, backend: &str) -> String {
    format!(
        "{{matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}, {{headers: [{{name: version, value: {version}}}]}}], \
         backendRefs: [{{name: {backend}, port: 8080}}]}}"
    )
}

#[test]
fn http_route_matching_across_routes() {
    let (one, two) = (prefix_or_version("/", "one", "v1"), prefix_or_version("/v2", "two", "v2"));
    let text = [
        route(
            "infra/r1",
            &format!("parentRefs: [{{name: same}}], hostnames: [example.com, example.net], rules: [{one}]"),
        ),
        route("infra/r2", &format!("parentRefs: [{{name: same}}], hostnames: [example.com], rules: [{two}]")),
    ];
    let built = with(&text.concat());
    ask(
        &built,
        SAME,
        &[
            ("example.com", "/", V1),
            ("example.com", "/example", V1),
            ("example.net", "/example", V1),
            ("example.com", "/v2", V2),
            ("example.net", "/v2", V1),
            ("example.com", "/v2/example", V2),
        ],
    );
    for (version, expected) in [("one", V1), ("two", V2)] {
        let request = Request { host: "example.com", path: "/", headers: &[("version", version)] };
        assert_eq!(answer(&built, SAME, request), expected);
    }
}

#[test]
fn http_route_matching() {
    let (one, two) = (prefix_or_version("/", "one", "v1"), prefix_or_version("/v2", "two", "v2"));
    let built = with(&route("infra/r", &format!("parentRefs: [{{name: same}}], rules: [{one}, {two}]")));
    accepted(&built, "infra/r");
    for (path, expected) in [
        ("/", V1),
        ("/example", V1),
        ("/v2", V2),
        ("/v2/example", V2),
        ("/v2/", V2),
        ("/v2example", V1),
        ("/foo/v2/example", V1),
    ] {
        ask_with(&built, path, &[], expected);
    }
    ask_with(&built, "/", &[("version", "one")], V1);
    ask_with(&built, "/", &[("version", "two")], V2);
}

#[test]
fn http_route_multiple_gateways() {
    let text = [
        route(
            "infra/shared",
            &format!("parentRefs: [{{name: same}}, {{name: all}}], rules: [{}]", to("/shared", "v1")),
        ),
        route("infra/r2", &format!("parentRefs: [{{name: same}}], rules: [{}]", to("/", "v2"))),
        route("infra/r3", &format!("parentRefs: [{{name: all}}], rules: [{}]", to("/", "v3"))),
    ];
    let built = with(&text.concat());
    ask(&built, SAME, &[("any", "/shared", V1), ("any", "/", V2)]);
    ask(&built, ALL, &[("any", "/shared", V1), ("any", "/", V3)]);
    assert_eq!(status(&built, StatusKind::HttpRoute, "infra/shared")["parents"].as_array().unwrap().len(), 2);
}

#[test]
fn http_route_no_backend_refs() {
    let spec = "parentRefs: [{name: same}], rules: [
        {matches: [{path: {type: Exact, value: /omitted}}]},
        {matches: [{path: {type: Exact, value: /empty}}], backendRefs: []},
        {matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: v1, port: 8080}]}]";
    let built = with(&route("infra/r", spec));
    accepted(&built, "infra/r");
    ask(&built, SAME, &[("any", "/forward", V1), ("any", "/omitted", "500"), ("any", "/empty", "500")]);
}

#[test]
fn http_route_path_match_order() {
    let exact = |path: &str, backend: &str| to(path, backend).replace("PathPrefix", "Exact");
    let rules = [
        exact("/match", "v1"),
        exact("/match/exact", "v2"),
        exact("/match/exact/one", "v3"),
        to("/match/", "v3"),
        to("/match/prefix/", "v1"),
        to("/match/prefix/one", "v2"),
    ];
    let built =
        with(&route("infra/r", &format!("parentRefs: [{{name: same}}], rules: [{}]", rules.join(", "))));
    accepted(&built, "infra/r");
    for (path, expected) in [
        ("/match/exact/one", V3),
        ("/match/exact", V2),
        ("/match", V1),
        ("/match/prefix/one/any", V2),
        ("/match/prefix/any", V1),
        ("/match/any", V3),
    ] {
        ask_with(&built, path, &[], expected);
    }
}

#[test]
fn http_route_redirect_host_and_status() {
    let rule = |path: &str, redirect: &str| {
        format!(
            "{{matches: [{{path: {{type: PathPrefix, value: {path}}}}}], \
             filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]}}"
        )
    };
    let rules =
        [rule("/host", "hostname: example.org"), rule("/both", "hostname: example.org, statusCode: 301")];
    let built =
        with(&route("infra/r", &format!("parentRefs: [{{name: same}}], rules: [{}]", rules.join(", "))));
    accepted(&built, "infra/r");
    for (path, expected) in [("/host", 302), ("/both", 301)] {
        let Answer::Redirect(redirect) = &entry(&built, SAME, request("any", path)).unwrap().rule.answer
        else {
            panic!()
        };
        assert_eq!((redirect.host.as_deref(), redirect.status), (Some("example.org"), expected));
        assert_eq!((&redirect.scheme, redirect.port, &redirect.path), (&None, None, &None));
    }
}

#[test]
fn http_route_request_header_modifier() {
    let rule = |path: &str, edits: &str| {
        format!(
            "{{matches: [{{path: {{type: PathPrefix, value: {path}}}}}], filters: [{{type: RequestHeaderModifier, \
             requestHeaderModifier: {{{edits}}}}}], backendRefs: [{{name: v1, port: 8080}}]}}"
        )
    };
    let rules = [
        rule("/set", "set: [{name: X-Header-Set, value: set-overwrites-values}]"),
        rule("/add", "add: [{name: X-Header-Add, value: add-appends-values}]"),
        rule("/remove", "remove: [X-Header-Remove]"),
        rule(
            "/multiple",
            "set: [{name: X-Set-1, value: s1}, {name: X-Set-2, value: s2}], add: [{name: X-Add, value: a}], \
             remove: [X-Remove-1, X-Remove-2]",
        ),
    ];
    let built =
        with(&route("infra/r", &format!("parentRefs: [{{name: same}}], rules: [{}]", rules.join(", "))));
    accepted(&built, "infra/r");
    let edits = |path| entry(&built, SAME, request("any", path)).unwrap().rule.request_headers.clone();
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(edits("/set").set, [field("x-header-set", "set-overwrites-values")]);
    assert_eq!(edits("/add").add, [field("x-header-add", "add-appends-values")]);
    assert_eq!(edits("/remove").remove, ["x-header-remove"]);
    let multiple = edits("/multiple");
    assert_eq!(multiple.set, [field("x-set-1", "s1"), field("x-set-2", "s2")]);
    assert_eq!(multiple.add, [field("x-add", "a")]);
    assert_eq!(multiple.remove, ["x-remove-1", "x-remove-2"]);
    ask(&built, SAME, &[("any", "/set", V1)]);
}

#[test]
fn http_route_service_types() {
    let service = |name: &str, ip: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: infra}}, \
             spec: {{{ip}ports: [{{name: first-port, port: 8080, targetPort: 3000}}]}}}}\n"
        )
    };
    let slice = |service: &str, family: &str, address: &str| {
        format!(
            "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: {family}, \
             metadata: {{name: {service}-{}, namespace: infra, labels: {{kubernetes.io/service-name: {service}}}}}, \
             ports: [{{name: first-port, port: 3000}}], endpoints: [{{addresses: ['{address}']}}]}}\n",
            family.to_lowercase()
        )
    };
    let mut text = String::new();
    let mut rules = Vec::new();
    for (name, ip) in
        [("manual", ""), ("headless", "clusterIP: None, "), ("headless-manual", "clusterIP: None, ")]
    {
        text += &service(name, ip);
        text += &slice(name, "IPv4", "10.0.0.1");
        rules.push(to(&format!("/{name}"), name).replace("PathPrefix", "Exact"));
    }
    text += &slice("manual", "IPv6", "fd00::1");
    text += &route("infra/r", &format!("parentRefs: [{{name: same}}], rules: [{}]", rules.join(", ")));
    let built = with(&text);
    accepted(&built, "infra/r");
    for name in ["manual", "headless", "headless-manual"] {
        let backend = format!("service/infra/{name}:8080");
        ask(&built, SAME, &[("any", &format!("/{name}"), &backend)]);
        let endpoints = endpoints(&built, &backend);
        assert_eq!(endpoints.len(), 1);
        assert_eq!(
            (endpoints[0].address, endpoints[0].serves),
            ("10.0.0.1:3000".parse().unwrap(), Serves::Ready)
        );
    }
}

#[test]
fn http_route_simple_same_namespace() {
    let spec = "parentRefs: [{name: same}], rules: [{backendRefs: [{name: v1, port: 8080}]}]";
    let built = with(&route("infra/r", spec));
    accepted(&built, "infra/r");
    ask(&built, SAME, &[("any", "/", V1)]);
    let gateway = gateway_status(&built, "same");
    assert_eq!(condition(&gateway, "Accepted"), "True Accepted");
    assert_eq!(condition(&gateway, "Programmed"), "True Programmed");
    assert_eq!(gateway["addresses"], json!([{"type": "IPAddress", "value": "127.0.0.1"}]));
}

#[test]
fn http_route_weight() {
    let refs = [("v1", 70), ("v2", 30), ("v3", 0)]
        .map(|(name, weight)| format!("{{name: {name}, port: 8080, weight: {weight}}}"));
    let spec = format!("parentRefs: [{{name: same}}], rules: [{{backendRefs: [{}]}}]", refs.join(", "));
    let built = with(&route("infra/r", &spec));
    accepted(&built, "infra/r");
    let rule = &entry(&built, SAME, request("any", "/")).unwrap().rule;
    let count =
        |name: &str| (0..100).filter(|roll| rule.backend(*roll).unwrap().name().as_str() == name).count();
    assert_eq!([count(V1), count(V2), count(V3)], [70, 30, 0]);
}
