//! Writes: what they count, what they leave alone, and what is refused.

use crate::subject::{APPLY, MERGE, Subject, condition, contract, gateway, revision, service, text};
use http::Method;
use serde_json::{Value, json};

contract!(
    writes_that_change_nothing_keep_the_revision,
    the_generation_counts_changes_of_the_spec,
    status_and_spec_have_endpoints_of_their_own,
    stale_writes_conflict,
    fields_of_another_manager_conflict_and_can_be_forced,
    what_a_manager_applies_no_more_goes_away,
    a_forced_apply_of_an_atomic_list_drops_entries_of_others,
    conditions_are_checked_and_refused_whole,
    lists_have_limits,
    gateways_begin_with_two_unknown_conditions,
    an_object_made_again_is_another_one,
    a_lease_is_taken_by_one_of_two,
    an_object_with_finalizers_goes_when_they_are_gone,
    a_service_gets_an_address_and_keeps_it,
    what_a_dry_run_would_do_is_not_done,
);

async fn writes_that_change_nothing_keep_the_revision(subject: Subject) {
    let services = subject.core("services");
    let path = format!("{services}/a?fieldManager=m");
    let first = revision(&subject.patch(&path, APPLY, &service("a", "x")).await.ok());
    let mut watch = subject.watch(&format!("{services}?watch=true&resourceVersion={first}")).await;
    assert_eq!(revision(&subject.patch(&path, APPLY, &service("a", "x")).await.ok()), first);
    let patch = json!({"metadata": {"labels": {"app": "x"}}});
    assert_eq!(revision(&subject.patch(&path, MERGE, &patch).await.ok()), first);
    subject.create(&services, &service("b", "x")).await;
    assert_eq!(watch.event().await.1, "b", "no event for what changed nothing");
    // Nor does a status applied again, if its transition times are kept.
    let gateways = subject.gateway_api("gateways");
    subject.create(&gateways, &gateway("g")).await;
    let status = with_conditions("Gateway", &[condition("Accepted", "Accepted")]);
    let path = format!("{gateways}/g/status?fieldManager=m&force=true");
    let once = revision(&subject.patch(&path, APPLY, &status).await.ok());
    assert_eq!(revision(&subject.patch(&path, APPLY, &status).await.ok()), once);
}

async fn the_generation_counts_changes_of_the_spec(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    assert_eq!(generation(&subject.create(&gateways, &gateway("g")).await), 1);
    let path = format!("{gateways}/g");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(generation(&subject.patch(&path, MERGE, &label).await.ok()), 1);
    let status = with_conditions("Gateway", &[condition("Accepted", "Accepted")]);
    let path_of_status = format!("{path}/status?fieldManager=m&force=true");
    assert_eq!(generation(&subject.patch(&path_of_status, APPLY, &status).await.ok()), 1);
    let spec = json!({"spec": {"gatewayClassName": "other"}});
    assert_eq!(generation(&subject.patch(&path, MERGE, &spec).await.ok()), 2);
    let service = subject.create(&subject.core("services"), &service("a", "x")).await;
    assert_eq!(generation(&service), Value::Null);
    assert_eq!(
        generation(&subject.get(&format!("/api/v1/namespaces/{}", subject.namespace)).await.ok()),
        Value::Null
    );
}

async fn status_and_spec_have_endpoints_of_their_own(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    subject.create(&gateways, &gateway("g")).await;
    let both =
        json!({"spec": {"gatewayClassName": "other"}, "status": {"addresses": [{"value": "192.0.2.1"}]}});
    let through_status = subject.patch(&format!("{gateways}/g/status"), MERGE, &both).await.ok();
    assert_eq!(text(&through_status, "/spec/gatewayClassName"), "contract");
    assert_eq!(text(&through_status, "/status/addresses/0/value"), "192.0.2.1");
    let both =
        json!({"spec": {"gatewayClassName": "other"}, "status": {"addresses": [{"value": "192.0.2.2"}]}});
    let through_main = subject.patch(&format!("{gateways}/g"), MERGE, &both).await.ok();
    assert_eq!(text(&through_main, "/spec/gatewayClassName"), "other");
    assert_eq!(text(&through_main, "/status/addresses/0/value"), "192.0.2.1");
    let status = with_conditions("Gateway", &[condition("Accepted", "Accepted")]);
    let missing = subject.patch(&format!("{gateways}/none/status?fieldManager=m"), APPLY, &status).await;
    assert_eq!((missing.code, text(&missing.json(), "/reason").as_str()), (404, "NotFound"));
}

