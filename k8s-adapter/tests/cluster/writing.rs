//! Statuses: written where they differ, by one replica, without touching what is not ours.

use crate::scene::{BACKENDS, GATEWAYS, PATIENCE, ROUTES, Scene, kind_of, options, server};
use fake_kubernetes::{FakeKubernetes, StatusWrite};
use k8s_adapter::build::{StatusKind, WantedStatus};
use k8s_adapter::cluster::{Cluster, ClusterOptions, Election};
use k8s_adapter::objects::Key;
use serde_json::{Value, json};
use std::time::Duration;

fn wish(kind: StatusKind, name: &str, status: Value) -> WantedStatus {
    let namespace = if kind == StatusKind::GatewayClass { "" } else { "default" };
    WantedStatus { kind, key: Key::new(namespace, name), generation: Some(1), resource_version: None, status }
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Because", "message": message, "observedGeneration": 1})
}

/// A Gateway's status.
fn gateway(message: &str) -> WantedStatus {
    let status = json!({
        "addresses": [{"type": "IPAddress", "value": "1.2.3.4"}],
        "conditions": [condition("Accepted", "True", message), condition("Programmed", "False", message)],
        "listeners": [{"name": "http", "attachedRoutes": 1, "supportedKinds": [{"kind": "HTTPRoute"}],
            "conditions": [condition("Accepted", "True", message)]}],
    });
    wish(StatusKind::Gateway, "g", status)
}

/// A route's status with an entry for each Gateway.
fn route(gateways: &[&str], message: &str) -> WantedStatus {
    let entry = |name: &&str| {
        json!({"parentRef": {"name": name}, "controllerName": "us",
        "conditions": [condition("Accepted", "True", message)]})
    };
    wish(StatusKind::HttpRoute, "r", json!({"parents": gateways.iter().map(entry).collect::<Vec<_>>()}))
}

fn writer(options: &mut ClusterOptions) {
    options.write_status = true;
}

/// What we have written.
fn ours(fake: &FakeKubernetes) -> Vec<StatusWrite> {
    fake.writes().into_iter().filter(|write| write.manager == "mcp-gateway").collect()
}

fn stored(fake: &FakeKubernetes, resource: &str, name: &str) -> Value {
    fake.find(resource, name).unwrap()["status"].clone()
}

/// Waits until the status of an object has some text in it.
async fn says(fake: &FakeKubernetes, resource: &str, name: &str, text: &str) -> Value {
    let said = |fake: &FakeKubernetes| {
        let status = fake.find(resource, name)?["status"].clone();
        status.to_string().contains(text).then_some(status)
    };
    fake.until(text, said).await
}

