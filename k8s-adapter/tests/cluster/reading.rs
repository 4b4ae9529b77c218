//! What is read, from a server that is well.

use crate::scene::{BACKENDS, GATEWAYS, GRANTS, PATIENCE, ROUTES, Scene, kind_of, server, service, services};
use fake_kubernetes::{Chunks, FakeKubernetes, Streaming};
use k8s_adapter::objects::Key;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn all_types_are_read_and_followed() {
    let mut scene = Scene::complete(server()).await;
    let objects = scene.published().unwrap();
    let key = |name: &str| Key::new("default", name);
    assert!(objects.classes.contains_key("agentgateway") && objects.namespaces.contains_key("default"));
    assert!(objects.gateways.contains_key(&key("g")) && objects.routes.contains_key(&key("r")));
    assert!(objects.grants.contains_key(&key("grant")) && objects.backends.contains_key(&key("b")));
    assert!(objects.services.contains_key(&key("s")), "{objects:?}");
    // `endpoints` and `ports` are null in it.
    assert_eq!(objects.slices[&key("s-1")].endpoints.len(), 0);

    scene.fake.patch("services", "default/s", json!({"metadata": {"labels": {"a": "b"}}}));
    scene.sees("a change", |objects| objects.services[&key("s")].metadata.labels.contains_key("a")).await;
    scene.fake.delete("services", "default/s");
    scene.sees("a deletion", |objects| objects.services.is_empty()).await;
    let board = scene.board();
    assert_eq!(board.kinds.iter().map(|kind| kind.resyncs).collect::<Vec<_>>(), [1; 8], "one list of each");
    assert_eq!(board.missing_rights, [""; 0]);
    assert_eq!(kind_of(&board, "Gateway").objects, 1);
    assert!(board.age.is_some() && board.publications >= 3);
}

#[tokio::test]
async fn changes_that_come_together_are_published_together() {
    let mut scene = Scene::complete(server()).await;
    let before = scene.board().publications;
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    scene.fake.apply(&names.iter().map(|name| service(name)).collect::<Vec<_>>().join("\n---\n"));
    scene.sees("all of them", |objects| objects.services.len() == 201).await;
    // Each may have come at its own time on a slow machine, but never one publication for each.
    assert!(scene.board().publications - before < 100, "{:?}", scene.board());
}

#[tokio::test]
async fn lists_come_in_pages_where_streams_are_not_served() {
    for streaming in [Streaming::OldStore, Streaming::Off] {
        let fake = server();
        fake.faults().streaming(streaming);
        let names: Vec<String> = (0..120).map(|number| format!("s{number}")).collect();
        fake.apply(&names.iter().map(|name| service(name)).collect::<Vec<_>>().join("\n---\n"));
        let mut scene = Scene::complete(fake).await;
        assert_eq!(scene.published().unwrap().services.len(), 121, "three pages");
        scene.sees_new_service("new").await;
        assert_eq!(scene.resyncs("Service"), 1, "the failed stream is no list");
    }
}