async fn stale_writes_conflict(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    let path = format!("{gateways}/g");
    let old = subject.create(&gateways, &gateway("g")).await;
    subject.patch(&path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    let put = subject.put(&path, &old).await;
    assert_eq!((put.code, text(&put.json(), "/reason").as_str()), (409, "Conflict"));
    let mut body = gateway("g");
    body["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    let applied = subject.patch(&format!("{path}?fieldManager=m&force=true"), APPLY, &body).await;
    assert_eq!(applied.code, 409);
    let blind = subject.put(&path, &gateway("g")).await;
    assert_eq!(blind.code, 422, "custom objects are not replaced blindly");
}

async fn fields_of_another_manager_conflict_and_can_be_forced(subject: Subject) {
    let path = format!("{}/g", subject.gateway_api("gateways"));
    subject.patch(&format!("{path}?fieldManager=first"), APPLY, &gateway("g")).await.ok();
    let mut other = gateway("g");
    other["spec"]["gatewayClassName"] = json!("other");
    let refused = subject.patch(&format!("{path}?fieldManager=second"), APPLY, &other).await;
    assert_eq!(refused.code, 409);
    let causes = refused.json()["details"]["causes"].clone();
    let causes = causes.as_array().unwrap();
    let [cause] = causes.as_slice() else { panic!("one conflict: {causes:?}") };
    assert_eq!(text(cause, "/reason"), "FieldManagerConflict");
    assert_eq!(text(cause, "/field"), ".spec.gatewayClassName");
    assert!(text(cause, "/message").contains("\"first\""), "{cause}");
    let forced = subject.patch(&format!("{path}?fieldManager=second&force=true"), APPLY, &other).await.ok();
    assert_eq!(text(&forced, "/spec/gatewayClassName"), "other");
    let back = subject.patch(&format!("{path}?fieldManager=first"), APPLY, &gateway("g")).await;
    assert_eq!(back.code, 409, "the field has a new owner");
    // And no old one: what the new one lets go of is gone.
    let path = subject.core("services/a");
    subject.patch(&format!("{path}?fieldManager=first"), APPLY, &service("a", "x")).await.ok();
    subject.patch(&format!("{path}?fieldManager=second&force=true"), APPLY, &service("a", "y")).await.ok();
    let mut bare = service("a", "y");
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    let left = subject.patch(&format!("{path}?fieldManager=second"), APPLY, &bare).await.ok();
    assert_eq!(left["metadata"]["labels"], Value::Null);
}

// Conditions are merged by type, each by its manager.
async fn what_a_manager_applies_no_more_goes_away(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    subject.create(&gateways, &gateway("g")).await;
    let status = |manager: &str| format!("{gateways}/g/status?fieldManager={manager}");
    let kinds = |object: &Value| -> Vec<String> {
        let conditions = object["status"]["conditions"].as_array().unwrap().iter();
        conditions.map(|condition| text(condition, "/type")).filter(|kind| kind.starts_with("Test")).collect()
    };
    let ours = with_conditions("Gateway", &[condition("TestA", "One"), condition("TestB", "Two")]);
    subject.patch(&status("first"), APPLY, &ours).await.ok();
    let theirs = with_conditions("Gateway", &[condition("TestC", "Three")]);
    let all = subject.patch(&status("second"), APPLY, &theirs).await.ok();
    assert_eq!(kinds(&all), ["TestA", "TestB", "TestC"]);
    let less = with_conditions("Gateway", &[condition("TestB", "Two")]);
    let left = subject.patch(&status("first"), APPLY, &less).await.ok();
    assert_eq!(kinds(&left), ["TestB", "TestC"]);
}

// Why the status of a route is not written by a forced apply.
async fn a_forced_apply_of_an_atomic_list_drops_entries_of_others(subject: Subject) {
    let routes = subject.gateway_api("httproutes");
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": {},
    });
    subject.create(&routes, &route).await;
    for (manager, force, code) in [("first", false, 200), ("second", false, 409), ("second", true, 200)] {
        let body = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "status": {"parents": [parent(&format!("example.com/{manager}"))]},
        });
        let path = format!("{routes}/r/status?fieldManager={manager}&force={force}");
        assert_eq!(subject.patch(&path, APPLY, &body).await.code, code, "{manager} {force}");
    }
    let parents = subject.get(&format!("{routes}/r")).await.ok()["status"]["parents"].clone();
    assert_eq!(parents.as_array().unwrap().len(), 1);
    assert_eq!(text(&parents, "/0/controllerName"), "example.com/second");
}