#[tokio::test]
async fn each_kind_gets_its_status_and_gets_it_once() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    let class = wish(
        StatusKind::GatewayClass,
        "agentgateway",
        json!({"conditions": [condition("Accepted", "True", "ours")], "supportedFeatures": [{"name": "A"}, {"name": "B"}]}),
    );
    let targets = json!([{"name": "t", "endpoints": {"ready": 1, "total": 2}}]);
    let backend = wish(
        StatusKind::Backend,
        "b",
        json!({"conditions": [condition("Accepted", "True", "fine")], "targets": targets}),
    );
    let all = |message| vec![class.clone(), gateway(message), route(&["g"], "yes"), backend.clone()];
    scene.cluster.want(all("one"));
    scene.fake.until("four writes", |fake| (ours(fake).len() == 4).then_some(())).await;

    let status = stored(&scene.fake, GATEWAYS, "default/g");
    assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "1.2.3.4"}]));
    assert_eq!(
        status["conditions"].as_array().unwrap().len(),
        2,
        "in place of those that were there from the start"
    );
    assert_eq!(status["conditions"][0]["message"], "one");
    assert_ne!(status["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    assert_eq!(stored(&scene.fake, BACKENDS, "default/b")["targets"], targets);
    let entry = &stored(&scene.fake, ROUTES, "default/r")["parents"][0];
    assert_eq!((&entry["controllerName"], &entry["parentRef"]["name"]), (&json!("us"), &json!("g")));

    // Our own writes come back as events, sweeps pass, and it is wanted again: nothing differs, nothing is written.
    for _ in 0..3 {
        scene.cluster.want(all("one"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(ours(&scene.fake).len(), 4);
    // Another word is written, with the time of before.
    let before = status["conditions"][0]["lastTransitionTime"].clone();
    scene.cluster.want(all("another"));
    let status = says(&scene.fake, GATEWAYS, "default/g", "another").await;
    assert_eq!(status["conditions"][0]["lastTransitionTime"], before);
    assert_eq!(ours(&scene.fake).len(), 5);
    let board = scene.feels("five writes", |board| board.statuses.writes == 5).await;
    assert_eq!((board.statuses.failures, board.statuses.conflicts, board.leader), (0, 0, true));
}

#[tokio::test]
async fn what_is_no_longer_wanted_vanishes() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    scene.cluster.want(vec![gateway("one")]);
    says(&scene.fake, GATEWAYS, "default/g", "one").await;
    let mut less = gateway("less");
    less.status["listeners"] = json!([]);
    less.status.as_object_mut().unwrap().remove("addresses");
    scene.cluster.want(vec![less]);
    let status = says(&scene.fake, GATEWAYS, "default/g", "less").await;
    assert!(status.get("addresses").is_none(), "{status}");
    assert!(status["listeners"].as_array().is_none_or(Vec::is_empty), "{status}");
}

#[tokio::test]
async fn entries_of_other_controllers_stay_in_their_order() {
    let fake = server();
    let other = |name: &str| {
        let mut condition = condition("Accepted", "True", "theirs");
        condition["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        json!({"parentRef": {"name": name, "group": "gateway.networking.k8s.io", "kind": "Gateway"},
            "controllerName": "them", "conditions": [condition]})
    };
    let mut old = other("left over");
    old["controllerName"] = json!("us");
    fake.patch_status(
        "httproutes.gateway.networking.k8s.io",
        "default/r",
        json!({"status": {"parents": [other("x"), old, other("y")]}}),
    );
    let mut scene = Scene::with(fake, writer).await;
    scene.sees("everything", |_| true).await;
    scene.cluster.want(vec![route(&["g"], "mine")]);
    let status = says(&scene.fake, ROUTES, "default/r", "mine").await;
    let entries = status["parents"].as_array().unwrap();
    assert_eq!(entries[..2], [other("x"), other("y")]);
    assert_eq!((entries.len(), &entries[2]["parentRef"]["name"]), (3, &json!("g")));

    // And ours goes when there is none any more.
    scene.cluster.want(vec![route(&[], "")]);
    let only_theirs = json!([other("x"), other("y")]);
    scene
        .fake
        .until("only theirs", |fake| {
            (stored(fake, ROUTES, "default/r")["parents"] == only_theirs).then_some(())
        })
        .await;
}

#[tokio::test]
async fn who_writes_in_between_loses_nothing() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    // Somebody writes the route all the time, until we came too late once.
    let mut number = 0;
    while scene.board().statuses.conflicts == 0 {
        number += 1;
        assert!(number < 10_000, "never too late");
        scene.cluster.want(vec![route(&["g"], &format!("round {number}"))]);
        scene.fake.patch(ROUTES, "default/r", json!({"metadata": {"labels": {"round": number.to_string()}}}));
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    scene.cluster.want(vec![route(&["g"], "at last")]);
    says(&scene.fake, ROUTES, "default/r", "at last").await;
    let labels = scene.fake.find(ROUTES, "default/r").unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels["round"], json!(number.to_string()));
}

#[tokio::test]
async fn one_that_is_refused_does_not_stop_the_others() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    let mut bad = gateway("bad");
    bad.status["conditions"][0]["reason"] = json!("");
    scene.cluster.want(vec![bad.clone(), route(&["g"], "good")]);
    says(&scene.fake, ROUTES, "default/r", "good").await;
    scene.feels("the refusal", |board| board.statuses.failures >= 1).await;
    // It is tried again, but ever less often.
    scene.feels("another", |board| board.statuses.failures >= 2).await;
    scene.cluster.want(vec![gateway("good"), route(&["g"], "good")]);
    says(&scene.fake, GATEWAYS, "default/g", "good").await;
}

