use super::*;
use serde_json::json;

#[test]
fn reads_what_the_api_server_writes() {
    let mut objects = Objects::default();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "a-1", "namespace": "n", "labels": null, "managedFields": [{"x": 1}]},
        "addressType": "IPv4", "endpoints": null, "ports": null,
    });
    assert_eq!(objects.insert(slice.clone()), Ok(Inserted::New));
    assert_eq!(objects.insert(slice), Ok(Inserted::Replaced));
    let slice = &objects.slices[&Key::new("n", "a-1")];
    assert_eq!((slice.endpoints.len(), slice.ports.len(), slice.address_type.as_str()), (0, 0, "IPv4"));
}

#[test]
fn an_object_without_namespace_is_in_default() {
    let mut objects = Objects::default();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}});
    assert_eq!(objects.insert(service), Ok(Inserted::New));
    assert_eq!(objects.services[&Key::new("default", "a")].metadata.namespace, "default");
}

#[test]
fn classes_and_namespaces_have_no_namespace() {
    let mut objects = Objects::default();
    for (version, kind) in [("gateway.networking.k8s.io/v1", "GatewayClass"), ("v1", "Namespace")] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
        assert_eq!(objects.insert(object), Ok(Inserted::New));
    }
    assert!(objects.classes.contains_key("a") && objects.namespaces.contains_key("a"));
}

#[test]
fn the_group_decides_not_the_kind_alone() {
    let mut objects = Objects::default();
    for (version, kind) in
        [("serving.knative.dev/v1", "Service"), ("apps/v1", "Deployment"), ("v1", "Gateway")]
    {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
        let skipped = Inserted::Skipped { version: version.to_owned(), kind: kind.to_owned() };
        assert_eq!(objects.insert(object), Ok(skipped));
    }
    assert_eq!(objects, Objects::default());
}

#[test]
fn says_why_an_object_can_not_be_read() {
    let mut objects = Objects::default();
    for (object, expected) in [
        (json!({}), "no `kind`"),
        (json!([1]), "no `kind`"),
        (json!({"apiVersion": "v1", "kind": "Service", "metadata": {}}), "no `metadata.name`"),
        (
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": 3}}),
            "invalid type",
        ),
    ] {
        let error = objects.insert(object).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(objects, Objects::default());
}

#[test]
fn both_shapes_of_a_backend_are_read() {
    let mut objects = Objects::default();
    for (name, target) in [
        (
            "old",
            json!({"selectors": {"namespaceSelector": {}, "serviceSelector": {"matchLabels": {"a": "b"}}}}),
        ),
        ("new", json!({"name": "x", "selector": {"namespace": {}, "service": {"matchLabels": {"a": "b"}}}})),
    ] {
        let backend = json!({
            "apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": "Backend", "metadata": {"name": name},
            "spec": {"type": "MCP", "mcp": {"name": "m", "targets": [target]}},
        });
        objects.insert(backend).unwrap();
        let backend = &objects.backends[&Key::new("default", name)];
        let target = &backend.spec.mcp.as_ref().unwrap().targets[0];
        let selectors = target.selectors.as_ref().or(target.selector.as_ref()).unwrap();
        assert_eq!(selectors.namespace, Some(LabelSelector::default()));
        assert_eq!(selectors.service.as_ref().unwrap().match_labels["a"], "b");
    }
}
