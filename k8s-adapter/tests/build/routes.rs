//! What HTTPRoutes come to beyond the core that `conformance` asks for.

use crate::support::{CLASS, Request, answer, built, condition, entry, objects, request, status};
use k8s_adapter::build::{Built, Options, StatusKind};
use routing::{Answer, Form, PathEdit, Protocol};
use serde_json::{Value, json};
use std::time::Duration;

const BASE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: n}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: n}
spec:
  ports:
  - {name: web, port: 80}
  - {name: mcp, port: 81, appProtocol: kgateway.dev/mcp}
  - {name: old, port: 82, appProtocol: kgateway.dev/mcp-sse}
  - {name: h2c, port: 83, appProtocol: kubernetes.io/h2c}
  - {name: udp, port: 84, protocol: UDP}
  - {name: free, port: 85, appProtocol: example.com/whatever}
---
{apiVersion: v1, kind: Service, metadata: {name: t, namespace: n}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: away, namespace: n}, spec: {type: ExternalName, ports: [{port: 80}]}}
";
const AT: &str = "[::]:80";

/// A route that was made at a second of a minute; `rules` are the insides of flow maps.
fn route(name: &str, second: u8, rules: &[&str]) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| format!("{{{rule}}}")).collect();
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: n, \
         creationTimestamp: '2026-01-01T00:00:{second:02}Z'}}, \
         spec: {{parentRefs: [{{name: g}}], rules: [{}]}}}}\n",
        rules.join(", ")
    )
}

fn with(text: &str) -> Built {
    built(&objects(&[CLASS, BASE, text]), &Options::default())
}

fn parent(built: &Built, name: &str) -> Value {
    status(built, StatusKind::HttpRoute, &format!("n/{name}"))["parents"][0].clone()
}

fn message(parent: &Value, kind: &str) -> String {
    let conditions = parent["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

const TO_S: &str = "backendRefs: [{name: s, port: 80}]";

#[test]
fn the_port_of_a_service_says_what_is_spoken() {
    for (port, expected) in [
        (80, Ok((Form::Http, Protocol::Auto, "/"))),
        (81, Ok((Form::Mcp, Protocol::Auto, "/mcp"))),
        (82, Ok((Form::Mcp, Protocol::Sse, "/sse"))),
        (83, Err("False UnsupportedProtocol")),
        (84, Err("False UnsupportedProtocol")),
        (85, Ok((Form::Http, Protocol::Auto, "/"))),
        (99, Err("False BackendNotFound")),
    ] {
        let built = with(&route("r", 1, &[&format!("backendRefs: [{{name: s, port: {port}}}]")]));
        let backend = entry(&built, AT, request("x", "/")).unwrap().rule.backend(0).ok().cloned();
        match expected {
            Ok((form, protocol, path)) => {
                let backend = backend.unwrap();
                let target = backend.single().unwrap();
                assert_eq!((backend.form(), target.protocol, target.path.as_str()), (form, protocol, path));
                assert_eq!(target.authority, format!("s.n.svc.cluster.local:{port}"));
            }
            Err(reason) => {
                assert!(backend.is_none());
                assert_eq!(condition(&parent(&built, "r"), "ResolvedRefs"), reason);
            }
        }
    }
}

#[test]
fn a_reference_to_nothing_says_so() {
    for (reference, expected) in [
        ("{name: s}", "False BackendNotFound"),
        ("{name: away, port: 80}", "False InvalidKind"),
        ("{name: s, port: 80, kind: Pod}", "False InvalidKind"),
        ("{name: b, kind: Backend, group: gateway.kgateway.dev}", "False BackendNotFound"),
        ("{name: b, kind: Backend, group: gateway.kgateway.dev, namespace: m}", "False RefNotPermitted"),
    ] {
        let built = with(&route("r", 1, &[&format!("backendRefs: [{reference}]")]));
        assert_eq!(condition(&parent(&built, "r"), "ResolvedRefs"), expected, "{reference}");
        assert_eq!(condition(&parent(&built, "r"), "Accepted"), "True Accepted");
        assert_eq!(answer(&built, AT, request("x", "/")), "500");
    }
}

#[test]
fn a_backend_of_another_namespace_needs_a_grant() {
    let text = "
---
{apiVersion: gateway.kgateway.dev/v1alpha1, kind: Backend, metadata: {name: b, namespace: m},
 spec: {type: MCP, mcp: {targets: [{static: {name: a, host: 10.0.0.1, port: 1}}]}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: m},
 spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: n}],
        to: [{group: gateway.kgateway.dev, kind: Backend}]}}
