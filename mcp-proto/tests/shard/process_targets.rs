//! Targets that are child processes.

use crate::support::client::{EVERYTHING, call, initialize, post, request, session_field};
use crate::support::rand::Dice;
use crate::support::setup::{process, target};
use crate::support::{End, Setup, Step, World};
use mcp_proto::Fault;
use routing::{Routes, Target};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn alone() -> World {
    Setup::new(&["alpha"]).process("alpha").build()
}

fn line(text: &str) -> Vec<Step> {
    vec![Step::Send(format!("{text}\n").into())]
}

fn numbered(id: &str, name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#)
}

#[test]
fn a_session_has_a_process_of_its_own_and_speaks_to_it_in_lines() {
    let mut world = alone();
    let (client, session) = world.begin();
    let body = "{\n \"jsonrpc\": \"2.0\",\r\n \"id\": \"a \\\"1\\\"\", \"method\": \"tools/call\", \"params\": {\"name\": \"echo\"}\n}";
    let answer = world.ask(client, &session, body);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(
        answer.text(),
        r#"{"jsonrpc":"2.0","id":"a \"1\"","result":{"content":[{"type":"text","text":"alpha:echo"}]}}"#
    );
    let (_, other) = world.begin();
    let said: Vec<_> = world.server("alpha").seen.iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(said[0], initialize("2025-11-25", EVERYTHING).replace(r#""id":0"#, r#""id":1"#));
    assert_eq!(said[1], r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(
        said[2],
        r#"{ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo"}}"#
    );
    assert_eq!(said[3], said[0], "another process, another count");
    assert_eq!(world.server("alpha").running(), 2);
    assert_eq!(world.counters(0).processes.value(), 2);
    assert_eq!(world.delete(0, &session).status, 200);
    assert_eq!(world.server("alpha").running(), 1);
    world.delete(0, &other);
    world.assert_clean();
}

#[test]
fn answers_find_their_calls_in_any_order_and_with_equal_ids() {
    let mut world = Setup::new(&["alpha"]).shards(2).process("alpha").build();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let calls: Vec<_> = [(0, "7"), (1, "7"), (0, "\"7\""), (1, "-7.5e3")]
        .into_iter()
        .map(|(shard, id)| (world.call_later(shard, &session, &numbered(id, "echo")), id))
        .collect();
    let sent = world.server("alpha").seen.split_off(2);
    assert_eq!(sent.iter().map(|seen| seen.id.clone().unwrap()).collect::<Vec<_>>(), ["2", "3", "4", "5"]);
    for (seen, (client, id)) in sent.iter().zip(&calls).rev() {
        let text = seen.response(&format!(r#"{{"at":{}}}"#, seen.id.as_ref().unwrap()));
        world.print("alpha", &format!("{text}\n"));
        let answer = world.clients[*client].answer();
        assert_eq!(
            answer.text(),
            text.replace(&format!(r#""id":{}"#, seen.id.as_ref().unwrap()), &format!(r#""id":{id}"#))
        );
    }
    world.delete(1, &session);
    world.assert_clean();
}

#[test]
fn every_shard_reaches_a_sessions_process() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(3).process("beta").build();
    let (_, session) = world.begin();
    for shard in 0..3 {
        assert_eq!(world.ask_on(shard, &session, &call("beta_echo")).tool_text(), "beta:echo");
        let list = world.ask_on(shard, &session, &request("tools/list", "{}")).json();
        let names: Vec<_> =
            list["result"]["tools"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
        assert_eq!(names, ["alpha_echo", "alpha_add", "beta_echo", "beta_add"]);
        assert_eq!(list["result"]["_meta"], Value::Null);
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        assert_eq!(world.ask_on(shard, &session, changed).status, 202);
    }
    assert_eq!(world.server("beta").count("notifications/roots/list_changed"), 3);
    assert_eq!(world.server("beta").running(), 1);
    world.delete(2, &session);
    assert_eq!(world.server("beta").running(), 0);
}

#[test]
fn a_process_asks_in_the_middle_of_a_call() {
    for (shard, ask) in [
        (
            0,
            r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#,
        ),
        (
            1,
            r#"{"jsonrpc":"2.0","id":"e","method":"elicitation/create","params":{"message":"?","requestedSchema":{}}}"#,
        ),
        (1, r#"{"id":12345678901234567890,"jsonrpc":"2.0","method":"roots/list"}"#),
    ] {
        for targets in [&["alpha"][..], &["alpha", "beta"]] {
            let mut world = Setup::new(targets).shards(2).process("alpha").build();
            let (_, session) = world.begin();
            let name = if targets.len() == 1 { "echo" } else { "alpha_echo" };
            world.server("alpha").on("tools/call", move |_| line(ask));
            let client = world.call_later(shard, &session, &call(name));
            let asked = world.messages(client).pop().unwrap();
            let original: Value = serde_json::from_str(ask).unwrap();
            assert_eq!((&asked["method"], &asked["params"]), (&original["method"], &original["params"]));
            let reply = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"x":1}}}}"#, asked["id"]);
            assert_eq!(world.ask_on(1, &session, &reply).status, 202);
            let seen = world.server("alpha").seen.last().unwrap().json();
            assert_eq!(seen, json!({"jsonrpc": "2.0", "id": original["id"], "result": {"x": 1}}));
            world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
            let answer = world.clients[client].answer();
            assert!(answer.complete);
            assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        }
    }
}

#[test]
fn questions_belong_to_the_latest_call_notices_to_the_only_one_or_the_session() {
    let mut world = alone();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let listener = world.listen(0, &session);
    let notice = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{text}"}}}}"#
        )
    };
    let data = |world: &World, client: usize| -> Vec<Value> {
        if world.clients[client].answers().is_empty() {
            return Vec::new();
        }
        world.messages(client).iter().map(|message| message["params"]["data"].clone()).collect()
    };
    world.print("alpha", &format!("{}\n", notice("none")));
    let first = world.call_later(0, &session, &numbered("1", "echo"));
    world.print("alpha", &format!("{}\n", notice("one")));
    let second = world.call_later(0, &session, &numbered("2", "echo"));
    world.print("alpha", &format!("{}\n", notice("two")));
    assert_eq!(data(&world, listener), ["none", "two"]);
    assert_eq!(data(&world, first), ["one"]);
    assert_eq!(data(&world, second), Vec::<Value>::new());
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"roots/list\"}\n");
    assert_eq!(world.methods(second), ["roots/list"]);
    // What lists a target has is said to the session, though there is one call only.
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
    assert!(world.clients[first].answer().complete);
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n");
    assert_eq!(world.methods(listener).pop().unwrap(), "notifications/tools/list_changed");
}

#[test]
fn a_question_without_a_call_waits_for_the_sessions_stream() {
    let ask = "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"roots/list\"}\n";
    for shard in [0, 1] {
        let mut world = Setup::new(&["alpha"]).shards(2).process("alpha").build();
        // As servers do: at the first word of the session.
        world.server("alpha").on("notifications/initialized", move |_| vec![Step::Send(ask.into())]);
        let (_, session) = world.begin();
        world.advance(9 * SECOND);
        let listener = world.listen(shard, &session);
        let asked = world.messages(listener).pop().unwrap();
        let reply = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, asked["id"]);
        world.ask_on(1, &session, &reply);
        let told = r#"{"jsonrpc":"2.0","id":9,"result":{}}"#;
        assert_eq!(world.server("alpha").seen.last().unwrap().body, told);
        world.print("alpha", ask);
        assert_eq!(world.methods(listener), ["roots/list", "roots/list"]);
        world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n");
        assert_eq!(
            world.server("alpha").seen.last().unwrap().body,
            r#"{"jsonrpc":"2.0","id":"p","result":{}}"#
        );
        // Without it, it waits so long and no longer, and so many and no more.
        world.hang_up(listener);
        for _ in 0..17 {
            world.print("alpha", ask);
        }
        let refused = |world: &mut World| {
            let seen = &world.server("alpha").seen;
            seen.iter().filter(|seen| seen.json_if_any()["error"]["code"] == -32601).count()
        };
        assert_eq!(refused(&mut world), 1);
        world.advance(10 * SECOND);
        assert_eq!(refused(&mut world), 17);
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn a_process_that_someone_listens_to_is_started_again_unasked() {
    for shard in [0, 1] {
        let mut world = Setup::new(&["alpha", "beta"]).shards(2).process("alpha").build();
        let (_, session) = world.begin();
        world.ask_on(1, &session, &request("resources/subscribe", r#"{"uri":"alpha+demo://a"}"#));
        let listener = world.listen(shard, &session);
        world.advance(100 * SECOND);
        assert_eq!(world.counters(shard).target_failures.value(), 0, "it may listen for ever");
        let key = world.connections("alpha")[0];
        world.say(key, vec![Step::Fin]);
        assert_eq!(world.server("alpha").running(), 0);
        world.advance(2 * SECOND);
        assert_eq!(world.server("alpha").running(), 1);
        assert_eq!(world.server("alpha").count("resources/subscribe"), 2);
        assert!(world.methods(listener).contains(&"notifications/tools/list_changed".to_owned()));
        world.print("alpha", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"demo://a\"}}\n");
        assert_eq!(world.messages(listener).pop().unwrap()["params"]["uri"], "alpha+demo://a");
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn progress_finds_its_call_and_gives_it_time() {
    for shard in [0, 1] {
        let mut world = Setup::new(&["alpha"])
            .shards(2)
            .process("alpha")
            .targets(|target| target.timeouts.first_byte = 10 * SECOND)
            .build();
        let (_, session) = world.begin();
        world.server("alpha").on("tools/call", |_| Vec::new());
        let asked = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"progressToken":{token}}},"name":"x"}}}}"#
            )
        };
        let clients = ["5", "\"5\""].map(|token| world.call_later(shard, &session, &asked(token)));
        assert!(world.server("alpha").last("tools/call").body.contains(r#""progressToken":"5""#));
        for (client, token) in clients.into_iter().zip(["5", "\"5\""]) {
            for step in 1..=3 {
                world.advance(8 * SECOND);
                // Both go on, or the other one would be late.
                for (other, token) in clients.into_iter().zip(["5", "\"5\""]) {
                    if !world.clients[other].answers().last().is_some_and(|answer| answer.complete) {
                        let progress = format!(
                            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
                        );
                        world.print("alpha", &format!("{progress}\n"));
                        assert_eq!(world.clients[other].answer().events().pop().unwrap().data, progress);
                    }
                }
            }
            let number = if token == "5" { 2 } else { 3 };
            world.print("alpha", &format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"result\":{{}}}}\n"));
            assert!(world.clients[client].answer().complete);
            assert_eq!(world.clients[client].answer().json()["result"], json!({}));
        }
        let late = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":9}}"#;
        let before = world.counters(0).dropped.value();
        world.print("alpha", &format!("{late}\n"));
        assert_eq!(world.counters(0).dropped.value(), before + 1);
    }
}