#[tokio::test]
async fn what_a_definition_drops_is_not_written_again_and_again() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    let mut odd = gateway("odd");
    odd.status["unknownToTheDefinition"] = json!(1);
    scene.cluster.want(vec![odd.clone()]);
    says(&scene.fake, GATEWAYS, "default/g", "odd").await;
    // Sweeps pass, events come, and it is wanted again.
    for name in ["one", "two", "three"] {
        scene.sees_new_service(name).await;
        scene.cluster.want(vec![odd.clone()]);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(scene.board().statuses.writes, 1);
}

#[tokio::test]
async fn a_right_that_is_missing_for_one_kind_costs_that_kind() {
    let fake = server();
    fake.faults().deny("*", &format!("{GATEWAYS}/status"));
    let mut scene = Scene::with(fake, writer).await;
    scene.sees("everything", |_| true).await;
    scene.cluster.want(vec![gateway("one"), route(&["g"], "good")]);
    says(&scene.fake, ROUTES, "default/r", "good").await;
    scene.fake.faults().permit("*", &format!("{GATEWAYS}/status"));
    says(&scene.fake, GATEWAYS, "default/g", "one").await;
}

#[tokio::test]
async fn what_somebody_undoes_is_written_again() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    scene.cluster.want(vec![route(&["g"], "mine")]);
    says(&scene.fake, ROUTES, "default/r", "mine").await;
    for _ in 0..3 {
        scene.fake.patch_status(ROUTES, "default/r", json!({"status": {"parents": []}}));
        says(&scene.fake, ROUTES, "default/r", "mine").await;
    }
}

#[tokio::test]
async fn two_that_undo_each_others_work_come_to_rest() {
    let mut scene = Scene::with(server(), |options| {
        writer(options);
        options.timing.retry = Duration::from_secs(3600);
        options.timing.refused = Duration::from_secs(3600);
    })
    .await;
    scene.sees("everything", |_| true).await;
    let undo =
        |scene: &Scene| scene.fake.patch_status(ROUTES, "default/r", json!({"status": {"parents": []}}));
    scene.cluster.want(vec![route(&["g"], "mine")]);
    says(&scene.fake, ROUTES, "default/r", "mine").await;
    undo(&scene);
    says(&scene.fake, ROUTES, "default/r", "mine").await;
    undo(&scene);
    // Sweeps pass.
    scene.sees_new_service("new").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(stored(&scene.fake, ROUTES, "default/r")["parents"], json!([]));
    // Something else to say is said at once.
    scene.cluster.want(vec![route(&["g"], "another thing")]);
    says(&scene.fake, ROUTES, "default/r", "another thing").await;
}

#[tokio::test]
async fn a_missing_backend_is_not_reported_while_it_may_only_be_late() {
    let mut scene = Scene::with(server(), |options| {
        writer(options);
        options.timing.hold = Duration::from_secs(3600);
    })
    .await;
    scene.sees("everything", |_| true).await;
    let mut missing = route(&["g"], "missing");
    missing.status["parents"][0]["conditions"][0]["reason"] = json!("BackendNotFound");
    scene.cluster.want(vec![missing.clone(), gateway("one")]);
    says(&scene.fake, GATEWAYS, "default/g", "one").await;
    assert_eq!(stored(&scene.fake, ROUTES, "default/r"), Value::Null);
    // It has come: that is said at once.
    scene.cluster.want(vec![gateway("one"), route(&["g"], "found")]);
    says(&scene.fake, ROUTES, "default/r", "found").await;
    let texts: Vec<_> = ours(&scene.fake).iter().map(|write| write.status.to_string()).collect();
    assert!(texts.iter().all(|text| !text.contains("BackendNotFound")), "{texts:?}");
}

#[tokio::test]
async fn a_backend_that_stays_missing_is_reported() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    let mut missing = route(&["g"], "missing");
    missing.status["parents"][0]["conditions"][0]["reason"] = json!("BackendNotFound");
    scene.cluster.want(vec![missing]);
    says(&scene.fake, ROUTES, "default/r", "BackendNotFound").await;
}

#[tokio::test]
async fn who_only_reads_writes_nothing() {
    let mut scene = Scene::complete(server()).await;
    scene.cluster.want(vec![gateway("never")]);
    scene.sees_new_service("new").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(ours(&scene.fake).is_empty() && !scene.board().leader);
}