";
    let route = route(
        "r",
        1,
        &["backendRefs: [{name: b, namespace: m, kind: Backend, group: gateway.kgateway.dev}]"],
    );
    assert_eq!(answer(&with(&format!("{text}{route}")), AT, request("x", "/")), "m/b");
}

#[test]
fn what_is_not_supported_answers_500_and_is_never_skipped() {
    for filter in [
        "{type: RequestMirror, requestMirror: {backendRef: {name: t, port: 80}}}",
        "{type: CORS, cors: {}}",
        "{type: ExtensionRef, extensionRef: {group: x, kind: y, name: z}}",
        "{type: Newer}",
        "{}",
        "{type: RequestHeaderModifier}",
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}]}}",
        "{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: \"b\\r\\nc: d\"}]}}",
        "{type: RequestRedirect, requestRedirect: {statusCode: 418}}",
        "{type: RequestRedirect, requestRedirect: {scheme: ftp}}",
        "{type: RequestRedirect, requestRedirect: {hostname: 'a b'}}",
        "{type: RequestRedirect, requestRedirect: {path: {type: New}}}",
        "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: x}}}",
        "{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {hostname: b}}, {type: URLRewrite, urlRewrite: {}}",
        "{type: URLRewrite, urlRewrite: {hostname: a}}, {type: RequestRedirect, requestRedirect: {}}",
    ] {
        let rule = format!("filters: [{filter}], {TO_S}");
        let alone = with(&route("r", 1, &[&rule]));
        assert_eq!(answer(&alone, AT, request("x", "/")), "500", "{filter}");
        assert_eq!(condition(&parent(&alone, "r"), "Accepted"), "False UnsupportedValue");
        assert_eq!(condition(&parent(&alone, "r"), "PartiallyInvalid"), "");
        // Beside another rule it is a part of the route.
        let other = format!("matches: [{{path: {{value: /ok}}}}], {TO_S}");
        let both = with(&route("r", 1, &[&rule, &other]));
        assert_eq!(answer(&both, AT, request("x", "/ok")), "service/n/s:80");
        assert_eq!(answer(&both, AT, request("x", "/")), "500");
        assert_eq!(condition(&parent(&both, "r"), "Accepted"), "True Accepted");
        assert_eq!(condition(&parent(&both, "r"), "PartiallyInvalid"), "True UnsupportedValue");
        assert!(message(&parent(&both, "r"), "PartiallyInvalid").starts_with("Dropped Rule: rules[0]: "));
    }
}

#[test]
fn a_filter_of_a_reference_costs_its_share() {
    let filtered = "{name: t, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}]}";
    let built = with(&route("r", 1, &[&format!("backendRefs: [{filtered}, {{name: s, port: 80}}]")]));
    let rule = &entry(&built, AT, request("x", "/")).unwrap().rule;
    assert!(rule.backend(0).is_err());
    assert_eq!(rule.backend(1).unwrap().name().as_str(), "service/n/s:80");
    assert_eq!(condition(&parent(&built, "r"), "Accepted"), "False UnsupportedValue");
}

#[test]
fn a_match_that_is_not_supported_matches_nothing() {
    for bad in [
        "path: {type: New, value: /}",
        "path: {type: RegularExpression, value: '(a'}",
        "path: {type: RegularExpression, value: '(?=a)'}",
        "path: {type: Exact, value: a}",
        "headers: [{type: New, name: a, value: b}]",
        "queryParams: [{type: RegularExpression, name: a, value: '*'}]",
    ] {
        let built =
            with(&route("r", 1, &[&format!("matches: [{{{bad}}}, {{path: {{value: /b}}}}], {TO_S}")]));
        assert_eq!(answer(&built, AT, request("x", "/")), "404", "{bad}");
        assert_eq!(answer(&built, AT, request("x", "/b")), "service/n/s:80");
        assert_eq!(condition(&parent(&built, "r"), "Accepted"), "False UnsupportedValue");
    }
}

