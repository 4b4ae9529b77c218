//! Clients that speak lines.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, request};
use crate::support::listening::{acknowledged, before};
use crate::support::rand::Dice;
use crate::support::server::{Reply, event, json_reply, reply, stream, stream_head};
use crate::support::{End, Setup, Step, World};
use serde_json::{Value, json};
use std::time::Duration;

fn world() -> World {
    World::new(&["alpha", "beta"])
}

fn line(body: &str) -> Vec<u8> {
    format!("{body}\n").into()
}

fn numbered(id: u64, body: &str) -> String {
    body.replace(r#""id":1,"#, &format!(r#""id":{id},"#))
}

/// A client with a session.
fn begin(world: &mut World) -> usize {
    let client = world.attach(0);
    world.send(client, &line(&initialize("2025-06-18", EVERYTHING)));
    world.send(client, &line(INITIALIZED));
    client
}

fn answer(world: &World, client: usize, id: u64) -> Value {
    let mut own = world.lines(client).into_iter().filter(|it| it["id"] == id && it.get("method").is_none());
    let found = own.next().unwrap_or_else(|| panic!("no answer to {id}"));
    assert_eq!(own.next(), None, "a second answer to {id}");
    found
}

#[test]
fn messages_are_lines_and_all_may_come_at_once_in_any_pieces() {
    for seed in 0..20 {
        let mut world = world();
        world.chop = (seed > 0).then(|| Dice::new(seed));
        let client = world.attach(0);
        let text = [
            &initialize("2025-11-25", EVERYTHING),
            "\r",
            INITIALIZED,
            &request("tools/list", "{}"),
            "  ",
            &numbered(2, &call("alpha_echo")),
        ];
        world.send(client, format!("{}\n", text.join("\n")).as_bytes());
        assert_eq!(answer(&world, client, 0)["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(answer(&world, client, 1)["result"]["tools"].as_array().unwrap().len(), 4);
        assert_eq!(answer(&world, client, 2)["result"]["content"][0]["text"], "alpha:echo");
        let lines = world.lines(client);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["id"], 0);
        let order: Vec<_> = world.server("alpha").methods().into_iter().map(str::to_owned).collect();
        assert_eq!(order[..2], ["initialize", "notifications/initialized"]);
        assert!(order.contains(&"GET".to_owned()), "the session's stream is open");
    }
}

#[test]
fn an_answer_is_one_line_whatever_the_target_wrote() {
    let mut world = World::new(&["alpha"]);
    world.server("alpha").on("tools/call", |seen| {
        let body = seen.response("{\r\n  \"content\": [],\n  \"other\":\t\"a\\nb\"\n}");
        json_reply(200, &body)
    });
    let client = begin(&mut world);
    let before = world.clients[client].raw.len();
    world.send(client, &line(&call("echo")));
    let said = String::from_utf8(world.clients[client].raw[before..].to_vec()).unwrap();
    assert_eq!(
        said,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{  \"content\": [],  \"other\":\t\"a\\nb\"}}\n"
    );
}

#[test]
fn every_message_has_a_line_in_the_log() {
    let mut world = world();
    let client = begin(&mut world);
    world.send(client, &line(&call("alpha_echo")));
    let logged: Vec<_> =
        world.records.iter().map(|it| (it.http_method.as_str(), it.method.as_str(), it.client)).collect();
    let expected = ["initialize", "notifications/initialized", "tools/call"];
    assert_eq!(logged, expected.map(|method| ("stdio", method, None)));
    assert_eq!(world.counters(0).requests.value(), 3);
}

#[test]
fn what_is_no_message_is_told_and_skipped() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.request = 300).build();
    let client = begin(&mut world);
    let long = "x".repeat(400);
    for text in [
        "{",
        "7",
        "[]",
        "\u{fffd}",
        &format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"{long}"}}}}"#),
        &format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"name":"{long}"}}}}"#),
        &long,
        &request("ping", "{}"),
    ] {
        world.send(client, &line(text));
    }
    let told: Vec<_> = world.lines(client)[1..]
        .iter()
        .map(|it| (it["id"].clone(), it["error"]["code"].as_i64().unwrap_or_default()))
        .collect();
    let expected = [
        (Value::Null, -32700),
        (Value::Null, -32600),
        (Value::Null, -32600),
        (Value::Null, -32700),
        (json!("a"), -32600),
        (Value::Null, -32600),
        (json!(1), 0),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_target_learns_that_the_answer_to_its_question_was_too_long() {
    let mut world = Setup::new(&["alpha", "beta"]).config(|config| config.limits.request = 600).build();
    let client = begin(&mut world);
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#);
    let asked = world.lines(client).pop().unwrap();
    let long = "x".repeat(700);
    let reply = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":["{long}"]}}}}"#, asked["id"]);
    world.send(client, &line(&reply));
    let seen = world.server("alpha").seen.last().unwrap().clone();
    assert_eq!(
        seen.body,
        r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32603,"message":"the message is too long"}}"#
    );
    assert_eq!(world.lines(client).len(), 2, "the client is told nothing");
}

