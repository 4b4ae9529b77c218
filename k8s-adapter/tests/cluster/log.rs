//! What an operator reads while the API server is away.

use crate::scene::{Scene, server};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, subscriber};

/// Warnings and errors, as target and text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        self.0 += &format!("{value:?} ");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() <= Level::WARN {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push((event.metadata().target().to_owned(), text.0));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_server_that_is_away_is_named_once_for_each_type() {
    let log = Log::default();
    let _guard = subscriber::set_default(log.clone());
    let mut scene = Scene::complete(server()).await;
    scene.is_watched().await;
    scene.fake.faults().stop();
    scene.feels("the outage", |board| board.kinds.iter().all(|kind| kind.problem.is_some())).await;
    // Long enough for many attempts.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    scene.fake.faults().start();
    scene.sees_new_service("after").await;

    let lines = log.0.lock().unwrap();
    assert!(lines.iter().all(|(target, _)| target.starts_with("k8s_adapter")), "{lines:#?}");
    let refused = lines.iter().filter(|(_, text)| text.contains("onnection refused")).count();
    // Of some types the connection broke first, and that is another problem.
    assert!((1..=8).contains(&refused) && lines.len() <= 16, "{lines:#?}");
}
