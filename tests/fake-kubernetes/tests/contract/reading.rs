//! Lists and watches.

use crate::subject::{PATIENCE, Subject, contract, gateway, revision, service, text};
use futures_util::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::pin::pin;

contract!(
    one_counter_counts_all_writes,
    a_watch_begins_after_its_revision_or_with_the_state,
    a_streaming_list_ends_its_initial_events_with_a_bookmark,
    a_bookmark_before_the_end_says_a_revision_and_no_more,
    a_watch_ends_at_its_time_limit,
    a_revision_that_is_too_old_is_an_error_event,
    a_revision_of_the_future_fails_a_list_and_silences_a_watch,
    a_watch_by_label_sees_objects_come_and_go,
    pages_show_one_revision,
    items_of_lists_name_their_kind_only_if_it_is_custom,
    empty_lists_of_slices_are_null,
    a_missing_definition_is_plain_text,
    watches_of_two_types_know_nothing_of_each_other,
    kube_s_own_watcher_follows_in_both_ways,
    discovery_names_what_is_served,
);

const STREAMING: &str =
    "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

async fn one_counter_counts_all_writes(subject: Subject) {
    let services = subject.core("services");
    let first = revision(&subject.create(&services, &service("a", "x")).await);
    let second = revision(&subject.create(&subject.gateway_api("gateways"), &gateway("g")).await);
    assert!(second > first, "{second} after {first}");
    let list = subject.get(&services).await.ok();
    assert!(revision(&list) >= second, "a list is of the store's revision");
    assert_eq!(revision(&list["items"][0]), first, "an object is of its last write's revision");
    let mut watch = subject.watch(&format!("{services}?watch=true&resourceVersion={second}")).await;
    subject.delete(&format!("{services}/a")).await;
    let (kind, name, deleted) = watch.event().await;
    assert_eq!((kind.as_str(), name.as_str()), ("DELETED", "a"));
    assert!(deleted > second, "a delete event is of the delete's revision");
}

async fn a_watch_begins_after_its_revision_or_with_the_state(subject: Subject) {
    let services = subject.core("services");
    let first = revision(&subject.create(&services, &service("a", "x")).await);
    subject.create(&services, &service("b", "x")).await;
    let mut after = subject.watch(&format!("{services}?watch=true&resourceVersion={first}")).await;
    assert_eq!(after.event().await.1, "b");
    for start in ["", "&resourceVersion=0"] {
        let mut watch =
            subject.watch(&format!("{services}?watch=true&allowWatchBookmarks=true{start}")).await;
        for name in ["a", "b"] {
            let (kind, found, _) = watch.event().await;
            assert_eq!((kind.as_str(), found.as_str()), ("ADDED", name));
        }
        let end = watch.next().await.unwrap().unwrap();
        assert_eq!(text(&end, "/type"), "BOOKMARK");
        assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    }
}

async fn a_streaming_list_ends_its_initial_events_with_a_bookmark(subject: Subject) {
    let services = subject.core("services");
    let made = revision(&subject.create(&services, &service("a", "x")).await);
    let mut watch = subject.watch(&format!("{services}?{STREAMING}")).await;
    assert_eq!(watch.event().await.1, "a");
    let end = watch.next().await.unwrap().unwrap();
    assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert!(revision(&end["object"]) >= made);
    subject.create(&services, &service("b", "x")).await;
    assert_eq!(watch.event().await.0, "ADDED");
    let alone = subject.get(&format!("{services}?watch=true&sendInitialEvents=true")).await;
    assert_eq!((alone.code, text(&alone.json(), "/reason").as_str()), (422, "Invalid"));
}

async fn a_bookmark_before_the_end_says_a_revision_and_no_more(subject: Subject) {
    let gateways = subject.gateway_api("gateways");
    subject.create(&gateways, &gateway("g")).await;
    let from = revision(&subject.get(&gateways).await.ok());
    let path =
        format!("{gateways}?watch=true&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds=3");
    let events = subject.watch(&path).await.rest_of_it().await;
    let bookmark = events.iter().find(|event| event["type"] == "BOOKMARK").expect("a bookmark");
    let object = bookmark["object"].as_object().unwrap();
    assert_eq!(text(&bookmark["object"], "/kind"), "Gateway");
    assert!(revision(&bookmark["object"]) >= from);
    assert!(
        object.keys().all(|key| ["apiVersion", "kind", "metadata"].contains(&key.as_str())),
        "{bookmark}"
    );
    let said = object["metadata"].as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    assert_eq!(said.map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["resourceVersion"]);
}

