//! Bounds on everything that grows with what peers send.

use crate::support::client::{call, initialize, post, request, session_field};
use crate::support::server::{chunk, event, stream_head};
use crate::support::{End, Setup, Step, World};
use std::time::Duration;

#[test]
fn heads_and_bodies_have_their_limits() {
    let setup = || {
        Setup::new(&["alpha"]).config(|config| {
            config.limits.request = 1000;
            config.limits.head = 2000;
            config.limits.fields = 20;
        })
    };
    for (name, fields, body, status) in [
        ("body", String::new(), "x".repeat(1001), 413),
        ("head", format!("x: {}\r\n", "y".repeat(2000)), String::new(), 431),
        ("fields", "x: y\r\n".repeat(20), String::new(), 431),
    ] {
        let mut world = setup().build();
        let client = world.connect(0);
        world.send(client, &post(&fields, &body));
        assert_eq!(world.clients[client].answer().status, status, "{name}");
        assert_eq!(world.clients[client].end, Some(End::Finished));
    }
    let mut world = setup().build();
    let client = world.connect(0);
    let text = format!("POST /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "y".repeat(2000));
    world.send(client, text.as_bytes());
    assert!(matches!(world.clients[client].answer().status, 414 | 431));
}

#[test]
fn too_deep_json_is_refused() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    for (depth, status) in [(100, 200), (200, 400)] {
        let params =
            format!(r#"{{"name":"echo","arguments":{{"a":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(world.ask(client, &session, &request("tools/call", &params)).status, status);
    }
}

#[test]
fn connections_are_counted() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.connections = 2).build();
    let first = world.connect(0);
    world.connect(0);
    let refused = world.connect(0);
    assert!(world.clients[refused].key.is_none());
    assert_eq!(world.counters(0).client_connections_refused.value(), 1);
    world.hang_up(first);
    let accepted = world.connect(0);
    assert!(world.clients[accepted].key.is_some());
}

#[test]
fn sessions_are_counted() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.sessions = 2).build();
    let (_, session) = world.begin();
    world.begin();
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let answer = world.clients[client].answer();
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    world.delete(0, &session);
    world.begin();
}

#[test]
fn requests_wait_for_a_connection_and_not_for_ever() {
    let mut world = Setup::new(&["alpha"])
        .config(|config| {
            config.limits.target_connections = 1;
            config.limits.target_waiting = 2;
        })
        .build();
    let (_, session) = world.begin();
    world.server("alpha").delay = Duration::from_secs(2);
    let clients: Vec<_> = (0..4).map(|_| world.connect(0)).collect();
    for client in &clients {
        world.queue(*client, &post(&session_field(&session), &call("echo")));
    }
    world.run();
    let text =
        |world: &World, client: usize| world.clients[client].answers().pop().map(|answer| answer.tool_text());
    assert_eq!(
        text(&world, clients[3]).as_deref(),
        Some("target \"alpha\" failed: too many requests wait for it")
    );
    world.advance(Duration::from_secs(4));
    assert_eq!(text(&world, clients[1]).as_deref(), Some("alpha:echo"));
    world.advance(Duration::from_secs(2));
    assert_eq!(text(&world, clients[2]).as_deref(), Some("alpha:echo"));
    world.server("alpha").delay = Duration::from_secs(20);
    for client in &clients[..2] {
        world.queue(*client, &post(&session_field(&session), &call("echo")));
    }
    world.advance(Duration::from_secs(5));
    assert_eq!(
        text(&world, clients[1]).as_deref(),
        Some("target \"alpha\" failed: it took too long to accept a request")
    );
    assert_eq!(world.connections("alpha").len(), 1);
}

