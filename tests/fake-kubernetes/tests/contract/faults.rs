//! What goes wrong on purpose: the fake alone.

use crate::subject::{MERGE, PATIENCE, Subject, quick, revision, run, service, text};
use fake_kubernetes::{BackendShape, Chunks, FakeKubernetes, Streaming, Timings};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const SERVICES: &str = "/api/v1/services";
const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
const BACKENDS: &str = "backends.gateway.kgateway.dev";
const STREAMING: &str =
    "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

/// Runs a test with a fake and a client of it.
fn with_fake<F: Future<Output = ()>>(test: impl FnOnce(FakeKubernetes, Subject) -> F) {
    with_timings(quick(), test);
}

fn with_timings<F: Future<Output = ()>>(timings: Timings, test: impl FnOnce(FakeKubernetes, Subject) -> F) {
    run(async {
        let server = FakeKubernetes::start_with(0, timings);
        let subject = Subject::of(&server).await;
        test(server, subject).await;
    });
}

#[test]
fn an_old_store_answers_a_streaming_list_with_an_error_event() {
    with_fake(async |server, subject| {
        server.faults().streaming(Streaming::OldStore);
        let events = subject.watch(&format!("{SERVICES}?{STREAMING}")).await.rest_of_it().await;
        let [event] = events.as_slice() else { panic!("one event: {events:?}") };
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
        assert_eq!(text(&event["object"], "/message"), "RequestWatchProgress is disabled");
        // A list and a watch of the old kind still work.
        let from = revision(&subject.get(SERVICES).await.ok());
        let mut watch = subject.watch(&format!("{SERVICES}?watch=true&resourceVersion={from}")).await;
        server.apply(&service("a", "x").to_string());
        assert_eq!(watch.event().await.1, "a");
    });
}

#[test]
fn a_server_without_streaming_lists_forbids_them() {
    with_fake(async |server, subject| {
        server.faults().streaming(Streaming::Off);
        let refused = subject.get(&format!("{SERVICES}?{STREAMING}")).await;
        assert_eq!(refused.code, 422);
        assert!(
            text(&refused.json(), "/message").contains("sendInitialEvents: Forbidden"),
            "{}",
            refused.text
        );
    });
}

#[test]
fn bookmarks_come_from_time_to_time() {
    let timings = Timings { bookmark_every: Duration::from_millis(50), ..quick() };
    with_timings(timings, async |server, subject| {
        let from = server.revision();
        let mut watch = subject
            .watch(&format!("{SERVICES}?watch=true&allowWatchBookmarks=true&resourceVersion={from}"))
            .await;
        server
            .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}).to_string());
        loop {
            let (kind, _, revision) = watch.event().await;
            assert_eq!(kind, "BOOKMARK");
            if revision > from {
                break;
            }
        }
    });
}

#[test]
fn after_a_compaction_old_revisions_are_gone_in_both_forms() {
    with_fake(async |server, subject| {
        let old = server.revision();
        server.apply(&service("a", "x").to_string());
        let exact = format!("{SERVICES}?resourceVersion={old}&resourceVersionMatch=Exact");
        assert_eq!(subject.get(&exact).await.ok()["items"], json!([]), "the state of then");
        server.faults().compact();
        assert_eq!((subject.get(&exact).await.code), 410);
        let path = format!("{SERVICES}?watch=true&resourceVersion={old}");
        assert_eq!(subject.watch(&path).await.rest_of_it().await[0]["object"]["code"], 410);
        server.faults().plain_gone(true);
        let refused = subject.get(&path).await;
        assert_eq!((refused.code, text(&refused.json(), "/reason").as_str()), (410, "Expired"));
        let mut newest =
            subject.watch(&format!("{SERVICES}?watch=true&resourceVersion={}", server.revision())).await;
        server.apply(&service("b", "x").to_string());
        assert_eq!(newest.event().await.1, "b");
    });
}

#[test]
fn after_a_restored_backup_a_watch_is_silent_until_the_counter_catches_up() {
    with_fake(async |server, subject| {
        server.faults().skip_revisions(5);
        let known = server.revision();
        let mut watch = subject.watch(&format!("{SERVICES}?watch=true&resourceVersion={known}")).await;
        server.until("the watch runs", |server| (server.watches() == ["services"]).then_some(())).await;
        server.faults().rewind(known - 2);
        for name in ["a", "b", "c"] {
            server.apply(&service(name, "x").to_string());
        }
        assert_eq!(watch.event().await, ("ADDED".into(), "c".into(), known + 1));
    });
}

