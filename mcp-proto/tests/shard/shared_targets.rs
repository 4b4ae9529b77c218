//! One child process for all sessions.

use crate::support::client::{call, initialize, post, request};
use crate::support::{End, Setup, Step};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn numbered(id: &str, name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#)
}

#[test]
fn one_process_serves_all_sessions_of_all_shards() {
    let mut world = Setup::new(&["alpha"]).shards(2).shared("alpha").build();
    let (_, first) = world.begin();
    let second = world.begin_on(1, "2025-06-18", "{}").1;
    assert_eq!(world.server("alpha").running(), 1);
    assert_eq!(world.server("alpha").methods(), ["initialize", "notifications/initialized"]);
    let greeting = world.server("alpha").last("initialize").json();
    assert_eq!(greeting["params"]["capabilities"], json!({}), "it can't ask the right one");
    assert_eq!(greeting["params"]["clientInfo"]["name"], "mcp-gateway");
    world.server("alpha").on("tools/call", |_| Vec::new());
    let calls: Vec<_> = [(0, &first), (1, &first), (0, &second), (1, &second)]
        .into_iter()
        .map(|(shard, session)| world.call_later(shard, session, &numbered("1", "echo")))
        .collect();
    for (number, client) in (2..6).zip(calls).rev() {
        world.print(
            "alpha",
            &format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"result\":{{\"n\":{number}}}}}\n"),
        );
        assert_eq!(
            world.clients[client].answer().text(),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"n":{number}}}}}"#)
        );
    }
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    assert_eq!(world.ask_on(0, &first, changed).status, 202);
    assert_eq!(world.server("alpha").count("notifications/roots/list_changed"), 0);
    world.delete(0, &first);
    world.delete(0, &second);
    assert_eq!(world.server("alpha").running(), 1, "others may come");
    world.advance(599 * SECOND);
    assert_eq!(world.server("alpha").running(), 1);
    world.advance(SECOND);
    world.assert_clean();
}

#[test]
fn a_client_is_answered_in_its_own_revision() {
    let mut world = Setup::new(&["alpha"]).shards(2).shared("alpha").build();
    for (shard, revision) in [(0, "2025-06-18"), (1, "2025-03-26"), (1, "2025-11-25")] {
        let client = world.connect(shard);
        world.send(client, &post("", &initialize(revision, "{}")));
        let answer = world.clients[client].answer().json();
        assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!(0), &json!(revision)));
        assert_eq!(answer["result"]["serverInfo"]["name"], "alpha");
    }
    assert_eq!(world.server("alpha").count("initialize"), 1);
    // One that speaks less says so itself.
    let mut world = Setup::new(&["alpha"]).shared("alpha").build();
    world.server("alpha").revision = Some("2024-11-05".to_owned());
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-06-18", "{}")));
    assert_eq!(world.clients[client].answer().json()["result"]["protocolVersion"], "2024-11-05");
}

#[test]
fn progress_tokens_of_two_clients_are_told_apart() {
    let mut world = Setup::new(&["alpha"]).shards(2).shared("alpha").build();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let sessions = [world.begin().1, world.begin_on(1, "2025-11-25", "{}").1];
    let asked = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}"#;
    let clients: Vec<_> = (0..2).map(|shard| world.call_later(shard, &sessions[shard], asked)).collect();
    let tokens: Vec<_> = world.server("alpha").seen[2..]
        .iter()
        .map(|seen| seen.json()["params"]["_meta"]["progressToken"].clone())
        .collect();
    assert_eq!(tokens, [2, 3]);
    for (client, token) in clients.iter().zip(&tokens) {
        world.print("alpha", &format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":{token}}}}}\n"));
        assert_eq!(
            world.messages(*client),
            [
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": token}})
            ]
        );
    }
    // A cancellation of the one is not one of the other, who calls it the same.
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.ask_on(0, &sessions[1], cancel);
    assert_eq!(world.server("alpha").last("notifications/cancelled").json()["params"]["requestId"], 3);
}