#[test]
fn a_call_without_an_answer_is_given_up_and_the_process_told() {
    for shard in [0, 1] {
        let mut world = Setup::new(&["alpha"]).shards(2).process("alpha").build();
        let (_, session) = world.begin();
        world.server("alpha").on("tools/call", |_| Vec::new());
        let client = world.call_later(shard, &session, &call("echo"));
        world.advance(299 * SECOND);
        assert!(world.clients[client].answers().is_empty());
        world.advance(SECOND);
        assert_eq!(
            world.clients[client].answer().tool_text(),
            "target \"alpha\" failed: it took too long to answer"
        );
        assert_eq!(world.server("alpha").count("notifications/cancelled"), 1);
        assert_eq!(world.server("alpha").last("notifications/cancelled").json()["params"]["requestId"], 2);
        // Too late, and nobody's.
        world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
        assert_eq!(world.counters(0).dropped.value(), 1);
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn a_clients_cancellation_names_the_request_as_the_process_knows_it() {
    for targets in [&["alpha"][..], &["alpha", "beta"]] {
        let mut world = Setup::new(targets).shards(2).process("alpha").build();
        let (_, session) = world.begin();
        world.server("alpha").on("tools/call", |_| Vec::new());
        let name = if targets.len() == 1 { "echo" } else { "alpha_echo" };
        for (shard, id) in [(0, "\"x\""), (1, "9")] {
            world.call_later(shard, &session, &numbered(id, name));
            let sent = world.server("alpha").last("tools/call").id.clone().unwrap();
            let cancel = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"r"}}}}"#
            );
            assert_eq!(world.ask_on(0, &session, &cancel).status, 202);
            assert_eq!(
                world.server("alpha").last("notifications/cancelled").body,
                cancel.replace(&format!(r#""requestId":{id}"#), &format!(r#""requestId":{sent}"#))
            );
        }
        let unknown = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
        assert_eq!(world.ask_on(0, &session, unknown).status, 202);
        assert_eq!(world.server("alpha").count("notifications/cancelled"), 2, "it never saw that one");
    }
}

