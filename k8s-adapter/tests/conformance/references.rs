//! HTTPRoutes: what they refer to and may not, or what is not there.

use crate::support::{built, condition};
use crate::{FROM_ROUTE, SAME, accepted, ask, base, bumps, gateway_status, grant, parent, route, with};
use k8s_adapter::build::{Options, StatusKind};

#[test]
fn http_route_observed_generation_bump() {
    let text =
        route("infra/r", "parentRefs: [{name: same}], rules: [{backendRefs: [{name: v2, port: 8080}]}]");
    bumps(StatusKind::HttpRoute, "infra/r", &text, 2);
}

/// A route that attaches, of which one reference leads nowhere.
fn unresolved(text: &str, reason: &str) {
    let built = with(text);
    let parent = parent(&built, "infra/r");
    assert_eq!(condition(&parent, "Accepted"), "True Accepted");
    assert_eq!(condition(&parent, "ResolvedRefs"), format!("False {reason}"));
    ask(&built, SAME, &[("any", "/", "500"), ("any", "/v2", "500")]);
}

#[test]
fn http_route_invalid_backend_ref_unknown_kind() {
    let reference = "{group: unknownkind.example.com, kind: NonExistent, name: v1, port: 8080}";
    let spec = format!("parentRefs: [{{name: same}}], rules: [{{backendRefs: [{reference}]}}]");
    unresolved(&route("infra/r", &spec), "InvalidKind");
}

#[test]
fn http_route_invalid_cross_namespace_backend_ref() {
    let spec =
        "parentRefs: [{name: same}], rules: [{backendRefs: [{name: site, namespace: web, port: 8080}]}]";
    unresolved(&route("infra/r", spec), "RefNotPermitted");
}

#[test]
fn http_route_invalid_cross_namespace_parent_ref() {
    let spec =
        "parentRefs: [{name: same, namespace: infra}], rules: [{backendRefs: [{name: site, port: 8080}]}]";
    let built = with(&route("web/r", spec));
    let parent = parent(&built, "web/r");
    assert_eq!(condition(&parent, "Accepted"), "False NotAllowedByListeners");
    assert_eq!(condition(&parent, "ResolvedRefs"), "True ResolvedRefs");
    assert_eq!(gateway_status(&built, "same")["listeners"][0]["attachedRoutes"], 0);
    ask(&built, SAME, &[("any", "/", "404")]);
}

#[test]
fn http_route_invalid_non_existent_backend_ref() {
    let spec =
        "parentRefs: [{name: same}], rules: [{backendRefs: [{name: none, namespace: infra, port: 8080}]}]";
    unresolved(&route("infra/r", spec), "BackendNotFound");
}

#[test]
fn http_route_invalid_parent_ref_not_matching_section_name() {
    let spec = "parentRefs: [{name: same, namespace: infra, port: 80, sectionName: http1}], \
                rules: [{backendRefs: [{name: v1, kind: Service, port: 8080}]}]";
    let built = with(&route("infra/r", spec));
    assert_eq!(condition(&parent(&built, "infra/r"), "Accepted"), "False NoMatchingParent");
    assert_eq!(gateway_status(&built, "same")["listeners"][0]["attachedRoutes"], 0);
}

#[test]
fn http_route_invalid_reference_grant() {
    let to = "group: '', kind: Service, name: site";
    let spec =
        "parentRefs: [{name: same}], rules: [{backendRefs: [{name: site, namespace: web, port: 8080}]}]";
    for (namespace, from, to) in [
        ("infra", FROM_ROUTE, to),
        ("web", "group: other.example.com, kind: HTTPRoute, namespace: infra", to),
        ("web", "group: gateway.networking.k8s.io, kind: Gateway, namespace: infra", to),
        ("web", "group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other", to),
        ("web", FROM_ROUTE, "group: other.example.com, kind: Service, name: site"),
        ("web", FROM_ROUTE, "group: '', kind: Secret, name: site"),
        ("web", FROM_ROUTE, "group: '', kind: Service, name: other"),
    ] {
        unresolved(&format!("{}{}", route("infra/r", spec), grant(namespace, from, to)), "RefNotPermitted");
    }
}

#[test]
fn http_route_partially_invalid_via_invalid_reference_grant() {
    let spec = "parentRefs: [{name: same}], rules: [
        {matches: [{path: {type: PathPrefix, value: /v2}}], backendRefs: [{name: app-v2, namespace: app, port: 8080}]},
        {backendRefs: [{name: app-v1, namespace: app, port: 8080}]}]";
    let grant = grant("app", FROM_ROUTE, "group: '', kind: Service, name: app-v1");
    let built = with(&format!("{}{grant}", route("infra/r", spec)));
    assert_eq!(condition(&parent(&built, "infra/r"), "ResolvedRefs"), "False RefNotPermitted");
    ask(&built, SAME, &[("any", "/v2", "500"), ("any", "/", "service/app/app-v1:8080")]);
}

#[test]
fn http_route_reference_grant() {
    let spec =
        "parentRefs: [{name: same}], rules: [{backendRefs: [{name: site, namespace: web, port: 8080}]}]";
    let grant = grant("web", FROM_ROUTE, "group: '', kind: Service, name: site");
    let mut objects = base(&format!("{}{grant}", route("infra/r", spec)));
    let granted = built(&objects, &Options::default());
    accepted(&granted, "infra/r");
    ask(&granted, SAME, &[("any", "/", "service/web/site:8080")]);

    objects.grants.clear();
    let revoked = built(&objects, &Options::default());
    ask(&revoked, SAME, &[("any", "/", "500")]);
}