#[test]
fn pages_cannot_be_continued_with_an_expired_token() {
    with_fake(async |server, subject| {
        for name in ["a", "b"] {
            server.apply(&service(name, "x").to_string());
        }
        let token = text(&subject.get(&format!("{SERVICES}?limit=1")).await.ok(), "/metadata/continue");
        server.faults().expire_tokens();
        let refused = subject.get(&format!("{SERVICES}?limit=1&continue={token}")).await;
        assert_eq!((refused.code, text(&refused.json(), "/reason").as_str()), (410, "Expired"));
    });
}

#[test]
fn a_right_taken_away_stops_only_the_next_watch() {
    with_fake(async |server, subject| {
        let mut running = subject.watch(&format!("{SERVICES}?watch=true")).await;
        server.faults().deny("watch", "services");
        let refused = subject.get(&format!("{SERVICES}?watch=true")).await;
        assert_eq!((refused.code, text(&refused.json(), "/reason").as_str()), (403, "Forbidden"));
        server.apply(&service("a", "x").to_string());
        assert_eq!(running.event().await.1, "a");
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "watch", "resource": "services"}},
        });
        let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(subject.create(reviews, &review).await["status"]["allowed"], false);
        server.faults().permit("watch", "services");
        assert_eq!(subject.create(reviews, &review).await["status"]["allowed"], true);
    });
}

#[test]
fn refusals_say_when_to_come_again() {
    with_fake(async |server, subject| {
        for code in [429, 503] {
            server.faults().refuse("services", 1, code, Some(7));
            let refused = subject.get(SERVICES).await;
            assert_eq!((refused.code, refused.retry_after.as_deref()), (code, Some("7")));
            assert_eq!(refused.json()["details"]["retryAfterSeconds"], 7);
            assert_eq!(subject.get(SERVICES).await.code, 200);
        }
    });
}

#[test]
fn an_error_event_leaves_the_stream_open() {
    with_fake(async |server, subject| {
        let mut watch = subject.watch(&format!("{SERVICES}?watch=true")).await;
        server.faults().error_event("services", 500);
        let event = watch.next().await.unwrap().unwrap();
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
        server.apply(&service("a", "x").to_string());
        assert_eq!(watch.event().await.1, "a");
    });
}

#[test]
fn a_watch_can_break_in_the_middle_of_a_line() {
    with_fake(async |server, subject| {
        let mut watch = subject.watch(&format!("{SERVICES}?watch=true")).await;
        server.faults().cut_watches("services");
        server.apply(&service("a", "x").to_string());
        watch.next().await.expect_err("the connection breaks");
        assert!(watch.rest().starts_with(b"{"), "half a line came: {:?}", watch.rest());
        assert!(serde_json::from_slice::<Value>(watch.rest()).is_err());
        assert_eq!(
            server.until("the watch is over", |server| server.watches().is_empty().then_some(())).await,
            ()
        );
    });
}