async fn a_watch_ends_at_its_time_limit(subject: Subject) {
    let services = subject.core("services");
    let from = revision(&subject.get(&services).await.ok());
    let mut watch =
        subject.watch(&format!("{services}?watch=true&resourceVersion={from}&timeoutSeconds=1")).await;
    assert_eq!(watch.rest_of_it().await, Vec::<Value>::new());
}

async fn a_revision_that_is_too_old_is_an_error_event(subject: Subject) {
    // Revision 1 is before all that a server remembers; the fake was started with several writes behind it.
    let mut watch =
        subject.watch(&format!("{}?watch=true&resourceVersion=1", subject.core("services"))).await;
    let events = watch.rest_of_it().await;
    let [event] = events.as_slice() else { panic!("one event, then the end: {events:?}") };
    assert_eq!(event["type"], "ERROR");
    let status = &event["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(410), &json!("Expired"))
    );
}

async fn a_revision_of_the_future_fails_a_list_and_silences_a_watch(subject: Subject) {
    let services = subject.core("services");
    let future = revision(&subject.get(&services).await.ok()) + 1_000_000;
    let refused = subject.get(&format!("{services}?resourceVersion={future}")).await;
    assert_eq!((refused.code, text(&refused.json(), "/reason").as_str()), (504, "Timeout"));
    assert_eq!(text(&refused.json(), "/details/causes/0/reason"), "ResourceVersionTooLarge");
    let mut silent =
        subject.watch(&format!("{services}?watch=true&resourceVersion={future}&timeoutSeconds=2")).await;
    let mut present = subject.watch(&format!("{services}?watch=true&timeoutSeconds=2")).await;
    subject.create(&services, &service("a", "x")).await;
    assert_eq!(present.event().await.1, "a");
    assert_eq!(silent.rest_of_it().await, Vec::<Value>::new());
}

async fn a_watch_by_label_sees_objects_come_and_go(subject: Subject) {
    let services = subject.core("services");
    subject.create(&services, &service("a", "mcp")).await;
    subject.create(&services, &service("b", "other")).await;
    let label = |label: &str| json!({"metadata": {"labels": {"app": label}}});
    let mut watch = subject.watch(&format!("{services}?watch=true&labelSelector=app%3Dmcp")).await;
    assert_eq!(watch.event().await.1, "a");
    let left = subject.patch(&format!("{services}/a"), crate::subject::MERGE, &label("other")).await.ok();
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (text(&gone, "/type"), text(&gone, "/object/metadata/labels/app")),
        ("DELETED".into(), "mcp".into())
    );
    assert_eq!(revision(&gone["object"]), revision(&left), "old labels, new revision");
    subject.patch(&format!("{services}/b"), crate::subject::MERGE, &label("mcp")).await.ok();
    let (kind, name, _) = watch.event().await;
    assert_eq!((kind.as_str(), name.as_str()), ("ADDED", "b"));
}

async fn pages_show_one_revision(subject: Subject) {
    let services = subject.core("services");
    for name in ["a", "b", "c"] {
        subject.create(&services, &service(name, "x")).await;
    }
    let names = |list: &Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|item| text(item, "/metadata/name")).collect()
    };
    let first = subject.get(&format!("{services}?limit=2")).await.ok();
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a".into(), "b".into()], &json!(1))
    );
    subject.delete(&format!("{services}/c")).await;
    let token = text(&first, "/metadata/continue");
    let second = subject.get(&format!("{services}?limit=2&continue={token}")).await.ok();
    assert_eq!(names(&second), ["c"], "the second page is as old as the first");
    assert_eq!((revision(&second), text(&second, "/metadata/continue")), (revision(&first), String::new()));
    let selected = subject.get(&format!("{services}?limit=1&labelSelector=app")).await.ok();
    assert_eq!(selected["metadata"]["remainingItemCount"], Value::Null);
}