#[tokio::test]
async fn statuses_are_written_through_an_outage() {
    let mut scene = Scene::with(server(), writer).await;
    scene.sees("everything", |_| true).await;
    scene.fake.faults().stop();
    scene.cluster.want(vec![gateway("late")]);
    scene.feels("a failure", |board| board.statuses.failures > 0).await;
    scene.fake.faults().start();
    says(&scene.fake, GATEWAYS, "default/g", "late").await;
    scene.feels("all well", |board| kind_of(board, "Gateway").connected).await;
}

/// A replica that takes part in the election.
async fn replica(fake: &FakeKubernetes, identity: &str) -> Cluster {
    replica_with(fake, identity, |_| ()).await
}

/// One that keeps its lease however seldom it gets to renew it on a busy machine.
async fn steady_replica(fake: &FakeKubernetes, identity: &str) -> Cluster {
    replica_with(fake, identity, |options| options.timing.lease = Duration::from_secs(60)).await
}

async fn replica_with(
    fake: &FakeKubernetes,
    identity: &str,
    change: impl FnOnce(&mut ClusterOptions),
) -> Cluster {
    let mut options = options(fake);
    change(&mut options);
    options.write_status = true;
    options.election =
        Some(Election { namespace: "default".into(), name: "lease".into(), identity: identity.into() });
    let cluster = Cluster::connect(options).await.unwrap();
    cluster.want(vec![gateway(identity)]);
    cluster
}

fn holder(fake: &FakeKubernetes) -> Option<String> {
    let lease = fake.find("leases.coordination.k8s.io", "default/lease")?;
    Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
}

#[tokio::test]
async fn of_two_replicas_one_writes_and_hands_over_when_it_leaves() {
    let fake = server();
    let one = steady_replica(&fake, "replica-1").await;
    says(&fake, GATEWAYS, "default/g", "replica-1").await;
    assert!(one.vitals().board().leader);
    let two = steady_replica(&fake, "replica-2").await;
    let mut objects = two.objects();
    tokio::time::timeout(PATIENCE, objects.wait_for(Option::is_some)).await.unwrap().unwrap();
    // Through some renewals.
    let version = |fake: &FakeKubernetes| fake.find("leases.coordination.k8s.io", "default/lease").unwrap();
    for _ in 0..2 {
        let before = version(&fake);
        fake.until("a renewal", |fake| (version(fake) != before).then_some(())).await;
    }
    assert!(one.vitals().board().leader && !two.vitals().board().leader);
    assert!(ours(&fake).iter().all(|write| write.status.to_string().contains("replica-1")));

    one.leave().await;
    says(&fake, GATEWAYS, "default/g", "replica-2").await;
    assert_eq!(holder(&fake).as_deref(), Some("replica-2"));
    // Each wrote in its own time.
    let authors: Vec<bool> =
        ours(&fake).iter().map(|write| write.status.to_string().contains("replica-2")).collect();
    assert!(authors.is_sorted(), "{authors:?}");
    two.leave().await;
    assert_eq!(holder(&fake).as_deref(), Some(""));
}

#[tokio::test]
async fn the_lease_of_a_replica_that_died_expires() {
    let fake = server();
    let one = replica(&fake, "replica-1").await;
    says(&fake, GATEWAYS, "default/g", "replica-1").await;
    drop(one);
    let _two = replica(&fake, "replica-2").await;
    says(&fake, GATEWAYS, "default/g", "replica-2").await;
    let lease = fake.find("leases.coordination.k8s.io", "default/lease").unwrap();
    assert_eq!(
        (&lease["spec"]["leaseTransitions"], &lease["spec"]["leaseDurationSeconds"]),
        (&json!(1), &json!(3))
    );
}

#[tokio::test]
async fn a_leader_that_cannot_renew_steps_down() {
    let fake = server();
    let one = replica(&fake, "replica-1").await;
    says(&fake, GATEWAYS, "default/g", "replica-1").await;
    let vitals = one.vitals();
    fake.faults().deny("*", "leases.coordination.k8s.io");
    let until = |leads: bool| {
        let vitals = vitals.clone();
        tokio::time::timeout(PATIENCE, async move {
            while vitals.board().leader != leads {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    until(false).await.unwrap();
    one.want(vec![gateway("not any more")]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!stored(&fake, GATEWAYS, "default/g").to_string().contains("not any more"));
    fake.faults().permit("*", "leases.coordination.k8s.io");
    until(true).await.unwrap();
    says(&fake, GATEWAYS, "default/g", "not any more").await;
}