#[tokio::test]
async fn pages_that_expire_are_asked_for_at_once() {
    let fake = server();
    fake.faults().streaming(Streaming::Off);
    let names: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
    fake.apply(&names.iter().map(|name| service(name)).collect::<Vec<_>>().join("\n---\n"));
    let mut scene = Scene::with(fake, |_| ()).await;
    // No second page comes, however often it is asked for.
    let all = async {
        while scene.published().is_none() {
            scene.fake.faults().expire_tokens();
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all).await.expect("all at once");
    assert_eq!(scene.published().unwrap().services.len(), 61);
    scene.sees_new_service("new").await;
}

#[tokio::test]
async fn events_may_be_cut_and_joined_in_any_way() {
    for chunks in [Chunks::Joined, Chunks::Bytes(7)] {
        let fake = server();
        fake.faults().chunks(chunks);
        let mut scene = Scene::complete(fake).await;
        scene.sees_new_service("one").await;
        scene.sees_new_service("two").await;
        assert_eq!(services(&scene.published().unwrap()), ["one", "s", "two"]);
        assert_eq!(scene.resyncs("Service"), 1);
    }
}

#[tokio::test]
async fn an_optional_type_may_be_missing_and_come_later() {
    let fake = server();
    let backends = fake.faults().undefine(BACKENDS);
    let grants = fake.faults().undefine(GRANTS);
    let mut scene = Scene::complete(fake).await;
    assert!(kind_of(&scene.board(), "Backend").absent && kind_of(&scene.board(), "ReferenceGrant").absent);
    let publications = scene.board().publications;
    // They are asked for again and again; that is no news.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.board().publications, publications);

    scene.fake.apply(&backends);
    scene.fake.apply(&grants);
    let backend = "{apiVersion: gateway.kgateway.dev/v1alpha1, kind: Backend, metadata: {name: later, namespace: default}}";
    scene.fake.apply(backend);
    scene.sees("the backend", |objects| objects.backends.len() == 1).await;
    scene.feels("both known", |board| board.kinds.iter().all(|kind| !kind.absent)).await;
}

#[tokio::test]
async fn a_type_that_must_be_there_is_waited_for_by_name() {
    let fake = server();
    let routes = fake.faults().undefine(ROUTES);
    let mut scene = Scene::with(fake, |_| ()).await;
    let board = scene.feels("why it waits", |board| {
        kind_of(board, "HTTPRoute").problem.is_some()
            && board.kinds.iter().filter(|kind| kind.synced).count() == 7
    });
    let expected = "HTTPRoute: the cluster does not know the type HTTPRoute: is it installed?";
    assert_eq!(board.await.waiting_for(), [expected]);
    assert!(scene.published().is_none());
    scene.fake.apply(&routes);
    scene.sees("all", |_| true).await;
    assert_eq!(scene.board().waiting_for(), [""; 0]);
}

#[tokio::test]
async fn a_definition_that_goes_takes_its_objects_with_it() {
    let mut scene = Scene::complete(server()).await;
    scene.is_watched().await;
    let definition = scene.fake.faults().undefine(BACKENDS);
    scene.sees("no backend", |objects| objects.backends.is_empty()).await;
    scene.feels("its absence", |board| kind_of(board, "Backend").absent).await;
    scene.fake.apply(&definition);
    scene.feels("its return", |board| !kind_of(board, "Backend").absent).await;
    // The others were not touched.
    assert_eq!(scene.resyncs("HTTPRoute"), 1);
}

#[tokio::test]
async fn an_older_gateway_api_has_grants_of_another_version() {
    let fake = server();
    let mut definition: serde_json::Value = serde_json::from_str(&fake.faults().undefine(GRANTS)).unwrap();
    let versions = definition["spec"]["versions"].as_array_mut().unwrap();
    versions.retain(|version| version["name"] == "v1beta1");
    versions[0]["storage"] = json!(true);
    fake.apply(&definition.to_string());
    fake.apply(
        "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: old, namespace: default}}",
    );
    let scene = Scene::complete(fake).await;
    assert_eq!(scene.published().unwrap().grants.len(), 1);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_costs_only_itself() {
    let fake = server();
    let unreadable = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "bad", "namespace": "default"}, "endpoints": [{"addresses": 5}]});
    fake.apply(&unreadable.to_string());
    let mut scene = Scene::complete(fake).await;
    let key = |name: &str| Key::new("default", name);
    assert_eq!(scene.published().unwrap().slices.keys().collect::<Vec<_>>(), [&key("s-1")]);
    assert_eq!(kind_of(&scene.board(), "EndpointSlice").decode_errors, 1);

    // One that was good stays what it was.
    scene.fake.patch(
        "endpointslices.discovery.k8s.io",
        "default/s-1",
        json!({"endpoints": [{"addresses": 5}]}),
    );
    scene.feels("another error", |board| kind_of(board, "EndpointSlice").decode_errors == 2).await;
    // Also when everything is listed anew.
    scene.is_watched().await;
    scene.fake.faults().skip_revisions(10);
    scene.fake.faults().compact();
    scene.fake.faults().end_watches("");
    scene.feels("a list", |board| kind_of(board, "EndpointSlice").resyncs == 2).await;
    assert_eq!(scene.board().waiting_for(), [""; 0]);
    let objects = scene.sees_new_service("after").await;
    assert_eq!(objects.slices.keys().collect::<Vec<_>>(), [&key("s-1")]);
    // And what is repaired is there.
    scene.fake.patch(
        "endpointslices.discovery.k8s.io",
        "default/bad",
        json!({"endpoints": [{"addresses": ["1.2.3.4"]}]}),
    );
    scene.sees("the repaired one", |objects| objects.slices.contains_key(&key("bad"))).await;
}