#[test]
fn matches_look_at_all_of_a_request() {
    let rule = |on: &str, port: u16| format!("matches: [{{{on}}}], backendRefs: [{{name: s, port: {port}}}]");
    let rules = [
        rule("path: {type: RegularExpression, value: '/v[0-9]+/.*'}", 81),
        rule("queryParams: [{name: q, value: '1'}]", 82),
        rule("method: POST", 85),
        rule("headers: [{name: A, value: b}, {name: a, value: c}]", 80),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let built = with(&route("r", 1, &rules));
    for (path, headers, expected) in [
        ("/v1/x", &[][..], "service/n/s:81"),
        ("/v1/x?q=1", &[], "service/n/s:81"),
        ("/v/x", &[], "404"),
        ("/?q=1", &[], "service/n/s:82"),
        ("/?q=2&q=1", &[], "404"),
        // Of two conditions for one name the first counts.
        ("/", &[("a", "b")], "service/n/s:80"),
        ("/", &[("a", "c")], "404"),
    ] {
        assert_eq!(answer(&built, AT, Request { host: "x", path, headers }), expected, "{path} {headers:?}");
    }
}

#[test]
fn paths_are_replaced_as_the_match_says() {
    let rewrite = "filters: [{type: URLRewrite, urlRewrite: {hostname: in.example.com, \
                   path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]";
    let matches = "matches: [{path: {value: /a}}, {path: {value: /b/}}, {path: {type: Exact, value: /c}}]";
    let built = with(&route("r", 1, &[&format!("{matches}, {rewrite}, {TO_S}")]));
    for (path, expected) in [("/a/x", "/new/x"), ("/b/x", "/new/x"), ("/b", "/new")] {
        let rewrite = entry(&built, AT, request("x", path)).unwrap().rule.rewrite.clone();
        assert_eq!(rewrite.host.as_deref(), Some("in.example.com"));
        assert_eq!(rewrite.path.unwrap().apply(path), expected);
    }
    // There is no prefix to be replaced.
    assert_eq!(answer(&built, AT, request("x", "/c")), "500");
    let full = "filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, statusCode: 308, \
                path: {type: ReplaceFullPath, replaceFullPath: /x}}}]";
    let built = with(&route("r", 1, &[full]));
    let Answer::Redirect(redirect) = entry(&built, AT, request("x", "/")).unwrap().rule.answer.clone() else {
        panic!()
    };
    assert_eq!(
        (redirect.scheme.as_deref(), redirect.port, redirect.status),
        (Some("https"), Some(8443), 308)
    );
    assert_eq!(redirect.path, Some(PathEdit::Full("/x".to_owned())));
}

#[test]
fn timeouts_are_durations_and_zero_is_none() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (timeouts, expected) in [
        ("request: 10s, backendRequest: 2s", [seconds(10), seconds(2)]),
        ("request: 1m30s", [seconds(90), None]),
        ("request: 0s", [None, None]),
    ] {
        let built = with(&route("r", 1, &[&format!("timeouts: {{{timeouts}}}, {TO_S}")]));
        let rule = &entry(&built, AT, request("x", "/")).unwrap().rule;
        assert_eq!([rule.request_timeout, rule.backend_timeout], expected);
    }
    let built = with(&route("r", 1, &[&format!("timeouts: {{request: soon}}, {TO_S}")]));
    assert_eq!(answer(&built, AT, request("x", "/")), "500");
    assert_eq!(condition(&parent(&built, "r"), "Accepted"), "False UnsupportedValue");
}

#[test]
fn weights_include_those_that_lead_nowhere() {
    let built = with(&route(
        "r",
        1,
        &[
            "backendRefs: [{name: s, port: 80, weight: 3}, {name: no, port: 80}, {name: t, port: 80, weight: 0}]",
        ],
    ));
    let rule = &entry(&built, AT, request("x", "/")).unwrap().rule;
    let drawn: Vec<bool> = (0..4).map(|roll| rule.backend(roll).is_ok()).collect();
    assert_eq!(drawn, [true, true, true, false]);
    let none = with(&route("r", 1, &["backendRefs: [{name: s, port: 80, weight: 0}]"]));
    assert_eq!(answer(&none, AT, request("x", "/")), "500");
}