async fn conditions_are_checked_and_refused_whole(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    subject.create(&gateways, &gateway("g")).await;
    let path = format!("{gateways}/g/status?fieldManager=m&force=true");
    let before = subject.get(&format!("{gateways}/g")).await.ok();
    // Of a type that is new: what an apply leaves out of a known one is merged in.
    let broken = |field: &str, value: Value| {
        let mut broken = condition("Test", "Test");
        broken[field] = value;
        broken
    };
    let mut timeless = condition("Test", "Test");
    timeless.as_object_mut().unwrap().remove("lastTransitionTime");
    for (bad, field) in [
        (timeless, "lastTransitionTime"),
        (broken("reason", json!("")), "reason"),
        (broken("status", json!("Yes")), "status"),
        (broken("message", json!("m".repeat(32769))), "message"),
    ] {
        let status = with_conditions("Gateway", &[condition("Programmed", "Programmed"), bad]);
        let refused = subject.patch(&path, APPLY, &status).await;
        assert_eq!((refused.code, text(&refused.json(), "/reason").as_str()), (422, "Invalid"), "{field}");
        let cause = text(&refused.json(), "/details/causes/0/field");
        assert!(cause.starts_with("status.conditions[") && cause.ends_with(field), "{cause}");
    }
    let after = subject.get(&format!("{gateways}/g")).await.ok();
    assert_eq!(after, before);
    let longest = with_conditions("Gateway", &[broken("message", json!("m".repeat(32768)))]);
    subject.patch(&path, APPLY, &longest).await.ok();
}

async fn lists_have_limits(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    subject.create(&gateways, &gateway("g")).await;
    let many: Vec<_> = (0..9).map(|number| condition(&format!("Test{number}"), "Many")).collect();
    let body = json!({"status": {"conditions": many}});
    assert_eq!(subject.patch(&format!("{gateways}/g/status"), MERGE, &body).await.code, 422);
    let routes = subject.gateway_api("httproutes");
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": {},
    });
    subject.create(&routes, &route).await;
    for (count, code) in [(33, 422), (32, 200)] {
        let parents = vec![parent("example.com/first"); count];
        let reply = subject
            .patch(&format!("{routes}/r/status"), MERGE, &json!({"status": {"parents": parents}}))
            .await;
        assert_eq!(reply.code, code, "{}", reply.text);
    }
}

async fn gateways_begin_with_two_unknown_conditions(subject: Subject) {
    let made = subject.create(&subject.gateway_api("gateways"), &gateway("g")).await;
    let conditions: Vec<_> = made["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| {
            assert_eq!(condition["observedGeneration"], Value::Null);
            assert_eq!(text(condition, "/lastTransitionTime"), "1970-01-01T00:00:00Z");
            (text(condition, "/type"), text(condition, "/status"), text(condition, "/reason"))
        })
        .collect();
    let unknown = |kind: &str| (kind.to_owned(), "Unknown".to_owned(), "Pending".to_owned());
    assert_eq!(conditions, [unknown("Accepted"), unknown("Programmed")]);
    assert_eq!(text(&made, "/spec/listeners/0/allowedRoutes/namespaces/from"), "Same");
}

