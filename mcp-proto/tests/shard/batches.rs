//! Batches: 2025-03-26 only.

use crate::support::client::{post, session_field};
use crate::support::server::{event, stream};
use crate::support::{Answer, World};
use mcp_proto::Fault;
use serde_json::{Value, json};

const BATCH: &str = r#"[{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"alpha_echo"}}, {"jsonrpc":"2.0","method":"notifications/roots/list_changed"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"beta_echo"}},{"jsonrpc":"2.0","id":3,"method":"ping"}]"#;

fn batch(world: &mut World, accept: &str, body: &str) -> Answer {
    let (client, session) = world.begin_as("2025-03-26", "{}");
    let text = String::from_utf8(post(&session_field(&session), body)).unwrap();
    world.send(client, text.replace("application/json, text/event-stream", accept).as_bytes());
    world.clients[client].answer()
}

fn by_id(mut messages: Vec<Value>) -> Vec<(String, String)> {
    messages.sort_by_key(|message| message["id"].to_string());
    let text = |message: &Value| message["result"]["content"][0]["text"].as_str().unwrap_or("").to_owned();
    messages.iter().map(|message| (message["id"].to_string(), text(message))).collect()
}

#[test]
fn a_batch_is_split_and_its_answers_are_joined() {
    for (accept, is_stream) in [
        ("application/json, text/event-stream", true),
        ("application/json", false),
        ("text/event-stream", true),
    ] {
        for as_events in [false, true] {
            let mut world = World::new(&["alpha", "beta"]);
            if as_events {
                world.server("beta").on("tools/call", |seen| {
                    stream(&[event(&seen.response(r#"{"content":[{"text":"beta:echo"}]}"#))])
                });
            }
            let answer = batch(&mut world, accept, BATCH);
            assert_eq!(
                (answer.status, answer.complete, answer.is_stream()),
                (200, true, is_stream),
                "{}",
                answer.text()
            );
            let messages =
                if is_stream { answer.messages() } else { answer.json().as_array().unwrap().clone() };
            let expected = [("\"a\"", "alpha:echo"), ("2", "beta:echo"), ("3", "")];
            assert_eq!(by_id(messages), expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
            for target in ["alpha", "beta"] {
                assert_eq!(world.server(target).count("notifications/roots/list_changed"), 1);
                let sent = world.server(target).last("tools/call").json();
                assert_eq!(sent["params"]["name"], "echo");
            }
            assert_eq!(world.counters(0).calls.value(), 0);
        }
    }
}

#[test]
fn a_failure_in_a_batch_is_its_own() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let body = r#"[{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"beta_greet"}},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"alpha_echo"}},{"jsonrpc":"2.0","id":[],"method":"ping"},{"jsonrpc":"2.0","id":4,"method":"tools/list"}]"#;
    let answer = batch(&mut world, "application/json", body);
    let mut messages = answer.json().as_array().unwrap().clone();
    messages.sort_by_key(|message| message["id"].to_string());
    let codes: Vec<_> = messages.iter().map(|message| message["error"]["code"].clone()).collect();
    assert_eq!(codes, [json!(-32603), json!(null), json!(null), json!(-32600)], "{messages:?}");
}

#[test]
fn a_batch_without_requests_is_accepted() {
    let mut world = World::new(&["alpha", "beta"]);
    let body = r#"[{"jsonrpc":"2.0","method":"notifications/roots/list_changed"},{"jsonrpc":"2.0","id":"x","result":{}}]"#;
    let answer = batch(&mut world, "application/json, text/event-stream", body);
    assert_eq!((answer.status, answer.text()), (202, ""));
}

#[test]
fn a_batch_where_none_may_be_is_refused() {
    for (revision, body, code) in [
        ("2025-06-18", BATCH, -32600),
        ("2025-11-25", BATCH, -32600),
        ("2025-03-26", "[]", -32600),
        ("2025-03-26", "[1,", -32700),
    ] {
        let mut world = World::new(&["alpha", "beta"]);
        let (client, session) = world.begin_as(revision, "{}");
        let answer = world.ask(client, &session, body);
        assert_eq!((answer.status, answer.code()), (400, Some(code)), "{revision} {body}");
    }
}

#[test]
fn too_long_a_batch_is_refused() {
    let ping = r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#;
    let mut world = World::new(&["alpha"]);
    assert_eq!(batch(&mut world, "*/*", &format!("[{}]", [ping; 100].join(","))).messages().len(), 100);
    assert_eq!(batch(&mut world, "*/*", &format!("[{}]", [ping; 101].join(","))).status, 400);
}

#[test]
fn several_messages_of_a_target_in_one_event_are_taken_apart() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let notice = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        stream(&[event(&format!("[{notice}, {}]", seen.response(r#"{"contents":[{"uri":"demo://one"}]}"#)))])
    });
    let answer = world.ask(client, &session, &crate::support::client::call("alpha_echo"));
    let messages = answer.messages();
    assert_eq!(messages[0]["method"], "notifications/progress");
    assert_eq!(messages[1]["result"]["contents"][0]["uri"], "alpha+demo://one");
    assert_eq!((messages.len(), answer.complete), (2, true));
}