#[test]
fn what_is_under_way_finishes_when_the_client_ends() {
    let mut world = world();
    let client = begin(&mut world);
    world.server("alpha").delay = Duration::from_secs(2);
    // The last line has no end.
    world.queue(client, &line(&call("alpha_echo")));
    world.queue(client, numbered(2, &call("beta_echo")).as_bytes());
    world.half_close(client);
    assert_eq!(world.clients[client].end, None);
    world.advance(Duration::from_secs(3));
    assert_eq!(answer(&world, client, 1)["result"]["content"][0]["text"], "alpha:echo");
    assert_eq!(answer(&world, client, 2)["result"]["content"][0]["text"], "beta:echo");
    assert_eq!(world.clients[client].end, Some(End::Finished));
    assert_eq!(world.server("beta").count("DELETE"), 1);
    world.advance(Duration::from_secs(100));
    let counters = world.counters(0);
    let left = [&counters.client_connections, &counters.sessions, &counters.streams, &counters.calls];
    assert_eq!(left.map(|count| count.value()), [0; 4]);
}

#[test]
fn what_takes_too_long_after_the_client_has_ended_is_given_up() {
    let mut world = world();
    let client = begin(&mut world);
    world.server("alpha").on("tools/call", |_| Reply::new());
    world.send(client, &line(&call("alpha_echo")));
    world.half_close(client);
    world.advance(Duration::from_secs(9));
    assert_eq!(world.clients[client].end, None);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.clients[client].end, Some(End::Aborted));
    assert_eq!(world.counters(0).sessions.value(), 0);
}

#[test]
fn a_client_that_vanishes_takes_its_session_along() {
    for calls in [false, true] {
        let mut world = world();
        let client = begin(&mut world);
        if calls {
            world.server("alpha").on("tools/call", |_| Reply::new());
            world.send(client, &line(&call("alpha_echo")));
        }
        world.hang_up(client);
        world.kill("alpha");
        world.advance(Duration::from_secs(100));
        let counters = world.counters(0);
        let left = [&counters.client_connections, &counters.sessions, &counters.streams, &counters.calls];
        assert_eq!(left.map(|count| count.value()), [0; 4]);
        assert_eq!(world.server("beta").count("DELETE"), 1);
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.buffer = 4 << 10).build();
    let client = begin(&mut world);
    world.bound = (4 << 10) + 200;
    world.clients[client].window = world.clients[client].raw.len();
    world.clients[client].window = 0;
    let key = world.clients[client].key.unwrap();
    let mut said = 0;
    while !world.is_paused(key) {
        said += 1;
        assert!(said < 1000);
        world.send(client, &line(&numbered(said, &request("ping", "{}"))));
    }
    for _ in 0..100 {
        said += 1;
        world.send(client, &line(&numbered(said, &request("ping", "{}"))));
    }
    // For as long as it likes: it is not closed for that.
    world.advance(Duration::from_secs(1000));
    assert_eq!(world.clients[client].end, None);
    world.take(client, usize::MAX);
    assert_eq!(world.lines(client).len() as u64, said + 1);
}

#[test]
fn a_client_that_ended_and_does_not_read_is_not_waited_for() {
    for drained in [false, true] {
        let mut world = world();
        let client = begin(&mut world);
        world.clients[client].window = 0;
        world.send(client, &line(&request("ping", "{}")));
        match drained {
            true => world.drain(Duration::from_secs(100)),
            false => world.half_close(client),
        }
        world.advance(Duration::from_secs(29));
        assert_eq!(world.clients[client].end, None);
        world.advance(Duration::from_secs(2));
        assert_eq!(world.clients[client].end, Some(End::Aborted));
    }
}

#[test]
fn at_the_limit_of_messages_the_next_wait() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.stream_calls = 2).build();
    let client = begin(&mut world);
    world.server("alpha").delay = Duration::from_secs(1);
    let text: String = (1..=5).map(|id| numbered(id, &call("echo")) + "\n").collect();
    world.send(client, text.as_bytes());
    assert_eq!(world.server("alpha").count("tools/call"), 2);
    world.advance(Duration::from_secs(4));
    assert_eq!(world.server("alpha").count("tools/call"), 5);
    assert_eq!(world.lines(client).len(), 6);
}

#[test]
fn a_request_is_cancelled_on_its_target() {
    let mut world = world();
    let client = begin(&mut world);
    world.server("alpha").on("tools/call", |_| Reply::new());
    world.send(client, &line(&call("alpha_echo")));
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.send(client, &line(cancelled));
    assert_eq!(world.server("alpha").last("notifications/cancelled").body, cancelled);
    assert_eq!(world.server("beta").count("notifications/cancelled"), 0);
}

fn modern(id: u64, method: &str, params: &str) -> String {
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}"_meta":{meta}}}}}"#)
}

