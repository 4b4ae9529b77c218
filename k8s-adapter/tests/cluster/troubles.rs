//! What goes wrong on the way, and how it is got over. Nothing of it empties what is published.

use crate::scene::{GATEWAYS, PATIENCE, Scene, kind_of, server, service, services};
use fake_kubernetes::FakeKubernetes;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Breaks all watches in some way, makes a change that none of them has seen, and waits for it.
async fn gets_over(scene: &mut Scene, name: &str, trouble: impl FnOnce(&FakeKubernetes)) {
    scene.is_watched().await;
    trouble(&scene.fake);
    let objects = scene.sees_new_service(name).await;
    assert!(services(&objects).contains(&"s"), "what was there stays");
    assert_eq!(objects.gateways.len(), 1);
}

#[tokio::test]
async fn a_position_that_is_too_old() {
    for plain in [false, true] {
        let mut scene = Scene::complete(server()).await;
        scene.fake.faults().plain_gone(plain);
        gets_over(&mut scene, "one", |fake| {
            // Something unseen happens while nobody can watch.
            fake.faults().stop();
            fake.apply(&service("unseen"));
            fake.faults().skip_revisions(10);
            fake.faults().start();
        })
        .await;
        scene.sees("what was missed", |objects| services(objects).contains(&"unseen")).await;
        assert_eq!(scene.resyncs("Service"), 2, "one more list");
    }
}

#[tokio::test]
async fn what_was_deleted_unseen_is_gone_after_the_next_list() {
    let mut scene = Scene::complete(server()).await;
    scene.is_watched().await;
    scene.fake.faults().stop();
    scene.fake.delete(GATEWAYS, "default/g");
    scene.fake.faults().skip_revisions(10);
    assert_eq!(scene.published().unwrap().gateways.len(), 1, "what is not known is not changed");
    scene.fake.faults().start();
    scene.sees("no gateway", |objects| objects.gateways.is_empty()).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_line() {
    let mut scene = Scene::complete(server()).await;
    gets_over(&mut scene, "one", |fake| fake.faults().cut_watches("services")).await;
    gets_over(&mut scene, "two", |fake| fake.faults().reset_watches("")).await;
    gets_over(&mut scene, "three", |fake| fake.faults().end_watches("")).await;
    assert_eq!(scene.resyncs("Service"), 1, "it goes on where it was");
}

#[tokio::test]
async fn a_restart_after_all_was_heard_needs_no_list() {
    let mut scene = Scene::complete(server()).await;
    for name in ["one", "two"] {
        scene.sees_new_service(name).await;
        // It forgets what was before the last event.
        scene.fake.faults().restart(Duration::ZERO);
    }
    scene.sees_new_service("three").await;
    assert_eq!(scene.resyncs("Service"), 1);
}

#[tokio::test]
async fn an_error_within_a_stream_that_stays_open() {
    let mut scene = Scene::complete(server()).await;
    gets_over(&mut scene, "one", |fake| fake.faults().error_event("services", 500)).await;
    assert_eq!(scene.resyncs("Service"), 1);
    // A watch that is just being opened does not hear it; so it is said until it was heard.
    let listed = async {
        while scene.resyncs("Service") < 2 {
            scene.fake.faults().error_event("services", 410);
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, listed).await.expect("a new list");
    scene.sees_new_service("two").await;
}

#[tokio::test]
async fn a_server_that_says_nothing_more() {
    let mut scene = Scene::complete(server()).await;
    scene.is_watched().await;
    scene.fake.faults().hang(true);
    scene
        .feels("the silence", |board| {
            board.kinds.iter().all(|kind| !kind.connected && kind.problem.is_some())
        })
        .await;
    assert_eq!(services(&scene.published().unwrap()), ["s"], "what was there stays");
    scene.fake.faults().hang(false);
    scene.sees_new_service("new").await;
    scene
        .feels("all well", |board| board.kinds.iter().all(|kind| kind.connected && kind.problem.is_none()))
        .await;
}

#[tokio::test]
async fn a_server_that_hangs_from_the_beginning() {
    let fake = server();
    fake.faults().hang(true);
    let mut scene = Scene::with(fake, |options| options.timing.listing = Duration::from_millis(300)).await;
    scene.feels("nothing", |board| board.kinds.iter().all(|kind| kind.problem.is_some())).await;
    scene.fake.faults().hang(false);
    scene.sees("everything", |_| true).await;
}

#[tokio::test]
async fn connections_that_are_accepted_and_closed() {
    let mut scene = Scene::complete(server()).await;
    scene.is_watched().await;
    scene.fake.faults().accept_then_close(true);
    scene.fake.faults().reset_watches("");
    scene.feels("trouble", |board| board.kinds.iter().all(|kind| kind.problem.is_some())).await;
    scene.fake.faults().accept_then_close(false);
    scene.sees_new_service("new").await;
    assert_eq!(scene.resyncs("Service"), 1);
}

#[tokio::test]
async fn a_server_that_counts_from_an_earlier_revision_again() {
    let fake = server();
    fake.faults().skip_revisions(1000);
    let mut scene = Scene::with(fake, |options| {
        options.timing.watch = Duration::from_secs(60);
        options.timing.silence = Duration::from_secs(1);
    })
    .await;
    scene.sees("everything", |_| true).await;
    scene.is_watched().await;
    // Restored from a backup: our position is in its future, and it says nothing about that.
    scene.fake.faults().rewind(500);
    scene.fake.faults().end_watches("");
    scene.sees_new_service("after the restore").await;
    assert!(scene.resyncs("Service") >= 2);
}

#[tokio::test]
async fn a_right_that_is_taken_away_and_given_back() {
    let mut scene = Scene::complete(server()).await;
    scene.is_watched().await;
    scene.fake.faults().deny("*", "services");
    // A watch that runs goes on.
    scene.sees_new_service("one").await;
    scene.fake.faults().end_watches("services");
    let board = scene.feels("the refusal", |board| kind_of(board, "Service").problem.is_some()).await;
    let problem = kind_of(&board, "Service").problem.clone().unwrap();
    assert!(problem.starts_with("the API server refuses with 403: "), "{problem}");
    assert_eq!(services(&scene.published().unwrap()), ["one", "s"], "what was there stays");
    scene.fake.faults().permit("*", "services");
    scene.sees_new_service("two").await;
    assert_eq!(kind_of(&scene.board(), "Service").problem, None);
}

#[tokio::test]
async fn a_server_that_is_too_busy() {
    let fake = server();
    for (times, status, after) in [(10, 429, Some(1)), (10, 503, None), (3, 500, None)] {
        fake.faults().refuse("", times, status, after);
    }
    let mut scene = Scene::complete(fake).await;
    scene.sees_new_service("new").await;
}

#[tokio::test]
async fn a_restart_with_all_data() {
    let mut scene = Scene::complete(server()).await;
    for round in ["one", "two", "three"] {
        gets_over(&mut scene, round, |fake| {
            fake.faults().skip_revisions(5);
            fake.faults().restart(Duration::from_millis(50));
        })
        .await;
    }
    assert_eq!(services(&scene.published().unwrap()), ["one", "s", "three", "two"]);
}