#[test]
fn among_equals_the_oldest_wins_and_the_other_is_told() {
    let (old, young) = ("backendRefs: [{name: s, port: 80}]", "backendRefs: [{name: t, port: 80}]");
    for (first, second, winner) in [(1, 2, "s"), (2, 1, "t"), (1, 1, "s")] {
        let built = with(&format!("{}{}", route("a", first, &[old]), route("b", second, &[young])));
        assert_eq!(answer(&built, AT, request("x", "/")), format!("service/n/{winner}:80"));
        let (wins, loses) = if winner == "s" { ("a", "b") } else { ("b", "a") };
        assert_eq!(condition(&parent(&built, wins), "mcp-gateway.dev/Shadowed"), "");
        assert_eq!(condition(&parent(&built, loses), "mcp-gateway.dev/Shadowed"), "True OlderRuleWins");
        assert_eq!(condition(&parent(&built, loses), "Accepted"), "True Accepted");
        let note = format!(
            "HTTPRoute n/{loses}: rules[0] at host * never wins: HTTPRoute n/{wins} rules[0] matches the same"
        );
        assert_eq!(built.notes, [note]);
    }
    // Within a route the first rule.
    let built = with(&route("a", 1, &[old, young]));
    assert_eq!(answer(&built, AT, request("x", "/")), "service/n/s:80");
    assert!(message(&parent(&built, "a"), "mcp-gateway.dev/Shadowed").starts_with("rules[1] at host *"));
}

#[test]
fn conditions_that_say_the_same_in_another_order_are_the_same() {
    let on = |headers: &str, path: &str| {
        format!("matches: [{{path: {{value: {path}}}, headers: [{headers}]}}], {TO_S}")
    };
    let (a, b) = ("{name: a, value: '1'}", "{name: B, value: '2'}");
    let (one, two) = (on(&format!("{a}, {b}"), "/p"), on(&format!("{b}, {a}"), "/p/"));
    let built = with(&route("r", 1, &[&one, &two]));
    assert_eq!(condition(&parent(&built, "r"), "mcp-gateway.dev/Shadowed"), "True OlderRuleWins");
}

#[test]
fn a_route_without_rules_has_one_that_leads_nowhere() {
    let text = route("r", 1, &[]).replace(", rules: []", "");
    assert_eq!(answer(&with(&text), AT, request("x", "/")), "500");
    assert_eq!(answer(&with(&route("r", 1, &[])), AT, request("x", "/")), "404");
}

#[test]
fn parents_that_are_not_ours_are_left_alone() {
    let parents = "parentRefs: [{name: g}, {name: none}, {name: g, kind: Service, group: ''}, {name: g, port: 81}, \
                   {name: g, namespace: n, group: gateway.networking.k8s.io, kind: Gateway, sectionName: http}]";
    let text = route("r", 1, &[TO_S]).replace("parentRefs: [{name: g}]", parents);
    let built = with(&text);
    let parents = status(&built, StatusKind::HttpRoute, "n/r")["parents"].as_array().unwrap().clone();
    let told: Vec<String> = parents.iter().map(|parent| condition(parent, "Accepted")).collect();
    assert_eq!(told, ["True Accepted", "False NoMatchingParent", "True Accepted"]);
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"});
    assert_eq!(parents[0]["parentRef"], gateway);
    assert_eq!(parents[2]["parentRef"]["namespace"], "n");
    // Named twice, it is attached once, and does not compete with itself.
    let gateway = status(&built, StatusKind::Gateway, "n/g");
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 1);
    assert_eq!(built.notes, Vec::<String>::new());
}

#[test]
fn what_was_said_of_a_gateway_is_taken_back() {
    let said = |controller: &str| {
        route("r", 1, &[TO_S]).replace("name: g}]", "name: elsewhere}]").replace(
            "spec: {",
            &format!(
                "status: {{parents: [{{controllerName: {controller}, parentRef: {{name: g}}}}]}}, spec: {{"
            ),
        )
    };
    let ours = with(&said("mcp-gateway.dev/controller"));
    assert_eq!(status(&ours, StatusKind::HttpRoute, "n/r"), json!({"parents": []}));
    let theirs = with(&said("example.com/other"));
    assert!(theirs.statuses.iter().all(|status| status.kind != StatusKind::HttpRoute));
}

#[test]
fn settings_without_effect_are_told() {
    let built = with(&route(
        "r",
        1,
        &[&format!("retry: {{attempts: 2}}, sessionPersistence: {{type: Cookie}}, {TO_S}")],
    ));
    assert_eq!(
        built.notes,
        [
            "HTTPRoute n/r: rules[0].retry is not supported and has no effect",
            "HTTPRoute n/r: rules[0].sessionPersistence is not supported and has no effect",
        ]
    );
    assert_eq!(answer(&built, AT, request("x", "/")), "service/n/s:80");
}