#[tokio::test]
async fn a_bookmark_spares_a_list() {
    // No watch ends by itself in the meantime.
    let mut scene = Scene::with(server(), |options| options.timing.watch = Duration::from_secs(60)).await;
    scene.sees("everything", |_| true).await;
    scene.is_watched().await;
    // Much happens, but not to Gateways: what their watch knows would be too old without a bookmark.
    scene.fake.faults().skip_revisions(100);
    let silent = |board: &k8s_adapter::cluster::Board| kind_of(board, "Gateway").silent.unwrap();
    let before = silent(&scene.feels("some silence", |board| silent(board).as_millis() > 50).await);
    scene.fake.faults().bookmark("");
    scene.feels("the bookmark", |board| silent(board) < before).await;
    // It forgets what was before, and nothing was.
    scene.fake.faults().restart(Duration::ZERO);
    scene.fake.patch(GATEWAYS, "default/g", json!({"metadata": {"labels": {"a": "b"}}}));
    let key = Key::new("default", "g");
    scene.sees("a change", |objects| objects.gateways[&key].metadata.labels.contains_key("a")).await;
    assert_eq!(scene.resyncs("Gateway"), 1);
}

#[tokio::test]
async fn a_confined_gateway_sees_its_namespaces_alone() {
    let fake = server();
    for name in ["a", "b", "c"] {
        fake.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"));
        fake.apply(&service("s").replace("namespace: default", &format!("namespace: {name}")));
    }
    let mut scene =
        Scene::with(fake, |options| options.namespaces = vec!["a".to_owned(), "b".to_owned()]).await;
    let objects = scene.sees("two namespaces", |_| true).await;
    assert_eq!(objects.services.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a/s", "b/s"]);
    assert_eq!(objects.namespaces.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(objects.classes.len(), 1);
    assert!(objects.gateways.is_empty());
    scene.fake.delete("services", "a/s");
    scene.sees("a deletion in one", |objects| objects.services.len() == 1).await;
}

#[tokio::test]
async fn a_namespace_that_may_not_be_looked_at_has_its_name() {
    let fake = server();
    fake.faults().deny("*", "namespaces");
    let mut scene = Scene::with(fake, |options| options.namespaces = vec!["default".to_owned()]).await;
    let objects = scene.sees("everything else", |_| true).await;
    assert_eq!(objects.namespaces["default"].metadata.labels["kubernetes.io/metadata.name"], "default");
    assert_eq!(objects.services.len(), 1);
}

#[tokio::test]
async fn missing_rights_are_named_with_what_they_cost() {
    let fake = server();
    fake.faults().deny("list", GRANTS);
    fake.faults().deny("watch", GRANTS);
    fake.faults().deny("patch", &format!("{BACKENDS}/status"));
    let scene = Scene::with(fake, |options| options.write_status = true).await;
    let board = scene.feels("what is missing", |board| board.missing_rights.len() == 2).await;
    assert_eq!(
        board.missing_rights,
        [
            "no right to list or watch referencegrants in the whole cluster: \
             references from one namespace to another are refused",
            "no right to patch backends/status in the whole cluster: no status of a Backend is written",
        ]
    );
}

#[tokio::test]
async fn the_version_of_the_definitions_is_known() {
    let scene = Scene::complete(server()).await;
    assert_eq!(scene.cluster.bundle_version().await.as_deref(), Some("v1.6.1"));
    scene.fake.faults().deny("*", "customresourcedefinitions.apiextensions.k8s.io");
    assert_eq!(scene.cluster.bundle_version().await, None);
}

#[tokio::test]
async fn a_server_may_be_started_later() {
    let fake = server();
    fake.faults().stop();
    let mut scene = Scene::with(fake, |_| ()).await;
    let board = scene.feels("why", |board| board.kinds.iter().all(|kind| kind.problem.is_some())).await;
    let problem = kind_of(&board, "Gateway").problem.clone().unwrap();
    assert!(problem.starts_with("the API server can't be reached: "), "{problem}");
    assert!(problem.contains("onnection refused"), "{problem}");
    scene.fake.faults().start();
    scene.sees("everything", |_| true).await;
    // Being away is no reason to give up streaming lists; so nothing is listed twice.
    assert_eq!(scene.resyncs("Gateway"), 1);
}

#[test]
fn the_current_thread_is_enough() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut scene = Scene::complete(FakeKubernetes::start()).await;
        scene.sees_new_service("s").await;
    });
}