#[test]
fn a_watch_can_end_with_a_reset() {
    with_fake(async |server, subject| {
        let mut raw = open_raw(&server, &format!("{SERVICES}?watch=true"));
        server.until("the watch runs", |server| (server.watches() == ["services"]).then_some(())).await;
        server.faults().reset_watches("services");
        let mut read = Vec::new();
        assert_eq!(raw.read_to_end(&mut read).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(subject.get(SERVICES).await.code, 200, "other connections live");
    });
}

#[test]
fn events_share_chunks_and_chunks_share_events() {
    with_fake(async |server, subject| {
        for name in ["a", "b", "c"] {
            server.apply(&service(name, "x").to_string());
        }
        for (chunks, expected) in
            [(Chunks::Joined, 1..=1), (Chunks::Whole, 3..=3), (Chunks::Bytes(7), 100..=usize::MAX)]
        {
            server.faults().chunks(chunks);
            let mut raw = open_raw(&server, &format!("{SERVICES}?watch=true&timeoutSeconds=1"));
            let mut answer = String::new();
            raw.read_to_string(&mut answer).unwrap();
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let found = chunks_of(body);
            assert!(expected.contains(&found.len()), "{chunks:?}: {}", found.len());
            let lines = found.concat();
            let names: Vec<_> = lines
                .lines()
                .map(|line| text(&serde_json::from_str(line).unwrap(), "/object/metadata/name"))
                .collect();
            assert_eq!(names, ["a", "b", "c"], "{chunks:?}");
        }
        drop(subject);
    });
}

#[test]
fn a_server_that_hangs_says_nothing_and_forgets_nothing() {
    with_fake(async |server, subject| {
        let mut watch = subject.watch(&format!("{SERVICES}?watch=true")).await;
        server.faults().hang(true);
        server.apply(&service("a", "x").to_string());
        let mut raw = open_raw(&server, SERVICES);
        raw.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let error = raw.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert!(tokio::time::timeout(Duration::from_millis(100), watch.next()).await.is_err(), "silence");
        server.faults().hang(false);
        assert_eq!(watch.event().await.1, "a");
        raw.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(raw.read(&mut [0; 1]).unwrap(), 1);
    });
}

#[test]
fn connections_can_be_closed_as_soon_as_they_are_accepted() {
    with_fake(async |server, subject| {
        server.faults().accept_then_close(true);
        let mut raw = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        raw.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(raw.read(&mut [0; 1]).unwrap(), 0);
        server.faults().accept_then_close(false);
        assert_eq!(subject.get(SERVICES).await.code, 200);
    });
}

#[test]
fn a_restarted_server_keeps_its_data_and_forgets_its_history() {
    with_fake(async |server, subject| {
        server.apply(&service("a", "x").to_string());
        let before = server.revision();
        server.apply(&service("b", "x").to_string());
        let mut watch =
            subject.watch(&format!("{SERVICES}?watch=true&resourceVersion={}", server.revision())).await;
        server.faults().stop();
        watch.next().await.expect_err("the connection breaks");
        let refused = TcpStream::connect(("127.0.0.1", server.port())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        server.apply(&service("c", "x").to_string());
        server.faults().start();
        assert_eq!(subject.get(SERVICES).await.ok()["items"].as_array().unwrap().len(), 3);
        let path = format!("{SERVICES}?watch=true&resourceVersion={before}");
        assert_eq!(subject.watch(&path).await.rest_of_it().await[0]["object"]["code"], 410);
    });
}

#[test]
fn a_replaced_definition_prunes_what_is_stored() {
    with_fake(async |server, subject| {
        server.apply(
            r#"
apiVersion: gateway.kgateway.dev/v1alpha1
kind: Backend
metadata: {name: mcp-backend}
spec:
  type: MCP
  mcp:
    name: mcp-virtual-server
    targets:
    - selectors: {serviceSelector: {matchLabels: {app: mcp-server}}}
"#,
        );
        let path = "/apis/gateway.kgateway.dev/v1alpha1/namespaces/default/backends/mcp-backend";
        let stored = subject.get(path).await.ok();
        let watched = "/apis/gateway.kgateway.dev/v1alpha1/backends?watch=true";
        let mut watch = subject.watch(watched).await;
        assert_eq!(watch.event().await.1, "mcp-backend");
        server.faults().backend_shape(BackendShape::First);
        assert_eq!(watch.next().await, Ok(None), "watches end with their definition");
        assert_eq!(subject.get(path).await.ok(), stored);
        server.faults().backend_shape(BackendShape::Second);
        assert_eq!(subject.get(path).await.ok()["spec"], json!({"type": "MCP", "mcp": {"targets": [{}]}}));
    });
}

#[test]
fn a_deleted_definition_ends_watches_and_a_new_one_starts_afresh() {
    with_fake(async |server, subject| {
        server.apply(
            "{apiVersion: gateway.kgateway.dev/v1alpha1, kind: Backend, metadata: {name: b}, spec: {}}",
        );
        let path = "/apis/gateway.kgateway.dev/v1alpha1/backends";
        let mut watch = subject.watch(&format!("{path}?watch=true")).await;
        assert_eq!(watch.event().await.0, "ADDED");
        let definition = server.faults().undefine(BACKENDS);
        assert_eq!(watch.event().await.0, "DELETED");
        assert_eq!(watch.next().await, Ok(None));
        assert_eq!((subject.get(path).await.code), 404);
        server.apply(&definition);
        assert_eq!(subject.get(path).await.ok()["items"], json!([]));
    });
}

#[test]
fn writes_of_status_are_on_record() {
    with_fake(async |server, subject| {
        let gateways = subject.gateway_api("gateways");
        subject.create(&gateways, &crate::subject::gateway("g")).await;
        let status = json!({"status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]}});
        for _ in 0..2 {
            subject.patch(&format!("{gateways}/g/status?fieldManager=m"), MERGE, &status).await.ok();
        }
        let writes = server.writes();
        let [write] = writes.as_slice() else { panic!("the second changed nothing: {writes:?}") };
        assert_eq!(
            (write.resource.as_str(), write.name.as_str(), write.manager.as_str()),
            (GATEWAYS, "g", "m")
        );
        assert_eq!(write.revision, server.revision());
        assert_eq!(text(&write.status, "/addresses/0/value"), "192.0.2.1");
    });
}

/// A connection of our own with one request on it.
fn open_raw(server: &FakeKubernetes, path: &str) -> TcpStream {
    let mut raw = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(raw, "GET {path} HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n\r\n").unwrap();
    raw
}

/// The chunks of a chunked body.
fn chunks_of(mut body: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return chunks;
        }
        chunks.push(&rest[..size]);
        body = &rest[size + 2..];
    }
}
