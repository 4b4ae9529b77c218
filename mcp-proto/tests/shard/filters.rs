//! What a rule does to requests and answers: fields, places, deadlines.

use crate::support::client::{INITIALIZED, call, initialize, post, request, session_field};
use crate::support::modern::Ask;
use crate::support::routed::{at, backend, on, placed, port, routes, to, world};
use crate::support::server::{Reply, Seen, reply};
use crate::support::{Setup, World};
use routing::{
    Answer as Answered, Backend, Forwarding, HeaderEdits, PathEdit, PathMatch, Protocol, Redirect, Rewrite,
    Routes, Rule, Target,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn edits(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    HeaderEdits {
        set: pairs(set),
        add: pairs(add),
        remove: remove.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// A backend whose targets are given these fields of a client's request.
fn forwarding(backend: &Backend, fields: &[&str]) -> Arc<Backend> {
    let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
    let target = |target: &Arc<Target>| Target {
        forward: Forwarding { fields: fields.clone() },
        ..Target::clone(target)
    };
    Arc::new(Backend::mcp(backend.name().clone(), backend.targets().iter().map(target).collect()).unwrap())
}

/// The values of a field, in order.
fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    seen.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn what_a_rule_sets_and_adds_reaches_targets_and_what_it_removes_does_not() {
    let one = forwarding(&backend("one", &["alpha", "beta"], 0), &["x-set", "x-add", "x-gone", "x-kept"]);
    let request_headers = edits(
        &[("x-set", "rule"), ("x-only", "rule"), ("mcp-session-id", "no"), ("content-length", "0")],
        &[("x-add", "rule"), ("x-add", "twice"), ("transfer-encoding", "chunked"), ("accept", "no")],
        &["x-gone"],
    );
    let mut world = world(vec![at("", "/", Rule { request_headers, ..to("r", &one) })], 1);
    let fields = "X-Set: client\r\nX-Add: client\r\nX-Gone: client\r\nX-Kept: client\r\nX-Other: client\r\n";
    let answer = world.ask_at(0, "h/mcp", &post(fields, &initialize("2025-11-25", "{}")));
    let session = answer.field("mcp-session-id").unwrap().to_owned();
    let fields = format!("{fields}{}", session_field(&session));
    for body in [INITIALIZED.to_owned(), request("tools/list", "{}"), call("alpha_echo")] {
        let answer = world.ask_at(0, "h/mcp", &post(&fields, &body));
        assert!(answer.status < 300, "{}", answer.text());
    }
    for method in ["initialize", "notifications/initialized", "tools/list", "tools/call"] {
        let seen = world.server("one/alpha").last(method).clone();
        assert_eq!(values(&seen, "x-set"), ["rule"], "{method}");
        assert_eq!(values(&seen, "x-only"), ["rule"], "{method}");
        assert_eq!(values(&seen, "x-add"), ["client", "rule", "twice"], "{method}");
        assert_eq!(values(&seen, "x-kept"), ["client"], "{method}");
        assert_eq!(values(&seen, "x-gone"), [""; 0], "{method}");
        assert_eq!(values(&seen, "x-other"), [""; 0], "{method}");
        // What is between the gateway and the target is no rule's business.
        assert_eq!(values(&seen, "transfer-encoding"), [""; 0], "{method}");
        assert_eq!(values(&seen, "content-length"), [seen.body.len().to_string()], "{method}");
        assert_eq!(values(&seen, "accept"), ["application/json, text/event-stream"], "{method}");
        assert_ne!(seen.session(), Some("no"), "{method}");
    }
}

#[test]
fn to_a_plain_service_a_rule_says_all_but_what_is_of_the_connection() {
    let target = crate::support::setup::target("alpha", 0);
    let plain = Arc::new(Backend::http("plain".into(), target));
    let request_headers = edits(
        &[("accept", "x/y"), ("mcp-a", "rule"), ("content-length", "9"), ("connection", "close")],
        &[("x-add", "rule")],
        &["x-gone", "transfer-encoding"],
    );
    let mut world = world(vec![at("", "/", Rule { request_headers, ..to("r", &plain) })], 1);
    world.server("plain/alpha").on("POST", |_| reply(200, "", "ok"));
    let request = b"POST / HTTP/1.1\r\nhost: h\r\naccept: a/b\r\nx-add: client\r\nx-gone: 1\r\ncontent-length: 4\r\n\r\nbody";
    let answer = world.ask_at(0, "h/", request);
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    let seen = world.server("plain/alpha").last("POST").clone();
    assert_eq!((values(&seen, "accept"), values(&seen, "mcp-a")), (vec!["x/y"], vec!["rule"]));
    assert_eq!(values(&seen, "x-add"), ["client", "rule"]);
    assert_eq!((values(&seen, "x-gone").len(), values(&seen, "connection").len()), (0, 0));
    assert_eq!((values(&seen, "content-length"), seen.body.as_str()), (vec!["4"], "body"));
}

#[test]
fn a_rewritten_host_is_what_targets_are_told() {
    let one = backend("one", &["alpha"], 0);
    let rewrite = Rewrite { host: Some("inner.example".to_owned()), path: None };
    let mut world =
        world(vec![at("", "/", Rule { rewrite, ..to("r", &one) }), at("", "/as-is", to("r", &one))], 1);
    world.ask_at(0, "h.example/mcp", &Ask::call(1).text());
    assert_eq!(values(world.server("one/alpha").last("tools/call"), "host"), ["inner.example"]);
    world.ask_at(0, "h.example/as-is/mcp", &Ask::call(1).text());
    assert_eq!(values(world.server("one/alpha").last("tools/call"), "host"), ["10.0.0.1:80"]);
}

#[test]
fn a_rewritten_path_says_which_transport_is_meant() {
    let one = backend("one", &["alpha"], 0);
    let rule = |path| Rule { rewrite: Rewrite { host: None, path: Some(path) }, ..to("r", &one) };
    let full = |path: &str| rule(PathEdit::Full(path.to_owned()));
    let prefix =
        |matched: &str, by: &str| rule(PathEdit::Prefix { matched: matched.to_owned(), by: by.to_owned() });
    let entries = vec![
        at("", "/full", full("/any/sse")),
        at("", "/plain", full("/any")),
        at("", "/stream", prefix("/stream", "/any/sse")),
        at("", "/moved", prefix("/moved", "/")),
        on("", PathMatch::Exact("/exact".to_owned()), full("/sse")),
    ];
    let mut world = world(entries, 1);
    let get = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    for (path, status) in [
        ("/full", 200),
        ("/full/anything", 200),
        ("/plain", 400),
        ("/plain/sse", 400),
        ("/stream", 200),
        ("/stream/mcp", 400),
        ("/stream/x", 404),
        ("/moved", 400),
        ("/moved/sse", 200),
        ("/moved/mcp", 400),
        ("/exact", 200),
    ] {
        let answer = world.ask_at(0, &format!("h{path}"), get);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        if status == 200 {
            // The client goes on where it asked.
            assert!(answer.events()[0].data.starts_with(&format!("{path}?sessionId=")), "{path}");
        }
    }
}

#[test]
fn answers_are_edited_whoever_makes_them() {
    let one = backend("one", &["alpha"], 0);
    let response_headers = edits(
        &[("content-type", "x/y"), ("x-set", "1"), ("content-length", "3")],
        &[("x-add", "1"), ("x-gone", "1"), ("connection", "close")],
        &["mcp-session-id", "x-gone", "transfer-encoding"],
    );
    let edited = Rule { response_headers, ..to("r", &one) };
    let mut world = world(vec![at("", "/one", edited), at("", "/two", to("r", &one))], 1);
    let refused = post("", "{");
    for (request, status) in
        [(post("", &initialize("2025-11-25", "{}")), 200), (Ask::call(1).text(), 200), (refused, 400)]
    {
        let answer = world.ask_at(0, "h/one/mcp", &request);
        let plain = world.ask_at(0, "h/two/mcp", &request);
        assert_eq!((answer.status, answer.complete), (status, true));
        assert_eq!(answer.body.len(), plain.body.len(), "what frames the body stays");
        let mut expected: Vec<_> = plain.fields.clone();
        expected.retain(|(name, _)| name != "content-type" && name != "mcp-session-id");
        expected.extend(pairs(&[("content-type", "x/y"), ("x-set", "1"), ("x-add", "1")]));
        assert_eq!(answer.fields, expected);
    }
    let get = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    let stream = world.ask_at(0, "h/one/sse", get);
    assert_eq!((stream.field("content-type"), stream.field("x-set")), (Some("x/y"), Some("1")));
    assert_eq!(stream.field("transfer-encoding"), Some("chunked"));
    assert_eq!(world.ask_at(0, "h/one/none", get).field("x-set"), Some("1"), "also what is not found there");
}

/// Where a client that asks for `place` at `address` is sent.
fn redirected(redirect: Redirect, address: SocketAddr, place: &str) -> (u16, Option<String>) {
    let one = backend("one", &["alpha"], 0);
    let response_headers = edits(&[("x-set", "1")], &[], &["location"]);
    let rule = Rule { answer: Answered::Redirect(redirect), response_headers, ..to("r/1", &one) };
    let mut world = Setup::serving(Routes::at([(address, port(vec![at("", "/a", rule)]))].into())).build();
    let get = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = world.ask_to(address, 0, place, get);
    assert!(answer.complete && answer.body.is_empty());
    assert_eq!(answer.field("x-set"), None, "such an answer is the gateway's own");
    let record = world.records.last().unwrap();
    assert_eq!((record.status, record.rule.as_str(), record.error.as_str()), (answer.status, "r/1", ""));
    (answer.status, answer.field("location").map(str::to_owned))
}

#[test]
fn a_redirect_names_what_its_filter_names_and_keeps_the_rest() {
    let nothing = || Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let text = |text: &str| Some(text.to_owned());
    let full = |path: &str| Some(PathEdit::Full(path.to_owned()));
    let prefix = |by: &str| Some(PathEdit::Prefix { matched: "/a".to_owned(), by: by.to_owned() });
    for (redirect, at, place, expected) in [
        (
            Redirect { host: text("b.example"), ..nothing() },
            80,
            "a.example/a/x?q=1",
            "http://b.example/a/x?q=1",
        ),
        // The listener's port, not the one the client thinks it asked.
        (nothing(), 8080, "a.example:30000/a", "http://a.example:8080/a"),
        (nothing(), 80, "a.example:30000/a", "http://a.example/a"),
        (Redirect { scheme: text("https"), ..nothing() }, 8080, "a.example/a", "https://a.example/a"),
        (Redirect { scheme: text("http"), ..nothing() }, 8080, "a.example/a", "http://a.example/a"),
        (Redirect { scheme: text("https"), port: Some(80), ..nothing() }, 80, "a/a", "https://a:80/a"),
        (Redirect { scheme: text("https"), port: Some(443), ..nothing() }, 80, "a/a", "https://a/a"),
        (Redirect { port: Some(80), ..nothing() }, 8080, "a/a", "http://a/a"),
        (Redirect { port: Some(8443), ..nothing() }, 8080, "a/a", "http://a:8443/a"),
        (Redirect { path: full("/new"), ..nothing() }, 80, "a/a/x?q", "http://a/new?q"),
        (Redirect { path: prefix("/new/"), ..nothing() }, 80, "a/a/x", "http://a/new/x"),
        (Redirect { path: prefix("/"), ..nothing() }, 80, "a/a", "http://a/"),
        (nothing(), 80, "[::1]:80/a", "http://[::1]/a"),
    ] {
        assert_eq!(redirected(redirect, address(at), place), (302, text(expected)));
    }
    for status in [301, 302, 303, 307, 308] {
        let redirect = Redirect { status, ..nothing() };
        assert_eq!(redirected(redirect, address(80), "a/a"), (status, text("http://a/a")));
    }
}

#[test]
fn an_exchange_that_another_shard_serves_is_edited_once() {
    let one = forwarding(&backend("one", &["alpha"], 0), &["x-add"]);
    let rule = Rule {
        request_headers: edits(&[], &[("x-add", "rule")], &[]),
        response_headers: edits(&[], &[("x-answer", "rule")], &[]),
        ..to("r", &one)
    };
    let mut world = world(vec![at("", "/one", rule)], 2);
    let get = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    let client = world.connect(1);
    world.send(client, &placed("h/one/sse", get));
    let endpoint = world.clients[client].answer().events()[0].data.clone();
    for shard in [0, 1] {
        for body in [initialize("2024-11-05", "{}"), INITIALIZED.to_owned(), call("echo")] {
            let text = crate::support::client::post_at(&endpoint, &body);
            let text = String::from_utf8(text).unwrap().replacen("\r\n", "\r\nx-add: client\r\n", 1);
            let answer = world.ask_at(shard, &format!("h{endpoint}"), text.as_bytes());
            assert_eq!((answer.status, answer.field("x-answer")), (202, Some("rule")));
            assert_eq!(answer.fields.iter().filter(|(name, _)| name == "x-answer").count(), 1);
        }
        assert_eq!(values(world.server("one/alpha").last("tools/call"), "x-add"), ["client", "rule"]);
    }
    // Where it came to, the rule is gone meanwhile; nothing is asked of it twice.
    let records: Vec<_> =
        world.records.iter().map(|record| (record.rule.as_str(), record.backend.as_str())).collect();
    assert!(!records.is_empty() && records.iter().all(|record| *record == ("r", "one")), "{records:?}");
}

#[test]
fn lists_that_a_rule_has_a_say_in_are_kept_for_nobody() {
    let plain = backend("one", &["alpha"], 0);
    let target = Target { protocol: Protocol::Modern, ..Target::clone(&plain.targets()[0]) };
    let one = Arc::new(Backend::mcp("one".into(), vec![target]).unwrap());
    let tenant =
        |name: &str| Rule { request_headers: edits(&[("x-tenant", name)], &[], &[]), ..to("r", &one) };
    let entries = vec![at("", "/a", tenant("a")), at("", "/b", tenant("b")), at("", "/c", to("r", &one))];
    let mut world = world(entries, 1);
    world.server("one/alpha").keeps_sessions = false;
    world.server("one/alpha").on("tools/list", |seen| {
        let name = seen.field("x-tenant").unwrap_or("nobody").to_owned();
        seen.result(&format!(r#"{{"tools":[{{"name":"{name}"}}],"ttlMs":60000,"cacheScope":"public"}}"#))
    });
    let list = Ask { method: "tools/list", ..Ask::call(1) }.text();
    for (path, tool, scope) in
        [("a", "a", "private"), ("c", "nobody", "public"), ("b", "b", "private"), ("c", "nobody", "public")]
    {
        let result = world.ask_at(0, &format!("h/{path}/mcp"), &list).json()["result"].clone();
        assert_eq!((&result["tools"][0]["name"], &result["cacheScope"]), (&tool.into(), &scope.into()));
    }
    assert_eq!(world.server("one/alpha").count("tools/list"), 3, "one of the four was kept");
}

/// A call to a target that does not answer, by a rule with these times: the world, and the client.
fn silent(
    request_timeout: Option<Duration>,
    backend_timeout: Option<Duration>,
    place: &str,
) -> (World, usize) {
    let one = backend("one", &["alpha", "beta"], 0);
    let rule = Rule { request_timeout, backend_timeout, ..to("r", &one) };
    let mut world = world(vec![at("", "/", rule)], 1);
    let session = world.begin_at("h/mcp");
    for server in ["one/alpha", "one/beta"] {
        world.server(server).on("tools/call", |_| Reply::new());
        world.server(server).on("tools/list", |_| Reply::new());
    }
    let body = if place == "call" { call("alpha_echo") } else { request("tools/list", "{}") };
    let client = world.connect(0);
    world.send(client, &placed("h/mcp", &post(&session_field(&session), &body)));
    (world, client)
}

#[test]
fn a_request_has_the_time_its_rule_gives_it() {
    for (request, backend) in [(Some(2), None), (None, Some(2)), (Some(2), Some(5)), (Some(5), Some(2))] {
        let time = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let (mut world, client) = silent(time(request), time(backend), "call");
        world.advance(2 * SECOND - Duration::from_millis(1));
        assert!(world.clients[client].answers().is_empty(), "{request:?} {backend:?}");
        world.advance(Duration::from_millis(1));
        let answer = world.clients[client].answer();
        assert_eq!(answer.tool_text(), "target \"alpha\" failed: it took too long to answer");
        assert_eq!(world.connections("one/alpha").len(), 0, "nobody waits for its answer any more");
        assert_eq!(world.counters(0).calls.value(), 0);
    }
}

#[test]
fn a_merged_answer_is_given_with_what_is_there_when_the_time_is_over() {
    let (mut world, client) = silent(Some(2 * SECOND), None, "list");
    world.advance(2 * SECOND - Duration::from_millis(1));
    assert!(world.clients[client].answers().is_empty());
    world.advance(Duration::from_millis(1));
    let answer = world.clients[client].answer();
    assert_eq!((answer.status, answer.complete), (200, true));
    let error = &world.records.last().unwrap().error;
    assert_eq!(
        error,
        "target \"alpha\" is missing: it took too long to answer; target \"beta\" is missing: it took too long to answer"
    );
}

#[test]
fn an_answer_that_has_begun_takes_the_time_it_takes() {
    let one = backend("one", &["alpha"], 0);
    let rule = Rule { request_timeout: Some(SECOND), backend_timeout: Some(SECOND), ..to("r", &one) };
    let mut world = world(vec![at("", "/", rule)], 1);
    world.server("one/alpha").on("tools/call", |seen| {
        let mut steps = crate::support::server::open_stream(&[""; 0].map(str::to_owned));
        steps.push(crate::support::Step::Wait(5 * SECOND));
        let event = crate::support::server::event(&seen.response(r#"{"content":[]}"#));
        steps.push(crate::support::Step::Send(event.into()));
        steps.extend(crate::support::server::stream_end());
        steps
    });
    let client = world.connect(0);
    world.send(client, &placed("h/mcp", &Ask { capabilities: "{}", ..Ask::call(1) }.text()));
    world.advance(4 * SECOND);
    world.advance(2 * SECOND);
    let answer = world.clients[client].answer();
    assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
    assert_eq!(answer.json()["result"]["content"], serde_json::json!([]));
}

#[test]
fn a_target_that_takes_no_connection_is_given_up_in_time() {
    let one = backend("one", &["alpha"], 0);
    let rule = Rule { backend_timeout: Some(SECOND), ..to("r", &one) };
    let mut world = Setup::serving(routes(vec![at("", "/", rule)])).build();
    world.server("one/alpha").refuses = Some(None);
    let client = world.connect(0);
    world.send(client, &placed("h/mcp", &post("", &initialize("2025-11-25", "{}"))));
    world.advance(SECOND);
    assert!(world.clients[client].answer().complete);
    assert_eq!(world.server("one/alpha").seen.len(), 0);
}
