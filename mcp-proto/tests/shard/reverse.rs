//! Requests of targets to the client, and their answers.

use crate::support::client::{call, post, session_field};
use crate::support::server::{event, open_stream, stream_end};
use crate::support::{Setup, Step, World};
use serde_json::{Value, json};

/// A target's requests, with ids of its own making.
const ASKS: [(&str, &str); 3] = [
    (
        r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#,
        "7",
    ),
    (
        r#"{"jsonrpc":"2.0","id":"e \"1\"","method":"elicitation/create","params":{"mode":"url","url":"https://x/y","elicitationId":"i"}}"#,
        r#""e \"1\"""#,
    ),
    (r#"{"id":12345678901234567890,"jsonrpc":"2.0","method":"roots/list"}"#, "12345678901234567890"),
];

fn answer_to(request: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"x":1}}}}"#, request["id"])
}

#[test]
fn a_call_asks_on_its_own_stream_and_is_answered_on_any_connection_of_any_shard() {
    for targets in [vec!["alpha"], vec!["beta", "alpha"]] {
        for (ask, own_id) in ASKS {
            for shard in [0, 1] {
                let mut world = Setup::new(&targets).shards(2).build();
                let (client, session) = world.begin();
                let listener = world.listen(0, &session);
                world.server("alpha").on("tools/call", move |_| open_stream(&[event(ask)]));
                let request = world.ask(client, &session, &call("alpha_echo")).json();
                assert_eq!(request["method"], serde_json::from_str::<Value>(ask).unwrap()["method"]);
                assert_eq!(request["params"], serde_json::from_str::<Value>(ask).unwrap()["params"]);
                assert_eq!(world.messages(listener), Vec::<Value>::new());
                assert_eq!(world.ask_on(shard, &session, &answer_to(&request)).status, 202);
                let reply = format!(r#"{{"jsonrpc":"2.0","id":{own_id},"result":{{"x":1}}}}"#);
                assert_eq!(world.server("alpha").seen.last().unwrap().body, reply);
                let key = world.server("alpha").last("tools/call").key;
                let end = Step::Send(event(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).into());
                world.say(key, [vec![end], stream_end()].concat());
                assert_eq!(
                    world.clients[client].answer().messages()[1],
                    json!({"jsonrpc": "2.0", "id": 1, "result": {}})
                );
                assert!(world.clients[client].answer().complete);
            }
        }
    }
}

#[test]
fn a_target_asks_on_the_sessions_stream() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let (_, session) = world.begin();
    let listener = world.listen(1, &session);
    for (target, own_id) in [("alpha", "5"), ("beta", "5")] {
        world.say_on_stream(target, r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#);
        let request = world.messages(listener).pop().unwrap();
        world.ask_on(0, &session, &answer_to(&request));
        let reply = format!(r#"{{"jsonrpc":"2.0","id":{own_id},"result":{{"x":1}}}}"#);
        assert_eq!(world.server(target).seen.last().unwrap().body, reply);
    }
    let ids: Vec<_> = world.messages(listener).into_iter().map(|message| message["id"].clone()).collect();
    assert_ne!(ids[0], ids[1], "two targets may use one id");
}

#[test]
fn answers_nobody_asked_for_go_nowhere() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let (other, foreign) = world.begin();
    world.server("alpha").on("tools/call", |_| open_stream(&[event(ASKS[0].0)]));
    let request = world.ask(client, &session, &call("alpha_echo")).json();
    let before = world.server("alpha").seen.len() + world.server("beta").seen.len();
    for answer in [answer_to(&request), answer_to(&json!({"id": 7})), answer_to(&json!({"id": "x"}))] {
        assert_eq!(world.ask(other, &foreign, &answer).status, 202);
    }
    assert_eq!(world.server("alpha").seen.len() + world.server("beta").seen.len(), before);
    assert_eq!(world.counters(0).dropped.value(), 3);
}

#[test]
fn a_withdrawn_request_keeps_its_id() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"r"}}"#;
    world.server("alpha").on("tools/call", move |_| open_stream(&[event(ASKS[0].0), event(cancel)]));
    world.ask(client, &session, &call("alpha_echo"));
    let messages = world.messages(client);
    assert_eq!(messages[1]["params"], json!({"requestId": messages[0]["id"], "reason": "r"}));
}

#[test]
fn ping_of_a_target_is_answered_here() {
    for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
        let mut world = World::new(&targets);
        let (_, session) = world.begin();
        let listener = world.listen(0, &session);
        world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","id":"p-1","method":"ping"}"#);
        assert_eq!(
            world.server("alpha").seen.last().unwrap().body,
            r#"{"jsonrpc":"2.0","id":"p-1","result":{}}"#
        );
        assert_eq!(world.server("alpha").seen.last().unwrap().session(), Some("alpha-1"));
        assert_eq!(world.messages(listener), Vec::<Value>::new());
    }
}

#[test]
fn a_client_that_cannot_be_asked_is_answered_for() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| open_stream(&[event(ASKS[0].0)]));
    let asked = String::from_utf8(post(&session_field(&session), &call("alpha_echo"))).unwrap();
    world.send(client, asked.replace(", text/event-stream", "").as_bytes());
    let reply = world.server("alpha").seen.last().unwrap().json();
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(7), &json!(-32601)));
}

#[test]
fn progress_of_the_client_finds_the_target_that_asked() {
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"_meta":{"progressToken":3},"messages":[{"content":{"type":"resource","resource":{"uri":"demo://one"}}}]}}"#;
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").on("tools/call", move |_| open_stream(&[event(ask)]));
    let request = world.ask(client, &session, &call("beta_echo")).json();
    assert_eq!(request["params"]["messages"][0]["content"]["resource"]["uri"], "beta+demo://one");
    let token = request["params"]["_meta"]["progressToken"].clone();
    let progress = |token: &Value| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    assert_eq!(world.ask_on(0, &session, &progress(&token)).status, 202);
    assert_eq!(world.server("beta").last("notifications/progress").body, progress(&json!(3)));
    assert_eq!(world.ask_on(0, &session, &progress(&json!(3))).status, 202);
    assert_eq!(world.server("beta").count("notifications/progress"), 1);
    assert_eq!(world.server("alpha").count("notifications/progress"), 0);
}
