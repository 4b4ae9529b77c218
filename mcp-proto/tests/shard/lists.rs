//! Lists of several targets as one.

use crate::support::client::request;
use crate::support::server::{Server, json_reply};
use crate::support::{Answer, Setup, World};
use mcp_proto::Fault;
use serde_json::json;
use std::time::Duration;

fn names(answer: &Answer) -> Vec<String> {
    let tools =
        answer.json()["result"]["tools"].as_array().unwrap_or_else(|| panic!("{}", answer.text())).clone();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn tools() -> String {
    request("tools/list", "{}")
}

#[test]
fn lists_are_joined_in_the_order_of_the_targets() {
    let mut world = World::new(&["beta", "alpha"]);
    let (client, session) = world.begin();
    for (method, expected) in [
        (
            "tools/list",
            r#"{"tools":[{"name":"beta_echo","inputSchema":{"type":"object","$defs":{}}},{"name":"beta_add","inputSchema":{"type":"object","$defs":{}}},{"name":"alpha_echo","inputSchema":{"type":"object","$defs":{}}},{"name":"alpha_add","inputSchema":{"type":"object","$defs":{}}}]}"#,
        ),
        ("prompts/list", r#"{"prompts":[{"name":"beta_greet"},{"name":"alpha_greet"}]}"#),
        ("resources/list", r#"{"resources":[{"uri":"beta+demo://one"},{"uri":"alpha+demo://one"}]}"#),
        (
            "resources/templates/list",
            r#"{"resourceTemplates":[{"uriTemplate":"beta+demo://{id}"},{"uriTemplate":"alpha+demo://{id}"}]}"#,
        ),
    ] {
        let answer = world.ask(client, &session, &request(method, "{}"));
        assert_eq!(answer.text(), format!(r#"{{"jsonrpc":"2.0","id":1,"result":{expected}}}"#));
    }
}

#[test]
fn pages_of_all_targets_are_one_cursor() {
    let mut world = World::new(&["alpha", "beta", "gamma"]);
    for (target, page) in [("alpha", 1), ("beta", 3), ("gamma", 2)] {
        let server = world.server(target);
        server.page = page;
        *server.lists.get_mut("tools").unwrap() = (0..4).map(|number| format!("t{number}")).collect();
    }
    let (client, session) = world.begin();
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    let mut pages = Vec::new();
    loop {
        let params = cursor.map_or_else(|| "{}".to_owned(), |cursor| json!({"cursor": cursor}).to_string());
        let answer = world.ask(client, &session, &request("tools/list", &params));
        pages.push(names(&answer).len());
        seen.extend(names(&answer));
        cursor = answer.json()["result"]["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, [6, 4, 1, 1]);
    seen.sort();
    let expected =
        ["alpha", "beta", "gamma"].iter().flat_map(|target| (0..4).map(move |n| format!("{target}_t{n}")));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    // A target without a further page is not asked again.
    assert_eq!(["alpha", "beta", "gamma"].map(|target| world.server(target).count("tools/list")), [4, 2, 2]);
}

#[test]
fn a_cursor_is_good_for_its_session_and_list_only() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    world.server("alpha").page = 1;
    let (client, session) = world.begin();
    let (other, foreign) = world.begin();
    let cursor = world.ask(client, &session, &tools()).json()["result"]["nextCursor"].clone();
    let params = json!({"cursor": cursor}).to_string();
    let unknown =
        |answer: Answer| assert_eq!((answer.status, answer.code()), (200, Some(-32602)), "{}", answer.text());
    unknown(world.ask(other, &foreign, &request("tools/list", &params)));
    unknown(world.ask(client, &session, &request("prompts/list", &params)));
    unknown(world.ask(client, &session, &request("tools/list", r#"{"cursor":"at-1"}"#)));
    unknown(world.ask(client, &session, &request("tools/list", r#"{"cursor":""}"#)));
    let answer = world.ask_on(1, &session, &request("tools/list", &params));
    assert_eq!(names(&answer), ["alpha_add"], "it is good on every shard");
}

#[test]
fn a_dead_target_is_left_out_and_named() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, &tools());
    assert_eq!(names(&answer), ["alpha_echo", "alpha_add"]);
    let partial = &answer.json()["result"]["_meta"]["mcp-gateway/partial"];
    assert_eq!(
        *partial,
        json!([{"target": "beta", "reason": "it can't be reached (connection refused)", "stale": false}])
    );
    assert_eq!(world.counters(0).partial_lists.value(), 1);
}

#[test]
fn a_slow_target_is_not_waited_for_and_its_list_is_announced() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let stream = world.listen(0, &session);
    world.server("beta").delay = Duration::from_secs(8);
    let asked = world.ask_later(client, &session, &tools());
    world.advance(Duration::from_millis(4_999));
    assert!(!world.is_answered(client, asked));
    world.advance(Duration::from_millis(1));
    let answer = world.clients[client].answer();
    assert_eq!(names(&answer), ["alpha_echo", "alpha_add"]);
    let partial = &answer.json()["result"]["_meta"]["mcp-gateway/partial"];
    assert_eq!(*partial, json!([{"target": "beta", "reason": "it took too long to answer", "stale": false}]));
    assert!(world.methods(stream).is_empty());
    world.advance(Duration::from_secs(4));
    assert_eq!(world.methods(stream), ["notifications/tools/list_changed"]);
    // It is known by then, and whoever let others wait in vain is waited for briefly.
    world.server("beta").delay = Duration::from_secs(8);
    let asked = world.ask_later(client, &session, &tools());
    world.advance(Duration::from_millis(5_000));
    assert!(world.is_answered(client, asked));
    let answer = world.clients[client].answer();
    assert_eq!(names(&answer), ["alpha_echo", "alpha_add", "beta_echo", "beta_add"]);
    assert_eq!(answer.json()["result"]["_meta"]["mcp-gateway/partial"][0]["stale"], true);
}

#[test]
fn a_target_that_stays_slow_is_waited_for_briefly() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").on("tools/list", |_| Vec::new());
    world.ask_later(client, &session, &tools());
    world.advance(Duration::from_secs(5));
    let asked = world.ask_later(client, &session, &tools());
    world.advance(Duration::from_millis(249));
    assert!(!world.is_answered(client, asked));
    world.advance(Duration::from_millis(1));
    assert_eq!(names(&world.clients[client].answer()), ["alpha_echo", "alpha_add"]);
}

#[test]
fn what_targets_say_beside_their_items_is_kept() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let page = r#"{"_meta":{"a":1},"tools":[{"name":"x"}],"ttlMs":5}"#;
    world.server("alpha").on("tools/list", move |seen| seen.result(page));
    world.server("beta").on("tools/list", |seen| json_reply(500, &seen.error(-32603, "oops")));
    let answer = world.ask(client, &session, &tools());
    let expected =
        r#"{"tools":[{"name":"alpha_x"}],"_meta":{"a":1,"mcp-gateway/partial":[{"target":"beta","reason":"#;
    assert!(answer.text().contains(expected), "{}", answer.text());
    assert!(answer.text().contains(r#","ttlMs":5}"#));
}

#[test]
fn targets_without_a_list_add_nothing_and_errors_of_all_are_told() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let without =
        |server: &mut Server| server.on("prompts/list", |seen| json_reply(200, &seen.error(-32601, "no")));
    without(world.server("beta"));
    let prompts = request("prompts/list", "{}");
    assert_eq!(
        world.ask(client, &session, &prompts).text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"alpha_greet"}]}}"#
    );
    without(world.server("alpha"));
    assert_eq!(
        world.ask(client, &session, &prompts).text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"prompts":[]}}"#
    );
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    for target in ["alpha", "beta"] {
        world.server(target).on("prompts/list", |seen| json_reply(200, &seen.error(-32000, "tired")));
    }
    assert_eq!(world.ask(client, &session, &prompts).code(), Some(-32000));
}

#[test]
fn a_notice_makes_the_kept_copy_worthless() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let stream = world.listen(0, &session);
    world.ask(client, &session, &tools());
    world.say_on_stream("beta", r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(world.methods(stream), ["notifications/tools/list_changed"]);
    world.server("beta").on("tools/list", |_| Vec::new());
    world.ask_later(client, &session, &tools());
    world.advance(Duration::from_secs(5));
    assert_eq!(names(&world.clients[client].answer()), ["alpha_echo", "alpha_add"]);
}

#[test]
fn lists_that_depend_on_the_client_are_kept_for_nobody() {
    let mut world = Setup::new(&["alpha", "beta"])
        .targets(|target| target.forward.fields = vec!["authorization".to_owned()])
        .build();
    let (client, session) = world.begin();
    world.ask(client, &session, &tools());
    world.server("beta").on("tools/list", |_| Vec::new());
    world.ask_later(client, &session, &tools());
    world.advance(Duration::from_secs(5));
    assert_eq!(names(&world.clients[client].answer()), ["alpha_echo", "alpha_add"]);
}

#[test]
fn a_list_answered_as_events_is_merged_all_the_same() {
    use crate::support::server::{event, stream};
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world
        .server("beta")
        .on("tools/list", |seen| stream(&[event(&seen.response(r#"{"tools":[{"name":"x"}]}"#))]));
    assert_eq!(names(&world.ask(client, &session, &tools())), ["alpha_echo", "alpha_add", "beta_x"]);
    assert_eq!(world.counters(0).calls.value(), 0);
}
