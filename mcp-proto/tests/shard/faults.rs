//! Targets that break, at any moment.

use crate::support::client::{call, request};
use crate::support::server::{chunk, event, open_stream, stream_head};
use crate::support::{End, Step, World};
use std::time::Duration;

#[test]
fn a_kept_connection_that_went_stale_costs_a_list_nothing_and_a_call_an_error() {
    for (method, params, repeated) in [
        ("tools/list", "{}", true),
        ("resources/read", r#"{"uri":"demo://one"}"#, true),
        ("prompts/get", r#"{"name":"greet"}"#, true),
        ("tools/call", r#"{"name":"echo"}"#, false),
        ("example.org/own", "{}", false),
    ] {
        let mut world = World::new(&["alpha"]);
        let (client, session) = world.begin();
        let mut broken = false;
        world.server("alpha").on(method, move |seen| match std::mem::replace(&mut broken, true) {
            false => vec![Step::Reset],
            true => seen.result("{}"),
        });
        let answer = world.ask(client, &session, &request(method, params));
        assert_eq!(world.server("alpha").count(method), 1 + usize::from(repeated), "{method}");
        assert_eq!(
            answer.text() == r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            repeated,
            "{method}: {}",
            answer.text()
        );
        assert_eq!(world.counters(0).target_retries.value(), u64::from(repeated));
    }
}

#[test]
fn nothing_is_repeated_on_a_fresh_connection_or_twice_or_after_a_byte() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/list", |_| vec![Step::Reset]);
    world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(world.server("alpha").count("tools/list"), 2, "once more, on a fresh connection");
    world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(world.server("alpha").count("tools/list"), 3, "a fresh connection is not stale");
    world.ask(client, &session, &request("prompts/get", r#"{"name":"x"}"#));
    world.server("alpha").on("tools/list", |_| vec![Step::Send(b"HTTP/1.1 2".to_vec()), Step::Reset]);
    world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(world.server("alpha").count("tools/list"), 4);
}

#[test]
fn an_idle_connection_that_its_target_closes_is_forgotten() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    for last in [Step::Fin, Step::Reset, Step::Send(b"HTTP/1.1 408 x\r\n\r\n".to_vec())] {
        let key = world.connections("alpha")[0];
        world.say(key, vec![last]);
        assert_eq!(world.connections("alpha"), []);
        assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    }
}

#[test]
fn an_answer_cut_short_is_not_passed_off_as_whole() {
    let heads = [
        "content-length: 1000\r\n\r\n{\"jsonrpc\":\"2.0\",",
        "transfer-encoding: chunked\r\n\r\n10\r\n{\"jsonrpc\":\"2.0\"\r\n",
    ];
    for head in heads {
        for last in [Step::Fin, Step::Reset] {
            let mut world = World::new(&["alpha"]);
            let (client, session) = world.begin();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}");
            world
                .server("alpha")
                .on("tools/call", move |_| vec![Step::Send(text.clone().into()), last.clone()]);
            let answer = world.ask(client, &session, &call("echo"));
            assert!(!answer.complete);
            assert_eq!(world.clients[client].end, Some(End::Aborted));
            assert_eq!(
                (world.counters(0).calls.value(), world.counters(0).client_connections.value()),
                (0, 0)
            );
        }
    }
}

#[test]
fn an_event_stream_that_breaks_ends_with_an_error_event() {
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for last in [vec![Step::Reset], vec![Step::Fin], vec![Step::Send(b"0\r\n\r\n".to_vec()), Step::Done]] {
        let mut world = World::new(&["alpha", "beta"]);
        let (client, session) = world.begin();
        world.server("alpha").on("tools/call", move |_| {
            [open_stream(&[event(progress), "9\r\ndata: {\"j\r\n".to_owned()]), last.clone()].concat()
        });
        let answer = world.ask(client, &session, &call("alpha_echo"));
        let messages = answer.messages();
        assert!(answer.complete && world.clients[client].end.is_none());
        assert_eq!(
            (messages.len(), &messages[1]["id"], &messages[1]["result"]["isError"]),
            (2, &1.into(), &true.into())
        );
        assert_eq!(world.counters(0).calls.value(), 0);
    }
}

#[test]
fn an_answer_that_stops_being_json_is_cut_off() {
    for several in [false, true] {
        let targets = if several { vec!["alpha", "beta"] } else { vec!["alpha"] };
        let mut world = World::new(&targets);
        let (client, session) = world.begin();
        world.server("alpha").on("tools/call", |_| {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            vec![Step::Send(format!("{head}{}", chunk("data: {\"id\":1,\"result\":}}}\n\n")).into())]
        });
        let answer = world.ask(client, &session, &call("alpha_echo"));
        assert!(answer.complete);
        assert!(answer.tool_text().contains("an event is no JSON"), "{answer:?}");
        assert_eq!(world.counters(0).calls.value(), 0);
    }
}

#[test]
fn events_that_are_no_messages_are_dropped() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let chunks = [
            event("{}"),
            event("7"),
            event(r#"{"jsonrpc":"2.0"}"#),
            event("[]"),
            chunk("data: {\n\n"),
            event(&seen.response("{}")),
        ];
        vec![Step::Send(format!("{}{}", stream_head(), chunks.concat()).into())]
    });
    let answer = world.ask(client, &session, &call("alpha_echo"));
    assert_eq!(answer.messages(), [serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {}})]);
    assert!(answer.complete, "the answer was there; what the target does with its stream is its own");
    assert!(world.counters(0).malformed.value() >= 3);
}

#[test]
fn a_target_without_an_endpoint_fails_at_once() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let mut gone = crate::support::setup::target("beta", 1);
    gone.endpoints.clear();
    let routes = routing::Routes::new(vec![crate::support::setup::target("alpha", 0), gone]).unwrap();
    world.reroute(routes);
    let answer = world.ask(client, &session, &call("beta_echo"));
    assert_eq!(
        answer.tool_text(),
        "target \"beta\" failed: it has no reachable endpoint at the moment: try again later"
    );
    assert_eq!(world.ask(client, &session, &call("alpha_echo")).tool_text(), "alpha:echo");
}

#[test]
fn a_client_that_leaves_does_not_cancel_its_call() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").delay = Duration::from_secs(5);
    world.ask_later(client, &session, &call("echo"));
    world.hang_up(client);
    assert_eq!(world.counters(0).calls.value(), 1);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.counters(0).calls.value(), 0);
    assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
    assert_eq!(world.connections("alpha").len(), 1, "its connection serves the next");
}

#[test]
fn a_target_that_leaves_while_it_is_asked_is_not_missing() {
    for left in [0, 1] {
        let mut world = World::new(&["alpha", "beta", "gamma"]);
        let (client, session) = world.begin();
        world.server("gamma").on("tools/list", |_| Vec::new());
        world.ask_later(client, &session, &request("tools/list", "{}"));
        let targets =
            (0..=left).map(|number| crate::support::setup::target(["alpha", "beta"][number], number));
        world.reroute(routing::Routes::new(targets.collect()).unwrap());
        world.kill("gamma");
        let list = world.clients[client].answer().json();
        let names = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}")).iter();
        let of_gamma = names.filter(|tool| tool["name"].as_str().unwrap().starts_with("gamma"));
        assert_eq!((of_gamma.count(), &list["result"]["_meta"]), (0, &serde_json::Value::Null), "{list}");
    }
}