#[test]
fn a_process_that_dies_fails_its_calls_and_is_started_anew() {
    for (last, shard) in [(Step::Fin, 0), (Step::Reset, 1)] {
        let mut world = Setup::new(&["alpha", "beta"]).shards(2).process("alpha").build();
        let (_, session) = world.begin();
        world.ask_on(1, &session, &request("logging/setLevel", r#"{"level":"error"}"#));
        world.ask_on(0, &session, &request("resources/subscribe", r#"{"uri":"alpha+demo://a"}"#));
        let listener = world.listen(shard, &session);
        world.server("alpha").on("tools/call", |_| Vec::new());
        let clients = [0, 1].map(|shard| world.call_later(shard, &session, &call("alpha_echo")));
        let key = world.connections("alpha")[0];
        world.say(key, vec![last]);
        for client in clients {
            assert_eq!(
                world.clients[client].answer().tool_text(),
                "target \"alpha\" failed: its process ended"
            );
        }
        assert_eq!(world.server("alpha").running(), 0);
        assert_eq!(world.counters(0).channels_failed.value(), 1);
        // A notice alone is no reason to start it.
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        assert_eq!(world.ask_on(shard, &session, changed).status, 202);
        assert_eq!(world.server("alpha").running(), 0);
        world.server("alpha").script = None;
        let before = world.server("alpha").seen.len();
        assert_eq!(world.ask_on(shard, &session, &call("alpha_echo")).tool_text(), "alpha:echo");
        let alpha = world.server("alpha");
        let mut after = alpha.methods()[before..].to_vec();
        assert_eq!(after[..2], ["initialize", "notifications/initialized"]);
        after[2..].sort_unstable();
        assert_eq!(after[2..], ["logging/setLevel", "resources/subscribe", "tools/call"]);
        assert_eq!(alpha.last("resources/subscribe").json()["params"], json!({"uri": "demo://a"}));
        assert_eq!(alpha.last("logging/setLevel").json()["params"], json!({"level": "error"}));
        assert!(world.methods(listener).contains(&"notifications/tools/list_changed".to_owned()));
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn a_process_that_dies_at_once_is_left_alone_longer_and_longer() {
    let mut world = Setup::new(&["alpha", "beta"]).process("beta").build();
    world.server("beta").on("initialize", |_| vec![Step::Fin]);
    let (client, session) = world.begin();
    let mut starts = Vec::new();
    let begun = world.now;
    for _ in 0..160 {
        let before = world.server("beta").count("initialize");
        world.ask(client, &session, &call("beta_echo"));
        if world.server("beta").count("initialize") > before {
            starts.push((world.now - begun).as_secs());
        }
        world.advance(SECOND);
    }
    assert_eq!(starts, [1, 3, 7, 15, 31, 61, 91, 121, 151]);
    let words = world.ask(client, &session, &call("beta_echo")).tool_text();
    assert_eq!(words, "target \"beta\" failed: its process ended");
    world.server("beta").script = None;
    world.advance(30 * SECOND);
    assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
    // It worked: the next end is the first again.
    let key = world.connections("beta")[0];
    world.say(key, vec![Step::Fin]);
    assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
    let key = world.connections("beta")[0];
    world.say(key, vec![Step::Fin]);
    world.server("beta").on("initialize", |_| vec![Step::Fin]);
    world.ask(client, &session, &call("beta_echo"));
    world.server("beta").script = None;
    world.advance(SECOND);
    assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
}

#[test]
fn a_process_that_cannot_be_started_is_told_of() {
    let mut world = alone();
    world.server("alpha").refuses = Some(Some(Fault::Other));
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let answer = world.clients[client].answer();
    let session = answer.field("mcp-session-id").unwrap().to_owned();
    let words = world.ask(client, &session, &call("echo")).tool_text();
    assert_eq!(words, "target \"alpha\" failed: its process can't be started (connection failed)");
    world.server("alpha").refuses = None;
    world.advance(SECOND);
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn a_process_that_refuses_the_session_is_ended() {
    let mut world = alone();
    world.server("alpha").on("initialize", |seen| line(&seen.error(-32602, "no")));
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let answer = world.clients[client].answer();
    assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#);
    world.assert_clean();
}

#[test]
fn what_is_no_message_is_passed_over() {
    let mut world = alone();
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let text = format!(
            "Listening...\n\n{{\"level\":30}}\n[]\n{{\"jsonrpc\":\"2.0\"\n\u{1b}[31m\n{}\n",
            seen.response("{}")
        );
        vec![Step::Send(text.into())]
    });
    assert_eq!(world.ask(client, &session, &call("echo")).text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(world.counters(0).malformed.value(), 5);
    for stray in [
        r#"{"jsonrpc":"2.0","id":77,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
    ] {
        world.print("alpha", &format!("{stray}\n"));
    }
    assert_eq!(world.counters(0).dropped.value(), 3);
    assert_eq!(world.server("alpha").running(), 1);
}

#[test]
fn an_error_without_an_id_answers_the_only_call() {
    let mut world = alone();
    let (client, session) = world.begin();
    world
        .server("alpha")
        .on("tools/call", |_| line(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#));
    let answer = world.ask(client, &session, &call("echo"));
    assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32700,"message":"?"}}"#);
}

#[test]
fn several_messages_on_one_line_are_as_many() {
    let mut world = alone();
    let (_, session) = world.begin_as("2025-03-26", EVERYTHING);
    world.server("alpha").on("tools/call", |_| Vec::new());
    let clients = ["1", "2"].map(|id| world.call_later(0, &session, &numbered(id, "x")));
    world.print("alpha", "[{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"n\":3}},{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"n\":2}}]\n");
    for (client, n) in clients.into_iter().zip([2, 3]) {
        assert_eq!(world.clients[client].answer().json()["result"]["n"], n);
    }
}

#[test]
fn it_makes_no_difference_how_lines_are_cut() {
    for seed in 0..30 {
        let mut world = Setup::new(&["alpha", "beta"]).process("alpha").process("beta").build();
        world.chop = Some(Dice::new(seed));
        let (client, session) = world.begin();
        assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
        let list = world.ask(client, &session, &request("tools/list", "{}")).json();
        assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 4);
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn a_process_ends_with_its_session_however_that_ends() {
    // Idle.
    let mut world = Setup::new(&["alpha"]).shards(2).process("alpha").build();
    let (_, session) = world.begin();
    world.advance(25 * 60 * SECOND);
    assert_eq!(world.ask_on(1, &session, &call("echo")).tool_text(), "alpha:echo");
    world.advance(25 * 60 * SECOND);
    assert_eq!(world.server("alpha").running(), 1);
    world.advance(10 * 60 * SECOND);
    world.assert_clean();
    // Never begun.
    let mut world = alone();
    world.server("alpha").delay = SECOND;
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    assert_eq!(world.server("alpha").running(), 1);
    world.hang_up(client);
    assert_eq!(world.server("alpha").running(), 0);
    world.advance(600 * SECOND);
    world.assert_clean();
    // With everything.
    let mut world = alone();
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let calling = world.call_later(0, &session, &call("echo"));
    world.drain(SECOND);
    world.advance(SECOND);
    assert_eq!(world.clients[calling].end, Some(End::Aborted));
    assert!(world.clients[client].end.is_some());
    assert_eq!((world.server("alpha").running(), world.counters(0).processes.value()), (0, 0));
}

#[test]
fn a_session_from_another_life_starts_its_process_again() {
    let (_, session) = alone().begin();
    let mut world = alone();
    assert_eq!(world.ask_on(0, &session, &call("echo")).tool_text(), "alpha:echo");
    assert_eq!(world.server("alpha").methods(), ["initialize", "notifications/initialized", "tools/call"]);
    assert_eq!(world.delete(0, &session).status, 200);
    world.assert_clean();
}

#[test]
fn a_process_that_is_another_now_ends_with_its_last_call() {
    let mut world = Setup::new(&["alpha", "beta"]).process("beta").build();
    let (_, session) = world.begin();
    world.server("beta").on("tools/call", |_| Vec::new());
    let client = world.call_later(0, &session, &call("beta_echo"));
    let first = world.connections("beta")[0];
    let old = |world: &mut World| world.connections("beta").contains(&first);
    let another = Target {
        endpoints: Vec::new(),
        process: Some(Arc::new(routing::Process { args: Vec::new(), ..process(false) })),
        ..target("beta", 1)
    };
    world.reroute(Routes::new(vec![target("alpha", 0), another]).unwrap());
    assert!(old(&mut world));
    world.server("beta").script = None;
    assert_eq!(world.ask_on(0, &session, &call("beta_echo")).tool_text(), "beta:echo");
    assert_eq!(world.server("beta").running(), 2);
    world.say(first, line(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#));
    assert!(world.clients[client].answer().complete);
    assert!(!old(&mut world));
    assert_eq!(world.server("beta").running(), 1);
}

#[test]
fn a_batch_of_a_client_is_as_many_lines() {
    let mut world = alone();
    let (client, session) = world.begin_as("2025-03-26", EVERYTHING);
    let batch = format!("[{},{}]", numbered("1", "a"), numbered("1", "b"));
    world.send(client, &post(&session_field(&session), &batch));
    let texts: Vec<_> = world.clients[client]
        .answer()
        .messages()
        .iter()
        .map(|answer| answer["result"]["content"][0]["text"].clone())
        .collect();
    assert_eq!(texts, ["alpha:a", "alpha:b"]);
}