async fn an_object_made_again_is_another_one(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    let first = subject.create(&gateways, &gateway("g")).await;
    let spec = json!({"spec": {"gatewayClassName": "other"}});
    subject.patch(&format!("{gateways}/g"), MERGE, &spec).await.ok();
    subject.delete(&format!("{gateways}/g")).await;
    let second = subject.create(&gateways, &gateway("g")).await;
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    assert_eq!(second["metadata"]["generation"], 1);
    let again = subject.send(Method::POST, &gateways, crate::subject::JSON, &gateway("g")).await;
    assert_eq!((again.code, text(&again.json(), "/reason").as_str()), (409, "AlreadyExists"));
}

async fn a_lease_is_taken_by_one_of_two(subject: Subject) {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", subject.namespace);
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "first"},
    });
    let made = subject.create(&leases, &lease).await;
    lease["spec"]["holderIdentity"] = json!("second");
    assert_eq!(subject.put(&format!("{leases}/l"), &lease).await.code, 422, "no lease is replaced blindly");
    lease["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    assert_eq!(subject.put(&format!("{leases}/l"), &lease).await.code, 200);
    lease["spec"]["holderIdentity"] = json!("third");
    assert_eq!(subject.put(&format!("{leases}/l"), &lease).await.code, 409);
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "another"}});
    let deleted = subject.send(Method::DELETE, &format!("{leases}/l"), crate::subject::JSON, &options).await;
    assert_eq!(deleted.code, 409);
    assert_eq!(text(&subject.get(&format!("{leases}/l")).await.ok(), "/spec/holderIdentity"), "second");
}

async fn an_object_with_finalizers_goes_when_they_are_gone(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    let mut held = gateway("g");
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    subject.create(&gateways, &held).await;
    let mut watch = subject.watch(&format!("{gateways}?watch=true")).await;
    assert_eq!(watch.event().await.0, "ADDED");
    subject.delete(&format!("{gateways}/g")).await;
    let marked = watch.next().await.unwrap().unwrap();
    assert_eq!(text(&marked, "/type"), "MODIFIED");
    assert_ne!(text(&marked, "/object/metadata/deletionTimestamp"), "");
    subject.patch(&format!("{gateways}/g"), MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    assert_eq!(watch.event().await.0, "DELETED");
    assert_eq!(subject.get(&format!("{gateways}/g")).await.code, 404);
}

async fn a_service_gets_an_address_and_keeps_it(subject: Subject) {
    let services = subject.core("services");
    let made = subject.create(&services, &service("a", "x")).await;
    let address = text(&made, "/spec/clusterIP");
    assert!(address.parse::<std::net::IpAddr>().is_ok(), "{address}");
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));
    assert_eq!(made["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    let replaced = subject.put(&format!("{services}/a"), &service("a", "y")).await.ok();
    assert_eq!(text(&replaced, "/spec/clusterIP"), address);
    let mut headless = service("b", "x");
    headless["spec"]["clusterIP"] = json!("None");
    assert_eq!(subject.create(&services, &headless).await["spec"]["clusterIPs"], json!(["None"]));
}

async fn what_a_dry_run_would_do_is_not_done(subject: Subject) {
    let services = subject.core("services");
    let shown = subject.create(&format!("{services}?dryRun=All"), &service("a", "x")).await;
    assert_eq!(text(&shown, "/spec/type"), "ClusterIP");
    assert_eq!(subject.get(&format!("{services}/a")).await.code, 404);
}

fn with_conditions(kind: &str, conditions: &[Value]) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "status": {"conditions": conditions},
    })
}

fn parent(controller: &str) -> Value {
    json!({
        "controllerName": controller, "parentRef": {"name": "g"}, "conditions": [condition("Accepted", "Accepted")],
    })
}