#[test]
fn a_stateless_client_needs_no_handshake() {
    let mut world = world();
    let client = world.attach(0);
    world.send(client, &line(&modern(1, "tools/call", r#""name":"alpha_echo","#)));
    world.send(client, &line(&modern(2, "server/discover", "")));
    assert_eq!(answer(&world, client, 1)["result"]["content"][0]["text"], "alpha:echo");
    assert_eq!(answer(&world, client, 1)["result"]["resultType"], "complete");
    assert!(answer(&world, client, 2)["result"]["supportedVersions"].is_array());
    let wrong = modern(3, "tools/list", "").replace("2026-07-28", "2199-01-01");
    world.send(client, &line(&wrong));
    assert_eq!(answer(&world, client, 3)["error"]["code"], -32022);
}

#[test]
fn a_stateless_request_that_is_cancelled_gets_no_answer() {
    let mut world = world();
    let client = world.attach(0);
    world.server("alpha").on("tools/call", |seen| {
        let events = [event(&seen.response("{}"))];
        let wait = Step::Wait(Duration::from_secs(1));
        [vec![wait], stream(&events)].concat()
    });
    world.send(client, &line(&modern(1, "tools/call", r#""name":"alpha_echo","#)));
    world.send(client, &line(&modern(2, "tools/call", r#""name":"alpha_echo","#)));
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.send(client, &line(cancelled));
    world.advance(Duration::from_secs(5));
    let ids: Vec<_> = world.lines(client).iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, [2]);
}

#[test]
fn draining_ends_an_attached_client_when_its_calls_are_answered() {
    let mut world = world();
    let client = begin(&mut world);
    world.server("alpha").delay = Duration::from_secs(2);
    world.send(client, &line(&call("alpha_echo")));
    world.drain(Duration::from_secs(10));
    world.advance(Duration::from_secs(3));
    assert_eq!(answer(&world, client, 1)["result"]["content"][0]["text"], "alpha:echo");
    assert_eq!(world.clients[client].end, Some(End::Finished));
    assert!(world.shards[0].is_drained());
}

/// A line has no header fields, so what a tool wants repeated there is written for it.
#[test]
fn a_stateless_call_gets_the_fields_that_repeat_its_arguments() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/list", |seen| {
        let schema = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;
        seen.result(&format!(r#"{{"tools":[{{"name":"echo","inputSchema":{schema}}}]}}"#))
    });
    let client = world.attach(0);
    let params = r#""name":"echo","arguments":{"region":"eu"},"#;
    world.send(client, &line(&modern(1, "tools/call", params)));
    assert_eq!(answer(&world, client, 1)["result"]["content"][0]["text"], "alpha:echo");
    let called = world.server("alpha").last("tools/call").clone();
    assert_eq!(called.field("mcp-param-region"), Some("eu"));
    // The schema was an old one.
    let mut refused = false;
    world.server("alpha").on("tools/call", move |seen| match std::mem::replace(&mut refused, true) {
        false => json_reply(400, &seen.error(-32020, "the fields disagree")),
        true => seen.result("{}"),
    });
    world.send(client, &line(&modern(2, "tools/call", params)));
    assert_eq!(answer(&world, client, 2)["result"], json!({}));
    assert_eq!(world.server("alpha").count("tools/list"), 2);
}

/// A client that subscribes right behind `notifications/initialized`, which one target takes so long to answer, while the
/// other, of 2026-07-28, agrees to nothing; and how many lines it has had.
fn subscribing(greeting: Duration) -> (World, usize, usize) {
    let mut world = before(&["alpha", "beta"]).shards(2).build().modern(&["alpha"]);
    world.server("alpha").on("subscriptions/listen", |_| Vec::new());
    world
        .server("beta")
        .on("notifications/initialized", move |_| [vec![Step::Wait(greeting)], reply(202, "", "")].concat());
    let client = world.attach(0);
    world.send(client, &line(&initialize("2025-11-25", "{}")));
    let lines = world.lines(client).len();
    let subscribe = request("resources/subscribe", r#"{"uri":"alpha+demo://one"}"#);
    world.send(client, &line(&format!("{INITIALIZED}\n{subscribe}")));
    (world, client, lines)
}

#[test]
fn a_subscription_waits_for_a_stream_that_is_about_to_be_its_sessions() {
    let millisecond = Duration::from_millis(1);
    for greeting in [Duration::ZERO, 100 * millisecond] {
        let (mut world, client, lines) = subscribing(greeting);
        assert_eq!(world.lines(client).len(), lines);
        world.advance(100 * millisecond);
        assert_eq!(world.lines(client).len(), lines);
        let (key, id) = world.last_listen("alpha");
        let agreed = event(&acknowledged(&id, "{}"));
        world.say(key, vec![Step::Send(format!("{}{agreed}", stream_head()).into())]);
        assert_eq!(world.lines(client)[lines..], [json!({"jsonrpc": "2.0", "id": 1, "result": {}})]);
    }
    for greeting in [100 * millisecond, Duration::from_secs(3600)] {
        let (mut world, client, lines) = subscribing(greeting);
        world.advance(249 * millisecond);
        assert_eq!(world.lines(client).len(), lines);
        world.advance(millisecond);
        assert_eq!(world.lines(client).len(), lines + 1);
    }
}