#[test]
fn a_shared_process_may_not_ask_and_tells_everyone_what_concerns_everyone() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).shared("alpha").build();
    let sessions = [world.begin().1, world.begin_on(1, "2025-11-25", "{}").1];
    let listeners = [world.listen(1, &sessions[0]), world.listen(1, &sessions[1])];
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"roots/list\"}\n");
    let refused = world.server("alpha").seen.last().unwrap().json();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(5), &json!(-32601)));
    world.ask_on(0, &sessions[1], &request("resources/subscribe", r#"{"uri":"alpha+demo://a"}"#));
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"demo://a\"}}\n");
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n");
    assert_eq!(world.methods(listeners[0]), ["notifications/tools/list_changed"]);
    assert_eq!(
        world.methods(listeners[1]),
        ["notifications/resources/updated", "notifications/tools/list_changed"]
    );
    assert_eq!(world.messages(listeners[1])[0]["params"]["uri"], "alpha+demo://a");
    // One session's unsubscription is not the other's.
    let answer =
        world.ask_on(1, &sessions[1], &request("resources/unsubscribe", r#"{"uri":"alpha+demo://a"}"#));
    assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(world.server("alpha").count("resources/unsubscribe"), 0);
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"demo://a\"}}\n");
    assert_eq!(world.messages(listeners[1]).len(), 2);
    // A log message of nobody's call is nobody's.
    let log = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n";
    world.print("alpha", log);
    assert_eq!((world.messages(listeners[0]).len(), world.messages(listeners[1]).len()), (1, 2));
    assert_eq!(world.counters(0).dropped.value(), 1);
    world.server("alpha").on("tools/call", |_| Vec::new());
    let client = world.call_later(1, &sessions[0], &call("alpha_echo"));
    world.print("alpha", log);
    assert_eq!(world.methods(client), ["notifications/message"]);
}

#[test]
fn a_shared_process_that_ends_is_started_on_demand_and_told_again() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).shared("alpha").build();
    let sessions = [world.begin().1, world.begin_on(1, "2025-11-25", "{}").1];
    world.ask_on(0, &sessions[1], &request("resources/subscribe", r#"{"uri":"alpha+demo://a"}"#));
    let listener = world.listen(0, &sessions[0]);
    world.advance(700 * SECOND);
    assert_eq!(world.server("alpha").running(), 1, "someone listens");
    assert_eq!(world.counters(0).processes_total.value(), 1);
    world.hang_up(listener);
    world.advance(600 * SECOND);
    assert_eq!(world.server("alpha").running(), 0, "nobody used it");
    let before = world.server("alpha").seen.len();
    assert_eq!(world.ask_on(1, &sessions[0], &call("alpha_echo")).tool_text(), "alpha:echo");
    let mut after = world.server("alpha").methods()[before..].to_vec();
    after[2..].sort_unstable();
    assert_eq!(after, ["initialize", "notifications/initialized", "resources/subscribe", "tools/call"]);
    let listener = world.listen(0, &sessions[0]);
    assert!(world.methods(listener).contains(&"notifications/tools/list_changed".to_owned()));
    world.server("alpha").on("tools/call", |_| vec![Step::Fin]);
    for (shard, session) in [(0, &sessions[0]), (1, &sessions[1])] {
        let words = world.ask_on(shard, session, &call("alpha_echo")).tool_text();
        assert_eq!(words, "target \"alpha\" failed: its process ended");
    }
}

#[test]
fn a_shared_process_waits_for_no_client() {
    for shard in [0, 1] {
        let mut world = Setup::new(&["alpha"])
            .shards(2)
            .shared("alpha")
            .config(|config| config.limits.buffer = 4 << 10)
            .build();
        let sessions = [world.begin().1, world.begin().1];
        world.server("alpha").on("tools/call", |_| Vec::new());
        let slow = world.connect(shard);
        world.clients[slow].window = 0;
        world.ask_later(slow, &sessions[0], r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":1}}}"#);
        let quick = world.call_later(0, &sessions[1], &call("echo"));
        let progress = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":2,\"progress\":1,\"message\":\"{}\"}}}}\n",
            "x".repeat(1000)
        );
        world.print("alpha", &progress.repeat(100));
        assert_eq!(world.clients[slow].end, Some(End::Aborted));
        world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n");
        assert!(world.clients[quick].answer().complete);
    }
}

#[test]
fn a_process_that_never_greets_is_given_up() {
    let mut world = Setup::new(&["alpha", "beta"]).shared("alpha").build();
    world.server("alpha").on("initialize", |_| Vec::new());
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    world.advance(3 * SECOND);
    let session = world.clients[client].answer().field("mcp-session-id").unwrap().to_owned();
    world.advance(297 * SECOND);
    assert_eq!(world.server("alpha").running(), 0);
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn a_process_that_never_runs_is_given_up() {
    let mut world = Setup::new(&["alpha", "beta"]).shared("alpha").build();
    world.server("alpha").refuses = Some(None);
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    world.advance(3 * SECOND);
    let session = world.clients[client].answer().field("mcp-session-id").unwrap().to_owned();
    world.advance(297 * SECOND);
    assert_eq!(world.counters(0).processes.value(), 0);
    world.delete(0, &session);
    world.assert_clean();
}