#[test]
fn what_must_be_seen_whole_has_a_limit_and_what_passes_has_none() {
    let mut world = Setup::new(&["alpha", "beta"]).config(|config| config.limits.message = 100_000).build();
    let (client, session) = world.begin();
    let long = "x".repeat(200_000);
    let tool = format!(r#"{{"tools":[{{"name":"{long}"}}]}}"#);
    world.server("alpha").on("tools/list", move |seen| seen.result(&tool));
    let listed = world.ask(client, &session, &request("tools/list", "{}")).json();
    assert_eq!(
        listed["result"]["_meta"]["mcp-gateway/partial"][0]["reason"],
        "its answer is too large to be looked into"
    );
    let result = format!(r#"{{"content":[{{"text":"{long}"}}]}}"#);
    let json = result.clone();
    world.server("alpha").on("tools/call", move |seen| seen.result(&json));
    assert_eq!(world.ask(client, &session, &call("alpha_echo")).tool_text(), long);
    world
        .server("alpha")
        .on("tools/call", move |seen| crate::support::server::stream(&[event(&seen.response(&result))]));
    assert_eq!(world.ask(client, &session, &call("alpha_echo")).tool_text(), long);
    let notice =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{long}"}}}}"#);
    world.server("alpha").on("tools/call", move |_| crate::support::server::open_stream(&[event(&notice)]));
    assert!(
        world
            .ask(client, &session, &call("alpha_echo"))
            .tool_text()
            .ends_with("its answer is too large to be looked into")
    );
}

#[test]
fn merged_lists_together_have_a_limit() {
    let mut world = Setup::new(&["alpha", "beta"]).config(|config| config.limits.gather = 100).build();
    let (client, session) = world.begin();
    let listed = world.ask(client, &session, &request("tools/list", "{}")).json();
    assert_eq!(listed["result"]["tools"], serde_json::json!([]));
    let missing = listed["result"]["_meta"]["mcp-gateway/partial"].as_array().unwrap();
    let reasons: Vec<_> = missing.iter().map(|missing| missing["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["the answers of all targets together are too large"; 2]);
    assert_eq!(world.ask(client, &session, &request("prompts/list", "{}")).code(), None);
}

/// A slow reader of a long answer: what waits for it is bounded, and its target is paused.
fn trickle(chunks: usize, several: bool, events: bool, cut: usize) -> World {
    let targets = if several { vec!["alpha", "beta"] } else { vec!["alpha"] };
    let mut world = World::new(&targets);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", move |_| {
        let piece = "y".repeat(64 << 10);
        let (head, open, close) = match events {
            true => (stream_head().to_owned(), "data: ", "\n\n"),
            false => (stream_head().replace("text/event-stream", "application/json"), "", ""),
        };
        let mut steps = vec![Step::Send(
            format!(
                "{head}{}",
                chunk(&format!(r#"{open}{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"text":""#))
            )
            .into(),
        )];
        steps.extend((0..chunks).map(|_| Step::Send(chunk(&piece).into())));
        steps.push(Step::Send(format!("{}0\r\n\r\n", chunk(&format!(r#""}}]}}}}{close}"#))).into()));
        steps.push(Step::Done);
        steps
    });
    world.clients[client].counts = true;
    world.clients[client].received = 0;
    world.clients[client].window = 1000;
    world.queue(client, &post(&session_field(&session), &call("alpha_echo")));
    world.run();
    let key = world.server("alpha").last("tools/call").key;
    let mut paused = 0;
    while world.clients[client].window == 0 {
        paused += usize::from(world.is_paused(key));
        world.take(client, cut);
    }
    assert!(paused > chunks / 2, "{paused}");
    assert!(world.clients[client].received > chunks << 16);
    assert!(world.most_unsent > 64 << 10);
    assert_eq!(world.counters(0).calls.value(), 0);
    world
}

#[test]
fn a_slow_reader_of_64_mib_never_makes_the_gateway_hold_it() {
    trickle(1024, false, false, 60_000);
}

#[test]
fn so_it_is_with_several_targets_and_with_events() {
    trickle(40, true, false, 30_000);
    trickle(40, false, true, 30_000);
    trickle(40, true, true, 30_000);
}

#[test]
fn a_client_that_sends_ahead_is_paused() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").delay = Duration::from_secs(1);
    let ping = post(&session_field(&session), &request("ping", "{}"));
    let count = (300 << 10) / ping.len();
    let before = world.clients[client].answers().len();
    world.send(client, &[post(&session_field(&session), &call("echo")), ping.repeat(count)].concat());
    let key = world.clients[client].key.unwrap();
    assert!(world.is_paused(key));
    world.advance(Duration::from_secs(1));
    assert!(!world.is_paused(key));
    assert_eq!(world.clients[client].answers().len() - before, 1 + count);
}

#[test]
fn irregular_names_and_kept_lists_are_bounded() {
    let mut world = Setup::new(&["alpha", "beta"])
        .config(|config| {
            config.limits.names = 3;
            config.limits.catalogue = 100;
        })
        .build();
    *world.server("beta").lists.get_mut("tools").unwrap() =
        (0..10).map(|number| format!("t.{number}")).collect();
    let (client, session) = world.begin();
    let listed = world.ask(client, &session, &request("tools/list", "{}")).json();
    let tools = listed["result"]["tools"].as_array().unwrap().clone();
    let mut found = 0;
    for tool in &tools[2..] {
        let answer = world.ask(client, &session, &call(tool["name"].as_str().unwrap()));
        found += usize::from(answer.tool_text().starts_with("beta:t."));
    }
    assert!((1..4).contains(&found), "{found}");
    world.server("beta").on("tools/list", |_| Vec::new());
    world.ask_later(client, &session, &request("tools/list", "{}"));
    world.advance(Duration::from_secs(5));
    assert_eq!(world.clients[client].answer().json()["result"]["tools"].as_array().unwrap().len(), 2);
}

#[test]
fn a_session_keeps_only_so_much_for_its_client() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.session = 400).build();
    let client = world.connect(0);
    let large = format!(r#"{{"experimental":{{"{}":{{}}}}}}"#, "x".repeat(400));
    world.send(client, &post("", &initialize("2025-11-25", &large)));
    assert_eq!(world.clients[client].answer().code(), Some(-32602));
    assert_eq!(world.server("alpha").methods().len(), 0);

    let (client, session) = world.begin();
    let subscribe = |uri: &str| request("resources/subscribe", &format!(r#"{{"uri":"demo://{uri}"}}"#));
    assert_eq!(world.ask(client, &session, &subscribe("one")).code(), None);
    assert_eq!(world.ask(client, &session, &subscribe(&"x".repeat(300))).code(), Some(-32603));
    assert_eq!(world.ask(client, &session, &subscribe("one")).code(), None);
    assert_eq!(world.server("alpha").count("resources/subscribe"), 2);
}