async fn items_of_lists_name_their_kind_only_if_it_is_custom(subject: Subject) {
    subject.create(&subject.core("services"), &service("a", "x")).await;
    subject.create(&subject.gateway_api("gateways"), &gateway("g")).await;
    let services = subject.get(&subject.core("services")).await.ok();
    assert_eq!(
        (&services["items"][0]["kind"], &services["items"][0]["apiVersion"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(services["kind"], "ServiceList");
    let gateways = subject.get(&subject.gateway_api("gateways")).await.ok();
    assert_eq!(gateways["items"][0]["kind"], "Gateway");
    assert_eq!(gateways["items"][0]["apiVersion"], "gateway.networking.k8s.io/v1");
}

async fn empty_lists_of_slices_are_null(subject: Subject) {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
        "addressType": "IPv4", "endpoints": [],
    });
    let made = subject.create(&subject.slices(""), &slice).await;
    let fields = made.as_object().unwrap();
    assert_eq!((fields.get("endpoints"), fields.get("ports")), (Some(&Value::Null), Some(&Value::Null)));
}

async fn a_missing_definition_is_plain_text(subject: Subject) {
    let reply = subject.get("/apis/nothing.example.com/v1/things").await;
    assert_eq!((reply.code, reply.text.trim()), (404, "404 page not found"));
    let request =
        http::Request::builder().uri("/apis/nothing.example.com/v1/things").body(Vec::new()).unwrap();
    let Err(kube::Error::Api(status)) = subject.client.request::<Value>(request).await else {
        panic!("an error")
    };
    assert_eq!((status.code, status.reason.as_str()), (404, "Failed to parse error data"));
}

async fn watches_of_two_types_know_nothing_of_each_other(subject: Subject) {
    let (services, gateways) = (subject.core("services"), subject.gateway_api("gateways"));
    let mut first = subject.watch(&format!("{services}?watch=true")).await;
    let mut second = subject.watch(&format!("{gateways}?watch=true")).await;
    for name in ["a", "b"] {
        subject.create(&services, &service(name, "x")).await;
        subject.create(&gateways, &gateway(name)).await;
    }
    for watch in [&mut second, &mut first] {
        let mut last = 0;
        for name in ["a", "b"] {
            let (kind, found, revision) = watch.event().await;
            assert_eq!((kind.as_str(), found.as_str()), ("ADDED", name));
            assert!(revision > last, "in the order of their type");
            last = revision;
        }
    }
}

async fn kube_s_own_watcher_follows_in_both_ways(subject: Subject) {
    let services: Api<DynamicObject> =
        Api::namespaced_with(subject.client.clone(), &subject.namespace, &resource("", "Service"));
    let path = subject.core("services");
    subject.create(&path, &service("a", "x")).await;
    for config in [watcher::Config::default().streaming_lists(), watcher::Config::default().page_size(1)] {
        let mut events = pin!(watcher(services.clone(), config));
        let mut seen = Vec::new();
        let read = async {
            while seen.last().is_none_or(|last| last != "deleted b") {
                seen.push(match events.next().await.unwrap().unwrap() {
                    Event::Init => "init".to_owned(),
                    Event::InitApply(object) => format!("initial {}", object.name_any()),
                    Event::InitDone => {
                        subject.create(&path, &service("b", "x")).await;
                        "done".to_owned()
                    }
                    Event::Apply(object) => {
                        subject.delete(&format!("{path}/b")).await;
                        format!("applied {}", object.name_any())
                    }
                    Event::Delete(object) => format!("deleted {}", object.name_any()),
                });
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("kube sees it all");
        assert_eq!(seen, ["init", "initial a", "done", "applied b", "deleted b"]);
    }
}

async fn discovery_names_what_is_served(subject: Subject) {
    let groups = subject.client.list_api_groups().await.unwrap().groups;
    let group =
        groups.iter().find(|group| group.name == "gateway.networking.k8s.io").expect("the Gateway API");
    assert!(group.versions.iter().any(|version| version.version == "v1"));
    let resources = subject.client.list_api_group_resources("gateway.networking.k8s.io/v1").await.unwrap();
    let named =
        |name: &str| resources.resources.iter().find(|resource| resource.name == name).expect("a resource");
    assert_eq!((named("gateways").kind.as_str(), named("gateways").namespaced), ("Gateway", true));
    assert!(named("gateways").verbs.iter().any(|verb| verb == "watch"));
    assert_eq!(named("httproutes/status").kind, "HTTPRoute");
}

fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}
